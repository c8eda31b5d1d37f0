"""Where an output goes next: the remedy of its last attempt's failure, applied to the plan."""

from datetime import datetime, timedelta

from msgspec import Struct

from gateway.domain.backoff import exponential
from gateway.domain.generation import Attempt, AttemptState, Generation, Policy
from gateway.domain.reading import failed
from gateway.domain.task import REMEDY, Failed, FailureKind, Remedy, Status

RETRIES_MAX = 6  # tries of the last route in a row before the generation fails
_LIVE = frozenset({AttemptState.RESERVED, AttemptState.SUBMITTING, AttemptState.ACCEPTED})


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


def next_try(generation: Generation, slot: int) -> Try | Stop | Hold | None:
    """What an open output needs now; `None` while an attempt is live for it."""
    history = [attempt for attempt in generation.attempts if slot in attempt.slots]
    if not history:
        return Try(0)
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
            return Hold()
        case remedy:
            following = _following_route(generation, history)
            if following is not None:
                return Try(following)
            return _retry(generation, history, slot) if remedy is Remedy.FALL_BACK_OR_WAIT else Stop(failure)


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


def _following_route(generation: Generation, history: list[Attempt]) -> int | None:
    """The next route in order, leaving out providers that may already hold a task for this output."""
    routes = generation.plan.routes
    unclear = {routes[attempt.route].provider for attempt in history if attempt.state is AttemptState.UNKNOWN}
    later = range(history[-1].route + 1, len(routes))
    return next((index for index in later if routes[index].provider not in unclear), None)


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


def _retry(generation: Generation, history: list[Attempt], slot: int) -> Try | Stop:
    """The last route once more, after the provider's own wait or a growing one, while the deadline leaves room."""
    last = history[-1]
    failure = _failure_of(last, slot)
    tries = 0
    for attempt in reversed(history):
        waits = REMEDY[_failure_of(attempt, slot).kind] is Remedy.FALL_BACK_OR_WAIT
        if attempt.route != last.route or not waits:
            break
        tries += 1
    if tries >= RETRIES_MAX or last.ended_at is None:
        return Stop(failure)
    grown = exponential(tries, first=2, ceiling=60, seed=last.id)
    not_before = last.ended_at + timedelta(seconds=max(grown, last.retry_after_seconds or 0))
    return Stop(failure) if not_before >= generation.deadline_at else Try(last.route, last.form, not_before)
