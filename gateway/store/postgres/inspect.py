"""Looks at a PostgreSQL database for `check`, without changing anything."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from msgspec import Struct, structs

from gateway.domain.errors import ConfigurationError
from gateway.domain.ledger_clock import LedgerTime
from gateway.store.clients import Adopted
from gateway.store.postgres.schema import Applied, read_applied
from gateway.store.postgres.server import Server, check_fitness, complaint
from gateway.store.postgres.statements import Statements
from gateway.store.sql.attempts import UNFOLLOWED
from gateway.store.sql.clients import adopted
from gateway.store.sql.columns import to_json
from gateway.store.sql.database import Transaction

# Of the last events not only the newest one: the clocks of gateways differ.
_NEWEST = (
    "select max(at) from ("
    "select (select max(at) from (select at from events order by seq desc limit 100) as newest) as at"
    " union all select (select created_at from generations order by id desc limit 1)"
    " union all select max(created_at) from idempotency_keys"
    " union all select max(created_at) from deleted_generations"
    " union all select max(deleted_at) from purchases"
    " union all select max(applied_at) from schema_migrations) as moments"
)
_HAS_OPEN = "select 1 from generations where status in ('queued', 'in_progress') limit 1"
# The first migration makes this one. The list of migrations is there earlier: another gateway may be starting.
_HAS_SCHEMA = "select to_regclass('generations') is not null"
_LAST = datetime.max.replace(tzinfo=UTC)


class Seen(Struct, frozen=True, kw_only=True):
    """What is in a database."""

    schema: int  # the number of the newest migration; 0: none
    to_come: int  # migrations that a start would apply
    is_newer: bool = False  # the schema is newer than this program, which can work with it
    time: LedgerTime
    adopted: tuple[Adopted, ...] = ()
    unfollowed: tuple[tuple[str, str], ...]  # see `Store.unfollowed`; empty while migrations are to come


def inspect_postgres(server: Server, providers: Sequence[str]) -> Seen:
    """Look at a database. Raises `ConfigurationError` if it cannot be used."""
    return asyncio.run(_inspect(server, providers))


async def _inspect(server: Server, providers: Sequence[str]) -> Seen:
    try:
        connection = await server.connect()
        try:
            await check_fitness(connection)
            statements = Statements(connection)
            if not await has_schema(statements):
                return _seen(Applied(checksums={}, oldest=0), LedgerTime(newest=None, has_open=False))
            applied = await read_applied(connection)
            seen = _seen(applied, await ledger_time(statements))
            if seen.to_come:
                return seen
            rows = await statements.all(UNFOLLOWED, (to_json(list(providers)),))
            owners = tuple(await adopted(statements))
            return structs.replace(seen, adopted=owners, unfollowed=tuple((row[0], row[1]) for row in rows))
        finally:
            await connection.close()
    except ConfigurationError:
        raise
    except Exception as error:
        reason = complaint(server, error)
        if reason is None:
            raise
        raise ConfigurationError(reason) from error


async def has_schema(transaction: Transaction) -> bool:
    """Whether a gateway has used the database before."""
    return bool(await transaction.value(_HAS_SCHEMA))


async def ledger_time(transaction: Transaction) -> LedgerTime:
    """The newest moment in a ledger that has a schema."""
    at: float | None = await transaction.value(_NEWEST)
    has_open = await transaction.first(_HAS_OPEN) is not None
    return LedgerTime(newest=None if at is None else _moment(at), has_open=has_open)


def _seen(applied: Applied, time: LedgerTime) -> Seen:
    return Seen(
        schema=applied.newest, to_come=len(applied.pending()), is_newer=applied.is_newer, time=time, unfollowed=()
    )


def _moment(at: float) -> datetime:
    try:
        return datetime.fromtimestamp(at, UTC)
    except (OverflowError, ValueError, OSError):  # later than any date that Python has
        return _LAST
