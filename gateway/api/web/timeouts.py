"""Time-outs for waiting on clients. They use the gateway's clock, which also counts while the machine sleeps."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.clock import Clock


@asynccontextmanager
async def timeout(clock: Clock, seconds: float) -> AsyncIterator[None]:
    """Raise `TimeoutError` in the body when it takes longer than this on this clock."""
    async with asyncio.timeout(None) as timeout:  # `end` sets when

        def end() -> None:
            if not timeout.expired():
                timeout.reschedule(0)

        timer = clock.call_later(seconds, end)
        try:
            yield
        finally:
            timer.cancel()
