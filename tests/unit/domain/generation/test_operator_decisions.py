"""A submit without a clear answer that waits for an operator, and what the operator decides."""

import pytest
from msgspec.structs import replace

from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.task import Status
from gateway.domain.errors import Conflict
from gateway.domain.generation.model import AttemptState, Policy
from gateway.domain.generation.reconciliation import QUARANTINE_SECONDS, Decision, awaits_decision, decide
from gateway.domain.generation.transitions import apply, event_of

from ...builders import RUNNING, World, after, generation

S = AttemptState
HOLD = Policy(on_ambiguous="hold")


def held(*routes: str, count: int = 1, deadline_seconds: float = 3600) -> World:
    start = generation(*(routes or ("acme/one",)), count=count, policy=HOLD, deadline_seconds=deadline_seconds)
    world = World(start)
    world.unknown(1)
    return world


def decided(world: World, decision: Decision, number: int = 1) -> World:
    write = decide(world.generation, world.attempt(number), decision)
    assert event_of(write) == (
        "attempt.decided",
        {"attempt": world.attempt(number).id, "decision": decision},
    )
    world.generation = apply(world.generation, write)
    world.step()
    return world


def test_held_attempt_waits_for_the_deadline() -> None:
    world = held("acme/one", "bolt/two")
    assert awaits_decision(world.generation, world.attempt(1))
    world.step(wait=3599)
    assert (world.states(), world.generation.status) == ([S.UNKNOWN], Status.QUEUED)
    world.step(wait=1)
    assert world.generation.status is Status.EXPIRED
    assert not awaits_decision(world.generation, world.attempt(1))


def test_failing_ends_the_output() -> None:
    world = decided(held("acme/one", "bolt/two"), "fail")
    assert (world.generation.status, world.states()) == (Status.FAILED, [S.UNKNOWN])
    assert world.generation.failure is not None
    assert world.generation.failure.kind is FailureKind.AMBIGUOUS


def test_resubmit_waits_for_the_quarantine_and_goes_to_the_same_route() -> None:
    world = decided(held("acme/one", "bolt/two"), "resubmit")
    assert (world.states(), world.last.wake_at) == ([S.UNKNOWN], after(QUARANTINE_SECONDS))
    world.step(wait=QUARANTINE_SECONDS)
    assert (world.states(), world.routes()) == ([S.UNKNOWN, S.RESERVED], [0, 0])


def test_task_that_is_named_in_the_quarantine_is_not_bought_again() -> None:
    world = decided(held(), "resubmit")
    world.take(1)
    world.step(wait=QUARANTINE_SECONDS)
    assert world.states() == [S.ACCEPTED]


def test_submit_is_repeated_only_once() -> None:
    world = decided(held(), "resubmit")
    world.step(wait=QUARANTINE_SECONDS)
    world.unknown(2)
    assert awaits_decision(world.generation, world.attempt(2))
    with pytest.raises(Conflict, match="repeated once already"):
        decide(world.generation, world.attempt(2), "resubmit")
    decided(world, "fail", 2)
    assert world.generation.status is Status.FAILED


def test_resubmit_after_the_deadline_is_refused() -> None:
    world = held(deadline_seconds=QUARANTINE_SECONDS)
    with pytest.raises(Conflict, match="deadline"):
        decide(world.generation, world.attempt(1), "resubmit")


@pytest.mark.parametrize("decision", ["fail", "resubmit"])
def test_decision_is_made_once(decision: Decision) -> None:
    world = decided(held(count=2), decision)
    with pytest.raises(Conflict, match="not held"):
        decide(world.generation, world.attempt(1), "fail")


def test_nothing_else_is_held() -> None:
    world = World(generation("acme/one", "bolt/two", policy=Policy(on_ambiguous="fall_back")))
    world.unknown(1)
    assert not any(awaits_decision(world.generation, attempt) for attempt in world.generation.attempts)
    with pytest.raises(Conflict, match="not held"):
        decide(world.generation, world.attempt(1), "fail")
    running = World(generation(policy=HOLD))
    running.accept(1)
    assert not awaits_decision(running.generation, running.attempt(1))


def test_only_the_output_that_waits_counts() -> None:
    world = held(count=2)
    world.accept(2)
    world.fail(2, FailureKind.TASK_FAILED)
    assert [awaits_decision(world.generation, attempt) for attempt in world.generation.attempts] == [True, False]


def test_task_that_is_named_while_the_second_submit_waits_stops_it() -> None:
    world = decided(held(), "resubmit")
    world.step(wait=QUARANTINE_SECONDS)
    world.take(1)
    world.step()
    assert world.states() == [S.ACCEPTED, S.NOT_SENT]
    world.fail(1, FailureKind.TASK_FAILED)
    assert world.generation.status is Status.FAILED


def test_task_that_is_named_leaves_the_next_route_untried() -> None:
    world = World(generation("acme/one", "bolt/two", policy=Policy(on_ambiguous="fall_back")))
    world.unknown(1)
    assert world.states() == [S.UNKNOWN, S.RESERVED]
    world.take(1)
    world.step()
    assert world.states() == [S.ACCEPTED, S.NOT_SENT]
    world.fail(1, FailureKind.TASK_FAILED)
    assert (world.states()[2:], world.routes()[2:]) == ([S.RESERVED], [1])


def test_second_submit_beyond_max_cost_is_refused() -> None:
    start = generation(policy=HOLD)
    route = replace(start.plan.routes[0], cost_usd=1.0)
    start = replace(start, plan=replace(start.plan, routes=(route,)), request=replace(start.request, max_cost=1.5))
    world = World(start)
    world.unknown(1)
    with pytest.raises(Conflict, match="max_cost"):
        decide(world.generation, world.attempt(1), "resubmit")


def test_second_submit_that_exceeds_max_cost_by_now_is_not_made() -> None:
    start = generation(count=2, policy=HOLD)
    route = replace(start.plan.routes[0], cost_usd=1.0)
    start = replace(start, plan=replace(start.plan, routes=(route,)), request=replace(start.request, max_cost=3.0))
    world = World(start)
    world.send(2)
    world.unknown(1)
    decision = decide(world.generation, world.attempt(1), "resubmit")
    world.generation = apply(world.generation, decision)
    world.take(2, "a", "b")  # two tasks although one was requested: each may be billed
    world.step(wait=QUARANTINE_SECONDS)
    world.read(2, RUNNING, 0)
    world.read(2, RUNNING, 1)
    assert world.states() == [S.UNKNOWN, S.ACCEPTED]


def test_second_submit_that_is_refused_temporarily_waits_on_its_route() -> None:
    world = decided(held(), "resubmit")
    world.step(wait=QUARANTINE_SECONDS)
    world.end(2, FailureKind.RATE_LIMITED, retry_after=30)
    assert (world.last.wake_at - world.now).total_seconds() == 30
    world.step(wait=30)
    assert world.states() == [S.UNKNOWN, S.REFUSED, S.RESERVED]
