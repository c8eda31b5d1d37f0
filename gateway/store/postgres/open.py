"""Opens a PostgreSQL database as the ledger."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from msgspec import Struct, structs

from gateway.clock import boot_seconds
from gateway.domain.errors import ConfigurationError
from gateway.domain.ledger_clock import LedgerTime
from gateway.store.lineage import Said
from gateway.store.postgres.database import PostgresDatabase
from gateway.store.postgres.inspect import has_schema, ledger_time
from gateway.store.postgres.lineage import Begun, ReadFar, begin
from gateway.store.postgres.local_locks import LocalLocks
from gateway.store.postgres.migrate import migrate
from gateway.store.postgres.schema import program_schema
from gateway.store.postgres.server import Connection, Server, check_fitness, complaint, warn_of_loss
from gateway.store.postgres.statements import Statements
from gateway.store.postgres.writer import LOCK
from gateway.store.sql.adoption import adopt
from gateway.store.sql.database import Transaction
from gateway.store.sql.money import fill_open
from gateway.store.sql.start import read_start
from gateway.store.sql.store import SqlStore
from gateway.store.start import Start
from gateway.telemetry import NOBODY, Observer

log = structlog.get_logger()
_LOCK_SECONDS = 60  # how long a start waits until other gateways let it have the lock of the ledger


class _Opening(Struct, frozen=True, kw_only=True):
    """The arguments of a start."""

    now: datetime
    check_clock: Callable[[LedgerTime], None]
    brings_back: bool
    read_far: ReadFar
    said: Said | None
    owners: Mapping[str, str]


def open_postgres(
    server: Server,
    now: datetime,
    *,
    check_clock: Callable[[LedgerTime], None] = lambda _: None,
    keep_results: timedelta | None = None,
    read_far: ReadFar = lambda _: None,
    said: Said | None = None,
    observer: Observer = NOBODY,
    adopt: Mapping[str, str] | None = None,
    locks: Path | None = None,
) -> SqlStore:
    """Bring the schema up to date; raises `ConfigurationError` with the reason if the database cannot be used.

    Any number of gateways can have the database open. The arguments are those of `open_sqlite`, and the
    folder of `LocalLocks`. With `keep_results`,
    moments in the future would have to be changed, which is refused here. The call waits for the database, also on an
    event loop. Connections of the running gateway are opened later, on its event loop.
    """
    opening = _Opening(
        now=now,
        check_clock=check_clock,
        brings_back=keep_results is not None,
        read_far=read_far,
        said=said,
        owners=adopt or {},
    )
    began_at = boot_seconds()
    with ThreadPoolExecutor(1, thread_name_prefix="store-start") as threads:
        begun, at_start = threads.submit(asyncio.run, _begin(server, opening, began_at)).result()
    return SqlStore(PostgresDatabase(server, begun, at_start, observer, LocalLocks(locks)))


async def _begin(server: Server, opening: _Opening, began_at: float) -> tuple[Begun, Start]:
    try:
        connection = await server.connect()
        try:
            statements = Statements(connection)
            await check_fitness(connection)
            await warn_of_loss(connection)
            ahead = await _ahead(connection, opening.now, began_at)
            if await has_schema(statements):
                _check_clock(opening, await ledger_time(statements))
            applied = await migrate(connection, opening.now)
            warning = _newer(applied.newest) if applied.is_newer else None
            async with connection.transaction(isolation="read_committed"):
                await connection.execute(
                    f"set local lock_timeout = '{_LOCK_SECONDS}s'; select pg_advisory_xact_lock({LOCK});"
                    " set constraints all deferred"  # an adoption moves the uses of files after the files
                )
                begun, at_start = await _prepare(statements, opening)
                return begun, structs.replace(at_start, ahead=ahead, warning=warning)
        finally:
            await connection.close()
    except ConfigurationError:
        raise
    except Exception as error:
        reason = complaint(server, error)
        if reason is None:
            raise
        raise ConfigurationError(reason) from error


async def _ahead(connection: Connection, now: datetime, began_at: float) -> timedelta:
    """How far the clock of the database is ahead of this one, which was at `now` when `boot_seconds` was `began_at`.

    The answer counts as made in the middle of the question, so that it is wrong by half of the time that it took.
    """
    asked_at = boot_seconds()
    moment: datetime = await connection.fetchval("select clock_timestamp()")
    passed = (asked_at + boot_seconds()) / 2 - began_at
    return moment - (now + timedelta(seconds=passed))


async def _prepare(transaction: Transaction, opening: _Opening) -> tuple[Begun, Start]:
    await fill_open(transaction)
    await adopt(transaction, opening.owners, opening.now)
    begun = await begin(transaction, opening.now, opening.read_far, opening.said)
    newest = (await ledger_time(transaction)).newest
    return begun, await read_start(transaction, newest)


def _newer(schema: int) -> str:
    """Log that a newer version has changed the schema; returns the warning of `/health/ready`."""
    log.warning("ledger_schema_newer", schema=schema, program=program_schema())
    return (
        f"a newer version has made the schema {schema} of the database; this one, with schema {program_schema()}, works"
        " with it, and may be replaced by the newer one at any time"
    )


def _check_clock(opening: _Opening, ledger: LedgerTime) -> None:
    opening.check_clock(ledger)
    if opening.brings_back and ledger.newest is not None and ledger.newest > opening.now:
        raise ConfigurationError(
            "database.url: the newest moment in the ledger is in the future, and moments in PostgreSQL are not changed;"
            " set the clocks of all machines, and wait until that moment is over"
        )
