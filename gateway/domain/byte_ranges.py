"""Which bytes of a file a `Range` header asks for: RFC 9110, section 14, for the unit `bytes`. Pure."""

import re
from collections.abc import Sequence

RANGE_MAX = 1024  # characters; a longer header is ignored
RANGES_MAX = 16  # ranges in one header; a player sends one, a reader of documents a few
PART_OVERHEAD = 80  # bytes of headers around each part (RFC 9110, section 15.3.7.2): a smaller gap is cheaper to send
_HEADER = re.compile(r"bytes=(.*)", re.ASCII | re.IGNORECASE)
_RANGE = re.compile(r"([0-9]*)-([0-9]*)", re.ASCII)


def ranges_of(header: str, size: int) -> tuple[range, ...] | None:
    """The byte ranges that a `Range` header asks for, of a file of `size` bytes, in the order of the header.

    Ranges that overlap or are close together are joined. `None`: the header is to be ignored, because it is malformed,
    in another unit, or asks for too many ranges. Empty: the file has none of the bytes (416).
    """
    header_match = _HEADER.fullmatch(header) if len(header) <= RANGE_MAX else None
    if header_match is None or size == 0:
        return None
    specs = [spec for part in header_match[1].split(",") if (spec := part.strip(" \t"))]
    if not 0 < len(specs) <= RANGES_MAX:
        return None
    wanted = []
    for spec in specs:
        match = _RANGE.fullmatch(spec)
        if match is None or not (match[1] or match[2]):
            return None
        first, last = (int(text) if text else None for text in match.groups())
        if first is None:
            wanted.append(range(max(size - (last or 0), 0), size))
        elif last is None:
            wanted.append(range(first, size))
        elif last < first:
            return None
        else:
            wanted.append(range(first, min(last + 1, size)))
    return _joined([part for part in wanted if part])


def _joined(wanted: Sequence[range]) -> tuple[range, ...]:
    """The ranges with close ones joined; a joined range has the position of the first range that it consists of."""
    joined: list[tuple[int, range]] = []
    for position, part in sorted(enumerate(wanted), key=lambda entry: entry[1].start):
        if joined and part.start - joined[-1][1].stop < PART_OVERHEAD:
            before, last = joined[-1]
            joined[-1] = min(before, position), range(last.start, max(last.stop, part.stop))
        else:
            joined.append((position, part))
    return tuple(part for _, part in sorted(joined, key=lambda entry: entry[0]))
