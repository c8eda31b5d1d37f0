"""An open SQLite file with all that works on it: the writer, the reads, the write-ahead log, the marker."""

import asyncio
from datetime import datetime
from pathlib import Path
from typing import IO

import apsw

from gateway.domain.errors import StoreUnavailable
from gateway.store.lineage import LedgerLineage
from gateway.store.signals import Alone, Signals
from gateway.store.sqlite.file import connect, keep_time
from gateway.store.sqlite.lineage import Begun, position_of
from gateway.store.sqlite.long_reads import LongReads
from gateway.store.sqlite.reader import SqliteReader
from gateway.store.sqlite.write_ahead_log import WriteAheadLog
from gateway.store.sqlite.writer import CommitWriter
from gateway.store.start import Start
from gateway.telemetry import Observer


class SqliteDatabase:
    """Implements `Database`: WAL, `synchronous=FULL`, one writer thread, short reads on their own connection."""

    replicas = shared_counts = request_rates = None  # the lock of the file is for one process

    def __init__(self, path: Path, lock: IO[bytes], begun: Begun, at_start: Start, observer: Observer) -> None:
        self._lock = lock
        self._marker = begun.file
        self.lineage: LedgerLineage = begun
        self.at_start = at_start
        self.signals: Signals = Alone()  # the lock of the file keeps other processes away
        self.writer = CommitWriter(connect(path), path, observer)
        self.writer.after_commit = self._mark
        self.long_reads = LongReads(path, self.writer)
        self.reader = SqliteReader(connect(path), self.writer, self.long_reads)
        self.log = WriteAheadLog(path, self.writer, self.long_reads)

    def _mark(self, connection: apsw.Connection, has_purchase: bool) -> None:  # noqa: FBT001  # a hook
        self._marker.advance(position_of(connection), durable=has_purchase)

    async def ping(self) -> None:
        if self.writer.damage is not None:
            raise StoreUnavailable(reason=f"database.url: {self.writer.damage}")
        await self.writer.run(lambda transaction: transaction.run("update schema_migrations set number = number"))

    def keep_time(self, now: datetime) -> None:
        keep_time(self._lock, now)

    def log_bytes(self) -> int:
        return self.log.size()

    async def close(self) -> None:
        await self.log.close()
        await asyncio.to_thread(self.long_reads.close)
        await self.writer.close()
        self.reader.close()
        self._marker.close()
        self._lock.close()
