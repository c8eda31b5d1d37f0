"""Base64 text of clients gives the bytes that were meant, or a refusal, and never other bytes."""

import base64
import random
import textwrap
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.media.base64_text import NotBase64, TooLong, decode_base64

from ...cases import every

LIMIT = 30_000_000
RANDOM = random.Random(7)


def some(size: int) -> bytes:
    return b"\x89PNG" + RANDOM.randbytes(size - 4)


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def meaning(text: str) -> bytes | None:
    try:
        return decode_base64(text, LIMIT)
    except NotBase64:
        return None


LONG = [some(size) for size in range(3000, 3024)]


@pytest.mark.parametrize("wrap", ["{}", " {}\n", "\n\n{}\r\n  "])
def test_a_blank_within_a_line_becomes_a_plus_again(wrap: str) -> None:
    assert {encoded(data).count("+") % 4 for data in LONG} == {0, 1, 2, 3}
    for data in LONG:
        text = encoded(data)
        assert decode_base64(wrap.format(text.replace("+", " ")), LIMIT) == data
        assert decode_base64(text.rstrip("=").replace("+", " "), LIMIT) == data


@every("width", [60, 64, 76])
@every("end", ["\n", "\r\n", "\r", "\n ", "\n    ", "\n\t", " \n", "\r\n\r\n", " ", "\t"])
def test_folded_text_has_white_space_where_it_is_folded(width: int, end: str) -> None:
    for data in LONG:
        assert decode_base64(end.join(textwrap.wrap(encoded(data), width)), LIMIT) == data


@every("width", [60, 64, 76])
@every("indent", ["", " ", "    "])
@every("first", [0, 22])
def test_folded_text_that_lost_its_plus_is_read_and_never_read_wrongly(width: int, indent: str, first: int) -> None:
    read = 0
    for data in LONG:
        text = "x" * first + encoded(data).replace("+", " ")  # a header may share the first line
        lines = [text[at : at + width] for at in range(0, len(text), width)]
        result = meaning(f"\r\n{indent}".join(lines)[first:])
        assert result in {data, None}
        read += result is not None
    assert read > len(LONG) // 2


@settings(max_examples=100)
@given(
    data=st.binary(min_size=40, max_size=400),
    lost=st.booleans(),
    width=st.sampled_from([0, 4, 20, 76]),
    indent=st.sampled_from(["", " ", "  ", "    "]),
    padded=st.booleans(),
)
def test_no_spelling_gives_other_bytes(data: bytes, lost: bool, width: int, indent: str, padded: bool) -> None:
    text = encoded(b"\x89PNG" + data)
    text = text if padded else text.rstrip("=")
    text = text.replace("+", " ") if lost else text
    lines = [text[at : at + width] for at in range(0, len(text), width)] if width else [text]
    assert meaning(f"\n{indent}".join(lines)) in {b"\x89PNG" + data, None}


@pytest.mark.parametrize("indent", ["", " ", "   "])
def test_a_plus_at_the_end_of_a_line_before_an_indent_is_not_lost(indent: str) -> None:
    data = b"\x89PNG" + bytes(52) + b">" + bytes(30)
    text = base64.b64encode(data).decode().rstrip("=").replace("+", " ")
    folded = f"\n{indent}".join(text[at : at + 76] for at in range(0, len(text), 76))
    with suppress(NotBase64):  # a refusal is right too; only other bytes are wrong
        assert decode_base64(folded, 1000) == data


@pytest.mark.parametrize(
    "text",
    [
        "iVBORw0K+goA AAAA AAAA AAAA",  # some `+` are still there, and there are blanks too
        "iVBOR-w0 KGgo_AAAAAAA",
        "iVBORw0KGgoAA ",
        "iVBORw0KGgoAAA \n",
        "iVBORw0KGgoA\n AAA",
        "iVBO\n AAAAAAAA\nAAAAA\nAA",
    ],
)
def test_text_with_two_meanings_is_refused_with_the_remedy(text: str) -> None:
    with pytest.raises(NotBase64, match="send it without blanks"):
        decode_base64(text, LIMIT)


@every(
    ("text", "words"),
    [
        ("iVBORw0KGgo*", "character '\\*' at position 11"),
        ("iVBORw0KGgoé", "character 'é' at position 11"),
        ("iVBO\x00Rw0KGgo", "character U\\+0000 at position 4"),
        ("iVBO\x1cRw0KGgo", "character U\\+001C at position 4"),
        ("iVBO\u2028w0KGgo", "character U\\+2028 at position 4"),
        ("iVBO%2bRw0%KGgo", "character '%' at position 10"),
        ("iVBO%252BRw0", "character '%' at position 4"),
        ('"iVBORw0KGgo"', "character '\"' at position 0"),
        ("iVBO\\nRw0KGgo", r"character '\\' at position 4"),
        ("iVBO=Rw0KGgo", "character '=' at position 4, before the end"),
        ("iVBORw==iVBORw==", "character '=' at position 6, before the end"),
        ("iVBORw0KGgo==", "has 13 characters|has 11 characters and 2"),
        ("iVBORw0KGgo=====", "has 11 characters and 5"),
        ("iVBOR", "has 5 characters and 0"),
        ("====", "has 0 characters and 4"),
        ("=", "has 0 characters and 1"),
    ],
)
def test_a_wrong_character_is_named_with_its_position(text: str, words: str) -> None:
    with pytest.raises(NotBase64, match=words):
        decode_base64(text, LIMIT)
    with pytest.raises(NotBase64):
        decode_base64(f"data:,{text}", LIMIT, 6)


def test_a_position_counts_from_the_beginning_of_the_value() -> None:
    with pytest.raises(NotBase64, match="position 26"):
        decode_base64("data:image/png;base64,iVBO*", LIMIT, 22)


def test_the_limit_counts_bytes() -> None:
    assert len(decode_base64(encoded(bytes(1000)), 1000)) == 1000
    with pytest.raises(TooLong):
        decode_base64(encoded(bytes(1001)), 1000)
    assert decode_base64("", 0) == b""


@pytest.mark.parametrize(
    "text",
    [
        "A" * 28_000_000,
        "A " * 14_000_000,
        " " * 14_000_000 + "A" * 14_000_000,
        "A" + " " * 28_000_000 + "A",
        "A\t" * 14_000_000,
        "A" + " \t" * 14_000_000 + "A",
        "AAAA\n" * 5_600_000,
        "AA A\n" * 5_600_000,
        "%2B" * 9_000_000 + "*",
        "%" * 28_000_000,
        "A" * 27_000_000 + "*",
    ],
    ids=lambda text: repr(text[:6]),
)
def test_the_largest_texts_are_read_or_refused_quickly(text: str) -> None:
    began = time.process_time()
    try:
        decode_base64(text, LIMIT)
    except NotBase64 as error:
        assert len(str(error)) < 300  # noqa: PT017  # some are base64
    assert time.process_time() - began < 3  # seconds; it takes a few tenths on a current machine
