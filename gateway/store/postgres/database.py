"""An open ledger in PostgreSQL: the writer with its connection, and the reads with theirs."""

from datetime import datetime
from typing import Literal

from gateway.store.lineage import LedgerLineage
from gateway.store.postgres.limits import PostgresLimits
from gateway.store.postgres.lineage import NEWEST_EVENT, Begun
from gateway.store.postgres.local_locks import LocalLocks
from gateway.store.postgres.reader import PoolReader
from gateway.store.postgres.replicas import PostgresReplicas
from gateway.store.postgres.server import Server
from gateway.store.postgres.signals import PostgresSignals
from gateway.store.postgres.writer import GroupWriter
from gateway.store.signals import Signals
from gateway.store.start import Start
from gateway.telemetry import Observer


class PostgresDatabase:
    """Implements `Database`."""

    dialect: Literal["postgres"] = "postgres"

    def __init__(self, server: Server, begun: Begun, at_start: Start, observer: Observer, locks: LocalLocks) -> None:
        begun.newest_event = self._newest_event
        self.lineage: LedgerLineage = begun
        self.at_start = at_start
        self.writer = GroupWriter(server, observer)
        self.reader = PoolReader(server)
        self.replicas = PostgresReplicas(server, self.reader, self.writer, locks, begun.marker.lineage)
        self.shared_counts = self.request_rates = self._limits = PostgresLimits(server)
        self.signals: Signals = PostgresSignals(server, lambda: self.writer.replica)

    async def _newest_event(self) -> int:
        return int((await self.reader.all(NEWEST_EVENT))[0][0])

    async def ping(self) -> None:
        """See `Store.ping`. A write would wait for the lock of the ledger; heartbeats show whether writes work."""
        await self.reader.all("select 1")

    def keep_time(self, now: datetime) -> None:
        """Nothing: a start compares the clock with what is stored, and other gateways go on storing."""

    def log_bytes(self) -> int:
        return 0

    async def close(self) -> None:
        await self.signals.stop()
        await self.replicas.close()
        await self._limits.close()
        await self.writer.close()
        await self.reader.close()
