"""The inputs that were uploaded to providers, in the ledger."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from gateway.store.sql.columns import to_json
from gateway.store.sql.database import Reader, Transaction, Writer
from gateway.store.uploads import UploadKey

_FIND = "select url from uploads where account = ? and sha256 = ? and recipe = ? and expires_at > ?"
_SAVE = (
    "insert into uploads (account, sha256, recipe, url, expires_at) values (?, ?, ?, ?, ?)"
    " on conflict (account, sha256, recipe) do update set url = excluded.url, expires_at = excluded.expires_at"
)
_FORGET = "delete from uploads where account = ? and sha256 in (select value from json_each(?))"
_HAS_EXPIRED = "select 1 from uploads where expires_at <= ? order by expires_at limit 1"
_EXPIRE = (
    "delete from uploads where (account, sha256, recipe) in"
    " (select account, sha256, recipe from uploads where expires_at <= ? order by expires_at limit ?)"
)


class SqlUploads:
    """Implements `Uploads`."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self._reader = reader
        self._writer = writer

    async def find(self, key: UploadKey, now: datetime) -> str | None:
        rows = await self._reader.all(_FIND, (key.account, key.sha256, key.recipe, now.timestamp()))
        return rows[0][0] if rows else None

    async def keep(self, key: UploadKey, url: str, expires_at: datetime) -> None:
        values = (key.account, key.sha256, key.recipe, url, expires_at.timestamp())
        await self._writer.run(lambda transaction: transaction.run(_SAVE, values))

    async def forget(self, account: str, digests: Sequence[str]) -> int:
        return await self._delete(_FORGET, (account, to_json(list(digests))))

    async def expire(self, now: datetime, limit: int) -> int:
        if not await self._reader.all(_HAS_EXPIRED, (now.timestamp(),)):
            return 0  # without a write
        return await self._delete(_EXPIRE, (now.timestamp(), limit))

    async def _delete(self, sql: str, values: tuple[Any, ...]) -> int:
        async def work(transaction: Transaction) -> int:
            return await transaction.run(sql, values)

        return await self._writer.run(work)
