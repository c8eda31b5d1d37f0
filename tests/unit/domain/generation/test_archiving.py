"""The archiving of results: what an output waits for, and for how long."""

import pytest

from gateway.domain.adapter.failure import Billed, FailureKind
from gateway.domain.adapter.task import Artifact, Completed, Status
from gateway.domain.generation.archiving import (
    LONGEST_WAIT,
    MAX_SECONDS,
    MISSING_TRIES,
    WAIT,
    ArchiveFile,
    FileArchived,
    FileUnread,
)
from gateway.domain.generation.facts_and_effects import CallbackReceived, Poll, TaskRead
from gateway.domain.generation.model import AttemptState

from ...builders import POLLING, RUNNING, T0, World, archived_file, done, generation

S = AttemptState


def being_archived(*routes: str, count: int = 1, files: int = 1) -> World:
    """A generation whose first task is done and whose file is being archived."""
    world = World(generation(*routes or ("acme/one", "bolt/two"), count=count), keeps=False)
    world.accept(1)
    world.read(1, done(*"abc"[:files]))
    return world


def missing(world: World, index: int = 0) -> None:
    """Let every fetch find no video, until the result counts as missing."""
    for _ in range(MISSING_TRIES):
        world.until_keep(index)
        world.file(FileUnread(index=index, missing=True))
    world.step(wait=POLLING.grace_seconds)
    world.until_keep(index)
    world.file(FileUnread(index=index, missing=True))


def test_output_counts_only_once_its_file_is_kept() -> None:
    world = being_archived()
    assert (world.generation.status, world.outputs()) == (Status.IN_PROGRESS, [Status.IN_PROGRESS])
    assert world.last.effects == (ArchiveFile(0),)

    world.file(FileArchived(0, archived_file()))

    assert (world.generation.status, world.states()) == (Status.COMPLETED, [S.COMPLETED])
    assert world.generation.output(0).kept == archived_file()
    assert world.archive_schedules == {}


def test_no_other_route_is_tried_while_a_file_is_being_archived() -> None:
    """Not even after the time-out of the attempt: the provider has done its work."""
    world = World(generation("acme/one", "bolt/two"), keeps=False)
    world.accept(1)
    world.step(wait=POLLING.attempt_timeout_seconds - 1)
    world.read(1, done())
    world.step(wait=2)
    assert (world.states(), world.generation.status) == ([S.ACCEPTED], Status.IN_PROGRESS)


def test_missing_result_goes_to_the_next_route_and_was_paid_for() -> None:
    world = being_archived()
    missing(world)
    first = world.attempt(1)
    assert (first.state, first.billed) == (S.FAILED, Billed.YES)
    assert first.failure is not None
    assert first.failure.kind is FailureKind.RESULT_MISSING
    assert (world.states(), world.routes()) == ([S.FAILED, S.RESERVED], [0, 1])
    assert world.generation.output(0).artifact is None

    world.accept(2)
    world.read(2, done("b"))
    world.file(FileArchived(0, archived_file()))
    assert (world.generation.status, world.generation.provider) == (Status.COMPLETED, "bolt")


def test_missing_result_on_the_last_route_fails() -> None:
    world = being_archived("acme/one")
    missing(world)
    assert world.generation.status is Status.FAILED
    assert world.generation.failure is not None
    assert world.generation.failure.kind is FailureKind.RESULT_MISSING


def test_file_that_cannot_be_archived_in_time_leaves_the_provider_s_link() -> None:
    world = being_archived()
    while world.generation.status is not Status.COMPLETED:
        assert world.now - T0 < WAIT * 2
        world.now = max(world.now, world.last.wake_at)
        world.step()
        if ArchiveFile(0) in world.busy:
            world.file(FileUnread(index=0))
    output = world.generation.output(0)
    assert (output.status, output.kept) == (Status.COMPLETED, None)
    assert output.artifact is not None
    assert len(world.generation.attempts) == 1

    world.until_keep()  # after the end archiving is still tried, and nothing else changes
    before = world.generation
    world.file(FileArchived(0, archived_file()))
    assert world.generation.output(0).kept == archived_file()
    assert (world.generation.status, world.generation.completed_at) == (before.status, before.completed_at)


def test_pauses_between_tries_grow_and_end_with_the_link() -> None:
    world = being_archived()
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
    assert (world.archive_schedules, world.last.effects) == ({}, ())


