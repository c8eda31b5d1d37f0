"""Jobs of the ledger on an SQLite connection: each runs at once, on the thread that carries it out."""

from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, TypeVar

import apsw

from gateway.store.sql.database import Change, Row

T = TypeVar("T")


class SqliteTransaction:
    """Implements `Transaction` with a connection, in the transaction that it has. No method ever suspends."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    async def all(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        return list(self._connection.execute(sql, values))

    async def first(self, sql: str, values: Sequence[Any] = ()) -> Row | None:
        row: Row | None = self._connection.execute(sql, values).fetchone()
        return row

    async def value(self, sql: str, values: Sequence[Any] = ()) -> Any:
        row = self._connection.execute(sql, values).fetchone()
        return None if row is None else row[0]

    async def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        self._connection.execute(sql, values)
        return self._connection.changes()

    async def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        self._connection.executemany(sql, rows)

    async def all_of(self, changes: Sequence[Change]) -> list[int]:
        return [await self.run(sql, values) for sql, values in changes]


def drive(job: Coroutine[Any, Any, T]) -> T:
    """The result of a job, or its error. Raises `RuntimeError` if it waits for anything but an `SqliteTransaction`."""
    try:
        job.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    job.close()
    raise RuntimeError("a job of the ledger has waited for something else than its transaction")
