"""Looks at the database file for `check`.

Can it be opened, what is its newest time, which generations cannot be followed?
"""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import apsw
from msgspec import Struct

from gateway.domain.errors import ConfigurationError
from gateway.domain.ledger_clock import LedgerTime
from gateway.settings.load import DatabaseSettings
from gateway.store import migrations
from gateway.store.clients import Adopted
from gateway.store.opening import NO_DRIVER
from gateway.store.sql.attempts import UNFOLLOWED
from gateway.store.sql.clients import adopted
from gateway.store.sql.columns import to_json
from gateway.store.sqlite.backup import is_in_use
from gateway.store.sqlite.clock import ledger_time
from gateway.store.sqlite.file import check_place, kept_time
from gateway.store.sqlite.jobs import SqliteTransaction, drive
from gateway.store.sqlite.lineage import refuse_moved


class LedgerFile(Struct, frozen=True, kw_only=True):
    """What `check` shows of a database file."""

    state: str
    time: LedgerTime = LedgerTime(newest=None, has_open=False)
    # Providers without a key, each with an open generation that it works on.
    unfollowed: tuple[tuple[str, str], ...] = ()
    adopted: tuple[Adopted, ...] = ()


def inspect_server(database: DatabaseSettings, providers: Sequence[str]) -> LedgerFile:
    """Look at a database of PostgreSQL; see `inspect_ledger`."""
    try:
        from gateway.store.postgres.inspect import inspect_postgres  # noqa: PLC0415  # most gateways do without
        from gateway.store.postgres.server import Server  # noqa: PLC0415  # most gateways do without
    except ModuleNotFoundError as error:
        raise ConfigurationError(NO_DRIVER.format(name=error.name)) from None
    seen = inspect_postgres(Server(database.url, database.password), providers)
    if not seen.schema:
        return LedgerFile(state="the first start will make the schema")
    state = f"schema {seen.schema}" + (f", {seen.to_come} migration(s) to come" if seen.to_come else "")
    if seen.is_newer:
        state += ", made by a newer version, which this one can work with"
    return LedgerFile(state=state, time=seen.time, unfollowed=seen.unfollowed, adopted=seen.adopted)


def inspect_ledger(path: Path, providers: Sequence[str]) -> LedgerFile:
    """Look at a database file without creating any file and without disturbing a gateway that runs on it.

    Raises `ConfigurationError` if the file cannot be used. `providers` are the names of those that have a key.
    """
    check_place(path)
    lock_path = path.with_name(path.name + "-lock")
    if not path.exists():
        return LedgerFile(state="will be made at the first start", time=_time_beside(lock_path))
    running = _is_locked(path)
    # If no process has it open, a connection that may not write could not remove SQLite's side files again.
    flags = apsw.SQLITE_OPEN_READONLY if running else apsw.SQLITE_OPEN_READWRITE
    try:
        connection = apsw.Connection(str(path), flags=flags)
        try:
            connection.set_busy_timeout(2000)
            has_schema = "select count(*) from sqlite_schema where name = 'schema_migrations'"
            applied: dict[int, str] = {}
            if connection.execute(has_schema).get:
                applied = dict(connection.execute("select number, checksum from schema_migrations"))
            to_come = migrations.pending(migrations.load("sqlite"), applied)
            if not to_come:
                refuse_moved(connection, path)
            owners = [] if to_come else drive(adopted(SqliteTransaction(connection)))
            rows = [] if to_come else connection.execute(UNFOLLOWED, (to_json(list(providers)),)).fetchall()
            with lock_path.open("rb") if lock_path.exists() else nullcontext() as lock:
                time = ledger_time(connection, lock)
        finally:
            connection.close()
    except apsw.Error as error:
        raise ConfigurationError(f"database.url: cannot use {path}: {error}") from error
    state = f"schema {max(applied, default=0)}" + (f", {len(to_come)} migration(s) to come" if to_come else "")
    state += ", a gateway is running on it" if running else ", can be opened"
    unfollowed = tuple((str(provider), str(generation)) for provider, generation in rows)
    return LedgerFile(state=state, time=time, unfollowed=unfollowed, adopted=tuple(owners))


def _time_beside(lock_path: Path) -> LedgerTime:
    """The time that a gateway wrote into the lock file; used if the ledger itself is missing."""
    if not lock_path.exists():
        return LedgerTime(newest=None, has_open=False)
    with lock_path.open("rb") as lock:
        return LedgerTime(newest=kept_time(lock), has_open=False)


def _is_locked(path: Path) -> bool:
    try:
        return is_in_use(path)
    except OSError as error:
        raise ConfigurationError(f"database.url: cannot open {path}-lock: {error.strerror}") from error
