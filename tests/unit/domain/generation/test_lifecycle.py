"""A generation from its start to its end under the rules alone."""

from datetime import timedelta

import pytest

from gateway.domain.adapter.contract import Polling
from gateway.domain.adapter.failure import Billed, FailureKind
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.task import Completed, Pending, Status
from gateway.domain.generation.archiving import FileArchived
from gateway.domain.generation.facts_and_effects import Poll, Submit, SubmitEnded, TaskRead
from gateway.domain.generation.lifecycle import advance
from gateway.domain.generation.model import AttemptState, Policy
from gateway.domain.generation.outputs import FILES_MAX
from gateway.domain.generation.task_polling import GIVE_UP_UNREAD, RouteProfile
from gateway.domain.generation.transitions import AddAttempt, SaveArchivedFile, SaveAttempt, SaveOutput, SaveStatus
from gateway.domain.health.circuit import CircuitState
from gateway.domain.health.route_health import RouteHealth

from ...builders import FILELESS, POLLING, RUNNING, UNKNOWN_WORD, World, after, archived_file, done, generation

S = AttemptState


def test_first_step_reserves_and_asks_for_one_submit() -> None:
    world = World(generation())

    assert world.last.effects == (Submit("att_1_1"),)
    assert [type(write) for write in world.last.writes] == [AddAttempt]
    assert world.attempt(1).reserved_at == after(0)
    assert world.last.wake_at == after(3600)
    assert world.generation.status is Status.QUEUED


def test_single_output_runs_to_completed() -> None:
    world = World(generation())
    world.accept(1, "t-1")
    assert (world.generation.status, world.generation.provider) == (Status.QUEUED, "acme")

    world.read(1, RUNNING)
    assert world.generation.status is Status.IN_PROGRESS
    world.read(1, done("a"))

    ended = world.generation
    assert (ended.status, ended.progress, ended.completed_at) == (Status.COMPLETED, 1.0, world.now)
    assert ended.outputs[0].artifact == done("a").artifacts[0]
    assert ended.outputs[0].attempt_id == "att_1_1"
    assert ended.outputs[0].expires_at == world.now + timedelta(seconds=POLLING.result_seconds)
    assert (world.states(), world.attempt(1).billed) == ([S.COMPLETED], Billed.YES)
    assert (ended.provider, ended.provider_model) == ("acme", "one")


def test_first_read_waits_for_the_first_poll() -> None:
    world = World(generation())
    step = world.accept(1)
    assert (step.effects, step.wake_at) == ((), after(5))

    assert world.step(wait=5).effects == (Poll(attempt_id="att_1_1", index=0),)


def test_reading_that_changes_nothing_writes_nothing() -> None:
    world = World(generation())
    world.accept(1)
    world.read(1, RUNNING)

    for _ in range(20):
        assert world.read(1, RUNNING).writes == ()


def test_status_of_a_task_and_its_generation_never_goes_back() -> None:
    world = World(generation())
    world.accept(1)
    world.read(1, RUNNING)

    world.read(1, Pending(status=Status.QUEUED, raw_status="queued"))

    assert world.attempt(1).tasks[0].status is Status.IN_PROGRESS
    assert world.attempt(1).tasks[0].raw_status == "queued"
    assert world.generation.status is Status.IN_PROGRESS


def test_next_route_does_not_take_the_generation_back_to_queued() -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.accept(1)
    world.read(1, RUNNING)

    world.fail(1, FailureKind.TASK_FAILED)

    assert world.states() == [S.FAILED, S.RESERVED]
    assert world.generation.status is Status.IN_PROGRESS


def test_progress_is_the_mean_of_what_the_providers_say() -> None:
    world = World(generation(count=2, count_max=2))
    world.accept(1, "a", "b")
    world.read(1, Pending(status=Status.IN_PROGRESS, raw_status="x", progress=0.5))
    assert world.generation.progress == 0.25
    world.read(1, Pending(status=Status.IN_PROGRESS, raw_status="x"))
    assert world.generation.progress == 0.25, "a reading without a number does not change the progress"

    world.read(1, done(), index=1)

    assert world.generation.progress == 0.75


def test_progress_of_an_extra_output_does_not_count() -> None:
    world = World(generation())
    world.accept(1, "asked", "extra")
    world.read(1, Pending(status=Status.IN_PROGRESS, raw_status="x", progress=0.9), index=1)
    assert world.generation.progress == 0.0


def test_progress_stays_when_a_running_generation_is_cancelled() -> None:
    world = World(generation())
    world.accept(1)
    world.read(1, Pending(status=Status.IN_PROGRESS, raw_status="x", progress=0.5))
    world.cancel()
    assert world.generation.progress == 0.5


# Several outputs


def test_provider_with_a_count_gets_one_attempt_for_all_outputs() -> None:
    world = World(generation(count=4, count_max=4))
    assert [attempt.slots for attempt in world.generation.attempts] == [(0, 1, 2, 3)]


