"""What a value means that clients spell in many ways: numbers as text, sizes, ratios, resolutions. Pure.

A function gives `None` for a value that it cannot read; its caller has the words for that. Text is bounded before it is
looked at, and a number before anything is computed with it.
"""

import math
import re
import unicodedata
from collections.abc import Collection
from fractions import Fraction
from typing import NamedTuple

from gateway.domain.parameters.dimensions import RATIO_MAX, SIDE_MAX, SIDE_MIN, ratio_name, resolution_name

TEXT_MAX = 64  # characters of a value that is not free text
UNITS_OF_TIME = frozenset({"s", "sec", "secs", "second", "seconds", "秒"})
PIXELS = frozenset({"px", "pixel", "pixels"})
_UNASKED = frozenset({"auto", "automatic", "adaptive", "default"})

# White space, and characters that are not visible: byte order mark, zero width, direction marks, soft hyphen.
_BLANKS = "".join(
    map(
        chr,
        (
            *(*range(0x09, 0x0E), *range(0x1C, 0x21), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B)),
            *(0x2028, 0x2029, 0x202F, 0x205F, 0x3000),
            *(0xFEFF, 0xAD, 0x180E, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070)),
        ),
    )
)
_NUMBER = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]{1,4})?)\s*([a-z秒]*)")
_WHOLE = re.compile(r"[+-]?[0-9]+")
_LARGEST = 2**64  # no field takes more, and a float such as 1e308 must not become an integer of 309 digits
_BOOLEANS = {
    **dict.fromkeys(("true", "1", "yes", "on", "y", "t"), True),
    **dict.fromkeys(("false", "0", "no", "off", "n", "f"), False),
}
_TIMES = "x*×✕✖⨯х"  # multiplication signs; the last one is the Cyrillic letter
_SIZE = re.compile(rf"([0-9]{{1,5}})\s*(?:px)?\s*(?:[{_TIMES}:/,]|by)\s*([0-9]{{1,5}})\s*(?:px)?")
_RATIO = re.compile(
    rf"([0-9]{{1,5}}(?:\.[0-9]{{1,4}})?)\s*(?:[{_TIMES}:∶/⁄∕_-]|by|to)\s*([0-9]{{1,5}}(?:\.[0-9]{{1,4}})?)"
)
_DECIMAL = re.compile(r"[0-9]\.[0-9]{1,20}")
_RATIO_WORDS = {
    **dict.fromkeys(("landscape", "horizontal", "widescreen"), Fraction(16, 9)),
    **dict.fromkeys(("portrait", "vertical"), Fraction(9, 16)),
    **dict.fromkeys(("square", "1"), Fraction(1)),
}
_ROUNDED = tuple(
    ratio
    for width, height in ((16, 9), (4, 3), (3, 2), (21, 9))
    for ratio in (Fraction(width, height), Fraction(height, width))
)
_TWO_NUMBERS = re.compile(r"(?<![0-9.])([0-9]{1,5})[^0-9]{1,5}([0-9]{1,5})(?![0-9.])")
_LINES_SOMEWHERE = re.compile(r"(?<![0-9])(?:[0-9]{3,4}(?=\s*[pi]\b)|[248]k\b)")
_LINES = re.compile(r"([0-9]{2,5})p?")
_RESOLUTION_WORDS = {
    "sd": 480,
    "hd": 720,
    "fhd": 1080,
    "fullhd": 1080,
    "qhd": 1440,
    "wqhd": 1440,
    "quadhd": 1440,
    "2k": 1440,
    "4k": 2160,
    "uhd": 2160,
    "4kuhd": 2160,
    "uhd4k": 2160,
    "ultrahd": 2160,
    "8k": 4320,
}
_MODES = {"standard": "std", "professional": "pro"}


class Size(NamedTuple):
    """A frame in pixels."""

    width: int
    height: int


def trim(text: str) -> str:
    """The text without white space and invisible characters around it."""
    return text.strip(_BLANKS)


def is_empty(value: object) -> bool:
    """Whether a value says nothing: null, blank text, or an object or a list of such values alone."""
    match value:
        case None:
            return True
        case str():
            return not trim(value)
        case list():
            return all(map(is_empty, value))
        case dict():
            return all(map(is_empty, value.values()))
        case _:
            return False


def is_unasked(value: object) -> bool:
    """Whether a value is a word such as `auto`, by which a client leaves the choice to the provider."""
    return _plain(value) in _UNASKED


