"""The purchases of deleted generations, in the ledger."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from gateway.domain.generation.purchases import Purchase
from gateway.store.sql.columns import Columns, insert
from gateway.store.sql.database import Reader, Transaction, Writer

_PURCHASE = Columns(Purchase)
_INSERT = insert("purchases", _PURCHASE)
_HAS_EXPIRED = "select 1 from purchases where deleted_at < ? order by deleted_at limit 1"
_EXPIRE = (
    "delete from purchases where (generation_id, attempt_id) in"
    " (select generation_id, attempt_id from purchases where deleted_at < ? order by deleted_at limit ?)"
)


async def add(transaction: Transaction, purchases: Iterable[Purchase]) -> None:
    """Store purchases, in the transaction that deletes their generation."""
    await transaction.many(_INSERT, map(_PURCHASE.values, purchases))


class SqlPurchases:
    """Implements `Purchases`."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
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
        return [_PURCHASE.of(row) for row in await self._reader.all(sql, values)]

    async def expire(self, before: datetime, limit: int) -> int:
        if not await self._reader.all(_HAS_EXPIRED, (before.timestamp(),)):
            return 0  # without a write

        async def work(transaction: Transaction) -> int:
            return await transaction.run(_EXPIRE, (before.timestamp(), limit))

        return await self._writer.run(work)