def test_provider_without_a_count_gets_an_attempt_an_output() -> None:
    world = World(generation(count=4, count_max=1))
    assert [attempt.slots for attempt in world.generation.attempts] == [(0,), (1,), (2,), (3,)]
    assert len(world.last.effects) == 4


def test_count_beyond_the_most_is_split() -> None:
    world = World(generation(count=4, count_max=3))
    assert [attempt.slots for attempt in world.generation.attempts] == [(0, 1, 2), (3,)]


def test_every_task_fills_its_own_output() -> None:
    world = World(generation(count=3, count_max=4))
    world.accept(1, "x", "y", "z")
    for index, name in ((2, "z"), (0, "x"), (1, "y")):
        assert world.generation.status is not Status.COMPLETED
        world.read(1, done(name), index)
    assert [output.artifact for output in world.generation.outputs] == [done(name).artifacts[0] for name in "xyz"]
    assert world.generation.status is Status.COMPLETED


def test_only_the_empty_outputs_go_to_the_next_route() -> None:
    world = World(generation("acme/one*4", "bolt/two*4", count=3))
    world.accept(1, "x", "y", "z")
    world.read(1, done("x"), 0)
    world.fail(1, FailureKind.TASK_FAILED, 1)
    assert len(world.generation.attempts) == 1, "the third output may still be filled"
    world.fail(1, FailureKind.TASK_FAILED, 2)

    assert world.states() == [S.COMPLETED, S.RESERVED]
    assert (world.attempt(2).slots, world.attempt(2).route) == ((1, 2), 1)
    assert world.attempt(1).failure == failed(FailureKind.TASK_FAILED, "no")


def test_failed_output_beside_a_completed_one_completes_the_generation() -> None:
    world = World(generation(count=2))
    world.accept(1)
    world.accept(2)
    world.read(1, done())
    world.fail(2, FailureKind.TASK_FAILED)

    assert world.outputs() == [Status.COMPLETED, Status.FAILED]
    assert world.generation.outputs[1].failure == failed(FailureKind.TASK_FAILED, "no")
    assert (world.generation.status, world.generation.failure) == (Status.COMPLETED, None)


def test_fewer_tasks_than_requested_send_the_other_outputs_to_the_next_route() -> None:
    world = World(generation("acme/one*4", "bolt/two*4", count=4))
    world.accept(1, "x", "y")
    world.read(1, done("x"), 0)
    world.read(1, done("y"), 1)
    assert world.attempt(2).slots == (2, 3)


def test_fewer_tasks_than_requested_on_the_only_route_leave_outputs_without_a_result() -> None:
    world = World(generation(count=2, count_max=2))
    world.accept(1, "x")
    world.read(1, done("x"))
    assert world.outputs() == [Status.COMPLETED, Status.FAILED]
    failure = world.generation.outputs[1].failure
    assert failure is not None
    assert (failure.kind, "fewer tasks than outputs" in failure.message) == (FailureKind.RESULT_MISSING, True)


def test_output_that_the_reply_named_no_task_for_waits_for_a_callback_while_others_run() -> None:
    world = World(generation(count=2, count_max=2))
    world.accept(1, "x")
    assert world.outputs() == [Status.QUEUED, Status.QUEUED]
    world.adopt(1, "y")
    world.step()
    world.read(1, done("x"), 0)
    world.read(1, done("y"), 1)
    assert world.outputs() == [Status.COMPLETED, Status.COMPLETED]


def test_missing_task_is_not_blamed_on_the_failure_of_another() -> None:
    world = World(generation("acme/one*2", "bolt/two", count=2, policy=Policy(on_content_policy="stop")))
    world.accept(1, "x")
    world.fail(1, FailureKind.CONTENT_POLICY)
    world.end(2, FailureKind.INVALID_REQUEST)
    assert [output.failure and output.failure.kind for output in world.generation.outputs] == [
        FailureKind.CONTENT_POLICY,
        FailureKind.INVALID_REQUEST,
    ]


def test_more_tasks_than_requested_become_extra_outputs() -> None:
    world = World(generation())
    world.accept(1, "asked", "more", "yet-more")
    assert [(output.index, output.extra) for output in world.generation.outputs] == [(0, False), (1, True), (2, True)]

    world.read(1, done("asked"))
    assert not world.generation.status.terminal, "the extra tasks may have been paid for"
    world.read(1, done("more"), 1)
    world.fail(1, FailureKind.TASK_FAILED, 2)

    assert world.outputs() == [Status.COMPLETED, Status.COMPLETED, Status.FAILED]
    assert world.generation.outputs[1].artifact == done("more").artifacts[0]
    assert len(world.generation.attempts) == 1, "no route is tried for an extra output"
    assert world.generation.status is Status.COMPLETED


