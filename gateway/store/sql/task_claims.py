"""The stored side of task claims: which attempt has which task, and the ids that were reported before a reply came.

The rules are in `domain/generation/reconciliation.py`. The statements here read, write, and guard against a change in
between. The table `tasks` has one row for each task of a provider, so that no two attempts can have the same one.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec
import structlog

from gateway.domain.adapter.task import TaskRef
from gateway.domain.adapter.upstream_answer import UpstreamAnswer
from gateway.domain.errors import Conflict
from gateway.domain.generation.model import AttemptState, Task
from gateway.domain.generation.reconciliation import (
    AttemptTasks,
    Claimed,
    Reporter,
    after_reply,
    after_report,
    free_task_slots,
    is_unanswered,
    left_out,
    new_refs,
    waits_for_reply,
)
from gateway.domain.generation.transitions import SaveAttempt, Write
from gateway.store.sql.accounting import follow
from gateway.store.sql.attempts import event_of_move
from gateway.store.sql.columns import to_json
from gateway.store.sql.database import Reader, Row, Transaction, Writer
from gateway.store.sql.rows import OPEN, read
from gateway.store.task_claims import ClaimResult

log = structlog.get_logger()
Dropped = dict[str, list[str]]  # by attempt, the reported task ids that it did not get

_ATTEMPT = (
    "select id, generation_id, state, adopted, slots, tasks,"
    " (select json_extract(plan, '$.routes[' || a.route || '].provider') from generations where id = a.generation_id),"
    " (select count(*) from outputs as o where o.generation_id = a.generation_id),"
    " (select json_group_array(json(ref) order by at, task_id) from callbacks where attempt_id = a.id),"
    f" (select status in {OPEN} from generations where id = a.generation_id)"
    " from attempts as a where id = ?"
)
_REMEMBER = "insert into callbacks (attempt_id, task_id, ref, at) values (?, ?, ?, ?)"
_FORGET = "delete from callbacks where attempt_id = ?"
_ACCEPT = (
    "update attempts set state = 'accepted', adopted = ?, tasks = ?, accepted_at = ?, ended_at = null, failure = null,"
    " billed = null, upstream = coalesce(?, upstream) where id = ? and state = ?"
)
CLAIM_TASKS = (
    "insert into tasks (provider, task_id, attempt_id)"
    " select json_extract(plan, '$.routes[' || route || '].provider'), json_extract(value, '$.ref.id'), a.id"
    " from attempts as a join generations as g on g.id = generation_id, json_each(tasks) where a.id = ?"
    " on conflict do nothing"
)
_OTHER_HOLDERS = (
    "select task_id, attempt_id from tasks"
    " where provider = ? and task_id in (select value from json_each(?)) and attempt_id <> ?"
)
_ADD_TASKS = "update attempts set tasks = ? where id = ? and state = ?"
_RAISE_VERSION = "update generations set version = version + 1 where id = ?"
_slots = msgspec.json.Decoder(tuple[int, ...])
_tasks = msgspec.json.Decoder(tuple[Task, ...])
_refs = msgspec.json.Decoder(tuple[TaskRef, ...])


async def accept(
    transaction: Transaction,
    attempt_id: str,
    *,
    tasks: Sequence[Task],
    now: datetime,
    upstream: UpstreamAnswer | None,
    dropped: Dropped,
) -> int | None:
    """See `Store.accept`. Fills `dropped` with the remembered task ids that the attempt does not get."""
    dropped.clear()  # the transaction may be carried out a second time
    attempt = await _read(transaction, attempt_id)
    if attempt is None or attempt.state is AttemptState.RESERVED:
        return None
    if not is_unanswered(attempt):  # a callback was faster than the reply, or this is the same commit once more
        added = await _without_others(transaction, attempt, new_refs(attempt, [task.ref for task in tasks]))
        if added:
            await _save(transaction, attempt, after_report(attempt, added, None), now)
        version: int = await transaction.value("select version from generations where id = ?", (attempt.generation_id,))
        return version
    named = {task.ref.id for task in tasks}
    remembered = [ref for ref in attempt.remembered if ref.id not in named]
    claimed = after_reply(attempt, tasks, await _without_others(transaction, attempt, remembered))
    await _forget(transaction, attempt, claimed.tasks, dropped)
    return await _save_accepted(transaction, attempt, claimed, now, upstream=upstream)


async def adopt_remembered(transaction: Transaction, writes: Iterable[Write], now: datetime, dropped: Dropped) -> bool:
    """Give each attempt whose submit ended without a task the tasks that callbacks have reported for it.

    `writes` are the changes about to be stored. True if an attempt got a task: then the caller must not store them,
    because they record that no task exists.
    """
    dropped.clear()
    has_adopted = False
    for write in writes:
        if not isinstance(write, SaveAttempt) or write.was is not AttemptState.SUBMITTING:
            continue
        attempt = await _read(transaction, write.attempt.id)
        if attempt is None or not attempt.remembered:
            continue
        refs = await _without_others(transaction, attempt, attempt.remembered)
        if refs:
            has_adopted = True
            claimed = after_report(attempt, refs, "callback")
            await _save(transaction, attempt, claimed, now)
        await _forget(transaction, attempt, claimed.tasks if refs else (), dropped)
    return has_adopted


def log_dropped(dropped: Dropped) -> None:
    """Log the reported task ids that no attempt got: such a task may have been paid for."""
    for attempt_id, task_ids in dropped.items():
        log.warning("callback_dropped", attempt=attempt_id, tasks=task_ids)


async def _without_others(transaction: Transaction, attempt: AttemptTasks, refs: Sequence[TaskRef]) -> list[TaskRef]:
    """The tasks that no other attempt has."""
    taken = await _other_holders(transaction, attempt, refs)
    return [ref for ref in refs if ref.id not in taken]


async def _other_holders(transaction: Transaction, attempt: AttemptTasks, refs: Sequence[TaskRef]) -> dict[str, str]:
    """The tasks among these that another attempt has, as task id → id of that attempt."""
    if not refs:
        return {}
    values = (attempt.provider, to_json([ref.id for ref in refs]), attempt.attempt_id)
    rows = await transaction.all(_OTHER_HOLDERS, values)
    return {row[0]: row[1] for row in rows}


async def _forget(transaction: Transaction, attempt: AttemptTasks, tasks: Sequence[Task], dropped: Dropped) -> None:
    """Delete what was remembered for the attempt; the ids that are not among its `tasks` go to `dropped`."""
    if attempt.remembered:
        await transaction.run(_FORGET, (attempt.attempt_id,))
        if left := left_out(attempt, tasks):
            dropped[attempt.attempt_id] = left


async def _save(transaction: Transaction, attempt: AttemptTasks, claimed: Claimed, now: datetime) -> None:
    if claimed.state is not attempt.state:
        await _save_accepted(transaction, attempt, claimed, now)
        return
    before = await read(transaction, attempt.generation_id)
    await transaction.run(_ADD_TASKS, (to_json(claimed.tasks), attempt.attempt_id, attempt.state))
    await transaction.run(CLAIM_TASKS, (attempt.attempt_id,))
    await transaction.run(_RAISE_VERSION, (attempt.generation_id,))
    await follow(transaction, before, await read(transaction, attempt.generation_id))


async def _save_accepted(
    transaction: Transaction,
    attempt: AttemptTasks,
    claimed: Claimed,
    now: datetime,
    *,
    upstream: UpstreamAnswer | None = None,
) -> int:
    """Store that the attempt is accepted, and return the new version of its generation."""
    # The usual reply is left out, because the whole generation would have to be read: see `accounting.following`.
    before = None if _is_usual(attempt, claimed) else await read(transaction, attempt.generation_id)
    values = (claimed.adopted, to_json(claimed.tasks), now.timestamp(), to_json(upstream))
    await transaction.all_of(
        [
            (_ACCEPT, (*values, attempt.attempt_id, attempt.state)),
            event_of_move(attempt.generation_id, attempt.attempt_id, claimed.state, now),
        ]
    )
    await transaction.run(CLAIM_TASKS, (attempt.attempt_id,))
    version: int = await transaction.value(f"{_RAISE_VERSION} returning version", (attempt.generation_id,))
    if before is not None:
        await follow(transaction, before, await read(transaction, attempt.generation_id))
    return version


def _is_usual(attempt: AttemptTasks, claimed: Claimed) -> bool:
    """Whether a reply named one running task for each output of a submit that an open generation waits for."""
    return (
        attempt.is_open
        and attempt.state is AttemptState.SUBMITTING
        and len(claimed.tasks) == len(attempt.slots)
        and not any(task.status.terminal for task in claimed.tasks)
    )


async def _read(transaction: Transaction, attempt_id: str) -> AttemptTasks | None:
    return _attempt_of(await transaction.all(_ATTEMPT, (attempt_id,)))


def _attempt_of(rows: Sequence[Row]) -> AttemptTasks | None:
    if not rows:
        return None
    attempt_id, generation_id, state, adopted, slots, tasks, provider, outputs, refs, is_open = rows[0]
    return AttemptTasks(
        attempt_id=attempt_id,
        generation_id=generation_id,
        provider=provider,
        state=AttemptState(state),
        adopted=adopted,
        slots=_slots.decode(slots),
        tasks=_tasks.decode(tasks),
        outputs=outputs,
        remembered=_refs.decode(refs),
        is_open=bool(is_open),
    )


class SqlTaskClaims:
    """Implements `TaskClaims`."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self._reader = reader
        self._writer = writer

    async def free_slots(self, attempt_id: str) -> int:
        attempt = _attempt_of(await self._reader.all(_ATTEMPT, (attempt_id,)))
        return 0 if attempt is None else free_task_slots(attempt)

    async def claim(self, attempt_id: str, refs: Sequence[TaskRef], now: datetime, reporter: Reporter) -> ClaimResult:
        async def work(transaction: Transaction) -> ClaimResult:
            attempt = await _read(transaction, attempt_id)
            if attempt is None:
                return ClaimResult.REFUSED
            added = new_refs(attempt, refs)
            if len(added) > free_task_slots(attempt):
                return ClaimResult.REFUSED
            for task_id, holder in (await _other_holders(transaction, attempt, added)).items():
                raise Conflict(f"The task {task_id!r} already belongs to the attempt {holder}.", param="task_id")
            if waits_for_reply(attempt):
                rows = [(attempt_id, ref.id, to_json(ref), now.timestamp()) for ref in added]
                await transaction.many(_REMEMBER, rows)
                return ClaimResult.REMEMBERED
            if added:
                await _save(transaction, attempt, after_report(attempt, added, reporter), now)
            return ClaimResult.ADOPTED

        return await self._writer.run(work)
