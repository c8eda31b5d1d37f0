"""Brings the schema of a PostgreSQL ledger up to date, while gateways of the version before work with it.

Each migration has a transaction of its own. It begins with the lock of the ledger, so that it meets no other write, and
waits for each lock for a second at most: what comes after it waits for it, even if it only reads. When it does not get
its locks, it is tried again. What takes long, as an index on a large table, is in a file that says `-- without
a transaction`, with `create index concurrently`, which lets others read and write. Such a file is carried out again
from its beginning if it was interrupted, so it first drops what an interrupted one may have left.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from time import monotonic

import asyncpg
import structlog

from gateway.domain.errors import ConfigurationError
from gateway.store.migrations import Migration
from gateway.store.postgres.schema import Applied, read_applied
from gateway.store.postgres.server import Connection
from gateway.store.postgres.writer import LOCK as WRITERS_LOCK

log = structlog.get_logger()
LOCK = 0x76696465_6F677763  # the advisory lock of a start that changes the schema
WAIT_SECONDS = 600.0  # how long a start waits for another one, and for the locks of a migration
LOCK_MILLISECONDS = 1000  # how long a migration waits for a lock while others wait for the migration
PAUSE_SECONDS = 0.2  # until the next try
_COLUMNS = (
    "select array_agg(cast(attname as text)) from pg_attribute"
    " where attrelid = to_regclass('schema_migrations') and attnum > 0 and not attisdropped"
)
_ADD = "insert into schema_migrations (number, name, checksum, applied_at, oldest) values ($1, $2, $3, $4, $5)"
# A program that does not say what it knows is one of the first with replicas, which knew schema 3.
_TOO_OLD = (
    "select name from replicas as r where replica_lives(id)"
    " and coalesce(cast(to_jsonb(r) ->> 'schema' as bigint), 3) < $1 order by 1"
)


async def migrate(connection: Connection, now: datetime) -> Applied:
    """Apply the missing migrations; returns what the database has then, which may be newer than this program.

    Of several gateways that start at the same time one applies them, and the others wait for it. One that is killed in
    between leaves whole migrations. Raises `ConfigurationError` if this program cannot work with the schema, if an
    applied migration was changed, or if a gateway is at work that could not work with the new schema.
    """
    await _take_lock(connection)
    try:
        await _make_table(connection)
        for migration in (await read_applied(connection)).pending():
            log.info("ledger_migrating", migration=migration.name)
            await _apply(connection, migration, now)
        return await read_applied(connection)
    finally:
        if not connection.is_closed():
            await connection.execute(f"select pg_advisory_unlock({LOCK})")


async def _take_lock(connection: Connection) -> None:
    """Get the lock by trying: an index that is built concurrently waits for all statements, also for one that waits."""
    until = monotonic() + WAIT_SECONDS
    while not await connection.fetchval(f"select pg_try_advisory_lock({LOCK})"):
        if monotonic() > until:
            raise ConfigurationError(
                "database.url: another gateway changes the schema, and did not end within ten minutes; start again"
            )
        await asyncio.sleep(PAUSE_SECONDS)


async def _make_table(connection: Connection) -> None:
    """Make the table of the applied migrations, or give it the column that the first programs did not make."""
    columns = await connection.fetchval(_COLUMNS) or ()

    async def change() -> None:
        if not columns:
            await connection.execute(
                "create table schema_migrations (number bigint primary key, name text not null,"
                " checksum text not null, applied_at double precision not null, oldest bigint)"
            )
        else:
            await connection.execute("alter table schema_migrations add column oldest bigint")

    if "oldest" not in columns:
        await _patiently(connection, change)


async def _apply(connection: Connection, migration: Migration, now: datetime) -> None:
    row = (migration.number, migration.name, migration.checksum, now.timestamp(), migration.oldest)

    async def change() -> None:
        await _refuse_if_too_old(connection, migration)
        if not migration.is_apart:
            await connection.execute(migration.sql)
        await connection.execute(_ADD, *row)

    if migration.is_apart:
        await connection.execute("set statement_timeout = 0")
        for statement in migration.statements:
            await connection.execute(statement)
        await connection.execute("reset statement_timeout")
    await _patiently(connection, change)


async def _refuse_if_too_old(connection: Connection, migration: Migration) -> None:
    """Raise `ConfigurationError` if a replica lives that cannot work with the new schema. None joins meanwhile."""
    if not await connection.fetchval("select to_regclass('replicas')"):
        return
    await connection.execute("lock table replicas in exclusive mode")
    if names := [row[0] for row in await connection.fetch(_TOO_OLD, migration.oldest)]:
        raise ConfigurationError(
            f"database.url: the schema {migration.number} of this program does not work with the older gateways that"
            f" are running: {', '.join(names)}; stop them all, then start this program"
        )


async def _patiently(connection: Connection, change: Callable[[], Awaitable[None]]) -> None:
    """Carry out a change in a transaction; again, if it does not get its locks."""
    until = monotonic() + WAIT_SECONDS
    waits = False
    while True:
        try:
            async with connection.transaction(isolation="read_committed"):
                await connection.execute(
                    f"set local statement_timeout = 0; set local lock_timeout = {LOCK_MILLISECONDS};"
                    f" select pg_advisory_xact_lock({WRITERS_LOCK})"
                )
                return await change()
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
            if monotonic() > until:
                raise
            if not waits:
                log.warning("ledger_migration_waits", reason=str(error))
            waits = True
        await asyncio.sleep(PAUSE_SECONDS)
