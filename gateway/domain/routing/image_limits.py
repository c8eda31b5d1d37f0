"""Whether an input image is within the limits of a route, and how to convert one that is not. Pure."""

from math import isqrt

from msgspec import Struct

from gateway.domain.adapter.contract import ImageLimits

# The types that an image is converted to, the best first, and the bytes per pixel that are certainly enough. In JPEG
# and WebP a photograph needs half of that at a good quality, and noise needs all of it at a poor one. PNG is lossless.
_BYTES_PER_PIXEL = {"image/jpeg": 1, "image/webp": 1, "image/png": 4}

# An image with more pixels is not converted: each pixel takes four bytes, and a conversion makes several copies. A
# JPEG counts with the pixels that are left when it is decoded at a fraction of its size.
CONVERT_PIXELS_MAX = 25_000_000
_JPEG, _JPEG_FRACTIONS = "image/jpeg", (8, 4, 2)


class ImageFacts(Struct, frozen=True, kw_only=True):
    """The facts about an image whose bytes the gateway has."""

    content_type: str
    bytes: int
    width: int
    height: int


class Remake(Struct, frozen=True, kw_only=True):
    """The conversion of an image that makes a route take it."""

    content_type: str
    width: int  # pixels as stored in the file, before its orientation is applied
    height: int
    max_bytes: int | None = None

    @property
    def recipe(self) -> str:
        """A cache key: equal for conversions that give identical bytes."""
        return f"{self.content_type} {self.width}x{self.height} {self.max_bytes or ''}".rstrip()


def misfits(facts: ImageFacts, limits: ImageLimits) -> list[str]:
    """Why a route does not take an image as it is; empty if it does."""
    reasons: list[str] = []
    if facts.content_type not in limits.formats:
        takes = ", ".join(sorted(content_type.removeprefix("image/") for content_type in limits.formats))
        reasons.append(f"takes {takes}, not {facts.content_type.removeprefix('image/')}")
    if limits.max_bytes is not None and facts.bytes > limits.max_bytes:
        reasons.append(f"takes an image of at most {limits.max_bytes} bytes, not {facts.bytes}")
    return reasons + _misshapen(facts, limits)


def _misshapen(facts: ImageFacts, limits: ImageLimits) -> list[str]:
    """The reasons that neither another type nor fewer bytes can remove: the shape of the image is wrong."""
    reasons: list[str] = []
    size = f"{facts.width}x{facts.height}"
    shorter, longer = sorted((facts.width, facts.height))
    if limits.min_side is not None and shorter < limits.min_side:
        reasons.append(f"takes an image of at least {limits.min_side} pixels on each side, not {size}")
    if limits.max_ratio is not None and longer > shorter * limits.max_ratio:
        reasons.append(f"takes an image no longer than {limits.max_ratio:g} times its width or height, not {size}")
    return reasons


def remake(facts: ImageFacts, limits: ImageLimits) -> Remake | None:
    """The conversion that makes an image fit; `None` if no conversion can.

    A conversion changes the type and reduces bytes and pixels. It never enlarges an image or changes its shape: that
    would add pixels that the client has not sent. An image of too many pixels is not converted, see `not_converted`.
    """
    made = _remake(facts, limits)
    return None if made is None or _decoded_pixels(facts, made) > CONVERT_PIXELS_MAX else made


def not_converted(facts: ImageFacts, limits: ImageLimits) -> str:
    """The end of a sentence for an image that a conversion would make fit, if it had fewer pixels; else ""."""
    if _remake(facts, limits) is None or remake(facts, limits) is not None:
        return ""
    return f"; at most {CONVERT_PIXELS_MAX // 10**6} megapixels are converted: send a smaller image"


def _decoded_pixels(facts: ImageFacts, made: Remake) -> int:
    """The pixels that are in memory when the image is decoded for this conversion."""
    fraction = min(facts.width // made.width, facts.height // made.height)
    divisor = next((step for step in _JPEG_FRACTIONS if step <= fraction), 1) if facts.content_type == _JPEG else 1
    return -(-facts.width // divisor) * -(-facts.height // divisor)


def _remake(facts: ImageFacts, limits: ImageLimits) -> Remake | None:
    """The conversion that makes an image fit, however many pixels it has."""
    content_type = next((candidate for candidate in _BYTES_PER_PIXEL if candidate in limits.formats), None)
    if content_type is None or _misshapen(facts, limits):
        return None
    width, height = facts.width, facts.height
    if limits.max_bytes is not None:
        pixels = limits.max_bytes // _BYTES_PER_PIXEL[content_type]
        if width * height > pixels:
            width, height = isqrt(pixels * width // height), isqrt(pixels * height // width)
            if limits.max_ratio is not None:  # rounding can make the image slightly too long
                longest = int(min(width, height) * limits.max_ratio)
                width, height = min(width, longest), min(height, longest)
            if min(width, height) < (limits.min_side or 1):
                return None
    return Remake(content_type=content_type, width=width, height=height, max_bytes=limits.max_bytes)


def image_text(facts: ImageFacts) -> str:
    """An image as the client sent it, in words for a warning: "4000x3000 image/png, 123 bytes"."""
    return f"{facts.width}x{facts.height} {facts.content_type}, {facts.bytes} bytes"


def conversion_text(made: Remake) -> str:
    """A converted image, in words for a warning: "1200x900 image/jpeg, at most 5000000 bytes"."""
    most = "" if made.max_bytes is None else f", at most {made.max_bytes} bytes"
    return f"{made.width}x{made.height} {made.content_type}{most}"
