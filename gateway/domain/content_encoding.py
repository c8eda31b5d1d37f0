"""Undoing the `Content-Encoding` of a reply that should have none, within strict bounds. Pure.

Proxies and content delivery networks compress replies although `Accept-Encoding: identity` was asked for, and some
servers write words into the header that are no encodings (`utf-8`, `none`, `aws-chunked`). What a provider said under
either header may have been paid for: what can be undone is undone, a word without meaning is ignored.
"""

import zlib
from contextlib import suppress

from msgspec import Struct

_GZIP = frozenset({"gzip", "x-gzip"})
_DEFLATE = frozenset({"deflate", "x-deflate", "zlib"})
_OPAQUE = frozenset({"br", "zstd", "compress", "x-compress", "dcb", "dcz", "lzma", "xz", "x-bzip2", "bzip2"})
_GZIP_MAGIC = b"\x1f\x8b\x08"
_ZLIB_MAGIC = tuple(bytes((0x78, level)) for level in (0x01, 0x5E, 0x9C, 0xDA))
_LAYERS_MAX = 3  # encodings on top of one another
_MEMBERS_MAX = 64  # of one gzip stream
_STEP = 64  # bytes of a damaged stream that are fed at once: what comes out of the last step is lost
_RAW_DEFLATE, _ZLIB, _GZIP_STREAM = -zlib.MAX_WBITS, zlib.MAX_WBITS, 16 + zlib.MAX_WBITS


class TooMuch(Exception):
    """Decoded, the body is larger than was allowed; no more than that was produced."""


class Decoded(Struct, frozen=True):
    """A body with its encodings undone."""

    body: bytes
    whole: bool  # False: the stream breaks off or is damaged, or has an encoding that cannot be undone


def decoded(body: bytes, header: str, limit: int) -> Decoded:
    """The body without its encodings, at most `limit` bytes; raises `TooMuch` beyond. `header` may be anything."""
    named = [word for part in header.split(",")[:32] if (word := part.partition(";")[0].strip(" \t\"'").lower())]
    known = [word for word in named if word in _GZIP or word in _DEFLATE or word in _OPAQUE]
    if any(word in _OPAQUE for word in known) and not _is_text(body):
        return Decoded(body, whole=False)
    claims_deflate = any(word in _DEFLATE for word in known)
    whole = True
    for _ in range(_LAYERS_MAX):
        found = _undone(body, limit, claims_deflate=claims_deflate)
        if found is None:
            break
        body, whole = found.body, found.whole and whole
    return Decoded(body, whole)


def _undone(body: bytes, limit: int, *, claims_deflate: bool) -> Decoded | None:
    """One encoding less, `None` where there is none: the bytes decide, because headers are wrong both ways."""
    if body.startswith(_GZIP_MAGIC):
        return _inflated(body, _GZIP_STREAM, limit)
    if body.startswith(_ZLIB_MAGIC):
        found = _inflated(body, _ZLIB, limit)
        return found if found.body else None
    if claims_deflate and body and not _is_text(body):
        found = _inflated(body, _RAW_DEFLATE, limit)
        return found if found.body else None
    return None


def _inflated(body: bytes, window: int, limit: int) -> Decoded:
    """The bytes of a stream of one or more members; of a damaged one those before the damage."""
    parts: list[bytes] = []
    size = 0
    rest = body
    for _ in range(_MEMBERS_MAX):
        stream = zlib.decompressobj(window)
        try:
            part = stream.decompress(rest, limit - size + 1)
        except zlib.error:
            return Decoded(b"".join(parts) + _before_damage(rest, window, limit - size), whole=False)
        parts.append(part)
        size += len(part)
        if size > limit:
            raise TooMuch
        if not stream.eof:
            return Decoded(b"".join(parts), whole=False)
        rest = stream.unused_data
        if not (window == _GZIP_STREAM and rest.startswith(_GZIP_MAGIC)):
            return Decoded(b"".join(parts), whole=True)  # what follows a stream is padding
    return Decoded(b"".join(parts), whole=False)


def _before_damage(body: bytes, window: int, limit: int) -> bytes:
    """What comes out of a stream before the place where it is damaged; a wrong checksum at its end costs nothing."""
    begin = _gzip_header(body) if window == _GZIP_STREAM else 2 if window == _ZLIB else 0
    stream = zlib.decompressobj(_RAW_DEFLATE)
    parts: list[bytes] = []
    size = 0
    with suppress(zlib.error):
        for start in range(begin, len(body), _STEP):
            part = stream.decompress(body[start : start + _STEP], limit - size + 1)
            parts.append(part)
            size += len(part)
            if size > limit:
                raise TooMuch
            if stream.eof:
                break
    return b"".join(parts)


def _gzip_header(body: bytes) -> int:
    """How long the header of a gzip member is (RFC 1952): flags say which fields follow the first ten bytes."""
    flags, end = body[3] if len(body) > 3 else 0, 10
    if flags & 4:
        end += 2 + int.from_bytes(body[end : end + 2], "little")
    for flag in (8, 16):  # a file name, a comment: each ends with a zero byte
        if flags & flag:
            end = body.find(b"\0", end) + 1 or len(body)
    return end + 2 if flags & 2 else end


def _is_text(body: bytes) -> bool:
    """Whether a body begins as JSON, a page or plain words do: a header that calls it compressed is wrong."""
    start = body.lstrip(b"\xef\xbb\xbf \t\r\n")[:64]
    return bool(start) and all(byte in b"\t\r\n" or byte >= 0x20 for byte in start) and start[:1] in b'{["<' + _LETTERS


_LETTERS = bytes(range(0x30, 0x3A)) + bytes(range(0x41, 0x5B)) + bytes(range(0x61, 0x7B))
