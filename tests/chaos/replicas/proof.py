"""Runs gateways with a defect on purpose, to prove that the audit of several on one PostgreSQL finds it."""

from pathlib import Path

import msgspec

from ..audit import Report
from ..client import Clients
from ..configuration import CLIENT_KEY
from ..run import ANNOUNCED_SECONDS, UNANNOUNCED, UNDONE
from .cluster import Cluster

GENERATIONS = 12
DEADLINE_SECONDS = 60
_GUARDS = ("attempts_submitted on attempts", "generations_driven on generations")


async def drive_everywhere(folder: Path, *, unfenced: bool) -> Report:
    """Let all gateways drive the same few generations until they end; `unfenced`: the guards of the ledger are off."""
    cluster = Cluster(folder, 1, task_seconds=0.5, attempt_seconds=6, defect="unfenced" if unfenced else "everywhere")
    clients = Clients(
        cluster.urls,
        cluster.acknowledged,
        seed=1,
        key=CLIENT_KEY,
        deadline_seconds=DEADLINE_SECONDS,
        held=0,
        webhook_url=lambda: cluster.receiver.url,
    )
    try:
        await cluster.open()
        for guard in _GUARDS if unfenced else ():
            await cluster.rows(f"drop trigger {guard}")
        clients.start(GENERATIONS // 2, generations=2)
        await clients.finish(DEADLINE_SECONDS)
        assert await cluster.left(UNDONE[UNANNOUNCED], ANNOUNCED_SECONDS) == 0
        for replica in cluster.replicas:
            await replica.kill()
        code, report, violations = await cluster.audit(final=True)
    finally:
        await clients.close()
        await cluster.close()
    audited = msgspec.json.decode(report, type=Report)
    assert (code, len(violations)) == (1 if audited.violations else 0, len(audited.violations))
    return audited
