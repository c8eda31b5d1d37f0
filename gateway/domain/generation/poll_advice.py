"""When a client should look at its generation again: seldom while nothing can have come of it, often near the end."""

from collections.abc import Callable
from datetime import datetime

from msgspec import Struct

from gateway.domain.generation.model import Attempt, AttemptState, Generation, Route

SOONEST_SECONDS = 1.0
LATEST_SECONDS = 30.0
NEARER = 3  # each look leaves two thirds of the time that was left: 90 s, 60, 40, 27, …
_LIVE = frozenset({AttemptState.RESERVED, AttemptState.SUBMITTING, AttemptState.ACCEPTED})


class Pace(Struct, frozen=True):
    """How fast a route is."""

    interval_seconds: float  # between two readings of a task by the gateway itself
    expected_seconds: float | None = None  # from acceptance to the result, of late; None: not known


def poll_after(generation: Generation, pace: Callable[[Route], Pace], now: datetime) -> float | None:
    """Seconds until a look is worth while; `None` when the generation is at its end.

    Until its usual time has passed, a third of what is left of it; behind that as often as the gateway itself looks, or
    more often while it is fresh.
    """
    if generation.status.terminal:
        return None
    wait = max(_waits(generation, pace, now), default=SOONEST_SECONDS)
    left = (generation.deadline_at - now).total_seconds()
    return max(min(wait, left, LATEST_SECONDS), SOONEST_SECONDS)


def submit_advice_seconds(passed_seconds: float, limit_seconds: float) -> float:
    """Seconds until a submit that has run for `passed_seconds` has probably ended, at least `SOONEST_SECONDS`.

    What has taken long will take longer, so the advice is to wait for as long again, but not beyond the submit's
    time-out at `limit_seconds`: it has an outcome then.
    """
    return max(min(passed_seconds, limit_seconds - passed_seconds), SOONEST_SECONDS)


def _waits(generation: Generation, pace: Callable[[Route], Pace], now: datetime) -> list[float]:
    """Of each attempt that the end waits for."""
    live = [attempt for attempt in generation.attempts if attempt.state in _LIVE]
    if live:
        return [_wait(pace(generation.route(attempt)), _seconds_since(attempt, now)) for attempt in live]
    if all(one.status.terminal or one.artifact is not None for one in generation.outputs):
        return []  # only the files are still to be fetched
    if any(attempt.state is AttemptState.UNKNOWN for attempt in generation.attempts):
        return [LATEST_SECONDS]  # somebody is to decide about it
    return [_wait(pace(generation.plan.routes[0]), 0)]


def _wait(pace: Pace, passed_seconds: float) -> float:
    if pace.expected_seconds is None:
        return pace.interval_seconds
    left = pace.expected_seconds - passed_seconds
    return left / NEARER if left >= 0 else min(-left / NEARER, pace.interval_seconds)


def _seconds_since(attempt: Attempt, now: datetime) -> float:
    """Since the provider took it on."""
    return 0 if attempt.accepted_at is None else (now - attempt.accepted_at).total_seconds()
