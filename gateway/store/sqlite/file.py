"""The file of an SQLite ledger: where it may be, its lock, how it is opened, and its schema."""

import contextlib
import fcntl
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import apsw

from gateway.domain.errors import ConfigurationError
from gateway.store import migrations
from gateway.store.mounts import MOUNTS, NETWORK, file_system
from gateway.store.sqlite.progress import migration_progress
from gateway.store.sqlite.transaction import transaction

# The write-ahead log is cut to this size when SQLite starts it from the beginning again. SQLite does so at about 4 MB,
# unless a read of an older state is under way.
LOG_BYTES = 16 * 2**20
_SQLITE_MIN = (3, 51, 3)  # in older versions a reset of the write-ahead log can corrupt the file


def check_place(path: Path, mounts: Path = MOUNTS) -> None:
    """Raise `ConfigurationError` where SQLite could corrupt the file: an old version of it, a network file system.

    `mounts` is the list of mounted file systems, as Linux has it.
    """
    version = tuple(int(part) for part in apsw.sqlite_lib_version().split(".")[:3])
    if version < _SQLITE_MIN:
        needed = ".".join(map(str, _SQLITE_MIN))
        raise ConfigurationError(
            f"database.url: SQLite {apsw.sqlite_lib_version()} is too old; at least {needed} is needed"
        )
    if not os.path.isdir(path.parent):  # noqa: PTH112  # `Path.is_dir` raises if a folder above cannot be entered
        raise ConfigurationError(f"database.url: the folder {path.parent} does not exist or cannot be reached")
    if not os.access(path.parent, os.W_OK):
        raise ConfigurationError(f"database.url: the folder {path.parent} cannot be written to")
    kind = file_system(path, mounts)
    if kind in NETWORK:
        raise ConfigurationError(f"database.url: {path} is on a network file system ({kind}); SQLite needs a local one")


def take_lock(path: Path) -> IO[bytes]:
    """Take an exclusive lock on a file beside the ledger. It ends when the returned file is closed or the process dies.

    Raises `ConfigurationError` if another process has it: two gateways on one file would buy everything twice.
    """
    lock_path = path.with_name(path.name + "-lock")
    try:
        lock = os.fdopen(os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+b", buffering=0)
    except OSError as error:
        raise ConfigurationError(f"database.url: cannot open {lock_path}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise ConfigurationError(
            f"database.url: another process uses {path}; only one gateway at a time may run on an SQLite file"
        ) from error
    return lock


def keep_time(lock: IO[bytes], now: datetime) -> None:
    """Write the current time into the lock's file."""
    with contextlib.suppress(OSError):  # on a full disk the next start finds an older moment, which is good enough
        os.pwrite(lock.fileno(), f"{now.timestamp():.3f}\n".encode(), 0)


def kept_time(lock: IO[bytes]) -> datetime | None:
    """The moment that `keep_time` wrote last, in this process or an earlier one; None if it never did."""
    match = re.match(rb"(\d{1,11}\.\d{3})\n", os.pread(lock.fileno(), 32, 0))
    return None if match is None else datetime.fromtimestamp(float(match[1]), UTC)


def connect(path: Path) -> apsw.Connection:
    """Open a connection whose commits are on the disk when they return. Raises `ConfigurationError` or `apsw.Error`."""
    connection = apsw.Connection(str(path))
    try:
        connection.set_busy_timeout(5000)
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")
        connection.execute("pragma foreign_keys = on")
        connection.execute("pragma cache_size = -16384")
        connection.execute(f"pragma journal_size_limit = {LOG_BYTES}")
        mode = connection.execute("pragma journal_mode").get
        read_only = connection.readonly("main")
    except BaseException:
        connection.close()
        raise
    if read_only:  # SQLite would complain at the first write only, when the gateway has already taken a request
        connection.close()
        raise ConfigurationError(f"database.url: the file {path} cannot be written to")
    if mode != "wal":
        connection.close()
        raise ConfigurationError(
            f"database.url: {path} cannot use a write-ahead log (its journal mode is {mode}); put it on a local disk"
        )
    return connection


def migrate(connection: apsw.Connection, now: datetime) -> None:
    """Apply the missing migrations in one transaction: a start that is killed in between leaves the ledger as it was.

    A migration of a long history takes a while. The log says how far it is, so that nobody takes the start for hung.
    Raises `ConfigurationError` if the schema is newer than this program or an applied migration was changed.
    """
    with transaction(connection):
        connection.execute(
            "create table if not exists schema_migrations"
            " (number integer primary key, name text not null, checksum text not null, applied_at real not null) strict"
        )
        applied = dict(connection.execute("select number, checksum from schema_migrations"))
        missing = migrations.pending(migrations.load("sqlite"), applied)
        for migration in missing:
            with migration_progress(connection, migration.name):
                connection.execute(migration.sql)
            connection.execute(
                "insert into schema_migrations values (?, ?, ?, ?)",
                (migration.number, migration.name, migration.checksum, now.timestamp()),
            )
