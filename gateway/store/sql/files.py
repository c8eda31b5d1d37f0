"""The input images of clients, in the ledger."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

from gateway.domain.errors import FileInUse, FileLimitReached
from gateway.store.files import FileLimits, FilePage, FileQuery, StoredFile
from gateway.store.pages import cut
from gateway.store.sql.columns import insert
from gateway.store.sql.database import Reader, Row, Transaction, Writer
from gateway.store.sql.rows import FILE

Rows = Callable[[str, Sequence[Any]], Awaitable[list[Row]]]  # `all` of a reader or of a transaction
_INSERT = insert("files", FILE)
INSERT_INLINE = f"{_INSERT} on conflict (key, id) do update set expires_at = excluded.expires_at where files.inline = 1"
# A generation uses an uploaded file that has not expired, and an image of a create as long as it is there.
USE = (
    "insert into generation_files (generation_id, key, file_id) select ?, key, id from files where key = ? and id = ?"
    " and (inline = 1 or expires_at is null or expires_at > ?)"
)
USES = "select key, file_id from generation_files where generation_id = ?"
DELETE_UNUSED = (
    "delete from files where key = ? and id = ? and inline = 1"
    " and not exists (select 1 from generation_files as u where u.key = files.key and u.file_id = files.id)"
)
_LIVE = "inline = 0 and expires_at > ?"
# A key may have a long history of inline images beside its few uploads. So these two name an index of uploads alone.
_TOTALS = (
    "select count(*), coalesce(cast(sum(cast(json_extract(facts, '$.bytes') as bigint)) as bigint), 0)"
    f" from files indexed by files_by_size where key = ? and {_LIVE}"
)
_INLINE_BYTES = "select bytes from inline_bytes where key = ?"  # triggers keep it equal to the sum over the files
_PAGE = f"select {FILE} from files indexed by {{index}} where key = ? and {_LIVE}"
_GET = f"select {FILE} from files where key = ? and id = ? and {_LIVE}"
_HOLDERS = f"select {FILE} from files where id = ?"
_OPEN_USER = (
    "select g.id from generation_files as u join generations as g on g.id = u.generation_id"
    " where u.key = {key} and u.file_id = {id} and g.status in ('queued', 'in_progress') limit 1"
)
_USER = _OPEN_USER.format(key="?", id="?")
# The files of a key that no open generation uses, the oldest first.
_EVICTABLE = (
    f"select id, cast(json_extract(facts, '$.bytes') as bigint) from files where key = ? and {_LIVE}"
    f" and not exists ({_OPEN_USER.format(key='files.key', id='files.id')}) order by id"
)
_EXPIRED = (
    "select key, id from files where expires_at <= ?"
    f" and not exists ({_OPEN_USER.format(key='files.key', id='files.id')}) order by expires_at limit ?"
)
_DELETE_USES = "delete from generation_files where key = ? and file_id = ?"
_DELETE = "delete from files where key = ? and id = ?"


class SqlLibrary:
    """Implements `Library`."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self._reader = reader
        self._writer = writer

    async def check_room(self, key: str, size: int, limits: FileLimits, now: datetime, *, evict: bool = False) -> None:
        await _make_room(self._reader.all, key, size, limits, now, evict=evict)

    async def check_room_inline(self, key: str, size: int, limits: FileLimits, now: datetime) -> None:
        await check_inline(self._reader.all, key, size, limits, now)

    async def add(self, file: StoredFile, limits: FileLimits, *, evict: bool = False) -> list[str]:
        async def work(transaction: Transaction) -> list[str]:
            size, now = file.facts.bytes, file.created_at
            evicted = await _make_room(transaction.all, file.key, size, limits, now, evict=evict)
            for file_id in evicted:
                await _remove(transaction, (file.key, file_id))
            await transaction.run(_INSERT, FILE.values(file))
            return evicted

        return await self._writer.run(work, yields=True)

    async def get(self, file_id: str, key: str, now: datetime) -> StoredFile | None:
        rows = await self._reader.all(_GET, (key, file_id, now.timestamp()))
        return FILE.of(rows[0]) if rows else None

    async def holders(self, file_id: str) -> list[StoredFile]:
        return [FILE.of(row) for row in await self._reader.all(_HOLDERS, (file_id,))]

    async def page(self, query: FileQuery) -> FilePage:
        sql = _PAGE
        values: list[Any] = [query.key, query.now.timestamp()]
        if query.after is not None:
            sql += " and id > ?" if query.order == "asc" else " and id < ?"
            values.append(query.after)
        if query.purpose is not None:
            sql += " and purpose = ?"
            values.append(query.purpose)
        index = "files_of_library" if query.purpose is None else "files_of_purpose"
        sql = f"{sql.format(index=index)} order by id {query.order} limit ?"
        rows, has_more = cut(await self._reader.all(sql, (*values, query.limit + 1)), query.limit)
        return FilePage(tuple(map(FILE.of, rows)), has_more)

    async def delete(self, file_id: str, key: str, now: datetime) -> bool:
        values = (key, file_id)

        async def work(transaction: Transaction) -> bool:
            if await transaction.first(_GET, (*values, now.timestamp())) is None:
                return False
            user: str | None = await transaction.value(_USER, values)
            if user is not None:
                raise FileInUse(f"The generation {user} uses the file; cancel it, or wait until it has ended.")
            await _remove(transaction, values)
            return True

        return await self._writer.run(work)

    async def expire(self, now: datetime, limit: int) -> int:
        values = (now.timestamp(), limit)
        if not await self._reader.all(_EXPIRED, values):
            return 0  # without the lock on the file and without a write

        async def work(transaction: Transaction) -> int:
            expired = await transaction.all(_EXPIRED, values)
            for file in expired:
                await _remove(transaction, file)
            return len(expired)

        return await self._writer.run(work)


