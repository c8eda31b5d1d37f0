"""Bounds the work that decoding a JSON text can cause, by counting its bytes before anything is decoded. Pure.

The size of a text says little about the cost of its values: one megabyte of `1.5e300,` takes seconds to decode, and a
megabyte of short names takes forty megabytes of memory. What costs time and memory is outside of the strings. So the
strings are skipped with the search of the C library, which passes gigabytes in a second, and the rest is counted.
A string may be as long as the text, because images are sent as strings.
"""

import re

from msgspec import Struct

_EXPONENT = re.compile(rb"[0-9.][eE]")
# A longer string is an image in base64. One character outside of ASCII would make it four times as large in memory.
_TEXT_MAX = 2**20
_ESCAPED_TEXT = re.compile(rb"\\u(?!00)")


class JsonLimits(Struct, frozen=True, kw_only=True):
    """How much a JSON text may have beside the content of its strings."""

    values: int  # commas and opening brackets: every value but the first comes after one of them
    structure: int  # bytes outside of strings: numbers, words, commas, colons, brackets and white space
    exponents: int  # numbers with an exponent: to decode one can take a thousand times as long as any other number

    @property
    def quotes(self) -> int:
        """Quotation marks, the escaped ones included: those around a name and a string for each value."""
        return 4 * self.values


# A create has a few dozen values; the largest options and metadata that are accepted have some hundreds.
OF_REQUEST = JsonLimits(values=5_000, structure=256 * 1024, exponents=64)
# A reply about one task has a few dozen values; one that repeats what a relay's supplier sent has some hundreds.
OF_REPLY = JsonLimits(values=5_000, structure=256 * 1024, exponents=64)


def excess(raw: bytes, limits: JsonLimits) -> str | None:
    """What the text has too much of, as "more than 5,000 values"; None for a text within the limits.

    The time grows with the number of bytes, whatever they are: about a millisecond for ten megabytes of an image, at
    most four for one megabyte. A text that is not JSON is counted too: None does not mean that it can be decoded.
    """
    may_have_text = len(raw) > _TEXT_MAX and (b"\\u" in raw or not raw.isascii())
    outside: list[bytes] = []
    inside, begin, at = False, 0, 0  # `begin`: of the string, or of what is between two strings
    structure = 0
    for _ in range(limits.quotes + 1):
        quote = raw.find(b'"', at)
        end = len(raw) if quote < 0 else quote
        if inside:
            if quote >= 0 and _is_escaped(raw, at, quote):
                at = quote + 1
                continue
            if may_have_text and end - begin > _TEXT_MAX and _has_text(raw, begin, end):
                return f"characters outside of ASCII in a string of more than {_TEXT_MAX // 2**20} MB"
        else:
            structure += end - begin
            if structure > limits.structure:
                return f"more than {limits.structure // 1024} KB outside of its strings"
            outside.append(raw[begin:end])
        if quote < 0:
            return _excess_outside(b"".join(outside), limits)
        inside, begin, at = not inside, quote + 1, quote + 1
    return f"more than {limits.quotes:,} quotation marks"


def _is_escaped(raw: bytes, start: int, quote: int) -> bool:
    """Whether the quotation mark comes after an odd number of backslashes; none of them is before `start`."""
    if quote == start or raw[quote - 1] != 0x5C:
        return False
    content = raw[start:quote]
    return (len(content) - len(content.rstrip(b"\\"))) % 2 == 1


def _has_text(raw: bytes, begin: int, end: int) -> bool:
    return not raw[begin:end].isascii() or _ESCAPED_TEXT.search(raw, begin, end) is not None


def _excess_outside(text: bytes, limits: JsonLimits) -> str | None:
    if text.count(b",") + text.count(b"[") + text.count(b"{") > limits.values:
        return f"more than {limits.values:,} values"
    if len(_EXPONENT.findall(text)) > limits.exponents:
        return f"more than {limits.exponents} numbers with an exponent"
    return None
