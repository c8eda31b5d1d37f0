"""Carries out statements of `gateway/store/sql` on a connection."""

from collections.abc import Iterable, Sequence
from typing import Any

from gateway.store.postgres.dialect import together, translate
from gateway.store.postgres.server import Connection
from gateway.store.sql.database import Change, Row


class Statements:
    """Implements `Transaction`: every method sends one statement and waits for its result."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    async def all(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """See `Transaction`."""
        statement = translate(sql)
        rows: list[Row] = await self.connection.fetch(statement.sql, *statement.values(values))
        return rows

    async def first(self, sql: str, values: Sequence[Any] = ()) -> Row | None:
        """See `Transaction`."""
        statement = translate(sql)
        row: Row | None = await self.connection.fetchrow(statement.sql, *statement.values(values))
        return row

    async def value(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """See `Transaction`."""
        statement = translate(sql)
        return await self.connection.fetchval(statement.sql, *statement.values(values))

    async def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        """See `Transaction`."""
        statement = translate(sql)
        tag: str = await self.connection.execute(statement.sql, *statement.values(values))
        return int(tag.rpartition(" ")[2])  # such as `UPDATE 3` or `INSERT 0 1`

    async def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """See `Transaction`."""
        statement = translate(sql)
        if values := [statement.values(row) for row in rows]:
            await self.connection.executemany(statement.sql, values)

    async def all_of(self, changes: Sequence[Change]) -> list[int]:
        """See `Transaction`."""
        if len(changes) == 1:
            return [await self.run(*changes[0])]
        if not changes:
            return []
        values = [value for sql, given in changes for value in translate(sql).values(given)]
        counts: Row = await self.connection.fetchrow(together(tuple(sql for sql, _ in changes)), *values)
        return list(counts)
