"""How long a client is waited for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.clock import Clock


@asynccontextmanager
async def within(clock: Clock, seconds: float) -> AsyncIterator[None]:
    """`TimeoutError` in what takes longer than so many seconds of this clock."""
    async with asyncio.timeout(None) as patience:  # the clock says when

        def end() -> None:
            if not patience.expired():
                patience.reschedule(0)

        timer = clock.call_later(seconds, end)
        try:
            yield
        finally:
            timer.cancel()
