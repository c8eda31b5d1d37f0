"""The ledger in an SQL database: what it is asked for, as statements and jobs."""

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import datetime, timedelta
from functools import partial, reduce
from typing import Any

from gateway.domain.adapter.upstream_answer import UpstreamAnswer
from gateway.domain.clients import CreateLimits
from gateway.domain.errors import Overloaded
from gateway.domain.generation.model import Generation, Task
from gateway.domain.generation.transitions import SaveStatus, Write, apply
from gateway.domain.health.route_health import Completion
from gateway.domain.money.budgets import Budget, BudgetExceeded, Exceeded
from gateway.store.artifacts import ArchivedFiles
from gateway.store.clients import ClientRows
from gateway.store.files import FileLimits, Library
from gateway.store.holds import Holds
from gateway.store.lineage import LedgerLineage
from gateway.store.money import Money
from gateway.store.port import (
    AttemptCursor,
    Event,
    Idempotency,
    Page,
    Permission,
    Query,
    StoredFile,
    SubmitPlace,
    check_moves,
    is_cursor,
)
from gateway.store.purchases import Purchases
from gateway.store.replicas import Replicas
from gateway.store.request_rates import RequestRates
from gateway.store.retention import Retention
from gateway.store.signals import Signals
from gateway.store.sql import attempts, restored, task_claims, webhooks
from gateway.store.sql import idempotency as repeats
from gateway.store.sql.accounting import following
from gateway.store.sql.artifacts import SqlArchivedFiles
from gateway.store.sql.calls import Calls
from gateway.store.sql.clients import SqlClients
from gateway.store.sql.columns import to_json
from gateway.store.sql.creates import create
from gateway.store.sql.database import Database, Transaction
from gateway.store.sql.files import SqlLibrary
from gateway.store.sql.generations import carry_out
from gateway.store.sql.holds import IS_HELD, SqlHolds
from gateway.store.sql.money import SqlMoney
from gateway.store.sql.purchases import SqlPurchases
from gateway.store.sql.replies import accept_expected
from gateway.store.sql.retention import SqlRetention, remove
from gateway.store.sql.rows import FILE, OPEN, SELECT, event_of, generation_of
from gateway.store.sql.search import Search
from gateway.store.sql.task_claims import SqlTaskClaims
from gateway.store.sql.uploads import SqlUploads
from gateway.store.sql.usage import SqlUsage
from gateway.store.sql.webhooks import SqlWebhooks
from gateway.store.start import Start
from gateway.store.task_claims import TaskClaims
from gateway.store.uploads import Uploads
from gateway.store.usage import Usage
from gateway.store.webhooks import WebhookRows

DEADLINE_MAX = timedelta(hours=24)  # the longest deadline of a generation, counted from its creation
# True for a generation, as `g`, that may not be deleted: it is open, or it ended while a submit was under way whose
# outcome, and so whose cost, is not known yet.
_UNENDED = f"(status in {OPEN} or exists (select 1 from attempts where generation_id = g.id and state = 'submitting'))"
# True for a generation that a process may take over. After its end too it is driven while a task may still deliver a
# file or show its cost, and while a file has no copy here.
_DRIVEN = (
    f"(status in {OPEN} or exists (select 1 from attempts where generation_id = generations.id"
    " and state in ('submitting', 'accepted', 'abandoned'))"
    " or exists (select 1 from outputs where generation_id = generations.id and artifact is not null and kept is null))"
)
OPEN_IDS = (
    f"select id from generations where status in {OPEN}"
    " union select generation_id from attempts where state in ('submitting', 'accepted')"
    " union select generation_id from attempts as a join generations as g on g.id = a.generation_id"
    " where state = 'abandoned' and ended_at > ? and status in ('completed', 'failed') and deadline_at > ?"
    " union select generation_id from outputs indexed by outputs_to_keep"
    " where unkept_until is not null and unkept_until > ? order by 1"
)
_TAKE_OVER = (
    "update generations set fence = fence + 1, version = version + 1, lease_until = ?"
    f" where id in (select value from json_each(?)) and {_DRIVEN} returning id"
)
_TAKEN_OVER = f"{SELECT} where id in (select value from json_each(?))"
# Places come last: an attempt whose submit has begun would wait for the place that it has itself, and one that gets no
# place is listed among those that wait.
_PERMISSION = (
    f"select case when {IS_HELD} then 'held' when g.fence <> ? or g.status not in {OPEN} or restored_at is not null"
    " or a.state <> 'reserved' then 'overtaken' when {has_place} then 'granted' else 'full' end"
    " from attempts as a join generations as g on g.id = a.generation_id where a.id = ?"
)
# PostgreSQL changes nothing if this process counts as dead.
_BEGIN_SUBMIT = (
    f"update attempts set state = 'submitting', sent_at = ? where id = ? and ({_PERMISSION}) = 'granted'"
    " returning generation_id"
)
_NEW_VERSION = "update generations set version = version + 1 where id = ?"
_RAISE_VERSION = (
    "update generations set version = version + 1 where id = ? and fence = ? and version = ? returning version"
)
_EVENTS = "select seq, generation_id, type, data, at from events where generation_id = ? and seq > ? order by seq"
_OF_IDS = f"{SELECT} where id in (select value from json_each(?))"
_OPERATORS = ""  # the name of operators among the clients of long reads
_PIECE = 25  # generations that are read at once for a page: about 2 milliseconds of the event loop
_FILE = f"select {FILE} from files where key = ? and id = ?"
_NAMED_BLOBS = "select value from json_each(?) where exists (select 1 from files where sha256 = value)"


