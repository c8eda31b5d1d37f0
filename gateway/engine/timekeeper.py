"""What time it is for the ledger, noted while a process drives it: so a start sees whether its clock is behind."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from gateway.services.clock import Clock

KEEP_SECONDS = 10.0


class Timekeeper:
    """Notes the time now and then, between `start` and `stop`."""

    def __init__(self, keep: Callable[[datetime], None], clock: Clock) -> None:
        self._keep = keep
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Note it now and from now on, by the event loop's own time: it is of this process's life that is told."""
        self._keep(self._clock.now())
        self._timer = asyncio.get_running_loop().call_later(KEEP_SECONDS, self.start)

    def stop(self) -> None:
        """Note it once more."""
        self._keep(self._clock.now())
        if self._timer is not None:
            self._timer.cancel()
