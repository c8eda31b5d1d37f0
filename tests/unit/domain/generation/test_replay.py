"""A generation that is put back to an earlier event has the states that it had then."""

from datetime import datetime
from typing import Any, NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.task import Status
from gateway.domain.generation.model import AttemptState, Generation
from gateway.domain.generation.replay import as_of

from ...builders import World, done, generation
from .test_lifecycle_properties import Life


class Entry(NamedTuple):
    type: str
    data: dict[str, object]
    at: datetime


class Recorder(World):
    """A world that notes the events of each change, and what the generation was after them."""

    entries: list[Entry]
    history: list[tuple[int, Generation]]

    @property
    def generation(self) -> Generation:
        return self._generation

    @generation.setter
    def generation(self, value: Generation) -> None:
        before = getattr(self, "_generation", None)
        self._generation = value
        if before is None:
            self.entries, self.history = [Entry("generation.queued", {}, value.created_at)], []
        else:
            self.entries += self._changes(before, value)
        self.history.append((len(self.entries), value))

    def _changes(self, before: Generation, now: Generation) -> list[Entry]:
        states = {attempt.id: attempt.state for attempt in before.attempts}
        outputs = {output.index: output for output in before.outputs}
        entries = [
            Entry(f"attempt.{attempt.state}", {"attempt": attempt.id}, self.now)
            for attempt in now.attempts
            if states.get(attempt.id) is not attempt.state
        ]
        for output in now.outputs:
            earlier = outputs.get(output.index)
            if output.kept is not None and (earlier is None or earlier.kept is None):
                entries.append(Entry("output.kept", {"index": output.index}, self.now))
            if earlier is None or earlier.status is not output.status:
                entries.append(Entry(f"output.{output.status}", {"index": output.index}, self.now))
        if before.status is not now.status:
            entries.append(Entry(f"generation.{now.status}", {"provider": now.provider}, self.now))
        return entries

    def check(self) -> None:
        """Put the newest generation back to each earlier moment."""
        for count, then in self.history:
            past = as_of(self.generation, self.entries[:count])
            assert past.status is then.status
            if not then.status.terminal:
                assert comparable(past) == comparable(then)


def comparable(value: Generation) -> Any:
    """The states of a generation, without the values of open outputs and running tasks, which are not replayed."""
    return (
        [
            (output.index, output.extra, output.status, output.artifact, output.kept and output.kept.name)
            if output.status.terminal
            else (output.index, output.extra)
            for output in value.outputs
        ],
        [(attempt.id, attempt.state, attempt.ended_at is None) for attempt in value.attempts],
        (value.failure, value.completed_at),
    )


class RecordedLife(Life):
    world_type = Recorder

    @precondition(lambda self: self.world.now < self.world.generation.deadline_at)
    @precondition(lambda self: self.numbers(*set(AttemptState) - {AttemptState.RESERVED, AttemptState.SUBMITTING}))
    @rule(data=st.data(), tasks=st.integers(1, 3))
    def found_late(self, data: st.DataObject, tasks: int) -> None:
        """Only before the deadline: later task ids are tested in `test_lifecycle_properties`."""
        states = set(AttemptState) - {AttemptState.RESERVED, AttemptState.SUBMITTING}
        number = data.draw(st.sampled_from(self.numbers(*states)))
        self.adopted.add(self.world.attempt(number).id)
        self.world.adopt(number, *(f"late{number}-{at}" for at in range(tasks)))
        self.step()

    def teardown(self) -> None:
        if isinstance(getattr(self, "world", None), Recorder):
            self.world.check()


TestReplay = RecordedLife.TestCase
TestReplay.settings = settings(max_examples=60, stateful_step_count=30, suppress_health_check=list(HealthCheck))


def test_before_an_output_had_ended_nothing_of_its_end_shows() -> None:
    world = Recorder(generation("acme/a", "bolt/b", count=1))
    world.end(1, FailureKind.UNAVAILABLE)
    world.accept(2)
    world.read(2, done("a"))
    now = world.generation
    assert now.status is Status.COMPLETED

    queued = as_of(now, world.entries[:1])
    assert (queued.status, queued.attempts, queued.progress, queued.provider) == (Status.QUEUED, (), 0, None)
    assert queued.outputs[0].artifact is None

    refused = next(at for at, entry in enumerate(world.entries) if entry.type == "attempt.refused")
    (first, *_) = as_of(now, world.entries[: refused + 1]).attempts
    assert first == now.attempts[0]

    sent = next(
        at
        for at, entry in enumerate(world.entries)
        if entry.type == "attempt.accepted" and entry.data["attempt"] == now.attempts[1].id
    )
    second = as_of(now, world.entries[: sent + 1]).attempts[1]
    assert (second.state, second.ended_at, second.billed) == (AttemptState.ACCEPTED, None, None)
    assert second.tasks[0].status is not Status.COMPLETED
    assert as_of(now, world.entries[: sent + 1]).provider == "bolt"
    assert as_of(now, world.entries) == now
