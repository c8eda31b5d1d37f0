"""The meaning of values that clients write in many ways: numbers as text, sizes, ratios, resolutions.

Pure functions. Each returns None for a value that it cannot read, and the caller makes the error message. The length of
a text is checked before it is searched, and the size of a number before anything is computed with it, so a hostile
value costs nothing.
"""

import math
import re
import unicodedata
from collections.abc import Collection
from fractions import Fraction
from typing import NamedTuple

from gateway.domain.parameters.dimensions import RATIO_MAX, SIDE_MAX, SIDE_MIN, ratio_name, resolution_name

TEXT_MAX = 64  # characters; longer text is not a number, a size, a ratio or a single word
UNITS_OF_TIME = frozenset({"s", "sec", "secs", "second", "seconds", "秒"})
PIXELS = frozenset({"px", "pixel", "pixels"})
_UNASKED = frozenset({"auto", "automatic", "adaptive", "default"})

# White space and invisible characters: byte order mark, zero-width characters, direction marks, soft hyphen.
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
_LARGEST = 2**64  # no field accepts more, and a float such as 1e308 must not become an integer of 309 digits
_BOOLEANS = {
    **dict.fromkeys(("true", "1", "yes", "on", "y", "t"), True),
    **dict.fromkeys(("false", "0", "no", "off", "n", "f"), False),
}
_TIMES = "x*×✕✖⨯х"  # multiplication signs; the last one is a Cyrillic letter
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
    """Return the text without the white space and the invisible characters around it."""
    return text.strip(_BLANKS)


def is_blank(value: object) -> bool:
    """Return whether a value is null or blank text, which ask for nothing. An empty object is neither."""
    return value is None or (isinstance(value, str) and not trim(value))


def is_empty(value: object) -> bool:
    """Return whether a value is null, blank text, or an object or a list that has only such values."""
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
    """Return whether a value is a word such as `auto`, which leaves the choice to the provider."""
    return _plain(value) in _UNASKED


def number(value: object, units: Collection[str] = ()) -> int | float | None:
    """Read a finite number, also as text and with one of `units` after it; the result is an `int` if it is whole."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        whole = value.is_integer() and abs(value) < _LARGEST
        return int(value) if whole else value if math.isfinite(value) else None
    match = _NUMBER.fullmatch(_plain(value) or "") if isinstance(value, str) else None
    if match is None or (match[2] and match[2] not in units):
        return None
    return int(match[1]) if _WHOLE.fullmatch(match[1]) else number(float(match[1]))


def boolean(value: object) -> bool | None:
    """Read true or false, also as 1 or 0, or as a word such as `yes` or `off`."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return bool(value) if value in (0, 1) else None
    return _BOOLEANS.get(_plain(value) or "")


def size(value: object) -> Size | None:
    """Read a frame in pixels from `1280x720`, `1280 * 720` or `1280:720`; None if `size_of` refuses it."""
    match = _SIZE.fullmatch(_plain(value) or "")
    return None if match is None else size_of(int(match[1]), int(match[2]))


def size_of(width: int, height: int) -> Size | None:
    """Return a frame in pixels; None if a side is not within `SIDE_MIN` and `SIDE_MAX`, or the ratio is over 100."""
    shorter, longer = min(width, height), max(width, height)
    return Size(width, height) if shorter >= SIDE_MIN and longer <= min(SIDE_MAX, int(shorter * RATIO_MAX)) else None


def resolution(value: object) -> str | None:
    """Return the canonical name of a resolution for `720p`, `1080`, `1920x1080`, `4K` or `full hd`."""
    words = re.sub(r"[\s_-]", "", _plain(value) or "")
    lines = _LINES.fullmatch(words)
    frame = size(words)
    side = min(frame) if frame is not None else int(lines[1]) if lines else _RESOLUTION_WORDS.get(words)
    return resolution_name(side) if side is not None and SIDE_MIN <= side <= SIDE_MAX else None


def ratio(value: object) -> Fraction | None:
    """Return width divided by height for `16:9`, `16/9`, `1280x720`, `2.35:1`, `1.78` or `landscape`.

    A decimal number with two or more places means the common ratio that is rounded to it: `1.78` is 16:9.
    """
    text = _plain(value) or ""
    if text in _RATIO_WORDS:
        return _RATIO_WORDS[text]
    match = _RATIO.fullmatch(text)
    width, height = match.groups() if match else (text, "1")
    if match is None and _DECIMAL.fullmatch(text) is None:
        return None
    if not Fraction(width) or not Fraction(height):
        return None
    exact = Fraction(width) / Fraction(height)
    if max(exact, 1 / exact) > (RATIO_MAX if match else 5):  # a client that sends `16.9` rarely means 16.9:1
        return None
    if height == "1":
        return _well_known(exact, width) or exact
    turned = _well_known(1 / exact, height) if width == "1" else None
    return 1 / turned if turned else exact


def likely_shape(value: object) -> tuple[str, str] | None:
    """Return the field and the canonical text of a size, a ratio or a resolution that is somewhere in a value.

    For hints in error messages only: the value itself is refused.
    """
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
    """Return the common ratio that `decimal`, whose value is `exact`, is a rounded form of, or None."""
    places = min(len(decimal.partition(".")[2]), 6)
    if places <= 1:
        return None
    return next((common for common in _ROUNDED if abs(common - exact) <= Fraction(1, 2 * 10**places)), None)


def mode(value: object) -> str | None:
    """Return the name of a provider's quality mode in lower case: `std`, `pro`, or any other name."""
    text = trim(value).lower() if isinstance(value, str) and len(value) <= TEXT_MAX else ""
    return _MODES.get(text, text) if 0 < len(text) <= 32 else None


def equal_mode(requested: str, supported: Collection[str]) -> str | None:
    """Return the supported mode that equals the requested one, in the provider's own spelling."""
    if requested in supported:
        return requested
    return next((name for name in sorted(supported) if mode(name) == mode(requested)), None)


def choice(value: object) -> str:
    """Return a word in the form in which the words of a short list are compared; "" if it is not short text."""
    return _plain(value) or ""


def _plain(value: object) -> str | None:
    """Return short text trimmed, in lower case and without full-width characters, and a number as its text.

    None for any other value.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        exact = number(value)
        value = "" if exact is None or abs(exact) >= _LARGEST else str(exact)
    if not isinstance(value, str) or len(text := trim(value)) > TEXT_MAX:
        return None
    return trim(unicodedata.normalize("NFKC", text)).lower()
