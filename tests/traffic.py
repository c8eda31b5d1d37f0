"""Lets a test wait until a gateway in its own process has nothing more to do before the clock moves."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

SETTLE_SECONDS = 20.0  # of real time, on a busy machine: if work does not end within this time, that is a defect
ROUNDS = 60  # turns of the event loop without work under way, after which none is expected to begin


class Traffic:
    """Counts running work other than timers: HTTP exchanges, writes, and everything that a thread does."""

    def __init__(self) -> None:
        self.under_way = 0
        self.waits_for: Counter[str] = Counter()  # running exchanges, by provider
        self.slow: set[str] = set()  # providers for whose exchanges `settle` does not wait
        self._quiet = asyncio.Event()
        self._counts_in: asyncio.AbstractEventLoop | None = None

    def begin(self) -> None:
        self.under_way += 1

    def end(self) -> None:
        self.under_way -= 1
        self._quiet.set()

    async def settle(self) -> None:
        """Wait until no work is running, also not after some more turns of the event loop."""
        async with asyncio.timeout(SETTLE_SECONDS):
            rounds = 0
            while rounds < ROUNDS:
                if self.under_way > sum(self.waits_for[name] for name in self.slow):
                    rounds = 0
                    self._quiet.clear()
                    await self._quiet.wait()
                else:
                    rounds += 1
                    await asyncio.sleep(0)

    def count_threads(self, app: Any) -> None:
        """Count what the writer and the other threads of this gateway do, in the running event loop."""
        app.store._writer._enqueue = self.counting(app.store._writer._enqueue)
        app._archiver.archive = self.counting(app._archiver.archive)
        loop: Any = asyncio.get_running_loop()
        if self._counts_in is loop:  # since an earlier start of the gateway
            return
        self._counts_in = loop
        hand_over = loop.run_in_executor

        def counted(*args: Any) -> asyncio.Future[Any]:
            done: asyncio.Future[Any] = hand_over(*args)
            self.begin()
            done.add_done_callback(lambda _: self.end())
            return done

        loop.run_in_executor = counted

    def counting(self, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def counted(*args: Any, **kwargs: Any) -> Any:
            self.begin()
            try:
                return await call(*args, **kwargs)
            finally:
                self.end()

        return counted