def test_file_that_may_never_be_fetched_is_not_waited_for() -> None:
    world = being_archived()
    world.file(FileUnread(index=0, final=True))
    assert (world.generation.status, world.generation.output(0).kept) == (Status.COMPLETED, None)
    world.step(wait=3600)
    assert ArchiveFile(0) not in world.busy
    world.crash()  # a later configuration may allow the fetch
    world.step(wait=60)
    world.step(wait=60)
    assert ArchiveFile(0) in world.busy


def test_missing_counts_when_it_is_seen_often_and_over_a_grace() -> None:
    world = being_archived()
    for _ in range(3):
        world.file(FileUnread(index=0, missing=True), wait=1)
    assert world.states() == [S.ACCEPTED]
    world.file(FileUnread(index=0, missing=True), wait=POLLING.grace_seconds)
    assert world.states() == [S.FAILED, S.RESERVED]


def test_another_fault_in_between_restarts_the_grace() -> None:
    world = being_archived()
    for absent in (True, True, False):
        world.file(FileUnread(index=0, missing=absent), wait=1)
    world.file(FileUnread(index=0, missing=True), wait=POLLING.grace_seconds)
    assert world.states() == [S.ACCEPTED]


def test_deadline_completes_outputs_that_are_being_archived() -> None:
    world = being_archived()
    for _ in range(2):
        world.file(FileUnread(index=0), wait=1)
    world.now = world.generation.deadline_at
    world.step()
    assert (world.generation.status, world.outputs()) == (Status.COMPLETED, [Status.COMPLETED])


def test_cancel_drops_the_file() -> None:
    world = being_archived()
    world.cancel()
    output = world.generation.output(0)
    assert (output.status, output.artifact) == (Status.CANCELLED, None)
    world.file(FileArchived(0, archived_file()))  # the file was fetched before
    assert world.generation.output(0).kept is None


def test_crash_while_a_file_is_being_archived_fetches_it_again() -> None:
    world = being_archived()
    world.crash()
    assert world.step().effects == (ArchiveFile(0),)


def test_further_files_of_a_task_are_archived_too() -> None:
    world = being_archived(files=3)
    assert set(world.last.effects) == {ArchiveFile(0), ArchiveFile(1), ArchiveFile(2)}
    world.file(FileArchived(0, archived_file(0)))
    missing(world, 1)
    world.file(FileArchived(2, archived_file(2)))
    assert world.generation.status is Status.COMPLETED
    assert world.outputs() == [Status.COMPLETED, Status.FAILED, Status.COMPLETED]


def test_late_result_is_archived_after_the_end() -> None:
    world = World(generation("acme/one", "bolt/two"), keeps=False)
    world.accept(1)
    world.give_up(1)
    world.accept(2)
    world.read(2, done("b"))
    world.file(FileArchived(0, archived_file(0)))
    world.read(1, done("a"))
    late = world.generation.output(1)
    assert (late.late, late.status) == (True, Status.COMPLETED)
    world.until_keep(1)
    world.file(FileArchived(1, archived_file(1)))
    assert world.generation.output(1).kept == archived_file(1)


# Callbacks


def test_callback_polls_the_task_now() -> None:
    world = World(generation())
    world.accept(1)
    world.read(1, RUNNING)
    step = world.step(CallbackReceived(world.attempt(1).id), wait=1)
    assert step.effects == (Poll(attempt_id=world.attempt(1).id, index=0),)


def test_many_callbacks_poll_once_a_second() -> None:
    world = World(generation())
    world.accept(1)
    world.step(wait=0.5)
    reads = 0
    for _ in range(1000):
        step = world.step(CallbackReceived(world.attempt(1).id), wait=0.01)
        for poll in [effect for effect in step.effects if isinstance(effect, Poll)]:
            reads += 1
            world.busy.discard(poll)
            world.step(TaskRead(attempt_id=poll.attempt_id, index=poll.index, asked_at=world.now, snapshot=RUNNING))
    assert reads in {10, 11}


def test_callback_during_a_poll_causes_another_one() -> None:
    """The provider may have answered the poll under way just before the event."""
    world = World(generation())
    world.accept(1)
    poll = world.until_poll(1)
    world.step(CallbackReceived(world.attempt(1).id))
    world.busy.discard(poll)
    world.step(TaskRead(attempt_id=poll.attempt_id, index=poll.index, asked_at=world.now, snapshot=RUNNING))
    assert world.step(wait=1).effects == (poll,)


def test_callback_for_an_unknown_attempt_changes_nothing() -> None:
    world = World(generation())
    before = world.generation
    world.step(CallbackReceived("att_other_1"))
    assert (world.generation, world.schedules) == (before, {})


