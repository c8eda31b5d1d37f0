"""Inserts generations into the ledger and carries out the writes of a step.

Every function here runs inside the transaction of its caller.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from itertools import chain
from typing import Any

from gateway.domain.generation.model import Generation, Output
from gateway.domain.generation.transitions import (
    AddAttempt,
    IllegalMove,
    SaveArchivedFile,
    SaveAttempt,
    SaveHold,
    SaveOutput,
    SaveStatus,
    Write,
    event_of,
)
from gateway.store.sql.artifacts import SAVE_FILE, extended_expiry
from gateway.store.sql.columns import assignments, insert, insert_all, seconds, to_json
from gateway.store.sql.database import Change, Transaction
from gateway.store.sql.rows import ATTEMPT, GENERATION, OPEN, OUTPUT, unarchived_until
from gateway.store.sql.task_claims import CLAIM_TASKS

_LEASE_FOREVER = 253402300799.0  # the end of 9999: one process has the file's lock, so its lease need not run out
_INSERT_GENERATION = insert("generations", GENERATION, "model", "lease_until", "digest")
_INSERT_OUTPUT = insert("outputs", "generation_id", OUTPUT, "unkept_until")
_INSERT_ATTEMPT = insert("attempts", "generation_id", ATTEMPT)
# A row with this key may exist already: then nothing is inserted, and `carry_out` sees it.
_ADD_OUTPUT = f"{_INSERT_OUTPUT} on conflict do nothing"
_ADD_ATTEMPT = f"{_INSERT_ATTEMPT} on conflict do nothing"
_INSERT_PAIR = insert("generation_metadata", "key", "kind", "name", "value", "generation_id")
_DELETE_PAIR = (
    "delete from generation_metadata where key = ? and kind = ? and name = ? and value = ? and generation_id = ?"
)
_UPDATE_ATTEMPT = f"update attempts set {assignments(ATTEMPT)} where id = ? and generation_id = ? and state = ?"
_UPDATE_OUTPUT = (
    f"update outputs set {assignments(OUTPUT, 'unkept_until')}"
    f" where generation_id = ? and number = ? and status in {OPEN}"
)
_UPDATE_STATUS = (
    "update generations set status = ?, progress = ?, provider = ?, provider_model = ?, failure = ?, completed_at = ?"
    f" where id = ? and status = ? and status in {OPEN}"
)

_UPDATE_HOLD = f"update generations set restored_at = ? where id = ? and status in {OPEN}"


async def add(
    transaction: Transaction, generation: Generation, digest: bytes | None, with_it: Sequence[Change] = ()
) -> None:
    """Insert a generation with its outputs, its attempts and its first events; `digest` is that of the request.

    `with_it` are changes that are independent of it, and are carried out together with it.
    """
    row = (*GENERATION.values(generation), generation.request.model, _LEASE_FOREVER, digest)
    reserved = [AddAttempt(attempt) for attempt in generation.attempts]
    # In this order a replay of `generation.queued` shows the attempts that the generation had at its create.
    events = [*filter(None, map(event_of, reserved)), ("generation.queued", {})]
    await transaction.all_of(
        [
            (_INSERT_GENERATION, row),
            *((_INSERT_OUTPUT, (generation.id, *_output(output))) for output in generation.outputs),
            *((_INSERT_ATTEMPT, (generation.id, *ATTEMPT.values(attempt))) for attempt in generation.attempts),
            *_events(generation.id, events, generation.created_at),
            *with_it,
        ]
    )
    await transaction.many(_INSERT_PAIR, _pairs(generation))
    for attempt in generation.attempts:
        if attempt.tasks:
            await transaction.run(CLAIM_TASKS, (attempt.id,))


def _events(generation_id: str, events: Sequence[tuple[str, object]], now: datetime) -> list[Change]:
    """The change that appends events in their order, if there are any."""
    rows = [(generation_id, kind, to_json(data), now.timestamp()) for kind, data in events]
    return [(_insert_events(len(rows)), tuple(chain.from_iterable(rows)))] if rows else []


@lru_cache
def _insert_events(count: int) -> str:
    return insert_all(count, "events", "generation_id", "type", "data", "at")


async def remove_metadata(transaction: Transaction, generation: Generation) -> None:
    """Remove a generation that is being deleted from the index of `metadata`."""
    await transaction.many(_DELETE_PAIR, _pairs(generation))


def _pairs(generation: Generation) -> list[tuple[str, ...]]:
    pairs = generation.request.metadata.items()
    return [(generation.owner, generation.kind, name, value, generation.id) for name, value in pairs]


async def carry_out(
    transaction: Transaction,
    generation_id: str,
    writes: Sequence[Write],
    now: datetime,
    with_it: Sequence[Change] = (),
) -> None:
    """Carry out writes in their order and append their events; `IllegalMove` if the stored state forbids one.

    `with_it` are changes that are independent of them, and are carried out together with the last ones.
    """
    events = _events(generation_id, [event for event in map(event_of, writes) if event is not None], now)
    *first, last = _independent(writes)
    for group in first:
        await _carry_out(transaction, generation_id, group, ())
    await _carry_out(transaction, generation_id, last, [*events, *with_it])


def _independent(writes: Sequence[Write]) -> list[list[Write]]:
    """The writes in groups that are carried out one after another; within a group no row is written twice."""
    groups: list[list[Write]] = [[]]
    rows: set[tuple[str, object]] = set()
    for write in writes:
        row = _row(write)
        if row in rows:
            groups.append([])
            rows.clear()
        rows.add(row)
        groups[-1].append(write)
    return groups


def _row(write: Write) -> tuple[str, object]:
    match write:
        case AddAttempt(attempt=attempt) | SaveAttempt(attempt=attempt):
            return "attempts", attempt.id
        case SaveOutput(output=Output(index=index)) | SaveArchivedFile(index=index):
            return "outputs", index
        case SaveHold() | SaveStatus():
            return "generations", None


async def _carry_out(
    transaction: Transaction, generation_id: str, writes: Sequence[Write], with_them: Sequence[Change]
) -> None:
    extended = [extended_expiry(generation_id, write.file) for write in writes if isinstance(write, SaveArchivedFile)]
    changes = [_change(generation_id, write) for write in writes]
    counts = await transaction.all_of([*changes, *extended, *with_them])
    for write, count in zip(writes, counts, strict=False):
        if count != 1:
            raise IllegalMove(f"{generation_id}: the ledger refuses {type(write).__name__}")


def _change(generation_id: str, write: Write) -> Change:
    match write:
        case AddAttempt(attempt=attempt):
            return _ADD_ATTEMPT, (generation_id, *ATTEMPT.values(attempt))
        case SaveOutput(output=output, new=True):
            return _ADD_OUTPUT, (generation_id, *_output(output))
        case SaveAttempt(attempt=attempt, was=was):
            return _UPDATE_ATTEMPT, (*ATTEMPT.values(attempt), attempt.id, generation_id, was.value)
        case SaveOutput(output=output):
            return _UPDATE_OUTPUT, (*_output(output), generation_id, output.index)
        case SaveArchivedFile(index=index, file=file):
            return SAVE_FILE, (to_json(file), generation_id, index)
        case SaveHold(restored_at=restored_at):
            return _UPDATE_HOLD, (seconds(restored_at), generation_id)
        case SaveStatus():
            changed = (write.status.value, write.progress, write.provider, write.provider_model)
            ended = (to_json(write.failure), seconds(write.completed_at))
            return _UPDATE_STATUS, (*changed, *ended, generation_id, write.was.value)


def _output(output: Output) -> tuple[Any, ...]:
    return *OUTPUT.values(output), unarchived_until(output)
