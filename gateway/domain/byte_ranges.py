"""Which bytes of a file a client asks for: RFC 9110, section 14, for the unit `bytes`."""

import re
from collections.abc import Sequence

RANGE_MAX = 1024  # characters of a header that are looked at
RANGES_MAX = 16  # parts asked for at once: a player asks for one, a reader of documents for a handful
PART_OVERHEAD = (
    80  # bytes around a part (RFC 9110, section 15.3.7.2): a smaller gap is cheaper to send than to leave out
)
_SPECIFIER = re.compile(r"bytes=(.*)", re.ASCII | re.IGNORECASE)
_SPEC = re.compile(r"([0-9]*)-([0-9]*)", re.ASCII)


def ranges_of(header: str, size: int) -> tuple[range, ...] | None:
    """What a `Range` asks for of a file of so many bytes, in the order asked for, overlaps and small gaps made one.

    `None`: to be ignored, for it is in another unit, malformed, or asks for too much. Empty: none of it can be had.
    """
    found = _SPECIFIER.fullmatch(header) if len(header) <= RANGE_MAX else None
    if found is None or size == 0:
        return None
    specs = [spec for part in found[1].split(",") if (spec := part.strip(" \t"))]
    if not 0 < len(specs) <= RANGES_MAX:
        return None
    wanted = []
    for spec in specs:
        match = _SPEC.fullmatch(spec)
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
    return _joined([one for one in wanted if one])


def _joined(wanted: Sequence[range]) -> tuple[range, ...]:
    """The same bytes with those between near ones, each range at the place of the first that it came of."""
    joined: list[tuple[int, range]] = []
    for place, one in sorted(enumerate(wanted), key=lambda entry: entry[1].start):
        if joined and one.start - joined[-1][1].stop < PART_OVERHEAD:
            before, last = joined[-1]
            joined[-1] = min(before, place), range(last.start, max(last.stop, one.stop))
        else:
            joined.append((place, one))
    return tuple(one for _, one in sorted(joined, key=lambda entry: entry[0]))
