"""Tasks that no reply has named, in the SQLite ledger."""

from collections.abc import Sequence
from datetime import datetime

import apsw
import msgspec
from msgspec import Struct

from gateway.domain.adopting import TASKS_MAX, TOLD_MAX, with_tasks
from gateway.domain.generation import AttemptState, Task
from gateway.domain.ledger import SaveAttempt, Write
from gateway.domain.task import TaskRef
from gateway.store.callbacks import Teller, Told
from gateway.store.reader import Reader
from gateway.store.rows import Row, to_json
from gateway.store.sqlite_attempts import moved
from gateway.store.writer import Writer

_ATTEMPT = (
    "select id, generation_id, state, adopted, slots, tasks,"
    " (select count(*) from outputs as o where o.generation_id = a.generation_id),"
    " (select json_group_array(json(ref) order by at, task_id) from callbacks where attempt_id = a.id)"
    " from attempts as a where id = ?"
)
_REMEMBER = "insert into callbacks (attempt_id, task_id, ref, at) values (?, ?, ?, ?)"
_FORGET = "delete from callbacks where attempt_id = ?"
_ACCEPT = (
    "update attempts set state = 'accepted', adopted = ?, tasks = ?, accepted_at = ?, ended_at = null, failure = null,"
    " billed = null where id = ? and state in ('submitting', 'unknown')"
)
_ADD = "update attempts set tasks = ? where id = ? and state in ('accepted', 'abandoned')"
_CHANGED = "update generations set version = version + 1 where id = ?"
_UNANSWERED = (AttemptState.SUBMITTING, AttemptState.UNKNOWN)
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
    outputs: int  # of its generation
    remembered: tuple[TaskRef, ...]

    @property
    def known(self) -> set[str]:
        return {task.ref.id for task in self.tasks} | {ref.id for ref in self.remembered}

    @property
    def room(self) -> int:
        match self.state:
            case AttemptState.SUBMITTING:
                return TOLD_MAX - len(self.remembered)
            case AttemptState.UNKNOWN:
                return TASKS_MAX
            case AttemptState.ACCEPTED | AttemptState.ABANDONED if self.adopted is not None:
                return TASKS_MAX - len(self.tasks)
            case _:
                return 0


def adopt_remembered(connection: apsw.Connection, writes: Sequence[Write], now: datetime) -> bool:
    """Give attempts that are to become unknown the tasks that callbacks have told of; whether there were any."""
    found = False
    for write in writes:
        if isinstance(write, SaveAttempt) and (write.was, write.attempt.state) == _UNANSWERED:
            attempt = _attempt_of(connection.execute(_ATTEMPT, (write.attempt.id,)).fetchall())
            if attempt is not None and attempt.remembered:
                _adopt(connection, attempt, attempt.remembered, now, "callback")
                connection.execute(_FORGET, (attempt.id,))
                found = True
    return found


def _adopt(
    connection: apsw.Connection, attempt: _Attempt, refs: Sequence[TaskRef], now: datetime, teller: Teller
) -> None:
    tasks = to_json(with_tasks(attempt.slots, attempt.tasks, refs, attempt.outputs))
    if attempt.adopted is None:
        connection.execute(_ACCEPT, (teller, tasks, now.timestamp(), attempt.id))
        moved(connection, attempt.generation_id, attempt.id, AttemptState.ACCEPTED, now)
    else:
        connection.execute(_ADD, (tasks, attempt.id))
        connection.execute(_CHANGED, (attempt.generation_id,))


def _attempt_of(rows: Sequence[Row]) -> _Attempt | None:
    if not rows:
        return None
    name, owner, state, adopted, slots, tasks, outputs, refs = rows[0]
    return _Attempt(
        name, owner, state, adopted, _slots.decode(slots), _tasks.decode(tasks), outputs, _refs.decode(refs)
    )


class SqliteCallbacks:
    """Implements `Callbacks`."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self._reader = reader
        self._writer = writer

    async def room(self, attempt_id: str) -> int:
        attempt = _attempt_of(self._reader.all(_ATTEMPT, (attempt_id,)))
        return 0 if attempt is None else attempt.room

    async def tell(self, attempt_id: str, refs: Sequence[TaskRef], now: datetime, teller: Teller) -> Told:
        def work(connection: apsw.Connection) -> Told:
            attempt = _attempt_of(connection.execute(_ATTEMPT, (attempt_id,)).fetchall())
            if attempt is None:
                return Told.REFUSED
            known = attempt.known
            fresh = [ref for ref in refs if ref.id not in known]
            under_way = attempt.state == AttemptState.SUBMITTING
            if len(fresh) > attempt.room:
                return Told.REFUSED
            if fresh and under_way:
                rows = [(attempt_id, ref.id, to_json(ref), now.timestamp()) for ref in fresh]
                connection.executemany(_REMEMBER, rows)
            elif fresh:
                _adopt(connection, attempt, fresh, now, teller)
            return Told.REMEMBERED if under_way else Told.ADOPTED

        return await self._writer.run(work)
