"""What a generation has reserved and what it has cost, in each state."""

from typing import Any

from msgspec.structs import replace

from gateway.domain.adapter.failure import FEE_ON_REFUSAL, REPORTED_FAILURE, TASK_BILLED, Billed, FailureKind
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.task import Status, TaskRef
from gateway.domain.generation.cost_limit import billed_of, committed, cost_of
from gateway.domain.generation.model import Attempt, AttemptState, Generation, Route, Task
from gateway.domain.money.account import NOTHING, Account, account, ceiling

from ....cases import every
from ...builders import T0, generation

PRICED = Route(provider="acme", model="one", capability_name="one", cost_usd=0.5, failure_usd=0.1, refusal_usd=0.02)
UNPRICED = Route(provider="best", model="two", capability_name="two")


def life(*attempts: Attempt, status: Status = Status.IN_PROGRESS, count: int = 2, **changes: Any) -> Generation:
    """A generation for two outputs with a route at 0.5 USD and one without a price."""
    made = generation(count=count)
    request = replace(made.request, max_cost=changes.pop("max_cost", None))
    plan = replace(made.plan, routes=(PRICED, UNPRICED))
    return replace(made, request=request, plan=plan, attempts=attempts, status=status, **changes)


def attempt(state: AttemptState, *tasks: Task, kind: FailureKind | None = None, **changes: Any) -> Attempt:
    plain = Attempt(
        id="att_1_1", number=1, route=0, slots=(0, 1), state=state, reserved_at=T0, tasks=tasks,
        failure=None if kind is None else failed(kind),
    )  # fmt: skip
    return replace(plain, **changes)


def task(slot: int, status: Status = Status.IN_PROGRESS, kind: FailureKind | None = None) -> Task:
    return Task(
        ref=TaskRef(id=f"t{slot}", path="/t"), slot=slot, status=status, failure=None if kind is None else failed(kind)
    )


RUNNING = (task(0), task(1))
DONE = (task(0, Status.COMPLETED), task(1, Status.COMPLETED))
HALF = (task(0, Status.COMPLETED), task(1, Status.FAILED, FailureKind.TASK_FAILED))
LOST = (task(0, Status.FAILED, FailureKind.TASK_LOST),)


@every(
    ("made", "reserved", "settled", "maybe"),
    [
        (life(), 1_000_000, 0, 0),
        (life(max_cost=0.7), 700_000, 0, 0),
        (life(count=1), 500_000, 0, 0),
        (life(attempt(AttemptState.RESERVED)), 1_000_000, 0, 0),
        (life(attempt(AttemptState.SUBMITTING)), 1_000_000, 0, 0),
        (life(attempt(AttemptState.ACCEPTED, *RUNNING)), 1_000_000, 0, 0),
        (life(attempt(AttemptState.UNKNOWN)), 0, 1_000_000, 1_000_000),
        (life(attempt(AttemptState.COMPLETED, *HALF)), 400_000, 600_000, 0),
        (life(attempt(AttemptState.FAILED, *LOST)), 500_000, 500_000, 500_000),
        (life(attempt(AttemptState.REFUSED, kind=FailureKind.CONTENT_POLICY)), 960_000, 40_000, 0),
        (life(attempt(AttemptState.REFUSED, kind=FailureKind.RATE_LIMITED)), 1_000_000, 0, 0),
        (life(attempt(AttemptState.NOT_SENT)), 1_000_000, 0, 0),
        (life(attempt(AttemptState.ACCEPTED, *RUNNING, task(2))), 1_500_000, 0, 0),  # more than was asked for
        (life(attempt(AttemptState.COMPLETED, *DONE, task(2, Status.COMPLETED))), 0, 1_500_000, 0),
        (life(attempt(AttemptState.COMPLETED, *DONE), status=Status.COMPLETED), 0, 1_000_000, 0),
        (life(attempt(AttemptState.SUBMITTING), status=Status.CANCELLED), 1_000_000, 0, 0),
        (life(attempt(AttemptState.ACCEPTED, *RUNNING), status=Status.CANCELLED), 0, 1_000_000, 1_000_000),
        (life(attempt(AttemptState.ABANDONED, *RUNNING), status=Status.EXPIRED), 0, 1_000_000, 1_000_000),
        (life(attempt(AttemptState.COMPLETED, *DONE, route=1), status=Status.COMPLETED), 0, 0, 0),
        (life(attempt(AttemptState.ACCEPTED, task(0), adopted="callback")), 1_000_000, 0, 0),
    ],
)
def test_account_in_each_state(made: Generation, reserved: int, settled: int, maybe: int) -> None:
    assert account(made) == Account(reserved, settled, maybe)


def test_a_generation_that_does_not_exist_has_nothing() -> None:
    assert account(None) == NOTHING


def test_every_route_may_be_billed_once_for_each_output() -> None:
    dear = replace(UNPRICED, cost_usd=0.2, failure_usd=0.9)
    request = generation(count=3).request
    assert ceiling(request, (PRICED, dear)) == 3 * (500_000 + 900_000)
    assert ceiling(replace(request, max_cost=1.0), (PRICED, dear)) == 1_000_000
    assert ceiling(request, (UNPRICED,)) == 0


@every("kind", list(FailureKind))
def test_prices_decide_what_a_failed_task_and_a_refusal_cost(kind: FailureKind) -> None:
    ended = attempt(AttemptState.FAILED, task(0, Status.FAILED, kind))
    reported = kind in REPORTED_FAILURE
    full = {Billed.NO: 0.0, Billed.MAYBE: 0.5, Billed.YES: 0.5}[TASK_BILLED[kind]]
    costs = 0.0 if kind is FailureKind.OUT_OF_CREDIT else 0.1 if reported else full
    assert cost_of(life(ended), ended) == costs
    assert billed_of(PRICED, ended) is (Billed.YES if reported else TASK_BILLED[kind])
    without = replace(PRICED, failure_usd=None, refusal_usd=0.0)
    assert billed_of(without, ended) is TASK_BILLED[kind]
    free = replace(PRICED, failure_usd=0.0)
    assert billed_of(free, ended) is (Billed.NO if reported else TASK_BILLED[kind])
    refused = attempt(AttemptState.REFUSED, kind=kind)
    has_fee = kind in FEE_ON_REFUSAL
    assert cost_of(life(refused), refused) == (0.04 if has_fee else 0.0)
    assert billed_of(PRICED, refused) is (Billed.YES if has_fee else Billed.NO)
    assert billed_of(without, refused) is Billed.NO
    assert cost_of(life(refused), replace(refused, next_variant="form")) == 0.0, "the gateway sends it once more"


def test_a_running_task_is_committed_at_the_dearest_that_it_can_cost() -> None:
    dear = replace(PRICED, failure_usd=0.9)
    made = life(attempt(AttemptState.ACCEPTED, task(0), task(1, Status.COMPLETED)))
    made = replace(made, plan=replace(made.plan, routes=(dear,)))
    assert committed(made, made.attempts[0]) == 900_000 + 500_000
