"""The SQLite side of a move: a ledger on which no gateway runs, read as it is at one moment."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import apsw

from gateway.domain.errors import ConfigurationError
from gateway.domain.ledger_clock import clock_trouble
from gateway.domain.lineage import verdict
from gateway.store.move.contents import Row, Table
from gateway.store.sqlite import clock
from gateway.store.sqlite.backup import keep_before_migration
from gateway.store.sqlite.errors import explain
from gateway.store.sqlite.file import check_place, connect, migrate, take_lock
from gateway.store.sqlite.lineage import begin_without_marker, lineage_of, moved_to, note_move, position_of, unnote_move
from gateway.store.sqlite.marker import file_number, read_marker

_TABLES = "select name from sqlite_schema where type = 'table' and name not like 'sqlite|_%' escape '|'"
_IS_LEDGER = "select count(*) from sqlite_schema where name = 'schema_migrations'"
_NUMBERS = "select name, seq from sqlite_sequence"
_OWN = "schema_migrations"  # each database has its own migrations


class Source:
    """A ledger in a transaction that nobody else can write beside. What is noted in it counts after `leave` alone."""

    def __init__(self, connection: apsw.Connection, lineage: str, moved_to: str | None) -> None:
        """`moved_to`: where an earlier move was about to bring it; `None`: there is no earlier move."""
        self._connection = connection
        self.lineage = lineage
        self.moved_to = moved_to

    def tables(self) -> list[Table]:
        """Every table, those before the others to which the others refer."""
        parents: dict[str, set[str]] = {}
        for name in self._texts(_TABLES, 0):
            if name != _OWN:
                parents[name] = {*self._texts(f'pragma foreign_key_list("{name}")', 2)} - {name}
        return [Table(name, self._columns(name)) for name in TopologicalSorter(parents).static_order()]

    def count(self, table: Table) -> int:
        """How many rows a table has."""
        count: int = self._connection.execute(f'select count(*) from "{table.name}"').get
        return count

    def rows(self, table: Table) -> Iterator[Row]:
        """The rows of a table, one after the other."""
        columns = ", ".join(f'"{column}"' for column in table.columns)
        return self._connection.execute(f'select {columns} from "{table.name}"')

    def numbers(self) -> Mapping[str, int]:
        """By table, the largest number that was ever given to a row of it, also to one that is removed."""
        return {str(row[0]): int(row[1]) for row in self._rows(_NUMBERS)}

    def leave(self, place: str, now: datetime) -> None:
        """Note durably that the ledger is at `place`: no start works with this file by itself from now on."""
        note_move(self._connection, place, now)
        self._connection.execute("commit")

    def _columns(self, table: str) -> tuple[str, ...]:
        return self._texts(f'pragma table_info("{table}")', 1)

    def _texts(self, sql: str, column: int) -> tuple[str, ...]:
        return tuple(str(row[column]) for row in self._rows(sql))

    def _rows(self, sql: str) -> list[Any]:
        return self._connection.execute(sql).fetchall()


@contextmanager
def open_source(path: Path, now: datetime) -> Iterator[Source]:
    """Lock the ledger and bring its schema up to date. Whatever is not left at the end stays as it was.

    Raises `ConfigurationError` if a gateway runs on it, if the clock is wrong, or if the ledger is an older copy.
    """
    path = path.resolve()
    check_place(path)
    if not path.exists():
        raise ConfigurationError(f"there is no ledger at {path}")
    lock = take_lock(path)
    try:
        connection = connect(path)
        try:
            if not connection.execute(_IS_LEDGER).get:
                raise ConfigurationError(f"{path} is not a ledger of a gateway")
            trouble = clock_trouble(now, clock.ledger_time(connection, lock))
            if trouble is not None:
                raise ConfigurationError(str(trouble))
            keep_before_migration(connection, path, now)
            migrate(connection, now)
            connection.execute("begin immediate")
            yield _prepare(connection, path, now)
        finally:
            if connection.in_transaction:
                connection.execute("rollback")
            connection.close()
    except apsw.Error as error:
        reason = explain(error)
        raise ConfigurationError(f"{path}: {reason or 'cannot be read'} ({error})") from error
    finally:
        lock.close()


def _prepare(connection: apsw.Connection, path: Path, now: datetime) -> Source:
    place = moved_to(connection)
    unnote_move(connection)  # in this transaction: the note is not a part of what is moved
    ledger = lineage_of(connection)
    copy = verdict(ledger, position_of(connection), file=file_number(path), near=read_marker(path), far=None)
    if copy is not None:
        raise ConfigurationError(
            f"{copy.reason}, so that it may not know what was bought. Start the gateway with {path} once, which holds"
            " what may be bought already, stop it, and move the ledger then"
        )
    return Source(connection, begin_without_marker(connection, now) if ledger is None else ledger.id, place)
