"""Undoes the content encodings of a body, with bounds on what a decoder may produce. Pure.

The first bytes of a body decide, and the `Content-Encoding` header only helps: many servers write nonsense there
(`utf-8`, `binary`, `none`), name an encoding that was undone on the way, or compress without saying so. A body that
begins like gzip is unpacked whatever the header says; a body that begins like a media file or like JSON stays as it is.

`BodyDecoder` is for bodies that arrive in parts, and refuses what is damaged: a damaged file is no result. `decoded` is
for replies: what comes before the damage may hold the id of a task that was paid for.
"""

import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Protocol

from msgspec import Struct

PIECE = 256 * 1024  # bytes that a decoder hands over at once: what one piece of a bomb may take in memory
LAYERS_MAX = 3  # encodings around one body
MEMBERS_MAX = 1000  # parts of one gzip body
# Deflate reaches 1:1032 on zeros. A small body may do so, a large one with such a ratio is a bomb and not a video.
FREE_BYTES, RATIO_MAX = 64 * 1024**2, 200
_DECIDE = 16  # bytes that are held back until the encoding is known
_LINE_MAX = 512  # of the line before a chunk of `aws-chunked`
_GZIP, _ZSTD, _COMPRESS = b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\x1f\x9d"
_PLAIN = (
    *(b"\x1a\x45\xdf\xa3", b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"II*\0", b"MM\0*", b"OggS"),
    *(b"{", b"[", b'"', b"<", b"\xef\xbb\xbf"),
)
_BOXES = frozenset({b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"sidx", b"wide", b"free", b"skip", b"pnot"})
_AWS_SIGNED = re.compile(rb"[0-9A-Fa-f]{1,8};chunk-")
_AWS_UNSIGNED = re.compile(rb"[0-9A-Fa-f]{1,8}(?:;|\r\n)")
_ZLIB = tuple(bytes((0x78, level)) for level in (0x01, 0x5E, 0x9C, 0xDA))  # how deflate begins in practice
_STEP = 64  # bytes of a damaged stream that are decoded at once: what the last step would have given is lost


class UndecodableBody(Exception):
    """The body cannot be decoded; the text is safe to show and follows after "a body that"."""


class DecodedTooLarge(UndecodableBody):
    """The decoded body is larger than is taken, or grows as only a decompression bomb does."""


class BodyDecoder:
    """Decodes one body. `feed` what arrives, in order, and call `finish` at its end.

    `encodings` is the value of the `Content-Encoding` header, empty where there is none. At most `max_output` bytes
    come out. `pieces` is for large bodies: it yields at most `PIECE` bytes at a time, however much one input holds.
    """

    def __init__(self, encodings: str, max_output: int) -> None:
        self._limits = _Limits(max_output)
        self._body = _Layer(encodings_of(encodings), self._limits, depth=0)

    @property
    def is_plain(self) -> bool | None:
        """Whether the body is handed over as it arrives; `None` until its first bytes have shown it."""
        return self._body.is_plain

    def feed(self, data: bytes) -> bytes:
        """What this part of the body holds, decoded. Raises `UndecodableBody`."""
        return b"".join(self.pieces(data))

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """The same in pieces of a bounded size, none of them empty."""
        self._limits.received += len(data)
        return self._body.feed(data)

    def finish(self) -> bytes:
        """What was held back. Raises `UndecodableBody` where the body breaks off within its encoding."""
        return b"".join(self._body.finish())


class Decoded(Struct, frozen=True):
    """A whole body with its encodings undone."""

    body: bytes
    whole: bool  # False: it breaks off, is damaged, or has an encoding that is not supported


def decoded(body: bytes, encodings: str, max_output: int) -> Decoded:
    """A reply's body without its encodings; of a damaged one what comes before the damage.

    Raises `DecodedTooLarge` when more than `max_output` bytes would come out.
    """
    decoder = BodyDecoder(encodings, max_output)
    parts: list[bytes] = []
    try:
        parts += decoder.pieces(body)
        parts.append(decoder.finish())
    except DecodedTooLarge:
        raise
    except UndecodableBody:
        before = _before_damage(body, encodings_of(encodings), max_output)
        return Decoded(max(b"".join(parts), before, key=len), whole=False)
    return Decoded(b"".join(parts), whole=True)


