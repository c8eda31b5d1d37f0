"""A held provider gets no attempt; what has no other route waits for its release, until the deadline."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.task import Status
from gateway.domain.generation.facts_and_effects import Submit
from gateway.domain.generation.model import AttemptState
from gateway.domain.generation.next_attempt import AwaitRelease, NextTry, Stop, has_another_route, next_try, wait_of
from gateway.domain.generation.summary import summarize
from gateway.domain.health.route_health import RouteHealth
from gateway.domain.routing.order import RankKey, in_order

from ...builders import World, after, generation
from .test_next_attempt import Sick

S = AttemptState
HELD = RouteHealth(held=True)


def test_a_held_route_is_passed_over() -> None:
    world = Sick(generation("acme/one", "bolt/two"), {"acme/one": HELD})
    assert world.routes() == [1]


def test_a_generation_whose_only_route_is_held_waits_for_its_release() -> None:
    world = Sick(generation("acme/one", deadline_seconds=600), {"acme/one": HELD})
    assert (world.routes(), world.last.wake_at) == ([], after(600))
    summary = summarize(world.generation, world.of)
    assert (summary.next_try_at, [(w.type, w.provider) for w in summary.warnings]) == (None, [("not_tried", "acme")])
    assert summarize(World(generation("acme/one")).generation).warnings == ()

    world.health.clear()
    world.step(wait=100)

    assert world.states() == [S.RESERVED]
    assert wait_of(world.generation, world.of).held_provider is None


def test_the_deadline_ends_the_wait() -> None:
    world = Sick(generation("acme/one", deadline_seconds=600), {"acme/one": HELD})
    world.step(wait=600)
    assert (world.generation.status, world.routes()) == (Status.EXPIRED, [])


def test_an_attempt_that_was_not_sent_yet_is_dropped_by_a_hold() -> None:
    world = Sick(generation("acme/one", "bolt/two"))
    world.health["acme/one"] = HELD
    world.busy.clear()
    world.step()
    assert world.states() == [S.NOT_SENT, S.RESERVED]
    assert world.attempt(1).failure is None, "it is not a try of the route"
    world.end(2, FailureKind.OUT_OF_CREDIT)
    assert next_try(world.generation, 0, world.of) == AwaitRelease("acme")
    world.health.clear()
    world.step()
    assert world.routes() == [0, 1, 0]


def test_a_hold_stops_neither_a_submit_under_way_nor_polls() -> None:
    world = Sick(generation("acme/one"))
    world.send(1)
    world.health["acme/one"] = HELD
    world.take(1)
    world.step()
    assert world.states() == [S.ACCEPTED]
    assert world.until_poll(1).attempt_id == world.attempt(1).id


def test_a_repeat_on_another_route_is_better_than_the_wait() -> None:
    world = Sick(generation("acme/one", "bolt/two"), {"bolt/two": HELD})
    world.end(1, FailureKind.RATE_LIMITED, retry_after=10)
    step = next_try(world.generation, 0, world.of)
    assert isinstance(step, NextTry)
    assert step.route == 0
    world.step(wait=10)
    world.end(2, FailureKind.OUT_OF_CREDIT)
    assert next_try(world.generation, 0, world.of) == AwaitRelease("bolt")


def test_a_failure_that_ends_the_generation_does_not_wait() -> None:
    world = Sick(generation("acme/one", "bolt/two"), {"bolt/two": HELD})
    world.end(1, FailureKind.CONTENT_POLICY)
    assert world.generation.status is Status.FAILED
    assert isinstance(next_try(world.generation, 0, world.of), Stop)


def test_a_held_route_is_no_other_route_for_an_attempt_that_waits_for_its_slot() -> None:
    world = Sick(generation("acme/one", "bolt/two"), {"bolt/two": HELD})
    assert has_another_route(world.generation, world.attempt(1))
    assert not has_another_route(world.generation, world.attempt(1), world.of)


def test_held_routes_come_last_in_a_plan() -> None:
    keys = [
        RankKey(name=name, group=0, order="priority", weight=1, cost_usd=None, health=RouteHealth(held=held))
        for name, held in (("a", True), ("b", False))
    ]
    assert in_order([(key, key.name) for key in keys], "seed") == ["b", "a"]


ROUTES = ("acme/one", "bolt/two", "corp/three")
KINDS = st.sampled_from([FailureKind.RATE_LIMITED, FailureKind.OUT_OF_CREDIT, FailureKind.AMBIGUOUS])
ACTIONS = st.lists(
    st.tuples(st.sampled_from(["hold", "release", "wait", "end"]), st.integers(0, 2), KINDS), max_size=12
)


@settings(max_examples=150, deadline=None)
@given(actions=ACTIONS)
def test_whatever_happens_no_submit_starts_at_a_held_provider(
    actions: list[tuple[str, int, FailureKind]],
) -> None:
    world = Sick(generation(*ROUTES, count=2, deadline_seconds=3000))
    for action, number, kind in actions:
        if action == "hold":
            world.health[ROUTES[number]] = HELD
        elif action == "release":
            world.health.pop(ROUTES[number], None)
        reserved = [attempt for attempt in world.generation.attempts if attempt.state is S.RESERVED]
        if action == "end" and reserved and Submit(reserved[0].id) in world.busy:
            state = S.UNKNOWN if kind is FailureKind.AMBIGUOUS else S.REFUSED
            if not world.of(*ROUTES[reserved[0].route].split("/")).held:
                world.end(reserved[0].number, kind, state=state)
        world.busy = {effect for effect in world.busy if not isinstance(effect, Submit)} | {
            Submit(attempt.id) for attempt in world.generation.attempts if attempt.state is S.RESERVED
        }
        world.step(wait=200 if action == "wait" else 0)
        for attempt in world.generation.attempts:
            if attempt.state is S.RESERVED:
                assert not world.of(*ROUTES[attempt.route].split("/")).held
