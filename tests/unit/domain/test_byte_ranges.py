"""`Range` headers, compared with a slow implementation of the RFC that works byte by byte."""

import itertools
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.domain.byte_ranges import PART_OVERHEAD, RANGE_MAX, RANGES_MAX, ranges_of

from ...cases import every

SINGLE = [
    ("bytes=0-0", range(1)),
    ("bytes=0-499", range(500)),
    ("bytes=500-999", range(500, 1000)),
    ("bytes=-500", range(9500, 10_000)),
    ("bytes=9500-", range(9500, 10_000)),
    ("bytes=0-", range(10_000)),
    ("bytes=9999-", range(9999, 10_000)),
    ("bytes=9500-20000", range(9500, 10_000)),
    ("bytes=-20000", range(10_000)),
    ("Bytes=0-0", range(1)),
    ("bytes=, 1-2 ,\t", range(1, 3)),
    ("bytes=00000000000000000000000001-0002", range(1, 3)),
    (f"bytes=1-{'9' * 500}", range(1, 10_000)),
    ("bytes=0-0,10000-", range(1)),
    ("bytes=0-10,5-20", range(21)),
    ("bytes=0-10,11-20", range(21)),
    ("bytes=50-60,0-10", range(61)),
]


@every(("header", "wanted"), SINGLE)
def test_one_range_is_read(header: str, wanted: range) -> None:
    assert ranges_of(header, 10_000) == (wanted,)


@pytest.mark.parametrize(
    "header", ["bytes=10000-", "bytes=10000-10001", "bytes=-0", f"bytes={'9' * 500}-", "bytes=-0,10000-"]
)
def test_what_is_not_there_is_not_satisfiable(header: str) -> None:
    assert ranges_of(header, 10_000) == ()


MALFORMED = [
    "",
    "bytes",
    "bytes=",
    "bytes=,",
    "bytes=-",
    "bytes=1",
    "bytes=2-1",
    "bytes=0-0,2-1",
    "bytes=a-b",
    "bytes=1-2-3",
    "bytes=+1-2",
    "bytes=1 - 2",
    "bytes =0-1",
    "bytes= =0-1",
    "bytes=٣-٤",
    "bytes=0x0-0x1",
    "bytes=1.0-2",
    "bytes=0-1;2-3",
    "bytes: 0-1",
    "items=0-1",
    "seconds=0-1",
    "none",
    "bytes=0-1\n",
]


@every("header", MALFORMED)
def test_what_is_malformed_or_in_another_unit_is_ignored(header: str) -> None:
    assert ranges_of(header, 10_000) is None


def test_several_ranges_come_in_the_order_asked_for() -> None:
    assert ranges_of("bytes=9000-9001, 0-0, 5000-5009, -1", 10_000) == (
        range(9000, 9002),
        range(1),
        range(5000, 5010),
        range(9999, 10_000),
    )
    assert ranges_of("bytes=5000-5009,0-0,4990-5000", 10_000) == (range(4990, 5010), range(1))


def test_more_ranges_than_anybody_needs_are_ignored() -> None:
    def asking(count: int) -> str:
        return "bytes=" + ",".join(f"{1000 * at}-{1000 * at}" for at in range(count))

    assert ranges_of(asking(RANGES_MAX), 100_000) == tuple(range(1000 * at, 1000 * at + 1) for at in range(RANGES_MAX))
    assert ranges_of(asking(RANGES_MAX + 1), 100_000) is None
    assert ranges_of("bytes=0-0" + " " * RANGE_MAX, 100_000) is None


def test_empty_file_has_no_ranges() -> None:
    assert ranges_of("bytes=0-", 0) is None


def slowly(header: str, size: int) -> set[int] | None:
    """Every requested byte; `None` if the header is to be ignored."""
    unit, _, listed = header.partition("=")
    parts = [part.strip(" \t") for part in listed.split(",")]
    if unit.lower() != "bytes" or not any(parts) or size == 0:
        return None
    wanted: set[int] = set()
    for part in filter(None, parts):
        if re.fullmatch("[0-9]+-[0-9]+", part) and int(part.split("-")[0]) <= int(part.split("-")[1]):
            first, last = map(int, part.split("-"))
            wanted |= {at for at in range(size) if first <= at <= last}
        elif re.fullmatch("[0-9]+-", part):
            wanted |= {at for at in range(size) if at >= int(part[:-1])}
        elif re.fullmatch("-[0-9]+", part):
            wanted |= {at for at in range(size) if at >= size - int(part[1:])}
        else:
            return None
    return wanted


NUMBER = st.integers(0, 420).map(str) | st.sampled_from(["", "007", "9" * 30])
SPEC = st.builds("{}-{}".format, NUMBER, NUMBER) | st.sampled_from(["", " ", "x", "-", "1-2-3", "\t5-9 "])
HEADER = st.lists(SPEC, max_size=RANGES_MAX).map(lambda specs: "bytes=" + ",".join(specs)) | st.text(max_size=20)


@settings(max_examples=150)
@given(header=HEADER, size=st.integers(0, 400))
@example(header="bytes=-0", size=1)
@example(header="bytes=0-0,81-81", size=400)
@example(header="bytes=0-0,80-80", size=400)
def test_ranges_are_those_of_the_rfc(header: str, size: int) -> None:
    wanted = slowly(header, size)
    ranges = ranges_of(header, size)
    if wanted is None or ranges is None:
        assert (wanted is None) is (ranges is None)
        return
    sent = {at for part in ranges for at in part}
    assert sent >= wanted
    assert sum(map(len, ranges)) == len(sent), "a byte is sent twice"
    assert all(part and part.start in wanted and part[-1] in wanted for part in ranges)
    for at in sent - wanted:  # only bytes of a small gap between two ranges
        below, above = max(byte for byte in wanted if byte < at), min(byte for byte in wanted if byte > at)
        assert above - below - 1 < PART_OVERHEAD
    ordered = sorted(ranges, key=lambda part: part.start)
    assert all(after.start - before.stop >= PART_OVERHEAD for before, after in itertools.pairwise(ordered))


@settings(max_examples=100)
@given(header=st.text(max_size=40) | st.text("bytes=-,0123456789 \t", max_size=40), size=st.integers(0, 10**12))
def test_any_text_is_read_or_ignored(header: str, size: int) -> None:
    ranges = ranges_of(header, size)
    assert ranges is None or all(0 <= part.start < part.stop <= size for part in ranges)
