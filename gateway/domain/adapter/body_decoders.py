"""Decoders for one content encoding each: gzip, deflate, and the `aws-chunked` framing of S3.

`content_encoding` chooses the decoder and bounds what it may produce.
"""

import re
import zlib
from collections.abc import Iterator
from contextlib import suppress

PIECE = 256 * 1024  # bytes that a decoder yields at a time: the memory that one piece of a decompression bomb takes
MEMBERS_MAX = 1000  # parts of one gzip body
GZIP_MAGIC = b"\x1f\x8b\x08"
ZLIB_MAGIC = tuple(bytes((0x78, level)) for level in (0x01, 0x5E, 0x9C, 0xDA))  # how deflate begins in practice
AWS_CHUNK = re.compile(rb"[0-9A-Fa-f]{1,8}(?:;|\r\n)")
CHUNKS_FREE, CHUNK_MIN = 1000, 256  # after so many chunks of `aws-chunked` their average size; S3 wants 8 KB
_LINE_MAX = 512  # bytes of the line before a chunk of `aws-chunked`
_STEP = 64  # bytes of a damaged stream that are decoded at a time: what the last step would have produced is lost


class UndecodableBody(Exception):
    """The body cannot be decoded. The text is safe to show and completes "a body that …"."""


class DecodedTooLarge(UndecodableBody):
    """The decoded body is larger than the caller allows, or it grows as only a decompression bomb does."""


class Inflate:
    """Decodes gzip with one or more parts, or deflate with or without its header. Bytes after the end are dropped.

    `name` is "gzip" or "deflate"; `window` is the `wbits` of zlib.
    """

    def __init__(self, name: str, window: int) -> None:
        self._name = name
        self._window = window
        self._inflate = zlib.decompressobj(window)
        self._members = 1
        self._after = b""  # the bytes after a part, while they are too few to show whether another part begins
        self._over = False

    def decode(self, data: bytes) -> Iterator[bytes]:
        """The content of these bytes, in pieces of at most `PIECE` bytes. Raises `UndecodableBody`."""
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
            if not data and len(piece) < PIECE:  # after a full piece there may be more inside of the decoder
                return

    def finish(self) -> None:
        """Raises `UndecodableBody` if the body ended too early."""
        if not self._inflate.eof:
            raise UndecodableBody(f"breaks off in the middle of its {self._name} encoding")

    def _next_member(self, data: bytes) -> bytes:
        """The beginning of another gzip part, with the decoder prepared for it; b"" if no part follows (yet)."""
        if self._over:
            return b""
        self._after += data
        if self._name != "gzip" or not self._after.startswith(GZIP_MAGIC):
            # Only gzip has parts. Padding and anything else that follows is ignored.
            self._over = self._name != "gzip" or not GZIP_MAGIC.startswith(self._after)
            return b""
        self._members += 1
        if self._members > MEMBERS_MAX:
            raise UndecodableBody(f"has more than {MEMBERS_MAX} parts in its gzip encoding")
        self._inflate = zlib.decompressobj(self._window)
        data, self._after = self._after, b""
        return data


class AwsChunked:
    """Decodes the framing of signed uploads to S3, which some stores keep as if it were the content.

    The form is `SIZE[;…]CRLF data CRLF` for each chunk. Signatures are not checked. After the chunk of size 0 there are
    only trailers, which are dropped.
    """

    def __init__(self) -> None:
        self._line = b""
        self._left = 0  # bytes of the current chunk that have not arrived
        self._ends_chunk = False  # the next line is the empty one after the data of a chunk
        self._over = False
        self._chunks, self._declared = 0, 0  # their number, and their bytes

    def decode(self, data: bytes) -> Iterator[bytes]:
        """The content of these bytes. Raises `UndecodableBody`."""
        start = 0
        while start < len(data) and not self._over:
            if self._left:
                piece = data[start : start + self._left]
                self._left -= len(piece)
                start += len(piece)
                yield piece
                continue
            end = data.find(b"\n", start) + 1 or len(data)
            self._line += data[start : min(end, start + _LINE_MAX)]
            start = end
            if self._line.endswith(b"\n"):
                self._begin_chunk()
            elif len(self._line) >= _LINE_MAX:
                raise UndecodableBody("is damaged: its aws-chunked encoding cannot be undone")

    def finish(self) -> None:
        """Raises `UndecodableBody` if the last chunk has not arrived."""
        if not self._over:
            raise UndecodableBody("breaks off in the middle of its aws-chunked encoding")

    def _begin_chunk(self) -> None:
        line, self._line = self._line.strip(), b""
        if not line and self._ends_chunk:
            self._ends_chunk = False
            return
        if AWS_CHUNK.match(line + b";") is None:
            raise UndecodableBody("is damaged: its aws-chunked encoding cannot be undone")
        self._left = int(line.partition(b";")[0], 16)
        self._ends_chunk = True
        self._over = self._left == 0
        self._chunks += 1
        self._declared += self._left
        if self._chunks > CHUNKS_FREE and self._declared < self._chunks * CHUNK_MIN:
            raise UndecodableBody("has too many small chunks in its aws-chunked encoding")


def has_zlib_header(data: bytes) -> bool:
    """Whether bytes begin with a header of zlib (RFC 1950)."""
    return bool(data) and data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2]) % 31 == 0


def before_damage(body: bytes, names: frozenset[str], max_output: int) -> bytes:
    """What a damaged body contains before the damage, with one encoding undone. Its checksum is not verified.

    Raises `DecodedTooLarge` if that is more than `max_output` bytes.
    """
    if body.startswith(GZIP_MAGIC):
        begin = _gzip_header_length(body)
    elif names & {"deflate", "gzip", "x-gzip"} or body.startswith(ZLIB_MAGIC):
        begin = 2 if has_zlib_header(body) else 0
    else:
        return b""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    content = bytearray()
    with suppress(zlib.error):
        for start in range(begin, len(body), _STEP):
            content += inflate.decompress(body[start : start + _STEP], max_output - len(content) + 1)
            if len(content) > max_output:
                raise DecodedTooLarge(f"has more than {max_output:,} bytes once it is decoded")
            if inflate.eof:
                break
    return bytes(content)


def _gzip_header_length(body: bytes) -> int:
    """The length of the header of a gzip part (RFC 1952): flags say which fields follow its first ten bytes."""
    flags, end = body[3] if len(body) > 3 else 0, 10
    if flags & 4:
        end += 2 + int.from_bytes(body[end : end + 2], "little")
    for flag in (8, 16):  # a file name and a comment: each ends with a zero byte
        if flags & flag:
            end = body.find(b"\0", end) + 1 or len(body)
    return end + 2 if flags & 2 else end
