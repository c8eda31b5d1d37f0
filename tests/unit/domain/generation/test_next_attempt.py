"""What each failure leads to, and how often the same route is tried."""

from collections.abc import Iterable
from datetime import timedelta

import pytest
from msgspec.structs import replace

from gateway.domain.adapter.failure import PUBLIC_CODE, REMEDY, TASK_BILLED, Billed, FailureKind, Remedy
from gateway.domain.adapter.messages import PRIVATE, failed
from gateway.domain.adapter.task import Failed, Status
from gateway.domain.backoff import exponential, spread
from gateway.domain.generation.facts_and_effects import Fact, Submit, SubmitEnded
from gateway.domain.generation.lifecycle import Step, advance
from gateway.domain.generation.model import AttemptState, Generation, Policy
from gateway.domain.generation.next_attempt import (
    REPEAT_MAX_SECONDS,
    REPEATS_MAX,
    NextTry,
    Stop,
    has_another_route,
    is_retry,
    next_try,
    next_try_at,
    remedy_for,
    routes_left,
)
from gateway.domain.health.circuit import CircuitState
from gateway.domain.health.route_health import HealthOf, RouteHealth

from ....cases import every
from ...builders import RUNNING, World, after, done, generation

S = AttemptState
GOES_ON = {
    FailureKind.CREDENTIAL_REFUSED,
    FailureKind.OUT_OF_CREDIT,
    FailureKind.RATE_LIMITED,
    FailureKind.UNAVAILABLE,
    FailureKind.AMBIGUOUS,
    FailureKind.TASK_FAILED,
    FailureKind.TASK_LOST,
    FailureKind.TIMED_OUT,
    FailureKind.RESULT_MISSING,
    FailureKind.ADAPTER_FAILED,
}
WAITS = {FailureKind.RATE_LIMITED, FailureKind.UNAVAILABLE}


@pytest.mark.parametrize("table", [REMEDY, TASK_BILLED, PUBLIC_CODE], ids=["remedy", "billed", "code"])
def test_table_has_every_kind(table: dict[FailureKind, object]) -> None:
    assert set(table) == set(FailureKind)


def test_public_codes_differ() -> None:
    assert len(set(PUBLIC_CODE.values())) == len(FailureKind)
    assert PUBLIC_CODE[FailureKind.AMBIGUOUS] == "submission_unknown"


@every("kind", FailureKind)
def test_refused_submit_with_a_route_left(kind: FailureKind) -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.end(1, kind, state=S.UNKNOWN if kind is FailureKind.AMBIGUOUS else S.REFUSED)

    if kind in GOES_ON:
        assert world.routes() == [0, 1]
        assert not world.generation.status.terminal
    else:
        assert world.routes() == [0]
        assert world.generation.status is Status.FAILED
        assert world.generation.failure == failed(kind, "no")
    assert world.attempt(1).billed is (Billed.MAYBE if kind is FailureKind.AMBIGUOUS else Billed.NO)


@every("kind", FailureKind)
def test_refused_submit_on_the_last_route(kind: FailureKind) -> None:
    world = World(generation("acme/one"))
    world.end(1, kind, state=S.UNKNOWN if kind is FailureKind.AMBIGUOUS else S.REFUSED)

    assert world.routes() == [0], "the same route is not tried again at once"
    assert (world.generation.status is Status.QUEUED) == (kind in WAITS)
    if kind not in WAITS:
        assert world.generation.failure == failed(kind, "no")


@every("kind", FailureKind)
def test_failed_task_with_a_route_left(kind: FailureKind) -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.accept(1)
    world.fail(1, kind)

    assert (world.attempt(1).state, world.attempt(1).billed) == (S.FAILED, TASK_BILLED[kind])
    assert world.routes() == ([0, 1] if kind in GOES_ON else [0])


@pytest.mark.parametrize("state", [S.REFUSED, S.NOT_SENT])
def test_limit_of_one_provider_alone_falls_back(state: AttemptState) -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.end(1, FailureKind.INVALID_REQUEST, state=state, elsewhere=True)
    assert world.states() == [state, S.RESERVED]


def test_content_policy_falls_back_where_the_model_allows_it() -> None:
    world = World(generation("acme/one", "bolt/two", policy=Policy(on_content_policy="fall_back")))
    world.end(1, FailureKind.CONTENT_POLICY)
    assert world.routes() == [0, 1]


@pytest.mark.parametrize(
    ("policy", "remedy"),
    [("fall_back", Remedy.FALL_BACK), ("fail", Remedy.STOP), ("hold", Remedy.RECONCILE)],
)
def test_remedy_of_no_clear_answer_is_the_policy(policy: str, remedy: Remedy) -> None:
    failure = failed(FailureKind.AMBIGUOUS)
    assert remedy_for(failure, Policy(on_ambiguous=policy)) is remedy  # type: ignore[arg-type]  # one of the three


