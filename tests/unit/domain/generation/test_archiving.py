"""Files on their way into the artifact store: what an output waits for, and for how long."""

import pytest

from gateway.domain.adapter.failure import Billed, FailureKind
from gateway.domain.adapter.task import Artifact, Completed, Status
from gateway.domain.generation.archiving import (
    LONGEST_WAIT,
    MAX_SECONDS,
    MISSING_TRIES,
    WAIT,
    FileKept,
    FileUnread,
    Keep,
)
from gateway.domain.generation.lifecycle import Hinted, Poll, Read
from gateway.domain.generation.model import AttemptState

from ...builders import POLLING, RUNNING, T0, World, done, generation, kept

S = AttemptState


def found(*routes: str, count: int = 1, files: int = 1) -> World:
    """A generation whose first task is done, and its file on the way."""
    world = World(generation(*routes or ("acme/one", "bolt/two"), count=count), keeps=False)
    world.accept(1)
    world.read(1, done(*"abc"[:files]))
    return world


def missing(world: World, index: int = 0) -> None:
    """There is no video, as often and as long as it takes."""
    for _ in range(MISSING_TRIES):
        world.until_keep(index)
        world.file(FileUnread(index=index, missing=True))
    world.step(wait=POLLING.grace_seconds)
    world.until_keep(index)
    world.file(FileUnread(index=index, missing=True))


def test_output_counts_only_once_its_file_is_kept() -> None:
    world = found()
    assert (world.generation.status, world.outputs()) == (Status.IN_PROGRESS, [Status.IN_PROGRESS])
    assert world.last.effects == (Keep(0),)

    world.file(FileKept(0, kept()))

    assert (world.generation.status, world.states()) == (Status.COMPLETED, [S.COMPLETED])
    assert world.generation.output(0).kept == kept()
    assert world.keeping == {}


def test_nothing_else_is_tried_while_a_file_is_on_its_way() -> None:
    """Not even when the attempt's own time is over: the provider has done what it was asked for."""
    world = World(generation("acme/one", "bolt/two"), keeps=False)
    world.accept(1)
    world.step(wait=POLLING.attempt_timeout_seconds - 1)
    world.read(1, done())
    world.step(wait=2)
    assert (world.states(), world.generation.status) == ([S.ACCEPTED], Status.IN_PROGRESS)


def test_what_is_no_result_goes_to_the_next_route_and_was_paid_for() -> None:
    world = found()
    missing(world)
    first = world.attempt(1)
    assert (first.state, first.billed) == (S.FAILED, Billed.YES)
    assert first.failure is not None
    assert first.failure.kind is FailureKind.RESULT_MISSING
    assert (world.states(), world.routes()) == ([S.FAILED, S.RESERVED], [0, 1])
    assert world.generation.output(0).artifact is None

    world.accept(2)
    world.read(2, done("b"))
    world.file(FileKept(0, kept()))
    assert (world.generation.status, world.generation.provider) == (Status.COMPLETED, "bolt")


def test_what_is_no_result_on_the_last_route_fails() -> None:
    world = found("acme/one")
    missing(world)
    assert world.generation.status is Status.FAILED
    assert world.generation.failure is not None
    assert world.generation.failure.kind is FailureKind.RESULT_MISSING


def test_file_that_cannot_be_had_for_long_leaves_the_providers_link() -> None:
    world = found()
    while world.generation.status is not Status.COMPLETED:
        assert world.now - T0 < WAIT * 2
        world.now = max(world.now, world.last.wake_at)
        world.step()
        if Keep(0) in world.busy:
            world.file(FileUnread(index=0))
    output = world.generation.output(0)
    assert (output.status, output.kept) == (Status.COMPLETED, None)
    assert output.artifact is not None
    assert len(world.generation.attempts) == 1

    world.until_keep()  # behind the end it is still tried, and nothing else changes by it
    before = world.generation
    world.file(FileKept(0, kept()))
    assert world.generation.output(0).kept == kept()
    assert (world.generation.status, world.generation.completed_at) == (before.status, before.completed_at)


def test_tries_grow_apart_and_end_with_the_link() -> None:
    world = found()
    gaps = []
    before = world.now
    while True:
        try:
            world.until_keep()
        except AssertionError:
            break
        gaps.append((world.now - before).total_seconds())
        before = world.now
        world.file(FileUnread(index=0))
    assert gaps[:5] == [0, 2, 4, 8, 16]
    assert max(gaps) <= MAX_SECONDS
    assert world.generation.output(0).expires_at is not None
    assert before <= world.generation.output(0).expires_at
    assert (world.keeping, world.last.effects) == ({}, ())


