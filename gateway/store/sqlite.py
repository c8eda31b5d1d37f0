"""The ledger in one SQLite file: WAL, `synchronous=FULL`, one writer thread, reads on their own connection."""

import fcntl
import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any

import apsw
import msgspec

from gateway.domain.errors import ConfigurationError, IdempotencyKeyReused, StoreUnavailable
from gateway.domain.generation import Generation, Task
from gateway.domain.ledger import AddAttempt, IllegalMove, SaveAttempt, SaveOutput, SaveStatus, Write, event_of
from gateway.domain.routing import ImageFacts
from gateway.store import migrations
from gateway.store.base import Event, Idempotency, Page, Query, StoredFile
from gateway.store.rows import (
    ATTEMPT,
    GENERATION,
    OUTPUT,
    Row,
    attempt_values,
    generation_of,
    moment,
    output_values,
    seconds,
    to_json,
)
from gateway.store.writer import Writer

_SQLITE_MIN = (3, 51, 3)  # before it, a WAL reset can corrupt the file
_OPEN = "('queued', 'in_progress')"
_IDEMPOTENCY_LIFE = timedelta(hours=24)
_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "afs", "ceph", "fuse.glusterfs", "lustre"})
_lease_forever = 253402300799.0  # one process under an exclusive lock: its lease does not run out


