"""Money in the ledger, over random lives of generations: sums are kept whatever happens, and nothing counts twice."""

import asyncio
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.domain.adapter.contract import Polling
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.request import TextInput
from gateway.domain.adapter.task import Artifact, Completed, Status, TaskRef
from gateway.domain.clients import CreateLimits
from gateway.domain.errors import Conflict, OutputsPerDayReached, StoreUnavailable
from gateway.domain.generation.archiving import FileArchived
from gateway.domain.generation.facts_and_effects import Fact, Submit, SubmitEnded, TaskRead
from gateway.domain.generation.lifecycle import advance, cancel
from gateway.domain.generation.model import (
    ArchivedFile,
    Attempt,
    AttemptState,
    Generation,
    GenerationRequest,
    Output,
    Plan,
    Policy,
    Route,
    Task,
)
from gateway.domain.generation.reconciliation import awaits_decision, decide
from gateway.domain.generation.task_polling import RouteProfile, open_tasks
from gateway.domain.money.account import account, ceiling
from gateway.domain.money.budgets import EVERYONE, Budget, BudgetExceeded, Period, name_of
from gateway.failpoints import FailpointError
from gateway.ids import RANDOM_BYTES, new_id, ulid
from gateway.store.port import Store
from gateway.store.sql.money_audit import audit_money
from gateway.store.sqlite.file import connect, migrate
from gateway.store.sqlite.jobs import SqliteTransaction, drive
from gateway.store.sqlite.open import open_sqlite

