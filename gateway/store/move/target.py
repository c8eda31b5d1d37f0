"""The PostgreSQL side of a move: one transaction, after which the database has the whole ledger, or nothing of it."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import islice

import asyncpg

from gateway.domain.errors import ConfigurationError
from gateway.store.move.contents import Row, Seal, Table, storable
from gateway.store.postgres.inspect import has_schema
from gateway.store.postgres.migrate import migrate
from gateway.store.postgres.server import Connection, Server, check_fitness, complaint, warn_of_loss
from gateway.store.postgres.statements import Statements
from gateway.store.postgres.writer import LOCK, LOCK_SECONDS

_OF_VALUES = ("22", "23")  # the classes of errors about a value, and about a row that does not fit the others
BATCH = 500  # rows that are in memory together
_THERE = "select relname from pg_class where relname = any($1) and pg_table_is_visible(oid)"
_IS_USED = "select exists (select 1 from lineages)"
_NUMBERED = (
    "select c.relname, a.attname from pg_attribute as a join pg_class as c on c.oid = a.attrelid"
    " where a.attidentity <> '' and not a.attisdropped and c.relname = any($1) and pg_table_is_visible(c.oid)"
)
_GO_ON = "select setval(cast(pg_get_serial_sequence(quote_ident($1), $2) as regclass), $3)"
# A gateway that starts meanwhile waits for the lock, and is refused.
_BEGIN = (
    f"set local lock_timeout = '{LOCK_SECONDS}s'; set local statement_timeout = 0;"
    " set local idle_in_transaction_session_timeout = 0;"
    f" select pg_advisory_xact_lock({LOCK})"
)

_OPEN = "from generations where status in ('queued', 'in_progress')"
_COUNTED = (
    "delete from open_counts",
    f"insert into open_counts (key, generations) select key, count(*) {_OPEN} group by key",
    f"insert into open_counts (key, generations) select '', count(*) {_OPEN} having count(*) > 0",
    "delete from submits_in_flight",
    (
        "insert into submits_in_flight (attempt_id, account)"
        " select a.id, g.plan::json -> 'routes' -> a.route::int ->> 'provider'"
        " from attempts as a join generations as g on g.id = a.generation_id where a.state = 'submitting'"
    ),
)


class Target:
    """A database with the schema, in a transaction that has the lock of the ledger."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def there(self, tables: Sequence[Table]) -> set[str]:
        """The names of the tables that the database has, too."""
        return {name for (name,) in await self._connection.fetch(_THERE, [table.name for table in tables])}

    async def filled(self, tables: Sequence[Table]) -> list[str]:
        """The names of the tables that have a row."""
        there = sorted(await self.there(tables))
        return [name for name in there if await self._value(f'select exists (select 1 from "{name}")')]

    async def has_lineage(self, lineage: str) -> bool:
        """Whether the ledger with this lineage is, or was, in this database."""
        return bool(await self._value("select exists (select 1 from lineages where id = $1)", lineage))

    async def copy(self, table: Table, rows: Iterable[Row], progress: Callable[[int], None]) -> tuple[Seal, int]:
        """Write rows; returns the seal of what was written, and in how many rows U+0000 was replaced.

        Nothing is counted or changed by a trigger: its result comes as rows of other tables. `progress` gets the number
        of rows so far.
        """
        seal, replaced = Seal(), 0
        await self._connection.execute(f'alter table "{table.name}" disable trigger user')
        whole = iter(rows)
        while batch := list(islice(whole, BATCH)):
            written = [storable(row) for row in batch]
            replaced += sum(new is not old for new, old in zip(written, batch, strict=True))
            await self._write(table, written)
            for row in written:
                seal.add(row)
            progress(seal.rows)
        await self._connection.execute(f'alter table "{table.name}" enable trigger user')
        return seal, replaced

    async def seal(self, table: Table) -> Seal:
        """The seal of what a table has now."""
        seal = Seal()
        columns = ", ".join(f'"{column}"' for column in table.columns)
        async for row in self._connection.cursor(f'select {columns} from "{table.name}"', prefetch=BATCH):
            seal.add(tuple(row))
        return seal

    async def go_on_from(self, numbers: Mapping[str, int]) -> None:
        """Let the next number of a row be larger than those that were ever given, by table."""
        for table, column in await self._connection.fetch(_NUMBERED, list(numbers)):
            if number := numbers[table]:
                await self._value(_GO_ON, table, column, number)

    async def count(self) -> None:
        """Fill the tables that only PostgreSQL has, and that triggers keep otherwise."""
        for statement in _COUNTED:
            await self._connection.execute(statement)

    async def analyze(self, table: Table) -> None:
        """Let PostgreSQL count what the table has, so that its first plans are good."""
        await self._connection.execute(f'analyze "{table.name}"')

    async def _write(self, table: Table, rows: Sequence[Row]) -> None:
        try:
            await self._connection.copy_records_to_table(table.name, records=rows, columns=table.columns)
        except asyncpg.PostgresError as error:
            if not str(error.sqlstate).startswith(_OF_VALUES):
                raise
            reason = str(error).partition("\n")[0]
            raise ConfigurationError(f"PostgreSQL refuses a row of {table.name}: {reason}") from error

    async def _value(self, sql: str, *values: object) -> object:
        return await self._connection.fetchval(sql, *values)


@asynccontextmanager
async def open_target(server: Server, now: datetime) -> AsyncIterator[Target]:
    """Make the schema, then begin; the end of the block commits, and an error in it leaves the schema alone.

    Raises `ConfigurationError` if the server cannot be used, or if a gateway writes to the database.
    """
    try:
        connection = await server.connect()
        try:
            await check_fitness(connection)
            await warn_of_loss(connection)
            if not (await has_schema(Statements(connection)) and await connection.fetchval(_IS_USED)):
                await migrate(connection, now)  # the schema of a ledger that is there stays as it is
            async with connection.transaction(isolation="read_committed"):
                await connection.execute(_BEGIN)
                yield Target(connection)
        finally:
            await connection.close()
    except ConfigurationError:
        raise
    except Exception as error:
        reason = complaint(server, error)
        if reason is None:
            raise
        raise ConfigurationError(reason) from error