@pytest.mark.parametrize("kind", [FailureKind.CONTENT_POLICY, FailureKind.TASK_FAILED])
def test_extra_result_fills_an_output_that_nothing_more_is_bought_for(kind: FailureKind) -> None:
    world = World(generation(count=2, count_max=2))
    world.accept(1, "a", "b", "more")
    world.fail(1, kind, 0)
    world.read(1, done("b"), 1)
    world.read(1, done("more"), 2)
    world.step()

    assert world.outputs() == [Status.COMPLETED] * 3
    assert world.generation.outputs[0].artifact == done("more").artifacts[0]
    assert len(world.generation.attempts) == 1


def test_output_without_a_route_waits_for_a_task_beyond_the_number_asked_for() -> None:
    world = World(generation())
    world.accept(1, "a", "more")
    world.give_up(1)
    world.fail(1, FailureKind.TASK_FAILED, 0)
    assert world.outputs() == [Status.QUEUED, Status.QUEUED], "the other task may have been paid for"
    world.read(1, done("more"), 1)
    world.step(wait=1)
    assert world.generation.outputs[0].artifact == done("more").artifacts[0]
    assert world.generation.status is Status.COMPLETED


def test_extra_result_fills_an_output_that_waits_for_its_next_try() -> None:
    world = World(generation("acme/one*2", "bolt/two", count=2))
    world.accept(1, "a")
    world.end(2, FailureKind.RATE_LIMITED, retry_after=500)
    world.adopt(1, "b", "more")
    world.read(1, done("a"), 0)
    world.read(1, done("more"), 2)
    world.fail(1, FailureKind.TASK_FAILED, 1)
    world.step(wait=1)
    assert world.generation.outputs[1].artifact == done("more").artifacts[0]
    assert world.generation.status is Status.COMPLETED


def test_deadline_gives_an_open_output_the_extra_result() -> None:
    world = World(generation("acme/one*2", "bolt/two", count=2, deadline_seconds=600))
    world.accept(1, "a")  # the second output goes to the next route
    world.accept(2, "b", "more")
    world.read(1, done("a"))
    world.read(2, done("more"), 1)
    world.now = after(600)
    world.step()
    world.read(2, RUNNING, 0)

    assert world.outputs() == [Status.COMPLETED] * 3
    assert world.generation.outputs[1].artifact == done("more").artifacts[0]


def test_extras_of_submits_answered_at_the_same_moment_all_have_an_output() -> None:
    world = World(generation(count=2))
    world.send(1)
    world.send(2)
    seen = world.generation  # both senders chose it: neither knows the extra task of the other
    world.take(1, "a", "a-more", seen=seen)
    world.take(2, "b", "b-more", "b-yet-more", seen=seen)
    world.step()
    for number, index, name in ((1, 0, "a"), (1, 1, "a-more"), (2, 0, "b"), (2, 1, "b-more"), (2, 2, "b-yet-more")):
        world.read(number, done(name), index)

    files = [output.artifact for output in world.generation.outputs]
    assert files == [done(name).artifacts[0] for name in ("a", "b", "a-more", "b-more", "b-yet-more")]
    assert [output.attempt_id[-1] for output in world.generation.outputs if output.attempt_id] == list("12122")


def test_extra_task_does_not_claim_the_further_file_of_another() -> None:
    world = World(generation(count=2))
    world.send(1)
    world.send(2)
    seen = world.generation
    world.take(1, "a", seen=seen)
    world.step()
    world.read(1, done("a", "a-more"))
    world.take(2, "b", "b-more", seen=seen)
    world.step()
    world.read(2, done("b"), 0)
    world.read(2, done("b-more"), 1)
    files = [output.artifact for output in world.generation.outputs]
    assert files == [done(name).artifacts[0] for name in ("a", "b", "a-more", "b-more")]


def test_further_files_of_one_task_become_extra_outputs() -> None:
    world = World(generation(count=2))
    world.accept(1)
    world.accept(2)
    world.read(1, done("a", "b", "c"))
    world.read(2, done("d"))
    made = [(output.extra, output.artifact) for output in world.generation.outputs]
    files = {name: done(name).artifacts[0] for name in "abcd"}
    assert made == [(False, files["a"]), (False, files["d"]), (True, files["b"]), (True, files["c"])]


def test_completed_without_a_file_is_a_missing_result() -> None:
    world = World(generation())
    world.accept(1)
    world.read(1, Completed(()))
    assert world.generation.failure == failed(FailureKind.RESULT_MISSING)


# Time-outs and the deadline


def test_attempt_time_out_moves_on_and_says_it_may_be_billed() -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.accept(1)
    world.until_poll(1)
    assert world.step(wait=1194).effects == ()
    world.step(wait=1)
    assert world.states() == [S.ACCEPTED], "the poll under way began before the time-out"
    assert world.read(1, RUNNING, asked_at=after(5)).effects == (Poll(attempt_id="att_1_1", index=0),)
    assert world.states() == [S.ACCEPTED], "time that passed proves nothing"
    world.read(1, RUNNING)

    assert (world.states(), world.routes()) == ([S.ABANDONED, S.RESERVED], [0, 1])
    assert (world.attempt(1).failure, world.attempt(1).billed) == (failed(FailureKind.TIMED_OUT), Billed.MAYBE)


