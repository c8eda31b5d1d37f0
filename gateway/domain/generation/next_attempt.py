"""Where an output goes next: the remedy of its last attempt's failure, applied to the plan and the routes' health."""

from datetime import datetime, timedelta

from msgspec import Struct

from gateway.domain.adapter.failure import REMEDY, FailureKind, Remedy
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.task import Failed, Status
from gateway.domain.backoff import exponential, spread
from gateway.domain.generation.cost_limit import affordable
from gateway.domain.generation.model import Attempt, AttemptState, Generation, Policy, Route, serves
from gateway.domain.generation.reconciliation import resubmit_at
from gateway.domain.health.circuit import CircuitState
from gateway.domain.health.route_health import HealthOf, unknown_health

REPEATS_MAX = 100  # attempts for one output that were refused for the moment, before it fails
REPEAT_SECONDS, REPEAT_MAX_SECONDS = 2, 180  # between two tries of a route: the first wait, and the longest
_OF_ACCOUNT = frozenset({FailureKind.CREDENTIAL_REFUSED, FailureKind.OUT_OF_CREDIT})


_TOO_FEW = Failed(
    kind=FailureKind.RESULT_MISSING, message="The provider started fewer tasks than outputs were asked for."
)


class Try(Struct, frozen=True):
    """Make an attempt on this route, in this form, not before this moment."""

    route: int
    form: str = ""
    not_before: datetime | None = None


class Stop(Struct, frozen=True):
    """The output has failed."""

    failure: Failed


class Hold(Struct, frozen=True):
    """An operator decides, or the deadline."""


def next_try(generation: Generation, slot: int, health: HealthOf = unknown_health) -> Try | Stop | Hold | None:
    """What an open output needs now; `None` while an attempt is live for it."""
    before = history(generation, slot)
    if not before:
        first = _next_route(generation, before, slot, health)
        return Stop(_newest_failure(generation)) if first is None else Try(first)
    if any(slot in serves(attempt) for attempt in before):
        return None
    last = before[-1]
    forms = {attempt.form for attempt in before if attempt.route == last.route}
    has_other_form = last.state is AttemptState.REFUSED and last.amend_form not in {None, *forms}
    if has_other_form and affordable(generation, generation.route(last)):
        return Try(last.route, last.amend_form or "")
    failure = _failure_of(last, slot)
    match remedy_for(failure, generation.plan.policy):
        case Remedy.STOP:
            return Stop(failure)
        case Remedy.RECONCILE:
            return _as_decided(generation, last, failure)
        case _:
            following = _next_route(generation, before, slot, health)
            return Try(following) if following is not None else _retry(generation, before, slot, health)


def next_try_at(generation: Generation, health: HealthOf = unknown_health) -> datetime | None:
    """When the next attempt of a generation is due that waits to repeat one; `None` while it does not wait for that.

    With the health of its route: an open circuit may make the wait longer than the provider's own.
    """
    if generation.status.terminal:
        return None
    waiting = (one for one in generation.outputs if not one.status.terminal and not one.extra and one.artifact is None)
    tries = (next_try(generation, output.index, health) for output in waiting)
    moments = (one.not_before for one in tries if isinstance(one, Try) and one.not_before is not None)
    return min(moments, default=None)


def history(generation: Generation, slot: int) -> list[Attempt]:
    """The attempts for an output, without those that were given up before they were tried."""
    return [
        attempt
        for attempt in generation.attempts
        if slot in attempt.slots and not (attempt.state is AttemptState.NOT_SENT and attempt.failure is None)
    ]


def _newest_failure(generation: Generation) -> Failed:
    """What others have met, for an output that has not been tried and has no room in the limit of cost."""
    met = [attempt.failure for attempt in generation.attempts if attempt.failure is not None]
    return met[-1] if met else failed(FailureKind.UNAVAILABLE)


def remedy_for(failure: Failed, policy: Policy) -> Remedy:
    """The remedy of a failure under a model's policy; `RECONCILE` is left only where the policy is to hold."""
    match failure.kind:
        case FailureKind.INVALID_REQUEST if failure.elsewhere:
            return Remedy.FALL_BACK
        case FailureKind.CONTENT_POLICY if policy.on_content_policy == "fall_back":
            return Remedy.FALL_BACK
        case FailureKind.AMBIGUOUS if policy.on_ambiguous == "fall_back":
            return Remedy.FALL_BACK
        case FailureKind.AMBIGUOUS if policy.on_ambiguous == "fail":
            return Remedy.STOP
        case kind:
            return REMEDY[kind]


def _as_decided(generation: Generation, held: Attempt, failure: Failed) -> Try | Stop | Hold:
    match held.decision:
        case "resubmit" if not affordable(generation, generation.route(held)):
            return Stop(failure)  # what the other outputs cost since the decision has left no room
        case "fail":
            return Stop(failure)
        case "resubmit":
            return Try(held.route, held.form, resubmit_at(held))
        case None:
            return Hold()


def is_retry(generation: Generation, attempt: Attempt) -> bool:
    """Whether the attempt repeats, in the same form, what its route was sent before."""
    return any(
        before.number < attempt.number
        and (before.route, before.form) == (attempt.route, attempt.form)
        and not set(before.slots).isdisjoint(attempt.slots)
        for before in generation.attempts
    )


