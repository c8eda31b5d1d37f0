"""How much of the benchmark is carried out: rounds, seconds, and counts."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """The whole benchmark, or a quick look."""

    rounds: int = 3  # each measures every system once, one after the other
    closed_seconds: float = 2.5  # of one closed loop
    open_seconds: float = 5.0  # of one open loop
    connections: tuple[int, ...] = (1, 16, 64, 128)
    rates: tuple[int, ...] = (20, 100, 200, 500)  # creates a second
    polled: int = 4000  # open generations of which polls are measured
    lives: int = 90  # whole lives in a round
    ledgers: tuple[tuple[int, int], ...] = (
        (1000, 0),
        (1000, 1000),
        (1000, 20_000),
        (1_000_000, 0),
        (1_000_000, 20_000),
    )


WHOLE = Effort()
QUICK = Effort(
    rounds=1,
    closed_seconds=1.0,
    open_seconds=2.0,
    connections=(1, 64),
    rates=(100, 500),
    polled=1000,
    lives=30,
    ledgers=((1000, 0), (1000, 1000)),
)
