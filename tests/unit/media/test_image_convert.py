"""Converting images to what a route takes: the rule in the domain, and the process that carries it out."""

import asyncio
import io
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from gateway.domain.adapter.contract import ImageLimits
from gateway.domain.routing.image_limits import (
    CONVERT_PIXELS_MAX,
    ImageFacts,
    Remake,
    misfits,
    not_converted,
    remake,
)
from gateway.media import image_convert
from gateway.media.image_convert import ImageConverter, NotConverted
from gateway.media.image_header import inspect

JPEG = Remake(content_type="image/jpeg", width=40, height=30)
FORMATS = st.sets(st.sampled_from(["image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp"]), min_size=1)
LIMITS = st.builds(
    ImageLimits,
    formats=FORMATS.map(frozenset),
    max_bytes=st.none() | st.integers(1, 2 * 10**7),
    min_side=st.none() | st.integers(1, 600),
    max_ratio=st.none() | st.sampled_from([1.0, 2.0, 2.5]),
)
FACTS = st.builds(
    ImageFacts,
    content_type=st.sampled_from(["image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp"]),
    bytes=st.integers(1, 2 * 10**7),
    width=st.integers(1, 9000),
    height=st.integers(1, 9000),
)


@settings(max_examples=300)
@given(FACTS, LIMITS)
def test_a_converted_image_fits_and_keeps_its_shape(facts: ImageFacts, limits: ImageLimits) -> None:
    made = remake(facts, limits)
    if made is None:
        return
    size = ImageFacts(content_type=made.content_type, bytes=0, width=made.width, height=made.height)
    assert misfits(size, limits) == []
    assert made.max_bytes == limits.max_bytes
    assert made.width <= facts.width
    assert made.height <= facts.height
    assert abs(made.width * facts.height - made.height * facts.width) <= 3 * max(facts.width, facts.height)


@pytest.mark.parametrize(
    ("facts", "limits"),
    [
        ({"width": 299}, {"min_side": 300}),
        ({"width": 2000}, {"max_ratio": 2.5}),
        ({"content_type": "image/png"}, {"formats": frozenset({"image/gif"})}),
        ({"bytes": 10**6, "width": 3000, "height": 3000}, {"max_bytes": 40_000, "min_side": 300}),
    ],
    ids=["small", "long", "no type to make", "small once it is light enough"],
)
def test_some_images_cannot_be_made_to_fit(facts: dict[str, Any], limits: dict[str, Any]) -> None:
    picture = ImageFacts(**({"content_type": "image/png", "bytes": 9, "width": 400, "height": 400} | facts))
    assert misfits(picture, ImageLimits(**limits))
    assert remake(picture, ImageLimits(**limits)) is None


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def opened(content: bytes) -> Image.Image:
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        return image


def halves(mode: str, left: Any, right: Any) -> Image.Image:
    image = Image.new(mode, (80, 60), left)
    image.paste(right, (40, 0, 80, 60))
    return image


RED, BLUE = (200, 10, 10), (10, 10, 200)


def shades(picture: Image.Image) -> list[str]:
    """The colours of three corners: top left, top right, bottom left."""
    corners = [(2, 2), (picture.width - 3, 2), (2, picture.height - 3)]
    colours = []
    for corner in corners:
        red, green, blue = picture.convert("RGB").getpixel(corner)  # type: ignore[misc]  # three, in RGB
        colours.append("white" if min(red, green, blue) > 240 else "red" if red > blue else "blue")
    return colours


def on_its_side() -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return exif