def test_unknown_submit_is_ambiguous_whatever_it_was_called() -> None:
    world = World(generation("acme/one", policy=Policy(on_ambiguous="hold")))
    world.end(1, FailureKind.UNAVAILABLE, state=S.UNKNOWN)
    world.step(wait=600)
    assert world.states() == [S.UNKNOWN], "another submit could be billed a second time"


def test_routes_are_tried_in_order_and_the_last_failure_is_reported() -> None:
    world = World(generation("acme/one", "bolt/two", "corp/three"))
    for number, kind in enumerate((FailureKind.OUT_OF_CREDIT, FailureKind.TIMED_OUT, FailureKind.TASK_FAILED), 1):
        world.end(number, kind)
    assert world.routes() == [0, 1, 2]
    assert world.generation.failure == failed(FailureKind.TASK_FAILED, "no")


def test_stop_for_one_output_leaves_the_others_alone() -> None:
    world = World(generation("acme/one", "bolt/two", count=2))
    world.end(1, FailureKind.CONTENT_POLICY)
    world.end(2, FailureKind.OUT_OF_CREDIT)
    assert world.outputs() == [Status.FAILED, Status.QUEUED]
    assert (world.attempt(3).slots, world.attempt(3).route) == ((1,), 1)


# Another form of the same submit


def test_next_variant_is_tried_once() -> None:
    world = World(generation("acme/one", "bolt/two"), variant="number")
    world.end(1, FailureKind.INVALID_REQUEST, amend="string")
    assert [(attempt.route, attempt.variant) for attempt in world.generation.attempts] == [(0, "number"), (0, "string")]

    world.end(2, FailureKind.INVALID_REQUEST, amend="number")
    assert len(world.generation.attempts) == 2
    assert world.generation.failure == failed(FailureKind.INVALID_REQUEST, "no")


def test_form_that_was_just_refused_is_not_tried_again() -> None:
    world = World(generation("acme/one"), variant="number")
    world.end(1, FailureKind.INVALID_REQUEST, amend="number")
    assert world.states() == [S.REFUSED]


def test_next_variant_is_kept_when_the_provider_asks_to_wait() -> None:
    world = World(generation("acme/one"), variant="number")
    world.end(1, FailureKind.INVALID_REQUEST, amend="string")
    world.end(2, FailureKind.RATE_LIMITED, retry_after=10)
    world.step(wait=10)
    assert [attempt.variant for attempt in world.generation.attempts] == ["number", "string", "string"]


def test_next_variant_is_not_tried_beyond_max_cost() -> None:
    """Without the check the attempt was reserved and dropped endlessly."""
    world = World(priced(2.0, 1.0, count=2))
    world.send(1)
    world.accept(2, "a", "b")  # two tasks although one was requested: each may be billed
    world.end(1, FailureKind.INVALID_REQUEST, amend="string")
    world.read(2, RUNNING, 0)
    world.read(2, RUNNING, 1)
    assert world.states() == [S.REFUSED, S.ACCEPTED]
    world.read(2, done("a"), 0)
    world.read(2, done("b"), 1)
    assert (world.states(), world.outputs()[:2]) == ([S.REFUSED, S.COMPLETED], [Status.COMPLETED, Status.COMPLETED])


def test_every_route_has_its_own_next_variant() -> None:
    world = World(generation("acme/one", "bolt/two"), variant="number")
    world.end(1, FailureKind.INVALID_REQUEST, amend="string")
    world.end(2, FailureKind.OUT_OF_CREDIT)
    world.end(3, FailureKind.INVALID_REQUEST, amend="string")
    assert [(attempt.route, attempt.variant) for attempt in world.generation.attempts][2:] == [
        (1, "number"),
        (1, "string"),
    ]


def test_outputs_of_one_refused_submit_are_amended_together() -> None:
    world = World(generation(count=3, count_max=4), variant="number")
    world.end(1, FailureKind.INVALID_REQUEST, amend="string")
    assert [(attempt.slots, attempt.variant) for attempt in world.generation.attempts][1:] == [((0, 1, 2), "string")]


# The last route again


def test_waits_grow_and_end_in_a_failure() -> None:
    world = World(generation(deadline_seconds=86_400))
    waits = []
    while not world.generation.status.terminal:
        ended = world.now
        step = world.end(len(world.generation.attempts), FailureKind.UNAVAILABLE, state=S.NOT_SENT)
        if world.generation.status.terminal:
            break
        waits.append((step.wake_at - ended).total_seconds())
        world.now = step.wake_at
        world.step()
    assert len(world.generation.attempts) == REPEATS_MAX
    assert len(waits) == REPEATS_MAX - 1
    for number, wait in enumerate(waits):
        longest = min(2 ** (number + 1), REPEAT_MAX_SECONDS)
        assert longest / 2 <= wait <= longest
    assert world.generation.failure == failed(FailureKind.UNAVAILABLE)