class SqliteStore:
    """Implements `Store`. `open` is the way in; one process at a time."""

    def __init__(self, path: Path, lock: IO[bytes]) -> None:
        self._path = path
        self._lock = lock
        self._writer = Writer(lambda: _connect(path))
        self._reader = _connect(path)

    @classmethod
    def open(cls, path: Path, now: datetime) -> "SqliteStore":
        """Lock the file, bring the schema up to date; `ConfigurationError` says why not."""
        path = path.resolve()
        _check_place(path)
        lock = _take_lock(path)
        try:
            connection = _connect(path)
            try:
                _migrate(connection, now)
            finally:
                connection.close()
            return cls(path, lock)
        except apsw.Error as error:
            lock.close()
            raise ConfigurationError(f"database.url: cannot use {path}: {error}") from error
        except BaseException:
            lock.close()
            raise

    async def close(self) -> None:
        await self._writer.close()
        self._reader.close()
        self._lock.close()

    async def ping(self) -> None:
        await self._writer.run(lambda connection: connection.execute("update schema_migrations set number = number"))

    async def create(
        self, generation: Generation, files: Sequence[StoredFile] = (), idempotency: Idempotency | None = None
    ) -> Generation:
        row = _generation_values(generation)
        outputs = [(generation.id, *output_values(output)) for output in generation.outputs]
        created = generation.created_at.timestamp()

        def work(connection: apsw.Connection) -> str:
            if idempotency is not None:
                known = _known_idempotency(connection, generation, idempotency)
                if known is not None:
                    return known
            connection.execute(_INSERT_GENERATION, row)
            connection.executemany(_INSERT_OUTPUT, outputs)
            connection.execute(_INSERT_EVENT, (generation.id, "generation.queued", "{}", created))
            for file in files:
                connection.execute(_INSERT_FILE, _file_values(file))
            if idempotency is not None:
                values = (generation.key, idempotency.key, idempotency.digest, generation.id, created)
                connection.execute(_INSERT_IDEMPOTENCY, values)
            return generation.id

        stored = await self._writer.run(work)
        if stored == generation.id:
            return generation
        known = await self.get(stored)
        if known is None:
            raise StoreUnavailable("The first answer to this idempotency key is being deleted.", retry_after=1)
        return known

    async def get(self, generation_id: str, key: str | None = None) -> Generation | None:
        row = self._one(f"select {GENERATION} from generations where id = ?", (generation_id,))
        if row is None or (key is not None and row[1] != key):
            return None
        return self._whole(row)

    async def page(self, query: Query) -> Page:
        where, values = _conditions(query)
        ascending = (query.order == "asc") != (query.before is not None)
        direction = "asc" if ascending else "desc"
        sql = f"select {GENERATION} from generations where {where} order by id {direction} limit ?"
        rows = self._all(sql, (*values, query.limit + 1))
        has_more = len(rows) > query.limit
        rows = rows[: query.limit]
        if query.before is not None:
            rows.reverse()
        return Page(tuple(self._whole(row) for row in rows), has_more)

    async def delete(self, generation_id: str, key: str) -> bool:
        sql = f"delete from generations where id = ? and key = ? and status not in {_OPEN}"
        return await self._writer.run(lambda connection: _changed(connection, sql, (generation_id, key)) == 1)

    async def open_ids(self) -> list[str]:
        rows = self._all(f"select id from generations where status in {_OPEN} order by id", ())
        return [row[0] for row in rows]

    async def events(self, generation_id: str, after: int = 0) -> list[Event]:
        sql = "select seq, type, data, at from events where generation_id = ? and seq > ? order by seq"
        return [
            Event(seq=seq, generation_id=generation_id, type=kind, data=msgspec.json.decode(data), at=_moment(at))
            for seq, kind, data, at in self._all(sql, (generation_id, after))
        ]

    async def files(self, ids: Sequence[str], key: str) -> dict[str, StoredFile]:
        sql = "select id, sha256, facts, created_at from files where key = ? and id = ?"
        rows = [row for name in ids for row in self._all(sql, (key, name))]
        return {
            name: StoredFile(
                id=name,
                key=key,
                sha256=digest,
                facts=msgspec.json.decode(facts, type=ImageFacts),
                created_at=_moment(created_at),
            )
            for name, digest, facts, created_at in rows
        }

    async def take_over(self, generation_id: str, lease_until: datetime) -> Generation | None:
        sql = (
            f"update generations set fence = fence + 1, version = version + 1, lease_until = ?"
            f" where id = ? and status in {_OPEN}"
        )
        values = (lease_until.timestamp(), generation_id)
        taken = await self._writer.run(lambda connection: _changed(connection, sql, values) == 1)
        return await self.get(generation_id) if taken else None

    async def begin_submit(self, attempt_id: str, fence: int, now: datetime) -> int | None:
        def work(connection: apsw.Connection) -> int | None:
            row = connection.execute(
                "update attempts set state = 'submitting', sent_at = ? where id = ? and state = 'reserved'"
                " and exists (select 1 from generations where id = attempts.generation_id and fence = ?"
                f" and status in {_OPEN}) returning generation_id",
                (now.timestamp(), attempt_id, fence),
            ).get
            return None if row is None else _moved(connection, row, attempt_id, "submitting", now)

        return await self._writer.run(work)

    async def accept(self, attempt_id: str, tasks: Sequence[Task], now: datetime) -> int | None:
        def work(connection: apsw.Connection) -> int | None:
            row = connection.execute(
                "update attempts set state = 'accepted', tasks = ?, accepted_at = ?, ended_at = null, failure = null,"
                " billed = null where id = ? and state in ('submitting', 'unknown') returning generation_id",
                (to_json(tuple(tasks)), now.timestamp(), attempt_id),
            ).get
            return None if row is None else _moved(connection, row, attempt_id, "accepted", now)

        return await self._writer.run(work)

    async def write(self, generation: Generation, writes: Sequence[Write], now: datetime) -> int | None:
        at = now.timestamp()

        def work(connection: apsw.Connection) -> int | None:
            version: int | None = connection.execute(
                "update generations set version = version + 1 where id = ? and fence = ? and version = ?"
                " returning version",
                (generation.id, generation.fence, generation.version),
            ).get
            if version is None:
                return None
            for write in writes:
                _carry_out(connection, generation.id, write)
                event = event_of(write)
                if event is not None:
                    connection.execute(_INSERT_EVENT, (generation.id, event[0], to_json(event[1]), at))
            return version

        return await self._writer.run(work)

    def _one(self, sql: str, values: tuple[Any, ...]) -> Row | None:
        rows = self._all(sql, values)
        return rows[0] if rows else None

    def _all(self, sql: str, values: tuple[Any, ...]) -> list[Row]:
        try:
            return list(self._reader.execute(sql, values))
        except apsw.Error as error:
            raise StoreUnavailable("The store cannot be read now.", retry_after=5) from error

    def _whole(self, row: Row) -> Generation:
        outputs = self._all(f"select {OUTPUT} from outputs where generation_id = ? order by number", (row[0],))
        attempts = self._all(f"select {ATTEMPT} from attempts where generation_id = ? order by number", (row[0],))
        return generation_of(row, outputs, attempts)


def _marks(columns: str) -> str:
    return ", ".join("?" * len(columns.split(",")))


