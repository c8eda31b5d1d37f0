"""When a task is polled, and how."""

from datetime import datetime
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.domain.adapter.contract import Polling
from gateway.domain.adapter.task import Status, TaskRef
from gateway.domain.generation.model import Attempt, AttemptState, Task
from gateway.domain.generation.task_polling import (
    LOST_READINGS,
    RETRY_AFTER_MAX_SECONDS,
    UNREAD_FACTOR,
    PollSchedule,
    RouteProfile,
    after_failure,
    after_reading,
    first_schedule,
    how_to_read,
    is_lost,
    open_tasks,
    polled_seldom,
    times_out_at,
)

from ...builders import POLLING, T0, World, after, done, generation


def attempt(*tasks: Task, state: AttemptState = AttemptState.ACCEPTED, accepted_at: datetime | None = T0) -> Attempt:
    return Attempt(
        id="att_1_1",
        number=1,
        route=0,
        slots=(0,),
        state=state,
        reserved_at=T0,
        sent_at=T0,
        accepted_at=accepted_at,
        tasks=tasks or (Task(ref=TaskRef(id="t"), slot=0),),
    )


def with_estimate(seconds: float) -> Attempt:
    return attempt(Task(ref=TaskRef(id="t", first_poll_seconds=seconds), slot=0))


def seconds(schedule: PollSchedule, now: datetime = T0) -> float:
    return (schedule.next_at - now).total_seconds()


@pytest.mark.parametrize(("estimate", "wait"), [(0.0, 5), (3.0, 5), (20.0, 20), (9999.0, 60)])
def test_first_poll_follows_the_provider_s_estimate_up_to_a_limit(estimate: float, wait: float) -> None:
    assert seconds(first_schedule(with_estimate(estimate), 0, POLLING, T0)) == wait


@pytest.mark.parametrize(("age_seconds", "interval"), [(5.1, 5.025), (15, 7.5), (1000, 15)])
def test_a_restart_goes_on_with_the_interval_that_a_task_of_this_age_has(age_seconds: float, interval: float) -> None:
    now = after(age_seconds)
    schedule = first_schedule(attempt(), 0, POLLING, now)
    assert schedule.interval_seconds == pytest.approx(interval)
    assert 0 <= seconds(schedule, now) < interval


def test_interval_grows_to_its_ceiling_and_stays() -> None:
    schedule, waits = first_schedule(attempt(), 0, POLLING, T0), []
    for _ in range(12):
        schedule = after_reading(schedule, POLLING, missing=False, asked_at=T0, seed="s", now=T0)
        waits.append(seconds(schedule))
    assert 4.5 <= waits[0] <= 5
    assert 13.5 <= waits[-1] <= 15
    assert all(later >= earlier * 0.9 for earlier, later in pairwise(waits))


def test_failing_reads_lengthen_the_interval_up_to_a_ceiling() -> None:
    schedule, waits = first_schedule(attempt(), 0, POLLING, T0), []
    for _ in range(8):
        schedule = after_failure(schedule, POLLING, not_found=False, retry_after=None, asked_at=T0, seed="s", now=T0)
        waits.append(seconds(schedule))
    assert 9 <= waits[0] <= 10
    assert 18 <= waits[1] <= 20
    assert all(54 <= wait <= 60 for wait in waits[3:])


def test_reading_ends_the_long_interval() -> None:
    schedule = PollSchedule(next_at=T0, interval_seconds=POLLING.poll_max_seconds * UNREAD_FACTOR)
    assert (
        seconds(after_reading(schedule, POLLING, missing=False, asked_at=T0, seed="s", now=T0))
        <= POLLING.poll_max_seconds
    )


@pytest.mark.parametrize("not_found", [True, False])
def test_wait_that_the_provider_asks_for_is_kept_in_full(not_found: bool) -> None:
    schedule = PollSchedule(next_at=T0, interval_seconds=5)
    for seed in "abcdefgh":
        wait = seconds(
            after_failure(schedule, POLLING, not_found=not_found, retry_after=100, asked_at=T0, seed=seed, now=T0)
        )
        assert wait == 100


