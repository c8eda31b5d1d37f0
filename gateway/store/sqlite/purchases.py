"""The purchases of deleted generations, in the SQLite ledger."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import apsw
import msgspec

from gateway.domain.adapter.failure import Billed
from gateway.domain.generation.purchases import Purchase
from gateway.store.sqlite.reader import Reader
from gateway.store.sqlite.rows import Row, moment, seconds, to_json
from gateway.store.sqlite.writer import Writer

_PURCHASE = (
    "generation_id, attempt_id, key, kind, model, provider, provider_model, tasks, billed, cost_usd, created_at,"
    " sent_at, ended_at, deleted_at"
)
_INSERT = f"insert into purchases ({_PURCHASE}) values ({', '.join('?' * len(_PURCHASE.split(',')))})"
_EXPIRED = "select 1 from purchases where deleted_at < ? limit 1"
_EXPIRE = (
    "delete from purchases where (generation_id, attempt_id) in"
    " (select generation_id, attempt_id from purchases where deleted_at < ? order by deleted_at limit ?)"
)
_task_ids = msgspec.json.Decoder(tuple[str, ...])


def add(connection: apsw.Connection, purchases: Iterable[Purchase]) -> None:
    """Store them, in the transaction that deletes their generation."""
    connection.executemany(_INSERT, map(_values, purchases))


class SqlitePurchases:
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
        return [_purchase_of(row) for row in self._reader.all(sql, values)]

    async def expire(self, before: datetime, limit: int) -> int:
        if not self._reader.all(_EXPIRED, (before.timestamp(),)):
            return 0  # without a write

        def work(connection: apsw.Connection) -> int:
            connection.execute(_EXPIRE, (before.timestamp(), limit))
            return connection.changes()

        return await self._writer.run(work)


def _values(purchase: Purchase) -> tuple[Any, ...]:
    return (
        purchase.generation_id,
        purchase.attempt_id,
        purchase.key,
        purchase.kind,
        purchase.model,
        purchase.provider,
        purchase.provider_model,
        to_json(purchase.tasks),
        purchase.billed.value,
        purchase.cost_usd,
        purchase.created_at.timestamp(),
        seconds(purchase.sent_at),
        seconds(purchase.ended_at),
        purchase.deleted_at.timestamp(),
    )


def _purchase_of(row: Row) -> Purchase:
    generation_id, attempt_id, key, kind, model, provider, provider_model, tasks, billed, cost, *at = row
    created_at, sent_at, ended_at, deleted_at = at
    return Purchase(
        generation_id=generation_id,
        attempt_id=attempt_id,
        key=key,
        kind=kind,
        model=model,
        provider=provider,
        provider_model=provider_model,
        tasks=_task_ids.decode(tasks),
        billed=Billed.YES if billed == Billed.YES else Billed.MAYBE,
        cost_usd=cost,
        created_at=datetime.fromtimestamp(created_at, UTC),
        sent_at=moment(sent_at),
        ended_at=moment(ended_at),
        deleted_at=datetime.fromtimestamp(deleted_at, UTC),
    )
