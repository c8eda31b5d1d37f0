"""When a provider is asked to cancel a task: once, and never if the task is the last chance of its output."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.adapter.failure import Billed, FailureKind
from gateway.domain.adapter.task import Status
from gateway.domain.generation.model import AttemptState, Generation
from gateway.domain.generation.task_cancels import CancelTask, TaskCancelled
from gateway.domain.generation.task_polling import RouteProfile

from ...builders import POLLING, World, done, generation


class CancellingWorld(World):
    """A world whose providers can cancel."""

    def __init__(self, start: Generation, *, can_cancel: bool = True) -> None:
        self.can_cancel = can_cancel
        self.sent: list[CancelTask] = []
        super().__init__(start)

    def profile_of(self, _: object) -> RouteProfile:
        return RouteProfile(polling=POLLING, has_cancel=self.can_cancel)

    def step(self, *facts: object, wait: float = 0) -> object:  # type: ignore[override]  # the step is of no interest here
        step = super().step(*facts, wait=wait)  # type: ignore[arg-type]  # as above
        new = [effect for effect in step.effects if isinstance(effect, CancelTask)]
        self.sent += new
        self.busy -= set(new)
        return step

    def answered(self, billed: Billed | None) -> None:
        self.step(TaskCancelled(attempt_id=self.sent[-1].attempt_id, index=self.sent[-1].index, billed=billed))


def test_a_cancel_of_the_client_is_passed_on_once() -> None:
    world = CancellingWorld(generation(count=2, count_max=2))
    world.accept(1, "t1", "t2")
    assert world.sent == []

    world.cancel()
    world.step()
    world.crash()
    world.step()

    assert [(effect.attempt_id, effect.index) for effect in world.sent] == [
        (world.attempt(1).id, index) for index in (0, 1)
    ]


def test_a_provider_without_a_cancel_gets_none() -> None:
    world = CancellingWorld(generation(), can_cancel=False)
    world.accept(1)
    world.cancel()

    assert world.sent == []
    assert not world.attempt(1).tasks[0].cancel_sent


def test_a_task_that_is_accepted_after_the_cancel_is_cancelled_too() -> None:
    world = CancellingWorld(generation())
    world.send(1)
    world.cancel()
    assert world.sent == []

    world.take(1)
    world.step()

    assert len(world.sent) == 1


def test_a_task_that_timed_out_is_cancelled_only_when_another_one_makes_its_output() -> None:
    world = CancellingWorld(generation("acme/one", "other/two"))
    world.accept(1)
    world.give_up(1)
    assert world.states() == [AttemptState.ABANDONED, AttemptState.RESERVED]
    assert world.sent == []

    world.accept(2)

    assert [effect.attempt_id for effect in world.sent] == [world.attempt(1).id]


def test_the_last_chance_of_an_output_is_not_cancelled_and_still_delivers() -> None:
    world = CancellingWorld(generation("acme/one", "other/two"))
    world.accept(1)
    world.give_up(1)
    world.end(2, FailureKind.INVALID_REQUEST)
    assert world.sent == []

    world.read(1, done())

    assert world.generation.status is Status.COMPLETED
    assert world.sent == []


def test_what_the_answer_proves_decides_whether_it_was_billed() -> None:
    for proof, billed in ((Billed.NO, Billed.NO), (Billed.YES, Billed.YES), (None, Billed.MAYBE)):
        world = CancellingWorld(generation())
        world.accept(1)
        world.cancel()
        assert world.attempt(1).billed is Billed.MAYBE

        world.answered(proof)

        assert world.attempt(1).billed is billed


def test_a_file_that_comes_all_the_same_was_billed() -> None:
    world = CancellingWorld(generation("acme/one", "other/two"))
    world.accept(1)
    world.give_up(1)
    world.accept(2)
    world.answered(Billed.NO)
    assert world.attempt(1).billed is Billed.NO

    world.read(1, done())
    world.answered(Billed.NO)  # an answer that was on its way meanwhile

    assert world.attempt(1).billed is Billed.YES


@given(st.lists(st.sampled_from(["step", "crash", "cancel", "answer", "give_up", "wait"]), max_size=12))
def test_no_task_is_cancelled_twice_in_any_order(moves: list[str]) -> None:
    world = CancellingWorld(generation("acme/one", "other/two"))
    world.accept(1)
    for move in moves:
        match move:
            case "crash":
                world.crash()
                world.step()
            case "cancel" if not world.generation.status.terminal:
                world.cancel()
            case "answer" if world.sent:
                world.answered(Billed.NO)
            case "give_up" if world.attempt(1).state is AttemptState.ACCEPTED:
                world.give_up(1)
                world.accept(2)
            case _:
                world.step(wait=30)

    assert len(world.sent) == len(set(world.sent))