_INSERT_COLUMNS = f"{GENERATION}, model, lease_until"
_INSERT_GENERATION = f"insert into generations ({_INSERT_COLUMNS}) values ({_marks(_INSERT_COLUMNS)})"
_INSERT_OUTPUT = f"insert into outputs (generation_id, {OUTPUT}) values (?, {_marks(OUTPUT)})"
_INSERT_ATTEMPT = f"insert into attempts (generation_id, {ATTEMPT}) values (?, {_marks(ATTEMPT)})"
_INSERT_EVENT = "insert into events (generation_id, type, data, at) values (?, ?, ?, ?)"
_INSERT_FILE = (
    "insert into files (id, key, sha256, facts, created_at) values (?, ?, ?, ?, ?) on conflict (key, id) do nothing"
)
_INSERT_IDEMPOTENCY = (
    "insert into idempotency_keys (key, idempotency_key, digest, generation_id, created_at) values (?, ?, ?, ?, ?)"
)
_UPDATE_ATTEMPT = (
    f"update attempts set {', '.join(f'{name.strip()} = ?' for name in ATTEMPT.split(','))}"
    " where id = ? and generation_id = ? and state = ?"
)
_UPDATE_OUTPUT = (
    f"update outputs set {', '.join(f'{name.strip()} = ?' for name in OUTPUT.split(','))}"
    f" where generation_id = ? and number = ? and status in {_OPEN}"
)
_UPDATE_STATUS = (
    "update generations set status = ?, progress = ?, provider = ?, provider_model = ?, failure = ?, completed_at = ?"
    f" where id = ? and status = ? and status in {_OPEN}"
)


def _carry_out(connection: apsw.Connection, generation_id: str, write: Write) -> None:
    match write:
        case AddAttempt(attempt=attempt):
            connection.execute(_INSERT_ATTEMPT, (generation_id, *attempt_values(attempt)))
            return
        case SaveOutput(output=output, new=True):
            connection.execute(_INSERT_OUTPUT, (generation_id, *output_values(output)))
            return
        case SaveAttempt(attempt=attempt, was=was):
            sql, values = _UPDATE_ATTEMPT, (*attempt_values(attempt), attempt.id, generation_id, was.value)
        case SaveOutput(output=output):
            sql, values = _UPDATE_OUTPUT, (*output_values(output), generation_id, output.index)
        case SaveStatus():
            changed = (write.status.value, write.progress, write.provider, write.provider_model)
            ended = (to_json(write.failure), seconds(write.completed_at))
            sql, values = _UPDATE_STATUS, (*changed, *ended, generation_id, write.was.value)
    if _changed(connection, sql, values) != 1:
        raise IllegalMove(f"{generation_id}: the ledger refuses {type(write).__name__}")


def _moved(connection: apsw.Connection, generation_id: str, attempt_id: str, state: str, now: datetime) -> int:
    """Tell of an attempt's move and give the generation's new version."""
    connection.execute(
        _INSERT_EVENT, (generation_id, f"attempt.{state}", to_json({"attempt": attempt_id}), now.timestamp())
    )
    version: int = connection.execute(
        "update generations set version = version + 1 where id = ? returning version", (generation_id,)
    ).get
    return version


def _changed(connection: apsw.Connection, sql: str, values: Sequence[Any]) -> int:
    connection.execute(sql, values)
    return connection.changes()


def _known_idempotency(connection: apsw.Connection, generation: Generation, idempotency: Idempotency) -> str | None:
    """The generation that this key already stands for; a key past its life is forgotten."""
    row = connection.execute(
        "select digest, generation_id, i.created_at, status from idempotency_keys as i"
        " join generations as g on g.id = i.generation_id where i.key = ? and idempotency_key = ?",
        (generation.key, idempotency.key),
    ).fetchone()
    if row is None:
        return None
    digest, generation_id, created_at, status = row
    expired = created_at < (generation.created_at - _IDEMPOTENCY_LIFE).timestamp()
    if expired and status not in {"queued", "in_progress"}:
        connection.execute(
            "delete from idempotency_keys where key = ? and idempotency_key = ?", (generation.key, idempotency.key)
        )
        return None
    if digest != idempotency.digest:
        raise IdempotencyKeyReused(
            "This Idempotency-Key was used with another body. Send the same body, or a new key.",
            param="Idempotency-Key",
        )
    found: str = generation_id
    return found


