"""Copies of a ledger: consistent ones while a gateway works on it, their check, and the list of files that they name.

SQLite's backup API copies the pages as they were when the copy began: in a ledger with a write-ahead log that holds no
writer up. Only the log grows meanwhile by what is written. `VACUUM INTO` would hold none up either, but it rebuilds
every index, which takes several times as long.
"""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import apsw
import msgspec
import structlog
from msgspec import Struct

from gateway.domain.generation.model import ArchivedFile
from gateway.fsync import fsync_path
from gateway.store import migrations

log = structlog.get_logger()
_PAGES = 4096  # copied in one step
_ROOM = 2**24  # bytes that stay free beside a copy before a migration
_archived_file = msgspec.json.Decoder(ArchivedFile)
_TABLES = "select name from sqlite_schema where type = 'table'"
_KEPT = "select generation_id, number, kept from outputs where kept is not null"
_INPUTS = "select distinct sha256, facts ->> '$.bytes' from files order by sha256"


class LedgerFacts(Struct, frozen=True, kw_only=True):
    """What a copy of a ledger is."""

    schema: int  # the number of its newest migration
    lineage: str | None  # None: no version with lineages has opened it
    position: int  # the number of its newest event
    generations: int


class NamedFile(Struct, frozen=True, kw_only=True):
    """A file that the ledger names."""

    kind: str  # `result`, `thumbnail` or `input`
    name: str  # in the artifact store; of an input, its SHA-256
    bytes: int | None = None
    sha256: str | None = None
    generation: str | None = None


def is_in_use(ledger: Path) -> bool:
    """Whether a gateway runs on the ledger. Raises `OSError`."""
    try:
        with ledger.with_name(ledger.name + "-lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def copy_ledger(ledger: Path, copy: Path) -> None:
    """Copy a ledger to a new file, as it is at one moment. The copy is durable, and one file without a log beside it.

    Raises `apsw.Error`, and `FileExistsError`.
    """
    copy.touch(0o600, exist_ok=False)
    # If no process has it open, a connection that may not write could not remove SQLite's side files again.
    flags = apsw.SQLITE_OPEN_READONLY if is_in_use(ledger) else apsw.SQLITE_OPEN_READWRITE
    with closing(apsw.Connection(str(ledger), flags=flags)) as source, closing(apsw.Connection(str(copy))) as target:
        source.set_busy_timeout(5000)
        source.execute("begin")  # an open read keeps the copy at one moment while the gateway writes
        source.execute("select count(*) from sqlite_schema").fetchall()
        with target.backup("main", source, "main") as backup:
            while not backup.done:
                backup.step(_PAGES)
        source.execute("commit")
        target.execute("pragma journal_mode = delete")
    fsync_path(copy)


def facts_of(ledger: Path) -> LedgerFacts:
    """What a copy is, after a check of its integrity. Raises `ValueError` with what is wrong, or `apsw.Error`."""
    with closing(apsw.Connection(str(ledger), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        problems = [str(row[0]) for row in connection.execute("pragma integrity_check(3)")]
        if problems != ["ok"]:
            raise ValueError(f"SQLite's integrity check says: {'; '.join(problems)}")
        if connection.execute("pragma foreign_key_check").fetchall():
            raise ValueError("rows name other rows that do not exist")
        tables = {str(row[0]) for row in connection.execute(_TABLES)}
        if not {"schema_migrations", "generations", "events"} <= tables:
            raise ValueError("it is not a ledger of a gateway")
        lineage = None
        if "lineages" in tables:
            lineage = connection.execute("select id from lineages order by number desc limit 1").get
        return LedgerFacts(
            schema=connection.execute("select max(number) from schema_migrations").get,
            lineage=lineage,
            position=connection.execute("select seq from sqlite_sequence where name = 'events'").get or 0,
            generations=connection.execute("select count(*) from generations").get,
        )


def named_files(ledger: Path) -> Iterator[NamedFile]:
    """The files that a copy names, one after the other: results with their thumbnails, then inputs."""
    with closing(apsw.Connection(str(ledger), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        for generation, _, text in connection.execute(_KEPT):
            file = _archived_file.decode(str(text))
            yield NamedFile(
                kind="result", name=file.name, bytes=file.bytes, sha256=file.sha256, generation=str(generation)
            )
            if file.thumbnail is not None:
                yield NamedFile(kind="thumbnail", name=file.thumbnail, generation=str(generation))
        for digest, size in connection.execute(_INPUTS):
            yield NamedFile(kind="input", name=str(digest), bytes=size, sha256=str(digest))


def keep_before_migration(connection: apsw.Connection, ledger: Path, now: datetime) -> Path | None:
    """Copy a ledger of an earlier schema beside itself, before it is migrated; returns the copy.

    `None` if nothing is to be migrated, or if there is no room for it, which the log says. Raises `apsw.Error`.
    """
    applied = {}
    if connection.execute("select count(*) from sqlite_schema where name = 'schema_migrations'").get:
        applied = dict(connection.execute("select number, checksum from schema_migrations"))
    if not applied or not migrations.pending(migrations.load("sqlite"), applied):
        return None
    schema = max(applied)
    copy = ledger.with_name(f"{ledger.name}.schema-{schema}")
    if copy.exists():  # of an earlier upgrade: what was written since it is not in it
        copy = ledger.with_name(f"{copy.name}-{now:%Y%m%dT%H%M%SZ}")
    log_bytes = ledger.with_name(ledger.name + "-wal")
    needed = ledger.stat().st_size + (log_bytes.stat().st_size if log_bytes.exists() else 0) + _ROOM
    if shutil.disk_usage(ledger.parent).free < needed:
        log.warning("ledger_not_copied", schema=schema, detail=f"{needed:,} bytes must be free to copy it to {copy}")
        return None
    partial = copy.with_name(copy.name + ".partial")
    partial.unlink(missing_ok=True)
    copy_ledger(ledger, partial)
    partial.replace(copy)
    fsync_path(copy.parent)
    log.info("ledger_copied_before_migration", schema=schema, copy=str(copy))
    return copy