def test_second_result_does_not_replace_one_that_is_being_archived() -> None:
    world = World(generation("acme/one", "bolt/two"), keeps=False)
    world.accept(1)
    world.give_up(1)
    world.accept(2)
    world.read(1, done("a"))
    world.read(2, done("b"))
    first, second = world.generation.outputs
    assert (first.attempt_id, first.status) == (world.attempt(1).id, Status.IN_PROGRESS)
    assert (second.attempt_id, second.late) == (world.attempt(2).id, True)
    world.file(FileArchived(0, archived_file(0)))
    assert world.generation.provider == "acme"


def test_reserved_attempt_is_not_sent_while_a_late_file_is_being_archived() -> None:
    world = World(generation("acme/one", "bolt/two"), keeps=False)
    world.accept(1)
    world.give_up(1)
    world.read(1, done("a"))
    assert world.states()[1] is S.NOT_SENT
    missing(world)
    assert world.states()[2] is S.RESERVED


def test_output_waits_longer_while_its_file_is_coming() -> None:
    world = being_archived()
    world.step(wait=WAIT.total_seconds() * 3)
    assert world.generation.status is Status.IN_PROGRESS
    world.step(wait=LONGEST_WAIT.total_seconds())
    assert (world.generation.status, world.generation.output(0).kept) == (Status.COMPLETED, None)
    world.file(FileArchived(0, archived_file()))
    assert world.generation.output(0).kept == archived_file()


OURS_ALONE = Completed((Artifact(url="https://relay.test/v1/videos/t1/content", needs_credential=True),))


def with_key_needed() -> World:
    """A generation whose first task is done, with a file that only the gateway can fetch."""
    world = World(generation("acme/one", "bolt/two"), keeps=False)
    world.accept(1)
    world.read(1, OURS_ALONE)
    return world


def test_file_that_only_the_gateway_can_fetch_is_waited_for_while_it_comes() -> None:
    """The provider's link would be useless to the client."""
    world = with_key_needed()
    world.step(wait=LONGEST_WAIT.total_seconds() * 4)
    assert (world.generation.status, world.outputs()) == (Status.IN_PROGRESS, [Status.IN_PROGRESS])
    world.file(FileArchived(0, archived_file()))
    assert (world.generation.status, len(world.generation.attempts)) == (Status.COMPLETED, 1)


@pytest.mark.parametrize("final", [False, True])
def test_file_that_only_the_gateway_can_fetch_is_waited_for_until_the_deadline(final: bool) -> None:
    world = with_key_needed()
    world.file(FileUnread(index=0, final=final))
    while world.last.wake_at < world.generation.deadline_at:
        world.now = max(world.now, world.last.wake_at)
        world.step()
        if ArchiveFile(0) in world.busy:
            world.file(FileUnread(index=0))
    assert (world.generation.status, len(world.generation.attempts)) == (Status.IN_PROGRESS, 1)

    world.now = world.generation.deadline_at
    world.step()
    assert (world.generation.status, world.outputs()) == (Status.COMPLETED, [Status.COMPLETED])


def test_file_that_only_the_gateway_can_fetch_is_passed_through_while_its_store_is_full() -> None:
    world = with_key_needed()
    world.file(FileUnread(index=0, unstored=True))
    world.step(wait=WAIT.total_seconds())
    assert (world.generation.status, world.generation.output(0).kept) == (Status.COMPLETED, None)


def test_missing_file_that_needs_the_key_goes_to_the_next_route() -> None:
    world = with_key_needed()
    missing(world)
    assert (world.states(), world.routes()) == ([S.FAILED, S.RESERVED], [0, 1])


@pytest.mark.parametrize(
    ("retry_after", "waits"),
    [(None, 2), (0, 2), (-5, 2), (1, 2), (30, 30), (MAX_SECONDS, MAX_SECONDS), (1e30, MAX_SECONDS)],
)
def test_host_may_ask_for_a_wait_but_not_for_hours(retry_after: float | None, waits: float) -> None:
    world = being_archived()
    world.file(FileUnread(index=0, retry_after_seconds=retry_after))
    assert (world.archive_schedules[0].next_at - world.now).total_seconds() == waits
    assert world.archive_schedules[0].interval_seconds == 4  # a requested wait does not lengthen the later pauses


def test_file_that_came_while_its_link_ended_is_kept() -> None:
    world = being_archived()
    expires_at = world.generation.output(0).expires_at
    assert expires_at is not None
    world.now = expires_at
    world.file(FileArchived(0, archived_file()))
    assert world.generation.output(0).kept == archived_file()
