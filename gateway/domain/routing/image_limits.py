"""Whether a picture fits what a route takes, and what to make of one that does not. Pure."""

from math import isqrt

from msgspec import Struct

from gateway.domain.adapter.contract import ImageLimits

# The types that a picture is made into, the best first, and the bytes a pixel that they surely do with: a photograph
# takes half of it at a good quality, noise all of it at a poor one. PNG has no quality to lower.
_MADE = {"image/jpeg": 1, "image/webp": 1, "image/png": 4}


class ImageFacts(Struct, frozen=True, kw_only=True):
    """What the gateway knows of an image whose bytes it holds."""

    content_type: str
    bytes: int
    width: int
    height: int


class Remake(Struct, frozen=True, kw_only=True):
    """What to make of a picture, so that a route takes it."""

    content_type: str
    width: int  # of the picture as it lies in its file
    height: int
    max_bytes: int | None = None

    @property
    def recipe(self) -> str:
        """The same for what makes the same of a picture."""
        return f"{self.content_type} {self.width}x{self.height} {self.max_bytes or ''}".rstrip()


def misfits(facts: ImageFacts, limits: ImageLimits) -> list[str]:
    """Why a route does not take a picture as it is; empty when it does."""
    reasons: list[str] = []
    if facts.content_type not in limits.formats:
        takes = ", ".join(sorted(one.removeprefix("image/") for one in limits.formats))
        reasons.append(f"takes {takes}, not {facts.content_type.removeprefix('image/')}")
    if limits.max_bytes is not None and facts.bytes > limits.max_bytes:
        reasons.append(f"takes an image of at most {limits.max_bytes} bytes, not {facts.bytes}")
    return reasons + _misshapen(facts, limits)


def _misshapen(facts: ImageFacts, limits: ImageLimits) -> list[str]:
    """What no other type and no fewer bytes can mend."""
    reasons: list[str] = []
    size = f"{facts.width}x{facts.height}"
    shorter, longer = sorted((facts.width, facts.height))
    if limits.min_side is not None and shorter < limits.min_side:
        reasons.append(f"takes an image of at least {limits.min_side} pixels on each side, not {size}")
    if limits.max_ratio is not None and longer > shorter * limits.max_ratio:
        reasons.append(f"takes an image no longer than {limits.max_ratio:g} times its width or height, not {size}")
    return reasons


def remake(facts: ImageFacts, limits: ImageLimits) -> Remake | None:
    """What to make of a picture that does not fit; `None` where nothing can be made of it.

    Another type, fewer bytes and fewer pixels: yes. Neither a longer nor a larger picture than there is: one that is
    too small or too long would be filled up with what the client has not sent.
    """
    content_type = next((one for one in _MADE if one in limits.formats), None)
    if content_type is None or _misshapen(facts, limits):
        return None
    width, height = facts.width, facts.height
    if limits.max_bytes is not None:
        pixels = limits.max_bytes // _MADE[content_type]
        if width * height > pixels:
            width, height = isqrt(pixels * width // height), isqrt(pixels * height // width)
            if limits.max_ratio is not None:  # what rounding has made too long
                longest = int(min(width, height) * limits.max_ratio)
                width, height = min(width, longest), min(height, longest)
            if min(width, height) < (limits.min_side or 1):
                return None
    return Remake(content_type=content_type, width=width, height=height, max_bytes=limits.max_bytes)


def asked_words(facts: ImageFacts) -> str:
    """A picture as it came, for a person to read."""
    return f"{facts.width}x{facts.height} {facts.content_type}, {facts.bytes} bytes"


def given_words(made: Remake) -> str:
    """What is made of a picture, for a person to read."""
    most = "" if made.max_bytes is None else f", at most {made.max_bytes} bytes"
    return f"{made.width}x{made.height} {made.content_type}{most}"
