"""Which attempts a step reserves, and which outputs fail because nothing is left to try. Pure.

Each reserved attempt is about to cost money. So a paid result that would otherwise be left over is used first, tasks
that may still deliver are read first (`Readings.may_buy`), and nothing is reserved after the deadline.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from msgspec.structs import replace

from gateway.domain.adapter.task import Status
from gateway.domain.generation.archiving import ArchiveSchedule, is_being_archived
from gateway.domain.generation.changes import Changes
from gateway.domain.generation.model import Attempt, AttemptState, Generation, Output
from gateway.domain.generation.next_attempt import AwaitRelease, NextTry, Stop, history, next_try
from gateway.domain.generation.outputs import fill_from_extra, may_still_come
from gateway.domain.generation.readings import Readings
from gateway.domain.generation.task_polling import RouteProfileOf, times_out_at
from gateway.domain.generation.transitions import AddAttempt, SaveOutput
from gateway.domain.health.circuit import CircuitState
from gateway.domain.health.route_health import HealthOf

SOON = timedelta(seconds=1)  # until the driver looks again at what a step has changed


def reserve_attempts(
    changes: Changes,
    readings: Readings,
    files: Mapping[int, ArchiveSchedule],
    profile_of: RouteProfileOf,
    health: HealthOf,
) -> datetime:
    """Reserve an attempt for each open output that needs one; the deadline must not have passed.

    Returns when to look again at the latest: when a wait for a route is over, else the deadline.
    """
    wake_at = changes.generation.deadline_at
    wanted: dict[tuple[int, str], list[int]] = {}  # (route, variant of the submit) → outputs
    for output in changes.generation.outputs:
        if output.status.terminal or output.extra or is_being_archived(output):
            continue
        match next_try(changes.generation, output.index, health):
            case NextTry(route=route, variant=variant, not_before=not_before):
                if fill_from_extra(changes, output, files):
                    wake_at = min(wake_at, changes.now + SOON)
                elif not_before is not None and not_before > changes.now:
                    wake_at = min(wake_at, not_before)
                elif readings.may_buy([output.index], history(changes.generation, output.index), not_before):
                    wanted.setdefault((route, variant), []).append(output.index)
            case AwaitRelease():
                if fill_from_extra(changes, output, files):
                    wake_at = min(wake_at, changes.now + SOON)
            case Stop() as stop if not may_still_come(changes.generation, output.index):
                wake_at = min(wake_at, _stop(changes, output, stop, files, profile_of))
            case _:
                pass
    for choice, slots in sorted(wanted.items()):
        wake_at = min(wake_at, _reserve(changes, choice, slots, profile_of, health))
    return wake_at


def _stop(
    changes: Changes, output: Output, stop: Stop, files: Mapping[int, ArchiveSchedule], profile_of: RouteProfileOf
) -> datetime:
    """Fail an output for which no route is left, unless a paid result or a callback can still fill it."""
    if not fill_from_extra(changes, output, files):
        callback_until = _callback_until(changes.generation, output.index, profile_of)
        if callback_until is not None and callback_until > changes.now:
            return callback_until
        changes.write(SaveOutput(replace(output, status=Status.FAILED, failure=stop.failure)))
    return changes.now + SOON  # without this output, another one may fit into max_cost


def _callback_until(generation: Generation, slot: int, profile_of: RouteProfileOf) -> datetime | None:
    """Until when a callback may name the task of a submit for this slot that got no clear answer.

    `None` if no provider would call back, or if the policy is `fail`. Only an output that has no other way left waits
    for this: if it failed at once, it would be lost although its task may be running.
    """
    if generation.plan.policy.on_ambiguous == "fail":
        return None
    unclear = (
        attempt
        for attempt in history(generation, slot)
        if attempt.state is AttemptState.UNKNOWN and attempt.decision is None
    )
    profiles = ((attempt, profile_of(generation.route(attempt))) for attempt in unclear)
    waits = (times_out_at(attempt, profile.polling) for attempt, profile in profiles if profile.calls_back)
    return max(waits, default=None)


def _reserve(
    changes: Changes, choice: tuple[int, str], slots: list[int], profile_of: RouteProfileOf, health: HealthOf
) -> datetime:
    """Reserve the attempts that these outputs need on one route, each with as many outputs as one submit may have.

    `choice` is the index of the route and the variant of the submit, "" for the usual one. A half-open circuit lets one
    attempt through as a probe. The route of the other outputs is chosen again soon.
    """
    index, variant = choice
    route = changes.generation.plan.routes[index]
    starts = range(0, len(slots), route.count_max)
    wake_at = changes.generation.deadline_at
    if health(route.provider, route.model).circuit is CircuitState.HALF_OPEN and len(starts) > 1:
        starts = starts[:1]
        wake_at = min(wake_at, changes.now + SOON)
    for start in starts:
        number = len(changes.generation.attempts) + 1
        attempt = Attempt(
            id=f"att_{changes.generation.id.removeprefix('gen_')}_{number}",
            number=number,
            route=index,
            slots=tuple(slots[start : start + route.count_max]),
            state=AttemptState.RESERVED,
            reserved_at=changes.now,
            variant=variant or profile_of(route).variant,
        )
        changes.write(AddAttempt(attempt))
    return wake_at