def test_provider_s_own_wait_is_honoured() -> None:
    world = World(generation())
    step = world.end(1, FailureKind.RATE_LIMITED, retry_after=120)
    assert step.wake_at == after(120)
    world.step(wait=119.9)
    assert len(world.generation.attempts) == 1
    world.step(wait=0.1)
    assert world.states() == [S.REFUSED, S.RESERVED]


def test_short_wait_does_not_shorten_the_growing_one() -> None:
    world = World(generation())
    step = world.end(1, FailureKind.RATE_LIMITED, retry_after=0.0)
    assert after(1) <= step.wake_at <= after(2)


def test_wait_that_ends_after_the_deadline_fails_at_once() -> None:
    world = World(generation(deadline_seconds=600))
    world.end(1, FailureKind.RATE_LIMITED, retry_after=600)
    assert world.generation.failure == failed(FailureKind.RATE_LIMITED)


def test_another_route_is_not_kept_waiting() -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.end(1, FailureKind.RATE_LIMITED, retry_after=120)
    assert world.routes() == [0, 1]


# Back to a route that refused temporarily


@every("state", [S.REFUSED, S.NOT_SENT])
@every("first", sorted(WAITS))
@every("last", sorted(GOES_ON - WAITS - {FailureKind.AMBIGUOUS}))
def test_route_that_asked_to_wait_is_tried_again_when_a_later_one_failed_permanently(
    first: FailureKind, last: FailureKind, state: AttemptState
) -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.end(1, first, state=state, retry_after=120)
    step = world.end(2, last)
    assert not world.generation.status.terminal
    assert step.wake_at == after(120)
    world.step(wait=119.9)
    assert world.routes() == [0, 1]
    world.step(wait=0.1)
    assert world.routes() == [0, 1, 0]
    assert is_retry(world.generation, world.attempt(3))


def test_wait_that_passed_while_another_route_worked_is_over() -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.end(1, FailureKind.RATE_LIMITED, retry_after=30)
    world.accept(2)
    world.step(wait=40)
    world.fail(2, FailureKind.TASK_FAILED)
    assert world.routes() == [0, 1, 0]


def test_unknown_submit_leaves_the_route_of_another_provider_that_asked_to_wait() -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.end(1, FailureKind.RATE_LIMITED, retry_after=30)
    world.unknown(2)
    world.step(wait=30)
    assert world.routes() == [0, 1, 0]


def test_route_of_a_provider_that_may_have_a_task_is_not_tried_again() -> None:
    world = World(generation("acme/one", "acme/two"))
    world.end(1, FailureKind.RATE_LIMITED, retry_after=30)
    world.unknown(2)
    assert world.routes() == [0, 1]
    assert world.generation.failure == failed(FailureKind.AMBIGUOUS, "no")


@pytest.mark.parametrize("kind", [FailureKind.CREDENTIAL_REFUSED, FailureKind.OUT_OF_CREDIT])
@pytest.mark.parametrize("of_model", [False, True])
def test_route_of_an_account_that_was_refused_since_is_not_tried_again(kind: FailureKind, *, of_model: bool) -> None:
    world = World(generation("acme/one", "acme/two"))
    world.end(1, FailureKind.RATE_LIMITED, retry_after=30)
    refuse(world, 2, failed(kind, of_model=of_model))
    world.step(wait=30)
    assert world.routes() == ([0, 1, 0] if of_model else [0, 1])
    assert world.generation.failure == (None if of_model else failed(kind))


def test_next_try_includes_the_wait_for_an_open_circuit() -> None:
    world = World(generation("acme/one"))
    world.end(1, FailureKind.RATE_LIMITED, retry_after=10)
    moment = next_try_at(world.generation, lambda *_: RouteHealth(circuit=CircuitState.OPEN, retry_at=after(100)))
    assert moment is not None
    assert after(100) <= moment <= after(102)


def test_of_several_routes_that_asked_to_wait_the_first_to_be_due_is_tried_again() -> None:
    world = World(generation("acme/one", "bolt/two", "corp/three"))
    world.end(1, FailureKind.RATE_LIMITED, retry_after=10)
    world.end(2, FailureKind.RATE_LIMITED, retry_after=20)
    world.end(3, FailureKind.OUT_OF_CREDIT)
    assert (world.last.wake_at, next_try_at(world.generation)) == (after(10), after(10))
    world.step(wait=10)
    assert world.routes() == [0, 1, 2, 0]
    assert next_try_at(world.generation) is None, "an attempt is under way"
    world.end(4, FailureKind.OUT_OF_CREDIT)
    assert world.last.wake_at == after(20)
    world.step(wait=10)
    assert world.routes() == [0, 1, 2, 0, 1]
    world.end(5, FailureKind.OUT_OF_CREDIT)
    assert world.generation.failure == failed(FailureKind.OUT_OF_CREDIT)


