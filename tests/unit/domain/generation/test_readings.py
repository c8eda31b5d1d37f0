"""Time alone proves nothing: a task is polled before it is abandoned, bought again or expired."""

from datetime import timedelta

import pytest

from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.task import Failed, Status
from gateway.domain.generation.facts_and_effects import Poll, Submit, TaskUnread
from gateway.domain.generation.model import AttemptState
from gateway.domain.generation.task_polling import DECIDE_UNREAD, GIVE_UP_UNREAD

from ...builders import POLLING, RUNNING, World, after, done, generation

S = AttemptState
FIRST = Poll(attempt_id="att_1_1", index=0)
OVERDUE = POLLING.attempt_timeout_seconds


def pair() -> World:
    return World(generation("acme/one", "bolt/two"))


def timed_out() -> World:
    """The first route's attempt has reached its time-out, and its task is being polled."""
    world = pair()
    world.accept(1)
    world.read(1, RUNNING)
    world.now = after(OVERDUE)
    world.step()
    assert FIRST in world.busy
    return world


def test_task_that_finished_before_its_time_out_is_used_and_nothing_is_bought() -> None:
    world = timed_out()
    world.read(1, done())
    assert (world.states(), world.generation.status) == ([S.COMPLETED], Status.COMPLETED)


@pytest.mark.parametrize("hours", [0.5, 0.9, 20])
def test_stop_of_any_length_is_followed_by_a_poll(hours: float) -> None:
    world = pair()
    world.accept(1)
    world.read(1, RUNNING)
    world.crash()
    step = world.step(wait=hours * 3600)
    assert (step.effects, step.writes) == ((FIRST,), ())
    world.read(1, done())
    assert (world.states(), world.generation.status) == ([S.COMPLETED], Status.COMPLETED)


def test_reading_under_way_at_the_time_out_is_made_once_more() -> None:
    world = pair()
    world.accept(1)
    world.until_poll(1)
    world.now = after(OVERDUE + 20)
    step = world.read(1, RUNNING, asked_at=after(OVERDUE - 1))
    assert step.effects == (FIRST,)
    assert world.states() == [S.ACCEPTED]
    world.read(1, RUNNING)
    assert world.states() == [S.ABANDONED, S.RESERVED]


def test_wait_that_the_provider_asked_for_beyond_the_time_out_is_cut_short_once() -> None:
    world = pair()
    world.accept(1)
    world.now = after(OVERDUE - 100)
    world.step()
    world.unread(1, retry_after=500)
    assert world.last.wake_at == after(OVERDUE)
    world.now = after(OVERDUE)
    assert world.step().effects == (FIRST,)
    world.unread(1, retry_after=500)
    assert world.last.wake_at == after(OVERDUE + 500), "after that the requested wait is respected"
    world.read(1, done())
    assert world.states() == [S.COMPLETED]


def test_failed_readings_let_the_next_route_be_bought_when_there_were_enough_of_them() -> None:
    world = timed_out()
    for _ in range(GIVE_UP_UNREAD - 1):
        world.unread(1)
    assert world.states() == [S.ACCEPTED]
    assert world.now > after(OVERDUE + 10), "the polls are spread over time"
    world.unread(1)
    assert world.states() == [S.ABANDONED, S.RESERVED]


def test_readings_that_failed_before_the_time_out_do_not_count() -> None:
    world = pair()
    world.accept(1)
    for _ in range(GIVE_UP_UNREAD + 3):
        world.unread(1)
    world.now = after(OVERDUE)
    world.step()
    world.unread(1)
    assert world.states() == [S.ACCEPTED]


def test_task_that_cannot_be_polled_is_never_abandoned_before_the_deadline() -> None:
    world = timed_out()
    for _ in range(20):
        world.busy.discard(world.until_poll(1))
        if world.now >= world.generation.deadline_at:
            break
        world.step(TaskUnread(attempt_id="att_1_1", index=0, asked_at=world.now, unreadable=True))
        assert world.states() == [S.ACCEPTED]


def test_every_task_of_an_attempt_is_polled_before_it_is_abandoned() -> None:
    world = World(generation("acme/one", "bolt/two", count=2, count_max=2))
    world.accept(1, "a", "b")
    world.now = after(OVERDUE)
    world.step()
    world.read(1, RUNNING)
    assert world.states() == [S.ACCEPTED]
    world.read(1, RUNNING, index=1)
    assert world.states() == [S.ABANDONED, S.RESERVED]


def test_abandoned_task_is_polled_before_a_third_route_is_bought() -> None:
    world = World(generation("acme/one", "bolt/two", "corp/three"))
    world.accept(1)
    world.give_up(1)
    world.step(wait=1)
    step = world.end(2, FailureKind.OUT_OF_CREDIT)
    assert (step.effects, world.states()) == ((FIRST,), [S.ABANDONED, S.REFUSED])
    world.read(1, RUNNING)
    assert world.states() == [S.ABANDONED, S.REFUSED, S.RESERVED]


def test_abandoned_task_whose_provider_is_down_delays_the_third_route_only_briefly() -> None:
    world = World(generation("acme/one", "bolt/two", "corp/three"))
    world.accept(1)
    world.give_up(1)
    world.step(wait=1)
    world.end(2, FailureKind.OUT_OF_CREDIT)
    assert world.states() == [S.ABANDONED, S.REFUSED]
    for _ in range(DECIDE_UNREAD):
        world.unread(1)
    assert world.states() == [S.ABANDONED, S.REFUSED, S.RESERVED]


