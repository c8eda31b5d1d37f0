"""What a generation may still cost under the client's `max_cost`. Pure."""

from math import isclose

from gateway.domain.generation import AttemptState, Generation, Route
from gateway.domain.task import Billed

_LIVE = frozenset({AttemptState.RESERVED, AttemptState.SUBMITTING, AttemptState.ACCEPTED})


def affordable(generation: Generation, route: Route) -> bool:
    """Whether the outputs that nobody makes, on this route, stay within the limit with all that may have been paid."""
    limit = generation.request.max_cost
    if limit is None:
        return True
    paid = sum(
        (generation.route(attempt).cost_usd or 0.0) * max(len(attempt.slots), len(attempt.tasks))
        for attempt in generation.attempts
        if attempt.billed is not Billed.NO
    )
    under_way = {slot for attempt in generation.attempts if attempt.state in _LIVE for slot in attempt.slots}
    wanted = sum(
        not output.status.terminal and not output.extra and output.index not in under_way
        for output in generation.outputs
    )
    total = paid + (route.cost_usd or 0.0) * wanted
    return total <= limit or isclose(total, limit)