def number(value: object, units: Collection[str] = ()) -> int | float | None:
    """A finite number, or one as text, also with one of the units after it; an `int` wherever it is whole."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        whole = value.is_integer() and abs(value) < _LARGEST
        return int(value) if whole else value if math.isfinite(value) else None
    found = _NUMBER.fullmatch(_plain(value) or "") if isinstance(value, str) else None
    if found is None or (found[2] and found[2] not in units):
        return None
    return int(found[1]) if _WHOLE.fullmatch(found[1]) else number(float(found[1]))


def boolean(value: object) -> bool | None:
    """True or false, also as 1 or 0, or as a word for them."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return bool(value) if value in (0, 1) else None
    return _BOOLEANS.get(_plain(value) or "")


def size(value: object) -> Size | None:
    """A frame in pixels, of `1280x720`, `1280 * 720` or `1280:720`, within `SIDE_MIN` and `SIDE_MAX`."""
    found = _SIZE.fullmatch(_plain(value) or "")
    return None if found is None else size_of(int(found[1]), int(found[2]))


def size_of(width: int, height: int) -> Size | None:
    """A frame in pixels; `None` where a side or the ratio is out of bounds."""
    shorter, longer = min(width, height), max(width, height)
    return Size(width, height) if shorter >= SIDE_MIN and longer <= min(SIDE_MAX, int(shorter * RATIO_MAX)) else None


def resolution(value: object) -> str | None:
    """The name of a resolution, of `720p`, `1080`, `1920x1080`, `4K` or `full hd`."""
    words = re.sub(r"[\s_-]", "", _plain(value) or "")
    lines = _LINES.fullmatch(words)
    frame = size(words)
    side = min(frame) if frame is not None else int(lines[1]) if lines else _RESOLUTION_WORDS.get(words)
    return resolution_name(side) if side is not None and SIDE_MIN <= side <= SIDE_MAX else None


def ratio(value: object) -> Fraction | None:
    """Width divided by height, of `16:9`, `16/9`, `1280x720`, `2.35:1`, `1.78` or `landscape`.

    A decimal number with two or more places stands for the well-known ratio that is rounded to it: `1.78` is 16:9.
    """
    text = _plain(value) or ""
    if text in _RATIO_WORDS:
        return _RATIO_WORDS[text]
    found = _RATIO.fullmatch(text)
    width, height = found.groups() if found else (text, "1")
    if found is None and _DECIMAL.fullmatch(text) is None:
        return None
    if not Fraction(width) or not Fraction(height):
        return None
    exact = Fraction(width) / Fraction(height)
    if max(exact, 1 / exact) > (RATIO_MAX if found else 5):  # `16.9` alone is hardly meant as 16.9:1
        return None
    if height == "1":
        return _well_known(exact, width) or exact
    turned = _well_known(1 / exact, height) if width == "1" else None
    return 1 / turned if turned else exact


def likely_shape(value: object) -> tuple[str, str] | None:
    """The field and the text that a value with a size, a ratio or a resolution somewhere in it probably means."""
    text = _plain(value) or ""
    if pair := _TWO_NUMBERS.search(text):
        both = f"{pair[1]}:{pair[2]}"
        if (frame := size(both)) is not None:
            return "size", f"{frame.width}x{frame.height}"
        if (shape := ratio(both)) is not None:
            return "aspect_ratio", ratio_name(shape)
    if (shape := ratio(text)) is not None:
        return "aspect_ratio", ratio_name(shape)
    words = _LINES_SOMEWHERE.search(text)
    name = resolution(words[0]) if words else resolution(text)
    return None if name is None else ("resolution", name)


def _well_known(exact: Fraction, decimal: str) -> Fraction | None:
    places = min(len(decimal.partition(".")[2]), 6)
    return next((one for one in _ROUNDED if places > 1 and abs(one - exact) <= Fraction(1, 2 * 10**places)), None)


def mode(value: object) -> str | None:
    """The name of a provider's quality mode: `std`, `pro`, or whatever else it is called, in lower case."""
    text = trim(value).lower() if isinstance(value, str) and len(value) <= TEXT_MAX else ""
    return _MODES.get(text, text) if 0 < len(text) <= 32 else None


def equal_mode(asked: str, supported: Collection[str]) -> str | None:
    """The supported mode that is the asked one, whatever its provider's spelling."""
    if asked in supported:
        return asked
    return next((name for name in sorted(supported) if mode(name) == mode(asked)), None)


def choice(value: object) -> str:
    """A word of a short list, as it is compared."""
    return _plain(value) or ""


def _plain(value: object) -> str | None:
    """Short text without blanks around it, in lower case and without full-width characters; a number as its text."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        exact = number(value)
        value = "" if exact is None or abs(exact) >= _LARGEST else str(exact)
    if not isinstance(value, str) or len(text := trim(value)) > TEXT_MAX:
        return None
    return trim(unicodedata.normalize("NFKC", text)).lower()
