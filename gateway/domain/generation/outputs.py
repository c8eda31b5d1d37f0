"""Which task fills which output: slots, extra outputs, and whether one may still come. Pure."""

from collections.abc import Container, Mapping, Sequence
from datetime import datetime

from msgspec.structs import replace

from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.task import Artifact, Status, TaskRef
from gateway.domain.generation.archiving import WAIT, KeepWatch, is_being_archived
from gateway.domain.generation.changes import Changes
from gateway.domain.generation.model import (
    Attempt,
    AttemptState,
    Generation,
    Output,
    Task,
    expected_outputs,
    unnamed_slots,
)
from gateway.domain.generation.task_polling import open_tasks
from gateway.domain.generation.transitions import SaveAttempt, SaveOutput

_SENT = frozenset({AttemptState.SUBMITTING, AttemptState.ACCEPTED})
FILES_MAX = 64  # of one task: a reply that names more is not believed further


def accepted(generation: Generation, attempt_id: str, refs: Sequence[TaskRef], now: datetime) -> SaveAttempt:
    """The write for a task reference that was read: legal from `submitting` and, late, from `unknown`.

    Tasks beyond the slots of the attempt get slots behind the last output: they may have been paid for.
    """
    attempt = generation.attempt(attempt_id)
    slots = (*attempt.slots, *range(len(generation.outputs), len(generation.outputs) + len(refs)))
    tasks = tuple(Task(ref=ref, slot=slot) for ref, slot in zip(refs, slots, strict=False))
    moved = replace(
        attempt, state=AttemptState.ACCEPTED, tasks=tasks, accepted_at=now, ended_at=None, failure=None, billed=None
    )
    return SaveAttempt(moved, attempt.state)


def fill(changes: Changes, attempt: Attempt, slot: int, artifacts: Sequence[Artifact], expires_at: datetime) -> None:
    """Give the slot its file, to be archived; a further file, or a late one, fills an output that nobody else fills.

    Where every output is taken, the file becomes an extra output, which counts as completed at once: no client waits
    for it, and it is archived later.
    """
    free = _free_output(changes.generation, slot)
    late = free is None
    for artifact in artifacts[:FILES_MAX]:
        output = Output(
            index=len(changes.generation.outputs) if free is None else free.index,
            status=Status.COMPLETED if late else Status.IN_PROGRESS,
            extra=free is None or free.extra,
            late=late,
            attempt_id=attempt.id,
            artifact=artifact,
            expires_at=expires_at,
        )
        changes.write(SaveOutput(output, new=free is None))
        free = _free_output(changes.generation, slot)


def _free_output(generation: Generation, slot: int) -> Output | None:
    """The output of this slot while it is open and has no file, else one that is missing and that no attempt fills."""
    served = {one for attempt in generation.attempts if attempt.state in _SENT for one in expected_outputs(attempt)}
    empty = [output for output in generation.outputs if not output.status.terminal and not is_being_archived(output)]
    own = next((output for output in empty if output.index == slot), None)
    if generation.status.terminal or own is not None:
        return own
    return next((output for output in empty if not output.extra and output.index not in served), None)


def fill_from_extra(changes: Changes, output: Output, files: Mapping[int, KeepWatch]) -> bool:
    """Fill an output with the archived file of an extra output, which was paid for, instead of buying another one.

    True when that was done, or when such a file is just being archived: whether it can be used is known in a moment.
    """
    used = {one.artifact.url for one in changes.generation.outputs if not one.extra and one.artifact is not None}
    for extra in changes.generation.outputs:
        if not extra.extra or extra.artifact is None:
            continue
        lasts = extra.expires_at is None or changes.now < extra.expires_at
        if not lasts or extra.artifact.url in used:
            continue
        if is_being_archived(extra):
            return True
        if extra.kept is not None:
            filled = replace(output, status=Status.IN_PROGRESS, attempt_id=extra.attempt_id, artifact=extra.artifact)
            changes.write(SaveOutput(replace(filled, expires_at=extra.expires_at)))
            return True
        watch = files.get(extra.index)
        if watch is not None and not watch.given_up and changes.now < watch.since + WAIT:
            return True
    return False


