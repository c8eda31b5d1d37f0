"""Tasks that no reply has named, in the SQLite ledger."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import apsw
import msgspec
import structlog
from msgspec import Struct

from gateway.domain.adapter.task import TaskRef
from gateway.domain.adapter.upstream_answer import UpstreamAnswer
from gateway.domain.errors import Conflict
from gateway.domain.generation.model import AttemptState, Task
from gateway.domain.generation.reconciliation import FOLLOWED, TASKS_MAX, TOLD_MAX, with_tasks
from gateway.domain.generation.transitions import SaveAttempt, Write
from gateway.store.sqlite.attempts import moved
from gateway.store.sqlite.reader import Reader
from gateway.store.sqlite.rows import Row, to_json
from gateway.store.sqlite.writer import Writer
from gateway.store.task_claims import Teller, Told

log = structlog.get_logger()
Dropped = dict[str, list[str]]  # by the attempt that was told of them, the tasks that it does not get

_ATTEMPT = (
    "select id, generation_id, state, adopted, slots, tasks,"
    " (select json_extract(plan, '$.routes[' || a.route || '].provider') from generations where id = a.generation_id),"
    " (select count(*) from outputs as o where o.generation_id = a.generation_id),"
    " (select json_group_array(json(ref) order by at, task_id) from callbacks where attempt_id = a.id)"
    " from attempts as a where id = ?"
)
_REMEMBER = "insert into callbacks (attempt_id, task_id, ref, at) values (?, ?, ?, ?)"
_FORGET = "delete from callbacks where attempt_id = ?"
_ACCEPT = (
    "update attempts set state = 'accepted', adopted = ?, tasks = ?, accepted_at = ?, ended_at = null, failure = null,"
    " billed = null, upstream = coalesce(?, upstream) where id = ? and state = ?"
)
HOLD = (
    "insert or ignore into tasks (provider, task_id, attempt_id)"
    " select json_extract(plan, '$.routes[' || route || '].provider'), json_extract(value, '$.ref.id'), a.id"
    " from attempts as a join generations as g on g.id = generation_id, json_each(tasks) where a.id = ?"
)
_HOLDERS = (
    "select task_id, attempt_id from tasks"
    " where provider = ? and task_id in (select value from json_each(?)) and attempt_id <> ?"
)
_ADD = "update attempts set tasks = ? where id = ? and state in ('accepted', 'abandoned')"
_CHANGED = "update generations set version = version + 1 where id = ?"
_UNANSWERED = frozenset({AttemptState.SUBMITTING, AttemptState.UNKNOWN})
_slots = msgspec.json.Decoder(tuple[int, ...])
_tasks = msgspec.json.Decoder(tuple[Task, ...])
_refs = msgspec.json.Decoder(tuple[TaskRef, ...])


class _Attempt(Struct, frozen=True):
    """An attempt, as far as it matters which tasks are its own."""

    id: str
    generation_id: str
    state: str
    adopted: Teller | None  # who told of its tasks, where no reply did
    slots: tuple[int, ...]
    tasks: tuple[Task, ...]
    provider: str
    outputs: int  # of its generation
    remembered: tuple[TaskRef, ...]

    @property
    def known(self) -> set[str]:
        return {task.ref.id for task in self.tasks} | {ref.id for ref in self.remembered}

    @property
    def is_full(self) -> bool:
        return len(self.tasks) >= len(self.slots)

    @property
    def room(self) -> int:
        match self.state:
            case AttemptState.SUBMITTING:
                return TOLD_MAX - len(self.remembered)
            case AttemptState.RESERVED:
                return 0  # nothing was sent, so there can be no task
            case AttemptState.ACCEPTED | AttemptState.COMPLETED if self.adopted is None and self.is_full:
                return 0  # the reply has named a task for every output, and none of them has failed
            case _:
                return TASKS_MAX - len(self.tasks)


def accept(
    connection: apsw.Connection,
    attempt_id: str,
    *,
    tasks: Sequence[Task],
    now: datetime,
    upstream: UpstreamAnswer | None,
    dropped: Dropped,
) -> int | None:
    """See `Store.accept`: the tasks that the reply names, and behind them those that it does not."""
    dropped.clear()  # a work may be carried out again
    attempt = _attempt_of(connection, attempt_id)
    if attempt is None or attempt.state == AttemptState.RESERVED:
        return None
    if attempt.state not in _UNANSWERED:  # a callback was faster than the reply, or this is the same commit once more
        fresh = _own(connection, attempt, [task.ref for task in tasks if task.ref.id not in attempt.known])
        if fresh:
            _adopt(connection, attempt, fresh, now, None)
        version: int = connection.execute("select version from generations where id = ?", (attempt.generation_id,)).get
        return version
    named = {task.ref.id for task in tasks}
    own = _own(connection, attempt, [ref for ref in attempt.remembered if ref.id not in named])
    whole = with_tasks(attempt.slots, tasks, own, attempt.outputs)
    _forget(connection, attempt, whole, dropped)
    return _accepted(connection, attempt, whole, None, now, upstream=upstream)


def adopt_remembered(connection: apsw.Connection, writes: Iterable[Write], now: datetime, dropped: Dropped) -> bool:
    """Give attempts whose submit brought no task those that callbacks have told of; whether there were any."""
    dropped.clear()
    found = False
    for write in writes:
        if not isinstance(write, SaveAttempt) or write.was is not AttemptState.SUBMITTING:
            continue
        attempt = _attempt_of(connection, write.attempt.id)
        if attempt is not None and attempt.remembered:
            own = _own(connection, attempt, attempt.remembered)
            _forget(connection, attempt, _adopt(connection, attempt, own, now, "callback") if own else (), dropped)
            found = found or bool(own)
    return found


def log_dropped(dropped: Dropped) -> None:
    """Leave a trace of tasks that may have been paid for and are nobody's."""
    for attempt_id, task_ids in dropped.items():
        log.warning("callback_dropped", attempt=attempt_id, tasks=task_ids)


