"""Which tasks an attempt takes over from a reply, a callback or an operator, and how many more it has room for."""

from typing import Any

import pytest

from gateway.domain.adapter.task import TaskRef
from gateway.domain.generation.model import AttemptState, Task
from gateway.domain.generation.reconciliation import (
    FOLLOWED,
    REMEMBERED_MAX,
    TASKS_MAX,
    AttemptTasks,
    Claimed,
    after_reply,
    after_report,
    free_task_slots,
    is_unanswered,
    left_out,
    new_refs,
    waits_for_reply,
)

S = AttemptState


def refs(*ids: str) -> tuple[TaskRef, ...]:
    return tuple(TaskRef(id=task_id) for task_id in ids)


def tasks(*ids: str) -> tuple[Task, ...]:
    return tuple(Task(ref=ref, slot=slot) for slot, ref in enumerate(refs(*ids)))


def claims(state: AttemptState, *named: str, **changes: Any) -> AttemptTasks:
    usual: dict[str, Any] = {"adopted": None, "slots": (0, 1), "outputs": 2, "remembered": ()}
    return AttemptTasks(
        attempt_id="att_1",
        generation_id="gen_1",
        provider="acme",
        state=state,
        tasks=tasks(*named),
        **(usual | changes),
    )


def test_an_attempt_that_was_not_sent_has_no_room() -> None:
    assert free_task_slots(claims(S.RESERVED)) == 0


@pytest.mark.parametrize("count", [0, 1, REMEMBERED_MAX])
def test_a_submit_under_way_has_room_for_a_few_reports(count: int) -> None:
    assert free_task_slots(claims(S.SUBMITTING, remembered=refs(*map(str, range(count))))) == REMEMBERED_MAX - count


@pytest.mark.parametrize("state", [S.ACCEPTED, S.COMPLETED])
def test_a_reply_that_named_a_task_for_each_output_leaves_no_room(state: AttemptState) -> None:
    assert free_task_slots(claims(state, "a", "b")) == 0
    assert free_task_slots(claims(state, "a")) == TASKS_MAX - 1
    assert free_task_slots(claims(state, "a", "b", adopted="callback")) == TASKS_MAX - 2


@pytest.mark.parametrize("state", sorted(set(S) - {S.RESERVED, S.SUBMITTING, S.ACCEPTED, S.COMPLETED}))
def test_any_other_attempt_that_was_sent_has_room(state: AttemptState) -> None:
    assert free_task_slots(claims(state, "a", "b")) == TASKS_MAX - 2


def test_a_report_is_new_when_its_task_is_neither_named_nor_remembered() -> None:
    attempt = claims(S.ACCEPTED, "a", remembered=refs("b"))
    assert new_refs(attempt, refs("a", "b", "c")) == list(refs("c"))


def test_only_a_submit_under_way_waits_for_its_reply() -> None:
    assert [state for state in S if waits_for_reply(claims(state))] == [S.SUBMITTING]
    assert {state for state in S if is_unanswered(claims(state))} == {S.SUBMITTING, S.UNKNOWN}


def test_tasks_of_a_reply_come_first_and_are_not_adopted() -> None:
    attempt = claims(S.UNKNOWN, remembered=refs("b"))
    assert after_reply(attempt, tasks("a"), refs("b")) == Claimed(S.ACCEPTED, None, tasks("a", "b"))


@pytest.mark.parametrize("state", [S.UNKNOWN, S.FAILED, S.SUBMITTING])
def test_a_reported_task_makes_an_attempt_accepted(state: AttemptState) -> None:
    assert after_report(claims(state), refs("a"), "operator") == Claimed(S.ACCEPTED, "operator", tasks("a"))


def test_the_first_reporter_stays_recorded() -> None:
    """An attempt with tasks of a reply is not adopted by a later report."""
    assert after_report(claims(S.COMPLETED, "a"), refs("b"), "callback").adopted is None
    assert after_report(claims(S.COMPLETED, "a", adopted="operator"), refs("b"), "callback").adopted == "operator"


@pytest.mark.parametrize("state", sorted(FOLLOWED))
def test_an_attempt_whose_tasks_are_polled_keeps_its_state(state: AttemptState) -> None:
    claimed = after_report(claims(state, "a"), refs("b"), "callback")
    assert claimed == Claimed(state, None, tasks("a", "b"))


def test_a_remembered_task_that_is_not_taken_over_is_left_out() -> None:
    assert left_out(claims(S.SUBMITTING, remembered=refs("a", "b")), tasks("b")) == ["a"]
