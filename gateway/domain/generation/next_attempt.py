"""What an open output needs next: another route, the same route again, a decision, or the end. Pure.

The failure of its last attempt decides (`REMEDY` in `domain/adapter/failure.py`), together with the plan, the policy of
the model and the health of the routes. A route whose submit may have started a task is tried again only if an operator
decides so.
"""

from datetime import datetime, timedelta

from msgspec import Struct

from gateway.domain.adapter.failure import REACH, REMEDY, FailureKind, Reach, Remedy
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.task import Failed, Status
from gateway.domain.backoff import exponential, spread
from gateway.domain.generation.cost_limit import affordable
from gateway.domain.generation.model import Attempt, AttemptState, Generation, Policy, Route, expected_outputs
from gateway.domain.generation.reconciliation import resubmit_at
from gateway.domain.health.circuit import CircuitState
from gateway.domain.health.route_health import HealthOf, unknown_health

REPEATS_MAX = 100  # attempts for one output that were refused temporarily, before the output fails
REPEAT_SECONDS, REPEAT_MAX_SECONDS = 2, 180  # the first and the longest pause between two tries of a route
_TOO_FEW_TASKS = Failed(
    kind=FailureKind.RESULT_MISSING, message="The provider started fewer tasks than outputs were asked for."
)


class NextTry(Struct, frozen=True):
    """Make an attempt on this route."""

    route: int  # index into `Plan.routes`
    variant: str = ""  # of the submit; "" is the usual one
    not_before: datetime | None = None


class Stop(Struct, frozen=True):
    """Nothing is left to try: the output fails, unless an earlier task can still fill it."""

    failure: Failed


class AwaitDecision(Struct, frozen=True):
    """Wait until an operator decides about an unclear answer, or until the deadline."""


class AwaitRelease(Struct, frozen=True):
    """Wait until an operator releases the provider of the only route that is left, or until the deadline."""

    provider: str


def next_try(
    generation: Generation, slot: int, health: HealthOf = unknown_health
) -> NextTry | Stop | AwaitDecision | AwaitRelease | None:
    """What the output with the index `slot` needs now; `None` while an attempt is expected to fill it.

    Nothing is tried on a route whose provider is held. If every other way is used up, the output waits for the release.
    """
    step = _next_step(generation, slot, health)
    if isinstance(step, NextTry):
        route = generation.plan.routes[step.route]
        if health(route.provider, route.model).held:
            return AwaitRelease(route.provider)
    return step


def _next_step(generation: Generation, slot: int, health: HealthOf) -> NextTry | Stop | AwaitDecision | None:
    """What follows, also if that is an attempt on a held route: then no other route can be tried."""
    before = history(generation, slot)
    if not before:
        first = _next_route(generation, before, slot, health)
        return Stop(_newest_failure(generation)) if first is None else NextTry(first)
    if any(slot in expected_outputs(attempt) for attempt in before):
        return None
    last = before[-1]
    variants = {attempt.variant for attempt in before if attempt.route == last.route}
    may_change_variant = last.state is AttemptState.REFUSED and last.next_variant not in {None, *variants}
    if may_change_variant and affordable(generation, generation.route(last)):
        return NextTry(last.route, last.next_variant or "")
    failure = _failure_of(last, slot)
    if last.decision == "release":
        return _as_decided(generation, last, failure)
    match remedy_for(failure, generation.plan.policy):
        case Remedy.STOP:
            return Stop(failure)
        case Remedy.RECONCILE:
            return _as_decided(generation, last, failure)
        case _:
            following = _next_route(generation, before, slot, health)
            if following is not None and not _is_held(generation.plan.routes[following], health):
                return NextTry(following)
            retry = _retry(generation, before, slot, health)
            is_waiting = isinstance(retry, NextTry) and not _is_held(generation.plan.routes[retry.route], health)
            return retry if is_waiting or following is None else NextTry(following)


class Wait(Struct, frozen=True, kw_only=True):
    """What the outputs of a generation wait for that have no attempt."""

    next_try_at: datetime | None = None  # the earliest time of a repeat; None: none waits for that
    held_provider: str | None = None  # whose release one of them waits for; None: none waits for that