def _own(connection: apsw.Connection, attempt: _Attempt, refs: Sequence[TaskRef]) -> list[TaskRef]:
    """Those that no other attempt has."""
    taken = _holders(connection, attempt, refs)
    return [ref for ref in refs if ref.id not in taken]


def _holders(connection: apsw.Connection, attempt: _Attempt, refs: Sequence[TaskRef]) -> dict[str, str]:
    """The tasks among these that another attempt has, each with the attempt."""
    if not refs:
        return {}
    return dict(connection.execute(_HOLDERS, (attempt.provider, to_json([ref.id for ref in refs]), attempt.id)))


def _forget(connection: apsw.Connection, attempt: _Attempt, tasks: Iterable[Task], dropped: Dropped) -> None:
    if attempt.remembered:
        connection.execute(_FORGET, (attempt.id,))
        known = {task.ref.id for task in tasks}
        left = [ref.id for ref in attempt.remembered if ref.id not in known]
        if left:
            dropped[attempt.id] = left


def _adopt(
    connection: apsw.Connection, attempt: _Attempt, refs: Sequence[TaskRef], now: datetime, teller: Teller | None
) -> Sequence[Task]:
    tasks = with_tasks(attempt.slots, attempt.tasks, refs, attempt.outputs)
    if attempt.state in FOLLOWED:
        connection.execute(_ADD, (to_json(tasks), attempt.id))
        connection.execute(HOLD, (attempt.id,))
        connection.execute(_CHANGED, (attempt.generation_id,))
    else:
        _accepted(connection, attempt, tasks, attempt.adopted if attempt.tasks else teller, now)
    return tasks


def _accepted(
    connection: apsw.Connection,
    attempt: _Attempt,
    tasks: Sequence[Task],
    teller: Teller | None,
    now: datetime,
    *,
    upstream: UpstreamAnswer | None = None,
) -> int:
    values = (teller, to_json(tasks), now.timestamp(), to_json(upstream), attempt.id, attempt.state)
    connection.execute(_ACCEPT, values)
    connection.execute(HOLD, (attempt.id,))
    return moved(connection, attempt.generation_id, attempt.id, AttemptState.ACCEPTED, now)


def _attempt_of(connection: apsw.Connection, attempt_id: str) -> _Attempt | None:
    return _attempt_from(connection.execute(_ATTEMPT, (attempt_id,)).fetchall())


def _attempt_from(rows: Sequence[Row]) -> _Attempt | None:
    if not rows:
        return None
    name, owner, state, adopted, slots, tasks, provider, outputs, refs = rows[0]
    return _Attempt(
        name, owner, state, adopted, _slots.decode(slots), _tasks.decode(tasks), provider, outputs, _refs.decode(refs)
    )


class SqliteCallbacks:
    """Implements `Callbacks`."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self._reader = reader
        self._writer = writer

    async def room(self, attempt_id: str) -> int:
        attempt = _attempt_from(self._reader.all(_ATTEMPT, (attempt_id,)))
        return 0 if attempt is None else attempt.room

    async def tell(self, attempt_id: str, refs: Sequence[TaskRef], now: datetime, teller: Teller) -> Told:
        def work(connection: apsw.Connection) -> Told:
            attempt = _attempt_of(connection, attempt_id)
            if attempt is None:
                return Told.REFUSED
            known = attempt.known
            fresh = [ref for ref in refs if ref.id not in known]
            under_way = attempt.state == AttemptState.SUBMITTING
            if len(fresh) > attempt.room:
                return Told.REFUSED
            for task_id, holder in _holders(connection, attempt, fresh).items():
                raise Conflict(f"The task {task_id!r} is that of the attempt {holder} already.", param="task_id")
            if fresh and under_way:
                rows = [(attempt_id, ref.id, to_json(ref), now.timestamp()) for ref in fresh]
                connection.executemany(_REMEMBER, rows)
            elif fresh:
                _adopt(connection, attempt, fresh, now, teller)
            return Told.REMEMBERED if under_way else Told.ADOPTED

        return await self._writer.run(work)
