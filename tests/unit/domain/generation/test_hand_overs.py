"""A generation that changes hands again and again ends when its graces are over: not earlier, not later, not never."""

from collections.abc import Callable

import msgspec
import pytest

from gateway.domain.adapter.failure import FailureKind
from gateway.domain.generation.archiving import FileUnread
from gateway.domain.generation.facts_and_effects import Poll
from gateway.domain.generation.model import AttemptState, Generation
from gateway.domain.generation.task_polling import LOST_READINGS

from ...builders import FILELESS, POLLING, RUNNING, World, done, generation

GRACE = POLLING.grace_seconds
# A process that takes a task over polls it within one interval, and the next poll is within another.
LATEST = GRACE + 2 * POLLING.poll_max_seconds


def running(**options: bool) -> World:
    world = World(generation(), **options)
    world.accept(1)
    world.read(1, RUNNING)
    return world


def hand_over(world: World) -> None:
    """Another process goes on with what is stored, and with nothing else."""
    world.generation = msgspec.json.decode(msgspec.json.encode(world.generation), type=Generation)
    world.schedules.clear()
    world.archive_schedules.clear()
    world.busy.clear()
    world.step()


def stay(_: World) -> None:
    """The same process goes on."""


@pytest.mark.parametrize("change", [hand_over, stay])
def test_a_task_that_is_not_found_is_lost_after_its_grace(change: Callable[[World], None]) -> None:
    world = running()
    world.unread(1, not_found=True)
    began, readings, writes = world.now, 1, 0
    while world.attempt(1).state is AttemptState.ACCEPTED:
        change(world)
        step = world.unread(1, not_found=True)
        readings += 1
        writes += bool(step.writes)
        assert (world.now - began).total_seconds() <= LATEST
    assert (world.now - began).total_seconds() >= GRACE
    assert readings >= LOST_READINGS
    failure = world.attempt(1).failure
    assert failure is not None
    assert failure.kind is FailureKind.TASK_LOST
    assert writes == LOST_READINGS, "two more readings are counted, then comes the end"


def test_a_task_that_is_found_again_begins_a_new_grace_in_every_process() -> None:
    world = running()
    for _ in range(LOST_READINGS - 1):
        world.unread(1, not_found=True)
    hand_over(world)
    world.read(1, RUNNING)
    assert world.attempt(1).tasks[0].not_found == 0
    hand_over(world)
    world.unread(1, not_found=True)
    world.unread(1, not_found=True)
    assert world.attempt(1).state is AttemptState.ACCEPTED


@pytest.mark.parametrize("has_refresh", [False, True])
@pytest.mark.parametrize("change", [hand_over, stay])
def test_a_file_that_is_not_named_is_looked_for_after_the_grace(
    change: Callable[[World], None], *, has_refresh: bool
) -> None:
    world = running(has_refresh=has_refresh)
    world.read(1, FILELESS)
    began = world.now
    for number in range(100):
        if number < 10:  # it changes hands ten times
            change(world)
        poll = world.until_poll(1)
        if poll.how == "content":
            break
        assert not world.read(1, FILELESS).writes, "what is known already is not written again"
    assert isinstance(poll, Poll)
    assert poll.how == "content"
    assert GRACE <= (world.now - began).total_seconds() <= LATEST + POLLING.poll_max_seconds


@pytest.mark.parametrize("change", [hand_over, stay])
def test_a_link_without_a_file_is_given_up_after_the_grace(change: Callable[[World], None]) -> None:
    world = World(generation(), keeps=False)
    world.accept(1)
    world.read(1, done())
    began = world.now
    while world.attempt(1).state is AttemptState.ACCEPTED:
        change(world)
        world.until_keep()
        world.file(FileUnread(index=0, missing=True), wait=5)
        assert (world.now - began).total_seconds() <= 3 * GRACE
    assert (world.now - began).total_seconds() >= GRACE
    failure = world.attempt(1).failure
    assert failure is not None
    assert failure.kind is FailureKind.RESULT_MISSING