def _next_route(generation: Generation, before: list[Attempt], slot: int, health: HealthOf) -> int | None:
    """The next route that was not tried, in the order of the plan, open circuits last.

    Left out are providers that may already hold a task for this output, those whose account has refused it, and
    routes that the client's limit of cost has no room for.
    """
    routes, left = generation.plan.routes, _untried(generation, before, slot)
    if len(left) < 2:
        return left[0] if left else None
    return min(left, key=lambda index: (_is_open(routes[index], health), index))


def _untried(generation: Generation, before: list[Attempt], slot: int) -> list[int]:
    routes = generation.plan.routes
    tried = {attempt.route for attempt in before}
    excluded = {routes[attempt.route].provider for attempt in before if _excludes_provider(attempt, slot)}
    return [
        index
        for index, route in enumerate(routes)
        if index not in tried and route.provider not in excluded and _has_room(generation, route)
    ]


def _excludes_provider(attempt: Attempt, slot: int) -> bool:
    if attempt.state is AttemptState.UNKNOWN:
        return attempt.decision != "resubmit"
    failure = _failure_of(attempt, slot)
    return failure.kind in _OF_ACCOUNT and not failure.of_model


def _is_open(route: Route, health: HealthOf) -> bool:
    return health(route.provider, route.model).circuit is CircuitState.OPEN


def _has_room(generation: Generation, route: Route) -> bool:
    return not generation.attempts or affordable(generation, route)


def _failure_of(attempt: Attempt, slot: int) -> Failed:
    """Why the attempt left this slot empty."""
    if attempt.state is AttemptState.UNKNOWN:
        return failed(FailureKind.AMBIGUOUS)
    task = next((task for task in attempt.tasks if task.slot == slot), None)
    if task is not None and task.failure is not None:
        return task.failure
    if task is None and attempt.tasks and attempt.adopted != "callback":
        return _TOO_FEW
    if attempt.failure is not None and (task is None or task.status is not Status.COMPLETED):
        return attempt.failure
    return failed(FailureKind.RESULT_MISSING)


def routes_left(generation: Generation, attempt: Attempt) -> list[Route]:
    """The other routes of the plan that one of the attempt's outputs may still go to.

    A route is left when it was not tried for that output, or when its last refusal was for the moment only.
    """
    left: set[int] = set()
    for slot in attempt.slots:
        before = history(generation, slot)
        left.update(_untried(generation, before, slot))
        newest = {tried.route: tried for tried in before}
        left.update(index for index, tried in newest.items() if _may_repeat(tried, slot))
    return [generation.plan.routes[index] for index in sorted(left - {attempt.route})]


def has_another_route(generation: Generation, attempt: Attempt) -> bool:
    """Whether one of the attempt's outputs could still go to a route that it has not been tried on."""
    return any(
        _next_route(generation, history(generation, slot), slot, unknown_health) is not None for slot in attempt.slots
    )


def _may_repeat(attempt: Attempt, slot: int) -> bool:
    """Whether the same may be sent there again: what a provider has accepted may have been paid for."""
    waits = REMEDY[_failure_of(attempt, slot).kind] is Remedy.FALL_BACK_OR_WAIT
    return waits and attempt.state in {AttemptState.REFUSED, AttemptState.NOT_SENT}


def _retry(generation: Generation, before: list[Attempt], slot: int, health: HealthOf) -> Try | Stop:
    """The route that may be tried again first, of all whose refusal was for the moment; `Stop` when there is none.

    So the tries go round all these routes until the deadline: each wait of a route is longer than its last one.
    """
    failure = _failure_of(before[-1], slot)
    excluded = {generation.route(one).provider for one in before if _excludes_provider(one, slot)}
    repeated = [one for one in before if _may_repeat(one, slot)]
    if len(repeated) >= REPEATS_MAX:
        return Stop(failure)
    newest = {one.route: one for one in before}.values()  # of each route
    repeats: list[Try] = []
    for last in newest:
        route = generation.route(last)
        if _may_repeat(last, slot) and route.provider not in excluded and affordable(generation, route):
            tries = sum(one.route == last.route for one in repeated)
            repeat = _after_its_wait(generation, last, tries, health)
            if repeat is not None:
                repeats.append(repeat)
    return min(repeats, key=lambda one: (one.not_before or generation.created_at, one.route), default=Stop(failure))


def _after_its_wait(generation: Generation, last: Attempt, tries: int, health: HealthOf) -> Try | None:
    """Retry the same route after the provider's wait or our backoff, whichever is longer.

    Not before its circuit allows it. `None` if that is past the deadline.
    """
    route = generation.route(last)
    grown = exponential(tries, first=REPEAT_SECONDS, ceiling=REPEAT_MAX_SECONDS, seed=last.id)
    not_before = (last.ended_at or last.reserved_at) + timedelta(seconds=max(grown, last.retry_after_seconds or 0))
    if not_before >= generation.deadline_at:
        return None
    allowed_at = health(route.provider, route.model).retry_at
    if allowed_at is not None and allowed_at > not_before:  # many wait for the same: they do not come back together
        not_before = allowed_at + timedelta(seconds=2 * spread(f"{last.id}:{allowed_at.timestamp()}"))
    return Try(last.route, last.form, min(not_before, generation.deadline_at))
