"""Where an output goes next: the remedy of its last attempt's failure, applied to the plan and the routes' health."""

from datetime import datetime, timedelta
from math import isclose

from msgspec import Struct

from gateway.domain.backoff import exponential, spread
from gateway.domain.circuit import CircuitState
from gateway.domain.generation import Attempt, AttemptState, Generation, Policy, Route
from gateway.domain.health import HealthOf, unknown_health
from gateway.domain.holding import resubmit_at
from gateway.domain.reading import failed
from gateway.domain.task import REMEDY, Billed, Failed, FailureKind, Remedy, Status

RETRIES_MAX = 6  # tries of the last route in a row before the generation fails
_LIVE = frozenset({AttemptState.RESERVED, AttemptState.SUBMITTING, AttemptState.ACCEPTED})
_OF_ACCOUNT = frozenset({FailureKind.CREDENTIAL_REFUSED, FailureKind.OUT_OF_CREDIT})


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
    history = [attempt for attempt in generation.attempts if slot in attempt.slots]
    if not history:
        return Try(_next_route(generation, history, slot, health) or 0)
    if any(attempt.state in _LIVE for attempt in history):
        return None
    last = history[-1]
    forms = {attempt.form for attempt in history if attempt.route == last.route}
    if last.amend_form is not None and last.amend_form not in forms:
        return Try(last.route, last.amend_form)
    failure = _failure_of(last, slot)
    match remedy_for(failure, generation.plan.policy):
        case Remedy.STOP:
            return Stop(failure)
        case Remedy.RECONCILE:
            return _as_decided(last, failure)
        case _:
            following = _next_route(generation, history, slot, health)
            return Try(following) if following is not None else _retry(generation, history, slot, health)


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


def _as_decided(held: Attempt, failure: Failed) -> Try | Stop | Hold:
    match held.decision:
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


def _next_route(generation: Generation, history: list[Attempt], slot: int, health: HealthOf) -> int | None:
    """The next route that was not tried, in the order of the plan, open circuits last.

    Left out are providers that may already hold a task for this output, those whose account has refused it, and
    routes that the client's limit of cost has no room for.
    """
    routes = generation.plan.routes
    tried = {attempt.route for attempt in history}
    excluded = {routes[attempt.route].provider for attempt in history if _excludes_provider(attempt, slot)}
    left = [
        index
        for index, route in enumerate(routes)
        if index not in tried and route.provider not in excluded and (not history or _affordable(generation, route))
    ]
    if len(left) < 2:
        return left[0] if left else None
    return min(left, key=lambda index: (_is_open(routes[index], health), index))


def _excludes_provider(attempt: Attempt, slot: int) -> bool:
    if attempt.state is AttemptState.UNKNOWN:
        return True
    failure = _failure_of(attempt, slot)
    return failure.kind in _OF_ACCOUNT and not failure.of_model


def _is_open(route: Route, health: HealthOf) -> bool:
    return health(route.provider, route.model).circuit is CircuitState.OPEN


def _affordable(generation: Generation, route: Route) -> bool:
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


def _failure_of(attempt: Attempt, slot: int) -> Failed:
    """Why the attempt left this slot empty."""
    if attempt.state is AttemptState.UNKNOWN:
        return failed(FailureKind.AMBIGUOUS)
    task = next((task for task in attempt.tasks if task.slot == slot), None)
    if task is not None and task.failure is not None:
        return task.failure
    if attempt.failure is not None and (task is None or task.status is not Status.COMPLETED):
        return attempt.failure
    return failed(FailureKind.RESULT_MISSING)


def has_another_route(generation: Generation, attempt: Attempt) -> bool:
    """Whether there is a route that none of the attempt's outputs has been tried on."""
    tried = {one.route for one in generation.attempts if not set(one.slots).isdisjoint(attempt.slots)}
    return len(tried) < len(generation.plan.routes)


def _may_repeat(attempt: Attempt, slot: int) -> bool:
    """Whether the same may be sent there again: what a provider has accepted may have been paid for."""
    waits = REMEDY[_failure_of(attempt, slot).kind] is Remedy.FALL_BACK_OR_WAIT
    return waits and attempt.state in {AttemptState.REFUSED, AttemptState.NOT_SENT}


def _retry(generation: Generation, history: list[Attempt], slot: int, health: HealthOf) -> Try | Stop:
    """The newest route that only asked to wait: after its own wait or a growing one, when its health lets it go."""
    failure = _failure_of(history[-1], slot)
    excluded = {generation.route(one).provider for one in history if _excludes_provider(one, slot)}
    newest = {one.route: one for one in history}.values()  # of each route
    waiting = [one for one in newest if _may_repeat(one, slot) and generation.route(one).provider not in excluded]
    if not waiting:
        return Stop(failure)
    last = max(waiting, key=lambda one: one.number)
    tries = sum(one.route == last.route and _may_repeat(one, slot) for one in history)
    route = generation.route(last)
    if tries >= RETRIES_MAX or last.ended_at is None or not _affordable(generation, route):
        return Stop(failure)
    grown = exponential(tries, first=2, ceiling=60, seed=last.id)
    not_before = last.ended_at + timedelta(seconds=max(grown, last.retry_after_seconds or 0))
    if not_before >= generation.deadline_at:
        return Stop(failure)
    allowed_at = health(route.provider, route.model).retry_at
    if allowed_at is not None and allowed_at > not_before:  # many wait for the same: they do not come back together
        not_before = allowed_at + timedelta(seconds=2 * spread(f"{last.id}:{allowed_at.timestamp()}"))
    return Try(last.route, last.form, min(not_before, generation.deadline_at))
