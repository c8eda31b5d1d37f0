"""A client is told to look seldom while nothing can have come of it, and often near the end."""

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


def seconds(one: Generation, pace: Pace, passed: float) -> float | None:
    return poll_after(one, lambda _: pace, after(passed))


@pytest.mark.parametrize(
    ("passed", "expected"),
    [(0, 30), (15, 25), (30, 20), (60, 10), (81, 3), (87, 1), (90, 1), (93, 1), (96, 2), (102, 4), (200, 5)],
)
def test_the_nearer_the_usual_end_the_sooner_and_behind_it_as_the_gateway_itself(passed: float, expected: float):
    running = tried(attempt(1, AttemptState.ACCEPTED, accepted=0))
    assert seconds(running, KNOWN, passed) == expected


def test_one_who_follows_it_asks_seldom_and_hears_soon():
    running, now, looks = tried(attempt(1, AttemptState.ACCEPTED, accepted=0)), 0.0, 0
    while now < 90:
        now += seconds(running, KNOWN, now) or 0
        looks += 1
    assert now <= 92
    assert looks <= 12


def test_of_a_route_that_nothing_is_known_of_as_often_as_the_gateway_reads_it():
    running = tried(attempt(1, AttemptState.ACCEPTED, accepted=0))
    assert [seconds(running, NEW, passed) for passed in (0, 50, 500)] == [5, 5, 5]


@pytest.mark.parametrize("attempts", [(), (attempt(1, AttemptState.SUBMITTING),), (attempt(1, AttemptState.REFUSED),)])
def test_what_no_provider_has_yet_has_all_of_its_time_before_it(attempts: tuple[Attempt, ...]):
    assert seconds(tried(*attempts), Pace(5, 60), 40) == 20


def test_the_attempt_that_takes_longest_counts():
    first = attempt(1, AttemptState.ACCEPTED, accepted=0)
    second = attempt(2, AttemptState.ACCEPTED, route=1, accepted=30)

    def pace(route: Route) -> Pace:
        return Pace(5, 33) if route.provider == "acme" else Pace(5, 75)

    assert poll_after(tried(first, second, count=2), pace, after(30)) == 25


def test_while_the_file_is_being_fetched_the_end_is_near():
    one = tried(attempt(1, AttemptState.COMPLETED, accepted=0))
    found = replace(one, outputs=(replace(one.outputs[0], artifact=Artifact(url="https://files.example/a.mp4")),))
    assert seconds(found, KNOWN, 50) == SOONEST_SECONDS


def test_a_submit_that_an_operator_is_to_decide_about_takes_long():
    assert seconds(tried(attempt(1, AttemptState.UNKNOWN)), KNOWN, 50) == LATEST_SECONDS


def test_at_the_deadline_it_is_over():
    assert seconds(tried(attempt(1, AttemptState.ACCEPTED, accepted=3560)), KNOWN, 3588) == 12


@pytest.mark.parametrize("status", [one for one in Status if one.terminal])
def test_at_its_end_nothing_is_to_come(status: Status):
    assert seconds(tried(attempt(1, AttemptState.COMPLETED, accepted=0), status=status), KNOWN, 1) is None


@settings(max_examples=100)
@given(
    state=st.sampled_from(AttemptState),
    accepted=st.none() | st.floats(0, 5000),
    passed=st.floats(0, 10_000),
    interval=st.floats(0.1, 600),
    expected=st.none() | st.floats(0, 5000),
)
def test_it_is_always_a_sensible_time(
    state: AttemptState, accepted: float | None, passed: float, interval: float, expected: float | None
):
    found = seconds(tried(attempt(1, state, accepted=accepted)), Pace(interval, expected), passed)
    assert found is not None
    assert SOONEST_SECONDS <= found <= LATEST_SECONDS


@pytest.mark.parametrize(
    ("passed", "wait"), [(0.0, 1), (0.4, 1), (5.0, 5), (30.0, 30), (50.0, 10), (60.0, 1), (90.0, 1)]
)
def test_a_submit_is_waited_for_as_long_again_and_no_longer_than_its_time_out(passed: float, wait: float):
    assert submit_advice_seconds(passed, limit_seconds=60.0) == wait
