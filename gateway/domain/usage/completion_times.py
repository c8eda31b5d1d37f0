"""Times to completion in a bounded number of buckets, from which a median or another quantile is read. Pure.

Each bucket ends 6 % after it begins, and a quantile is read as the geometric middle of its bucket. So it differs from
the exact one by less than 3 %, for times between `SHORTEST_SECONDS` and two days.
"""

from math import log

SHORTEST_SECONDS = 0.1  # shorter times are in the first bucket
GROWTH = 1.06  # from the beginning of a bucket to its end
BUCKETS = 247  # the last one holds everything from two days on; no deadline is longer than one day
ERROR = GROWTH**0.5 - 1  # of a quantile, relative to the exact one


def bucket_of(seconds: float) -> int:
    """The number of the bucket of a time, from 0 to `BUCKETS - 1`."""
    place = int(log(max(seconds, SHORTEST_SECONDS) / SHORTEST_SECONDS) / log(GROWTH))
    return min(place, BUCKETS - 1)


def seconds_of(bucket: int) -> float:
    """The time that represents a bucket, rounded to milliseconds."""
    return round(float(SHORTEST_SECONDS * GROWTH ** (bucket + 0.5)), 3)
