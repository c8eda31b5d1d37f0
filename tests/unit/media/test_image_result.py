"""The images of results: what counts as an image that decodes within limits, and its thumbnail."""

import asyncio
import io
import os
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gateway.domain.routing.image_limits import ImageFacts
from gateway.media import image_result
from gateway.media.image_decode import BYTES_MAX, JPEG_BYTES_MAX, PIXELS_MAX, SIDE_MAX
from gateway.media.image_result import EXTENSIONS, ImageChecker, NotChecked, begins_image, draw_thumbnail

RED = (220, 20, 20)
PAGE = b"<!doctype html><title>Not Found</title>"
MP4 = b"\0\0\0\x18ftypisom\0\0\2\0isommp41" + bytes(500)


def made(form: str, size: tuple[int, int] = (64, 48), mode: str = "RGB", **options: Any) -> bytes:
    out = io.BytesIO()
    colour = RED if mode == "RGB" else 0
    Image.new(mode, size, colour).save(out, form, **options)
    return out.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(width: int, height: int, pixels: bytes) -> bytes:
    """A PNG in shades of grey that declares this size, with sound checksums, whatever its pixels are."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def zeros(count: int) -> bytes:
    """So many zero bytes, compressed."""
    packer = zlib.compressobj(9)
    return b"".join([packer.compress(bytes(count)), packer.flush()])


def animation(form: str) -> bytes:
    frames = [Image.new("RGB", (20, 10), (shade, 0, 0)) for shade in (10, 120, 240)]
    out = io.BytesIO()
    frames[0].save(out, form, save_all=True, append_images=frames[1:], duration=100)
    return out.getvalue()


def turned(orientation: int) -> bytes:
    """A JPEG that a viewer turns, with a red left half as it is stored."""
    image = Image.new("RGB", (64, 32), "black")
    image.paste(RED, (0, 0, 32, 32))
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    image.save(out, "JPEG", exif=exif)
    return out.getvalue()


async def read(folder: Path, content: bytes) -> ImageFacts | str:
    path = folder / "result"
    path.write_bytes(content)
    return await ImageChecker().read(path, "key")


WHOLE = {
    "JPEG": ("image/jpeg", made("JPEG")),
    "progressive JPEG": ("image/jpeg", made("JPEG", progressive=True)),
    "PNG": ("image/png", made("PNG")),
    "PNG with a palette": ("image/png", made("PNG", mode="P")),
    "PNG with 16 bits": ("image/png", made("PNG", mode="I;16")),
    "WebP": ("image/webp", made("WEBP")),
    "lossless WebP": ("image/webp", made("WEBP", lossless=True)),
    "GIF": ("image/gif", made("GIF", mode="P")),
    "BMP": ("image/bmp", made("BMP")),
    "AVIF": ("image/avif", made("AVIF")),
    "TIFF": ("image/tiff", made("TIFF")),
}


@pytest.mark.parametrize(("content_type", "content"), WHOLE.values(), ids=WHOLE)
async def test_a_whole_image_is_read_with_its_type_and_size(tmp_path: Path, content_type: str, content: bytes) -> None:
    facts = ImageFacts(content_type=content_type, bytes=len(content), width=64, height=48)
    assert await read(tmp_path, content) == facts
    assert content_type in EXTENSIONS
    assert begins_image(content[:64])


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP"])
async def test_an_animation_is_an_image(tmp_path: Path, form: str) -> None:
    facts = await read(tmp_path, animation(form))
    assert isinstance(facts, ImageFacts)
    assert (facts.width, facts.height) == (20, 10)


@pytest.mark.parametrize(("orientation", "size"), [(1, (64, 32)), (3, (64, 32)), (6, (32, 64)), (8, (32, 64))])
async def test_the_size_is_that_of_the_picture_as_it_is_shown(
    tmp_path: Path, orientation: int, size: tuple[int, int]
) -> None:
    facts = await read(tmp_path, turned(orientation))
    assert isinstance(facts, ImageFacts)
    assert (facts.width, facts.height) == size


BROKEN = {
    "nothing": (b"", "is empty"),
    "a page": (PAGE, "is an HTML page, not an image"),
    "a text": (b'{"error": "no such file"}', "is a JSON text, not an image"),
    "an SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is an SVG image, not an image"),
    "a video": (MP4, "is a video (MP4), not an image"),
    "noise": (b"\x07" * 5000, "is of no known kind, not an image"),
    "a PNG that is cut off": (made("PNG", (640, 480))[:-30], "is cut off"),
    "a JPEG that is cut off": (made("JPEG", (640, 480))[:-200], "is cut off"),
    "a WebP that is cut off": (made("WEBP", (640, 480))[:-10], "is cut off"),
    "a GIF that is cut off": (made("GIF", (640, 480), mode="P")[:-40], "is cut off"),
    "an AVIF that is cut off": (made("AVIF")[:-10], "is cut off"),
    "a PNG with too few pixels": (png_of(64, 64, zeros(1000)), "cannot be decoded"),
    "a PNG with noise for pixels": (png_of(64, 64, b"\x07" * 500), "cannot be decoded"),
    "a WebP with noise for pixels": (made("WEBP", lossless=True)[:26] + b"\xff" * 16, "is not a sound image"),
    "100 megapixels in a few kilobytes": (png_of(10_000, 10_000, zeros(10_001 * 10_000)), "megapixels"),
    "a billion pixels that are not there": (png_of(32_000, 32_000, zeros(1000)), "megapixels"),
}


@pytest.mark.parametrize(("content", "reason"), BROKEN.values(), ids=BROKEN)
async def test_anything_else_is_refused_with_its_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    refusal = await read(tmp_path, content)
    assert isinstance(refusal, str)
    assert reason in refusal


async def test_a_file_over_the_limit_of_bytes_is_refused_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "result"
    path.write_bytes(made("PNG"))
    os.truncate(path, BYTES_MAX + 1)
    refusal = await ImageChecker().read(path, "key")
    assert refusal == f"has {BYTES_MAX + 1:,} bytes, more than the {BYTES_MAX:,} of an image"


async def test_the_largest_image_of_the_limits_is_read(tmp_path: Path) -> None:
    side = int(PIXELS_MAX**0.5)
    facts = await read(tmp_path, png_of(side, side, zeros((side + 1) * side)))
    assert isinstance(facts, ImageFacts)
    assert (facts.width, facts.height) == (side, side)


@pytest.mark.parametrize("content", [PAGE, MP4, b""], ids=["page", "video", "nothing"])
async def test_no_process_is_started_for_what_is_certainly_not_an_image(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def started(*_: Any, **__: Any) -> Any:
        raise AssertionError("a process was started")

    monkeypatch.setattr(image_result, "run_decoder", started)
    assert isinstance(await read(tmp_path, content), str)


@pytest.mark.parametrize(
    ("ended", "outcome"),
    [
        ((-24, b""), "takes too much time to decode"),  # SIGXCPU
        ((-11, b""), "crashes the decoder"),  # SIGSEGV
        ((4, b""), "takes too much memory to decode"),
        ((-9, b""), NotChecked),  # the machine had no memory left and killed it
        ((1, b""), NotChecked),  # Python could not start
        ((0, b"not JSON"), NotChecked),
        ((3, b""), NotChecked),
        (None, NotChecked),  # the machine was too busy
        (OSError(11, "no process left"), NotChecked),
    ],
    ids=range(9),
)
async def test_what_says_nothing_about_the_image_is_not_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: Any, outcome: Any
) -> None:
    async def run(*_: Any, **__: Any) -> Any:
        if isinstance(ended, OSError):
            raise ended
        return ended

    monkeypatch.setattr(image_result, "run_decoder", run)
    if isinstance(outcome, str):
        assert await read(tmp_path, made("PNG")) == outcome
    else:
        with pytest.raises(outcome):
            await read(tmp_path, made("PNG"))


async def test_a_process_that_takes_too_long_is_killed_and_proves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "result"
    path.write_bytes(made("PNG"))
    with pytest.raises(NotChecked, match="was not decoded within"):
        await ImageChecker(seconds=0.001).read(path, "key")


def environments_of_children() -> list[bytes]:
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
    return [Path(f"/proc/{child}/environ").read_bytes() for child in children]


async def test_nothing_of_our_environment_reaches_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEVX_API_KEY", "a-key")
    image = tmp_path / "image"
    os.mkfifo(image)
    waiting = asyncio.create_task(draw_thumbnail(image, tmp_path / "picture"))
    writing = await asyncio.to_thread(os.open, image, os.O_WRONLY)  # returns when the process has opened it
    assert [environment.count(b"a-key") for environment in environments_of_children()] == [0]
    os.close(writing)
    assert not await waiting


def test_the_process_is_bound_to_its_limits(tmp_path: Path) -> None:
    """Memory, and the size of the file that it writes: both are tried in the process itself."""
    tries = (
        "import resource, sys\n"
        "from gateway.media import image_decode\n"
        "def attempt(*_):\n"
        "    bytearray(3 << 30)\n"
        "image_decode.decode = attempt\n"
        "sys.exit(image_decode.main())\n"
    )
    ended = subprocess.run([sys.executable, "-c", tries, str(tmp_path / "x")], check=False)  # noqa: S603
    assert ended.returncode == 4


# --- thumbnails -------------------------------------------------------------------------------------------------------


async def thumbnail_of(folder: Path, content: bytes) -> Image.Image | None:
    image, to = folder / "image", folder / "picture"
    image.write_bytes(content)
    if not await draw_thumbnail(image, to):
        assert not to.exists()
        return None
    assert to.stat().st_size <= JPEG_BYTES_MAX
    return Image.open(io.BytesIO(to.read_bytes()))


def is_red(picture: Image.Image, x: float = 0.5, y: float = 0.5) -> bool:
    pixel: Any = picture.convert("RGB").getpixel((int(picture.width * x), int(picture.height * y)))
    return all(abs(value - red) < 40 for value, red in zip(pixel, RED, strict=True))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF"])
@pytest.mark.parametrize(
    ("size", "expected"), [((1280, 640), (640, 320)), ((200, 1280), (100, 640)), ((96, 64), (96, 64))]
)
async def test_the_thumbnail_is_a_small_jpeg(
    tmp_path: Path, form: str, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    picture = await thumbnail_of(tmp_path, made(form, size))
    assert picture is not None
    assert (picture.format, picture.size) == ("JPEG", expected)
    assert max(picture.size) <= SIDE_MAX
    assert is_red(picture)


async def test_the_thumbnail_is_upright_and_has_no_metadata(tmp_path: Path) -> None:
    picture = await thumbnail_of(tmp_path, turned(6))  # the left half as stored is the upper half as shown
    assert picture is not None
    assert picture.size == (32, 64)
    assert is_red(picture, y=0.25)
    assert not is_red(picture, y=0.75)
    assert dict(picture.getexif()) == {}


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
async def test_transparent_areas_become_white(tmp_path: Path, mode: str) -> None:
    options = {"transparency": 0} if mode == "P" else {}
    picture = await thumbnail_of(tmp_path, made("PNG", mode=mode, **options))
    assert picture is not None
    assert picture.getpixel((10, 10)) == (255, 255, 255)


async def test_sixteen_bits_a_pixel_keep_their_brightness(tmp_path: Path) -> None:
    out = io.BytesIO()
    Image.new("I;16", (64, 48), 0x8000).save(out, "PNG")
    picture = await thumbnail_of(tmp_path, out.getvalue())
    assert picture is not None
    brightness: Any = picture.convert("L").getpixel((10, 10))
    assert abs(brightness - 0x80) < 3


@pytest.mark.parametrize("content", [PAGE, MP4, made("PNG")[:60], b""], ids=["page", "video", "cut", "nothing"])
async def test_what_is_not_an_image_has_no_thumbnail(tmp_path: Path, content: bytes) -> None:
    assert await thumbnail_of(tmp_path, content) is None
