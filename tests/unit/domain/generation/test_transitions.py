"""Which writes the ledger accepts, which it refuses, and which events they append."""

import json

import msgspec
import pytest
from msgspec.structs import replace

from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.task import Status, TaskRef
from gateway.domain.generation.archiving import FileArchived
from gateway.domain.generation.model import Attempt, AttemptState, Generation, Output
from gateway.domain.generation.outputs import accepted
from gateway.domain.generation.transitions import (
    ATTEMPT_MOVES,
    STATUS_MOVES,
    AddAttempt,
    IllegalMove,
    SaveAttempt,
    SaveOutput,
    SaveStatus,
    apply,
    event_of,
)

from ....cases import every
from ...builders import T0, World, after, archived_file, done, generation

S = AttemptState
PAIRS = [(was, to) for was in S for to in S if was is not to]


def holding(state: AttemptState) -> Generation:
    """A generation with one attempt, which is in this state."""
    attempt = Attempt(id="att_1_1", number=1, route=0, slots=(0,), state=state, reserved_at=T0)
    return replace(generation(), attempts=(attempt,))


def status_write(was: Status, status: Status) -> SaveStatus:
    return SaveStatus(
        was=was, status=status, progress=0.5, provider="acme", provider_model="one", failure=None, completed_at=T0
    )


def test_table_of_moves_has_every_state() -> None:
    assert set(ATTEMPT_MOVES) == set(S)


def test_only_evidence_of_a_task_leads_out_of_a_final_state() -> None:
    assert [state for state in S if ATTEMPT_MOVES[state] == {S.ACCEPTED}] == [
        S.NOT_SENT,
        S.REFUSED,
        S.UNKNOWN,
        S.COMPLETED,
        S.FAILED,
    ]


def test_submitting_is_entered_only_from_reserved() -> None:
    assert [state for state in S if S.SUBMITTING in ATTEMPT_MOVES[state]] == [S.RESERVED]


def test_submit_that_may_have_been_received_is_never_called_unsent() -> None:
    assert ATTEMPT_MOVES[S.UNKNOWN] == {S.ACCEPTED}


def test_nothing_leads_back_to_a_second_submit() -> None:
    def reached(state: AttemptState, seen: frozenset[AttemptState]) -> frozenset[AttemptState]:
        for onward in ATTEMPT_MOVES[state] - seen:
            seen = reached(onward, seen | {onward})
        return seen

    assert reached(S.RESERVED, frozenset()) == set(S) - {S.RESERVED}
    assert not reached(S.SUBMITTING, frozenset()) & {S.RESERVED, S.SUBMITTING}


@every(("was", "to"), PAIRS)
def test_attempt_moves_only_along_the_table(was: AttemptState, to: AttemptState) -> None:
    held = holding(was)
    write = SaveAttempt(replace(held.attempts[0], state=to, ended_at=T0), was)
    if to in ATTEMPT_MOVES[was]:
        assert apply(held, write).attempts == (write.attempt,)
    else:
        with pytest.raises(IllegalMove, match="att_1_1"):
            apply(held, write)


def test_attempt_in_another_state_does_not_move() -> None:
    held = holding(S.ACCEPTED)
    with pytest.raises(IllegalMove):
        apply(held, SaveAttempt(replace(held.attempts[0], state=S.UNKNOWN), S.SUBMITTING))


def test_other_attempts_stay_as_they_are() -> None:
    world = World(generation(count=2))
    first, second = world.generation.attempts
    moved = replace(second, state=S.NOT_SENT)
    assert apply(world.generation, SaveAttempt(moved, S.RESERVED)).attempts == (first, moved)


@pytest.mark.parametrize("number", [1, 3])
def test_attempts_are_counted_without_a_gap(number: int) -> None:
    held = holding(S.REFUSED)
    with pytest.raises(IllegalMove, match=f"attempt {number}"):
        apply(held, AddAttempt(replace(held.attempts[0], id="att_1_2", number=number)))


def test_ended_generation_gets_no_attempt() -> None:
    ended = replace(generation(), status=Status.CANCELLED)
    with pytest.raises(IllegalMove):
        apply(ended, AddAttempt(holding(S.RESERVED).attempts[0]))


def test_output_that_has_ended_stays() -> None:
    held = replace(generation(), outputs=(Output(index=0, status=Status.COMPLETED),))
    with pytest.raises(IllegalMove, match="output 0"):
        apply(held, SaveOutput(Output(index=0, status=Status.FAILED)))


@pytest.mark.parametrize("index", [0, 2])
def test_new_output_comes_after_the_last(index: int) -> None:
    with pytest.raises(IllegalMove, match="gap"):
        apply(generation(), SaveOutput(Output(index=index, extra=True), new=True))


