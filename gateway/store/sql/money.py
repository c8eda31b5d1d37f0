"""Reads the sums of accounts, fills in accounts that are missing, and closes old ones, in the ledger."""

from datetime import datetime

from gateway.domain.money.budgets import Period, Spent, name_of
from gateway.store.sql import accounts
from gateway.store.sql.database import Reader, Transaction, Writer
from gateway.store.sql.rows import OPEN, SELECT, generation_of

_BEFORE = "select before from accounts_missing"
_MISSING = f"{SELECT} where id < (select before from accounts_missing) order by id desc limit ?"
_ALL_OPEN = f"{SELECT} where status in {OPEN}"
_OLD = "accounts where deleted_at is not null and deleted_at < ? order by deleted_at"
_HAS_CLOSABLE = f"select 1 from {_OLD} limit 1"
_CLOSABLE = f"select generation_id, key, day, settled, maybe from {_OLD} limit ?"
_CLOSE = (
    "insert into closed_accounts (key, day, settled, maybe) values (?, ?, ?, ?)"
    " on conflict (key, day) do update set settled = closed_accounts.settled + excluded.settled,"
    " maybe = closed_accounts.maybe + excluded.maybe"
)


async def fill_open(transaction: Transaction) -> None:
    """Count the open generations from before accounts existed, so that budgets hold from the first create on."""
    if await transaction.first(_BEFORE) is None:
        return
    for generation in map(generation_of, await transaction.all(_ALL_OPEN)):
        await accounts.settle(transaction, generation)


class SqlMoney:
    """Implements `Money`."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self._reader = reader
        self._writer = writer

    async def spent(self, owner: str, moment: datetime) -> Spent:
        names = [name_of(period, moment) for period in Period]
        return {(row[0], row[1]): row[2] for row in await self._reader.all(accounts.SPENT, (owner, *names))}

    async def fill(self, limit: int) -> int:
        if not await self._reader.all(_BEFORE):
            return 0  # without a write

        async def work(transaction: Transaction) -> int:
            rows = await transaction.all(_MISSING, (limit,))
            generations = [generation_of(row) for row in rows]
            for generation in generations:
                await accounts.settle(transaction, generation)
            if generations:
                await transaction.run("update accounts_missing set before = ?", (generations[-1].id,))
            else:
                await transaction.run("delete from accounts_missing")
            return len(generations)

        return await self._writer.run(work)

    async def expire(self, before: datetime, limit: int) -> int:
        if not await self._reader.all(_HAS_CLOSABLE, (before.timestamp(),)):
            return 0  # without a write

        async def work(transaction: Transaction) -> int:
            rows = await transaction.all(_CLOSABLE, (before.timestamp(), limit))
            await transaction.many(_CLOSE, [row[1:] for row in rows])
            await transaction.many("delete from accounts where generation_id = ?", [row[:1] for row in rows])
            return len(rows)

        return await self._writer.run(work)
