"""Opens an SQLite file as the ledger."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import IO

import apsw

from gateway.domain.errors import ConfigurationError
from gateway.domain.ledger_clock import LedgerTime
from gateway.store.lineage import Said
from gateway.store.sql.adoption import adopt as adopt_owners
from gateway.store.sql.money import fill_open
from gateway.store.sql.start import read_start
from gateway.store.sql.store import SqlStore
from gateway.store.sqlite import clock
from gateway.store.sqlite.backup import keep_before_migration
from gateway.store.sqlite.database import SqliteDatabase
from gateway.store.sqlite.errors import explain
from gateway.store.sqlite.file import check_place, connect, migrate, take_lock
from gateway.store.sqlite.jobs import SqliteTransaction, drive
from gateway.store.sqlite.lineage import ReadFar, begin
from gateway.store.sqlite.progress import migration_progress
from gateway.store.sqlite.transaction import transaction
from gateway.store.start import Start
from gateway.telemetry import NOBODY, Observer


def open_sqlite(
    path: Path,
    now: datetime,
    *,
    check_clock: Callable[[LedgerTime], None] = lambda _: None,
    keep_results: timedelta | None = None,
    read_far: ReadFar = lambda _: None,
    said: Said | None = None,
    observer: Observer = NOBODY,
    adopt: Mapping[str, str] | None = None,
) -> SqlStore:
    """Lock the file and bring its schema up to date; raises `ConfigurationError` with the reason if it cannot.

    One process at a time can have the file open. `check_clock` gets what the ledger knows of the time before anything
    is written, and may raise as well. With `keep_results`, the time for which results are kept, moments after `now` are
    changed to `now`; without it they stay. `read_far` reads the marker of a lineage in the artifact store; `said` is
    what the operator says about the ledger. `observer` gets an event for each transaction. `adopt` maps owner ids to
    those that get their things.
    """
    path = path.resolve()
    check_place(path)
    lock = take_lock(path)
    try:
        connection = connect(path)
        try:
            time = clock.ledger_time(connection, lock)
            check_clock(time)
            keep_before_migration(connection, path, now)
            migrate(connection, now)
            _fill_open(connection)
            if keep_results is not None and time.newest is not None and time.newest > now:
                clock.bring_back(connection, lock, now, keep_results)
            _adopt(connection, adopt or {}, now)
            begun = begin(connection, path, now, read_far, said)
            at_start = _read_start(connection, lock)
        finally:
            connection.close()
        return SqlStore(SqliteDatabase(path, lock, begun, at_start, observer))
    except apsw.Error as error:
        lock.close()
        reason = explain(error)
        raise ConfigurationError(
            f"database.url: cannot use {path}: {error}"
            if reason is None
            else f"database.url: {path}: {reason} ({error})"
        ) from error
    except BaseException:
        lock.close()
        raise


def _fill_open(connection: apsw.Connection) -> None:
    with transaction(connection):
        drive(fill_open(SqliteTransaction(connection)))


def _adopt(connection: apsw.Connection, owners: Mapping[str, str], now: datetime) -> None:
    if not owners:
        return
    with transaction(connection):
        connection.execute("pragma defer_foreign_keys = on")
        drive(adopt_owners(SqliteTransaction(connection), owners, now, partial(migration_progress, connection)))


def _read_start(connection: apsw.Connection, lock: IO[bytes]) -> Start:
    newest = clock.ledger_time(connection, lock).newest
    with transaction(connection):
        return drive(read_start(SqliteTransaction(connection), newest))
