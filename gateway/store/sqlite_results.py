"""The files of results in the SQLite ledger: each is told of before it is there, and until it is gone."""

import secrets
from collections.abc import Sequence
from datetime import datetime

import apsw

from gateway.store.reader import Reader
from gateway.store.rows import to_json
from gateway.store.writer import Writer

SECRET_BYTES = 32
# With what a secret was made of: what is signed stays good over restarts, for whoever shares the database.
_KEEP_SECRET = "insert into secrets (name, value) values (?, ?) on conflict (name) do nothing"  # noqa: S105  # a statement
_TELL = (
    "insert into artifacts (name, generation_id, kept_until) select value, ?, ? from json_each(?)"
    " where exists (select 1 from generations where id = ?)"
)
_EXPIRED = "select name from artifacts where kept_until <= ? order by kept_until limit ?"
KEEP = "update artifacts set kept_until = ? where name in (select value from json_each(?)) and generation_id = ?"
END = "update artifacts set kept_until = 0 where generation_id = ?"


def secret(connection: apsw.Connection, name: str) -> bytes:
    """The secret of this name, made when it is first asked for; durable when this returns."""
    connection.execute(_KEEP_SECRET, (name, secrets.token_bytes(SECRET_BYTES)))
    value: bytes = connection.execute("select value from secrets where name = ?", (name,)).get
    return value


class SqliteResults:
    """Implements `Results`."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self._reader = reader
        self._writer = writer

    async def tell(self, generation_id: str, names: Sequence[str], until: datetime) -> bool:
        values = (generation_id, until.timestamp(), to_json(list(names)), generation_id)

        def work(connection: apsw.Connection) -> bool:
            connection.execute(_TELL, values)
            return connection.changes() > 0

        return await self._writer.run(work)

    async def expired(self, now: datetime, limit: int) -> list[str]:
        return [name for (name,) in self._reader.all(_EXPIRED, (now.timestamp(), limit))]

    async def forget(self, names: Sequence[str], now: datetime) -> None:
        sql = "delete from artifacts where name in (select value from json_each(?)) and kept_until <= ?"
        values = (to_json(list(names)), now.timestamp())
        await self._writer.run(lambda connection: connection.execute(sql, values))
