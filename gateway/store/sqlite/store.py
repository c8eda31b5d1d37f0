"""The ledger in one SQLite file: WAL, `synchronous=FULL`, one writer thread, reads on their own connection."""

from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import IO, Any

import apsw
import msgspec

from gateway.domain.adapter.upstream_answer import UpstreamAnswer
from gateway.domain.errors import ConfigurationError, InvalidImage, StoreUnavailable
from gateway.domain.generation.model import Generation, Task
from gateway.domain.generation.purchases import purchases_of
from gateway.domain.generation.transitions import (
    AddAttempt,
    IllegalMove,
    SaveAttempt,
    SaveKept,
    SaveOutput,
    SavePicture,
    SaveStatus,
    Write,
    event_of,
)
from gateway.domain.health.route_health import Completion
from gateway.domain.ledger_clock import LedgerTime
from gateway.domain.routing.plan import param_of
from gateway.failpoints import reach
from gateway.store.artifacts import Results
from gateway.store.files import Library
from gateway.store.port import AttemptCursor, Event, Idempotency, Page, Query, StoredFile, check_moves, is_cursor
from gateway.store.purchases import Purchases
from gateway.store.sqlite import artifacts as sqlite_artifacts
from gateway.store.sqlite import attempts as attempt_reads
from gateway.store.sqlite import clock as sqlite_clock
from gateway.store.sqlite import files as sqlite_files
from gateway.store.sqlite import idempotency as repeats
from gateway.store.sqlite import pages as sqlite_pages
from gateway.store.sqlite import purchases as sqlite_purchases
from gateway.store.sqlite import task_claims as sqlite_task_claims
from gateway.store.sqlite import webhooks as sqlite_webhooks
from gateway.store.sqlite.artifacts import SqliteResults
from gateway.store.sqlite.errors import told
from gateway.store.sqlite.file import check_place, connect, keep_time, migrate, take_lock
from gateway.store.sqlite.files import SqliteLibrary
from gateway.store.sqlite.purchases import SqlitePurchases
from gateway.store.sqlite.reader import Reader
from gateway.store.sqlite.rows import (
    ATTEMPT,
    FILE,
    GENERATION,
    GENERATION_WRITTEN,
    OUTPUT,
    OUTPUT_WRITTEN,
    Row,
    attempt_values,
    event_from,
    file_of,
    file_values,
    generation_of,
    generation_values,
    output_values,
    seconds,
    to_json,
)
from gateway.store.sqlite.task_claims import SqliteCallbacks
from gateway.store.sqlite.uploads import SqliteUploads
from gateway.store.sqlite.webhooks import SqliteWebhooks
from gateway.store.sqlite.writer import Writer
from gateway.store.task_claims import Callbacks
from gateway.store.uploads import Uploads
from gateway.store.webhooks import Webhooks

_OPEN = "('queued', 'in_progress')"
# Open, or ended while a submit was under way: what becomes of it is still to be known.
_UNENDED = (  # in a select of whole generations, as `g`
    f"(status in {_OPEN} or exists (select 1 from attempts where generation_id = g.id and state = 'submitting'))"
)
# Behind its end too a generation has a driver while a task of it may tell what it cost, or made.
_DRIVEN = (
    f"(status in {_OPEN} or exists (select 1 from attempts where generation_id = generations.id"
    " and state in ('submitting', 'accepted', 'abandoned'))"
    " or exists (select 1 from outputs where generation_id = generations.id and artifact is not null and kept is null))"
)
_OPEN_IDS = (
    f"select id from generations where status in {_OPEN}"
    " union select generation_id from attempts where state in ('submitting', 'accepted')"
    " union select generation_id from attempts as a join generations as g on g.id = a.generation_id"
    " where state = 'abandoned' and ended_at > ? and status in ('completed', 'failed') and deadline_at > ?"
    " union select generation_id from outputs indexed by outputs_to_keep where unkept_until > ? order by 1"
)
DEADLINE_MAX = timedelta(hours=24)  # of a generation, from its creation
_LEASE_FOREVER = 253402300799.0  # one process under an exclusive lock: its lease does not run out


