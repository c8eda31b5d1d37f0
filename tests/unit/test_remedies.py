"""What each failure leads to, and how often the same is tried."""

import pytest

from gateway.domain.backoff import exponential, spread
from gateway.domain.generation import AttemptState, Policy
from gateway.domain.reading import PRIVATE, failed
from gateway.domain.remedies import RETRIES_MAX, Stop, Try, next_try, remedy_for
from gateway.domain.task import PUBLIC_CODE, REMEDY, TASK_BILLED, Billed, FailureKind, Remedy, Status

from .builders import World, after, generation

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
}
WAITS = {FailureKind.RATE_LIMITED, FailureKind.UNAVAILABLE}


@pytest.mark.parametrize("table", [REMEDY, TASK_BILLED, PUBLIC_CODE], ids=["remedy", "billed", "code"])
def test_table_has_every_kind(table: dict[FailureKind, object]) -> None:
    assert set(table) == set(FailureKind)


def test_public_codes_differ() -> None:
    assert len(set(PUBLIC_CODE.values())) == len(FailureKind)
    assert PUBLIC_CODE[FailureKind.AMBIGUOUS] == "submission_unknown"


@pytest.mark.parametrize("kind", FailureKind)
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


@pytest.mark.parametrize("kind", FailureKind)
def test_refused_submit_on_the_last_route(kind: FailureKind) -> None:
    world = World(generation("acme/one"))
    world.end(1, kind, state=S.UNKNOWN if kind is FailureKind.AMBIGUOUS else S.REFUSED)

    assert world.routes() == [0], "nothing is tried again at once"
    assert (world.generation.status is Status.QUEUED) == (kind in WAITS)
    if kind not in WAITS:
        assert world.generation.failure == failed(kind, "no")


@pytest.mark.parametrize("kind", FailureKind)
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
    assert world.states() == [S.UNKNOWN], "another submit could be a second bill"


def test_routes_are_tried_in_order_and_the_last_failure_is_told() -> None:
    world = World(generation("acme/one", "bolt/two", "corp/three"))
    for number, kind in enumerate((FailureKind.OUT_OF_CREDIT, FailureKind.UNAVAILABLE, FailureKind.TASK_FAILED), 1):
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


def test_amended_form_is_tried_once() -> None:
    world = World(generation("acme/one", "bolt/two"), form="number")
    world.end(1, FailureKind.INVALID_REQUEST, amend="string")
    assert [(one.route, one.form) for one in world.generation.attempts] == [(0, "number"), (0, "string")]

    world.end(2, FailureKind.INVALID_REQUEST, amend="number")
    assert len(world.generation.attempts) == 2
    assert world.generation.failure == failed(FailureKind.INVALID_REQUEST, "no")


def test_form_that_was_just_refused_is_not_tried_again() -> None:
    world = World(generation("acme/one"), form="number")
    world.end(1, FailureKind.INVALID_REQUEST, amend="number")
    assert world.states() == [S.REFUSED]


def test_amended_form_is_kept_when_the_provider_asks_to_wait() -> None:
    world = World(generation("acme/one"), form="number")
    world.end(1, FailureKind.INVALID_REQUEST, amend="string")
    world.end(2, FailureKind.RATE_LIMITED, retry_after=10)
    world.step(wait=10)
    assert [one.form for one in world.generation.attempts] == ["number", "string", "string"]


def test_every_route_has_its_own_amended_form() -> None:
    world = World(generation("acme/one", "bolt/two"), form="number")
    world.end(1, FailureKind.INVALID_REQUEST, amend="string")
    world.end(2, FailureKind.OUT_OF_CREDIT)
    world.end(3, FailureKind.INVALID_REQUEST, amend="string")
    assert [(one.route, one.form) for one in world.generation.attempts][2:] == [(1, "number"), (1, "string")]


def test_outputs_of_one_refused_submit_are_amended_together() -> None:
    world = World(generation(count=3, count_max=4), form="number")
    world.end(1, FailureKind.INVALID_REQUEST, amend="string")
    assert [(one.slots, one.form) for one in world.generation.attempts][1:] == [((0, 1, 2), "string")]


# The last route once more


def test_waits_grow_and_end_in_a_failure() -> None:
    world = World(generation())
    waits = []
    while not world.generation.status.terminal:
        ended = world.now
        step = world.end(len(world.generation.attempts), FailureKind.UNAVAILABLE, state=S.NOT_SENT)
        if world.generation.status.terminal:
            break
        waits.append((step.wake_at - ended).total_seconds())
        world.now = step.wake_at
        world.step()
    assert len(world.generation.attempts) == RETRIES_MAX
    assert len(waits) == RETRIES_MAX - 1
    for number, wait in enumerate(waits):
        assert 2**number <= wait <= 2 ** (number + 1)
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


def test_wait_that_ends_behind_the_deadline_fails_at_once() -> None:
    world = World(generation(deadline_seconds=600))
    world.end(1, FailureKind.RATE_LIMITED, retry_after=600)
    assert world.generation.failure == failed(FailureKind.RATE_LIMITED)


def test_another_route_is_not_kept_waiting() -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.end(1, FailureKind.RATE_LIMITED, retry_after=120)
    assert world.routes() == [0, 1]


def test_route_is_not_waited_for_once_another_was_the_last() -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.end(1, FailureKind.RATE_LIMITED)
    world.end(2, FailureKind.OUT_OF_CREDIT)
    assert world.generation.failure == failed(FailureKind.OUT_OF_CREDIT)


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


def test_tries_of_an_output_are_counted_by_its_own_failures() -> None:
    world = World(generation(count=2, count_max=2, policy=Policy(on_content_policy="stop")))
    world.accept(1, "a", "b")
    world.fail(1, FailureKind.CONTENT_POLICY, 0)
    world.fail(1, FailureKind.UNAVAILABLE, 1)
    tried = 1
    while not world.generation.status.terminal:
        world.now = world.last.wake_at
        world.step()
        if world.states()[-1] is S.RESERVED:
            tried += 1
            world.end(len(world.generation.attempts), FailureKind.UNAVAILABLE)
    assert tried == RETRIES_MAX


def test_next_try_of_a_new_output_is_the_first_route() -> None:
    assert next_try(generation(), 0) == Try(0)


def test_next_try_while_an_attempt_is_live_is_nothing() -> None:
    world = World(generation())
    assert next_try(world.generation, 0) is None
    world.send(1)
    assert next_try(world.generation, 0) is None
    world.take(1)
    assert next_try(world.generation, 0) is None


def test_next_try_tells_why_it_stops() -> None:
    world = World(generation("acme/one", count=2))
    world.end(1, FailureKind.OUT_OF_CREDIT)
    assert next_try(world.generation, 0) == Stop(failed(FailureKind.OUT_OF_CREDIT))


# Waits as such


@pytest.mark.parametrize("tries", [0, 1, 2, 5, 40, 5000])
def test_wait_stays_between_half_and_all_of_its_ceiling(tries: int) -> None:
    full = min(2 * 2.0 ** min(tries - 1, 32), 60)
    assert full / 2 <= exponential(tries, first=2, ceiling=60, seed="a") <= full


def test_spread_is_even_and_repeatable() -> None:
    found = [spread(f"att_{number}") for number in range(2000)]
    assert found == [spread(f"att_{number}") for number in range(2000)]
    assert all(0 <= one < 1 for one in found)
    assert 0.45 < sum(found) / len(found) < 0.55


def test_private_words_are_never_the_provider_s_own() -> None:
    for kind in PRIVATE:
        assert failed(kind, "sk-1 at 10.0.0.1").message == PRIVATE[kind]