def test_unknown_status_word_abandons_an_attempt_only_when_it_is_repeated() -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.accept(1)
    world.now = after(1200)
    world.step()
    for _ in range(GIVE_UP_UNREAD - 1):
        world.read(1, UNKNOWN_WORD)
        assert world.states() == [S.ACCEPTED], "the word may mean that the task is done"
    world.read(1, UNKNOWN_WORD)
    assert world.states() == [S.ABANDONED, S.RESERVED]


def test_done_without_a_file_at_the_time_out_has_its_whole_grace() -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.accept(1)
    world.now = after(1200)
    world.step()
    said = world.now
    while (world.now - said).total_seconds() < 45:
        world.read(1, FILELESS)
    assert world.states() == [S.ACCEPTED], "the task was paid for, and its file may be named soon"
    world.read(1, done())
    assert world.generation.status is Status.COMPLETED


def test_driver_wakes_for_the_attempt_time_out() -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.accept(1)
    world.until_poll(1)  # a poll that never ends: nothing else is due
    assert world.last.wake_at == after(1200)


def test_time_out_on_the_only_route_waits_for_the_task_until_the_deadline() -> None:
    world = World(generation())
    world.accept(1)
    world.give_up(1)
    assert world.states() == [S.ABANDONED]
    assert not world.generation.status.terminal
    world.read(1, RUNNING)
    world.step(wait=3600 - (world.now - after(0)).total_seconds())
    world.read(1, RUNNING)
    assert world.generation.status is Status.EXPIRED
    assert world.generation.failure == failed(FailureKind.TIMED_OUT)


def test_abandoned_task_on_the_only_route_is_used_when_it_ends() -> None:
    world = World(generation())
    world.accept(1)
    world.give_up(1)
    world.read(1, done("late"))
    assert (world.generation.status, world.states()) == (Status.COMPLETED, [S.COMPLETED])


def test_result_after_the_end_is_kept_as_late_and_counted() -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.accept(1)
    world.give_up(1)
    world.accept(2)
    world.read(2, done())
    assert world.generation.status is Status.COMPLETED
    ended = world.generation

    world.read(1, RUNNING)
    assert timedelta(seconds=54) <= world.schedules["att_1_1", 0].next_at - world.now <= timedelta(seconds=60)
    world.read(1, done("late", "more"))

    assert world.generation.outputs[:1] == ended.outputs
    late = world.generation.outputs[1:]
    assert [(output.index, output.extra, output.late, output.attempt_id) for output in late] == [
        (1, True, True, "att_1_1"),
        (2, True, True, "att_1_1"),
    ]
    assert (world.attempt(1).state, world.attempt(1).billed) == (S.COMPLETED, Billed.YES)
    assert (world.generation.status, world.generation.completed_at) == (ended.status, ended.completed_at)
    assert world.schedules == {}


def test_nothing_is_polled_after_the_deadline() -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.accept(1)
    world.give_up(1)
    world.accept(2)
    world.read(2, done())
    assert world.schedules
    world.now = after(3600)
    assert world.step().effects == ()
    assert world.schedules == {}
    assert world.states() == [S.ABANDONED, S.COMPLETED]


def test_cancelled_generation_is_not_followed() -> None:
    world = World(generation())
    world.accept(1)
    world.cancel()
    assert (world.last.effects, world.schedules) == ((), {})


@pytest.mark.parametrize("kind", [FailureKind.CONTENT_POLICY, FailureKind.INVALID_REQUEST, FailureKind.OUT_OF_CREDIT])
def test_refusal_of_the_next_route_does_not_forget_the_abandoned_task(kind: FailureKind) -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.accept(1)
    world.give_up(1)
    world.end(2, kind)
    assert (world.states(), world.generation.status.terminal) == ([S.ABANDONED, S.REFUSED], False)

    world.read(1, done("late"))

    assert (world.generation.status, world.generation.provider) == (Status.COMPLETED, "acme")


def test_refusal_counts_once_the_abandoned_task_has_failed_too() -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.accept(1)
    world.give_up(1)
    world.end(2, FailureKind.OUT_OF_CREDIT)
    world.fail(1, FailureKind.TASK_FAILED)
    assert world.generation.status is Status.FAILED
    assert world.generation.failure == failed(FailureKind.OUT_OF_CREDIT, "no")


def test_time_out_after_one_of_two_results_was_paid() -> None:
    world = World(generation(count=2, count_max=2))
    world.accept(1, "a", "b")
    world.read(1, done())
    world.give_up(1)
    assert (world.attempt(1).state, world.attempt(1).billed) == (S.ABANDONED, Billed.YES)
    assert world.outputs() == [Status.COMPLETED, Status.QUEUED]
    world.fail(1, FailureKind.TASK_FAILED, index=1)
    assert world.generation.status is Status.COMPLETED


