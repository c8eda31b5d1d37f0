"""Rules for a submit without a clear answer: which task ids an attempt takes over later, and what an operator decides.

A task belongs to exactly one attempt. Three sources name it: the reply to the submit, a callback of the provider, and
an operator. The danger is a task that no attempt has: it was paid for, and nobody would read its result. So a late id
is taken wherever the attempt still has room for one.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import chain, count
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from gateway.domain.adapter.task import TaskRef
from gateway.domain.errors import Conflict
from gateway.domain.generation.cost_limit import affordable
from gateway.domain.generation.model import Attempt, AttemptState, Generation, Task
from gateway.domain.generation.transitions import SaveAttempt

TASKS_MAX = 64  # tasks of one attempt; further ids in a reply or a report are ignored
REMEMBERED_MAX = 8  # task ids that are remembered for an attempt whose submit has no answer yet
FOLLOWED = frozenset({AttemptState.ACCEPTED, AttemptState.ABANDONED})  # states in which the open tasks are polled
_UNANSWERED = frozenset({AttemptState.SUBMITTING, AttemptState.UNKNOWN})  # the reply did not name the tasks yet

Reporter = Literal["callback", "operator"]


class AttemptTasks(Struct, frozen=True, kw_only=True):
    """One attempt, with everything that decides which tasks it takes over."""

    attempt_id: str
    generation_id: str
    provider: str
    state: AttemptState
    adopted: Reporter | None  # who named its tasks, where no reply did
    slots: tuple[int, ...]
    tasks: tuple[Task, ...]
    outputs: int  # number of outputs of its generation
    remembered: tuple[TaskRef, ...]  # reported while its submit had no answer, in the order of their arrival
    is_open: bool = True  # its generation has not ended


class Claimed(Struct, frozen=True):
    """What an attempt becomes when it takes over tasks."""

    state: AttemptState
    adopted: Reporter | None
    tasks: tuple[Task, ...]


def with_tasks(slots: Sequence[int], tasks: Sequence[Task], refs: Sequence[TaskRef], outputs: int) -> tuple[Task, ...]:
    """Add tasks to those of an attempt, each id once, at most `TASKS_MAX` in all.

    A new task gets a slot of the attempt that has no task yet, else a slot after the last output.
    """
    ids, taken = {task.ref.id for task in tasks}, {task.slot for task in tasks}
    free = (slot for slot in chain(slots, count(outputs)) if slot not in taken)
    added = {ref.id: ref for ref in refs if ref.id not in ids}.values()
    return (*tasks, *(Task(ref=ref, slot=slot) for ref, slot in zip(added, free, strict=False)))[:TASKS_MAX]


def free_task_slots(attempt: AttemptTasks) -> int:
    """How many further task ids a callback or an operator may report for an attempt."""
    match attempt.state:
        case AttemptState.RESERVED:
            return 0  # nothing was sent, so no task can exist
        case AttemptState.SUBMITTING:
            return REMEMBERED_MAX - len(attempt.remembered)
        case AttemptState.ACCEPTED | AttemptState.COMPLETED if attempt.adopted is None and len(attempt.tasks) >= len(
            attempt.slots
        ):
            return 0  # the reply has named a task for every output, and the attempt has not failed
        case _:
            return TASKS_MAX - len(attempt.tasks)


def new_refs(attempt: AttemptTasks, refs: Sequence[TaskRef]) -> list[TaskRef]:
    """Those of the tasks that the attempt neither has nor remembers."""
    ids = {task.ref.id for task in attempt.tasks} | {ref.id for ref in attempt.remembered}
    return [ref for ref in refs if ref.id not in ids]


def waits_for_reply(attempt: AttemptTasks) -> bool:
    """Whether reported task ids are only remembered for now: the reply to the submit may still name the tasks."""
    return attempt.state is AttemptState.SUBMITTING


def is_unanswered(attempt: AttemptTasks) -> bool:
    """Whether no reply and no report has named a task of the submit yet."""
    return attempt.state in _UNANSWERED


def after_reply(attempt: AttemptTasks, tasks: Sequence[Task], remembered: Sequence[TaskRef]) -> Claimed:
    """The attempt once the reply to its submit has named its tasks; `remembered` ones come after them."""
    whole = with_tasks(attempt.slots, tasks, remembered, attempt.outputs)
    return Claimed(AttemptState.ACCEPTED, None, whole)


def after_report(attempt: AttemptTasks, refs: Sequence[TaskRef], reporter: Reporter | None) -> Claimed:
    """The attempt once it has taken over tasks that were not in the reply.

    An abandoned attempt stays abandoned, because another attempt may be making its outputs. Every other one is accepted
    from now on, also when it had failed: a task that exists can deliver.
    """
    tasks = with_tasks(attempt.slots, attempt.tasks, refs, attempt.outputs)
    if attempt.state in FOLLOWED:
        return Claimed(attempt.state, attempt.adopted, tasks)
    return Claimed(AttemptState.ACCEPTED, attempt.adopted if attempt.tasks else reporter, tasks)


def left_out(attempt: AttemptTasks, tasks: Sequence[Task]) -> list[str]:
    """The remembered task ids that are not among the tasks that the attempt has in the end."""
    ids = {task.ref.id for task in tasks}
    return [ref.id for ref in attempt.remembered if ref.id not in ids]


Decision = Literal["fail", "resubmit"]
# From the unclear answer to a second submit: time for a report of the task that the first submit may have started.
QUARANTINE_SECONDS = 600.0


def awaits_decision(generation: Generation, attempt: Attempt) -> bool:
    """Whether an output of the generation waits for an operator's decision about this attempt."""
    waiting = {output.index for output in generation.outputs if not output.status.terminal and not output.extra}
    newest = {slot: later.id for later in generation.attempts for slot in later.slots}
    return (
        not generation.status.terminal
        and generation.plan.policy.on_ambiguous == "hold"
        and attempt.state is AttemptState.UNKNOWN
        and attempt.decision is None
        and any(newest[slot] == attempt.id for slot in attempt.slots if slot in waiting)
    )


def resubmit_at(attempt: Attempt) -> datetime:
    """When the second submit of a held attempt may be sent."""
    return (attempt.ended_at or attempt.reserved_at) + timedelta(seconds=QUARANTINE_SECONDS)


def decide(generation: Generation, attempt: Attempt, decision: Decision) -> SaveAttempt:
    """The write that stores an operator's decision.

    Raises `Conflict` if the attempt is not held, or if a second submit is not allowed.
    """
    if not awaits_decision(generation, attempt):
        raise Conflict(f"The attempt is not held: it is {attempt.state}, its generation {generation.status}.")
    if decision == "resubmit":
        repeated = [
            earlier
            for earlier in generation.attempts
            if earlier.decision == "resubmit" and earlier.route == attempt.route
        ]
        if any(not set(earlier.slots).isdisjoint(attempt.slots) for earlier in repeated):
            raise Conflict("The submit was repeated once already; attach its task, or let it fail.")
        if resubmit_at(attempt) >= generation.deadline_at:
            raise Conflict("The deadline comes before a second submit would be safe; attach its task, or let it fail.")
        if not affordable(generation, generation.route(attempt)):
            raise Conflict("A second submit could cost more than `max_cost`; attach the task, or let it fail.")
    return SaveAttempt(replace(attempt, decision=decision), attempt.state)
