"""Writes the current time beside the ledger every 10 s, so that the next start notices a clock that was set."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from gateway.clock import Clock

log = structlog.get_logger()
KEEP_SECONDS = 10.0
DRIFT_MAX = timedelta(minutes=5)  # receivers of webhooks refuse a timestamp that is further away


class LedgerClock:
    """Writes the time between `start` and `stop`, and warns when the system clock is set meanwhile."""

    def __init__(
        self, keep: Callable[[datetime], None], clock: Clock, drift: Callable[[], timedelta] = timedelta
    ) -> None:
        """`drift` is how far the system clock is ahead of the clock that this process started with."""
        self._keep = keep
        self._clock = clock
        self._drift = drift
        self._warned_drift = timedelta()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Write the time now and every 10 s. The event loop's own timer is used, which no test clock stops."""
        self._keep(self._clock.now())
        self._warn_about_drift()
        self._timer = asyncio.get_running_loop().call_later(KEEP_SECONDS, self.start)

    def stop(self) -> None:
        """Write the time once more, then end."""
        self._keep(self._clock.now())
        if self._timer is not None:
            self._timer.cancel()

    def _warn_about_drift(self) -> None:
        """Log a drift once, and again each time it has changed by more than `DRIFT_MAX`."""
        drift = self._drift()
        if abs(drift - self._warned_drift) <= DRIFT_MAX:
            return
        self._warned_drift = drift
        log.warning(
            "clock_set_while_running",
            seconds=round(drift.total_seconds()),
            detail="the system clock was set, but the gateway goes on with the time that it started with; restart it to"
            " correct the times in its answers and the timestamps of its webhooks",
        )
