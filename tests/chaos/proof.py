"""Runs a gateway with a defect on purpose, to prove that the audit finds it."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from .audit import Report
from .client import Clients
from .configuration import CLIENT_KEY
from .run import ANNOUNCED_SECONDS, UNANNOUNCED, UNDONE, ChaosError, eventually
from .world import World

GENERATIONS = 12
CANCELLED_MAX = 4  # of them, by their clients, before they are bought a second time


async def drive_twice(folder: Path, *, unguarded: bool) -> Report:
    """Drive a few generations twice until they end, with the guard of the ledger or without; no faults, no kills."""
    world = World(folder, task_seconds=0.5, attempt_seconds=6)
    async with _played(world, "unguarded" if unguarded else "twice") as clients:
        await clients.finish(60)
        assert await eventually(lambda: world.count(UNDONE[UNANNOUNCED]) == 0, ANNOUNCED_SECONDS)
        world.signal(signal.SIGTERM)
        assert await world.ended() == 0
        return await _report(world, final=True)


async def decide_unread(folder: Path) -> Report:
    """Decide about a few attempts without polling them, until most generations were bought a second time."""
    world = World(folder, task_seconds=0.5, attempt_seconds=2)
    async with _played(world, "stale"):
        submits = "select count(*) from attempts where sent_at is not null"
        if not await eventually(lambda: world.count(submits) >= 2 * GENERATIONS - CANCELLED_MAX, 120):
            raise ChaosError("the defect had no effect")
        await world.kill()
        return await _report(world, final=False)


@asynccontextmanager
async def _played(world: World, defect: str) -> AsyncIterator[Clients]:
    clients = Clients(
        [world.url],
        world.acknowledged,
        seed=1,
        key=CLIENT_KEY,
        deadline_seconds=60,
        held=0,
        webhook_url=lambda: world.receiver.url,
    )
    try:
        await world.open()
        await world.start(module="tests.chaos.unguarded", DEFECT=defect)
        await world.ready()
        if defect == "stale":
            clients.start(GENERATIONS, generations=1)
        else:
            clients.start(GENERATIONS // 2, generations=2)
        yield clients
    finally:
        await clients.close()
        await world.close()


async def _report(world: World, *, final: bool) -> Report:
    code, report, violations = await world.audit(final=final)
    audited = msgspec.json.decode(report, type=Report)
    assert (code, len(violations)) == (1 if audited.violations else 0, len(audited.violations))
    return audited