def test_file_that_may_never_be_fetched_is_not_waited_for() -> None:
    world = found()
    world.file(FileUnread(index=0, final=True))
    assert (world.generation.status, world.generation.output(0).kept) == (Status.COMPLETED, None)
    world.step(wait=3600)
    assert Keep(0) not in world.busy
    world.crash()  # another configuration may allow it
    world.step(wait=60)
    world.step(wait=60)
    assert Keep(0) in world.busy


def test_missing_counts_when_it_is_seen_often_and_over_a_grace() -> None:
    world = found()
    for _ in range(3):
        world.file(FileUnread(index=0, missing=True), wait=1)
    assert world.states() == [S.ACCEPTED]
    world.file(FileUnread(index=0, missing=True), wait=POLLING.grace_seconds)
    assert world.states() == [S.FAILED, S.RESERVED]


def test_another_fault_in_between_begins_the_grace_anew() -> None:
    world = found()
    for absent in (True, True, False):
        world.file(FileUnread(index=0, missing=absent), wait=1)
    world.file(FileUnread(index=0, missing=True), wait=POLLING.grace_seconds)
    assert world.states() == [S.ACCEPTED]


def test_deadline_takes_what_is_found() -> None:
    world = found()
    for _ in range(2):
        world.file(FileUnread(index=0), wait=1)
    world.now = world.generation.deadline_at
    world.step()
    assert (world.generation.status, world.outputs()) == (Status.COMPLETED, [Status.COMPLETED])


def test_cancel_lets_the_file_go() -> None:
    world = found()
    world.cancel()
    output = world.generation.output(0)
    assert (output.status, output.artifact) == (Status.CANCELLED, None)
    world.file(FileKept(0, kept()))  # it had been fetched already
    assert world.generation.output(0).kept is None


def test_crash_while_a_file_is_on_its_way_asks_for_it_again() -> None:
    world = found()
    world.crash()
    assert world.step().effects == (Keep(0),)


def test_further_files_of_a_task_are_kept_beside() -> None:
    world = found(files=3)
    assert set(world.last.effects) == {Keep(0), Keep(1), Keep(2)}
    world.file(FileKept(0, kept(0)))
    missing(world, 1)
    world.file(FileKept(2, kept(2)))
    assert world.generation.status is Status.COMPLETED
    assert world.outputs() == [Status.COMPLETED, Status.FAILED, Status.COMPLETED]


def test_late_result_is_kept_behind_the_end() -> None:
    world = World(generation("acme/one", "bolt/two"), keeps=False)
    world.accept(1)
    world.give_up(1)
    world.accept(2)
    world.read(2, done("b"))
    world.file(FileKept(0, kept(0)))
    world.read(1, done("a"))
    late = world.generation.output(1)
    assert (late.late, late.status) == (True, Status.COMPLETED)
    world.until_keep(1)
    world.file(FileKept(1, kept(1)))
    assert world.generation.output(1).kept == kept(1)


# Hints of a provider


def test_hint_reads_the_task_now() -> None:
    world = World(generation())
    world.accept(1)
    world.read(1, RUNNING)
    step = world.step(Hinted(world.attempt(1).id), wait=1)
    assert step.effects == (Poll(attempt_id=world.attempt(1).id, index=0),)


def test_flood_of_hints_reads_once_a_second() -> None:
    world = World(generation())
    world.accept(1)
    world.step(wait=0.5)
    reads = 0
    for _ in range(1000):
        step = world.step(Hinted(world.attempt(1).id), wait=0.01)
        for one in [one for one in step.effects if isinstance(one, Poll)]:
            reads += 1
            world.busy.discard(one)
            world.step(Read(attempt_id=one.attempt_id, index=one.index, asked_at=world.now, snapshot=RUNNING))
    assert reads in {10, 11}


def test_hint_during_a_reading_asks_for_another() -> None:
    """The reading under way may have been answered a moment too early."""
    world = World(generation())
    world.accept(1)
    poll = world.until_poll(1)
    world.step(Hinted(world.attempt(1).id))
    world.busy.discard(poll)
    world.step(Read(attempt_id=poll.attempt_id, index=poll.index, asked_at=world.now, snapshot=RUNNING))
    assert world.step(wait=1).effects == (poll,)


def test_hint_for_what_is_not_there_changes_nothing() -> None:
    world = World(generation())
    before = world.generation
    world.step(Hinted("att_other_1"))
    assert (world.generation, world.watches) == (before, {})


