"""The clock of the gateway: the system time at the start of the process, plus the time that has passed since then.

While a process runs, setting the system clock does not change this clock, so that a generation gets the seconds that it
was promised. Such a change is logged as a warning and takes effect at the next start. Time in which the machine was
suspended counts, because the providers worked on meanwhile.

Where several gateways share a database, the clock of the database counts, as it was at the start of the process.

A new process starts with the system time, but never before the newest moment that the ledger has seen. If the system
clock is more than a day earlier than that, or so far ahead that open generations would expire, the start is refused
(`domain/ledger_clock.py`).
"""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

log = structlog.get_logger()
LOOK_SECONDS = 60.0  # between two looks of a long timer
JUMP_SECONDS = 30 * 86_400.0  # more than this between two looks is a fault of the clock, not time that has passed
APART_SECONDS = 1.0  # a smaller difference from the clock of the database is not logged
BEHIND_SECONDS = 1.0  # a system clock that is slower than the ledger by less than this is not logged
_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # Linux has it, and it counts suspensions


class Timer(Protocol):
    """A callback that has been scheduled."""

    def cancel(self) -> None:
        """Do not call it any more."""
        ...


class Clock(Protocol):
    """The current time, and callbacks at a later time."""

    def now(self) -> datetime:
        """The current time, with a time zone. It never goes back."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` on the running event loop after this many seconds."""
        ...


def boot_seconds() -> float:
    """Seconds since the machine was started. On Linux this includes the time in which it was suspended."""
    return time.clock_gettime(_BOOT)


class SystemClock:
    """The clock of the machine, read once at the start of the process."""

    def __init__(self, elapsed: Callable[[], float] = boot_seconds) -> None:
        """`elapsed` gives the seconds since an arbitrary moment, and never goes back."""
        self._elapsed = elapsed
        self._wall = datetime.now(UTC)
        self._start = self._last = elapsed()

    def now(self) -> datetime:
        """See `Clock`. A jump of a month between two calls is ignored: the gateway asks every few seconds."""
        elapsed = self._elapsed()
        jump = elapsed - self._last
        if jump > JUMP_SECONDS:
            self._start += jump
            log.error(
                "clock_jumped",
                seconds=round(jump),
                detail="the gateway goes on as if no time had passed, so that nothing expires because of a wrong clock;"
                " check the machine's clock, then restart the gateway",
            )
        self._last = elapsed
        return self._wall + timedelta(seconds=elapsed - self._start)

    def drift(self) -> timedelta:
        """How far the system clock is ahead of this clock, because it was set after the start."""
        return datetime.now(UTC) - self.now()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """See `Clock`. After a suspension of the machine the call is late by `LOOK_SECONDS` at most."""
        if seconds <= LOOK_SECONDS:
            return asyncio.get_running_loop().call_later(seconds, callback)
        return _LongTimer(self._elapsed, seconds, callback)


class _LongTimer:
    """A timer that checks the clock every minute. The event loop's own timer does not count suspensions."""

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
    """A clock that is always a fixed time ahead of another clock."""

    def __init__(self, clock: Clock, ahead: timedelta) -> None:
        self._clock = clock
        self._ahead = ahead

    def now(self) -> datetime:
        """See `Clock`."""
        return self._clock.now() + self._ahead

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """See `Clock`."""
        return self._clock.call_later(seconds, callback)


def in_step(clock: Clock, ahead: timedelta) -> Clock:
    """A clock with the time of the database, which is `ahead`: all gateways on it agree on the time.

    A clock that is not the machine's is left as it is.
    """
    if not isinstance(clock, SystemClock) or not ahead:
        return clock
    if abs(ahead.total_seconds()) >= APART_SECONDS:
        log.warning(
            "clock_differs_from_database",
            seconds=round(ahead.total_seconds(), 3),
            detail="the clock of the database counts; set the clocks of both machines by the same server",
        )
    return ShiftedClock(clock, ahead)


def not_before(clock: Clock, moment: datetime | None) -> Clock:
    """The clock itself, or, if it is earlier than `moment`, a clock that goes on from there."""
    lag = timedelta() if moment is None else moment - clock.now()
    if lag <= timedelta():
        return clock
    if lag.total_seconds() >= BEHIND_SECONDS:
        log.warning(
            "clock_behind_ledger",
            seconds=round(lag.total_seconds(), 3),
            detail="the machine's clock was set back, or it was wrong before; check it",
        )
    return ShiftedClock(clock, lag)


async def wait(clock: Clock, event: asyncio.Event, seconds: float) -> None:
    """Wait until the event is set, but at most this many seconds. The event is cleared after that."""
    timer = clock.call_later(max(seconds, 0.0), event.set)
    try:
        await event.wait()
    finally:
        timer.cancel()
    event.clear()


async def sleep(clock: Clock, seconds: float) -> None:
    """Wait this many seconds of the clock."""
    await wait(clock, asyncio.Event(), seconds)
