"""Reads the sums of accounts, fills in accounts that are missing, and closes old ones, in the SQLite ledger."""

from datetime import datetime

import apsw

from gateway.domain.money.account import account
from gateway.domain.money.budgets import Period, Spent, name_of
from gateway.store.sqlite import accounts
from gateway.store.sqlite.reader import ReadConnection
from gateway.store.sqlite.rows import OPEN, SELECT, generation_of
from gateway.store.sqlite.transaction import transaction
from gateway.store.sqlite.writer import CommitWriter

_BEFORE = "select before from accounts_missing"
_MISSING = f"{SELECT} where id < (select before from accounts_missing) order by id desc limit ?"
_ALL_OPEN = f"{SELECT} where status in {OPEN}"
_HAS_CLOSABLE = "select 1 from accounts where deleted_at < ? limit 1"
_CLOSABLE = "select generation_id, key, day, settled, maybe from accounts where deleted_at < ? limit ?"
_CLOSE = (
    "insert into closed_accounts (key, day, settled, maybe) values (?, ?, ?, ?)"
    " on conflict do update set settled = settled + excluded.settled, maybe = maybe + excluded.maybe"
)


def fill_open(connection: apsw.Connection) -> None:
    """Count the open generations from before accounts existed, so that budgets hold from the first create on."""
    if connection.execute(_BEFORE).fetchone() is None:
        return
    with transaction(connection):
        for generation in map(generation_of, connection.execute(_ALL_OPEN)):
            accounts.settle(connection, generation, account(generation))


class SqliteMoney:
    """Implements `Money`."""

    def __init__(self, reader: ReadConnection, writer: CommitWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def spent(self, owner: str, moment: datetime) -> Spent:
        names = [name_of(period, moment) for period in Period]
        return {(row[0], row[1]): row[2] for row in self._reader.all(accounts.SPENT, (owner, *names))}

    async def fill(self, limit: int) -> int:
        if not self._reader.all(_BEFORE):
            return 0  # without a write

        def work(connection: apsw.Connection) -> int:
            rows = connection.execute(_MISSING, (limit,)).fetchall()
            generations = [generation_of(row) for row in rows]
            for generation in generations:
                accounts.settle(connection, generation, account(generation))
            if generations:
                connection.execute("update accounts_missing set before = ?", (generations[-1].id,))
            else:
                connection.execute("delete from accounts_missing")
            return len(generations)

        return await self._writer.run(work)

    async def expire(self, before: datetime, limit: int) -> int:
        if not self._reader.all(_HAS_CLOSABLE, (before.timestamp(),)):
            return 0  # without a write

        def work(connection: apsw.Connection) -> int:
            rows = connection.execute(_CLOSABLE, (before.timestamp(), limit)).fetchall()
            connection.executemany(_CLOSE, [row[1:] for row in rows])
            connection.executemany("delete from accounts where generation_id = ?", [row[:1] for row in rows])
            return len(rows)

        return await self._writer.run(work)
