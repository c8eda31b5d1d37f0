"""What stays of a deleted generation: the attempts that may have been billed."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from gateway.domain.adapter.failure import Billed
from gateway.domain.adapter.request import TextInput
from gateway.domain.adapter.task import Status, TaskRef
from gateway.domain.generation.model import Attempt, AttemptState, Generation, GenerationRequest, Plan, Route, Task
from gateway.domain.generation.purchases import purchases_of

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=3)
PLAIN = Generation(
    id="gen_1",
    owner="alice",
    kind="video",
    request=GenerationRequest(model="hero", input=TextInput(), prompt="a fox"),
    plan=Plan(routes=(Route(provider="foxapi", model="k3", capability_name="k3", cost_usd=0.5),)),
    status=Status.FAILED,
    created_at=NOW,
    deadline_at=NOW,
    outputs=(),
)
SENT = Attempt(id="att_1_1", number=1, route=0, slots=(0, 1), state=AttemptState.ACCEPTED, reserved_at=NOW, sent_at=NOW)


def tasks(*states: Status) -> tuple[Task, ...]:
    return tuple(Task(ref=TaskRef(id=f"t-{slot}"), slot=slot, status=status) for slot, status in enumerate(states))


@pytest.mark.parametrize(
    ("changes", "billed"),
    [
        ({"state": AttemptState.COMPLETED, "tasks": tasks(Status.COMPLETED)}, Billed.YES),
        ({"state": AttemptState.UNKNOWN}, Billed.MAYBE),
        ({"state": AttemptState.FAILED, "tasks": tasks(Status.FAILED)}, Billed.MAYBE),
        ({"state": AttemptState.ABANDONED, "tasks": tasks(Status.IN_PROGRESS)}, Billed.MAYBE),
        ({"tasks": tasks(Status.QUEUED)}, Billed.MAYBE),  # accepted, and its end is not known
        ({"tasks": tasks(Status.IN_PROGRESS, Status.COMPLETED)}, Billed.YES),
        ({"state": AttemptState.REFUSED}, None),
        ({"state": AttemptState.NOT_SENT}, None),
        ({"state": AttemptState.RESERVED, "sent_at": None}, None),
    ],
)
def test_every_attempt_that_may_have_been_billed_is_kept(changes: dict[str, object], billed: Billed | None) -> None:
    purchases = list(purchases_of(replace(PLAIN, attempts=(replace(SENT, **changes),)), LATER))
    assert [purchase.billed for purchase in purchases] == ([] if billed is None else [billed])
    assert [purchase.deleted_at for purchase in purchases] == [LATER] * len(purchases)


@pytest.mark.parametrize(
    ("price", "states", "cost"),
    [
        (0.5, (), 1.0),
        (0.5, (Status.COMPLETED,) * 3, 1.5),
        (0.1, (Status.COMPLETED,), 0.1),
        (None, (), None),
    ],
)
def test_purchase_costs_the_price_of_each_task_or_of_each_output_while_no_task_is_known(
    price: float | None, states: tuple[Status, ...], cost: float | None
) -> None:
    plan = Plan(routes=(replace(PLAIN.plan.routes[0], cost_usd=price),))
    state = AttemptState.ACCEPTED if states else AttemptState.UNKNOWN
    deleted = replace(PLAIN, plan=plan, attempts=(replace(SENT, state=state, tasks=tasks(*states)),))
    assert [purchase.cost_usd for purchase in purchases_of(deleted, LATER)] == [cost]
