"""Which tasks a provider is asked to cancel, where it can: those that were given up and that nobody needs. Pure.

A cancel saves money, and can destroy a video that was paid for. So a task that was given up is cancelled only once it
is not the last chance of its output: the generation or the output has ended, or another task is making it.
"""

from msgspec import Struct
from msgspec.structs import replace

from gateway.domain.adapter.failure import Billed
from gateway.domain.adapter.task import Status
from gateway.domain.generation.changes import Changes
from gateway.domain.generation.model import AttemptState, Generation, expected_outputs
from gateway.domain.generation.task_polling import RouteProfileOf, open_tasks


class CancelTask(Struct, frozen=True, kw_only=True, gc=False):
    """Effect: ask the provider to cancel a task. The ledger has the intent already, so it is sent at most once."""

    attempt_id: str
    index: int  # of the task within its attempt


class TaskCancelled(Struct, frozen=True, kw_only=True):
    """Fact: the provider answered a cancel. Whether the task has ended is read by a poll, as always."""

    attempt_id: str
    index: int  # of the task within its attempt
    billed: Billed | None  # what the answer proves about the charge; None: nothing


def cancels_due(changes: Changes, profile_of: RouteProfileOf) -> tuple[CancelTask, ...]:
    """The cancels to send now. Each is recorded in its task, in the same step, before it is sent."""
    due: list[CancelTask] = []
    for attempt in changes.generation.attempts:
        if attempt.state is not AttemptState.ABANDONED or not profile_of(changes.generation.route(attempt)).has_cancel:
            continue
        for index in open_tasks(attempt):
            current = changes.generation.attempt(attempt.id)
            task = current.tasks[index]
            if not task.cancel_sent and not _is_last_chance(changes.generation, task.slot):
                changes.task(current, index, replace(task, cancel_sent=True))
                due.append(CancelTask(attempt_id=attempt.id, index=index))
    return tuple(due)


def absorb_cancel(changes: Changes, fact: TaskCancelled) -> None:
    """Store what the answer to a cancel proves about the charge. A file that was read meanwhile was charged."""
    attempt = changes.generation.attempt(fact.attempt_id)
    task = attempt.tasks[fact.index]
    if fact.billed is not None and task.status is not Status.COMPLETED:
        changes.task(attempt, fact.index, replace(task, billed=fact.billed))


def _is_last_chance(generation: Generation, slot: int) -> bool:
    """Whether an open output has no other task that is making it."""
    if generation.status.terminal or generation.output(slot).status.terminal:
        return False
    making = (attempt for attempt in generation.attempts if attempt.state is AttemptState.ACCEPTED)
    return not any(slot in expected_outputs(attempt) for attempt in making)
