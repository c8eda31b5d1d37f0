"""Attacks on whatever decodes: bodies of clients, replies of providers, forms, images and encoded files.

Each attack is a function of a number of bytes that returns about as many. `BODIES` go to a door of the API, with a key
where the gateway has keys; `REPLIES` are what a provider answers a poll; `IMAGES` are files of an image parameter, and
`TEXTS` the text of one; `FILES` are bodies that a server sends for a URL, with their `Content-Encoding`.
"""

import gzip
import io
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

Bytes = Callable[[int], bytes]
CREATE, IMAGES_PATH, MCP = "/v1/videos/generations", "/v1/images/generations", "/mcp"
FORM = "multipart/form-data; boundary=x"


class Body(NamedTuple):
    """A request that is sent to a path."""

    path: str
    make: Bytes
    content_type: str = "application/json"


def repeated(piece: bytes, size: int) -> bytes:
    """The piece as often as it fits."""
    return piece * (size // len(piece))


def _filled(piece: bytes, last: bytes = b"1") -> Callable[[int], bytes]:
    """A JSON list of this piece, as one unknown value."""
    return lambda size: b"[" + repeated(piece, size) + last + b"]"


def _names(size: int) -> bytes:
    return b"{" + b",".join(b'"%07d":1' % number for number in range(size // 11)) + b"}"


# Values whose cost has nothing to do with their length.
VALUES: Mapping[str, Bytes] = {
    "numbers with exponents": _filled(b"1.5e300,"),
    "short numbers": _filled(b"1,"),
    "one long integer": lambda size: b"1" * size,
    "one long fraction": lambda size: b"0." + b"1" * size,
    "one long exponent": lambda size: b"1e" + b"1" * size,
    "distinct names": _names,
    "empty objects": _filled(b"{},"),
    "empty strings": _filled(b'"",'),
    "nested lists": lambda size: b"[" * (size // 2) + b"]" * (size // 2),
    "nested objects": lambda size: repeated(b'{"a":', size),
    "white space": lambda size: b" " * size + b"1",
    "escapes": lambda size: b'"' + repeated(rb"\n", size) + b'"',
    "one wide character": lambda size: b'"' + b"a" * size + "\U0001f600".encode() + b'"',
    "one escaped wide character": lambda size: b'"' + b"a" * size + rb"\ud83d\ude00" + b'"',
    "a string without an end": lambda size: b'"' + b"a" * size,
    "escaped quotation marks": lambda size: b'"' + repeated(rb"\"", size) + b'"',
}


def _create(value: Bytes) -> Bytes:
    return lambda size: b'{"model":"auto","prompt":"a cat","metadata":' + value(size) + b"}"


def _call(value: Bytes) -> Bytes:
    begin = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"create_video","arguments":'
    return lambda size: begin + value(size) + b"}}"


def _part(name: bytes, content: Bytes, header: bytes = b"") -> Bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="' + name + b'"\r\n' + header + b"\r\n"
    return lambda size: head + content(size) + b"\r\n--x--"


BODIES: Mapping[str, Body] = {
    **{f"create: {name}": Body(CREATE, _create(value)) for name, value in VALUES.items()},
    **{f"image: {name}": Body(IMAGES_PATH, _create(value)) for name, value in VALUES.items()},
    **{f"MCP: {name}": Body(MCP, _call(value)) for name, value in VALUES.items()},
    "form: boundaries": Body(CREATE, lambda size: repeated(b"--x\r\n", size), FORM),
    "form: almost boundaries": Body(CREATE, _part(b"prompt", lambda size: repeated(b"\r\n--", size)), FORM),
    "form: options": Body(CREATE, _part(b"provider_options", VALUES["numbers with exponents"]), FORM),
    "form: quoted-printable": Body(
        CREATE,
        _part(b"prompt", lambda size: repeated(b"=41", size), b"Content-Transfer-Encoding: quoted-printable\r\n"),
        FORM,
    ),
    "form: a long Content-Type": Body(CREATE, _part(b"prompt", lambda _: b"a"), FORM + ';a="' * 15_000),
}


def _task(value: Bytes, state: bytes = b"odd") -> Bytes:
    return lambda size: b'{"code":0,"data":{"task_id":"t1","status":"' + state + b'","x":' + value(size) + b"}}"


def _links(text: bytes) -> Bytes:
    """A finished task whose field for the URL has texts of 12 KB."""
    begin = b'{"code":0,"data":{"task_id":"t1","status":"done","video_url":['
    return lambda size: begin + repeated(b'"' + repeated(text, 12_000) + b'",', size) + b"1]}}"


def _failure(word: bytes, tail: bytes) -> Bytes:
    begin = b'{"code":0,"data":{"task_id":"t1","status":"failed","error_message":"'
    return lambda size: begin + word + repeated(tail, min(size, 9_000)) + b'"}}'


REPLIES: Mapping[str, Bytes] = {
    **{f"a task with {name}": _task(value) for name, value in VALUES.items()},
    "links in Markdown": _links(b"[a](x"),
    "links in attributes": _links(b"src='"),
    "links in a sentence": _links(b"http://a.b "),
    "a reason with underscores": _failure(b"insufficient", b"_"),
    "a reason with blanks": _failure(b"code", b" "),
    "a reason with dots": _failure(b"", b"a."),
    "JSON in a string": _task(lambda size: b'"' + repeated(rb"{\"a\":", size) + b'1"'),
    "many objects": lambda size: repeated(b'{"a":1}', size) + b"{",
    "many beginnings": lambda size: repeated(b'{"" ', size),
    "comments": lambda size: b"{" + repeated(b"/*", size),
    "a page with objects": lambda size: b"<html>" + repeated(b'<div class="a">{"a":1}', size),
    "titles": lambda size: repeated(b"<title ", size),
    "a number after an error code": lambda size: b"error code: " + b"1" * size + b"x",
}

TEXTS: Mapping[str, Bytes] = {
    "escapes of a plus": lambda size: b"data:image/png;base64," + repeated(b"%2B", size),
    "many kinds of escapes": lambda size: b"data:image/png;base64," + repeated(b"%2B%2f%0a%20", size),
    "tabs": lambda size: repeated(b"A \t ", size),
    "short lines": lambda size: repeated(b"A\n", size),
    "blanks": lambda size: repeated(b"A ", size),
    "padding": lambda size: b"A" * (size // 2) + b"=" * (size // 2),
    "a header with blanks": lambda size: b"data:;" + b" " * size,
}


def bomb_of_webp(side: int = 10_000) -> bytes:
    """A WebP of a few kilobytes with `side` times `side` pixels of one colour."""
    return _picture("WEBP", side, lossless=True)


def small_bomb_of_webp(side: int) -> bytes:
    """A WebP of 34 bytes with `side` times `side` pixels, at most 16,384: the size of one that is much smaller.

    All pixels of one colour need no bytes, so that the file is valid with any size in its head.
    """
    picture = bytearray(_picture("WEBP", 16, lossless=True))
    (size,) = struct.unpack_from("<I", picture, 21)
    struct.pack_into("<I", picture, 21, size & ~(2**28 - 1) | (side - 1) << 14 | (side - 1))
    return bytes(picture)


def _picture(kind: str, side: int, **options: object) -> bytes:
    from PIL import Image  # noqa: PLC0415  # only attacks with images need it

    out = io.BytesIO()
    Image.new("RGB", (side, side)).save(out, kind, **options)
    return out.getvalue()


def _chunks(size: int) -> bytes:
    picture = _picture("PNG", 4)
    chunk = struct.pack(">I", 0) + b"tEXt" + struct.pack(">I", zlib.crc32(b"tEXt"))
    return picture[:33] + repeated(chunk, size) + picture[33:]


def _in_jpeg(piece: bytes, after: bytes = b"", *, in_scan: bool) -> Bytes:
    def make(size: int) -> bytes:
        picture = _picture("JPEG", 64)
        at = len(picture) - 2 if in_scan else 2
        return picture[:at] + repeated(piece, size) + after + picture[at:]

    return make


IMAGES: Mapping[str, Bytes] = {
    "WebP of many pixels": lambda _: bomb_of_webp(),
    "JPEG with fill bytes at its beginning": _in_jpeg(b"\xff", in_scan=False),
    "JPEG with fill bytes and bare markers": _in_jpeg(b"\xff" * 4095 + b"\xd0", in_scan=False),
    "JPEG with fill bytes in its pixels": _in_jpeg(b"\xff", b"\0", in_scan=True),
    "JPEG with restart markers": _in_jpeg(b"\xff\xd0", in_scan=True),
    "GIF with short blocks": lambda size: (
        b"GIF89a\x01\0\x01\0\0\0\0," + bytes(8) + b"\0\x02" + repeated(b"\x01a", size) + b"\0;"
    ),
    "PNG with empty chunks": _chunks,
}

FILES: Mapping[str, tuple[str, Bytes]] = {
    "gzip of blanks": ("gzip", lambda size: gzip.compress(b" " * (1000 * size))),
    "gzip of nothing, many times": ("gzip", lambda size: repeated(gzip.compress(b""), size)),
    "small signed chunks": ("aws-chunked", lambda size: repeated(b"1;chunk-signature=x\r\na\r\n", size)),
}
