"""Task ids that arrive after an unclear submit, and an operator's decision about one. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import chain, count
from typing import Literal

from msgspec.structs import replace

from gateway.domain.adapter.task import TaskRef
from gateway.domain.errors import Conflict
from gateway.domain.generation.cost_limit import affordable
from gateway.domain.generation.model import Attempt, AttemptState, Generation, Task
from gateway.domain.generation.transitions import SaveAttempt

TASKS_MAX = 64  # of one attempt: who tells of more is not believed further
FOLLOWED = frozenset({AttemptState.ACCEPTED, AttemptState.ABANDONED})  # their open tasks are read
TOLD_MAX = 8  # that are remembered while a submit is under way


def with_tasks(slots: Sequence[int], tasks: Sequence[Task], refs: Sequence[TaskRef], outputs: int) -> tuple[Task, ...]:
    """The tasks of an attempt with these added, each once: its own slots first, then slots behind the last output."""
    known, taken = {task.ref.id for task in tasks}, {task.slot for task in tasks}
    free = (slot for slot in chain(slots, count(outputs)) if slot not in taken)
    fresh = {ref.id: ref for ref in refs if ref.id not in known}.values()
    return (*tasks, *(Task(ref=ref, slot=slot) for ref, slot in zip(fresh, free, strict=False)))[:TASKS_MAX]


Decision = Literal["fail", "resubmit"]
QUARANTINE_SECONDS = 600.0  # from the unclear answer to a second submit: a task that exists has turned up by then


def is_held(generation: Generation, attempt: Attempt) -> bool:
    """Whether an output waits for a decision about this attempt."""
    waiting = {one.index for one in generation.outputs if not one.status.terminal and not one.extra}
    newest = {slot: one.id for one in generation.attempts for slot in one.slots}
    return (
        not generation.status.terminal
        and generation.plan.policy.on_ambiguous == "hold"
        and attempt.state is AttemptState.UNKNOWN
        and attempt.decision is None
        and any(newest[slot] == attempt.id for slot in attempt.slots if slot in waiting)
    )


def resubmit_at(attempt: Attempt) -> datetime:
    """When the second submit of a held attempt may go."""
    return (attempt.ended_at or attempt.reserved_at) + timedelta(seconds=QUARANTINE_SECONDS)


def decide(generation: Generation, attempt: Attempt, decision: Decision) -> SaveAttempt:
    """The write of a decision; `Conflict` says why there is nothing to decide, or not so."""
    if not is_held(generation, attempt):
        raise Conflict(f"The attempt is not held: it is {attempt.state}, its generation {generation.status}.")
    if decision == "resubmit":
        before = [one for one in generation.attempts if one.decision == "resubmit" and one.route == attempt.route]
        if any(not set(one.slots).isdisjoint(attempt.slots) for one in before):
            raise Conflict("The submit was repeated once already; attach its task, or let it fail.")
        if resubmit_at(attempt) >= generation.deadline_at:
            raise Conflict("The deadline comes before a second submit would be safe; attach its task, or let it fail.")
        if not affordable(generation, generation.route(attempt)):
            raise Conflict("A second submit could cost more than `max_cost`; attach the task, or let it fail.")
    return SaveAttempt(replace(attempt, decision=decision), attempt.state)
