"""Content encodings are detected by the bytes themselves and decoded within limits, in pieces of any size."""

import gzip
import tracemalloc
import zlib
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.adapter import content_encoding as module
from gateway.domain.adapter.content_encoding import (
    FREE_BYTES,
    MEMBERS_MAX,
    PIECE,
    BodyDecoder,
    DecodedTooLarge,
    UndecodableBody,
    encodings_of,
)

from ....cases import every

packed = partial(gzip.compress, mtime=0)  # equal bytes each time, because they are in the names of tests

VIDEO = b"\0\0\0\x18ftypisom" + bytes(range(256)) * 40
JSON = b'{"id": "task_1", "status": "queued"}'
PNG = b"\x89PNG\r\n\x1a\n" + b"picture" * 100
SIGNATURE = b";chunk-signature=" + b"0a" * 32


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def aws_chunked(data: bytes, *, signed: bool = True, size: int = 1000) -> bytes:
    mark = SIGNATURE if signed else b""
    parts = [data[start : start + size] for start in range(0, len(data), size)]
    chunks = b"".join(b"%x%s\r\n%s\r\n" % (len(part), mark, part) for part in parts)
    return chunks + b"0" + mark + b"\r\nx-amz-checksum-crc32:sOO8/Q==\r\n\r\n"


def decode(body: bytes, encodings: str = "", *, limit: int = 10**6, step: int | None = None) -> bytes:
    decoder = BodyDecoder(encodings, limit)
    size = step or len(body) or 1
    decoded = b"".join(decoder.feed(body[start : start + size]) for start in range(0, len(body), size))
    return decoded + decoder.finish()


NONSENSE = ["", "identity", "utf-8", "UTF-8", "binary", "none", "null", "aws-chunked", "gzip", "deflate", "br", "zstd"]


@every("body", [VIDEO, JSON, PNG, b" \r\n[1]", b"<html></html>"])
@every("encodings", [*NONSENSE, "compress", "gzip, br", '"utf-8"', "amz-1.0", "\xff", ", ,"])
def test_plain_bytes_stay_as_they_are_whatever_the_header_says(encodings: str, body: bytes) -> None:
    decoder = BodyDecoder(encodings, 10**6)
    assert decoder.feed(body) + decoder.finish() == body
    assert decoder.is_plain is True


@every("body", [VIDEO, JSON, PNG])
@every("encodings", [*NONSENSE, "x-gzip", "GZIP", "gzip, gzip", "deflate, gzip"])
def test_gzip_is_decoded_whatever_the_header_says(encodings: str, body: bytes) -> None:
    assert decode(packed(body), encodings) == body


PACKED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "deflate": ("deflate", zlib.compress),
    "deflate without its header": ("Deflate", raw_deflate),
    "deflate that is called gzip": ("gzip", zlib.compress),
    "gzip twice": ("gzip, gzip", lambda body: packed(packed(body))),
    "gzip twice, said once": ("gzip", lambda body: packed(packed(body))),
    "deflate in gzip": ("deflate, gzip", lambda body: packed(zlib.compress(body))),
    "gzip in deflate": ("gzip, deflate", lambda body: zlib.compress(packed(body))),
    "gzip in two parts": ("gzip", lambda body: packed(body[:50]) + packed(body[50:])),
    "gzip with padding": ("gzip", lambda body: packed(body) + bytes(1000)),
    "gzip with bytes behind": ("gzip", lambda body: packed(body) + b"\x1f\x8c and more"),
    "deflate with bytes behind": ("deflate", lambda body: zlib.compress(body) + packed(b"more")),
    "signed chunks": ("aws-chunked", aws_chunked),
    "signed chunks, unsaid": ("", aws_chunked),
    "unsigned chunks": ("aws-chunked", lambda body: aws_chunked(body, signed=False, size=70_000)),
    "gzip in chunks": ("gzip,aws-chunked", lambda body: aws_chunked(packed(body), size=17)),
}


