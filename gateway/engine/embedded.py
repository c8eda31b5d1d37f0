"""The engine of a single process: one coroutine for each generation, under the store's exclusive lock.

`replicated.py` uses it for what one of several processes drives.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from itertools import islice

import structlog

from gateway import log_context
from gateway.clock import Clock
from gateway.clock import sleep as sleep_on
from gateway.domain.errors import ShuttingDown
from gateway.domain.generation.model import Generation
from gateway.engine.driver import Driver
from gateway.engine.port import Standing
from gateway.engine.store_retry import until_store_works
from gateway.live import Live
from gateway.sharing.open_places import no_place
from gateway.sharing.turns import Turns
from gateway.store.port import Store

log = structlog.get_logger()
RESTART_SECONDS = 30.0  # before a driver that raised is started again
LEASE_SECONDS = 60.0
TAKE_OVER_BATCH = 16  # generations that a start takes over in one transaction: the event loop needs 10 ms for them
STOPPING_SECONDS = 5.0  # `Retry-After` while the process stops: the next one may run by then


class EmbeddedEngine:
    """Implements `Engine`."""

    def __init__(self, store: Store, clock: Clock, new_driver: Callable[[], Driver], *, open_max: Live[int]) -> None:
        """`open_max`: open generations at once."""
        self._store = store
        self._clock = clock
        self._new_driver = new_driver
        self._open_max = open_max
        self._arriving: Counter[str] = Counter()  # by API key: creates that were admitted and have no driver yet
        self._owners: dict[str, str] = {}  # of open generations that have a driver: the API key
        self._open: Counter[str] = Counter()  # how many of them each API key has
        self._drivers: dict[str, Driver] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._untaken: dict[str, None] = {}  # open at the start and not taken over yet; the oldest come first
        self._being_taken: frozenset[str] = frozenset()  # by the transaction that is under way
        self._taking: asyncio.Task[None] | None = None
        # Generations that have ended but are still driven: an abandoned task is polled, or a file is archived.
        self._ended: set[str] = set()
        self._woken: set[str] = set()  # woken while their driver was starting or ending
        self._nudged: dict[str, set[str]] = {}  # attempts that a provider has called about, without a driver yet
        self._reconsidering: set[asyncio.Task[None]] = set()
        self._stopping = False

    @property
    def driven(self) -> int:
        """How many generations have a driver now."""
        return len(self._tasks)

    @property
    def untaken(self) -> int:
        """See `Engine`."""
        return len(self._untaken) + len(self._being_taken)

    @property
    def open_max(self) -> int:
        """See `Engine`."""
        return self._open_max.current

    @property
    def standing(self) -> Standing:
        """See `Engine`."""
        return Standing()

    @property
    def halted(self) -> str | None:
        """See `Engine`. A process that has the ledger for itself has nothing to compare it with."""
        return None

    async def start(self) -> None:
        """Begin to take over every open generation. It goes on in the background, as fast as the store commits."""
        self._begin_to_take(await self._store.open_ids(self._clock.now()))

    async def take(self, ids: Iterable[str]) -> None:
        """Take these generations over, and return when each that needs a driver has one."""
        self._begin_to_take(generation_id for generation_id in ids if generation_id not in self._tasks)
        await self.taken_over()

    def _begin_to_take(self, ids: Iterable[str]) -> None:
        self._untaken.update(dict.fromkeys(ids))
        if not self._stopping and (self._taking is None or self._taking.done()):
            self._taking = asyncio.create_task(self._take_over_all(), name="take-over")

    async def taken_over(self) -> None:
        """See `Engine`. What came with `take` meanwhile is waited for as well."""
        if self._taking is not None:
            await asyncio.wait([self._taking])

    @contextmanager
    def admit(self, key: str) -> Iterator[None]:
        """See `Engine`. Drivers are counted, except those of ended generations, and what waits for its take-over."""
        if self._stopping:
            raise ShuttingDown(retry_after=STOPPING_SECONDS)
        open_max = self._open_max.current
        taken = len(self._tasks) + self.untaken - len(self._ended) + self._arriving.total()
        if (refusal := no_place(self._open[key] + self._arriving[key], taken, open_max)) is not None:
            raise refusal
        self._arriving[key] += 1
        try:
            yield
        finally:
            self._arriving -= Counter({key: 1})

    def begin(self, generation: Generation) -> None:
        """See `Engine`. The driver starts at once: this process has the fence already."""
        self._spawn(generation.id, generation)

    def drives(self, generation_id: str) -> bool:
        """Whether this generation has a driver here, or gets one that has not started yet."""
        return generation_id in self._tasks or generation_id in self._being_taken or generation_id in self._untaken

    def wake(self, generation_id: str) -> None:
        """See `Engine`. A generation without a driver gets one."""
        if not self.look_again(generation_id):
            self._spawn(generation_id, None)

    def look_again(self, generation_id: str) -> bool:
        """See `Engine`."""
        driver = self._drivers.get(generation_id)
        if driver is not None:
            driver.wake()
        elif generation_id in self._tasks or generation_id in self._being_taken:
            self._woken.add(generation_id)  # a starting driver reads it again; after an ending one another is started
        else:
            return False
        return True

    def reconsider(self) -> None:
        """See `Engine`. A driver that starts later decides by the new state in any case."""
        task = asyncio.create_task(self._reconsider_all(), name="reconsider")
        self._reconsidering.add(task)
        task.add_done_callback(self._reconsidering.discard)

    async def _reconsider_all(self) -> None:
        turns = Turns()
        for driver in list(self._drivers.values()):
            await turns.next()
            driver.reconsider()

    def nudge(self, generation_id: str, attempt_id: str) -> None:
        """See `Engine`. A generation without a driver gets one, which polls the tasks of this attempt at once."""
        if not self.poll_now(generation_id, attempt_id):
            self._nudged.setdefault(generation_id, set()).add(attempt_id)
            self.wake(generation_id)

    def poll_now(self, generation_id: str, attempt_id: str) -> bool:
        """See `Engine`."""
        driver = self._drivers.get(generation_id)
        if driver is not None:
            driver.nudge(attempt_id)
        return driver is not None

    def drain(self) -> None:
        """See `Engine`. Effects under way are cancelled, except submits."""
        if not self._stopping:
            self._stopping = True
            self.let_all_go()

    def let_all_go(self) -> None:
        """Stop every driver, and take over nothing of what waits for that."""
        self._untaken.clear()
        self._woken.clear()
        if self._taking is not None:
            self._taking.cancel()
        for generation_id, task in list(self._tasks.items()):
            driver = self._drivers.get(generation_id)
            if driver is None:
                task.cancel()
            else:
                driver.stop()

    async def let_some_go(self, count: int) -> list[str]:
        """Stop at most so many drivers that submit nothing. Returns the generations that have none any more."""
        idle = (generation_id for generation_id, driver in self._drivers.items() if not driver.is_submitting)
        chosen = {generation_id: self._tasks[generation_id] for generation_id in islice(idle, count)}
        for generation_id in chosen:
            self._drivers[generation_id].stop()
        if chosen:
            await asyncio.wait(chosen.values())
        return [generation_id for generation_id in chosen if generation_id not in self._tasks]

    async def stop(self, drain_seconds: float) -> None:
        """Hand every generation back. A submit that is not done in time counts as unknown at the next start."""
        self.drain()
        tasks = [*self._tasks.values(), *self._reconsidering, *filter(None, [self._taking])]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=drain_seconds)
            for task in late:
                task.cancel()
            if late:
                log.warning("drain_timed_out", generations=len(late))
                await asyncio.wait(late)

    async def _take_over_all(self) -> None:
        """Take over what was open at the start, in batches. Each waits for the commit of the one before."""
        while self._untaken:
            batch = self._being_taken = frozenset(islice(self._untaken, TAKE_OVER_BATCH))
            for generation_id in batch:
                del self._untaken[generation_id]
            taken: list[Generation] = []
            try:
                taken = await until_store_works(self._clock, partial(self._take_over, sorted(batch)))
            except Exception:  # one of them cannot be read: each is tried by itself, and the others go on
                log.exception("take_over_failed", generations=sorted(batch))
                for generation_id in batch:
                    self._spawn(generation_id, None)
            finally:
                self._being_taken = frozenset()
            for generation in taken:
                self._spawn(generation.id, generation)
            for generation_id in (batch & self._woken) - self._tasks.keys():  # changed since; it needed no driver then
                self._woken.discard(generation_id)
                self._spawn(generation_id, None)

    async def _take_over(self, ids: Sequence[str]) -> list[Generation]:
        until = self._clock.now() + timedelta(seconds=LEASE_SECONDS)
        return await self._store.take_over(ids, until)

    def _spawn(self, generation_id: str, taken: Generation | None) -> None:
        """Start a driver. `taken` is the generation if this process has its fence already."""
        if self._stopping or generation_id in self._tasks:
            return
        self._untaken.pop(generation_id, None)
        if taken is not None:
            self._count(taken)
        run = self._run_driver(generation_id, taken)
        task = asyncio.create_task(run, name=generation_id, context=log_context.nothing())
        self._tasks[generation_id] = task
        task.add_done_callback(self._after_drive)

    def _count(self, generation: Generation) -> None:
        """Count an open generation for its owner, until `_uncount`."""
        if generation.id not in self._owners:
            self._owners[generation.id] = generation.owner
            self._open[generation.owner] += 1

    def _uncount(self, generation_id: str) -> None:
        owner = self._owners.pop(generation_id, None)
        if owner is not None:
            self._open -= Counter({owner: 1})

    def _has_ended(self, generation_id: str) -> None:
        self._ended.add(generation_id)
        self._uncount(generation_id)

    def _after_drive(self, task: asyncio.Task[None]) -> None:
        generation_id = task.get_name()
        self._tasks.pop(generation_id, None)
        if generation_id in self._woken:
            self._woken.discard(generation_id)
            self._spawn(generation_id, None)
        else:
            self._nudged.pop(generation_id, None)

    async def _run_driver(self, generation_id: str, generation: Generation | None) -> None:
        delay = 0.0
        log_context.add(generation=generation_id)
        while not self._stopping:
            try:
                if delay:
                    await sleep_on(self._clock, delay)
                if generation is None:
                    take_over = partial(self._take_over, [generation_id])
                    taken = await until_store_works(self._clock, take_over, generation=generation_id)
                    generation = next(iter(taken), None)
                if generation is not None:
                    log_context.add(client=generation.owner)
                    self._count(generation)
                    driver = self._drivers[generation_id] = self._new_driver()
                    driver.on_end = partial(self._has_ended, generation_id)
                    if generation_id in self._woken:  # it was changed after it was read
                        self._woken.discard(generation_id)
                        driver.wake()
                    for attempt_id in self._nudged.pop(generation_id, ()):
                        driver.nudge(attempt_id)
                    await driver.run(generation)
            except Exception:  # one broken generation must neither end the others nor be lost itself
                log.exception("driver_failed", generation=generation_id)
                generation, delay = None, RESTART_SECONDS
            else:
                return
            finally:
                self._drivers.pop(generation_id, None)
                self._ended.discard(generation_id)
                self._uncount(generation_id)
