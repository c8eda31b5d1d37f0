"""Resolutions, aspect ratios and durations: their names, which of them are equal, and which one is nearest.

Pure functions.
"""

import re
from collections.abc import Collection
from fractions import Fraction
from functools import lru_cache

# Pixels. A shorter side is probably a typing error, and no provider makes a longer one.
SIDE_MIN, SIDE_MAX = 64, 16_384
RATIO_MAX = Fraction(100)  # the longer side divided by the shorter one
# How far the ratio of an image may be from the requested one, as a share of it: 1366x768 counts as 16:9, 1792x1024
# does not.
SAME_RATIO_WITHIN = Fraction(1, 100)

# The qualities of images, and the side in pixels of a square image that has them.
QUALITIES = {"1K": 1024, "2K": 2048, "4K": 4096}
# OpenAI's words for the quality of an image (`quality` in its API reference for images), and the number of pixels that
# they ask for here. A model of OpenAI spends more work on an image; the models here differ in pixels alone.
PLAIN_QUALITIES = {"low": "1K", "medium": "2K", "high": "4K", "standard": "1K", "hd": "2K"}
_NAMED_SIDES = {"4k": 2160}
_NAMED_RATIOS = {Fraction(7, 3): "21:9", Fraction(3, 7): "9:21"}
_LINES = re.compile(r"([0-9]{2,5})p", re.ASCII)
_RATIO = re.compile(r"([0-9]{1,5}(?:\.[0-9]{1,4})?):([0-9]{1,5}(?:\.[0-9]{1,4})?)", re.ASCII)
# The plan asks the same question for every route, and most routes support the same values.
_remember = lru_cache(maxsize=1024)
_PLAIN_RATIO_MAX = 32  # a ratio whose numbers are both at most this is shown with them as they are


def short_side(resolution: str) -> int | None:
    """Return the shorter side of a frame in pixels for `720p` or `4k`; None for a name without a number of lines."""
    lines = _LINES.fullmatch(resolution.lower())
    return int(lines[1]) if lines else _NAMED_SIDES.get(resolution.lower())


def resolution_name(side: int) -> str:
    """Return the canonical name of the resolution whose shorter side has `side` pixels: `720p`, `1088p`, `4k`."""
    return next((name for name, named in _NAMED_SIDES.items() if named == side), f"{side}p")


def ratio_of(name: str) -> Fraction | None:
    """Return width divided by height for `16:9` or `2.35:1`; None for a name that is not a ratio."""
    match = _RATIO.fullmatch(name)
    if match is None:
        return None
    width, height = Fraction(match[1]), Fraction(match[2])
    return width / height if width and height else None


def ratio_name(ratio: Fraction) -> str:
    """Return the canonical name of a ratio: `16:9`, `21:9`; `2.35:1` where that is exact and whole numbers are long."""
    width, height = ratio.as_integer_ratio()
    if ratio in _NAMED_RATIOS or max(width, height) <= _PLAIN_RATIO_MAX:
        return _NAMED_RATIOS.get(ratio, f"{width}:{height}")
    longer = max(ratio, 1 / ratio)
    if 100 % longer.denominator == 0 and longer <= RATIO_MAX:
        decimal = f"{float(longer):g}"
        return f"{decimal}:1" if ratio > 1 else f"1:{decimal}"
    return f"{width}:{height}"


@_remember
def equal_resolution(requested: str, supported: frozenset[str]) -> str | None:
    """Return the supported resolution that equals the requested one, perhaps under another name (`2160p`, `4k`)."""
    if requested in supported:
        return requested
    side = short_side(requested)
    return next((name for name in sorted(supported) if side is not None and short_side(name) == side), None)


@_remember
def nearest_resolution(requested: str, supported: frozenset[str]) -> str | None:
    """Return the supported resolution whose shorter side is nearest in pixels; of two equally near, the larger one.

    None if the requested name, or every supported one, is without a number of lines.
    """
    wanted = short_side(requested)
    sides = {name: side for name in sorted(supported) if (side := short_side(name)) is not None}
    if wanted is None or not sides:
        return None
    return min(sides, key=lambda name: (abs(sides[name] - wanted), -sides[name]))


@_remember
def equal_ratio(requested: str, supported: frozenset[str]) -> str | None:
    """Return the supported ratio that equals the requested one, perhaps under another name (`7:3`, `21:9`)."""
    if requested in supported:
        return requested
    ratio = ratio_of(requested)
    return next((name for name in sorted(supported) if ratio is not None and ratio_of(name) == ratio), None)


@_remember
def nearest_ratio(requested: str, supported: frozenset[str]) -> str | None:
    """Return the supported ratio whose quotient with the requested one is nearest to 1.

    Of two equally near it prefers the one of the same orientation (`4:3` becomes `16:9`, not `1:1`), then the longer
    one, then the wider one. None if the requested name, or every supported one, is not a ratio.
    """
    wanted = ratio_of(requested)
    ratios = {name: ratio for name in sorted(supported) if (ratio := ratio_of(name)) is not None}
    if wanted is None or not ratios:
        return None

    def distance(name: str) -> tuple[Fraction, bool, Fraction, Fraction]:
        ratio = ratios[name]
        turned = (ratio > 1) != (wanted > 1) or (ratio < 1) != (wanted < 1)
        return _apart(ratio, wanted), turned, -max(ratio, 1 / ratio), -ratio

    return min(ratios, key=distance)


def has_ratio(width: int, height: int, requested: str) -> bool:
    """Return whether an image of this size has the requested ratio, within `SAME_RATIO_WITHIN`."""
    ratio = ratio_of(requested)
    return ratio is not None and _apart(Fraction(width, height), ratio) <= 1 + SAME_RATIO_WITHIN


def image_ratio_name(width: int, height: int) -> str:
    """Return the ratio of an image for a person to read: `4:3`, or `1.78:1` where the exact numbers are long."""
    ratio = Fraction(width, height)
    exact = ratio_name(ratio)
    if len(exact) <= len("21:9"):
        return exact
    return f"{float(ratio):.2f}:1" if ratio >= 1 else f"1:{float(1 / ratio):.2f}"


def nearest_duration(requested: float, supported: Collection[int]) -> int | None:
    """Return the supported number of seconds that is nearest; of two equally near, the longer one.

    None if `supported` is empty.
    """
    return min(supported, key=lambda seconds: (abs(seconds - requested), -seconds), default=None)


def quality_of(pixels: int) -> str:
    """Return the quality whose square has the number of pixels that is nearest, by ratio, to `pixels`.

    A 1K image has about 1024 x 1024 pixels whatever its ratio, and each further quality has four times as many.
    """
    return min(QUALITIES, key=lambda name: _apart(Fraction(pixels), Fraction(QUALITIES[name] ** 2)))


def nearest_quality(requested: str, supported: Collection[str]) -> str | None:
    """Return the supported quality whose square is nearest in pixels; of two equally near, the larger one.

    None if the requested name, or every supported one, is not in `QUALITIES`.
    """
    sides = {name: QUALITIES[name] for name in supported if name in QUALITIES}
    wanted = QUALITIES.get(requested)
    if wanted is None or not sides:
        return None
    return min(sides, key=lambda name: (abs(sides[name] - wanted), -sides[name]))


def _apart(first: Fraction, second: Fraction) -> Fraction:
    """Return the larger of two ratios divided by the smaller one: 1 if they are equal."""
    return max(first / second, second / first)
