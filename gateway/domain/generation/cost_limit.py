"""What attempts cost or may have cost, counted task by task: for `max_cost`, `usage` and `attempts[].cost_usd`. Pure.

A purchase that no provider has confirmed or denied counts as money spent: the limit of a client is never exceeded by a
bill that comes later.
"""

from collections.abc import Iterable, Iterator
from math import isclose

from gateway.domain.adapter.failure import TASK_BILLED, Billed
from gateway.domain.adapter.task import Status
from gateway.domain.generation.model import Attempt, AttemptState, Generation, Route, expected_outputs

_UNANSWERED = frozenset({AttemptState.SUBMITTING, AttemptState.UNKNOWN})


def purchases(attempt: Attempt) -> Iterator[Billed]:
    """Whether each purchase of the attempt was billed. A purchase is a task, not a file.

    While no reply has named the tasks, each output of the submit counts as one task.
    """
    if attempt.state in _UNANSWERED:
        yield from (Billed.MAYBE for _ in attempt.slots)
        return
    for task in attempt.tasks:
        if task.status is Status.COMPLETED:
            yield Billed.YES
        elif task.billed is not None:
            yield task.billed
        else:
            yield Billed.MAYBE if task.failure is None else TASK_BILLED[task.failure.kind]
    if attempt.adopted == "callback":  # a callback names one task; the other tasks of the submit may exist as well
        named = {task.slot for task in attempt.tasks}
        yield from (Billed.MAYBE for slot in attempt.slots if slot not in named)


def billed_of(attempt: Attempt) -> Billed:
    """Whether the attempt was billed: yes if one of its tasks was, else maybe if one of them may have been."""
    return worst(purchases(attempt))


def worst(parts: Iterable[Billed]) -> Billed:
    """Yes if any part is yes, else maybe if any part is maybe, else no."""
    values = set(parts)
    return next((billed for billed in (Billed.YES, Billed.MAYBE) if billed in values), Billed.NO)


def purchase_count(attempt: Attempt) -> int:
    """How many purchases of the attempt were billed or may have been billed."""
    return sum(billed is not Billed.NO for billed in purchases(attempt))


def cost_of(generation: Generation, attempt: Attempt) -> float | None:
    """What the attempt cost or may have cost, in USD; `None` if its route has no price."""
    price = generation.route(attempt).cost_usd
    return None if price is None else round(price * purchase_count(attempt), 6)


def maybe_of(generation: Generation, attempt: Attempt) -> float | None:
    """The part of `cost_of` for which no provider has said whether it was billed, in USD."""
    price = generation.route(attempt).cost_usd
    maybe = sum(billed is Billed.MAYBE for billed in purchases(attempt))
    return None if price is None else round(price * maybe, 6)


def committed_usd(generation: Generation) -> float:
    """What all attempts cost or may have cost, and what the reserved ones will cost, in USD."""
    return sum(
        (generation.route(attempt).cost_usd or 0.0)
        * (len(attempt.slots) if attempt.state is AttemptState.RESERVED else purchase_count(attempt))
        for attempt in generation.attempts
    )


def within_limit(generation: Generation) -> bool:
    """True if everything that was bought or is reserved stays within the client's `max_cost`."""
    return _fits(generation, committed_usd(generation))


def affordable(generation: Generation, route: Route) -> bool:
    """True if every output that no attempt is making can be bought on this route within the client's `max_cost`."""
    under_way = {slot for attempt in generation.attempts for slot in expected_outputs(attempt)}
    wanted = sum(
        not output.status.terminal and not output.extra and output.index not in under_way
        for output in generation.outputs
    )
    return _fits(generation, committed_usd(generation) + (route.cost_usd or 0.0) * wanted)


def _fits(generation: Generation, total: float) -> bool:
    limit = generation.request.max_cost
    return limit is None or total <= limit or isclose(total, limit)
