"""Resolutions, aspect ratios and durations: their names, which of them are equal, and which one is nearest. Pure."""

import re
from collections.abc import Collection
from fractions import Fraction
from functools import lru_cache

# Pixels. Smaller sides than this are typing errors, larger ones no provider makes.
SIDE_MIN, SIDE_MAX = 64, 16_384
RATIO_MAX = Fraction(100)  # the longer side divided by the shorter one
# An image may miss the asked ratio by this much, relative to it: 1366x768 counts as 16:9, 1792x1024 does not.
SAME_RATIO_WITHIN = Fraction(1, 100)

_NAMED_SIDES = {"4k": 2160}
_NAMED_RATIOS = {Fraction(7, 3): "21:9", Fraction(3, 7): "9:21"}
_LINES = re.compile(r"([0-9]{2,5})p", re.ASCII)
_RATIO = re.compile(r"([0-9]{1,5}(?:\.[0-9]{1,4})?):([0-9]{1,5}(?:\.[0-9]{1,4})?)", re.ASCII)
# The plan asks the same of every route, most of which take the same values.
_remember = lru_cache(maxsize=1024)
_PLAIN_RATIO_MAX = 32  # up to here both numbers of a ratio are shown as they are


def short_side(resolution: str) -> int | None:
    """The shorter side of a frame in pixels, of `720p` or `4k`; `None` for a word that names no number of lines."""
    lines = _LINES.fullmatch(resolution.lower())
    return int(lines[1]) if lines else _NAMED_SIDES.get(resolution.lower())


def resolution_name(side: int) -> str:
    """The one name of the resolution whose shorter side has so many pixels: `720p`, `1088p`, `4k`."""
    return next((name for name, named in _NAMED_SIDES.items() if named == side), f"{side}p")


def ratio_of(name: str) -> Fraction | None:
    """Width divided by height, of `16:9` or `2.35:1`; `None` for a word that names no ratio."""
    found = _RATIO.fullmatch(name)
    if found is None:
        return None
    width, height = Fraction(found[1]), Fraction(found[2])
    return width / height if width and height else None


def ratio_name(ratio: Fraction) -> str:
    """The one name of a ratio: `16:9`, `21:9`; `2.35:1` where that is exact and the whole numbers are long."""
    width, height = ratio.as_integer_ratio()
    if ratio in _NAMED_RATIOS or max(width, height) <= _PLAIN_RATIO_MAX:
        return _NAMED_RATIOS.get(ratio, f"{width}:{height}")
    longer = max(ratio, 1 / ratio)
    if 100 % longer.denominator == 0 and longer <= RATIO_MAX:
        decimal = f"{float(longer):g}"
        return f"{decimal}:1" if ratio > 1 else f"1:{decimal}"
    return f"{width}:{height}"


@_remember
def equal_resolution(asked: str, supported: frozenset[str]) -> str | None:
    """The supported resolution that is the asked one, perhaps by another name (`2160p`, `4k`)."""
    if asked in supported:
        return asked
    side = short_side(asked)
    return next((name for name in sorted(supported) if side is not None and short_side(name) == side), None)


@_remember
def nearest_resolution(asked: str, supported: frozenset[str]) -> str | None:
    """The supported resolution whose shorter side is nearest in pixels; of two equally near, the larger one.

    `None` where the supported names, or the asked one, name no number of lines.
    """
    wanted = short_side(asked)
    sides = {name: side for name in sorted(supported) if (side := short_side(name)) is not None}
    if wanted is None or not sides:
        return None
    return min(sides, key=lambda name: (abs(sides[name] - wanted), -sides[name]))


@_remember
def equal_ratio(asked: str, supported: frozenset[str]) -> str | None:
    """The supported ratio that is the asked one, perhaps by another name (`7:3`, `21:9`)."""
    if asked in supported:
        return asked
    ratio = ratio_of(asked)
    return next((name for name in sorted(supported) if ratio is not None and ratio_of(name) == ratio), None)


@_remember
def nearest_ratio(asked: str, supported: frozenset[str]) -> str | None:
    """The supported ratio whose quotient with the asked one is nearest to 1, so by the logarithm of the ratio.

    Of two equally near, the one of the same orientation (`4:3` becomes `16:9` rather than `1:1`), then the longer
    one, then the wider one. `None` where the supported names, or the asked one, name no ratio.
    """
    wanted = ratio_of(asked)
    ratios = {name: ratio for name in sorted(supported) if (ratio := ratio_of(name)) is not None}
    if wanted is None or not ratios:
        return None

    def distance(name: str) -> tuple[Fraction, bool, Fraction, Fraction]:
        ratio = ratios[name]
        turned = (ratio > 1) != (wanted > 1) or (ratio < 1) != (wanted < 1)
        return _apart(ratio, wanted), turned, -max(ratio, 1 / ratio), -ratio

    return min(ratios, key=distance)


def has_ratio(width: int, height: int, asked: str) -> bool:
    """Whether an image of this size has the asked ratio, within `SAME_RATIO_WITHIN`."""
    ratio = ratio_of(asked)
    return ratio is not None and _apart(Fraction(width, height), ratio) <= 1 + SAME_RATIO_WITHIN


def image_ratio_name(width: int, height: int) -> str:
    """The ratio of an image for a person to read: `4:3`, or `1.78:1` where the exact numbers are long."""
    ratio = Fraction(width, height)
    exact = ratio_name(ratio)
    if len(exact) <= len("21:9"):
        return exact
    return f"{float(ratio):.2f}:1" if ratio >= 1 else f"1:{float(1 / ratio):.2f}"


def nearest_duration(asked: float, supported: Collection[int]) -> int | None:
    """The supported number of seconds that is nearest; of two equally near, the longer one."""
    return min(supported, key=lambda seconds: (abs(seconds - asked), -seconds), default=None)


def _apart(one: Fraction, other: Fraction) -> Fraction:
    """How many times the larger one is the smaller one: 1 for equal ratios."""
    return max(one / other, other / one)