def wait_of(generation: Generation, health: HealthOf = unknown_health) -> Wait:
    """What a generation waits for. An open circuit of a route can make a wait longer than the provider asked for."""
    if generation.status.terminal:
        return Wait()
    steps = [
        next_try(generation, output.index, health)
        for output in generation.outputs
        if not output.status.terminal and not output.extra and output.artifact is None
    ]
    moments = (step.not_before for step in steps if isinstance(step, NextTry) and step.not_before is not None)
    held = (step.provider for step in steps if isinstance(step, AwaitRelease))
    return Wait(next_try_at=min(moments, default=None), held_provider=next(held, None))


def next_try_at(generation: Generation, health: HealthOf = unknown_health) -> datetime | None:
    """When a generation that waits to repeat an attempt does so at the earliest; `None` if none waits for that."""
    return wait_of(generation, health).next_try_at


def history(generation: Generation, slot: int) -> list[Attempt]:
    """The attempts for an output in their order, without those that were dropped before they were sent."""
    return [attempt for attempt in generation.attempts if slot in attempt.slots and was_tried(attempt)]


def was_tried(attempt: Attempt) -> bool:
    """False for an attempt that was dropped before it was sent, because it was no longer wanted."""
    return not (attempt.state is AttemptState.NOT_SENT and attempt.failure is None)


def _newest_failure(generation: Generation) -> Failed:
    """Why an output fails that was never tried because `max_cost` is used up: the newest failure of the others."""
    failures = [attempt.failure for attempt in generation.attempts if attempt.failure is not None]
    return failures[-1] if failures else failed(FailureKind.UNAVAILABLE)


def remedy_for(failure: Failed, policy: Policy) -> Remedy:
    """The remedy of a failure under the policy of the model. `RECONCILE` is returned only for the policy `hold`."""
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


def _as_decided(generation: Generation, held: Attempt, failure: Failed) -> NextTry | Stop | AwaitDecision:
    """What follows an unclear answer on which an operator decides: the decision, or waiting for it."""
    match held.decision:
        case "resubmit" | "release" if not affordable(generation, generation.route(held)):
            return Stop(failure)  # since the decision, other outputs have used up `max_cost`
        case "fail":
            return Stop(failure)
        case "resubmit":
            return NextTry(held.route, held.variant, resubmit_at(held))
        case "release":
            return NextTry(held.route, held.variant)
        case None:
            return AwaitDecision()


def is_retry(generation: Generation, attempt: Attempt) -> bool:
    """True if the attempt sends to its route, in the same variant, what an earlier attempt has already sent."""
    return any(
        before.number < attempt.number
        and (before.route, before.variant) == (attempt.route, attempt.variant)
        and not set(before.slots).isdisjoint(attempt.slots)
        for before in generation.attempts
    )


def replaced(generation: Generation, attempt: Attempt) -> Attempt | None:
    """The attempt that this one follows for one of its outputs, on the same route or another; None if it is the first.

    An attempt that was dropped before it was sent, without a failure, does not count.
    """
    earlier = (
        before for slot in attempt.slots for before in history(generation, slot) if before.number < attempt.number
    )
    return max(earlier, key=lambda before: before.number, default=None)


def _next_route(generation: Generation, before: list[Attempt], slot: int, health: HealthOf) -> int | None:
    """The first route in the plan that was not tried, open circuits and then held ones last; `None` if none is left.

    Left out are routes that an earlier failure rules out (`REACH` in `domain/adapter/failure.py`), and those that would
    exceed `max_cost`.
    """
    routes, left = generation.plan.routes, _untried(generation, before, slot)
    if len(left) < 2:
        return left[0] if left else None
    return min(left, key=lambda index: (_is_held(routes[index], health), _is_open(routes[index], health), index))


def _untried(generation: Generation, before: list[Attempt], slot: int) -> list[int]:
    routes = generation.plan.routes
    tried = {attempt.route for attempt in before}
    return [
        index
        for index, route in enumerate(routes)
        if index not in tried
        and not any(_rules_out(attempt, generation.route(attempt), route, slot) for attempt in before)
        and _has_room(generation, route)
    ]