def test_abandoned_task_is_polled_rarely_and_used_when_nothing_else_arrived() -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.accept(1)
    world.read(1, RUNNING)
    world.give_up(1)
    world.send(2)
    world.read(1, RUNNING)
    asked_again = world.schedules["att_1_1", 0].next_at - world.now
    assert timedelta(seconds=54) <= asked_again <= timedelta(seconds=60)

    world.read(1, done("late"))

    assert world.generation.outputs[0].artifact == done("late").artifacts[0]
    assert (world.attempt(1).state, world.attempt(1).billed) == (S.COMPLETED, Billed.YES)
    assert not world.generation.status.terminal, "the submit under way has not ended"
    world.take(2)
    world.step()
    assert (world.generation.status, world.generation.provider) == (Status.COMPLETED, "acme")
    assert (world.attempt(2).state, world.attempt(2).billed) == (S.ABANDONED, Billed.MAYBE)


def test_result_of_an_abandoned_task_stops_a_submit_that_was_not_sent() -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.accept(1)
    world.give_up(1)
    world.read(1, done())
    assert world.states() == [S.COMPLETED, S.NOT_SENT]
    assert world.attempt(2).billed is Billed.NO
    assert world.generation.status is Status.COMPLETED


def test_failure_of_an_abandoned_task_is_recorded_and_decides_nothing() -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.accept(1)
    world.give_up(1)
    world.accept(2)
    world.fail(1, FailureKind.CONTENT_POLICY)
    assert world.states() == [S.FAILED, S.ACCEPTED]
    assert not world.generation.status.terminal


def test_extra_output_of_an_abandoned_attempt_ends_with_the_generation() -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.accept(1, "a", "more")
    world.give_up(1)
    world.accept(2)
    assert world.outputs() == [Status.QUEUED, Status.QUEUED]
    world.read(2, done())
    assert world.outputs() == [Status.COMPLETED, Status.FAILED]
    assert world.generation.status is Status.COMPLETED


@pytest.mark.parametrize("step", ["reserved", "submitting", "accepted", "unknown", "waiting"])
def test_deadline_expires_whatever_is_under_way(step: str) -> None:
    world = World(generation(policy=Policy(on_ambiguous="hold"), deadline_seconds=600))
    match step:
        case "submitting":
            world.send(1)
        case "accepted":
            world.accept(1)
        case "unknown":
            world.unknown(1)
        case "waiting":
            world.end(1, FailureKind.RATE_LIMITED, retry_after=500)
    world.now = after(600)
    world.step()
    if step == "accepted":
        assert world.generation.status is Status.QUEUED, "the task may have finished since its last poll"
        world.read(1, RUNNING)

    assert (world.generation.status, world.outputs()) == (Status.EXPIRED, [Status.EXPIRED])
    met = {"unknown": failed(FailureKind.AMBIGUOUS, "no"), "waiting": failed(FailureKind.RATE_LIMITED, "no")}
    assert world.generation.failure == met.get(step, failed(FailureKind.TIMED_OUT))
    assert world.generation.completed_at == after(600)
    state = {"reserved": S.NOT_SENT, "submitting": S.SUBMITTING, "accepted": S.ABANDONED, "unknown": S.UNKNOWN}
    assert world.attempt(1).state is state.get(step, S.REFUSED)


def test_deadline_with_a_result_completes() -> None:
    world = World(generation(count=2, deadline_seconds=600))
    world.accept(1)
    world.accept(2)
    world.read(1, done())
    world.now = after(600)
    world.step()
    world.read(2, RUNNING)
    assert world.outputs() == [Status.COMPLETED, Status.EXPIRED]
    assert (world.generation.status, world.generation.failure) == (Status.COMPLETED, None)


def test_deadline_does_not_wait_for_a_submit_that_nobody_needs() -> None:
    world = World(generation("acme/one", "bolt/two", deadline_seconds=600))
    world.unknown(1)
    world.send(2)
    world.take(1)
    world.step()
    world.read(1, done())
    assert world.outputs() == [Status.COMPLETED]
    assert not world.generation.status.terminal
    world.now = after(600)
    world.step()
    assert world.generation.status is Status.COMPLETED


def test_no_attempt_is_made_at_the_deadline() -> None:
    world = World(generation("acme/one", "bolt/two", deadline_seconds=600))
    world.now = after(600)
    world.end(1, FailureKind.OUT_OF_CREDIT)
    assert world.states() == [S.REFUSED]
    assert world.generation.status is Status.EXPIRED


# Cancel


