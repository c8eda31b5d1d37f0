"""Reads of the SQLite ledger beside its writer: short ones on the event loop, long ones on threads."""

from collections.abc import Sequence
from typing import Any

import apsw

from gateway.store.sql.database import Row
from gateway.store.sqlite.errors import readable
from gateway.store.sqlite.long_reads import LongReads
from gateway.store.sqlite.writer import CommitWriter


class SqliteReader:
    """Implements `Reader`. `all` runs at once and never suspends."""

    def __init__(self, connection: apsw.Connection, writer: CommitWriter, long_reads: LongReads) -> None:
        self.connection = connection
        self._writer = writer
        self.long = long_reads.all

    async def all(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        with readable(self._writer):
            return list(self.connection.execute(sql, values))

    def close(self) -> None:
        """Close the connection for short reads."""
        self.connection.close()
