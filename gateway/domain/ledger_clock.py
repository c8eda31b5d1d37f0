"""Whether the system clock fits the ledger when the gateway starts. Pure.

With a clock that is far ahead, every open generation would expire and every file would be removed. With a clock that is
far too early, the ledger would have times that stay in the future. So the gateway refuses to start, and an operator
decides.
"""

from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct

from gateway.domain.errors import ConfigurationError

LEDGER_AHEAD_MAX = timedelta(days=1, seconds=1)  # up to this, the gateway starts and counts on from the ledger's time
CLOCK_AHEAD_MAX = timedelta(days=30)  # a longer stop is unlikely, and no generation is open for more than a day
SWEEP_HOLD = timedelta(days=1)  # the time for an operator to notice a wrong clock before files are removed
ACCEPT = "video-gateway serve --accept-clock"


class LedgerTime(Struct, frozen=True, kw_only=True):
    """What the ledger says about the time when it is opened."""

    newest: datetime | None  # the latest time in it, or that a process noted beside it; None: the ledger is new
    has_open: bool  # True: it has a generation that has not ended


class ClockTrouble(ConfigurationError):
    """The system clock and the ledger are too far apart to start. The message has both times and the remedy."""

    def __init__(self, clock: datetime, ledger: datetime, problem: Literal["behind", "ahead"]) -> None:
        """`problem` says whether the clock is earlier (`behind`) or later (`ahead`) than the ledger."""
        self.clock, self.ledger, self.problem = clock, ledger, problem
        days = f"{abs((clock - ledger).total_seconds()) / 86_400:,.1f} days"
        if problem == "behind":
            message = (
                f"the system clock says {_text(clock)}, and the newest moment in the ledger is {_text(ledger)}, {days}"
                " later: one of them is wrong. If it is the clock, set it and start again. If the clock is right now,"
                f" start once with `{ACCEPT}`: every moment that the ledger has in the future becomes the present one."
            )
        else:
            message = (
                f"the system clock says {_text(clock)}, {days} after {_text(ledger)}, the newest moment in the ledger,"
                " which has open generations: with this time they would expire. If the clock is wrong, set it and"
                f" start again. If the gateway really was stopped for so long, start once with `{ACCEPT}`."
            )
        super().__init__(f"clock: {message}")


def clock_trouble(clock: datetime, ledger: LedgerTime) -> ClockTrouble | None:
    """Why the gateway must not start with this clock and this ledger unless an operator agrees; `None` if it may."""
    if ledger.newest is None:
        return None
    if ledger.newest - clock > LEDGER_AHEAD_MAX:
        return ClockTrouble(clock, ledger.newest, "behind")
    if ledger.has_open and clock - ledger.newest > CLOCK_AHEAD_MAX:
        return ClockTrouble(clock, ledger.newest, "ahead")
    return None


class SweepHold(Struct, frozen=True, kw_only=True):
    """After a start with a clock far ahead of the ledger: for a day, files expire by the ledger's own time."""

    started_at: datetime
    ledger: datetime  # the newest time in the ledger at the start

    def moment(self, now: datetime) -> datetime:
        """The time that the sweeper compares expiries with."""
        passed = now - self.started_at
        return now if passed >= SWEEP_HOLD else self.ledger + passed


def sweep_hold(clock: datetime, ledger: LedgerTime) -> SweepHold | None:
    """The hold for a start with this clock; `None` if the ledger was in use recently, so that the clock is credible."""
    if ledger.newest is None or clock - ledger.newest <= CLOCK_AHEAD_MAX:
        return None
    return SweepHold(started_at=clock, ledger=ledger.newest)


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