@pytest.mark.parametrize(
    ("state", "then", "billed"),
    [
        (S.RESERVED, S.NOT_SENT, Billed.NO),
        (S.SUBMITTING, S.SUBMITTING, None),
        (S.ACCEPTED, S.ABANDONED, Billed.MAYBE),
        (S.UNKNOWN, S.UNKNOWN, Billed.MAYBE),
        (S.REFUSED, S.REFUSED, Billed.NO),
    ],
)
def test_cancel_in_every_state(state: AttemptState, then: AttemptState, billed: Billed | None) -> None:
    world = World(generation(policy=Policy(on_ambiguous="hold")))
    match state:
        case S.SUBMITTING:
            world.send(1)
        case S.ACCEPTED:
            world.accept(1)
        case S.UNKNOWN:
            world.unknown(1)
        case S.REFUSED:
            world.end(1, FailureKind.RATE_LIMITED)
    world.cancel()

    assert (world.generation.status, world.outputs()) == (Status.CANCELLED, [Status.CANCELLED])
    assert (world.attempt(1).state, world.attempt(1).billed) == (then, billed)
    assert world.generation.completed_at == world.now
    assert world.step(wait=3000).effects == (), "its tasks are not polled"


def test_cancel_keeps_completed_outputs() -> None:
    world = World(generation(count=2))
    world.accept(1)
    world.read(1, done())
    world.cancel()
    assert world.outputs() == [Status.COMPLETED, Status.CANCELLED]
    assert world.generation.status is Status.CANCELLED


def test_read_that_ends_after_the_cancel_changes_nothing() -> None:
    world = World(generation())
    world.accept(1)
    world.until_poll(1)
    world.cancel()
    step = world.step(TaskRead(attempt_id="att_1_1", index=0, asked_at=world.now, snapshot=done()))
    assert step.writes == ()


@pytest.mark.parametrize("number", [1, 2])
def test_task_accepted_after_the_end_is_recorded_and_abandoned(number: int) -> None:
    world = World(generation(count=2))
    world.send(number)
    world.cancel()
    world.take(number, "late", "late-too")
    world.step()

    assert (world.attempt(number).state, world.attempt(number).billed) == (S.ABANDONED, Billed.MAYBE)
    assert [task.ref.id for task in world.attempt(number).tasks] == ["late", "late-too"]
    assert len(world.generation.outputs) == 2
    assert world.step(wait=60).effects == ()


def test_refusal_after_the_end_is_recorded() -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.send(1)
    world.cancel()
    world.end(1, FailureKind.OUT_OF_CREDIT)
    assert world.states() == [S.REFUSED]
    assert world.attempt(1).billed is Billed.NO


# Submits without a clear answer


def test_unknown_submit_falls_back_to_another_provider() -> None:
    world = World(generation("acme/one", "acme/other", "bolt/two"))
    world.unknown(1)
    assert (world.states(), world.routes()) == ([S.UNKNOWN, S.RESERVED], [0, 2])
    assert (world.attempt(1).billed, world.attempt(1).failure) == (Billed.MAYBE, failed(FailureKind.AMBIGUOUS))


def test_unknown_submit_without_another_provider_fails() -> None:
    world = World(generation("acme/one", "acme/other"))
    world.unknown(1)
    assert world.states() == [S.UNKNOWN]
    assert world.generation.failure == failed(FailureKind.AMBIGUOUS)


def test_unknown_submit_under_fail_stops() -> None:
    world = World(generation("acme/one", "bolt/two", policy=Policy(on_ambiguous="fail")))
    world.unknown(1)
    assert (world.states(), world.generation.status) == ([S.UNKNOWN], Status.FAILED)


def test_unknown_submit_under_hold_waits_for_its_task() -> None:
    world = World(generation("acme/one", "bolt/two", policy=Policy(on_ambiguous="hold")))
    step = world.unknown(1)
    assert (step.effects, step.wake_at) == ((), after(3600))

    world.step(wait=1800)
    world.take(1, "found")
    world.step()
    world.read(1, done())
    assert world.generation.status is Status.COMPLETED
    assert world.states() == [S.COMPLETED]


def test_only_the_output_of_the_unknown_submit_avoids_its_provider() -> None:
    world = World(generation("acme/one", "bolt/two", "acme/three", count=2))
    world.unknown(1)
    world.end(2, FailureKind.UNAVAILABLE)
    world.end(3, FailureKind.TASK_FAILED)  # of the first output
    world.end(4, FailureKind.UNAVAILABLE)  # of the second
    assert [(attempt.slots, attempt.route) for attempt in world.generation.attempts][2:] == [
        ((0,), 1),
        ((1,), 1),
        ((1,), 2),
    ]
    assert world.outputs() == [Status.FAILED, Status.QUEUED]


def test_submit_of_a_dead_process_is_unknown() -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.send(1)
    world.crash()
    step = world.step()
    assert (world.states(), world.attempt(1).billed) == ([S.UNKNOWN, S.RESERVED], Billed.MAYBE)
    assert step.effects == (Submit("att_1_2"),)


