"""Which task fills which output: slots, extra outputs, and whether one may still come. Pure."""

from collections.abc import Container, Sequence
from datetime import datetime

from msgspec.structs import replace

from gateway.domain.adopting import untold
from gateway.domain.draft import Draft
from gateway.domain.generation import Attempt, AttemptState, Generation, Output, Task
from gateway.domain.keeping import is_found
from gateway.domain.ledger import SaveAttempt, SaveOutput
from gateway.domain.polling import open_tasks
from gateway.domain.reading import failed
from gateway.domain.task import Artifact, FailureKind, Status, TaskRef

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


def fill(draft: Draft, attempt: Attempt, slot: int, artifacts: Sequence[Artifact], expires_at: datetime) -> None:
    """Give the slot its file, to be kept; further files of the same task, and late ones, become extra outputs.

    What comes late is nobody's wait: it counts as it is, and is kept when its turn comes.
    """
    outputs = draft.generation.outputs
    free = next((one for one in outputs if one.index == slot and not one.status.terminal and not is_found(one)), None)
    late = free is None
    for artifact in artifacts[:FILES_MAX]:
        output = Output(
            index=len(draft.generation.outputs) if free is None else slot,
            status=Status.COMPLETED if late else Status.IN_PROGRESS,
            extra=free is None or free.extra,
            late=late,
            attempt_id=attempt.id,
            artifact=artifact,
            expires_at=expires_at,
        )
        draft.write(SaveOutput(output, new=free is None))
        free = None


def show_extras(draft: Draft) -> None:
    """Give every task beyond the asked number an output of its own, as soon as it is known.

    Two attempts that were accepted at the same moment may have claimed the same slot: the second moves behind.
    """
    if draft.generation.status.terminal:
        return
    shown: set[int] = set()
    for attempt_id in [attempt.id for attempt in draft.generation.attempts]:
        for index in range(len(draft.generation.attempt(attempt_id).tasks)):
            attempt = draft.generation.attempt(attempt_id)
            task, outputs = attempt.tasks[index], draft.generation.outputs
            if task.slot in attempt.slots:
                continue
            slot = task.slot
            if slot in shown or slot >= len(outputs) or outputs[slot].attempt_id != attempt_id:
                slot = len(outputs)
                draft.task(attempt, index, replace(task, slot=slot))
                draft.write(SaveOutput(Output(index=slot, extra=True, attempt_id=attempt_id), new=True))
            shown.add(slot)


def end_extras(draft: Draft, states: Container[AttemptState]) -> None:
    """An extra output ends with its attempt, in one of these states; no route is tried for it."""
    for output in draft.generation.outputs:
        if output.extra and not output.status.terminal and not is_found(output):
            attempt = draft.generation.attempt(output.attempt_id or "")
            if attempt.state in states:
                failure = attempt.failure or failed(FailureKind.RESULT_MISSING)
                draft.write(SaveOutput(replace(output, status=Status.FAILED, failure=failure)))


def may_still_come(generation: Generation, slot: int) -> bool:
    """Whether a task that was given up for the next route may yet fill this slot: it is read until the deadline."""
    return any(
        attempt.tasks[index].slot == slot
        for attempt in generation.attempts
        if attempt.state is AttemptState.ABANDONED
        for index in open_tasks(attempt)
    )


def is_wanted(generation: Generation, attempt: Attempt) -> bool:
    """Whether a reserved attempt is still to be sent: one of its outputs is open and no accepted task is to fill it."""
    followed = {
        slot
        for one in generation.attempts
        if one.id != attempt.id and one.state is AttemptState.ACCEPTED
        for slot in (*(one.tasks[index].slot for index in open_tasks(one)), *untold(one))
    }
    slots = [slot for slot in attempt.slots if slot not in followed]
    return any(not output.status.terminal and not is_found(output) for output in map(generation.output, slots))


def goes_on(generation: Generation) -> bool:
    """Whether an output may still come, or a submit is under way whose end is to be known."""
    followed = {one.id for one in generation.attempts if one.state is AttemptState.ACCEPTED}
    return any(one.state is AttemptState.SUBMITTING for one in generation.attempts) or any(
        not one.status.terminal and (not one.extra or is_found(one) or one.attempt_id in followed)
        for one in generation.outputs
    )


def is_followed(generation: Generation, now: datetime) -> bool:
    """Whether its tasks are read: while it is open, and behind its end those given up, until the deadline.

    What was paid for is known and kept so. A client that cancels wants neither.
    """
    ended = generation.status in {Status.COMPLETED, Status.FAILED}
    return not generation.status.terminal or (ended and now < generation.deadline_at)