def _rules_out(attempt: Attempt, tried: Route, route: Route, slot: int) -> bool:
    """True if another route may not be tried because of how the attempt ended on its own route."""
    failure = _failure_of(attempt, slot)
    is_released = attempt.state is AttemptState.UNKNOWN and attempt.decision in {"resubmit", "release"}
    match REACH[failure.kind]:
        case Reach.ACCOUNT if not (is_released or failure.of_model):
            return route.provider == tried.provider
        case Reach.MODEL:
            is_other_account = route.provider != tried.provider
            return is_other_account and (service_of(route), route.model) == (service_of(tried), tried.model)
        case _:
            return False


def service_of(route: Route) -> str:
    """The service that a route buys from: accounts with the same adapter and base URL buy from the same one."""
    return route.service or route.provider


def _is_open(route: Route, health: HealthOf) -> bool:
    return health(route.provider, route.model).circuit is CircuitState.OPEN


def _is_held(route: Route, health: HealthOf) -> bool:
    return health(route.provider, route.model).held


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
        return _TOO_FEW_TASKS
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


def has_another_route(generation: Generation, attempt: Attempt, health: HealthOf = unknown_health) -> bool:
    """True if one of the attempt's outputs could still be tried on another route that is not held."""
    routes = generation.plan.routes
    following = (_next_route(generation, history(generation, slot), slot, health) for slot in attempt.slots)
    return any(index is not None and not _is_held(routes[index], health) for index in following)


def _may_repeat(attempt: Attempt, slot: int) -> bool:
    """True if the same may be sent to the route again: the refusal was temporary, and the provider accepted nothing."""
    waits = REMEDY[_failure_of(attempt, slot).kind] is Remedy.FALL_BACK_OR_WAIT
    return waits and attempt.state in {AttemptState.REFUSED, AttemptState.NOT_SENT}


def _retry(generation: Generation, before: list[Attempt], slot: int, health: HealthOf) -> NextTry | Stop:
    """Of all routes that refused temporarily, the one that may be tried again first; `Stop` if no route may.

    So these routes are tried one after the other until the deadline, and the pauses of each route get longer.
    """
    failure = _failure_of(before[-1], slot)
    repeated = [attempt for attempt in before if _may_repeat(attempt, slot)]
    if len(repeated) >= REPEATS_MAX:
        return Stop(failure)
    newest = {attempt.route: attempt for attempt in before}.values()  # of each route
    repeats: list[NextTry] = []
    for last in newest:
        route = generation.route(last)
        is_ruled_out = any(_rules_out(attempt, generation.route(attempt), route, slot) for attempt in before)
        if _may_repeat(last, slot) and not is_ruled_out and affordable(generation, route):
            tries = sum(attempt.route == last.route for attempt in repeated)
            repeat = _repeat(generation, last, tries, health)
            if repeat is not None:
                repeats.append(repeat)
    routes = generation.plan.routes
    return min(
        repeats,
        key=lambda repeat: (
            _is_held(routes[repeat.route], health),
            repeat.not_before or generation.created_at,
            repeat.route,
        ),
        default=Stop(failure),
    )


def _repeat(generation: Generation, last: Attempt, tries: int, health: HealthOf) -> NextTry | None:
    """Repeat the last attempt of a route after the provider's wait or our backoff, whichever is longer.

    Its circuit can make the wait longer still. `None` if the wait ends after the deadline.
    """
    route = generation.route(last)
    backoff = exponential(tries, first=REPEAT_SECONDS, ceiling=REPEAT_MAX_SECONDS, seed=last.id)
    not_before = (last.ended_at or last.reserved_at) + timedelta(seconds=max(backoff, last.retry_after_seconds or 0))
    if not_before >= generation.deadline_at:
        return None
    allowed_at = health(route.provider, route.model).retry_at
    if allowed_at is not None and allowed_at > not_before:  # many generations wait for this moment: spread them
        not_before = allowed_at + timedelta(seconds=2 * spread(f"{last.id}:{allowed_at.timestamp()}"))
    return NextTry(last.route, last.variant, min(not_before, generation.deadline_at))