def test_submit_under_way_is_not_orphaned() -> None:
    world = World(generation())
    world.send(1)
    assert world.step(wait=100).writes == ()


def test_reserved_attempt_of_a_dead_process_is_continued() -> None:
    world = World(generation())
    world.crash()
    step = world.step()
    assert (step.writes, step.effects) == ((), (Submit("att_1_1"),))


def test_task_found_late_runs_beside_the_next_route_and_no_third_is_tried() -> None:
    world = World(generation("acme/one", "bolt/two", "corp/three"))
    world.unknown(1)
    world.accept(2)
    world.take(1, "found")
    world.step()
    world.fail(2, FailureKind.TASK_FAILED)
    assert world.states() == [S.ACCEPTED, S.FAILED], "an attempt is expected to fill the output"

    world.fail(1, FailureKind.TASK_FAILED)
    assert (world.states(), world.routes()) == ([S.FAILED, S.FAILED, S.RESERVED], [0, 1, 2])


def test_task_found_late_has_its_full_time() -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.unknown(1)
    world.accept(2)
    world.step(wait=1199)
    world.take(1, "found")
    world.step(wait=2)
    world.read(2, RUNNING)
    assert world.states() == [S.ACCEPTED, S.ABANDONED]


def test_first_result_ends_the_generation_and_abandons_the_other_attempt() -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.unknown(1)
    world.accept(2)
    world.take(1, "found")
    world.step()
    world.read(1, done("found"))
    assert world.states() == [S.COMPLETED, S.ABANDONED]
    assert world.attempt(2).billed is Billed.MAYBE
    assert (world.generation.status, world.generation.provider) == (Status.COMPLETED, "acme")


def test_second_result_for_an_output_changes_nothing_but_its_bill() -> None:
    world = World(generation("acme/one", "bolt/two", count=2))
    world.unknown(1)
    world.accept(2)  # of the second output, which stays open
    world.accept(3)
    world.take(1, "found")
    world.step()
    world.read(1, done("found"))
    assert world.states() == [S.COMPLETED, S.ACCEPTED, S.ABANDONED], "no client waits for it"

    world.read(3, done("second"))

    assert world.generation.outputs[0].artifact == done("found").artifacts[0]
    assert (world.attempt(3).state, world.attempt(3).billed) == (S.COMPLETED, Billed.YES)


def test_task_found_late_stops_a_submit_that_was_not_sent() -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.unknown(1)
    world.take(1, "found")
    world.step()
    world.read(1, done("found"))
    assert world.states() == [S.COMPLETED, S.NOT_SENT]


# Polls that prove nothing, and lost tasks


def test_completed_without_a_file_is_refreshed_and_then_asked_for_its_content() -> None:
    world = World(generation(), has_refresh=True)
    world.accept(1)
    world.read(1, FILELESS)
    missing_since = world.now
    hows = []
    while world.now < missing_since + timedelta(seconds=90):
        hows.append((world.until_poll(1).how, (world.now - missing_since).total_seconds() >= 60))
        world.read(1, FILELESS)
    assert set(hows) == {("refresh", False), ("poll", False), ("content", True)}, (
        "either way of reading may name the file"
    )
    assert hows == sorted(hows, key=lambda entry: entry[1])


def test_completed_without_a_file_is_polled_where_nothing_refreshes() -> None:
    world = World(generation())
    world.accept(1)
    world.read(1, FILELESS)
    assert world.until_poll(1).how == "poll"


def test_another_word_forgets_that_the_file_was_missing() -> None:
    world = World(generation(), has_refresh=True)
    world.accept(1)
    world.read(1, FILELESS)
    world.read(1, RUNNING)
    assert world.until_poll(1).how == "poll"


def test_content_that_is_not_there_falls_back() -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.accept(1)
    world.read(1, FILELESS)
    world.read(1, failed(FailureKind.RESULT_MISSING))
    assert (world.states(), world.attempt(1).billed) == ([S.FAILED, S.RESERVED], Billed.YES)


@pytest.mark.parametrize("age", [0, 900])
def test_not_found_counts_only_over_a_whole_grace(age: float) -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.accept(1)
    world.step(wait=age)
    world.unread(1, not_found=True)
    first = world.now
    while (world.now - first).total_seconds() < 55:
        world.unread(1, not_found=True)
    assert world.states() == [S.ACCEPTED]
    while (world.now - first).total_seconds() < 60:
        world.unread(1, not_found=True)
    assert world.states() == [S.FAILED, S.RESERVED]
    assert world.attempt(1).failure == failed(FailureKind.TASK_LOST)
    assert world.attempt(1).billed is Billed.MAYBE


def test_not_found_counts_only_after_three_polls() -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.accept(1)
    world.unread(1, not_found=True)
    world.until_poll(1)
    world.step(wait=300)  # one poll takes long
    world.unread(1, not_found=True)
    assert world.states() == [S.ACCEPTED]
    world.unread(1, not_found=True)
    assert world.states() == [S.FAILED, S.RESERVED]


