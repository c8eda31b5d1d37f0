"""Images of results whose end marker is there while pixels before it are missing."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gateway.domain.errors import InvalidImage
from gateway.media.image_decode import decode
from gateway.media.image_pixels import check_png_pixels
from gateway.media.image_result import ImageChecker
from gateway.media.image_structure import DamagedImage, check_whole

SIZE = (120, 90)
EOI = b"\xff\xd9"


def noise(form: str, size: tuple[int, int] = SIZE, mode: str = "RGB", **options: Any) -> bytes:
    """A picture of noise: every byte of its data counts."""
    out = io.BytesIO()
    Image.effect_noise(size, 80).convert(mode).save(out, form, **options)
    return out.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_with(packed: bytes, parts: int = 1, **header: int) -> bytes:
    """A PNG in RGB with sound checksums around this image data, in so many chunks."""
    start = struct.pack(">IIBBBBB", *SIZE, 8, 2, 0, 0, header.get("interlaced", 0))
    step = -(-len(packed) // parts)
    data = b"".join(chunk(b"IDAT", packed[at : at + step]) for at in range(0, len(packed), step))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", start) + data + chunk(b"IEND", b"")


def rows(count: int) -> bytes:
    return b"".join(b"\0" + bytes((row + column) % 251 for column in range(SIZE[0] * 3)) for row in range(count))


def webp_cut(content: bytes, fraction: float) -> bytes:
    """The picture cut to this fraction, in a file whose sizes say that it is whole."""
    kind, length = content[12:16], int.from_bytes(content[16:20], "little")
    data = content[20 : 20 + int(length * fraction)]
    picture = kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(picture)) + b"WEBP" + picture


def jpeg_cut(content: bytes, missing: int) -> bytes:
    return content[: -2 - missing] + EOI


BASELINE, PROGRESSIVE = noise("JPEG", quality=90), noise("JPEG", quality=90, progressive=True)
RESTARTS = noise("JPEG", quality=90, restart_marker_blocks=4)
SECOND, THIRD = (RESTARTS.index(bytes([0xFF, marker])) for marker in (0xD1, 0xD2))
CUT = {
    "a PNG whose packed data ends early": png_with(zlib.compress(rows(90))[:200]),
    "a PNG with half of its rows": png_with(zlib.compress(rows(45))),
    "a PNG without its last row": png_with(zlib.compress(rows(89)), parts=3),
    "a PNG with a part of its passes": png_with(zlib.compress(rows(60)), interlaced=1),
    "a JPEG cut in its middle": jpeg_cut(BASELINE, len(BASELINE) // 2),
    "a JPEG without its last bytes": jpeg_cut(BASELINE, 3),
    "a progressive JPEG cut in its middle": jpeg_cut(PROGRESSIVE, len(PROGRESSIVE) // 2),
    "a progressive JPEG without its last bytes": jpeg_cut(PROGRESSIVE, 20),
    "a grey JPEG cut near its end": jpeg_cut(noise("JPEG", mode="L"), 50),
    "a JPEG cut between restart markers": RESTARTS[: SECOND - 20] + RESTARTS[SECOND:],
    "a JPEG without a restart marker": RESTARTS[:SECOND] + RESTARTS[THIRD:],
    "a JPEG cut at a restart marker": RESTARTS[:THIRD] + EOI,
    "a JPEG with a restart marker twice": RESTARTS[:THIRD] + RESTARTS[SECOND:],
    "a WebP cut in its middle": webp_cut(noise("WEBP"), 0.5),
    "a WebP cut near its end": webp_cut(noise("WEBP"), 0.98),
    "a lossless WebP cut in its middle": webp_cut(noise("WEBP", lossless=True), 0.5),
    "a lossless WebP cut near its end": webp_cut(noise("WEBP", lossless=True), 0.99),
}


@pytest.mark.parametrize("content", CUT.values(), ids=CUT)
async def test_an_image_with_missing_pixels_before_its_end_is_no_result(tmp_path: Path, content: bytes) -> None:
    check_whole({b"\x89P": "image/png", b"\xff\xd8": "image/jpeg"}.get(content[:2], "image/webp"), content)
    path = tmp_path / "result"
    path.write_bytes(content)
    reason = await ImageChecker().read(path, "key")
    assert isinstance(reason, str)
    assert reason.startswith("is not a sound image: ")


WHOLE = {
    **{
        f"{mode} JPEG, {options}": noise("JPEG", size, mode, **options)
        for mode in ("RGB", "L", "CMYK")
        for size in ((1, 1), (37, 23), (130, 65))
        for options in (
            {"progressive": True},
            {"optimize": True, "quality": 20},
            {"restart_marker_blocks": 1},
            {"restart_marker_rows": 1, "progressive": True},
        )
    },
    "JPEG without subsampling": noise("JPEG", subsampling=0),
    "JPEG with half the colours": noise("JPEG", subsampling=1, restart_marker_blocks=3),
    "JPEG with bytes after its end": BASELINE + b"appended \xff\xd9\xff\xd0",
    "PNG without the checksum of its data": png_with(zlib.compress(rows(90))[:-4]),
    "PNG with more data than its rows": png_with(zlib.compress(rows(91))),
    "PNG of two colours": noise("PNG", (37, 5), "1"),
    "PNG of 16 bits": noise("PNG", (37, 5), "I;16"),
    "PNG with transparency": noise("PNG", (37, 5), "RGBA"),
}


@pytest.mark.parametrize("content", WHOLE.values(), ids=WHOLE)
def test_a_whole_image_passes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "result"
    path.write_bytes(content)
    assert decode(path).bytes == len(content)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 4), (8, 8), (9, 17)])
def test_an_interlaced_png_needs_the_rows_of_its_passes(tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    counted = [(len(range(left, width, dx)), len(range(top, height, dy))) for left, top, dx, dy in passes]
    data = b"".join((b"\0" + bytes(columns)) * count for columns, count in counted if columns)
    path = tmp_path / "result"

    def written(packed: bytes) -> Path:
        header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1)
        parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(packed)) + chunk(b"IEND", b"")
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
        return path

    assert decode(written(data)).width == width
    with pytest.raises(DamagedImage, match="1 bytes of its unpacked pixels are missing"):
        check_png_pixels(written(data[:-1]).read_bytes())


@settings(max_examples=60)
@given(st.sampled_from([BASELINE, PROGRESSIVE, RESTARTS]), st.integers(1, 3000))
def test_a_jpeg_counts_as_cut_wherever_it_is(tmp_path_factory: pytest.TempPathFactory, whole: bytes, cut: int) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.jpg"
    path.write_bytes(jpeg_cut(whole, cut))
    with pytest.raises(InvalidImage):
        decode(path)


@pytest.mark.parametrize(
    "position",
    [-8, -9],  # how the first of three components is sampled, and its number
)
def test_a_frame_that_contradicts_its_scan_is_refused(tmp_path: Path, position: int) -> None:
    at = BASELINE.index(b"\xff\xc0") + 2 + 17 + position
    path = tmp_path / "result"
    path.write_bytes(BASELINE[:at] + b"\0" + BASELINE[at + 1 :])
    with pytest.raises((InvalidImage, OSError, SyntaxError)):
        decode(path)
