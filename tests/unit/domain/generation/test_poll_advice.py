"""A client should read rarely while its generation cannot be ready, and often near its usual end."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.domain.adapter.task import Artifact, Status
from gateway.domain.generation.model import Attempt, AttemptState, Generation, Route
from gateway.domain.generation.poll_advice import (
    LATEST_SECONDS,
    SOONEST_SECONDS,
    Pace,
    poll_after,
    submit_advice_seconds,
    usual_seconds,
)

from ...builders import after, generation

KNOWN = Pace(5.0, 90.0)
NEW = Pace(5.0)


def tried(*attempts: Attempt, count: int = 1, **changes: object) -> Generation:
    return replace(generation("acme/one", "other/two", count=count), attempts=attempts, **changes)


def attempt(number: int, state: AttemptState, *, route: int = 0, accepted: float | None = None) -> Attempt:
    accepted_at = None if accepted is None else after(accepted)
    return Attempt(
        id=f"att_{number}",
        number=number,
        route=route,
        slots=(0,),
        state=state,
        reserved_at=after(0),
        accepted_at=accepted_at,
    )


def seconds(value: Generation, pace: Pace, passed: float) -> float | None:
    return poll_after(value, lambda _: pace, after(passed))


@pytest.mark.parametrize(
    ("passed", "expected"),
    [(0, 30), (15, 25), (30, 20), (60, 10), (81, 3), (87, 1), (90, 1), (93, 1), (96, 2), (102, 4), (200, 5)],
)
def test_wait_shrinks_towards_the_usual_end_and_is_the_gateway_s_own_interval_after_it(passed: float, expected: float):
    running = tried(attempt(1, AttemptState.ACCEPTED, accepted=0))
    assert seconds(running, KNOWN, passed) == expected


def test_client_that_follows_the_advice_reads_rarely_and_learns_soon():
    running, now, looks = tried(attempt(1, AttemptState.ACCEPTED, accepted=0)), 0.0, 0
    while now < 90:
        now += seconds(running, KNOWN, now) or 0
        looks += 1
    assert now <= 92
    assert looks <= 12


def test_unmeasured_route_is_read_as_often_as_the_gateway_polls_it():
    running = tried(attempt(1, AttemptState.ACCEPTED, accepted=0))
    assert [seconds(running, NEW, passed) for passed in (0, 50, 500)] == [5, 5, 5]


@pytest.mark.parametrize("attempts", [(), (attempt(1, AttemptState.SUBMITTING),), (attempt(1, AttemptState.REFUSED),)])
def test_attempt_that_is_not_accepted_has_its_whole_usual_time_ahead(attempts: tuple[Attempt, ...]):
    assert seconds(tried(*attempts), Pace(5, 60), 40) == 20


def test_the_attempt_that_takes_longest_counts():
    first = attempt(1, AttemptState.ACCEPTED, accepted=0)
    second = attempt(2, AttemptState.ACCEPTED, route=1, accepted=30)

    def pace(route: Route) -> Pace:
        return Pace(5, 33) if route.provider == "acme" else Pace(5, 75)

    assert poll_after(tried(first, second, count=2), pace, after(30)) == 25


def test_wait_is_short_while_the_file_is_being_archived():
    ended = tried(attempt(1, AttemptState.COMPLETED, accepted=0))
    archiving = replace(
        ended, outputs=(replace(ended.outputs[0], artifact=Artifact(url="https://files.example/a.mp4")),)
    )
    assert seconds(archiving, KNOWN, 50) == SOONEST_SECONDS


def test_wait_is_long_while_an_operator_has_to_decide():
    assert seconds(tried(attempt(1, AttemptState.UNKNOWN)), KNOWN, 50) == LATEST_SECONDS


def test_wait_ends_at_the_deadline():
    assert seconds(tried(attempt(1, AttemptState.ACCEPTED, accepted=3560)), KNOWN, 3588) == 12


@pytest.mark.parametrize("status", [status for status in Status if status.terminal])
def test_ended_generation_has_no_advice(status: Status):
    assert seconds(tried(attempt(1, AttemptState.COMPLETED, accepted=0), status=status), KNOWN, 1) is None


@settings(max_examples=100)
@given(
    state=st.sampled_from(AttemptState),
    accepted=st.none() | st.floats(0, 5000),
    passed=st.floats(0, 10_000),
    interval=st.floats(0.1, 600),
    expected=st.none() | st.floats(0, 5000),
)
def test_advice_is_always_within_its_limits(
    state: AttemptState, accepted: float | None, passed: float, interval: float, expected: float | None
):
    wait = seconds(tried(attempt(1, state, accepted=accepted)), Pace(interval, expected), passed)
    assert wait is not None
    assert SOONEST_SECONDS <= wait <= LATEST_SECONDS


@pytest.mark.parametrize(
    ("passed", "wait"), [(0.0, 1), (0.4, 1), (5.0, 5), (30.0, 30), (50.0, 10), (60.0, 1), (90.0, 1)]
)
def test_a_submit_is_waited_for_as_long_again_and_no_longer_than_its_time_out(passed: float, wait: float):
    assert submit_advice_seconds(passed, limit_seconds=60.0) == wait


def test_the_usual_time_is_the_measured_one_of_the_route_that_was_tried_last() -> None:
    paces = {"one": Pace(5.0, 90.0), "two": Pace(5.0, 240.0)}

    def usual(value: Generation) -> float:
        return usual_seconds(value, lambda route: paces[route.model])

    assert usual(tried()) == 90
    assert usual(tried(attempt(1, AttemptState.FAILED), attempt(2, AttemptState.ACCEPTED, route=1))) == 240


def test_the_usual_time_of_a_route_that_was_not_measured_is_six_polls() -> None:
    assert usual_seconds(tried(), lambda _: NEW) == 30
