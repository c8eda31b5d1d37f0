"""Does the system clock fit the ledger at a start? Pure.

A clock that is wrong by much would expire every open generation and remove every file, or leave moments in the ledger
that stay in the future. So a start that finds one says so, and an operator decides.
"""

from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct

from gateway.domain.errors import ConfigurationError

LEDGER_AHEAD_MAX = timedelta(days=1, seconds=1)  # a smaller lag is bridged: the gateway goes on from the ledger's time
CLOCK_AHEAD_MAX = timedelta(days=30)  # so long a stop is unlikely, and no generation is open for more than a day
SWEEP_HOLD = timedelta(days=1)  # in which an operator may see that the clock is wrong, before anything is removed
ACCEPT = "video-gateway serve --accept-clock"


class LedgerTime(Struct, frozen=True, kw_only=True):
    """What the ledger knows of the time when it is opened."""

    newest: datetime | None  # the latest moment in it, or that a process on it has seen; None: it is new
    has_open: bool  # whether a generation in it has not ended


class ClockTrouble(ConfigurationError):
    """The system clock and the ledger are too far apart to start; the message has both times and the remedy."""

    def __init__(self, clock: datetime, ledger: datetime, problem: Literal["behind", "ahead"]) -> None:
        """`problem` is where the clock stands as seen from the ledger."""
        self.clock, self.ledger, self.problem = clock, ledger, problem
        days = f"{abs((clock - ledger).total_seconds()) / 86_400:,.1f} days"
        if problem == "behind":
            told = (
                f"the system clock says {_text(clock)}, and the newest moment in the ledger is {_text(ledger)}, {days}"
                " later: one of them is wrong. If it is the clock, set it and start again. If the clock is right now,"
                f" start once with `{ACCEPT}`: every moment that the ledger has in the future becomes the present one."
            )
        else:
            told = (
                f"the system clock says {_text(clock)}, {days} after {_text(ledger)}, the newest moment in the ledger,"
                " which has open generations: with this time they would expire. If the clock is wrong, set it and"
                f" start again. If the gateway did stand still for so long, start once with `{ACCEPT}`."
            )
        super().__init__(f"clock: {told}")


def clock_trouble(clock: datetime, ledger: LedgerTime) -> ClockTrouble | None:
    """Why a gateway must not start by itself with this clock on this ledger; `None` when it may."""
    if ledger.newest is None:
        return None
    if ledger.newest - clock > LEDGER_AHEAD_MAX:
        return ClockTrouble(clock, ledger.newest, "behind")
    if ledger.has_open and clock - ledger.newest > CLOCK_AHEAD_MAX:
        return ClockTrouble(clock, ledger.newest, "ahead")
    return None


class SweepHold(Struct, frozen=True, kw_only=True):
    """After a start far ahead of the ledger: for a day only what was due by the ledger's own time is removed."""

    started_at: datetime
    ledger: datetime

    def moment(self, now: datetime) -> datetime:
        """The time by which the sweeper decides what is due."""
        passed = now - self.started_at
        return now if passed >= SWEEP_HOLD else self.ledger + passed


def sweep_hold(clock: datetime, ledger: LedgerTime) -> SweepHold | None:
    """The hold that a start with this clock begins with; `None` where the ledger was in use not long ago."""
    if ledger.newest is None or clock - ledger.newest <= CLOCK_AHEAD_MAX:
        return None
    return SweepHold(started_at=clock, ledger=ledger.newest)


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
