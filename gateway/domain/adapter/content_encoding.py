"""Undoes the content encodings of a body, with bounds on what a decoder may produce. Pure.

The first bytes of a body decide which encoding it has, and the `Content-Encoding` header only helps. Many servers write
nonsense there (`utf-8`, `binary`, `none`), name an encoding that a proxy has already undone, or compress without saying
so. A body that begins like gzip is decompressed whatever the header says; a body that begins like a media file or like
JSON stays as it is.

`BodyDecoder` is for bodies that arrive in parts, and refuses damaged ones: a damaged file is not a result. `decoded` is
for replies: the part before the damage may hold the id of a task that was paid for.
"""

import re
import zlib
from collections.abc import Iterator
from typing import Protocol

from msgspec import Struct

from gateway.domain.adapter.body_decoders import (
    AWS_CHUNK,
    GZIP_MAGIC,
    MEMBERS_MAX,
    PIECE,
    ZLIB_MAGIC,
    AwsChunked,
    DecodedTooLarge,
    Inflate,
    UndecodableBody,
    before_damage,
    has_zlib_header,
)

__all__ = [
    "MEMBERS_MAX",
    "PIECE",
    "BodyDecoder",
    "Decoded",
    "DecodedTooLarge",
    "UndecodableBody",
    "decoded",
    "encodings_of",
]

LAYERS_MAX = 3  # encodings around one body
# Deflate reaches 1:1032 on zeros. A small body may do so; a large one with such a ratio is a decompression bomb and not
# a video.
FREE_BYTES, RATIO_MAX = 64 * 1024**2, 200
_DECIDE = 16  # bytes that are held back until the encoding is decided
_ZSTD, _COMPRESS = b"\x28\xb5\x2f\xfd", b"\x1f\x9d"
_PLAIN = (
    *(b"\x1a\x45\xdf\xa3", b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"II*\0", b"MM\0*", b"OggS"),
    *(b"{", b"[", b'"', b"<", b"\xef\xbb\xbf"),
)
_BOXES = frozenset({b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"sidx", b"wide", b"free", b"skip", b"pnot"})
_AWS_SIGNED = re.compile(rb"[0-9A-Fa-f]{1,8};chunk-")


