"""Inserts generations into the ledger and carries out the writes of a step.

Every function here runs inside the transaction of its caller.
"""

from collections.abc import Sequence
from datetime import datetime
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
from gateway.store.sql.artifacts import save_archived
from gateway.store.sql.columns import assignments, insert, seconds, to_json
from gateway.store.sql.database import Transaction
from gateway.store.sql.rows import ATTEMPT, GENERATION, OPEN, OUTPUT, unarchived_until
from gateway.store.sql.task_claims import CLAIM_TASKS

_LEASE_FOREVER = 253402300799.0  # the end of 9999: one process has the file's lock, so its lease need not run out
_INSERT_GENERATION = insert("generations", GENERATION, "model", "lease_until", "digest")
_INSERT_OUTPUT = insert("outputs", "generation_id", OUTPUT, "unkept_until")
_INSERT_ATTEMPT = insert("attempts", "generation_id", ATTEMPT)
# A row with this key may exist already: then nothing is inserted, and `carry_out` sees it.
_ADD_OUTPUT = f"{_INSERT_OUTPUT} on conflict do nothing"
_ADD_ATTEMPT = f"{_INSERT_ATTEMPT} on conflict do nothing"
_INSERT_EVENT = insert("events", "generation_id", "type", "data", "at")
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


async def add(transaction: Transaction, generation: Generation, digest: bytes | None) -> None:
    """Insert a generation with its outputs, its attempts and its first event; `digest` is that of the request."""
    row = (*GENERATION.values(generation), generation.request.model, _LEASE_FOREVER, digest)
    await transaction.run(_INSERT_GENERATION, row)
    await transaction.many(_INSERT_OUTPUT, [(generation.id, *_output(output)) for output in generation.outputs])
    if generation.request.metadata:
        await transaction.many(_INSERT_PAIR, _pairs(generation))
    for attempt in generation.attempts:
        await transaction.run(_INSERT_ATTEMPT, (generation.id, *ATTEMPT.values(attempt)))
        await transaction.run(CLAIM_TASKS, (attempt.id,))
    await transaction.run(_INSERT_EVENT, (generation.id, "generation.queued", "{}", generation.created_at.timestamp()))


async def remove_metadata(transaction: Transaction, generation: Generation) -> None:
    """Remove a generation that is being deleted from the index of `metadata`."""
    await transaction.many(_DELETE_PAIR, _pairs(generation))


def _pairs(generation: Generation) -> list[tuple[str, ...]]:
    pairs = generation.request.metadata.items()
    return [(generation.owner, generation.kind, name, value, generation.id) for name, value in pairs]


async def carry_out(transaction: Transaction, generation_id: str, writes: Sequence[Write], now: datetime) -> None:
    """Carry out writes in their order and append their events; `IllegalMove` if the stored state forbids one."""
    for write in writes:
        await _carry_out(transaction, generation_id, write)
        event = event_of(write)
        if event is not None:
            kind, data = event
            await transaction.run(_INSERT_EVENT, (generation_id, kind, to_json(data), now.timestamp()))


async def _carry_out(transaction: Transaction, generation_id: str, write: Write) -> None:
    match write:
        case AddAttempt(attempt=attempt):
            sql, values = _ADD_ATTEMPT, (generation_id, *ATTEMPT.values(attempt))
        case SaveOutput(output=output, new=True):
            sql, values = _ADD_OUTPUT, (generation_id, *_output(output))
        case SaveAttempt(attempt=attempt, was=was):
            sql, values = _UPDATE_ATTEMPT, (*ATTEMPT.values(attempt), attempt.id, generation_id, was.value)
        case SaveOutput(output=output):
            sql, values = _UPDATE_OUTPUT, (*_output(output), generation_id, output.index)
        case SaveArchivedFile():
            sql, values = await save_archived(transaction, generation_id, write)
        case SaveHold(restored_at=restored_at):
            sql, values = _UPDATE_HOLD, (seconds(restored_at), generation_id)
        case SaveStatus():
            changed = (write.status.value, write.progress, write.provider, write.provider_model)
            ended = (to_json(write.failure), seconds(write.completed_at))
            sql, values = _UPDATE_STATUS, (*changed, *ended, generation_id, write.was.value)
    if await transaction.run(sql, values) != 1:
        raise IllegalMove(f"{generation_id}: the ledger refuses {type(write).__name__}")


def _output(output: Output) -> tuple[Any, ...]:
    return *OUTPUT.values(output), unarchived_until(output)