NOW = datetime(2026, 5, 31, 23, 59, tzinfo=UTC)
POLLING = Polling(first_poll_seconds=1, poll_seconds=1, poll_max_seconds=5, attempt_timeout_seconds=60, grace_seconds=1)
BUDGETS: Mapping[str, tuple[Budget, ...]] = {
    owner: (
        Budget(owner, Period.DAY, 2_000_000),
        Budget(owner, Period.MONTH, 3_000_000),
        Budget(EVERYONE, Period.TOTAL, 5_000_000),
    )
    for owner in ("alice", "bob")
}
KEPT = ArchivedFile(name="a", bytes=1, sha256="0" * 64, content_type="video/mp4", kept_until=NOW + timedelta(days=9))
USD = st.sampled_from([0.0, 0.000001, 0.07, 0.1, 0.5])
ROUTES = st.lists(
    st.builds(
        Route,
        provider=st.sampled_from(["acme", "best"]),
        model=st.sampled_from(["one", "two"]),
        capability_name=st.just("one"),
        count_max=st.integers(1, 2),
        cost_usd=USD,
        failure_usd=st.none() | USD,
        refusal_usd=USD,
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda route: (route.provider, route.model),
).map(tuple)
STEPS = ("create", *["advance"] * 6, *["answer"] * 4, "late", "decide", "cancel", "delete", "crash", "copy", "restore")


def drawn(draw: Any, now: datetime, number: int) -> Generation:
    """A new generation; `number` orders those of one moment, so that an example can be played again."""
    count = draw(st.integers(1, 3))
    routes = draw(ROUTES)
    most = max(max(route.cost_usd or 0, route.failure_usd or 0, route.refusal_usd) for route in routes) * count
    request = GenerationRequest(
        model="any",
        input=TextInput(),
        prompt="a boat",
        count=count,
        max_cost=draw(st.none() | st.just(most) | st.just(most * 1.5)),
    )
    return Generation(
        id="gen_" + ulid(now, number.to_bytes(RANDOM_BYTES)),
        owner=draw(st.sampled_from(["alice", "bob"])),
        kind="video",
        request=request,
        plan=Plan(routes=routes, policy=Policy(on_ambiguous=draw(st.sampled_from(["fall_back", "fail", "hold"])))),
        status=Status.QUEUED,
        created_at=now,
        deadline_at=now + timedelta(hours=1),
        outputs=tuple(Output(index=index) for index in range(count)),
        fence=1,
    )


def profile_of(_: Route) -> RouteProfile:
    return RouteProfile(polling=POLLING)


def contradictions(path: Path) -> list[str]:
    with closing(apsw.Connection(str(path))) as connection, connection:
        return drive(audit_money(SqliteTransaction(connection)))


def spending(path: Path) -> dict[tuple[str, str], tuple[int, int]]:
    with closing(apsw.Connection(str(path))) as connection:
        return {
            (row[0], row[1]): row[2:]
            for row in connection.execute("select key, period, reserved, settled from spending")
        }


class Life:
    """A ledger, and everything that happens to its generations, at random."""

    def __init__(self, folder: Path, empty: Path, draw: Any) -> None:
        self.folder, self.path, self.draw = folder, folder / "ledger.db", draw
        self.now = NOW
        shutil.copy(empty, self.path)
        self.store: Store = open_sqlite(self.path, self.now)
        self.has_copy = False
        self.tasks = self.made = 0
        self.overrun = False  # a provider started more than was asked for, or an operator repeated a submit

    async def generations(self) -> list[Generation]:
        with closing(apsw.Connection(str(self.path))) as connection:
            ids = [row[0] for row in connection.execute("select id from generations order by id")]
        return [generation for generation in [await self.store.get(id_) for id_ in ids] if generation is not None]

    async def pick(self) -> Generation | None:
        every = await self.generations()
        return self.draw(st.sampled_from(every)) if every else None

    async def create(self) -> None:
        self.made += 1
        made = drawn(self.draw, self.now, self.made)
        budgets, needed = BUDGETS[made.owner], ceiling(made.request, made.plan.routes)
        before = await self.store.money.spent(made.owner, self.now)
        fits = needed == 0 or all(
            before.get((budget.owner, name_of(budget.period, self.now)), 0) + needed <= budget.limit
            for budget in budgets
        )
        try:
            await self.store.create(made, budgets=budgets)
        except BudgetExceeded:
            assert not fits
            return
        assert fits
        assert account(made).reserved == needed

    async def advance(self) -> None:
        """What drivers do: facts about submits, tasks and files, then the writes that follow."""
        for generation in await self.generations():
            facts: list[Fact] = []
            busy = set()
            for attempt in generation.attempts:
                if attempt.state is AttemptState.SUBMITTING and self.seldom():
                    states = [AttemptState.REFUSED, AttemptState.UNKNOWN, AttemptState.NOT_SENT]
                    state = self.draw(st.sampled_from(states))
                    kind = FailureKind.AMBIGUOUS if state is AttemptState.UNKNOWN else self.refusal()
                    facts.append(SubmitEnded(attempt_id=attempt.id, state=state, failure=failed(kind)))
                elif attempt.state in {AttemptState.RESERVED, AttemptState.SUBMITTING} and not self.seldom():
                    busy.add(Submit(attempt.id))
                elif attempt.state in {AttemptState.ACCEPTED, AttemptState.ABANDONED}:
                    facts += [
                        TaskRead(attempt_id=attempt.id, index=index, snapshot=self.snapshot(), asked_at=self.now)
                        for index in open_tasks(attempt)
                        if self.draw(st.booleans())
                    ]
            facts += [
                FileArchived(output.index, KEPT)
                for output in generation.outputs
                if output.artifact is not None and output.kept is None and self.draw(st.booleans())
            ]
            step = advance(generation, {}, facts, now=self.now, busy=frozenset(busy), profile_of=profile_of)
            if step.writes:
                await self.store.write(generation, step.writes, self.now)

    def seldom(self) -> bool:
        return bool(self.draw(st.integers(0, 4)) == 4)

    def refusal(self) -> FailureKind:
        kind: FailureKind = self.draw(st.sampled_from(REFUSALS))
        return kind

    def snapshot(self) -> Any:
        if self.draw(st.booleans()):
            return Completed((Artifact(url="https://files.example/a.mp4"),))
        return failed(self.draw(st.sampled_from([*REFUSALS, FailureKind.TASK_FAILED, FailureKind.RESULT_MISSING])))

    async def answer(self) -> None:
        """Attempts are sent, and those that were sent are answered, with as many tasks as the provider likes."""
        for generation in await self.generations():
            for attempt in generation.attempts:
                if attempt.state is AttemptState.RESERVED:
                    await self.store.begin_submit(attempt.id, generation.fence, self.now)
                is_late = attempt.state is AttemptState.UNKNOWN
                if attempt.state is AttemptState.SUBMITTING or (is_late and self.seldom()):
                    further = int(self.seldom())
                    self.overrun |= bool(further) or is_late
                    slots = (*attempt.slots, len(generation.outputs))[: len(attempt.slots) + further]
                    tasks = [Task(ref=self.ref(), slot=slot) for slot in slots[self.draw(st.integers(0, 1)) :] or slots]
                    for _ in range(1 + int(self.seldom())):  # once more: the answer of the store was lost
                        await self.store.accept(attempt.id, tasks, self.now)

    def ref(self) -> TaskRef:
        self.tasks += 1
        return TaskRef(id=f"t-{self.tasks}", path="/v1/t")

    async def late(self) -> None:
        """A callback names a task of an attempt, whatever has become of it."""
        generation = await self.pick()
        if generation is not None and generation.attempts:
            attempt = self.draw(st.sampled_from(generation.attempts))
            self.overrun = True
            for ref in [self.ref()] * self.draw(st.integers(1, 2)):
                await self.store.task_claims.claim(attempt.id, [ref], self.now, "callback")

    async def decide(self) -> None:
        generation = await self.pick()
        for attempt in () if generation is None else generation.attempts:
            if generation is not None and awaits_decision(generation, attempt):
                decision = self.draw(st.sampled_from(["fail", "resubmit"]))
                try:
                    write = decide(generation, attempt, decision)
                except Conflict:
                    return
                self.overrun = True
                await self.store.write(generation, [write], self.now)
                return

    async def cancel(self) -> None:
        generation = await self.pick()
        if generation is not None and not generation.status.terminal:
            await self.store.write(generation, cancel(generation, self.now), self.now)

    async def delete(self) -> None:
        generation = await self.pick()
        if generation is not None:
            await self.store.delete(generation.id, generation.owner, self.now)

    async def crash(self) -> None:
        await self.store.close()
        self.now += timedelta(seconds=self.draw(st.sampled_from([1, 60, 86_400])))
        self.store = open_sqlite(self.path, self.now)

    async def copy(self) -> None:
        await self.store.close()
        shutil.copy(self.path, self.folder / "copy.db")
        self.has_copy = True
        self.store = open_sqlite(self.path, self.now)

    async def restore(self) -> None:
        if self.has_copy:
            await self.store.close()
            for path in self.folder.glob("ledger.db*"):
                path.unlink()
            shutil.copy(self.folder / "copy.db", self.path)
            self.store = open_sqlite(self.path, self.now)

    async def play(self, steps: list[tuple[str, bool]], failing: SimpleNamespace) -> None:
        try:
            for name, fails in steps:
                failing.now = fails
                try:
                    await getattr(self, name)()
                except (StoreUnavailable, FailpointError):
                    assert fails
                failing.now = False
                assert contradictions(self.path) == [], name
                if not self.overrun:
                    self.check_budgets()
            for generation in await self.generations():
                if not generation.status.terminal:
                    await self.store.write(generation, cancel(generation, self.now), self.now)
            for _ in range(2):  # a submit that is given up may get the task that a callback has named meanwhile
                for generation in await self.generations():
                    await self.end(generation)
            assert contradictions(self.path) == []
            assert {reserved for reserved, _ in spending(self.path).values()} <= {0}
        finally:
            failing.now = False
            await self.store.close()

    async def end(self, generation: Generation) -> None:
        """Give up the submits under way, as after a crash, and read every task to its end."""
        ended = [
            TaskRead(attempt_id=attempt.id, index=index, snapshot=failed(FailureKind.TASK_FAILED), asked_at=self.now)
            for attempt in generation.attempts
            if attempt.state in {AttemptState.ACCEPTED, AttemptState.ABANDONED}
            for index in open_tasks(attempt)
        ]
        step = advance(generation, {}, ended, now=self.now, busy=frozenset(), profile_of=profile_of)
        await self.store.write(generation, step.writes, self.now)

    def check_budgets(self) -> None:
        sums = spending(self.path)
        for budget in {budget for budgets in BUDGETS.values() for budget in budgets}:
            for (owner, period), (reserved, settled) in sums.items():
                if owner == budget.owner and len(period) == len(name_of(budget.period, NOW)):
                    assert reserved + settled <= budget.limit, budget


REFUSALS = (
    FailureKind.CONTENT_POLICY,
    FailureKind.INVALID_REQUEST,
    FailureKind.RATE_LIMITED,
    FailureKind.OUT_OF_CREDIT,
    FailureKind.UNAVAILABLE,
)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """While its `now` is true, no transaction can be committed: what was executed is rolled back."""
    switch = SimpleNamespace(now=False)

    def reach(window: str) -> None:
        if switch.now and window == "commit_fails":
            raise FailpointError(window)

    monkeypatch.setattr("gateway.store.sqlite.writer.reach", reach)
    return switch


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A ledger without a generation: to migrate one takes longer than a whole life in it."""
    path = tmp_path / "empty.db"
    with closing(connect(path)) as connection:
        migrate(connection, NOW)
    return path


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(),
    steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 9).map(lambda number: number == 0)), max_size=25),
)
def test_sums_are_those_of_the_accounts_whatever_happens(
    failing: SimpleNamespace, empty: Path, data: Any, steps: list[tuple[str, bool]]
) -> None:
    with TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:  # noqa: S108  # in memory

        async def run() -> None:
            first = [("create", False), ("create", False), ("advance", False), ("answer", False)]
            await Life(Path(folder), empty, data.draw).play([*first, *steps], failing)

        asyncio.run(run())


def execute(path: Path, *statements: str) -> None:
    with closing(apsw.Connection(str(path))) as connection:
        for statement in statements:
            connection.execute(statement)


async def test_a_history_without_accounts_is_counted_once_open_generations_first(empty: Path) -> None:
    store = open_sqlite(empty, NOW)
    made = [priced(NOW + timedelta(seconds=seconds), bought=seconds < 4) for seconds in range(5)]
    for generation in made:
        await store.create(generation)
        if generation.attempts:
            await store.write(generation, cancel(generation, NOW), NOW)
    await store.close()
    missing = "insert into accounts_missing values ('~')"  # every id is below it
    execute(empty, "delete from accounts", "delete from spending", missing)

    store = open_sqlite(empty, NOW)

    assert spending(empty)["alice", "total"] == (500_000, 0), "the open one is counted before anything is served"
    assert await store.money.fill(3) == 3
    assert spending(empty)["alice", "total"] == (500_000, 1_000_000), "then the newest ones, each once"
    assert await store.delete(made[0].id, "alice", NOW), "one that is not counted yet is deleted"
    assert [await store.money.fill(3) for _ in range(3)] == [1, 0, 0]
    assert spending(empty)["alice", "total"] == (500_000, 2_000_000)
    assert contradictions(empty) == []
    await store.close()


async def test_closed_accounts_stay_in_the_sums(empty: Path) -> None:
    store = open_sqlite(empty, NOW)
    for _ in range(3):
        generation = await store.create(priced(NOW, bought=True))
        await store.write(generation, cancel(generation, NOW), NOW)
        assert await store.delete(generation.id, "alice", NOW)
    before = spending(empty)
    assert before["alice", "total"] == (0, 1_500_000)
    assert await store.money.expire(NOW, 2) == 0, "the time is not over"
    later = NOW + timedelta(days=1)
    assert [await store.money.expire(later, 2) for _ in range(3)] == [2, 1, 0]
    assert (spending(empty), contradictions(empty)) == (before, [])
    await store.close()


async def test_each_task_that_a_callback_names_after_the_end_is_counted_once(empty: Path) -> None:
    store = open_sqlite(empty, NOW)
    generation = await store.create(priced(NOW, bought=True))
    await store.write(generation, cancel(generation, NOW), NOW)
    for name, settled in (("t-1", 500_000), ("t-2", 1_000_000), ("t-2", 1_000_000)):
        refs = [TaskRef(id=name, path="/v1/t")]
        await store.task_claims.claim(generation.attempts[0].id, refs, NOW, "callback")
        assert spending(empty)["alice", "total"] == (0, settled)
    assert contradictions(empty) == []
    await store.close()


async def test_a_refused_create_stores_nothing_and_the_next_day_has_a_budget_of_its_own(empty: Path) -> None:
    store = open_sqlite(empty, NOW)
    budget = Budget("alice", Period.DAY, 1_000_000)
    creates = [store.create(priced(NOW), budgets=[budget]) for _ in range(4)]
    results = await asyncio.gather(*creates, return_exceptions=True)
    assert [isinstance(result, BudgetExceeded) for result in results] == [False, False, True, True]
    await store.create(priced(NOW + timedelta(days=1)), budgets=[budget])
    assert spending(empty)["alice", "total"] == (1_500_000, 0)
    assert contradictions(empty) == []
    await store.close()


async def test_what_a_wrong_clock_has_booked_on_later_days_counts_on_the_present_day(empty: Path) -> None:
    """Otherwise a clock that is ahead for a moment would open the budget of the present day once more."""
    day, month = Budget("alice", Period.DAY, 1_000_000), Budget("alice", Period.MONTH, 2_000_000)
    limits = CreateLimits(outputs_per_day=4)
    store = open_sqlite(empty, NOW)
    await store.create(priced(NOW), budgets=[day, month], client_limits=limits)
    for later in (NOW + timedelta(days=1), NOW + timedelta(days=40), NOW + timedelta(days=40)):
        made = await store.create(priced(later), budgets=[day, month], client_limits=limits)
    assert await store.delete(made.id, "alice", later) is False, "it is open"
    await store.close()

    store = open_sqlite(empty, NOW, keep_results=timedelta(days=30))
    sums = spending(empty)
    assert {period: amount for (owner, period), amount in sums.items() if owner == "alice"} == {
        "2026-05-31": (2_000_000, 0),
        "2026-05": (2_000_000, 0),
        "total": (2_000_000, 0),
    }
    assert contradictions(empty) == []
    for budget in (day, month):
        with pytest.raises(BudgetExceeded):
            await store.create(priced(NOW), budgets=[budget])
    with pytest.raises(OutputsPerDayReached):
        await store.create(priced(NOW), client_limits=limits)
    await store.close()


def priced(at: datetime, *, bought: bool = False) -> Generation:
    """A generation for 0.5 USD; `bought`: its submit has no clear answer."""
    name = new_id("gen_", at)
    unknown = Attempt(id=name, number=1, route=0, slots=(0,), state=AttemptState.UNKNOWN, reserved_at=at)
    return Generation(
        id=name,
        owner="alice",
        kind="video",
        request=GenerationRequest(model="any", input=TextInput(), prompt="a boat"),
        plan=Plan(routes=(Route(provider="acme", model="one", capability_name="one", cost_usd=0.5),)),
        status=Status.QUEUED,
        created_at=at,
        deadline_at=at + timedelta(hours=1),
        outputs=(Output(index=0),),
        attempts=(unknown,) if bought else (),
        fence=1,
    )