def show_extras(changes: Changes) -> None:
    """Give every task beyond the asked number an output of its own, as soon as it is known.

    Two attempts that were accepted at the same moment may have claimed the same slot: the second moves behind.
    """
    if changes.generation.status.terminal:
        return
    shown: set[int] = set()
    for attempt_id in [attempt.id for attempt in changes.generation.attempts]:
        for index in range(len(changes.generation.attempt(attempt_id).tasks)):
            attempt = changes.generation.attempt(attempt_id)
            task, outputs = attempt.tasks[index], changes.generation.outputs
            if task.slot in attempt.slots:
                continue
            slot = task.slot
            if slot in shown or slot >= len(outputs) or outputs[slot].attempt_id != attempt_id:
                slot = len(outputs)
                changes.task(attempt, index, replace(task, slot=slot))
                changes.write(SaveOutput(Output(index=slot, extra=True, attempt_id=attempt_id), new=True))
            shown.add(slot)


def end_extras(changes: Changes, states: Container[AttemptState]) -> None:
    """An extra output ends with its attempt, in one of these states; no route is tried for it."""
    for output in changes.generation.outputs:
        if output.extra and not output.status.terminal and not is_being_archived(output):
            attempt = changes.generation.attempt(output.attempt_id or "")
            if attempt.state in states:
                failure = attempt.failure or failed(FailureKind.RESULT_MISSING)
                changes.write(SaveOutput(replace(output, status=Status.FAILED, failure=failure)))


def may_still_come(generation: Generation, slot: int) -> bool:
    """Whether a task that was given up, or one beyond the number asked for, may yet fill this slot.

    Both are read until the deadline, and what they make was paid for. While the other tasks of a submit run, a callback
    may also name the task of this slot that the reply did not name.
    """
    beyond = {output.index for output in generation.outputs if output.extra and not output.status.terminal}
    if any(attempt.state is AttemptState.ACCEPTED and slot in attempt.slots for attempt in generation.attempts):
        return True
    return any(
        attempt.tasks[index].slot in beyond
        or (attempt.state is AttemptState.ABANDONED and attempt.tasks[index].slot == slot)
        for attempt in generation.attempts
        for index in open_tasks(attempt)
    )


def missing_slots(generation: Generation, attempt: Attempt) -> tuple[int, ...]:
    """The outputs of an attempt that are still to be bought: open, without a file, with no other task to fill them."""
    followed = {
        slot
        for one in generation.attempts
        if one.id != attempt.id and one.state is AttemptState.ACCEPTED
        for slot in (*(one.tasks[index].slot for index in open_tasks(one)), *unnamed_slots(one))
    }
    outputs = {output.index: output for output in generation.outputs}
    return tuple(
        slot
        for slot in attempt.slots
        if slot not in followed and not outputs[slot].status.terminal and not is_being_archived(outputs[slot])
    )


def is_unfinished(generation: Generation) -> bool:
    """Whether an output may still come, or a submit is under way whose end is to be known."""
    followed = {one.id for one in generation.attempts if one.state is AttemptState.ACCEPTED}
    return any(one.state is AttemptState.SUBMITTING for one in generation.attempts) or any(
        not one.status.terminal and (not one.extra or is_being_archived(one) or one.attempt_id in followed)
        for one in generation.outputs
    )


def is_followed(generation: Generation, now: datetime) -> bool:
    """Whether its tasks are read: while it is open, and behind its end those given up, until the deadline.

    What was paid for is known and kept so. A client that cancels wants neither.
    """
    ended = generation.status in {Status.COMPLETED, Status.FAILED}
    return not generation.status.terminal or (ended and now < generation.deadline_at)
