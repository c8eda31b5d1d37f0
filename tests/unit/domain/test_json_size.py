"""Counts of JSON texts before they are decoded. A text is refused by what it has, and never by how long a string is."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.json_size import OF_REPLY, OF_REQUEST, JsonLimits, excess

MB = 2**20
LIMITS = JsonLimits(values=20, structure=200, exponents=2)

PLAIN = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
TRICKY = st.text(st.sampled_from(list('\\",[]{}:1e5 é"')), max_size=12)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-9, 999), st.just(1.5), PLAIN, TRICKY)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=6), st.dictionaries(PLAIN | TRICKY, inner, max_size=6)),
    max_leaves=40,
)


def separators(value: Any) -> int:
    """The commas and opening brackets that the JSON text of a value has outside of its strings."""
    if not isinstance(value, list | dict):
        return 0
    members = list(value.values()) if isinstance(value, dict) else value
    return 1 + max(len(members) - 1, 0) + sum(map(separators, members))


@given(VALUES, st.booleans(), st.sampled_from([None, 2]))
def test_only_what_is_outside_of_strings_is_counted(value: Any, ascii_only: bool, indent: int | None) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    limits = JsonLimits(values=max(separators(value), 5), structure=len(raw), exponents=0)
    if raw.count(b'"') <= limits.quotes:
        assert excess(raw, limits) is None
    less = JsonLimits(values=separators(value) - 1, structure=len(raw), exponents=0)
    if separators(value):
        assert excess(raw, less) is not None


@given(st.binary(max_size=300))
def test_any_bytes_are_counted(raw: bytes) -> None:
    excess(raw, LIMITS)


REFUSED = {
    "values": (b"[" + b"1," * 20 + b"1]", "more than 20 values"),
    "lists": (b"[" * 21, "more than 20 values"),
    "objects": (b"[" + b"{}," * 20 + b"1]", "more than 20 values"),
    "names": (b"{" + b",".join(b'"%d":1' % number for number in range(41)) + b"}", "more than 80 quotation marks"),
    "texts": (b'[""' + b' ""' * 41, "more than 80 quotation marks"),
    "escaped quotation marks": (b'["' + b'\\"' * 90 + b'"]', "more than 80 quotation marks"),
    "a long number": (b"[" + b"1" * 300 + b"]", "more than 0 KB outside of its strings"),
    "white space": (b"[" + b" " * 300 + b"]", "more than 0 KB outside of its strings"),
    "exponents": (b"[1e9,1.5E300,1.e1]", "more than 2 numbers with an exponent"),
    "a string without an end": (b'["' + b"a" * 300 + b'",' + b"1," * 20, "more than 20 values"),
}


@pytest.mark.parametrize(("raw", "what"), REFUSED.values(), ids=REFUSED)
def test_too_much_of_anything_is_refused(raw: bytes, what: str) -> None:
    assert excess(raw, LIMITS) == what


ACCEPTED = {
    "a string with all of it": b'["' + b"[{,1e9 \\\\" * 90 + b'"]',
    "a string that ends with a backslash": rb'["\\",1,"\\\\",2]',
    "words with an e": b"[" + b"true,false," * 9 + b"null]",
    "an unfinished string": b'["' + b",[" * 90,
    "nothing": b"",
}


@pytest.mark.parametrize("raw", ACCEPTED.values(), ids=ACCEPTED)
def test_strings_and_words_are_not_counted(raw: bytes) -> None:
    assert excess(raw, LIMITS) is None


def test_images_are_as_long_as_their_limit_in_every_spelling() -> None:
    text = b"QUJD/+Q9" * (8 * MB // 8)
    white = rb"\/" * 4 * MB  # a picture without compression
    for spelled in (text, text.replace(b"/", rb"\/"), b"\\r\\n".join([text[:76]] * 100_000), white):
        body = b'{"model":"m","prompt":"\xe7\x8c\xab","reference_images":["' + b'","'.join([spelled] * 3) + b'"]}'
        assert excess(body, OF_REQUEST) is None
        assert excess(body, OF_REPLY) is None


@pytest.mark.parametrize("last", ["猫".encode(), rb"\u732b", rb"\ud83d\ude00"])
def test_a_long_string_has_no_character_that_makes_it_larger_in_memory(last: bytes) -> None:
    what = "characters outside of ASCII in a string of more than 1 MB"
    assert excess(b'["' + b"a" * MB + last + b'"]', OF_REQUEST) == what
    assert excess(b'["' + b"a" * MB + b'","' + last + b'"]', OF_REQUEST) is None
    assert excess(b'["' + b"a" * 1000 + last + b'"]', OF_REQUEST) is None