GIF = encoded(halves("RGB", RED, BLUE).quantize(), "GIF", save_all=True, append_images=[Image.new("P", (80, 60))])
CASES = {
    "png": (encoded(halves("RGB", RED, BLUE)), ["red", "blue", "red"]),
    "webp": (encoded(halves("RGB", RED, BLUE), "WEBP"), ["red", "blue", "red"]),
    "bmp": (encoded(halves("RGB", RED, BLUE), "BMP"), ["red", "blue", "red"]),
    "palette": (encoded(halves("RGB", RED, BLUE).quantize()), ["red", "blue", "red"]),
    "ink": (encoded(halves("RGB", RED, BLUE).convert("CMYK"), "JPEG"), ["red", "blue", "red"]),
    "moving": (GIF, ["red", "blue", "red"]),
    "clear": (encoded(halves("RGBA", (*RED, 255), (0, 0, 0, 0))), ["red", "white", "red"]),
    "clear grey": (encoded(halves("LA", (0, 0), (255, 255))), ["white", "white", "white"]),
    "deep": (encoded(Image.new("I;16", (80, 60), 65535)), ["white", "white", "white"]),
    "avif": (encoded(halves("RGB", RED, BLUE), "AVIF"), ["red", "blue", "red"]),
    "avif, clear": (encoded(halves("RGBA", (*RED, 255), (0, 0, 0, 0)), "AVIF"), ["red", "white", "red"]),
    "tiff": (encoded(halves("RGB", RED, BLUE), "TIFF"), ["red", "blue", "red"]),
    "tiff, packed": (encoded(halves("RGB", RED, BLUE), "TIFF", compression="tiff_lzw"), ["red", "blue", "red"]),
    "tiff, ink": (encoded(halves("RGB", RED, BLUE).convert("CMYK"), "TIFF"), ["red", "blue", "red"]),
    "tiff, deep": (encoded(Image.new("I;16", (80, 60), 65535), "TIFF"), ["white", "white", "white"]),
    "on its side": (encoded(halves("RGB", RED, BLUE), "JPEG", exif=on_its_side()), ["red", "red", "blue"]),
}


@pytest.mark.parametrize("name", CASES)
async def test_every_kind_of_image_becomes_a_plain_one(name: str) -> None:
    content, corners = CASES[name]
    made = opened(await ImageConverter().convert(content, JPEG))
    turned = name == "on its side"
    assert (made.format, made.mode, made.size) == ("JPEG", "RGB", (30, 40) if turned else (40, 30))
    assert shades(made) == corners
    assert not made.getexif()


async def test_equal_images_give_identical_bytes() -> None:
    content = encoded(Image.effect_noise((80, 60), 90).convert("RGB"))
    assert await ImageConverter().convert(content, JPEG) == await ImageConverter().convert(content, JPEG)


async def test_colours_and_transparency_stay_where_the_type_has_them() -> None:
    profile = b"a profile of colours"
    content = encoded(halves("RGBA", (*RED, 255), (0, 0, 0, 0)), icc_profile=profile)
    png = opened(await ImageConverter().convert(content, Remake(content_type="image/png", width=80, height=60)))
    jpeg = opened(await ImageConverter().convert(content, JPEG))
    assert (png.mode, png.info["icc_profile"], jpeg.info["icc_profile"]) == ("RGBA", profile, profile)


async def test_the_quality_is_lowered_until_the_bytes_fit() -> None:
    content = encoded(Image.effect_noise((400, 300), 90).convert("RGB"))
    free = Remake(content_type="image/jpeg", width=400, height=300)
    large = await ImageConverter().convert(content, free)
    small = await ImageConverter().convert(
        content, Remake(content_type="image/jpeg", width=400, height=300, max_bytes=60_000)
    )
    assert len(small) <= 60_000 < len(large)
    assert inspect(small).width == 400
    with pytest.raises(NotConverted, match="over the limit"):
        await ImageConverter().convert(
            content, Remake(content_type="image/jpeg", width=400, height=300, max_bytes=5000)
        )