def _before_damage(body: bytes, names: frozenset[str], max_output: int) -> bytes:
    """What comes out of one encoding before the place where it is damaged; its checksum is not looked at."""
    if body.startswith(_GZIP):
        begin = _gzip_header_length(body)
    elif names & {"deflate", "gzip", "x-gzip"} or body.startswith(_ZLIB):
        begin = 2 if body[:1] and body[0] & 0x0F == zlib.DEFLATED and int.from_bytes(body[:2]) % 31 == 0 else 0
    else:
        return b""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    parts: list[bytes] = []
    size = 0
    with suppress(zlib.error):
        for start in range(begin, len(body), _STEP):
            part = inflate.decompress(body[start : start + _STEP], max_output - size + 1)
            parts.append(part)
            size += len(part)
            if size > max_output:
                raise DecodedTooLarge(f"has more than {max_output:,} bytes once it is decoded")
            if inflate.eof:
                break
    return b"".join(parts)


def _gzip_header_length(body: bytes) -> int:
    """The length of the header of a gzip member (RFC 1952): flags say which fields follow its first ten bytes."""
    flags, end = body[3] if len(body) > 3 else 0, 10
    if flags & 4:
        end += 2 + int.from_bytes(body[end : end + 2], "little")
    for flag in (8, 16):  # a file name and a comment: each ends with a zero byte
        if flags & flag:
            end = body.find(b"\0", end) + 1 or len(body)
    return end + 2 if flags & 2 else end


def encodings_of(value: str) -> frozenset[str]:
    """The names in a `Content-Encoding` header, in lower case; they may be nonsense."""
    return frozenset(part.strip().strip("\"'").lower() for part in value[:1000].split(",")) - {""}


class _Limits:
    """What one body may become."""

    def __init__(self, max_output: int) -> None:
        self._max_output = max_output
        self.received = 0

    def check(self, produced: int) -> None:
        if produced > self._max_output:
            raise DecodedTooLarge(f"has more than {self._max_output:,} bytes once it is decoded")
        if produced > FREE_BYTES and produced > self.received * RATIO_MAX:
            raise DecodedTooLarge(f"unpacks to more than {RATIO_MAX} times its size")


class _Encoding(Protocol):
    def decode(self, data: bytes) -> Iterator[bytes]:
        """The content in pieces."""
        ...

    def finish(self) -> None:
        """Raise `UndecodableBody` where more should have come."""
        ...


class _Layer:
    """A body, or what is inside of an encoding: encoded once more, or plain."""

    def __init__(self, names: frozenset[str], limits: _Limits, depth: int) -> None:
        self._names = names
        self._limits = limits
        self._depth = depth
        self._held = b""
        self._encoding: _Encoding | None = None
        self._inner: _Layer | None = None
        self._produced = 0
        self.is_plain: bool | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self.is_plain is None:
            self._held += data
            if len(self._held) < _DECIDE:
                return
            data = self._decided()
        yield from self._decoded(data)

    def finish(self) -> Iterator[bytes]:
        if self.is_plain is None:
            yield from self._decoded(self._decided())
        if self._encoding is not None and self._inner is not None:
            self._encoding.finish()
            yield from self._inner.finish()

    def _decided(self) -> bytes:
        data, self._held = self._held, b""
        self._encoding = _encoding_of(data, self._names)
        self.is_plain = self._encoding is None
        if self._encoding is not None:
            if self._depth >= LAYERS_MAX:
                raise UndecodableBody(f"is encoded more than {LAYERS_MAX} times")
            self._inner = _Layer(self._names, self._limits, self._depth + 1)
        return data

    def _decoded(self, data: bytes) -> Iterator[bytes]:
        if self._encoding is None or self._inner is None:
            self._count(data)
            if data:
                yield data
            return
        for piece in self._encoding.decode(data):
            self._count(piece)
            yield from self._inner.feed(piece)

    def _count(self, data: bytes) -> None:
        self._produced += len(data)
        self._limits.check(self._produced)


def _encoding_of(head: bytes, names: frozenset[str]) -> _Encoding | None:
    """The encoding that begins so, `None` for plain bytes. Raises `UndecodableBody` for one that is not supported."""
    if head.startswith(_GZIP):
        return _Inflate("gzip", zlib.MAX_WBITS | 16)
    if not head or _is_plain(head):
        return None
    if _AWS_SIGNED.match(head) or ("aws-chunked" in names and _AWS_UNSIGNED.match(head)):
        return _AwsChunked()
    if head.startswith(_ZSTD):
        raise UndecodableBody("is compressed with zstd, which is not supported")
    if head.startswith(_COMPRESS) and names & {"compress", "x-compress"}:
        raise UndecodableBody("is compressed with compress, which is not supported")
    named = names & {"deflate", "x-deflate", "zlib", "gzip", "x-gzip"}
    is_zlib = head[0] & 0x0F == zlib.DEFLATED and int.from_bytes(head[:2]) % 31 == 0
    if is_zlib and (named or head.startswith(_ZLIB)) and _is_deflate(head, zlib.MAX_WBITS):
        return _Inflate("deflate", zlib.MAX_WBITS)
    # Some servers mean this by the word, against RFC 9110.
    if named - {"gzip", "x-gzip", "zlib"} and not _is_words(head) and _is_deflate(head, -zlib.MAX_WBITS):
        return _Inflate("deflate", -zlib.MAX_WBITS)
    if "br" in names and not _is_words(head):  # nothing in the bytes themselves shows it
        raise UndecodableBody("is compressed with br, which is not supported")
    return None