def test_routes_that_asked_to_wait_are_tried_in_rotation_until_the_deadline() -> None:
    world = World(generation("acme/one", "bolt/two"))
    while not world.generation.status.terminal:
        if world.states()[-1] is not S.RESERVED:
            world.now = world.last.wake_at
            world.step()
        world.end(len(world.generation.attempts), FailureKind.RATE_LIMITED)
    tries = [world.routes().count(route) for route in (0, 1)]
    assert abs(tries[0] - tries[1]) <= 2, "both routes are tried"
    assert sum(tries) > 20
    assert world.now > after(3600 - REPEAT_MAX_SECONDS), "it fails only when no time is left for another try"


def test_route_that_asked_to_wait_and_then_failed_permanently_is_not_tried_again() -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.end(1, FailureKind.UNAVAILABLE)
    world.end(2, FailureKind.TASK_FAILED)
    world.now = world.last.wake_at
    world.step()
    world.end(3, FailureKind.TIMED_OUT)
    assert world.routes() == [0, 1, 0]
    assert world.generation.failure == failed(FailureKind.TIMED_OUT)


def test_route_whose_task_failed_after_a_wait_is_not_bought_again() -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.end(1, FailureKind.UNAVAILABLE)
    world.end(2, FailureKind.OUT_OF_CREDIT)
    world.now = world.last.wake_at
    world.step()
    world.accept(3)
    world.fail(3, FailureKind.UNAVAILABLE)
    assert world.routes() == [0, 1, 0]
    assert world.states() == [S.REFUSED, S.REFUSED, S.FAILED]
    assert world.generation.status is Status.FAILED


def test_failure_of_the_request_ends_the_waiting_too() -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.end(1, FailureKind.RATE_LIMITED, retry_after=30)
    world.end(2, FailureKind.CONTENT_POLICY)
    assert world.generation.failure == failed(FailureKind.CONTENT_POLICY, "no")


def test_tries_of_a_repeated_route_are_counted() -> None:
    world = World(generation("acme/one", "bolt/two", deadline_seconds=86_400))
    world.end(1, FailureKind.UNAVAILABLE)
    world.end(2, FailureKind.OUT_OF_CREDIT)
    while not world.generation.status.terminal:
        world.now = world.last.wake_at
        world.step()
        world.end(len(world.generation.attempts), FailureKind.UNAVAILABLE)
    assert world.routes() == [0, 1, *[0] * (REPEATS_MAX - 1)]
    assert world.generation.failure == failed(FailureKind.UNAVAILABLE)


def test_wait_beyond_the_deadline_is_not_waited_for_after_another_route() -> None:
    world = World(generation("acme/one", "bolt/two", deadline_seconds=600))
    world.end(1, FailureKind.RATE_LIMITED, retry_after=600)
    world.end(2, FailureKind.OUT_OF_CREDIT)
    assert world.generation.failure == failed(FailureKind.OUT_OF_CREDIT)


def test_repeated_route_keeps_its_form() -> None:
    world = World(generation("acme/one", "bolt/two"), variant="number")
    world.end(1, FailureKind.INVALID_REQUEST, amend="string")
    world.end(2, FailureKind.RATE_LIMITED, retry_after=10)
    world.end(3, FailureKind.OUT_OF_CREDIT)
    world.step(wait=10)
    assert [(attempt.route, attempt.variant) for attempt in world.generation.attempts] == [
        (0, "number"),
        (0, "string"),
        (1, "number"),
        (0, "string"),
    ]


def test_every_output_repeats_its_own_route() -> None:
    world = World(generation("acme/one", "bolt/two", count=2))
    world.end(1, FailureKind.RATE_LIMITED, retry_after=10)  # both begin on the first route
    world.accept(2)
    world.end(3, FailureKind.OUT_OF_CREDIT)
    world.step(wait=10)
    assert [(attempt.route, attempt.slots) for attempt in world.generation.attempts] == [
        (0, (0,)),
        (0, (1,)),
        (1, (0,)),
        (0, (0,)),
    ]


def test_deadline_before_any_task_reports_the_newest_refusal() -> None:
    world = Sick(generation("acme/one", "bolt/two", deadline_seconds=600))
    world.end(1, FailureKind.RATE_LIMITED)
    world.health["acme/one"] = RouteHealth(retry_at=after(9000))
    world.end(2, FailureKind.OUT_OF_CREDIT)
    world.now = after(600)
    world.step()
    assert world.generation.status is Status.EXPIRED
    assert world.generation.failure == failed(FailureKind.OUT_OF_CREDIT)