def forged(width: int, height: int) -> bytes:
    """A PNG whose header declares far more than there is."""
    plain = bytearray(encoded(Image.new("RGB", (8, 8))))
    plain[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return bytes(plain)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x89PNG\r\n\x1a\n",
        CASES["webp"][0][:100],
        encoded(Image.new("RGB", (80, 60)), "PPM"),
        forged(60_000, 60_000),
        encoded(Image.new("1", (20_000, 10_000))),
    ],
    ids=["nothing", "a signature", "half", "another type", "a forged header", "a bomb"],
)
async def test_a_file_that_is_not_an_image_is_refused(content: bytes) -> None:
    with pytest.raises(NotConverted, match="damaged"):
        await ImageConverter().convert(content, JPEG)


def facts_of(content_type: str, width: int, height: int) -> ImageFacts:
    return ImageFacts(content_type=content_type, bytes=10**7, width=width, height=height)


def test_an_image_of_too_many_pixels_is_not_converted_and_the_reason_names_the_limit() -> None:
    limits = ImageLimits(formats=frozenset({"image/jpeg"}), max_bytes=5 * 10**6)
    for content_type in ("image/webp", "image/png", "image/avif"):
        assert remake(facts_of(content_type, 5000, 5000), limits) is not None
        assert not_converted(facts_of(content_type, 5000, 5000), limits) == ""
        larger = facts_of(content_type, 5000, 5001)
        assert remake(larger, limits) is None
        assert not_converted(larger, limits) == "; at most 25 megapixels are converted: send a smaller image"
    assert not_converted(facts_of("image/webp", 9000, 100), ImageLimits(max_ratio=2.0)) == ""  # no size would help


def test_a_jpeg_counts_with_the_pixels_that_it_is_decoded_to() -> None:
    limits = ImageLimits(formats=frozenset({"image/jpeg"}), max_bytes=5 * 10**6)
    assert remake(facts_of("image/jpeg", 10_000, 10_000), limits) is not None  # at half of its size
    assert remake(facts_of("image/jpeg", 10_000, 10_000), ImageLimits(formats=frozenset({"image/png"}))) is None


async def test_the_process_itself_refuses_too_many_pixels() -> None:
    """46 bytes of WebP can declare a hundred megapixels, and decoding them took two gigabytes."""
    side = int(CONVERT_PIXELS_MAX**0.5) + 1
    with pytest.raises(NotConverted, match="it has more than 25 megapixels; send a smaller image"):
        await ImageConverter().convert(encoded(Image.new("1", (side, side))), JPEG)


async def test_a_process_without_enough_memory_ends_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_convert, "program", lambda *_: (sys.executable, "-I", "-c", SMALL))
    with pytest.raises(NotConverted, match="memory or time"):
        await ImageConverter().convert(encoded(Image.new("RGB", (4000, 4000))), JPEG)


SMALL = """
import gateway.media.image_convert as module, sys
sys.argv = ["", "image/jpeg", "40", "30", "0"]
module.MEMORY_BYTES = 64 * 2**20
import PIL.Image
module.sys.exit(module._main())
"""


async def test_a_conversion_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_convert, "TIMEOUT_SECONDS", 0.01)
    with pytest.raises(NotConverted, match="too long"):
        await ImageConverter().convert(CASES["png"][0], JPEG)


async def test_a_process_that_crashes_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dying = tmp_path / "python"
    dying.write_text("#!/bin/sh\nkill -SEGV $$\n")
    dying.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(dying))
    with pytest.raises(NotConverted, match="memory or time"):
        await ImageConverter().convert(CASES["png"][0], JPEG)


async def test_no_key_is_in_the_environment_of_the_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    telling = tmp_path / "python"
    telling.write_text("#!/bin/sh\n/usr/bin/env\n")
    telling.chmod(0o700)
    monkeypatch.setenv("FOXAPI_API_KEY", "sk-secret")
    monkeypatch.setattr("sys.executable", str(telling))
    assert b"sk-secret" not in await ImageConverter().convert(CASES["png"][0], JPEG)


async def test_a_conversion_may_be_cancelled() -> None:
    making = asyncio.create_task(ImageConverter().convert(CASES["png"][0], JPEG))
    await asyncio.sleep(0.01)
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
