"""The time, as a value to pass in: the wall clock at the start, then what has passed since.

Within a process no correction of the wall clock moves it: a generation has the seconds that it was promised. Time in
which the machine was suspended counts, for the providers went on meanwhile. Across processes the wall clock tells what
passed, but never less than nothing: a start goes on from the newest moment that the ledger has seen, where the wall
clock is up to a day behind that. Where it is further behind, or so far ahead that open generations would expire, the
start is refused (`domain/ledger_clock.py`). A wall clock that is set while the gateway runs changes nothing until the
next start, and is a warning in the log.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

log = structlog.get_logger()
LOOK_SECONDS = 60.0
JUMP_SECONDS = 30 * 86_400.0  # more than this between two looks is a wrong clock, not time that has passed
BEHIND_SECONDS = 1.0  # from which on a wall clock that is behind is told of
_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # Linux has it


class Timer(Protocol):
    """A call that is still to come."""

    def cancel(self) -> None:
        """Forget it."""
        ...


class Clock(Protocol):
    """What time it is, and calls at a later one."""

    def now(self) -> datetime:
        """The present moment, aware, never before an earlier one."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back on the running event loop after so many seconds."""
        ...


def boot_seconds() -> float:
    """Seconds since the machine was started, those of its suspensions included where the system counts them."""
    return time.clock_gettime(_BOOT)


class SystemClock:
    """The machine's own."""

    def __init__(self, elapsed: Callable[[], float] = boot_seconds) -> None:
        """`elapsed` tells seconds since any moment, and never goes back."""
        self._elapsed = elapsed
        self._wall = datetime.now(UTC)
        self._start = self._last = elapsed()

    def now(self) -> datetime:
        """See `Clock`. The gateway looks every few seconds; a jump of a month between two looks is left out."""
        elapsed = self._elapsed()
        jump = elapsed - self._last
        if jump > JUMP_SECONDS:
            self._start += jump
            log.error(
                "clock_jumped",
                seconds=round(jump),
                detail="so that nothing expires by a wrong clock, the gateway goes on as if no time had passed;"
                " look at the machine's clock, then restart the gateway",
            )
        self._last = elapsed
        return self._wall + timedelta(seconds=elapsed - self._start)

    def drift(self) -> timedelta:
        """How far the wall clock is ahead of this one: it was set since the start."""
        return datetime.now(UTC) - self.now()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """See `Clock`; a suspension makes it late by `LOOK_SECONDS` at most."""
        if seconds <= LOOK_SECONDS:
            return asyncio.get_running_loop().call_later(seconds, callback)
        return _LongTimer(self._elapsed, seconds, callback)


class _LongTimer:
    """A timer that looks at the clock now and then, for the event loop's own stands still while the machine does."""

    def __init__(self, elapsed: Callable[[], float], seconds: float, callback: Callable[[], None]) -> None:
        self._elapsed = elapsed
        self._callback = callback
        self._at = elapsed() + seconds
        self._handle = self._next(seconds)

    def cancel(self) -> None:
        self._handle.cancel()

    def _next(self, left: float) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(min(left, LOOK_SECONDS), self._look)

    def _look(self) -> None:
        left = self._at - self._elapsed()
        if left <= 0:
            self._callback()
        else:
            self._handle = self._next(left)


class ShiftedClock:
    """Another clock, always so much ahead."""

    def __init__(self, clock: Clock, ahead: timedelta) -> None:
        self._clock = clock
        self._ahead = ahead

    def now(self) -> datetime:
        """See `Clock`."""
        return self._clock.now() + self._ahead

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """See `Clock`."""
        return self._clock.call_later(seconds, callback)


def not_before(clock: Clock, moment: datetime | None) -> Clock:
    """The clock; where it is behind the moment, one that goes on from there."""
    behind = timedelta() if moment is None else moment - clock.now()
    if behind <= timedelta():
        return clock
    if behind.total_seconds() >= BEHIND_SECONDS:
        log.warning(
            "clock_behind_ledger",
            seconds=round(behind.total_seconds(), 3),
            detail="the machine's clock was set back, or was wrong before; look at it",
        )
    return ShiftedClock(clock, behind)


async def wait(clock: Clock, event: asyncio.Event, seconds: float) -> None:
    """Until the event is set, and so many seconds at most; the event is clear afterwards."""
    timer = clock.call_later(max(seconds, 0.0), event.set)
    try:
        await event.wait()
    finally:
        timer.cancel()
    event.clear()


async def sleep(clock: Clock, seconds: float) -> None:
    """So many seconds of this clock."""
    await wait(clock, asyncio.Event(), seconds)
