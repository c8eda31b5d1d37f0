"""An engine with its store, as one process has them, with drivers that only note the calls that they get."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

from msgspec.structs import replace

from gateway.clock import SystemClock
from gateway.domain.generation.model import Attempt, AttemptState, Generation
from gateway.domain.generation.transitions import AddAttempt
from gateway.engine.embedded import EmbeddedEngine
from gateway.engine.membership import Membership
from gateway.engine.port import Engine
from gateway.engine.replicated import ReplicatedEngine
from gateway.ids import new_id
from gateway.live import Live
from gateway.store.port import Permission, Store
from gateway.store.postgres.replicas import PostgresReplicas

from .unit.builders import T0, generation

LIMIT_SECONDS = 20  # of real time, for what takes some milliseconds


async def until(is_so: Callable[[], object]) -> None:
    """Wait for something that other tasks and the database bring about."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while not is_so():  # noqa: ASYNC110  # there is no event for it
            await asyncio.sleep(0.002)


async def freeze(engine: Engine) -> None:
    """Let a replica do nothing more by itself, as a process that is stopped by SIGSTOP."""
    replicated = cast(ReplicatedEngine, engine)
    await replicated._replicas.stop_work()
    for task in replicated._tasks:
        task.cancel()


class NotingDriver:
    """Goes on until it is stopped; while it is submitting, until `finish`."""

    def __init__(self, drivers: "dict[str, NotingDriver]") -> None:
        self._drivers = drivers
        self._end = asyncio.Event()
        self.held: Any = None
        self.noted: list[str] = []
        self.is_submitting = False

    async def run(self, held: Generation) -> None:
        self.held = held
        self._drivers[held.id] = self
        try:
            await self._end.wait()
        finally:
            if self._drivers.get(held.id) is self:
                del self._drivers[held.id]

    def wake(self) -> None:
        self.noted.append("wake")

    def reconsider(self) -> None:
        self.noted.append("reconsider")

    def nudge(self, attempt_id: str) -> None:
        self.noted.append(attempt_id)

    def stop(self) -> None:
        if not self.is_submitting:
            self._end.set()

    def finish(self) -> None:
        self._end.set()


class Process:
    """One process: `drivers` are those that run, by the id of their generation."""

    def __init__(self, store: Store, open_max: int = 100_000) -> None:
        self.store = store
        self.drivers: dict[str, NotingDriver] = {}
        clock = SystemClock()
        self.inner = EmbeddedEngine(
            store,
            clock,
            lambda: NotingDriver(self.drivers),  # type: ignore[arg-type,return-value]
            open_max=Live(open_max),
        )
        self.engine: Engine = self.inner
        if store.replicas is not None:
            self.engine = ReplicatedEngine(self.inner, Membership(store.replicas), store.replicas, store.signals, clock)

    async def add(self, **changes: Any) -> Generation:
        """Store a new generation that nobody drives."""
        return await self.store.create(replace(generation(), id=new_id("gen_", T0), **changes))

    async def create(self) -> Generation:
        """Store a new generation and begin to drive it."""
        created = await self.add()
        self.engine.begin(created)
        await until(lambda: created.id in self.drivers)
        return created

    async def reserve(self, created: Generation) -> str:
        """Reserve an attempt; returns its id."""
        attempt = Attempt(
            id=f"att_{created.id[4:]}_1",
            number=1,
            route=0,
            slots=(0,),
            state=AttemptState.RESERVED,
            reserved_at=T0,
        )
        assert await self.store.write(created, [AddAttempt(attempt)], T0) is not None
        return attempt.id

    async def submit(self, created: Generation) -> str:
        """Let the driver of a generation submit until its `finish`; returns the id of the attempt."""
        attempt_id = await self.reserve(created)
        assert await self.store.begin_submit(attempt_id, created.fence, T0) is Permission.GRANTED
        self.drivers[created.id].is_submitting = True
        return attempt_id

    async def fence(self, generation_id: str) -> int:
        stored = await self.store.get(generation_id)
        assert stored is not None
        return stored.fence

    # -- of replicas

    @property
    def replica(self) -> str:
        """The id of this replica."""
        return cast(PostgresReplicas, self.store.replicas)._id

    async def beat(self) -> None:
        await cast(ReplicatedEngine, self.engine).beat()

    async def look(self) -> None:
        await cast(ReplicatedEngine, self.engine).look_after_all()

    async def freeze(self) -> None:
        await freeze(self.engine)

    async def stop(self) -> None:
        for driver in list(self.drivers.values()):
            driver.finish()
        await self.engine.stop(5)
        await self.store.close()


NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
