"""How late the event loop is: what every request, poll and timer waits beside its own work."""

import asyncio
from collections.abc import Callable

EVERY_SECONDS = 0.25


class LoopLag:
    """Sets a timer again and again, and reports by how much each was late."""

    def __init__(self, report: Callable[[float], None]) -> None:
        """`report` gets seconds, on the event loop."""
        self._report = report
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def start(self) -> None:
        """Begin to measure the running event loop."""
        loop = asyncio.get_running_loop()
        self._due = loop.time() + EVERY_SECONDS
        self._timer = loop.call_at(self._due, self._called, loop)

    def stop(self) -> None:
        """End it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _called(self, loop: asyncio.AbstractEventLoop) -> None:
        self._report(max(loop.time() - self._due, 0.0))
        self.start()
