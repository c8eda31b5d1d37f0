"""Where an output goes next: the remedy of its last attempt's failure, applied to the plan and the routes' health."""

from datetime import datetime, timedelta

from msgspec import Struct

from gateway.domain.backoff import exponential, spread
from gateway.domain.circuit import CircuitState
from gateway.domain.generation import Attempt, AttemptState, Generation, Policy, Route
from gateway.domain.health import HealthOf, unknown_health
from gateway.domain.holding import resubmit_at
from gateway.domain.reading import failed
from gateway.domain.spending import affordable
from gateway.domain.task import REMEDY, Failed, FailureKind, Remedy, Status

RETRIES_MAX = 6  # tries of what only asked to wait, and one for each further route, before the output fails
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
    history = _history(generation, slot)
    if not history:
        first = _next_route(generation, history, slot, health)
        return Stop(_newest_failure(generation)) if first is None else Try(first)
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


def _history(generation: Generation, slot: int) -> list[Attempt]:
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
        if index not in tried and route.provider not in excluded and _has_room(generation, route)
    ]
    if len(left) < 2:
        return left[0] if left else None
    return min(left, key=lambda index: (_is_open(routes[index], health), index))


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
    if attempt.failure is not None and (task is None or task.status is not Status.COMPLETED):
        return attempt.failure
    return failed(FailureKind.RESULT_MISSING)


def has_another_route(generation: Generation, attempt: Attempt) -> bool:
    """Whether one of the attempt's outputs could still go to a route that it has not been tried on."""
    return any(
        _next_route(generation, _history(generation, slot), slot, unknown_health) is not None for slot in attempt.slots
    )


def _may_repeat(attempt: Attempt, slot: int) -> bool:
    """Whether the same may be sent there again: what a provider has accepted may have been paid for."""
    waits = REMEDY[_failure_of(attempt, slot).kind] is Remedy.FALL_BACK_OR_WAIT
    return waits and attempt.state in {AttemptState.REFUSED, AttemptState.NOT_SENT}


def _retry(generation: Generation, history: list[Attempt], slot: int, health: HealthOf) -> Try | Stop:
    """The newest route that only asked to wait and can be waited for; `Stop` when there is none."""
    failure = _failure_of(history[-1], slot)
    excluded = {generation.route(one).provider for one in history if _excludes_provider(one, slot)}
    newest = {one.route: one for one in history}.values()  # of each route
    waiting = [one for one in newest if _may_repeat(one, slot) and generation.route(one).provider not in excluded]
    repeated = [one for one in history if _may_repeat(one, slot)]
    if len(repeated) >= RETRIES_MAX + len({one.route for one in repeated}) - 1:
        return Stop(failure)
    for last in sorted(waiting, key=lambda one: one.number, reverse=True):
        if affordable(generation, generation.route(last)):
            tries = sum(one.route == last.route for one in repeated)
            repeat = _after_its_wait(generation, last, tries, health)
            if repeat is not None:
                return repeat
    return Stop(failure)


def _after_its_wait(generation: Generation, last: Attempt, tries: int, health: HealthOf) -> Try | None:
    """Its route again, after its own wait or a growing one, when its health lets it go; `None` behind the deadline."""
    route = generation.route(last)
    grown = exponential(tries, first=2, ceiling=60, seed=last.id)
    not_before = (last.ended_at or last.reserved_at) + timedelta(seconds=max(grown, last.retry_after_seconds or 0))
    if not_before >= generation.deadline_at:
        return None
    allowed_at = health(route.provider, route.model).retry_at
    if allowed_at is not None and allowed_at > not_before:  # many wait for the same: they do not come back together
        not_before = allowed_at + timedelta(seconds=2 * spread(f"{last.id}:{allowed_at.timestamp()}"))
    return Try(last.route, last.form, min(not_before, generation.deadline_at))