def test_attempt_reserved_before_a_restart_waits_for_a_reading() -> None:
    world = pair()
    world.accept(1)
    world.give_up(1)
    world.crash()
    assert world.step(wait=600).effects == (FIRST,)
    world.read(1, done())
    assert world.states() == [S.COMPLETED, S.NOT_SENT]


def test_attempt_that_waits_to_be_sent_has_the_task_beside_it_read_at_the_ordinary_interval() -> None:
    world = pair()
    world.accept(1)
    world.give_up(1)
    waiting = world.schedules["att_1_1", 0].next_at - world.now
    assert waiting <= timedelta(seconds=POLLING.poll_max_seconds)


def test_deadline_is_followed_by_a_reading_and_a_result_is_used() -> None:
    world = World(generation(deadline_seconds=600))
    world.accept(1)
    world.read(1, RUNNING)
    world.now = after(600)
    world.step()
    assert (world.generation.status, FIRST in world.busy) == (Status.IN_PROGRESS, True)
    world.read(1, done())
    assert world.generation.status is Status.COMPLETED


def test_deadline_does_not_wait_for_a_provider_that_is_down() -> None:
    world = World(generation(deadline_seconds=600))
    world.accept(1)
    world.now = after(600)
    world.step()
    for _ in range(DECIDE_UNREAD):
        world.unread(1)
    assert world.generation.status is Status.EXPIRED
    assert world.now < after(660)


def test_nothing_is_bought_after_the_deadline_while_a_task_is_polled() -> None:
    world = World(generation("acme/one", "bolt/two", deadline_seconds=600))
    world.accept(1)
    world.now = after(600)
    world.step()
    world.fail(1, FailureKind.TASK_FAILED)
    assert (world.states(), world.generation.status) == ([S.FAILED], Status.EXPIRED)


# Only missing outputs are bought


def late_result() -> World:
    """The first route's attempt for two outputs was abandoned; an attempt for both waits to be sent."""
    world = World(generation("acme/one*2", "bolt/two*4", count=2))
    world.accept(1, "a", "b")
    world.give_up(1)
    assert [attempt.slots for attempt in world.generation.attempts if attempt.state is S.RESERVED] == [(0, 1)]
    return world


def test_attempt_that_waits_shrinks_to_what_is_still_missing() -> None:
    world = late_result()
    world.read(1, done())
    attempts = [(attempt.route, attempt.slots, attempt.state) for attempt in world.generation.attempts[1:]]
    assert attempts == [(1, (0, 1), S.NOT_SENT), (1, (1,), S.RESERVED)]
    assert Submit("att_1_3") in world.busy


def test_fewer_tasks_than_outputs_send_the_missing_ones_to_the_next_route_at_once() -> None:
    world = World(generation("acme/one*2", "bolt/two", count=2))
    world.accept(1, "only")
    assert [(attempt.route, attempt.slots) for attempt in world.generation.attempts] == [(0, (0, 1)), (1, (1,))]
    assert world.states() == [S.ACCEPTED, S.RESERVED]


def test_second_file_of_a_task_fills_an_output_that_nobody_makes() -> None:
    world = World(generation("acme/one", count=2))
    world.accept(1)
    world.end(2, FailureKind.RATE_LIMITED, retry_after=100)
    world.read(1, done("a", "b"))
    assert world.outputs() == [Status.COMPLETED, Status.COMPLETED]
    assert world.generation.status is Status.COMPLETED


def test_extra_result_is_used_instead_of_buying_another() -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.accept(1, "asked", "more")
    world.read(1, done("b"), index=1)
    assert [output.extra for output in world.generation.outputs] == [False, True]
    world.fail(1, FailureKind.TASK_FAILED)
    assert world.states() == [S.COMPLETED]
    assert (world.generation.status, world.generation.outputs[0].artifact) == (Status.COMPLETED, done("b").artifacts[0])


# Evidence


@pytest.mark.parametrize("kind", [FailureKind.RATE_LIMITED, FailureKind.INVALID_REQUEST])
def test_refused_attempt_whose_task_is_named_later_is_followed_and_not_repeated(kind: FailureKind) -> None:
    world = World(generation())
    world.end(1, kind, retry_after=10)
    world.adopt(1, "found")
    world.step(wait=60)
    assert world.states()[0] in {S.ACCEPTED, S.ABANDONED}
    assert len(world.states()) == 1
    world.read(1, done())
    assert world.generation.outputs[-1].artifact == done().artifacts[0]


def test_repeat_that_waits_to_be_sent_is_dropped_when_the_first_task_is_named() -> None:
    world = World(generation())
    world.end(1, FailureKind.RATE_LIMITED, retry_after=10)
    world.step(wait=10)
    assert world.states() == [S.REFUSED, S.RESERVED]
    world.adopt(1, "found")
    world.step()
    assert world.states() == [S.ACCEPTED, S.NOT_SENT]


def test_failed_attempt_gets_the_further_task_that_is_named_later() -> None:
    world = pair()
    world.accept(1)
    world.read(1, Failed(kind=FailureKind.CONTENT_POLICY, message="no"))
    assert world.generation.status is Status.FAILED
    world.adopt(1, "other")
    world.step()
    world.read(1, done(), index=1)
    assert [(output.late, output.status) for output in world.generation.outputs[1:]] == [(True, Status.COMPLETED)]
