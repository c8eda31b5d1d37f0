"""How long to wait: attempt number to seconds, with a jitter that is a function of its seed."""

from zlib import crc32


def spread(seed: str) -> float:
    """A number in [0, 1) that is the same for the same seed: jitter without randomness."""
    return crc32(seed.encode()) / 2**32


def exponential(tries: int, *, first: float, ceiling: float, seed: str) -> float:
    """Seconds before try `tries + 1`: doubled each time up to the ceiling, then 50–100 % of it."""
    return min(first * 2.0 ** min(tries - 1, 32), ceiling) * (0.5 + spread(f"{seed}:{tries}") / 2)
