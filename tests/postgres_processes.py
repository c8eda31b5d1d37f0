"""Stores of several processes on one database of PostgreSQL: each has its own writer, pool and signals."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from msgspec.structs import replace

from gateway.domain.adapter.task import Status
from gateway.domain.generation.model import Generation
from gateway.domain.generation.transitions import SaveStatus
from gateway.ids import new_id
from gateway.store.postgres.limits import PostgresLimits
from gateway.store.postgres.processes import PostgresProcesses
from gateway.store.postgres.reader import PoolReader
from gateway.store.postgres.server import Server
from gateway.store.postgres.signals import PostgresSignals
from gateway.store.postgres.writer import GroupWriter
from gateway.store.signals import Signal
from gateway.store.sql.store import SqlStore

from .processes import until
from .unit.builders import T0, generation


class Process:
    """What one process has of the ledger. `heard` are the signals that came, if it was started without a `hear`."""

    def __init__(self, url: str, name: str) -> None:
        self.server = Server(url)
        self.writer = GroupWriter(self.server)
        self.writer.replica = name
        self.reader = PoolReader(self.server)
        self.signals = PostgresSignals(self.server, lambda: name)
        self.limits = PostgresLimits(self.server)
        database: Any = SimpleNamespace(
            reader=self.reader,
            writer=self.writer,
            signals=self.signals,
            replicas=None,
            processes=PostgresProcesses(lambda: name),
            shared_counts=self.limits,
            request_rates=self.limits,
            lineage=None,
            at_start=None,
            close=self.close,
        )
        self.store = SqlStore(database)
        self.heard: list[Signal] = []

    async def listen(self, hear: Callable[[Signal], None] | None = None) -> None:
        """Return when the first look is made: everything from now on is heard."""
        self.signals.start(hear or self.heard.append)
        await until(lambda: self.signals._newest_event is not None)

    async def hears(self, *signals: Signal) -> None:
        await until(lambda: set(signals) <= set(self.heard))

    async def close(self) -> None:
        await self.signals.stop()
        await self.limits.close()
        await self.writer.close()
        await self.reader.close()


@asynccontextmanager
async def processes(url: str, *names: str) -> AsyncIterator[list[Process]]:
    async with AsyncExitStack() as stack:
        made = [Process(url, name) for name in names]
        for process in made:
            stack.push_async_callback(process.close)
        yield made


def new_generation(
    at: datetime = T0, owner: str = "alice", route: str = "acme/one", cost_usd: float | None = None
) -> Generation:
    made = generation(route)
    plan = replace(made.plan, routes=tuple(replace(each, cost_usd=cost_usd) for each in made.plan.routes))
    return replace(made, id=new_id("gen_", at), owner=owner, fence=1, version=1, created_at=at, plan=plan)


async def moves(store: SqlStore, before: Generation, to: Status, at: datetime = T0) -> Generation:
    """Store another status of a generation."""
    write = SaveStatus(
        was=before.status,
        status=to,
        progress=0.0,
        provider=None,
        provider_model=None,
        failure=None,
        completed_at=at if to.terminal else None,
    )
    assert await store.write(before, [write], at) is not None
    after = await store.get(before.id)
    assert after is not None
    return after