@every("case", PACKED)
@every("step", [None, 1, 7, 1000])
def test_a_compressed_body_is_decoded_in_pieces_of_any_size(case: str, step: int | None) -> None:
    encodings, pack = PACKED[case]
    assert decode(pack(VIDEO), encodings, step=step) == VIDEO
    assert decode(pack(JSON), encodings, step=step) == JSON


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=300) | st.binary(max_size=300).map(gzip.compress),
    st.sampled_from(["", "gzip", "deflate", "br", "aws-chunked", "gzip, deflate", "utf-8"]),
    st.integers(1, 50),
)
def test_any_bytes_are_decoded_alike_in_pieces_of_any_size(body: bytes, encodings: str, step: int) -> None:
    def outcome(step: int | None) -> bytes | str:
        try:
            return decode(body, encodings, step=step)
        except UndecodableBody as error:
            return str(error)

    assert outcome(step) == outcome(None)


@every(
    ("body", "encodings", "says"),
    [
        (b"\x28\xb5\x2f\xfd" + bytes(50), "zstd", "zstd, which is not supported"),
        (b"\x28\xb5\x2f\xfd" + bytes(50), "", "zstd, which is not supported"),
        (b"\x8b\x0a\x80packed without a mark", "br", "br, which is not supported"),
        (packed(b"\x8b\x0a\x80packed without a mark"), "br, gzip", "br, which is not supported"),
        (b"\x1f\x9d\x90" + bytes(50), "compress", "compress, which is not supported"),
        (packed(VIDEO)[:-20], "gzip", "breaks off in the middle of its gzip"),
        (zlib.compress(VIDEO)[:-20], "deflate", "breaks off in the middle of its deflate"),
        (aws_chunked(VIDEO)[:3000], "aws-chunked", "breaks off in the middle of its aws-chunked"),
        (packed(VIDEO)[:10] + b"\xff" * 50, "gzip", "damaged"),
        (packed(VIDEO)[:-8] + bytes(8), "gzip", "damaged"),
        (aws_chunked(VIDEO).replace(b"3e8;", b"3f0;"), "aws-chunked", "damaged"),
        (b"3e8;chunk-signature=" + b"0" * 2000, "aws-chunked", "damaged"),
        (b"1;chunk-signature=0\r\na\r\n" + b"\r\n" * 50, "aws-chunked", "damaged"),
        (packed(packed(packed(packed(VIDEO)))), "gzip", "encoded more than 3 times"),
        (packed(VIDEO[:2]) * (MEMBERS_MAX + 1), "gzip", "more than 1000 parts"),
    ],
)
def test_a_body_that_cannot_be_decoded_has_a_reason(body: bytes, encodings: str, says: str) -> None:
    with pytest.raises(UndecodableBody, match=says):
        decode(body, encodings)


def test_an_empty_body_is_empty_in_any_encoding() -> None:
    for encodings in NONSENSE:
        assert decode(b"", encodings) == b""
    assert decode(packed(b""), "gzip") == b""


def test_decoded_bytes_are_limited() -> None:
    assert decode(packed(bytes(1000)), limit=1000) == bytes(1000)
    with pytest.raises(DecodedTooLarge, match="more than 999 bytes"):
        decode(packed(bytes(1000)), limit=999)


def test_a_decompression_bomb_is_stopped_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ratio is recognised long before the limit, and it takes the memory of one piece."""
    monkeypatch.setattr(module, "FREE_BYTES", 8 * 2**20)
    bomb = packed(packed(bytes(40 * 2**20)))
    decoder = BodyDecoder("gzip, gzip", 10**12)
    produced = 0
    tracemalloc.start()
    try:
        with pytest.raises(DecodedTooLarge, match="200 times its size"):  # noqa: PT012  # what came before it counts
            for piece in decoder.pieces(bomb):
                assert 0 < len(piece) <= PIECE
                produced += len(piece)
        assert tracemalloc.get_traced_memory()[1] < 4 * PIECE
    finally:
        tracemalloc.stop()
    assert produced <= module.FREE_BYTES < FREE_BYTES


def test_names_are_read_in_any_spelling() -> None:
    assert encodings_of(' GZIP ,"aws-chunked",, x-gzip') == {"gzip", "aws-chunked", "x-gzip"}
    assert encodings_of("") == frozenset()
    assert len(encodings_of("a," * 10**6)) == 1