def test_requested_wait_of_hours_does_not_lose_a_paid_task() -> None:
    schedule = PollSchedule(next_at=T0, interval_seconds=5)
    wait = seconds(after_failure(schedule, POLLING, not_found=False, retry_after=1e300, asked_at=T0, seed="s", now=T0))
    assert wait == RETRY_AFTER_MAX_SECONDS < POLLING.attempt_timeout_seconds


def test_not_found_is_confirmed_at_the_plain_interval() -> None:
    schedule = PollSchedule(next_at=T0, interval_seconds=60)
    schedule = after_failure(schedule, POLLING, not_found=True, retry_after=None, asked_at=T0, seed="s", now=T0)
    assert 4.5 <= seconds(schedule) <= 5
    assert schedule.not_found == 1


@pytest.mark.parametrize(
    ("before", "said_for", "lost"),
    [(LOST_READINGS - 1, 60, True), (LOST_READINGS - 1, 59.9, False), (LOST_READINGS - 2, 600, False), (9, 60, True)],
)
def test_task_is_lost_after_three_readings_over_a_whole_grace(before: int, said_for: float, lost: bool) -> None:
    schedule = PollSchedule(next_at=T0, interval_seconds=5, not_found=before, not_found_since=T0)
    assert is_lost(schedule, POLLING, after(said_for)) is lost


def test_first_not_found_loses_nothing() -> None:
    assert not is_lost(PollSchedule(next_at=T0, interval_seconds=5), POLLING, after(1000))


@pytest.mark.parametrize(
    ("missing_for", "has_refresh", "reads", "how"),
    [
        (None, True, 2, "poll"),
        (0, True, 2, "refresh"),
        (0, True, 1, "poll"),
        (0, False, 2, "poll"),
        (59.9, True, 2, "refresh"),
        (60, True, 2, "content"),
        (60, False, 2, "content"),
        (60, True, 0, "poll"),
        (60, False, 0, "content"),
    ],
)
def test_how_a_task_is_read(missing_for: float | None, has_refresh: bool, reads: int, how: str) -> None:
    missing_since = None if missing_for is None else after(-missing_for)
    schedule = PollSchedule(next_at=T0, interval_seconds=5, missing_since=missing_since, reads=reads)
    assert how_to_read(schedule, RouteProfile(polling=POLLING, has_refresh=has_refresh), T0) == how


def hows(profile_of: RouteProfile, *, readings: int, missing: bool = False, failing: bool = False) -> list[str]:
    """How a task is read in each of so many polls."""
    schedule, with_estimate = PollSchedule(next_at=T0, interval_seconds=5), []
    for _ in range(readings):
        with_estimate.append(how_to_read(schedule, profile_of, T0))
        if failing:
            schedule = after_failure(schedule, POLLING, asked_at=T0, seed="s", now=T0)
        else:
            schedule = after_reading(schedule, POLLING, missing=missing, asked_at=T0, seed="s", now=T0)
    return with_estimate


@pytest.mark.parametrize("failing", [False, True])
def test_running_task_is_refreshed_now_and_then_if_the_adapter_asks_for_it(failing: bool) -> None:
    every = RouteProfile(polling=POLLING, has_refresh=True, refresh_every=4)
    assert hows(every, readings=9, failing=failing) == [*["poll"] * 4, "refresh", *["poll"] * 3, "refresh"]
    for never in (RouteProfile(polling=POLLING, has_refresh=True), RouteProfile(polling=POLLING, refresh_every=4)):
        assert hows(never, readings=9, failing=failing) == ["poll"] * 9


def test_reading_that_a_decision_waits_for_is_an_ordinary_poll() -> None:
    every = RouteProfile(polling=POLLING, has_refresh=True, refresh_every=4)
    due = PollSchedule(next_at=T0, interval_seconds=5, reads=4)
    assert how_to_read(due, every, T0) == "refresh"
    assert how_to_read(replace(due, needed_since=T0), every, T0) == "poll"
    assert how_to_read(replace(due, needed_since=T0, read_at=T0), every, T0) == "refresh"


