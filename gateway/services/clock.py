"""The time, as a value to pass in: the wall clock at the start, then monotonic, so that no correction moves it back."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol


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


class SystemClock:
    """The machine's own."""

    def __init__(self) -> None:
        self._wall = datetime.now(UTC)
        self._start = time.monotonic()

    def now(self) -> datetime:
        """See `Clock`."""
        return self._wall + timedelta(seconds=time.monotonic() - self._start)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """See `Clock`."""
        return asyncio.get_running_loop().call_later(seconds, callback)


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