def test_new_output_is_there() -> None:
    assert len(apply(generation(), SaveOutput(Output(index=1, extra=True), new=True)).outputs) == 2


@pytest.mark.parametrize("was", Status)
def test_ended_generation_does_not_move(was: Status) -> None:
    held = replace(generation(), status=was)
    write = status_write(was, Status.COMPLETED)
    if was.terminal:
        with pytest.raises(IllegalMove):
            apply(held, write)
    else:
        moved = apply(held, write)
        assert (moved.status, moved.progress, moved.provider) == (Status.COMPLETED, 0.5, "acme")
        assert (moved.provider_model, moved.failure, moved.completed_at) == ("one", None, T0)


def test_generation_in_another_status_does_not_move() -> None:
    with pytest.raises(IllegalMove):
        apply(generation(), status_write(Status.IN_PROGRESS, Status.COMPLETED))


@pytest.mark.parametrize("status", Status)
def test_statuses_that_end(status: Status) -> None:
    assert status.terminal is (status not in {Status.QUEUED, Status.IN_PROGRESS})


# Task ids from the reply to a submit


@pytest.mark.parametrize("state", [S.SUBMITTING, S.UNKNOWN])
def test_task_is_accepted(state: AttemptState) -> None:
    held = replace(
        holding(state), attempts=(replace(holding(state).attempts[0], failure=failed(FailureKind.AMBIGUOUS)),)
    )
    taken = apply(held, accepted(held, "att_1_1", [TaskRef(id="a"), TaskRef(id="b")], after(3))).attempts[0]
    assert (taken.state, taken.accepted_at, taken.failure, taken.billed) == (S.ACCEPTED, after(3), None, None)
    assert [(task.ref.id, task.slot, task.status) for task in taken.tasks] == [
        ("a", 0, Status.QUEUED),
        ("b", 1, Status.QUEUED),
    ]


def test_task_of_an_attempt_that_was_never_sent_is_a_defect() -> None:
    held = holding(S.RESERVED)
    with pytest.raises(IllegalMove):
        apply(held, accepted(held, "att_1_1", [TaskRef(id="a")], T0))


# Events


def test_every_kind_of_write_has_its_event() -> None:
    held = holding(S.SUBMITTING)
    refused = replace(held.attempts[0], state=S.REFUSED, failure=failed(FailureKind.OUT_OF_CREDIT))
    events = [
        event_of(AddAttempt(replace(held.attempts[0], slots=(0, 1)))),
        event_of(SaveAttempt(refused, S.SUBMITTING)),
        event_of(SaveOutput(Output(index=0, status=Status.COMPLETED, attempt_id="att_1_1"))),
        event_of(status_write(Status.QUEUED, Status.IN_PROGRESS)),
    ]
    assert json.loads(json.dumps(events)) == [
        ["attempt.reserved", {"attempt": "att_1_1", "route": 0, "slots": [0, 1]}],
        ["attempt.refused", {"attempt": "att_1_1", "failure": "out_of_credit"}],
        ["output.completed", {"index": 0, "attempt": "att_1_1"}],
        ["generation.in_progress", {"provider": "acme"}],
    ]


def test_poll_without_a_change_has_no_event() -> None:
    held = holding(S.ACCEPTED)
    assert event_of(SaveAttempt(held.attempts[0], S.ACCEPTED)) is None
    assert event_of(status_write(Status.QUEUED, Status.QUEUED)) is None


def test_events_of_a_whole_life() -> None:
    world = World(generation("acme/one", "bolt/two"), keeps=False)
    events = [event_of(write) for write in world.last.writes]
    for step in (
        lambda: world.end(1, FailureKind.OUT_OF_CREDIT),
        lambda: world.accept(2),
        lambda: world.read(2, done()),
        lambda: world.file(FileArchived(0, archived_file())),
    ):
        events += [event_of(write) for write in step().writes]
    assert [event[0] for event in events if event is not None] == [
        "attempt.reserved",
        "attempt.refused",
        "attempt.reserved",
        "output.found",
        "generation.in_progress",
        "output.kept",
        "output.completed",
        "attempt.completed",
        "generation.completed",
    ]


def test_whole_generation_survives_json() -> None:
    world = World(generation("acme/one", "bolt/two", count=2))
    world.end(1, FailureKind.OUT_OF_CREDIT, retry_after=3, amend="string")
    world.accept(2, "a", "b")
    world.read(2, done("x", "y"))
    assert msgspec.json.decode(msgspec.json.encode(world.generation), type=Generation) == world.generation


def test_table_of_statuses_is_total_and_never_goes_back() -> None:
    assert set(STATUS_MOVES) == set(Status)
    assert Status.QUEUED not in STATUS_MOVES[Status.IN_PROGRESS]
    assert all(not STATUS_MOVES[status] for status in Status if status.terminal)