def test_whether_another_route_is_left() -> None:
    world = World(generation("acme/one", "bolt/two", count=2))
    assert [has_another_route(world.generation, attempt) for attempt in world.generation.attempts] == [True, True]
    world.end(1, FailureKind.OUT_OF_CREDIT)
    first, second, third = world.generation.attempts
    assert (third.slots, third.route) == ((0,), 1)
    assert not has_another_route(world.generation, third), "every route was tried for its output"
    assert not has_another_route(world.generation, first)
    assert has_another_route(world.generation, second)
    alone = World(generation("acme/one"))
    assert not has_another_route(alone.generation, alone.attempt(1))


# Limits on the number of tries


def test_only_tries_in_a_row_count() -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.end(1, FailureKind.UNAVAILABLE)
    step = world.end(2, FailureKind.UNAVAILABLE)
    assert after(1) <= step.wake_at <= after(2), "the first route's failure is not a try of the last"


def test_other_failure_between_ends_the_waiting() -> None:
    world = World(generation())
    world.end(1, FailureKind.UNAVAILABLE)
    world.now = world.last.wake_at
    world.step()
    world.end(2, FailureKind.OUT_OF_CREDIT)
    assert world.states() == [S.REFUSED, S.REFUSED]
    assert world.generation.status is Status.FAILED


@pytest.mark.parametrize("kind", [FailureKind.UNAVAILABLE, FailureKind.RATE_LIMITED])
def test_task_that_may_have_been_paid_for_is_not_bought_again_on_its_route(kind: FailureKind) -> None:
    world = World(generation())
    world.accept(1)
    world.fail(1, kind)
    assert (world.states(), world.generation.status) == ([S.FAILED], Status.FAILED)
    assert world.generation.failure is not None
    assert world.generation.failure.kind is kind


def test_next_try_of_a_new_output_is_the_first_route() -> None:
    assert next_try(generation(), 0) == NextTry(0)


def test_there_is_no_next_try_while_an_attempt_is_live() -> None:
    world = World(generation())
    assert next_try(world.generation, 0) is None
    world.send(1)
    assert next_try(world.generation, 0) is None
    world.take(1)
    assert next_try(world.generation, 0) is None


def test_stop_has_the_reason() -> None:
    world = World(generation("acme/one", count=2))
    world.end(1, FailureKind.OUT_OF_CREDIT)
    assert next_try(world.generation, 0) == Stop(failed(FailureKind.OUT_OF_CREDIT))


# The computation of pauses


@pytest.mark.parametrize("tries", [0, 1, 2, 5, 40, 5000])
def test_wait_stays_between_half_and_all_of_its_ceiling(tries: int) -> None:
    full = min(2 * 2.0 ** min(tries - 1, 32), 60)
    assert full / 2 <= exponential(tries, first=2, ceiling=60, seed="a") <= full


def test_spread_is_even_and_repeatable() -> None:
    numbers = [spread(f"att_{number}") for number in range(2000)]
    assert numbers == [spread(f"att_{number}") for number in range(2000)]
    assert all(0 <= value < 1 for value in numbers)
    assert 0.45 < sum(numbers) / len(numbers) < 0.55


def test_private_words_are_never_the_provider_s_own() -> None:
    for kind in PRIVATE:
        assert failed(kind, "sk-1 at 10.0.0.1").message == PRIVATE[kind]


# Health


class Sick(World):
    """A world in which the test sets the health of each route, by `provider/model`."""

    def __init__(self, start: Generation, health: dict[str, RouteHealth] | None = None) -> None:
        self.health = health or {}
        super().__init__(start)

    def _advance(self, facts: Iterable[Fact]) -> Step:
        return advance(
            self.generation,
            self.schedules,
            facts,
            now=self.now,
            busy=frozenset(self.busy),
            profile_of=self.profile_of,
            health=self.of,
        )

    def of(self, provider: str, model: str) -> RouteHealth:
        return self.health.get(f"{provider}/{model}", RouteHealth())

    def become(self, circuit: CircuitState, *routes: str) -> None:
        self.health |= dict.fromkeys(routes, RouteHealth(circuit=circuit))


def healthy(**circuits: CircuitState) -> HealthOf:
    """The circuit of each named provider; the circuits of the others are closed."""
    return lambda provider, _model: RouteHealth(circuit=circuits.get(provider, CircuitState.CLOSED))


OPEN, HALF_OPEN = CircuitState.OPEN, CircuitState.HALF_OPEN


@pytest.mark.parametrize(
    ("circuits", "first"),
    [
        ({}, 0),
        ({"acme": OPEN}, 1),
        ({"acme": HALF_OPEN}, 0),
        ({"acme": OPEN, "bolt": HALF_OPEN}, 1),
        ({"acme": OPEN, "bolt": OPEN}, 2),
        ({"acme": OPEN, "bolt": OPEN, "corp": OPEN}, 0),
    ],
)
def test_first_try_leaves_open_circuits_for_last(circuits: dict[str, CircuitState], first: int) -> None:
    assert next_try(generation("acme/one", "bolt/two", "corp/three"), 0, healthy(**circuits)) == NextTry(first)