def _conditions(query: Query) -> tuple[str, list[Any]]:
    where = ["key = ?", "kind = ?"]
    values: list[Any] = [query.key, query.kind]

    def add(condition: str, value: object) -> None:
        if value is not None:
            where.append(condition)
            values.append(value)

    add("status = ?", query.status)
    add("model = ?", query.model)
    add("provider = ?", query.provider)
    add("created_at > ?", seconds(query.created_after))
    add("created_at < ?", seconds(query.created_before))
    add("id > ?" if query.order == "asc" else "id < ?", query.after)
    add("id < ?" if query.order == "asc" else "id > ?", query.before)
    for name, wanted in query.metadata.items():
        where.append("exists (select 1 from json_each(request, '$.metadata') as m where m.key = ? and m.value = ?)")
        values += [name, wanted]
    return " and ".join(where), values


def _generation_values(generation: Generation) -> tuple[Any, ...]:
    return (
        generation.id,
        generation.key,
        generation.kind,
        generation.status.value,
        to_json(generation.request),
        to_json(generation.plan),
        seconds(generation.created_at),
        seconds(generation.deadline_at),
        generation.progress,
        generation.provider,
        generation.provider_model,
        to_json(generation.failure),
        seconds(generation.completed_at),
        generation.fence,
        generation.version,
        generation.request.model,
        _lease_forever,
    )


def _file_values(file: StoredFile) -> tuple[Any, ...]:
    return file.id, file.key, file.sha256, to_json(file.facts), seconds(file.created_at)


def _moment(value: float) -> datetime:
    found = moment(value)
    assert found is not None  # noqa: S101  # narrows the type: the column is `not null`
    return found


def _connect(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(5000)
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = full")
    connection.execute("pragma foreign_keys = on")
    connection.execute("pragma cache_size = -16384")
    return connection


def _migrate(connection: apsw.Connection, now: datetime) -> None:
    connection.execute("begin immediate")
    try:
        connection.execute(
            "create table if not exists schema_migrations"
            " (number integer primary key, name text not null, checksum text not null, applied_at real not null) strict"
        )
        applied = dict(connection.execute("select number, checksum from schema_migrations"))
        for migration in migrations.pending(migrations.load("sqlite"), applied):
            connection.execute(migration.sql)
            connection.execute(
                "insert into schema_migrations values (?, ?, ?, ?)",
                (migration.number, migration.name, migration.checksum, now.timestamp()),
            )
        connection.execute("commit")
    except BaseException:
        if connection.in_transaction:
            connection.execute("rollback")
        raise


def _check_place(path: Path, mounts: Path = Path("/proc/self/mounts")) -> None:
    """Refuse what would corrupt the file: an old SQLite, a network file system."""
    found = tuple(int(part) for part in apsw.sqlite_lib_version().split(".")[:3])
    if found < _SQLITE_MIN:
        wanted = ".".join(map(str, _SQLITE_MIN))
        raise ConfigurationError(f"database.url: SQLite {apsw.sqlite_lib_version()} is too old; {wanted} is needed")
    if not path.parent.is_dir():
        raise ConfigurationError(f"database.url: the folder {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK):
        raise ConfigurationError(f"database.url: the folder {path.parent} cannot be written to")
    kind = _file_system(path, mounts)
    if kind in _NETWORK:
        raise ConfigurationError(f"database.url: {path} is on a network file system ({kind}); SQLite needs a local one")


def _file_system(path: Path, mounts: Path) -> str:
    """The type of the file system that holds the path, `""` where the system does not tell."""
    try:
        lines = [line.split() for line in mounts.read_text().splitlines()]
    except OSError:
        return ""
    over = [(len(fields[1]), fields[2]) for fields in lines if len(fields) > 2 and path.is_relative_to(fields[1])]
    return max(over, default=(0, ""))[1]


def _take_lock(path: Path) -> IO[bytes]:
    """An exclusive lock beside the file, held for the life of the process; the kernel drops it when that dies."""
    lock_path = path.with_name(path.name + "-lock")
    try:
        lock = lock_path.open("ab")
    except OSError as error:
        raise ConfigurationError(f"database.url: cannot open {lock_path}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise ConfigurationError(
            f"database.url: another process uses {path}; one gateway at a time may run on an SQLite file"
        ) from error
    return lock
