"""When a client should read its generation again: rarely while it cannot be ready, often near its usual end. Pure."""

from collections.abc import Callable
from datetime import datetime

from msgspec import Struct

from gateway.domain.generation.model import Attempt, AttemptState, Generation, Route

SOONEST_SECONDS = 1.0
LATEST_SECONDS = 30.0
UNMEASURED_POLLS = 6  # polls that a task of a route takes about which nothing was measured yet
NEARER = 3  # each wait is a third of the expected time that is left: 90 s, 60 s, 40 s, 27 s are left, and so on
_LIVE = frozenset({AttemptState.RESERVED, AttemptState.SUBMITTING, AttemptState.ACCEPTED})


class Pace(Struct, frozen=True):
    """The speed of a route."""

    interval_seconds: float  # between two polls of a task by the gateway itself
    expected_seconds: float | None = None  # from acceptance to the result, as measured recently; None: not known


def poll_after(generation: Generation, pace: Callable[[Route], Pace], now: datetime) -> float | None:
    """Seconds until the client should read the generation again; `None` if it has ended.

    Before the usual time of the route has passed: a third of what is left of it. After that: a third of the time by
    which it is late, but at most the interval at which the gateway itself polls. If no time was measured:
    this interval.
    """
    if generation.status.terminal:
        return None
    wait = max(_waits(generation, pace, now), default=SOONEST_SECONDS)
    left = (generation.deadline_at - now).total_seconds()
    return max(min(wait, left, LATEST_SECONDS), SOONEST_SECONDS)


def usual_seconds(generation: Generation, pace: Callable[[Route], Pace]) -> float:
    """Seconds that the generation takes as a rule: the measured time of the route that makes it, else a guess.

    The guess is `UNMEASURED_POLLS` polls of the gateway, because an adapter polls rarely what takes long. Of several
    routes the one that was tried last counts.
    """
    route = generation.route(generation.attempts[-1]) if generation.attempts else generation.plan.routes[0]
    of_route = pace(route)
    guess = of_route.interval_seconds * UNMEASURED_POLLS
    return guess if of_route.expected_seconds is None else of_route.expected_seconds


def submit_advice_seconds(passed_seconds: float, limit_seconds: float) -> float:
    """Seconds until a submit that has run for `passed_seconds` has probably ended, at least `SOONEST_SECONDS`.

    What has taken long will take longer, so the advice is to wait for as long again, but not beyond the submit's
    time-out at `limit_seconds`: it has an outcome then.
    """
    return max(min(passed_seconds, limit_seconds - passed_seconds), SOONEST_SECONDS)


def _waits(generation: Generation, pace: Callable[[Route], Pace], now: datetime) -> list[float]:
    """The seconds for each attempt that the end of the generation depends on."""
    live = [attempt for attempt in generation.attempts if attempt.state in _LIVE]
    if live:
        return [_wait(pace(generation.route(attempt)), _seconds_since(attempt, now)) for attempt in live]
    if all(output.status.terminal or output.artifact is not None for output in generation.outputs):
        return []  # only the archiving of the files is left
    if any(attempt.state is AttemptState.UNKNOWN for attempt in generation.attempts):
        return [LATEST_SECONDS]  # a callback or an operator has to name its tasks
    return [_wait(pace(generation.plan.routes[0]), 0)]


def _wait(pace: Pace, passed_seconds: float) -> float:
    if pace.expected_seconds is None:
        return pace.interval_seconds
    left = pace.expected_seconds - passed_seconds
    return left / NEARER if left >= 0 else min(-left / NEARER, pace.interval_seconds)


def _seconds_since(attempt: Attempt, now: datetime) -> float:
    """Seconds since the provider accepted the attempt; 0 before that."""
    return 0 if attempt.accepted_at is None else (now - attempt.accepted_at).total_seconds()