def test_only_route_is_tried_though_its_circuit_is_open() -> None:
    assert next_try(generation("acme/one"), 0, healthy(acme=OPEN)) == NextTry(0)


def test_circuit_that_opened_after_the_plan_is_last_and_still_tried() -> None:
    world = Sick(generation("acme/one", "bolt/two", "corp/three", "dash/four"))
    world.become(OPEN, "bolt/two")
    world.become(HALF_OPEN, "corp/three")
    for number in range(1, 5):
        world.end(number, FailureKind.TASK_FAILED)
    assert world.routes() == [0, 2, 3, 1]
    assert world.generation.status is Status.FAILED


def test_circuit_that_closed_again_has_its_position_back() -> None:
    world = Sick(generation("acme/one", "bolt/two", "corp/three"))
    world.become(OPEN, "bolt/two")
    world.become(CircuitState.CLOSED, "bolt/two")
    world.end(1, FailureKind.TASK_FAILED)
    assert world.routes() == [0, 1]


def test_route_before_the_one_that_was_tried_first_is_not_forgotten() -> None:
    world = Sick(generation("acme/one", "bolt/two"), health={"acme/one": RouteHealth(circuit=OPEN)})
    assert world.routes() == [1]
    world.end(1, FailureKind.TASK_FAILED)
    assert world.routes() == [1, 0]


# An account that was refused


@pytest.mark.parametrize("kind", [FailureKind.OUT_OF_CREDIT, FailureKind.CREDENTIAL_REFUSED])
@pytest.mark.parametrize(("of_model", "routes"), [(False, [0, 2]), (True, [0, 1])])
def test_account_that_refuses_is_not_asked_for_another_model(
    kind: FailureKind, of_model: bool, routes: list[int]
) -> None:
    world = World(generation("acme/one", "acme/two", "bolt/three"))
    refuse(world, 1, failed(kind, of_model=of_model))
    assert world.routes() == routes


@pytest.mark.parametrize("kind", [FailureKind.TASK_FAILED, FailureKind.UNAVAILABLE, FailureKind.RATE_LIMITED])
def test_other_failures_leave_the_provider_s_other_models(kind: FailureKind) -> None:
    world = World(generation("acme/one", "acme/two", "bolt/three"))
    refuse(world, 1, failed(kind))
    assert world.routes() == [0, 1]


def test_account_stays_left_out_for_the_rest_of_the_generation() -> None:
    world = World(generation("acme/one", "bolt/two", "acme/three"))
    refuse(world, 1, failed(FailureKind.OUT_OF_CREDIT))
    refuse(world, 2, failed(FailureKind.TASK_FAILED))
    assert world.routes() == [0, 1]
    assert world.generation.failure == failed(FailureKind.TASK_FAILED)


def test_task_that_failed_for_credit_leaves_out_the_account() -> None:
    world = World(generation("acme/one", "acme/two", "bolt/three"))
    world.accept(1)
    world.fail(1, FailureKind.OUT_OF_CREDIT)
    assert world.routes() == [0, 2]


def refuse(world: World, number: int, failure: Failed) -> None:
    """Let the submit be refused with exactly this failure."""
    attempt = world.attempt(number)
    world.send(number)
    world.busy.discard(Submit(attempt.id))
    world.step(SubmitEnded(attempt_id=attempt.id, state=S.REFUSED, failure=failure))


# `max_cost`, over the whole generation


def priced(limit: float, *costs: float, count: int = 1, count_max: int = 1) -> Generation:
    """Routes with these prices, each of another provider."""
    names = [f"provider{number}/model" for number in range(len(costs))]
    start = generation(*names, count=count, count_max=count_max)
    routes = tuple(replace(route, cost_usd=cost) for route, cost in zip(start.plan.routes, costs, strict=True))
    return replace(start, plan=replace(start.plan, routes=routes), request=replace(start.request, max_cost=limit))


@pytest.mark.parametrize(
    ("limit", "costs", "is_tried"),
    [(1.0, (0.5, 0.5), True), (1.0, (0.5, 0.51), False), (0.3, (0.1, 0.2), True), (1.0, (0.4, 0.7, 0.6), True)],
)
def test_attempt_that_may_have_been_billed_counts(limit: float, costs: tuple[float, ...], is_tried: bool) -> None:
    world = World(priced(limit, *costs))
    world.accept(1)
    world.fail(1, FailureKind.TASK_FAILED)
    assert world.attempt(1).billed is Billed.MAYBE
    assert world.routes() == ([0, len(costs) - 1] if is_tried else [0])
    if not is_tried:
        assert world.generation.failure == failed(FailureKind.TASK_FAILED, "no")


