"""The tasks of a submit that no reply has named: callbacks, or an operator, tell of them one after the other. Pure."""

from collections.abc import Sequence
from itertools import chain, count

from gateway.domain.generation import Attempt, AttemptState, Task
from gateway.domain.task import TaskRef

TASKS_MAX = 64  # of one attempt: who tells of more is not believed further
FOLLOWED = frozenset({AttemptState.ACCEPTED, AttemptState.ABANDONED})  # their open tasks are read
TOLD_MAX = 8  # that are remembered while a submit is under way


def with_tasks(slots: Sequence[int], tasks: Sequence[Task], refs: Sequence[TaskRef], outputs: int) -> tuple[Task, ...]:
    """The tasks of an attempt with these added, each once: its own slots first, then slots behind the last output."""
    known, taken = {task.ref.id for task in tasks}, {task.slot for task in tasks}
    free = (slot for slot in chain(slots, count(outputs)) if slot not in taken)
    fresh = {ref.id: ref for ref in refs if ref.id not in known}.values()
    return (*tasks, *(Task(ref=ref, slot=slot) for ref, slot in zip(fresh, free, strict=False)))[:TASKS_MAX]


def untold(attempt: Attempt) -> list[int]:
    """The slots whose tasks callbacks have yet to tell of: a first one proves that the whole submit was accepted."""
    if attempt.state is not AttemptState.ACCEPTED or attempt.adopted != "callback":
        return []
    told = {task.slot for task in attempt.tasks}
    return [slot for slot in attempt.slots if slot not in told]


def serves(attempt: Attempt) -> frozenset[int]:
    """The outputs that a live attempt is expected to fill: those of its tasks, or all until its tasks are known.

    A reply that names fewer tasks than outputs were asked for leaves the others to the next route.
    """
    match attempt.state:
        case AttemptState.RESERVED | AttemptState.SUBMITTING:
            return frozenset(attempt.slots)
        case AttemptState.ACCEPTED:
            return frozenset({*(task.slot for task in attempt.tasks), *untold(attempt)})
        case _:
            return frozenset()
