"""What the audit says of a gateway that drives every generation twice: with the ledger's guard, and without it."""

import signal
from pathlib import Path

import msgspec

from .audit import Report
from .client import Clients
from .run import TOLD_SECONDS, UNDONE, eventually
from .world import CLIENT_KEY, World

GENERATIONS = 12


async def drive_twice(folder: Path, *, unguarded: bool) -> Report:
    """A few generations to their end, no fault and no kill."""
    world = World(folder, task_seconds=0.5, attempt_seconds=6)
    clients = Clients(
        world.url,
        world.acknowledged,
        seed=1,
        key=CLIENT_KEY,
        deadline_seconds=60,
        held=0,
        told=lambda: world.receiver.url,
    )
    try:
        await world.open()
        await world.start(module="tests.chaos.unguarded", **({"UNGUARDED": "1"} if unguarded else {}))
        await world.ready()
        clients.start(GENERATIONS // 2, generations=2)
        await clients.finish(60)
        for sql in UNDONE.values():
            assert await eventually(lambda sql=sql: world.count(sql) == 0, TOLD_SECONDS)
        world.signal(signal.SIGTERM)
        assert await world.ended() == 0
        code, report, violations = await world.audit(final=True)
    finally:
        await clients.close()
        await world.close()
    found = msgspec.json.decode(report, type=Report)
    assert (code, len(violations)) == (1 if found.violations else 0, len(found.violations))
    return found