def test_unknown_submit_counts() -> None:
    world = World(priced(1.0, 0.6, 0.6))
    world.unknown(1)
    assert world.routes() == [0]
    assert world.generation.status is Status.FAILED


def test_attempt_abandoned_for_its_time_out_counts() -> None:
    world = World(priced(1.0, 0.6, 0.6, 0.4))
    world.accept(1)
    world.give_up(1)
    assert world.routes() == [0, 2]


@pytest.mark.parametrize("state", [S.REFUSED, S.NOT_SENT])
def test_attempt_that_was_not_billed_does_not_count(state: AttemptState) -> None:
    world = World(priced(1.0, 1.0, 1.0, 1.0))
    world.end(1, FailureKind.UNAVAILABLE, state=state)
    world.end(2, FailureKind.OUT_OF_CREDIT, state=state)
    assert world.routes() == [0, 1, 2]


def test_outputs_that_are_being_made_are_not_counted_twice() -> None:
    world = World(priced(2.0, 1.0, 1.0, count=2))
    world.accept(2)
    world.end(1, FailureKind.OUT_OF_CREDIT)
    assert [(attempt.route, attempt.slots) for attempt in world.generation.attempts] == [
        (0, (0,)),
        (0, (1,)),
        (1, (0,)),
    ]


def test_max_cost_must_allow_all_outputs_that_no_attempt_makes() -> None:
    world = World(priced(4.0, 1.0, 1.5, 1.0, count=2, count_max=2))
    world.accept(1, "a", "b")
    world.fail(1, FailureKind.TASK_FAILED, 0)
    world.fail(1, FailureKind.TASK_FAILED, 1)
    assert [(attempt.route, attempt.slots) for attempt in world.generation.attempts] == [(0, (0, 1)), (2, (0, 1))]


def test_tasks_beyond_the_requested_number_count() -> None:
    for limit, routes in ((3.9, [0]), (4.0, [0, 1])):
        world = World(priced(limit, 1.0, 1.0))
        world.accept(1, "a", "b", "c")
        for index in range(3):
            world.fail(1, FailureKind.TASK_FAILED, index)
        assert world.routes() == routes


def test_failed_output_leaves_money_for_another_one_and_the_driver_looks_soon() -> None:
    """The first output has no money left for another route until the second output has failed."""
    world = World(priced(1.9, 0.5, 1.0, count=2))
    world.send(2)
    world.accept(1)
    world.give_up(1)
    assert world.routes() == [0, 0]
    refused = SubmitEnded(attempt_id=world.attempt(2).id, state=S.REFUSED, failure=failed(FailureKind.OUT_OF_CREDIT))

    def advanced(before: Step, *facts: Fact) -> Step:
        return advance(
            before.generation, before.schedules, facts, now=world.now, busy=frozenset(), profile_of=world.profile_of
        )

    step = advanced(replace(world.last, generation=world.generation), refused)
    assert [output.status for output in step.generation.outputs] == [Status.QUEUED, Status.FAILED]
    assert [attempt.route for attempt in step.generation.attempts] == [0, 0]
    assert step.wake_at - world.now <= timedelta(seconds=1)
    assert [attempt.route for attempt in advanced(step).generation.attempts] == [0, 0, 1]


def test_repeat_of_an_unbilled_attempt_costs_nothing_more() -> None:
    world = World(priced(1.0, 1.0))
    step = world.end(1, FailureKind.RATE_LIMITED, retry_after=30)
    assert step.wake_at == after(30)


def test_repeated_route_must_fit_into_max_cost() -> None:
    for cost, routes in ((0.6, [0, 1]), (0.4, [0, 1, 0])):
        world = World(priced(1.0, cost, 0.6))
        world.end(1, FailureKind.RATE_LIMITED)
        world.accept(2)
        world.step(wait=30)
        world.fail(2, FailureKind.TASK_FAILED)
        assert world.routes() == routes


def test_without_a_limit_prices_change_nothing() -> None:
    start = priced(9.0, 100.0, 100.0)
    world = World(replace(start, request=replace(start.request, max_cost=None)))
    world.unknown(1)
    assert world.routes() == [0, 1]


# A repeat waits until the provider's health allows it


def test_repeat_waits_for_the_provider_s_health() -> None:
    world = Sick(generation())
    world.health["acme/one"] = RouteHealth(retry_at=after(100))
    step = world.end(1, FailureKind.UNAVAILABLE, state=S.NOT_SENT)
    assert after(100) <= step.wake_at < after(102)
    world.now = after(99)
    assert world.step().wake_at == step.wake_at
    world.health.clear()
    world.step()
    assert world.states() == [S.NOT_SENT, S.RESERVED], "as soon as its health allows it"


