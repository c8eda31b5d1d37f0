"""Which task fills which output: slots, extra outputs, and whether an output may still be filled. Pure.

Every file that a task made was paid for, so none is dropped: a further or late file fills an output that no
attempt is expected to fill, or becomes an extra output.
"""

from collections.abc import Container, Mapping, Sequence
from datetime import datetime

from msgspec.structs import replace

from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.task import Artifact, Status, TaskRef
from gateway.domain.adapter.upstream_answer import UpstreamAnswer
from gateway.domain.generation.archiving import WAIT, ArchiveSchedule, is_being_archived
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
FILES_MAX = 64  # files of one task: further ones in a reply are ignored


def accepted(
    generation: Generation,
    attempt_id: str,
    refs: Sequence[TaskRef],
    now: datetime,
    upstream: UpstreamAnswer | None = None,
) -> SaveAttempt:
    """The write that stores the tasks which the reply to a submit named, so that the attempt is accepted.

    Legal from `submitting` and, if the reply is late, from `unknown`. Tasks beyond the slots of the attempt get slots
    after the last output: they may have been paid for.
    """
    attempt = generation.attempt(attempt_id)
    slots = (*attempt.slots, *range(len(generation.outputs), len(generation.outputs) + len(refs)))
    tasks = tuple(Task(ref=ref, slot=slot) for ref, slot in zip(refs, slots, strict=False))
    moved = replace(
        attempt,
        state=AttemptState.ACCEPTED,
        tasks=tasks,
        accepted_at=now,
        ended_at=None,
        failure=None,
        billed=None,
        upstream=upstream or attempt.upstream,
    )
    return SaveAttempt(moved, attempt.state)


def fill(changes: Changes, attempt: Attempt, slot: int, artifacts: Sequence[Artifact], expires_at: datetime) -> None:
    """Give the files of a task to outputs, where they are archived: the first file to the output of `slot`.

    A further file, or a late one, fills an output that no attempt is expected to fill. If every output is taken, the
    file becomes an extra output. If that holds for the first file already, the extra outputs are late and completed at
    once: no client waits for them, and they are archived later.
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
    """The output of this slot if it is open and has no file, else an open one that no attempt is expected to fill."""
    expected = {
        index for attempt in generation.attempts if attempt.state in _SENT for index in expected_outputs(attempt)
    }
    empty = [output for output in generation.outputs if not output.status.terminal and not is_being_archived(output)]
    own = next((output for output in empty if output.index == slot), None)
    if generation.status.terminal or own is not None:
        return own
    return next((output for output in empty if not output.extra and output.index not in expected), None)


def fill_from_extra(changes: Changes, output: Output, files: Mapping[int, ArchiveSchedule]) -> bool:
    """Fill an output with the archived file of an extra output, which was paid for, instead of buying another file.

    True if that was done, or if such a file is being archived just now: then whether it can be used is known soon.
    """
    used = {
        other.artifact.url for other in changes.generation.outputs if not other.extra and other.artifact is not None
    }
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
        schedule = files.get(extra.index)
        if schedule is not None and not schedule.given_up and changes.now < schedule.since + WAIT:
            return True
    return False


def show_extras(changes: Changes) -> None:
    """Give every task beyond the requested number an extra output of its own, as soon as the task is known.

    Two attempts that were accepted at the same time may have taken the same slot: the second one gets a later slot.
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
    """Fail the open extra outputs whose attempt is in one of these states: no other route is tried for them."""
    for output in changes.generation.outputs:
        if output.extra and not output.status.terminal and not is_being_archived(output):
            attempt = changes.generation.attempt(output.attempt_id or "")
            if attempt.state in states:
                failure = attempt.failure or failed(FailureKind.RESULT_MISSING)
                changes.write(SaveOutput(replace(output, status=Status.FAILED, failure=failure)))


def may_still_come(generation: Generation, slot: int) -> bool:
    """True if a task that is already paid for may still fill this output, so that it must not fail yet.

    That is an abandoned task, or a task beyond the requested number: both are polled until the deadline. It is also a
    task that the reply to a submit did not name: while other tasks of that submit run, a callback may name it.
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
    """The outputs of an attempt that still have to be bought: open, without a file, and with no other task for them."""
    expected = {
        slot
        for other in generation.attempts
        if other.id != attempt.id and other.state is AttemptState.ACCEPTED
        for slot in (*(other.tasks[index].slot for index in open_tasks(other)), *unnamed_slots(other))
    }
    outputs = {output.index: output for output in generation.outputs}
    return tuple(
        slot
        for slot in attempt.slots
        if slot not in expected and not outputs[slot].status.terminal and not is_being_archived(outputs[slot])
    )


def is_unfinished(generation: Generation) -> bool:
    """True while an output may still be filled, or while the answer to a submit is still missing."""
    accepted_ids = {attempt.id for attempt in generation.attempts if attempt.state is AttemptState.ACCEPTED}
    return any(attempt.state is AttemptState.SUBMITTING for attempt in generation.attempts) or any(
        not output.status.terminal
        and (not output.extra or is_being_archived(output) or output.attempt_id in accepted_ids)
        for output in generation.outputs
    )


def is_followed(generation: Generation, now: datetime) -> bool:
    """Whether the tasks of this generation are still polled.

    Always while it is open. After it completed or failed: only abandoned tasks, until the deadline, so that their cost
    is known and a late result is kept. Never after a cancel or an expiry.
    """
    ended = generation.status in {Status.COMPLETED, Status.FAILED}
    return not generation.status.terminal or (ended and now < generation.deadline_at)