async def _make_room(
    rows: Rows,
    key: str,
    size: int,
    limits: FileLimits,
    now: datetime,
    *,
    evict: bool,
) -> list[str]:
    """The files that have to be deleted so that a key has room for `size` more bytes; only with `evict` there are any.

    Raises `FileLimitReached` if there is no room, even without them. So nothing is deleted in vain.
    """
    count, total = (await rows(_TOTALS, (key, now.timestamp())))[0]
    total += await _inline_bytes(rows, key)
    evicted: list[str] = []
    if evict and size <= limits.bytes:
        evictable = iter(await rows(_EVICTABLE, (key, now.timestamp())))
        while count >= limits.count or total + size > limits.bytes:
            file = next(evictable, None)
            if file is None:
                break
            evicted.append(file[0])
            count, total = count - 1, total - file[1]
    _check(count, total, size, limits)
    return evicted


def _check(count: int, total: int, size: int, limits: FileLimits) -> None:
    """Raise `FileLimitReached` if `size` more bytes have no room beside `count` files of `total` bytes."""
    if count >= limits.count:
        raise FileLimitReached(f"Your key has {count:,} files, the most it may have; delete some, or let them expire.")
    if total + size > limits.bytes:
        raise FileLimitReached(
            f"Your key may have {_shown(limits)} in files and in images of creates; delete some, or let them expire.",
            param="file",
        )


def _shown(limits: FileLimits) -> str:
    return f"{limits.bytes / 2**20:,.4g} MB"


async def check_inline(rows: Rows, key: str, size: int, limits: FileLimits, now: datetime) -> None:
    """Raise `FileLimitReached` if a key may not have `size` more bytes in images that come within a create."""
    _, uploaded = (await rows(_TOTALS, (key, now.timestamp())))[0]
    if uploaded + await _inline_bytes(rows, key) + size > limits.bytes:
        raise FileLimitReached(
            f"Your key may have {_shown(limits)} in files and in images of creates, which count until an hour after"
            " the create and until every generation that uses them has ended; wait, delete files, or send URLs."
        )


async def _inline_bytes(rows: Rows, key: str) -> int:
    """How many bytes a key has in images that came within creates."""
    return sum(row[0] for row in await rows(_INLINE_BYTES, (key,)))


async def _remove(transaction: Transaction, file: Row) -> None:
    """Delete a file, named by its key and id, and the uses that generations have of it."""
    await transaction.run(_DELETE_USES, file)
    await transaction.run(_DELETE, file)
