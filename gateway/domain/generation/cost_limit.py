"""What attempts cost or may have cost, task by task: for `max_cost`, accounts, `usage` and `attempts[].cost_usd`. Pure.

A purchase that no provider has confirmed or denied counts as money spent: the limit of a client is never exceeded by a
bill that comes later. Amounts are in millionths of a US dollar, so that sums are exact.
"""

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from gateway.domain.adapter.failure import FEE_ON_REFUSAL, REPORTED_FAILURE, TASK_BILLED, Billed, FailureKind
from gateway.domain.adapter.task import Status
from gateway.domain.generation.model import Attempt, AttemptState, Generation, Route, expected_outputs
from gateway.domain.usd import micros, usd

_UNANSWERED = frozenset({AttemptState.SUBMITTING, AttemptState.UNKNOWN})


class Charge(Struct, frozen=True):
    """What one output of a submit was charged, or may have been."""

    billed: Billed
    amount: int  # millionths of a US dollar; 0 if the route has no price
    final: bool = True  # False: a task that runs, or that may exist, can still cost something else


def charges(route: Route, attempt: Attempt) -> Iterator[Charge]:
    """Every charge of the attempt that a provider made or may have made. A purchase is a task, not a file.

    While no reply has named the tasks, each output of the submit counts as one task.
    """
    price = micros(route.cost_usd)
    if attempt.state in _UNANSWERED:
        yield from (Charge(Billed.MAYBE, price, final=False) for _ in attempt.slots)
        return
    if attempt.state is AttemptState.REFUSED and has_fee(attempt) and route.refusal_usd:
        yield from (Charge(Billed.YES, micros(route.refusal_usd)) for _ in attempt.slots)
    for task in attempt.tasks:
        if task.status is Status.COMPLETED:
            yield Charge(Billed.YES, price)
        elif task.billed is not None:
            yield Charge(task.billed, 0 if task.billed is Billed.NO else price)
        elif task.failure is None:
            yield Charge(Billed.MAYBE, price, final=False)
        else:
            yield _failed(route, task.failure.kind)
    if attempt.adopted == "callback":  # a callback names one task; the other tasks of the submit may exist as well
        named = {task.slot for task in attempt.tasks}
        yield from (Charge(Billed.MAYBE, price, final=False) for slot in attempt.slots if slot not in named)


def has_fee(attempt: Attempt) -> bool:
    """Whether the price of a refusal applies to a refused attempt.

    It does where the provider has judged the content or the parameters. It does not where the variant of the submit was
    refused and the gateway sends another one.
    """
    return attempt.failure is not None and attempt.failure.kind in FEE_ON_REFUSAL and attempt.next_variant is None


def _failed(route: Route, kind: FailureKind) -> Charge:
    """The charge for a failed task. Where the price list has no price of failures, it may have cost the full price."""
    if kind in REPORTED_FAILURE and route.failure_usd is not None and TASK_BILLED[kind] is Billed.MAYBE:
        return Charge(Billed.YES if route.failure_usd else Billed.NO, micros(route.failure_usd))
    billed = TASK_BILLED[kind]
    return Charge(billed, 0 if billed is Billed.NO else micros(route.cost_usd))


def dearest(route: Route) -> int:
    """The most that one output can cost on a route, in millionths of a US dollar; 0 if it has no price."""
    return micros(max(route.cost_usd or 0.0, route.failure_usd or 0.0, route.refusal_usd))


def dearest_of(routes: Sequence[Route], count: int, max_cost: float | None) -> int:
    """The most that `count` outputs can cost, in millionths of a US dollar.

    Each route may be billed once for each output: a task that failed or has no clear outcome may be charged, and the
    next route is tried. `max_cost`, in USD, is a limit that the gateway keeps.
    """
    total = count * sum(map(dearest, routes))
    return total if max_cost is None else min(total, micros(max_cost))


def billed_of(route: Route, attempt: Attempt) -> Billed:
    """Whether the attempt was billed: yes if one of its tasks was, else maybe if one of them may have been."""
    return worst(charge.billed for charge in charges(route, attempt))


def worst(parts: Iterable[Billed]) -> Billed:
    """Yes if any part is yes, else maybe if any part is maybe, else no."""
    values = set(parts)
    return next((billed for billed in (Billed.YES, Billed.MAYBE) if billed in values), Billed.NO)


def cost(generation: Generation, attempt: Attempt) -> int:
    """What the attempt cost or may have cost."""
    return sum(charge.amount for charge in charges(generation.route(attempt), attempt))


def maybe(generation: Generation, attempt: Attempt) -> int:
    """The part of `cost` for which no provider has said whether it was billed."""
    return sum(charge.amount for charge in charges(generation.route(attempt), attempt) if charge.billed is Billed.MAYBE)


def cost_of(generation: Generation, attempt: Attempt) -> float | None:
    """What the attempt cost or may have cost, in USD; `None` if its route has no price."""
    return None if generation.route(attempt).cost_usd is None else usd(cost(generation, attempt))


def maybe_of(generation: Generation, attempt: Attempt) -> float | None:
    """The part of `cost_of` for which no provider has said whether it was billed, in USD."""
    return None if generation.route(attempt).cost_usd is None else usd(maybe(generation, attempt))


def committed(generation: Generation, attempt: Attempt) -> int:
    """The most that the attempt can turn out to cost, as far as it has gone: running tasks count as the dearest."""
    route = generation.route(attempt)
    if attempt.state is AttemptState.RESERVED:
        return dearest(route) * len(attempt.slots)
    return sum(charge.amount if charge.final else dearest(route) for charge in charges(route, attempt))


def within_limit(generation: Generation) -> bool:
    """True if everything that was bought or is reserved stays within the client's `max_cost`."""
    return _fits(generation, 0)


def affordable(generation: Generation, route: Route) -> bool:
    """True if every output that no attempt is making can be bought on this route within the client's `max_cost`."""
    under_way = {slot for attempt in generation.attempts for slot in expected_outputs(attempt)}
    wanted = sum(
        not output.status.terminal and not output.extra and output.index not in under_way
        for output in generation.outputs
    )
    return _fits(generation, dearest(route) * wanted)


def _fits(generation: Generation, more: int) -> bool:
    limit = generation.request.max_cost
    if limit is None:
        return True
    return sum(committed(generation, attempt) for attempt in generation.attempts) + more <= micros(limit)