class SqliteStore:
    """Implements `Store`. `open` is the way in; one process at a time."""

    def __init__(self, path: Path, lock: IO[bytes]) -> None:
        self._path = path
        self._lock = lock
        self._writer = Writer(connect(path), path)
        self._read = Reader(connect(path), self._writer)
        self.results: Results = SqliteResults(self._read, self._writer)
        self.callbacks: Callbacks = SqliteCallbacks(self._read, self._writer)
        self.library: Library = SqliteLibrary(self._read, self._writer)
        self.uploads: Uploads = SqliteUploads(self._read, self._writer)
        self.purchases: Purchases = SqlitePurchases(self._read, self._writer)
        self._webhooks = SqliteWebhooks(self._read, self._writer)
        self.webhooks: Webhooks = self._webhooks

    @classmethod
    def open(
        cls,
        path: Path,
        now: datetime,
        *,
        check_clock: Callable[[LedgerTime], None] = lambda _: None,
        keep_results: timedelta | None = None,
    ) -> "SqliteStore":
        """Lock the file, bring the schema up to date; `ConfigurationError` says why not.

        `check_clock` may raise one before anything is written. With `keep_results`, which is how long they are kept,
        moments after `now` become `now`: without it they are left alone.
        """
        path = path.resolve()
        check_place(path)
        lock = take_lock(path)
        try:
            connection = connect(path)
            try:
                time = sqlite_clock.ledger_time(connection, lock)
                check_clock(time)
                migrate(connection, now)
                if keep_results is not None and time.newest is not None and time.newest > now:
                    sqlite_clock.bring_back(connection, lock, now, keep_results)
            finally:
                connection.close()
            return cls(path, lock)
        except apsw.Error as error:
            lock.close()
            why = told(error)
            raise ConfigurationError(
                f"database.url: cannot use {path}: {error}" if why is None else f"database.url: {path}: {why} ({error})"
            ) from error
        except BaseException:
            lock.close()
            raise

    def secret(self, name: str) -> bytes:
        """32 random bytes, the same at every start; made when they are first asked for."""
        with closing(connect(self._path)) as connection:
            return sqlite_artifacts.secret(connection, name)

    def newest_moment(self) -> datetime | None:
        """The latest moment that the ledger, or a process on it, has seen."""
        with closing(connect(self._path)) as connection:
            return sqlite_clock.ledger_time(connection, self._lock).newest

    def keep_time(self, now: datetime) -> None:
        """Let the next start know that it was this late: a ledger in which nothing changes does not tell."""
        keep_time(self._lock, now)

    async def close(self) -> None:
        await self._writer.close()
        self._read.close()
        self._lock.close()

    async def ping(self) -> None:
        if self._writer.damage is not None:
            raise StoreUnavailable(reason=f"database.url: {self._writer.damage}")
        await self._writer.run(lambda connection: connection.execute("update schema_migrations set number = number"))

    async def create(
        self,
        generation: Generation,
        files: Sequence[StoredFile] = (),
        idempotency: Idempotency | None = None,
        named: Sequence[str] = (),
    ) -> Generation:
        row = generation_values(generation, _LEASE_FOREVER, None if idempotency is None else idempotency.digest)
        outputs = [(generation.id, *output_values(output)) for output in generation.outputs]
        attempts = [(generation.id, *attempt_values(attempt)) for attempt in generation.attempts]
        created = generation.created_at.timestamp()

        def work(connection: apsw.Connection) -> str:
            if idempotency is not None:
                known = repeats.known(connection, generation.key, idempotency, generation.created_at)
                if known is not None:
                    return known
            connection.execute(_INSERT_GENERATION, row)
            connection.executemany(_INSERT_OUTPUT, outputs)
            if attempts:
                connection.executemany(_INSERT_ATTEMPT, attempts)
                connection.executemany(sqlite_task_claims.HOLD, [(one.id,) for one in generation.attempts])
            connection.execute(_INSERT_EVENT, (generation.id, "generation.queued", "{}", created))
            for file in files:
                connection.execute(sqlite_files.INSERT_INLINE, file_values(file))
            for name in [*(file.id for file in files), *named]:
                if not _changed(connection, sqlite_files.USE, (generation.id, generation.key, name, created)):
                    raise InvalidImage(f"There is no file {name!r}.", param=param_of(generation.request, name))
            if idempotency is not None and idempotency.key is not None:
                repeats.keep_key(connection, generation, idempotency.key, idempotency.digest)
            reach("create_before_commit")
            return generation.id

        stored = await self._writer.run(work, yields=True)
        if idempotency is None or stored == generation.id:
            return generation
        return await self._replayed(stored, idempotency)

    async def recall(self, key: str, idempotency: Idempotency, now: datetime) -> Generation | None:
        known = await self._writer.run(lambda connection: repeats.known(connection, key, idempotency, now))
        return None if known is None else await self._replayed(known, idempotency)

    async def _replayed(self, generation_id: str, idempotency: Idempotency) -> Generation:
        found = await self.get(generation_id)
        if found is None:
            raise repeats.deleted(idempotency)
        return found

    async def get(self, generation_id: str, key: str | None = None) -> Generation | None:
        rows = self._read.all(f"{_SELECT} where id = ?", (generation_id,))
        if not rows or (key is not None and rows[0][1] != key):
            return None
        return _whole(rows[0])

    async def page(self, query: Query) -> Page:
        if not all(is_cursor(cursor) for cursor in (query.after, query.before) if cursor is not None):
            return Page((), has_more=False)
        rows = self._read.all(*sqlite_pages.statement(_SELECT, query))
        has_more = len(rows) > query.limit
        rows = rows[: query.limit]
        if query.before is not None:
            rows.reverse()
        return Page(tuple(map(_whole, rows)), has_more)

    async def delete(self, generation_id: str, key: str, now: datetime) -> bool:
        may_go = f"{_SELECT} where id = ? and key = ? and not {_UNENDED}"

        def work(connection: apsw.Connection) -> bool:
            row = connection.execute(may_go, (generation_id, key)).fetchone()
            if row is None:
                return False
            sqlite_purchases.add(connection, purchases_of(_whole(row), now))
            used = connection.execute(sqlite_files.USES, (generation_id,)).fetchall()
            repeats.keep_deleted(connection, generation_id)
            connection.execute(sqlite_artifacts.END, (generation_id,))
            connection.execute("delete from generations where id = ?", (generation_id,))
            connection.executemany(sqlite_files.DELETE_UNUSED, used)
            return True

        return await self._writer.run(work)

    async def open_ids(self, now: datetime) -> list[str]:
        given_up_since = (now - DEADLINE_MAX).timestamp()
        return [row[0] for row in self._read.all(_OPEN_IDS, (given_up_since, now.timestamp(), now.timestamp()))]

    async def unfollowed(self, providers: Sequence[str]) -> list[tuple[str, str]]:
        return [(row[0], row[1]) for row in self._read.all(attempt_reads.UNFOLLOWED, (to_json(list(providers)),))]

    async def completions(self, newest: int) -> list[Completion]:
        return [attempt_reads.completion_of(row) for row in self._read.all(attempt_reads.COMPLETIONS, (newest,))]

    async def unknown_attempts(
        self, limit: int, after: AttemptCursor | None = None, *, open_only: bool = False
    ) -> list[tuple[Generation, str]]:
        found = self._read.all(*attempt_reads.unknown(_SELECT, limit, after, open_only=open_only))
        return [(_whole(row[1:]), row[0]) for row in found]

    async def events(self, generation_id: str, after: int = 0) -> list[Event]:
        sql = "select seq, generation_id, type, data, at from events where generation_id = ? and seq > ? order by seq"
        return [event_from(row) for row in self._read.all(sql, (generation_id, after))]

    async def files(self, ids: Sequence[str], key: str) -> dict[str, StoredFile]:
        sql = f"select {FILE} from files where key = ? and id = ?"
        return {name: file_of(row) for name in ids for row in self._read.all(sql, (key, name))}

    async def named_blobs(self, digests: Sequence[str]) -> set[str]:
        sql = "select value from json_each(?) where exists (select 1 from files where sha256 = value)"
        return {row[0] for row in self._read.all(sql, (to_json(digests),))}

    async def forget(self, now: datetime, limit: int) -> int:
        if not self._read.all(repeats.FORGETTABLE, repeats.past_lives(now)):
            return 0  # without the lock on the file and without a write
        return await self._writer.run(lambda connection: repeats.forget(connection, now, limit))

    async def take_over(self, generation_id: str, lease_until: datetime) -> Generation | None:
        sql = (
            "update generations set fence = fence + 1, version = version + 1, lease_until = ?"
            f" where id = ? and {_DRIVEN}"
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
            return None if row is None else attempt_reads.moved(connection, row, attempt_id, "submitting", now)

        return await self._writer.run(work)

    async def accept(
        self, attempt_id: str, tasks: Sequence[Task], now: datetime, upstream: UpstreamAnswer | None = None
    ) -> int | None:
        dropped: sqlite_task_claims.Dropped = {}
        work = partial(
            sqlite_task_claims.accept, attempt_id=attempt_id, tasks=tasks, now=now, upstream=upstream, dropped=dropped
        )
        version = await self._writer.run(work)
        sqlite_task_claims.log_dropped(dropped)
        return version

    async def write(self, generation: Generation, writes: Sequence[Write], now: datetime) -> int | None:
        at = now.timestamp()
        end = next((one.status for one in writes if isinstance(one, SaveStatus) and one.status.terminal), None)
        dropped: sqlite_task_claims.Dropped = {}
        check_moves(writes)

        def work(connection: apsw.Connection) -> tuple[int | None, bool]:
            version: int | None = connection.execute(
                "update generations set version = version + 1 where id = ? and fence = ? and version = ?"
                " returning version",
                (generation.id, generation.fence, generation.version),
            ).get
            if version is None or sqlite_task_claims.adopt_remembered(connection, writes, now, dropped):
                return None, False
            for write in writes:
                _carry_out(connection, generation.id, write)
                event = event_of(write)
                if event is not None:
                    connection.execute(_INSERT_EVENT, (generation.id, event[0], to_json(event[1]), at))
            return version, end is not None and sqlite_webhooks.add(connection, generation, end, now)

        version, is_told = await self._writer.run(work)
        sqlite_task_claims.log_dropped(dropped)
        if is_told:
            self._webhooks.wake()
        return version


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
_INSERT_GENERATION = f"insert into generations ({GENERATION_WRITTEN}) values ({_marks(GENERATION_WRITTEN)})"
_INSERT_OUTPUT = f"insert into outputs (generation_id, {OUTPUT_WRITTEN}) values (?, {_marks(OUTPUT_WRITTEN)})"
_INSERT_ATTEMPT = f"insert into attempts (generation_id, {ATTEMPT}) values (?, {_marks(ATTEMPT)})"
_INSERT_EVENT = "insert into events (generation_id, type, data, at) values (?, ?, ?, ?)"
_UPDATE_ATTEMPT = (
    f"update attempts set {', '.join(f'{name.strip()} = ?' for name in ATTEMPT.split(','))}"
    " where id = ? and generation_id = ? and state = ?"
)
_UPDATE_OUTPUT = (
    f"update outputs set {', '.join(f'{name.strip()} = ?' for name in OUTPUT_WRITTEN.split(','))}"
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
        case SaveKept() | SavePicture():
            sql, values = sqlite_artifacts.kept_so(connection, generation_id, write)
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


def _changed(connection: apsw.Connection, sql: str, values: Sequence[Any]) -> int:
    connection.execute(sql, values)
    return connection.changes()