def test_task_without_a_file_is_polled_and_refreshed_alternately() -> None:
    for every in (0, 4):
        with_estimate = hows(
            RouteProfile(polling=POLLING, has_refresh=True, refresh_every=every), readings=6, missing=True
        )
        assert with_estimate == ["poll", "poll", "refresh", "poll", "refresh", "poll"]


def test_grace_of_a_missing_file_begins_once() -> None:
    schedule = PollSchedule(next_at=T0, interval_seconds=5)
    for now in (after(10), after(20), after(30)):
        schedule = after_reading(schedule, POLLING, missing=True, asked_at=T0, seed="s", now=now)
    schedule = after_failure(schedule, POLLING, not_found=False, retry_after=None, asked_at=T0, seed="s", now=after(40))
    assert schedule.missing_since == after(10)
    assert after_reading(schedule, POLLING, missing=False, asked_at=T0, seed="s", now=after(50)).missing_since is None


@pytest.mark.parametrize("state", AttemptState)
def test_tasks_are_polled_while_they_may_still_change(state: AttemptState) -> None:
    tasks = [Task(ref=TaskRef(id=status), slot=0, status=status) for status in Status]
    indices = open_tasks(attempt(*tasks, state=state))
    assert indices == ([0, 1] if state in {AttemptState.ACCEPTED, AttemptState.ABANDONED} else [])


def test_time_out_counts_from_the_acceptance() -> None:
    assert times_out_at(attempt(accepted_at=after(30)), POLLING) == after(1230)


def test_abandoned_task_is_polled_at_the_longest_interval() -> None:
    slow = polled_seldom(POLLING)
    schedule = after_reading(
        PollSchedule(next_at=T0, interval_seconds=5), slow, missing=False, asked_at=T0, seed="s", now=T0
    )
    assert 54 <= seconds(schedule) <= 60
    assert slow.grace_seconds == POLLING.grace_seconds


def test_tasks_that_began_together_do_not_stay_together() -> None:
    world = World(generation(count=4))
    for number in (1, 2, 3, 4):
        world.accept(number)
    for number in (1, 2, 3, 4):
        world.unread(number)
    assert len({schedule.next_at for schedule in world.schedules.values()}) == 4


def test_many_failing_reads_stay_few() -> None:
    world = World(generation())
    world.accept(1)
    reads = 0
    while world.now < after(1100):
        world.unread(1)
        reads += 1
    assert reads < 1100 / 54 + 5
    world.read(1, done())
    assert world.generation.status is Status.COMPLETED


POSITIVE = st.floats(0.1, 1e4)


@settings(max_examples=150)
@given(
    polling=st.builds(
        Polling,
        first_poll_seconds=st.floats(0, 1e4),
        poll_seconds=POSITIVE,
        poll_max_seconds=POSITIVE,
        attempt_timeout_seconds=POSITIVE,
        grace_seconds=st.floats(0, 1e4),
    ),
    facts=st.lists(st.tuples(st.booleans(), st.booleans(), st.none() | st.floats(0, 1e6)), max_size=30),
)
def test_next_read_is_always_ahead_and_never_far(
    polling: Polling, facts: list[tuple[bool, bool, float | None]]
) -> None:
    now = T0
    schedule = first_schedule(attempt(), 0, polling, now)
    for read, flag, retry_after in facts:
        now = max(now, schedule.next_at)
        if read:
            schedule = after_reading(schedule, polling, missing=flag, asked_at=T0, seed="s", now=now)
        else:
            schedule = after_failure(
                schedule, polling, not_found=flag, retry_after=retry_after, asked_at=T0, seed="s", now=now
            )
        most = max(polling.poll_max_seconds * UNREAD_FACTOR, polling.poll_seconds, RETRY_AFTER_MAX_SECONDS)
        assert 0 < seconds(schedule, now) <= most + 1e-6