def test_reading_in_between_restarts_the_count_of_not_found() -> None:
    world = World(generation())
    world.accept(1)
    world.step(wait=300)
    for _ in range(5):
        for _ in range(10):
            world.unread(1, not_found=True)
        world.read(1, RUNNING)
    assert world.states() == [S.ACCEPTED]


def test_failing_read_between_does_not_bring_a_lost_task_back() -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.accept(1)
    world.step(wait=300)
    while world.states() == [S.ACCEPTED]:
        assert world.now < after(600)
        world.unread(1, not_found=True)
        if world.states() == [S.ACCEPTED]:
            world.unread(1)
    assert world.states() == [S.FAILED, S.RESERVED]


def test_failing_reads_write_nothing_and_end_nothing() -> None:
    world = World(generation(deadline_seconds=1100))
    world.accept(1)
    for _ in range(12):
        assert world.unread(1).writes == ()
    assert world.states() == [S.ACCEPTED]


def test_fact_of_an_attempt_that_has_ended_is_ignored() -> None:
    world = World(generation("acme/one", "bolt/two"))
    world.end(1, FailureKind.OUT_OF_CREDIT)
    late = SubmitEnded(attempt_id="att_1_1", state=S.NOT_SENT, failure=failed(FailureKind.UNAVAILABLE))
    assert world.step(late).writes == ()


def test_unclear_answer_for_an_attempt_that_was_never_sent_is_ignored() -> None:
    world = World(generation())
    wrong = SubmitEnded(attempt_id="att_1_1", state=S.UNKNOWN, failure=failed(FailureKind.AMBIGUOUS))
    assert world.step(wrong).writes == ()


def test_polls_after_a_restart_are_spread_over_one_interval() -> None:
    world = World(generation(count=4))
    for number in (1, 2, 3, 4):
        world.accept(number)
    world.crash()
    world.step(wait=100)
    waits = sorted((schedule.next_at - world.now).total_seconds() for schedule in world.schedules.values())
    assert len(set(waits)) == 4
    assert 0 <= waits[0] <= waits[-1] < POLLING.poll_seconds


def test_poll_schedule_of_an_ended_task_is_dropped() -> None:
    world = World(generation(count=2))
    world.accept(1)
    world.accept(2)
    assert len(world.schedules) == 2
    world.read(1, done())
    assert list(world.schedules) == [("att_1_2", 0)]


def test_read_under_way_is_not_started_twice() -> None:
    world = World(generation())
    world.accept(1)
    world.until_poll(1)
    assert world.step(wait=100).effects == ()


def test_writes_of_a_step_come_in_an_order_that_can_be_stored() -> None:
    world = World(generation(), keeps=False)
    world.accept(1)
    step_after_read = world.read(1, done())
    assert [type(write) for write in step_after_read.writes] == [SaveAttempt, SaveOutput, SaveStatus]
    step = world.file(FileArchived(0, archived_file()))
    assert [type(write) for write in step.writes] == [SaveArchivedFile, SaveOutput, SaveAttempt, SaveStatus]


def test_polling_of_another_route_is_its_own() -> None:
    start = generation("acme/one", "bolt/two")
    slow = Polling(first_poll_seconds=40, poll_seconds=40, poll_max_seconds=40)
    world = World(start)
    world.end(1, FailureKind.OUT_OF_CREDIT)
    world.accept(2)
    step = advance(
        world.generation,
        {},
        (),
        now=world.now,
        busy=frozenset(),
        profile_of=lambda route: type(world.profile)(polling=slow if route.provider == "bolt" else POLLING),
    )
    assert step.wake_at == after(40)


def test_route_that_is_being_tried_again_gets_one_submit() -> None:
    start = generation("acme/one", "bolt/two", count=4)

    def health(provider: str, _model: str) -> RouteHealth:
        return RouteHealth(circuit=CircuitState.HALF_OPEN if provider == "acme" else CircuitState.CLOSED)

    step = advance(
        start, {}, (), now=after(0), busy=frozenset(), profile_of=lambda _: RouteProfile(polling=POLLING), health=health
    )
    assert [attempt.route for attempt in step.generation.attempts] == [0]
    assert step.wake_at == after(1)


def test_a_task_with_endless_files_fills_a_bounded_number_of_outputs() -> None:
    world = World(generation())
    world.accept(1)
    world.read(1, done(*(f"f{number}" for number in range(500))))
    assert len(world.outputs()) == FILES_MAX


def test_task_that_is_reported_again_after_the_end_is_ended_in_one_step() -> None:
    world = World(generation())
    world.accept(1, "a")
    world.read(1, done("https://acme.example/a.mp4"))
    assert world.generation.status is Status.COMPLETED

    world.adopt(1, "a")
    world.step()  # fails if the next step would write again

    assert world.states() == [S.COMPLETED]