def test_repeat_has_its_own_wait_where_that_is_longer() -> None:
    world = Sick(generation())
    world.health["acme/one"] = RouteHealth(retry_at=after(50))
    assert world.end(1, FailureKind.RATE_LIMITED, retry_after=120).wake_at == after(120)


def test_many_that_wait_for_the_same_moment_do_not_come_at_once() -> None:
    moments = set()
    for number in range(50):
        world = Sick(replace(generation(), id=f"gen_{number}"))
        world.health["acme/one"] = RouteHealth(retry_at=after(100))
        moments.add(world.end(1, FailureKind.UNAVAILABLE).wake_at)
    assert len(moments) > 40
    assert max(moments) - min(moments) > timedelta(seconds=1)


def test_repeat_that_is_never_allowed_ends_with_the_deadline() -> None:
    world = Sick(generation(deadline_seconds=600))
    world.end(1, FailureKind.UNAVAILABLE, state=S.NOT_SENT)
    for _ in range(200):
        world.now = world.last.wake_at
        world.health["acme/one"] = RouteHealth(retry_at=world.now + timedelta(seconds=5))
        world.step()
        if world.generation.status.terminal:
            break
    assert world.generation.status is Status.EXPIRED
    assert world.now == after(600)
    assert world.states() == [S.NOT_SENT]


def test_no_repeat_is_postponed_beyond_the_deadline() -> None:
    world = Sick(generation(deadline_seconds=600))
    world.end(1, FailureKind.UNAVAILABLE, state=S.NOT_SENT)
    world.health["acme/one"] = RouteHealth(retry_at=after(9000))
    assert next_try(world.generation, 0, world.of) == NextTry(0, not_before=after(600))


def test_health_allows_a_repeat_no_more_often_than_it_would_be_tried() -> None:
    world = Sick(generation(deadline_seconds=86_400))
    while not world.generation.status.terminal:
        world.health["acme/one"] = RouteHealth(retry_at=world.now + timedelta(seconds=20))
        world.end(len(world.generation.attempts), FailureKind.UNAVAILABLE, state=S.NOT_SENT)
        if not world.generation.status.terminal:
            world.now = world.last.wake_at
            world.step()
    assert len(world.generation.attempts) == REPEATS_MAX
    assert world.generation.failure == failed(FailureKind.UNAVAILABLE)


def test_repeated_route_waits_for_its_own_provider_s_health() -> None:
    world = Sick(generation("acme/one", "bolt/two"))
    world.health |= {"acme/one": RouteHealth(retry_at=after(100)), "bolt/two": RouteHealth(retry_at=after(500))}
    world.end(1, FailureKind.UNAVAILABLE)
    step = world.end(2, FailureKind.OUT_OF_CREDIT)
    assert after(100) <= step.wake_at < after(102)


def test_other_routes_do_not_wait_for_a_repeat_to_be_allowed() -> None:
    world = Sick(generation("acme/one", "bolt/two"))
    world.health["bolt/two"] = RouteHealth(retry_at=after(100))
    world.end(1, FailureKind.UNAVAILABLE)
    assert world.routes() == [0, 1], "the first submit to a route is not a repeat"


# What is a repeat


def test_what_is_a_repeat() -> None:
    world = World(generation("acme/one", "bolt/two", count=2), variant="number")
    assert world.routes() == [0, 0], "an attempt for each output"
    world.end(1, FailureKind.INVALID_REQUEST, amend="string")
    world.end(3, FailureKind.UNAVAILABLE)
    world.end(4, FailureKind.UNAVAILABLE)
    world.now = world.last.wake_at
    world.step()
    assert [(attempt.slots, attempt.route, attempt.variant) for attempt in world.generation.attempts] == [
        ((0,), 0, "number"),
        ((1,), 0, "number"),
        ((0,), 0, "string"),
        ((0,), 1, "number"),
        ((0,), 1, "number"),
    ]
    repeats = [is_retry(world.generation, attempt) for attempt in world.generation.attempts]
    assert repeats == [False, False, False, False, True]


def test_routes_left_are_untried_or_were_refused_for_the_moment() -> None:
    world = World(generation("acme/one", "bolt/two", "acme/three", "cord/four"))
    assert [route.model for route in routes_left(world.generation, world.attempt(1))] == ["two", "three", "four"]
    world.end(1, FailureKind.RATE_LIMITED, state=S.REFUSED)
    assert [route.model for route in routes_left(world.generation, world.attempt(2))] == ["one", "three", "four"]
    world.end(2, FailureKind.TASK_FAILED, state=S.REFUSED)
    assert [route.model for route in routes_left(world.generation, world.attempt(3))] == ["one", "four"]
    world.end(3, FailureKind.CREDENTIAL_REFUSED, state=S.REFUSED)
    assert [route.model for route in routes_left(world.generation, world.attempt(4))] == ["one"]
