"""The files of results in the SQLite ledger: each is told of before it is there, and until it is gone."""

import secrets
from collections.abc import Sequence
from datetime import datetime

import apsw
import msgspec

from gateway.domain.generation.model import Kept
from gateway.domain.generation.transitions import SaveKept
from gateway.store.sqlite.reader import Reader
from gateway.store.sqlite.rows import seconds, to_json
from gateway.store.sqlite.writer import Writer

SECRET_BYTES = 32
# With what a secret was made of: what is signed stays good over restarts, for whoever shares the database.
_KEEP_SECRET = "insert into secrets (name, value) values (?, ?) on conflict (name) do nothing"  # noqa: S105  # a statement
_TELL = (
    "insert into artifacts (name, generation_id, kept_until) select value, ?, ? from json_each(?)"
    " where exists (select 1 from generations where id = ?)"
)
_EXPIRED = "select name from artifacts where kept_until <= ? order by kept_until limit ?"
_KEEP = "update artifacts set kept_until = ? where name in (select value from json_each(?)) and generation_id = ?"
_SAVE_KEPT = (
    "update outputs set kept = ?, unkept_until = null"
    " where generation_id = ? and number = ? and artifact is not null and kept is null"
)
# The guard: a thumbnail belongs to the very file that it was drawn from, and is set once.
_SET_THUMBNAIL = (
    "update outputs set kept = json_set(kept, '$.thumbnail', ?, '$.thumbnail_type', ?)"
    " where generation_id = ? and number = ? and kept ->> '$.name' = ? and kept ->> '$.thumbnail' is null"
    " returning kept"
)
_NEW_VERSION = "update generations set version = version + 1 where id = ?"
_kept = msgspec.json.Decoder(Kept)
# What is on its way now keeps its time: it may come into the store after this, and is to be told of then.
END = (
    "update artifacts set kept_until = 0 where name in"
    " (select kept ->> '$.name' from outputs where generation_id = ?1 and kept is not null"
    " union all select kept ->> '$.thumbnail' from outputs where generation_id = ?1 and kept is not null)"
)


def secret(connection: apsw.Connection, name: str) -> bytes:
    """The secret of this name, made when it is first asked for; durable when this returns."""
    connection.execute(_KEEP_SECRET, (name, secrets.token_bytes(SECRET_BYTES)))
    value: bytes = connection.execute("select value from secrets where name = ?", (name,)).get
    return value


def kept_so(connection: apsw.Connection, generation_id: str, write: SaveKept) -> tuple[str, tuple[object, ...]]:
    """Keep the files that the write tells of; the statement that tells of them in their output."""
    _keep_files(connection, generation_id, write.kept)
    return _SAVE_KEPT, (to_json(write.kept), generation_id, write.index)


def _keep_files(connection: apsw.Connection, generation_id: str, kept: Kept) -> None:
    """Let the files of an output expire when the output says so."""
    names = [name for name in (kept.name, kept.thumbnail) if name is not None]
    connection.execute(_KEEP, (seconds(kept.kept_until), to_json(names), generation_id))


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

    async def set_thumbnail(
        self, generation_id: str, index: int, *, video: str, thumbnail: str, content_type: str
    ) -> bool:
        def work(connection: apsw.Connection) -> bool:
            row = connection.execute(_SET_THUMBNAIL, (thumbnail, content_type, generation_id, index, video)).fetchone()
            if row is None:
                return False
            _keep_files(connection, generation_id, _kept.decode(str(row[0])))
            connection.execute(_NEW_VERSION, (generation_id,))
            return True

        return await self._writer.run(work)

    async def expired(self, now: datetime, limit: int) -> list[str]:
        return [name for (name,) in self._reader.all(_EXPIRED, (now.timestamp(), limit))]

    async def put_off(self, names: Sequence[str], until: datetime) -> None:
        if names:
            sql = "update artifacts set kept_until = ? where name in (select value from json_each(?))"
            values = (until.timestamp(), to_json(list(names)))
            await self._writer.run(lambda connection: connection.execute(sql, values))

    async def forget(self, names: Sequence[str], now: datetime) -> None:
        sql = "delete from artifacts where name in (select value from json_each(?)) and kept_until <= ?"
        values = (to_json(list(names)), now.timestamp())
        await self._writer.run(lambda connection: connection.execute(sql, values))
