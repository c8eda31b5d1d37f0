"""The files of results in the ledger.

Danger: a file without a row would stay on the disk forever, because nothing else lists the files. So a row is written
before its file is, and removed after it.
"""

import secrets
from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec.structs import replace

from gateway.domain.generation.model import ArchivedFile
from gateway.store.sql.columns import seconds, to_json
from gateway.store.sql.database import Change, Reader, Transaction, Writer

SECRET_BYTES = 32
# The first secret that was stored stays: what was signed with it must be valid after a restart as well.
_ADD_SECRET = "insert into secrets (name, value) values (?, ?) on conflict (name) do nothing"  # noqa: S105  # a statement
_ANNOUNCE = (
    "insert into artifacts (name, generation_id, kept_until) select value, ?, ? from json_each(?)"
    " where exists (select 1 from generations where id = ?)"
)
_EXPIRED = "select name from artifacts where kept_until <= ? order by kept_until limit ?"
_KEEP_UNTIL = "update artifacts set kept_until = ? where name in (select value from json_each(?)) and generation_id = ?"
# Of one output; the values are the file as JSON, the generation, and the number of the output.
SAVE_FILE = (
    "update outputs set kept = ?, unkept_until = null"
    " where generation_id = ? and number = ? and artifact is not null and kept is null"
)
_KEPT = "select kept from outputs where generation_id = ? and number = ? and kept is not null"
_SET_KEPT = "update outputs set kept = ? where generation_id = ? and number = ?"
_NEW_VERSION = "update generations set version = version + 1 where id = ?"
_archived_file = msgspec.json.Decoder(ArchivedFile)
# Lets the files of a generation expire at once. A file that is being written now is not in its output yet and keeps the
# expiry of its row: it may reach the store after this, and must then still have a row.
END = (
    "update artifacts set kept_until = 0 where name in"
    " (select json_extract(kept, '$.name') from outputs where generation_id = ?1 and kept is not null"
    " union all select json_extract(kept, '$.thumbnail') from outputs where generation_id = ?1 and kept is not null)"
)


async def secret(transaction: Transaction, name: str) -> bytes:
    """The secret of this name, made at the first call; durable when this returns."""
    await transaction.run(_ADD_SECRET, (name, secrets.token_bytes(SECRET_BYTES)))
    value: bytes = await transaction.value("select value from secrets where name = ?", (name,))
    return value


def extended_expiry(generation_id: str, file: ArchivedFile) -> Change:
    """The change that lets an archived file and its thumbnail expire when its output says so."""
    names = [name for name in (file.name, file.thumbnail) if name is not None]
    return _KEEP_UNTIL, (seconds(file.kept_until), to_json(names), generation_id)


class SqlArchivedFiles:
    """Implements `ArchivedFiles`."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self._reader = reader
        self._writer = writer

    async def announce(self, generation_id: str, names: Sequence[str], until: datetime) -> bool:
        values = (generation_id, until.timestamp(), to_json(list(names)), generation_id)

        async def work(transaction: Transaction) -> bool:
            return await transaction.run(_ANNOUNCE, values) > 0

        return await self._writer.run(work)

    async def set_thumbnail(
        self, generation_id: str, index: int, *, video: str, thumbnail: str, content_type: str
    ) -> bool:
        async def work(transaction: Transaction) -> bool:
            text: str | None = await transaction.value(_KEPT, (generation_id, index))
            before = None if text is None else _archived_file.decode(text)
            # A thumbnail belongs to the very file that it was drawn from, and is set once.
            if before is None or before.name != video or before.thumbnail is not None:
                return False
            after = replace(before, thumbnail=thumbnail, thumbnail_type=content_type)
            await transaction.run(_SET_KEPT, (to_json(after), generation_id, index))
            await transaction.run(*extended_expiry(generation_id, after))
            await transaction.run(_NEW_VERSION, (generation_id,))
            return True

        return await self._writer.run(work)

    async def expired(self, now: datetime, limit: int) -> list[str]:
        return [name for (name,) in await self._reader.all(_EXPIRED, (now.timestamp(), limit))]

    async def postpone(self, names: Sequence[str], until: datetime) -> None:
        if names:
            sql = "update artifacts set kept_until = ? where name in (select value from json_each(?))"
            values = (until.timestamp(), to_json(list(names)))
            await self._writer.run(lambda transaction: transaction.run(sql, values))

    async def forget(self, names: Sequence[str], now: datetime) -> None:
        sql = "delete from artifacts where name in (select value from json_each(?)) and kept_until <= ?"
        values = (to_json(list(names)), now.timestamp())
        await self._writer.run(lambda transaction: transaction.run(sql, values))