def test_second_result_does_not_take_the_place_of_one_on_its_way() -> None:
    world = World(generation("acme/one", "bolt/two"), keeps=False)
    world.accept(1)
    world.give_up(1)
    world.accept(2)
    world.read(1, done("a"))
    world.read(2, done("b"))
    first, second = world.generation.outputs
    assert (first.attempt_id, first.status) == (world.attempt(1).id, Status.IN_PROGRESS)
    assert (second.attempt_id, second.late) == (world.attempt(2).id, True)
    world.file(FileKept(0, kept(0)))
    assert world.generation.provider == "acme"


def test_reserved_attempt_is_not_sent_while_a_late_file_is_on_its_way() -> None:
    world = World(generation("acme/one", "bolt/two"), keeps=False)
    world.accept(1)
    world.give_up(1)
    world.read(1, done("a"))
    assert world.states()[1] is S.NOT_SENT
    missing(world)
    assert world.states()[2] is S.RESERVED


def test_output_waits_longer_while_its_file_is_coming() -> None:
    world = found()
    world.step(wait=WAIT.total_seconds() * 3)
    assert world.generation.status is Status.IN_PROGRESS
    world.step(wait=LONGEST_WAIT.total_seconds())
    assert (world.generation.status, world.generation.output(0).kept) == (Status.COMPLETED, None)
    world.file(FileKept(0, kept()))
    assert world.generation.output(0).kept == kept()


OURS_ALONE = Completed((Artifact(url="https://relay.test/v1/videos/t1/content", needs_credential=True),))


def behind_the_key() -> World:
    """The same, of a file that only the gateway can fetch."""
    world = World(generation("acme/one", "bolt/two"), keeps=False)
    world.accept(1)
    world.read(1, OURS_ALONE)
    return world


def test_file_that_only_the_gateway_can_fetch_is_waited_for_while_it_comes() -> None:
    """No link of use could be given instead."""
    world = behind_the_key()
    world.step(wait=LONGEST_WAIT.total_seconds() * 4)
    assert (world.generation.status, world.outputs()) == (Status.IN_PROGRESS, [Status.IN_PROGRESS])
    world.file(FileKept(0, kept()))
    assert (world.generation.status, len(world.generation.attempts)) == (Status.COMPLETED, 1)


@pytest.mark.parametrize("final", [False, True])
def test_file_that_only_the_gateway_can_fetch_is_waited_for_until_the_deadline(final: bool) -> None:
    world = behind_the_key()
    world.file(FileUnread(index=0, final=final))
    while world.last.wake_at < world.generation.deadline_at:
        world.now = max(world.now, world.last.wake_at)
        world.step()
        if Keep(0) in world.busy:
            world.file(FileUnread(index=0))
    assert (world.generation.status, len(world.generation.attempts)) == (Status.IN_PROGRESS, 1)

    world.now = world.generation.deadline_at
    world.step()
    assert (world.generation.status, world.outputs()) == (Status.COMPLETED, [Status.COMPLETED])


def test_file_that_only_the_gateway_can_fetch_is_passed_through_while_its_store_is_full() -> None:
    world = behind_the_key()
    world.file(FileUnread(index=0, unstored=True))
    world.step(wait=WAIT.total_seconds())
    assert (world.generation.status, world.generation.output(0).kept) == (Status.COMPLETED, None)


def test_missing_file_behind_the_key_goes_to_the_next_route() -> None:
    world = behind_the_key()
    missing(world)
    assert (world.states(), world.routes()) == ([S.FAILED, S.RESERVED], [0, 1])


@pytest.mark.parametrize(
    ("asked", "waits"),
    [(None, 2), (0, 2), (-5, 2), (1, 2), (30, 30), (MAX_SECONDS, MAX_SECONDS), (1e30, MAX_SECONDS)],
)
def test_host_may_ask_for_a_wait_and_not_for_hours(asked: float | None, waits: float) -> None:
    world = found()
    world.file(FileUnread(index=0, retry_after_seconds=asked))
    assert (world.keeping[0].next_at - world.now).total_seconds() == waits
    assert world.keeping[0].interval_seconds == 4  # a wait that was asked for does not make later ones longer


def test_file_that_came_while_its_link_ended_is_kept() -> None:
    world = found()
    expires_at = world.generation.output(0).expires_at
    assert expires_at is not None
    world.now = expires_at
    world.file(FileKept(0, kept()))
    assert world.generation.output(0).kept == kept()