def open_since(now: datetime) -> tuple[float, float, float]:
    """The values of `OPEN_IDS`."""
    return (now - DEADLINE_MAX).timestamp(), now.timestamp(), now.timestamp()


class SqlStore:
    """Implements `Store`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reader, self._writer = reader, writer = database.reader, database.writer
        self.lineage: LedgerLineage = database.lineage
        self.at_start: Start = database.at_start
        self.signals: Signals = database.signals
        self.archived_files: ArchivedFiles = SqlArchivedFiles(reader, writer)
        self.task_claims: TaskClaims = SqlTaskClaims(reader, writer)
        self.library: Library = SqlLibrary(reader, writer)
        self.uploads: Uploads = SqlUploads(reader, writer)
        self.purchases: Purchases = SqlPurchases(reader, writer)
        self.holds: Holds = SqlHolds(reader, writer)
        self.usage: Usage = SqlUsage(reader, writer)
        self.money: Money = SqlMoney(reader, writer)
        self.retention: Retention = SqlRetention(reader, writer)
        self.clients: ClientRows = SqlClients(reader, writer)
        self._webhooks = SqlWebhooks(reader, writer)
        self.webhooks: WebhookRows = self._webhooks
        self.replicas: Replicas | None = database.replicas
        self.request_rates: RequestRates | None = database.request_rates
        self._counts = database.shared_counts

    async def held_after_restore(self) -> int:
        return int((await self._reader.all(restored.COUNT_HELD))[0][0])

    async def restored_page(self, limit: int, after: str | None = None) -> list[Generation]:
        rows = await self._reader.all(restored.HELD_IDS, (after or "", limit))
        return await self._generations([row[0] for row in rows])

    def keep_time(self, now: datetime) -> None:
        self._database.keep_time(now)

    async def close(self) -> None:
        await self._database.close()

    @property
    def waiting_writes(self) -> int:
        return self._writer.waiting

    def log_bytes(self) -> int:
        return self._database.log_bytes()

    async def ping(self) -> None:
        await self._database.ping()

    async def create(
        self,
        generation: Generation,
        files: Sequence[StoredFile] = (),
        idempotency: Idempotency | None = None,
        named: Sequence[str] = (),
        limits: FileLimits | None = None,
        *,
        client_limits: CreateLimits | None = None,
        budgets: Sequence[Budget] = (),
        open_max: int | None = None,
    ) -> Generation:
        work = partial(
            create,
            generation=generation,
            files=files,
            idempotency=idempotency,
            named=named,
            limits=limits,
            client_limits=client_limits,
            budgets=budgets,
            open_max=open_max,
            counts=self._counts,
            processes=self._database.processes,
            is_shared=self.replicas is not None,
        )
        stored = await self._writer.run(work, yields=True)
        if isinstance(stored, Exceeded):
            raise BudgetExceeded(stored, generation.created_at)
        if isinstance(stored, Overloaded):
            raise stored
        if idempotency is None or stored == generation.id:
            return generation
        return await self._replayed(stored, idempotency)

    async def recall(self, key: str, idempotency: Idempotency, now: datetime) -> Generation | None:
        async def work(transaction: Transaction) -> str | None:
            if idempotency.waits:
                calls = Calls(transaction, self._database.processes, key, now)
                taken = await calls.take((idempotency.digest, *idempotency.others))
                if taken is not None:
                    return taken
            return await repeats.earlier(transaction, key, idempotency, now)

        earlier = await self._writer.run(work, yields=True)
        return None if earlier is None else await self._replayed(earlier, idempotency)

    async def end_call(self, generation: Generation, digest: bytes, now: datetime, *, answered: bool) -> None:
        def work(transaction: Transaction) -> Coroutine[None, None, None]:
            calls = Calls(transaction, self._database.processes, generation.owner, now)
            return calls.end(digest, generation.id, answered=answered)

        await self._writer.run(work)

    async def _replayed(self, generation_id: str, idempotency: Idempotency) -> Generation:
        generation = await self.get(generation_id)
        if generation is None:
            raise repeats.deleted(idempotency)
        return generation

    async def get(self, generation_id: str, key: str | None = None) -> Generation | None:
        rows = await self._reader.all(f"{SELECT} where id = ?", (generation_id,))
        generation = generation_of(rows[0]) if rows else None
        return None if generation is None or (key is not None and generation.owner != key) else generation

    async def revision(self, generation_id: str) -> tuple[int, int] | None:
        rows = await self._reader.all("select fence, version from generations where id = ?", (generation_id,))
        return (rows[0][0], rows[0][1]) if rows else None

    async def page(self, query: Query) -> Page:
        if not all(is_cursor(cursor) for cursor in (query.after, query.before) if cursor is not None):
            return Page((), has_more=False)
        search = Search(query)
        statement = search.statement()
        client = _OPERATORS if query.key is None else query.key
        rows = await self._reader.all(*statement) if search.is_short else await self._reader.long(client, *statement)
        match = search.result(*rows[0])
        return Page(tuple(await self._generations(match.ids)), match.has_more)

    async def _generations(self, ids: Sequence[str]) -> list[Generation]:
        """The generations of these ids in their order, without those that were deleted meanwhile."""
        generations: dict[str, Generation] = {}
        for start in range(0, len(ids), _PIECE):
            if start:
                await asyncio.sleep(0)  # let other requests run
            for row in await self._reader.all(_OF_IDS, (to_json(ids[start : start + _PIECE]),)):
                generation = generation_of(row)
                generations[generation.id] = generation
        return [generations[id_] for id_ in ids if id_ in generations]

    async def delete(self, generation_id: str, key: str, now: datetime) -> bool:
        deletable = f"{SELECT} where id = ? and key = ? and not {_UNENDED}"

        async def work(transaction: Transaction) -> bool:
            row = await transaction.first(deletable, (generation_id, key))
            if row is None:
                return False
            await remove(transaction, generation_of(row), now)
            return True

        return await self._writer.run(work)

    async def open_ids(self, now: datetime) -> list[str]:
        return [row[0] for row in await self._reader.all(OPEN_IDS, open_since(now))]

    async def unfollowed(self, providers: Sequence[str]) -> list[tuple[str, str]]:
        return [(row[0], row[1]) for row in await self._reader.all(attempts.UNFOLLOWED, (to_json(list(providers)),))]

    async def completions(self, newest: int) -> list[Completion]:
        return [attempts.completion_of(row) for row in await self._reader.all(attempts.completions(newest))]

    async def unknown_attempts(
        self, limit: int, after: AttemptCursor | None = None, *, open_only: bool = False
    ) -> list[tuple[Generation, str]]:
        statement = attempts.unknown(limit, after, open_only=open_only)
        rows = await self._reader.long(_OPERATORS, *statement)
        ids = dict.fromkeys(generation_id for _, generation_id in rows)
        generations = {generation.id: generation for generation in await self._generations(list(ids))}
        return [(generations[owner], attempt) for attempt, owner in rows if owner in generations]

    async def events(self, generation_id: str, after: int = 0, limit: int | None = None) -> list[Event]:
        values: tuple[Any, ...] = (generation_id, after)
        sql, values = (_EVENTS, values) if limit is None else (f"{_EVENTS} limit ?", (*values, limit))
        return [event_of(row) for row in await self._reader.all(sql, values)]

    async def files(self, ids: Sequence[str], key: str) -> dict[str, StoredFile]:
        return {file_id: FILE.of(row) for file_id in ids for row in await self._reader.all(_FILE, (key, file_id))}

    async def named_blobs(self, digests: Sequence[str]) -> set[str]:
        return {row[0] for row in await self._reader.all(_NAMED_BLOBS, (to_json(digests),))}

    async def forget(self, now: datetime, limit: int) -> int:
        if not await self._reader.all(repeats.FORGETTABLE, repeats.past_lives(now)):
            return 0  # without the lock on the file and without a write
        return await self._writer.run(lambda transaction: repeats.forget(transaction, now, limit))

    async def take_over(self, ids: Sequence[str], lease_until: datetime) -> list[Generation]:
        values = (lease_until.timestamp(), to_json(ids))
        taken = await self._writer.run(lambda transaction: transaction.all(_TAKE_OVER, values))
        ids = [row[0] for row in taken]
        return [generation_of(row) for row in await self._reader.all(_TAKEN_OVER, (to_json(ids),))]

    async def begin_submit(
        self, attempt_id: str, fence: int, now: datetime, place: SubmitPlace | None = None
    ) -> Permission:
        has_place, of_place = "1 = 1", tuple[Any, ...]()
        if self._counts is not None and place is not None:
            has_place, of_place = self._counts.has_place, (place.provider, place.places)
        begin, permission = (sql.format(has_place=has_place) for sql in (_BEGIN_SUBMIT, _PERMISSION))
        values = (fence, *of_place, attempt_id)

        async def work(transaction: Transaction) -> Permission:
            generation_id = await transaction.value(begin, (now.timestamp(), attempt_id, *values))
            if generation_id is None:
                refusal = await transaction.value(permission, values)
                return Permission.OVERTAKEN if refusal in {None, Permission.GRANTED} else Permission(refusal)
            event = attempts.event_of_move(generation_id, attempt_id, "submitting", now)
            await transaction.all_of([event, (_NEW_VERSION, (generation_id,))])
            return Permission.GRANTED

        return await self._writer.purchase(work, Permission.without_marker)

    async def accept(
        self, attempt_id: str, tasks: Sequence[Task], now: datetime, upstream: UpstreamAnswer | None = None
    ) -> int | None:
        dropped: task_claims.Dropped = {}
        work = partial(
            task_claims.accept, attempt_id=attempt_id, tasks=tasks, now=now, upstream=upstream, dropped=dropped
        )
        version = await self._writer.run(work)
        task_claims.log_dropped(dropped)
        return version

    async def accept_expected(self, before: Generation, writes: Sequence[Write], now: datetime) -> int | None:
        check_moves(writes)
        work = partial(accept_expected, before=before, writes=writes, now=now)
        return await self._writer.run(work)

    async def write(self, generation: Generation, writes: Sequence[Write], now: datetime) -> int | None:
        end = next((write.status for write in writes if isinstance(write, SaveStatus) and write.status.terminal), None)
        dropped: task_claims.Dropped = {}
        check_moves(writes)

        async def work(transaction: Transaction) -> tuple[int | None, bool]:
            guard = (generation.id, generation.fence, generation.version)
            version: int | None = await transaction.value(_RAISE_VERSION, guard)
            if version is None or await task_claims.adopt_remembered(transaction, writes, now, dropped):
                return None, False
            counted = await following(transaction, generation, reduce(apply, writes, generation))
            await carry_out(transaction, generation.id, writes, now, counted)
            return version, end is not None and await webhooks.add(transaction, generation, end, now)

        version, has_deliveries = await self._writer.run(work)
        task_claims.log_dropped(dropped)
        if has_deliveries:
            self._webhooks.wake()
        return version
