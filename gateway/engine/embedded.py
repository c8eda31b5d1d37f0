"""The engine of a single process: one coroutine for each generation, under the store's exclusive lock."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

import structlog

from gateway.clock import Clock
from gateway.clock import sleep as sleep_on
from gateway.domain.backoff import spread
from gateway.domain.errors import Overloaded, ShuttingDown
from gateway.domain.generation.model import Generation
from gateway.engine.driver import Driver
from gateway.engine.store_retry import until_store_works
from gateway.store.port import Store

log = structlog.get_logger()
RESTART_SECONDS = 30.0  # before a driver that raised is started again
LEASE_SECONDS = 60.0
FULL_SECONDS = 15.0  # `Retry-After` while too many generations are open
STOPPING_SECONDS = 5.0  # `Retry-After` while the process stops: the next one may run by then


class EmbeddedEngine:
    """Implements `Engine`."""

    def __init__(
        self, store: Store, clock: Clock, new_driver: Callable[[], Driver], *, spread_seconds: float, open_max: int
    ) -> None:
        """`spread_seconds`: over how long a start spreads the drivers. `open_max`: open generations at once."""
        self._store = store
        self._clock = clock
        self._new_driver = new_driver
        self._spread_seconds = spread_seconds
        self._open_max = open_max
        self._arriving = 0  # creates that were admitted and have no driver yet
        self._drivers: dict[str, Driver] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        # Generations that have ended but are still driven: an abandoned task is polled, or a file is archived.
        self._ended: set[str] = set()
        self._woken: set[str] = set()  # woken while their driver was starting or ending
        self._stopping = False

    @property
    def driven(self) -> int:
        """How many generations have a driver now."""
        return len(self._tasks)

    async def start(self) -> None:
        """Take over every open generation, spread over one poll interval."""
        for generation_id in await self._store.open_ids(self._clock.now()):
            self._spawn(generation_id, None, delay=spread(generation_id) * self._spread_seconds)

    @contextmanager
    def admit(self) -> Iterator[None]:
        """See `Engine`. Every open generation has a driver, so drivers are counted, except those of ended ones."""
        if self._stopping:
            raise ShuttingDown(retry_after=STOPPING_SECONDS)
        if len(self._tasks) - len(self._ended) + self._arriving >= self._open_max:
            raise Overloaded(f"{self._open_max:,} generations are open already.", retry_after=FULL_SECONDS)
        self._arriving += 1
        try:
            yield
        finally:
            self._arriving -= 1

    def begin(self, generation: Generation) -> None:
        """See `Engine`. The driver starts at once: this process has the fence already."""
        self._spawn(generation.id, generation)

    def wake(self, generation_id: str) -> None:
        """See `Engine`. A generation without a driver gets one."""
        driver = self._drivers.get(generation_id)
        if driver is not None:
            driver.wake()
        elif generation_id in self._tasks:
            self._woken.add(generation_id)  # a starting driver reads it anyway; after an ending one another is started
        else:
            self._spawn(generation_id, None)

    def nudge(self, generation_id: str, attempt_id: str) -> None:
        """See `Engine`. A driver that is starting polls the tasks soon by itself."""
        driver = self._drivers.get(generation_id)
        if driver is not None:
            driver.nudge(attempt_id)
        else:
            self.wake(generation_id)

    def drain(self) -> None:
        """See `Engine`. Effects under way are cancelled, except submits."""
        if self._stopping:
            return
        self._stopping = True
        for generation_id, task in list(self._tasks.items()):
            driver = self._drivers.get(generation_id)
            if driver is None:
                task.cancel()
            else:
                driver.stop()

    async def stop(self, drain_seconds: float) -> None:
        """Hand every generation back. A submit that is not done in time counts as unknown at the next start."""
        self.drain()
        tasks = list(self._tasks.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=drain_seconds)
            for task in late:
                task.cancel()
            if late:
                log.warning("drain_timed_out", generations=len(late))
                await asyncio.wait(late)

    def _spawn(self, generation_id: str, created: Generation | None, delay: float = 0.0) -> None:
        """Start a driver, after `delay` seconds; `created` is the generation if this process has its fence already."""
        if self._stopping or generation_id in self._tasks:
            return
        task = asyncio.create_task(self._run_driver(generation_id, created, delay), name=generation_id)
        self._tasks[generation_id] = task
        task.add_done_callback(lambda _: self._after_drive(generation_id))

    def _after_drive(self, generation_id: str) -> None:
        self._tasks.pop(generation_id, None)
        if generation_id in self._woken:
            self._woken.discard(generation_id)
            self._spawn(generation_id, None)

    async def _take_over(self, generation_id: str) -> Generation | None:
        until = self._clock.now() + timedelta(seconds=LEASE_SECONDS)
        return await self._store.take_over(generation_id, until)

    async def _run_driver(self, generation_id: str, generation: Generation | None, delay: float) -> None:
        while not self._stopping:
            try:
                if delay:
                    await sleep_on(self._clock, delay)
                if generation is None:
                    generation = await until_store_works(
                        self._clock, lambda: self._take_over(generation_id), generation=generation_id
                    )
                if generation is not None:
                    self._woken.discard(generation_id)
                    driver = self._drivers[generation_id] = self._new_driver()
                    driver.on_end = partial(self._ended.add, generation_id)
                    await driver.run(generation)
            except Exception:  # one broken generation must neither end the others nor be lost itself
                log.exception("driver_failed", generation=generation_id)
                generation, delay = None, RESTART_SECONDS
            else:
                return
            finally:
                self._drivers.pop(generation_id, None)
                self._ended.discard(generation_id)
