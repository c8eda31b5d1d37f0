"""An attempt whose tasks only callbacks name: how long others are waited for, and what is not bought meanwhile."""

from msgspec.structs import replace

from gateway.domain.adapter.task import Artifact, Completed, TaskRef
from gateway.domain.generation.facts_and_effects import CallbackReceived, Poll
from gateway.domain.generation.model import AttemptState
from gateway.domain.generation.reconciliation import with_tasks
from gateway.domain.generation.transitions import SaveAttempt, apply

from ...builders import POLLING, World, generation

DONE = Completed((Artifact(url="https://cdn.example/1.mp4"),))


def adopt(world: World, *ids: str) -> None:
    """Store these tasks, which callbacks named."""
    attempt = world.attempt(1)
    refs = [TaskRef(id=id_) for id_ in ids]
    tasks = with_tasks(attempt.slots, attempt.tasks, refs, len(world.generation.outputs))
    if attempt.state is AttemptState.UNKNOWN:
        attempt = replace(attempt, accepted_at=world.now, ended_at=None, failure=None, billed=None)
    after = replace(attempt, state=AttemptState.ACCEPTED, tasks=tasks, adopted="callback")
    world.generation = apply(world.generation, SaveAttempt(after, world.attempt(1).state))
    world.step()


def test_after_the_first_of_two_callbacks_the_second_is_waited_for() -> None:
    world = World(generation("acme/one*2", "other/two*2", count=2))
    world.unknown(1)
    assert world.states() == [AttemptState.UNKNOWN, AttemptState.RESERVED]
    adopt(world, "a")
    assert world.states() == [AttemptState.ACCEPTED, AttemptState.NOT_SENT], "nothing is bought twice"
    world.read(1, DONE)
    assert world.states()[0] is AttemptState.ACCEPTED
    adopt(world, "b")
    world.read(1, DONE, 1)
    assert world.states() == [AttemptState.COMPLETED, AttemptState.NOT_SENT]


def test_second_task_that_is_never_named_is_waited_for_until_the_time_out() -> None:
    world = World(generation("acme/one*2", "other/two*2", count=2))
    world.unknown(1)
    adopt(world, "a")
    world.read(1, DONE)
    world.step(wait=POLLING.attempt_timeout_seconds)
    assert world.states() == [AttemptState.COMPLETED, AttemptState.NOT_SENT, AttemptState.RESERVED]
    assert world.attempt(3).slots == (1,)


def test_callback_before_the_reply_makes_the_task_polled_at_once() -> None:
    world = World(generation())
    world.send(1)
    attempt = world.attempt(1).id
    world.step(CallbackReceived(attempt))
    world.take(1)
    assert world.step().effects == (Poll(attempt_id=attempt, index=0),)


def test_callback_for_a_submit_without_a_task_is_forgotten() -> None:
    world = World(generation())
    world.send(1)
    world.step(CallbackReceived(world.attempt(1).id))
    world.unknown(1)
    assert world.schedules == {}
