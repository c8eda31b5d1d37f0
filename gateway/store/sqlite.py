"""The ledger in one SQLite file: WAL, `synchronous=FULL`, one writer thread, reads on their own connection."""

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
from gateway.store.base import Event, Idempotency, Page, Query, StoredFile, check_moves, is_cursor
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
from gateway.store.sqlite_file import check_place, connect, migrate, take_lock
from gateway.store.writer import Writer

_OPEN = "('queued', 'in_progress')"
# Open, or ended while a submit was under way: what becomes of it is still to be known.
_UNENDED = (
    f"(status in {_OPEN} or exists"
    " (select 1 from attempts where generation_id = generations.id and state = 'submitting'))"
)
_IDEMPOTENCY_LIFE = timedelta(hours=24)
_LEASE_FOREVER = 253402300799.0  # one process under an exclusive lock: its lease does not run out


class SqliteStore:
    """Implements `Store`. `open` is the way in; one process at a time."""

    def __init__(self, path: Path, lock: IO[bytes]) -> None:
        self._path = path
        self._lock = lock
        self._reader = connect(path)
        self._writer = Writer(connect(path))

    @classmethod
    def open(cls, path: Path, now: datetime) -> "SqliteStore":
        """Lock the file, bring the schema up to date; `ConfigurationError` says why not."""
        path = path.resolve()
        check_place(path)
        lock = take_lock(path)
        try:
            connection = connect(path)
            try:
                migrate(connection, now)
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
        attempts = [(generation.id, *attempt_values(attempt)) for attempt in generation.attempts]
        created = generation.created_at.timestamp()

        def work(connection: apsw.Connection) -> str:
            if idempotency is not None:
                known = _known_idempotency(connection, generation.key, idempotency, generation.created_at)
                if known is not None:
                    return known
            connection.execute(_INSERT_GENERATION, row)
            connection.executemany(_INSERT_OUTPUT, outputs)
            if attempts:
                connection.executemany(_INSERT_ATTEMPT, attempts)
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

    async def recall(self, key: str, idempotency: Idempotency, now: datetime) -> Generation | None:
        known = await self._writer.run(lambda connection: _known_idempotency(connection, key, idempotency, now))
        return None if known is None else await self.get(known)

    async def get(self, generation_id: str, key: str | None = None) -> Generation | None:
        rows = self._all(f"{_SELECT} where id = ?", (generation_id,))
        if not rows or (key is not None and rows[0][1] != key):
            return None
        return _whole(rows[0])

    async def page(self, query: Query) -> Page:
        if not all(is_cursor(cursor) for cursor in (query.after, query.before) if cursor is not None):
            return Page((), has_more=False)
        where, values = _conditions(query)
        ascending = (query.order == "asc") != (query.before is not None)
        direction = "asc" if ascending else "desc"
        sql = f"{_SELECT} where {where} order by id {direction} limit ?"
        rows = self._all(sql, (*values, query.limit + 1))
        has_more = len(rows) > query.limit
        rows = rows[: query.limit]
        if query.before is not None:
            rows.reverse()
        return Page(tuple(map(_whole, rows)), has_more)

    async def delete(self, generation_id: str, key: str) -> bool:
        sql = f"delete from generations where id = ? and key = ? and not {_UNENDED}"
        return await self._writer.run(lambda connection: _changed(connection, sql, (generation_id, key)) == 1)

    async def open_ids(self) -> list[str]:
        submitting = "select generation_id from attempts where state = 'submitting'"
        rows = self._all(f"select id from generations where status in {_OPEN} union {submitting} order by id", ())
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
            "update generations set fence = fence + 1, version = version + 1, lease_until = ?"
            f" where id = ? and {_UNENDED}"
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
        check_moves(writes)

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

    def _all(self, sql: str, values: tuple[Any, ...]) -> list[Row]:
        try:
            return list(self._reader.execute(sql, values))
        except apsw.Error as error:
            raise StoreUnavailable("The store cannot be read now.", retry_after=5) from error


def _whole(row: Row) -> Generation:
    return generation_of(row, _rows.decode(row[-2]), _rows.decode(row[-1]))


def _marks(columns: str) -> str:
    return ", ".join("?" * len(columns.split(",")))


# One statement reads all of a generation: several would let a commit come between them.
_SELECT = (
    f"select {GENERATION},"
    f" (select json_group_array(json_array({OUTPUT}) order by number) from outputs where generation_id = g.id),"
    f" (select json_group_array(json_array({ATTEMPT}) order by number) from attempts where generation_id = g.id)"
    " from generations as g"
)
_rows = msgspec.json.Decoder(list[list[Any]])
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
            sql, values = _INSERT_ATTEMPT, (generation_id, *attempt_values(attempt))
        case SaveOutput(output=output, new=True):
            sql, values = _INSERT_OUTPUT, (generation_id, *output_values(output))
        case SaveAttempt(attempt=attempt, was=was):
            sql, values = _UPDATE_ATTEMPT, (*attempt_values(attempt), attempt.id, generation_id, was.value)
        case SaveOutput(output=output):
            sql, values = _UPDATE_OUTPUT, (*output_values(output), generation_id, output.index)
        case SaveStatus():
            changed = (write.status.value, write.progress, write.provider, write.provider_model)
            ended = (to_json(write.failure), seconds(write.completed_at))
            sql, values = _UPDATE_STATUS, (*changed, *ended, generation_id, write.was.value)
    try:
        done = _changed(connection, sql, values) == 1
    except apsw.ConstraintError:  # it exists already
        done = False
    if not done:
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


def _known_idempotency(connection: apsw.Connection, key: str, idempotency: Idempotency, now: datetime) -> str | None:
    """The generation that this key already stands for; a key past its life is forgotten."""
    row = connection.execute(
        "select digest, generation_id, i.created_at, status from idempotency_keys as i"
        " join generations as g on g.id = i.generation_id where i.key = ? and idempotency_key = ?",
        (key, idempotency.key),
    ).fetchone()
    if row is None:
        return None
    digest, generation_id, created_at, status = row
    expired = created_at < (now - _IDEMPOTENCY_LIFE).timestamp()
    if expired and status not in {"queued", "in_progress"}:
        connection.execute("delete from idempotency_keys where key = ? and idempotency_key = ?", (key, idempotency.key))
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
        _LEASE_FOREVER,
    )


def _file_values(file: StoredFile) -> tuple[Any, ...]:
    return file.id, file.key, file.sha256, to_json(file.facts), seconds(file.created_at)


def _moment(value: float) -> datetime:
    found = moment(value)
    assert found is not None  # noqa: S101  # narrows the type: the column is `not null`
    return found