def _is_plain(head: bytes) -> bool:
    """Whether this begins like a media file, an image, a page or JSON: no decoder is needed, whatever a header says."""
    is_bitmap = head.startswith(b"BM") and head[6:10] == b"\0\0\0\0"
    return head[4:8] in _BOXES or is_bitmap or head.lstrip(b" \t\r\n").startswith(_PLAIN)


def _is_words(head: bytes) -> bool:
    """Whether this begins as plain words do: an error page without tags. Compressed bytes hold others very soon."""
    return all(byte in b"\t\r\n" or 0x20 <= byte < 0x7F for byte in head)


def _is_deflate(head: bytes, window: int) -> bool:
    try:
        zlib.decompressobj(window).decompress(head, 64)
    except zlib.error:
        return False
    return True


class _Inflate:
    """gzip in one or more parts, or deflate with or without its header. Bytes after the end are left out."""

    def __init__(self, name: str, window: int) -> None:
        self._name = name
        self._window = window
        self._inflate = zlib.decompressobj(window)
        self._members = 1
        self._after = b""  # fewer bytes than show whether another part begins
        self._over = False

    def decode(self, data: bytes) -> Iterator[bytes]:
        while True:
            if self._inflate.eof:
                data = self._next_member(data)
                if not data:
                    return
            try:
                piece = self._inflate.decompress(data, PIECE)
            except zlib.error as error:
                raise UndecodableBody(f"is damaged: its {self._name} encoding cannot be undone") from error
            if piece:
                yield piece
            data = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
            if not data and len(piece) < PIECE:  # a full piece may leave more inside of the decoder
                return

    def finish(self) -> None:
        if not self._inflate.eof:
            raise UndecodableBody(f"breaks off in the middle of its {self._name} encoding")

    def _next_member(self, data: bytes) -> bytes:
        """The beginning of another gzip part with the decoder set up for it; empty where there is none (yet)."""
        if self._over:
            return b""
        self._after += data
        if self._name != "gzip" or not self._after.startswith(_GZIP):
            # Only gzip has parts. Padding and anything else that follows is not looked at.
            self._over = self._name != "gzip" or not _GZIP.startswith(self._after)
            return b""
        self._members += 1
        if self._members > MEMBERS_MAX:
            raise UndecodableBody(f"has more than {MEMBERS_MAX} parts in its gzip encoding")
        self._inflate = zlib.decompressobj(self._window)
        data, self._after = self._after, b""
        return data


class _AwsChunked:
    """The framing of signed uploads to S3, which some stores keep as if it were the content: `SIZE[;…]CRLF data CRLF`.

    Signatures are not checked. After the chunk of size 0 only trailers follow.
    """

    def __init__(self) -> None:
        self._line = b""
        self._left = 0
        self._ends_chunk = False  # the line that comes next is the empty one behind the data of a chunk
        self._over = False

    def decode(self, data: bytes) -> Iterator[bytes]:
        place = 0
        while place < len(data) and not self._over:
            if self._left:
                piece = data[place : place + self._left]
                self._left -= len(piece)
                place += len(piece)
                yield piece
                continue
            end = data.find(b"\n", place) + 1 or len(data)
            self._line += data[place : min(end, place + _LINE_MAX)]
            place = end
            if self._line.endswith(b"\n"):
                self._begin_chunk()
            elif len(self._line) >= _LINE_MAX:
                raise UndecodableBody("is damaged: its aws-chunked encoding cannot be undone")

    def finish(self) -> None:
        if not self._over:
            raise UndecodableBody("breaks off in the middle of its aws-chunked encoding")

    def _begin_chunk(self) -> None:
        line, self._line = self._line.strip(), b""
        if not line and self._ends_chunk:
            self._ends_chunk = False
            return
        if _AWS_UNSIGNED.match(line + b";") is None:
            raise UndecodableBody("is damaged: its aws-chunked encoding cannot be undone")
        self._left = int(line.partition(b";")[0], 16)
        self._ends_chunk = True
        self._over = self._left == 0
