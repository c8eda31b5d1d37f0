"""What a generation has reserved and what it has cost: a function of its stored state alone. Pure.

Every transaction that changes a generation adds the difference between its account after and before to the sums of its
client. So nothing is counted twice, however often a step is repeated, and the sums can be compared with all accounts at
any time.
"""

from collections.abc import Sequence

from msgspec import Struct

from gateway.domain.generation.cost_limit import committed, cost, dearest_of, maybe
from gateway.domain.generation.model import Attempt, AttemptState, Generation, GenerationRequest, Route

# An attempt in these states has not ended: what it may cost is reserved and not settled yet.
_UNDER_WAY = frozenset({AttemptState.RESERVED, AttemptState.SUBMITTING, AttemptState.ACCEPTED})
_SUBMITTING = frozenset({AttemptState.SUBMITTING})  # the only one of them that an ended generation waits for


class Account(Struct, frozen=True):
    """The money of one generation, in millionths of a US dollar."""

    reserved: int = 0  # the most that may still be added to `settled`
    settled: int = 0  # what its ended attempts cost or may have cost
    maybe: int = 0  # the part of `settled` for which no provider has said whether it was billed


NOTHING = Account()


def account(generation: Generation | None) -> Account:
    """The account of a generation; `NOTHING` for one that does not exist.

    An open generation reserves the most that its plan can cost, less what is settled. An ended one reserves only the
    submits that are still under way. `settled` may become more than was reserved at the create: an operator repeated a
    submit, or a provider started more tasks than were asked for. That is counted as it is, because it was bought.
    """
    if generation is None:
        return NOTHING
    under_way = _under_way(generation)
    over = settled_attempts(generation)
    settled = sum(cost(generation, attempt) for attempt in over)
    left = 0 if generation.status.terminal else ceiling(generation.request, generation.plan.routes) - settled
    return Account(
        reserved=max(left, sum(committed(generation, attempt) for attempt in under_way)),
        settled=settled,
        maybe=sum(maybe(generation, attempt) for attempt in over),
    )


def settled_attempts(generation: Generation) -> list[Attempt]:
    """The attempts whose cost is settled: those that are not under way."""
    under_way = _under_way(generation)
    return [attempt for attempt in generation.attempts if attempt not in under_way]


def _under_way(generation: Generation) -> list[Attempt]:
    states = _SUBMITTING if generation.status.terminal else _UNDER_WAY
    return [attempt for attempt in generation.attempts if attempt.state in states]


def ceiling(request: GenerationRequest, routes: Sequence[Route]) -> int:
    """The most that a request can cost on these routes, in millionths of a US dollar: what its create reserves."""
    return dearest_of(routes, request.count, request.max_cost)
