"""The purchases of deleted generations, in the SQLite ledger."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import apsw

from gateway.domain.generation.purchases import Purchase
from gateway.store.sqlite.columns import Columns, insert
from gateway.store.sqlite.reader import ReadConnection
from gateway.store.sqlite.writer import CommitWriter

_PURCHASE = Columns(Purchase)
_INSERT = insert("purchases", _PURCHASE)
_HAS_EXPIRED = "select 1 from purchases where deleted_at < ? limit 1"
_EXPIRE = (
    "delete from purchases where (generation_id, attempt_id) in"
    " (select generation_id, attempt_id from purchases where deleted_at < ? order by deleted_at limit ?)"
)


def add(connection: apsw.Connection, purchases: Iterable[Purchase]) -> None:
    """Store purchases, in the transaction that deletes their generation."""
    connection.executemany(_INSERT, map(_PURCHASE.values, purchases))


class SqlitePurchases:
    """Implements `Purchases`."""

    def __init__(self, reader: ReadConnection, writer: CommitWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def page(
        self, limit: int, after: tuple[str, str] | None = None, generation_id: str | None = None
    ) -> list[Purchase]:
        where = "(generation_id, attempt_id) > (?, ?)"
        values: tuple[Any, ...] = (*(after or ("", "")), limit)
        if generation_id is not None:
            where, values = f"generation_id = ? and {where}", (generation_id, *values)
        sql = f"select {_PURCHASE} from purchases where {where} order by generation_id, attempt_id limit ?"
        return [_PURCHASE.of(row) for row in self._reader.all(sql, values)]

    async def expire(self, before: datetime, limit: int) -> int:
        if not self._reader.all(_HAS_EXPIRED, (before.timestamp(),)):
            return 0  # without a write

        def work(connection: apsw.Connection) -> int:
            connection.execute(_EXPIRE, (before.timestamp(), limit))
            return connection.changes()

        return await self._writer.run(work)