class BodyDecoder:
    """Decodes one body: `feed` the bytes in the order in which they arrive, then call `finish`.

    `encodings` is the value of the `Content-Encoding` header, "" without it. At most `max_output` bytes are produced in
    all.
    """

    def __init__(self, encodings: str, max_output: int) -> None:
        self._limits = _Limits(max_output)
        self._body = _Layer(encodings_of(encodings), self._limits, depth=0)

    @property
    def is_plain(self) -> bool | None:
        """Whether the body is passed on as it arrives; None until its first bytes have shown it."""
        return self._body.is_plain

    def feed(self, data: bytes) -> bytes:
        """The content of these bytes. Raises `UndecodableBody`."""
        return b"".join(self.pieces(data))

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Like `feed`, for large bodies: yields the content in parts of at most `PIECE` bytes, and never b""."""
        self._limits.received += len(data)
        return self._body.feed(data)

    def finish(self) -> bytes:
        """The bytes that were held back. Raises `UndecodableBody` if the body breaks off within its encoding."""
        return b"".join(self._body.finish())


class Decoded(Struct, frozen=True):
    """A whole body with its encodings undone."""

    body: bytes
    whole: bool  # False: it breaks off, is damaged, or has an encoding that is not supported


def decoded(body: bytes, encodings: str, max_output: int) -> Decoded:
    """The body of a reply without its encodings; of a damaged body the part before the damage.

    Raises `DecodedTooLarge` if more than `max_output` bytes would be produced.
    """
    decoder = BodyDecoder(encodings, max_output)
    parts: list[bytes] = []
    try:
        parts += decoder.pieces(body)
        parts.append(decoder.finish())
    except DecodedTooLarge:
        raise
    except UndecodableBody:
        partial = before_damage(body, encodings_of(encodings), max_output)
        return Decoded(max(b"".join(parts), partial, key=len), whole=False)
    return Decoded(b"".join(parts), whole=True)


def encodings_of(value: str) -> frozenset[str]:
    """The names in a `Content-Encoding` header, in lower case; they may be nonsense."""
    return frozenset(part.strip().strip("\"'").lower() for part in value[:1000].split(",")) - {""}


class _Limits:
    """The bounds of one body. `received` counts its bytes as they arrived."""

    def __init__(self, max_output: int) -> None:
        self._max_output = max_output
        self.received = 0

    def check(self, produced: int) -> None:
        if produced > self._max_output:
            raise DecodedTooLarge(f"has more than {self._max_output:,} bytes once it is decoded")
        if produced > FREE_BYTES and produced > self.received * RATIO_MAX:
            raise DecodedTooLarge(f"unpacks to more than {RATIO_MAX} times its size")


class _Decoder(Protocol):
    def decode(self, data: bytes) -> Iterator[bytes]:
        """The content in pieces."""
        ...

    def finish(self) -> None:
        """Raise `UndecodableBody` if more bytes should have arrived."""
        ...


class _Layer:
    """A body, or the content of an encoding: either is plain, or has an encoding itself."""

    def __init__(self, names: frozenset[str], limits: _Limits, depth: int) -> None:
        self._names = names
        self._limits = limits
        self._depth = depth
        self._held = b""
        self._decoder: _Decoder | None = None
        self._inner: _Layer | None = None
        self._produced = 0
        self.is_plain: bool | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self.is_plain is None:
            self._held += data
            if len(self._held) < _DECIDE:
                return
            data = self._decide()
        yield from self._decode(data)

    def finish(self) -> Iterator[bytes]:
        if self.is_plain is None:
            yield from self._decode(self._decide())
        if self._decoder is not None and self._inner is not None:
            self._decoder.finish()
            yield from self._inner.finish()

    def _decide(self) -> bytes:
        """Choose the decoder by the bytes that were held back, and return these bytes."""
        data, self._held = self._held, b""
        self._decoder = _decoder_for(data, self._names)
        self.is_plain = self._decoder is None
        if self._decoder is not None:
            if self._depth >= LAYERS_MAX:
                raise UndecodableBody(f"is encoded more than {LAYERS_MAX} times")
            self._inner = _Layer(self._names, self._limits, self._depth + 1)
        return data

    def _decode(self, data: bytes) -> Iterator[bytes]:
        if self._decoder is None or self._inner is None:
            self._count(data)
            if data:
                yield data
            return
        for piece in self._decoder.decode(data):
            self._count(piece)
            yield from self._inner.feed(piece)

    def _count(self, data: bytes) -> None:
        self._produced += len(data)
        self._limits.check(self._produced)


def _decoder_for(head: bytes, names: frozenset[str]) -> _Decoder | None:
    """The decoder for a body that begins so, None for a plain body.

    Raises `UndecodableBody` for an encoding that is not supported.
    """
    if head.startswith(GZIP_MAGIC):
        return Inflate("gzip", zlib.MAX_WBITS | 16)
    if not head or _is_plain(head):
        return None
    if _AWS_SIGNED.match(head) or ("aws-chunked" in names and AWS_CHUNK.match(head)):
        return AwsChunked()
    if head.startswith(_ZSTD):
        raise UndecodableBody("is compressed with zstd, which is not supported")
    if head.startswith(_COMPRESS) and names & {"compress", "x-compress"}:
        raise UndecodableBody("is compressed with compress, which is not supported")
    named = names & {"deflate", "x-deflate", "zlib", "gzip", "x-gzip"}
    if has_zlib_header(head) and (named or head.startswith(ZLIB_MAGIC)) and _is_deflate(head, zlib.MAX_WBITS):
        return Inflate("deflate", zlib.MAX_WBITS)
    # RFC 9110 means deflate with a header, some servers send it without one.
    if named - {"gzip", "x-gzip", "zlib"} and not _is_text(head) and _is_deflate(head, -zlib.MAX_WBITS):
        return Inflate("deflate", -zlib.MAX_WBITS)
    if "br" in names and not _is_text(head):  # nothing in the bytes themselves identifies brotli
        raise UndecodableBody("is compressed with br, which is not supported")
    return None


def _is_plain(head: bytes) -> bool:
    """Whether a body begins like a media file, an image, a page or JSON: then no header makes it an encoded one."""
    is_bitmap = head.startswith(b"BM") and head[6:10] == b"\0\0\0\0"
    return head[4:8] in _BOXES or is_bitmap or head.lstrip(b" \t\r\n").startswith(_PLAIN)


def _is_text(head: bytes) -> bool:
    """Whether a body begins with printable ASCII only, like an error page without tags: compressed bytes do not."""
    return all(byte in b"\t\r\n" or 0x20 <= byte < 0x7F for byte in head)


def _is_deflate(head: bytes, window: int) -> bool:
    try:
        zlib.decompressobj(window).decompress(head, 64)
    except zlib.error:
        return False
    return True
