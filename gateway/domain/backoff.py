"""Growing pauses between tries, with a jitter that is computed from a seed instead of drawn. Pure."""

from zlib import crc32


def spread(seed: str) -> float:
    """A number from 0 up to but not including 1. The same seed gives the same number, so tests are exact."""
    return crc32(seed.encode()) / 2**32


def exponential(tries: int, *, first: float, ceiling: float, seed: str) -> float:
    """Seconds to wait after so many tries: 50 to 100 % of a pause that doubles from `first` up to `ceiling`."""
    return min(first * 2.0 ** min(tries - 1, 32), ceiling) * (0.5 + spread(f"{seed}:{tries}") / 2)
