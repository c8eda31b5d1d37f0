"""The rows of usage are the sums of what the generations contribute, whatever happens to them."""

from collections import Counter
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from types import ModuleType

import apsw
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant
from msgspec.structs import replace

from gateway.domain.adapter.task import Status
from gateway.domain.errors import UsageNotReady
from gateway.domain.generation.model import AttemptState, Generation
from gateway.domain.generation.transitions import SaveStatus, apply
from gateway.domain.money.account import Account, account
from gateway.domain.usage import contribution as of_contributions
from gateway.domain.usage.completion_times import bucket_of
from gateway.domain.usage.contribution import NAMES, NONE, Contribution, Counts, contribution
from gateway.ids import new_id
from gateway.store import migrations
from gateway.store.sql import accounting, accounts, usage
from gateway.store.sql.accounting import follow
from gateway.store.sqlite.jobs import SqliteTransaction, drive
from gateway.store.sqlite.open import open_sqlite
from gateway.store.usage import UsageQuery

from ...builders import T0, World, generation
from ...domain.generation.test_lifecycle_properties import Life

DAYS = UsageQuery(first_day=T0.date(), last_day=T0.date() + timedelta(days=1), group_by=("provider",))


@cache
def ledger() -> apsw.Connection:
    """A ledger in memory, for one life after the other: the migrations take longer than a life."""
    connection = apsw.Connection(":memory:")
    for migration in migrations.load("sqlite"):
        connection.execute(migration.sql)
    return connection


def stored(connection: apsw.Connection) -> Contribution:
    """What the rows of one generation say."""
    rows = connection.execute("select * from usage").fetchall()
    counts = {provider: Counts(**dict(zip(NAMES, numbers, strict=True))) for _, _, _, provider, *numbers in rows}
    times = connection.execute("select provider, bucket, number from usage_times where number <> 0").fetchall()
    assert [number for _, _, number in times] in ([], [1])
    return Contribution(without_nothing(counts), (times[0][0], times[0][1]) if times else None)


def without_nothing(counts: object) -> dict[str, Counts]:
    assert isinstance(counts, dict)
    return {provider: of_provider for provider, of_provider in counts.items() if of_provider != NONE}


class Counted(World):
    """A world whose ledger is given every change that a transaction reports, and not those that are left out."""

    def __init__(self, start: Generation, **options: bool) -> None:
        routes = [
            replace(route, cost_usd=0.1 * place or None, failure_usd=0.01 if place == 2 else None)
            for place, route in enumerate(start.plan.routes)
        ]
        self.connection = ledger()
        self.connection.execute("delete from usage; delete from usage_times; delete from accounts")
        self._silent = False
        start = replace(start, id=new_id("gen_", T0), plan=replace(start.plan, routes=tuple(routes)))
        super().__init__(start, **options)

    @property
    def generation(self) -> Generation:
        return self._generation

    @generation.setter
    def generation(self, value: Generation) -> None:
        before = getattr(self, "_generation", None)
        self._generation = value
        if not self._silent:
            drive(follow(SqliteTransaction(self.connection), before, value))

    def send(self, number: int) -> None:
        self._silent = True
        super().send(number)
        self._silent = False

    def take(self, number: int, *ids: str, seen: Generation | None = None) -> None:
        before = self.generation
        self._silent = True
        super().take(number, *ids, seen=seen)
        self._silent = False
        was, now = before.attempt(self.attempt(number).id), self.attempt(number)
        is_usual = was.state is AttemptState.SUBMITTING and len(now.tasks) == len(now.slots)
        if before.status.terminal or not is_usual or any(task.status.terminal for task in now.tasks):
            drive(follow(SqliteTransaction(self.connection), before, self.generation))


class CountedLife(Life):
    world_type = Counted

    @invariant()
    def the_rows_are_what_the_generation_contributes(self) -> None:
        if hasattr(self, "world"):
            assert isinstance(self.world, Counted)
            wanted = contribution(self.world.generation)
            assert stored(self.world.connection) == Contribution(without_nothing(wanted.counts), wanted.time)

    @invariant()
    def the_row_of_its_account_is_its_account(self) -> None:
        if hasattr(self, "world"):
            assert isinstance(self.world, Counted)
            row = self.world.connection.execute("select reserved, settled, maybe from accounts").fetchone()
            assert Account(*row or ()) == account(self.world.generation)

    def teardown(self) -> None:
        """A deleted generation goes on to count."""
        if hasattr(self, "world"):
            assert isinstance(self.world, Counted)
            drive(accounting.close(SqliteTransaction(self.world.connection), self.world.generation, T0))
            self.the_rows_are_what_the_generation_contributes()


TestUsage = CountedLife.TestCase
TestUsage.settings = settings(max_examples=20, stateful_step_count=25, suppress_health_check=list(HealthCheck))


def made(number: int) -> Generation:
    at = T0 + timedelta(minutes=number)
    return replace(generation("acme/one"), id=new_id("gen_", at), created_at=at)


def ended(number: int) -> SaveStatus:
    return SaveStatus(
        was=Status.QUEUED,
        status=Status.COMPLETED,
        progress=1.0,
        provider="acme",
        provider_model="one",
        failure=None,
        completed_at=T0 + timedelta(minutes=number, seconds=100),
    )


async def test_a_history_is_counted_once_while_it_changes(tmp_path: Path) -> None:
    """Of ten generations from before, some change, end or go before and after they are counted; one is new."""
    path = tmp_path / "ledger.db"
    store = open_sqlite(path, T0)
    history = [await store.create(made(number)) for number in range(10)]
    await store.close()
    with apsw.Connection(str(path)) as connection:  # as the migration finds a ledger that has counted nothing
        connection.execute("delete from usage")
        connection.execute("insert into usage_uncounted select '', max(id) from generations")

    store = open_sqlite(path, T0)
    await store.create(made(11))
    with pytest.raises(UsageNotReady):
        await store.usage.rows(DAYS, 10)
    assert await store.usage.count_history(4) == 4
    for number in (0, 3, 4, 9):  # two of them are counted already
        assert await store.write(history[number], [ended(number)], T0) is not None
    for number in (3, 9):
        assert await store.delete(history[number].id, "key", T0)
    assert [await store.usage.count_history(4) for _ in range(3)] == [4, 1, 0]

    rows = {row.provider: row.counts for row in await store.usage.rows(DAYS, 10)}
    assert rows == {"": Counts(queued=7), "acme": Counts(completed=4)}
    (total,) = await store.usage.rows(replace(DAYS, group_by=()), 10)
    assert (total.median_bucket, total.slow_bucket) == (bucket_of(100), bucket_of(100))
    await store.close()


async def test_quantiles_are_those_of_the_group(tmp_path: Path) -> None:
    store = open_sqlite(tmp_path / "ledger.db", T0)
    for number in range(20):
        await store.create(replace(made(number), owner=f"client_{number % 2}"))
    await store.close()
    with apsw.Connection(str(tmp_path / "ledger.db")) as connection:
        for number in range(20):
            place = ("2026-01-01", f"client_{number % 2}", "any", "acme", number)
            connection.execute("insert into usage_times values (?, ?, ?, ?, ?, 1)", place)
    store = open_sqlite(tmp_path / "ledger.db", T0)
    (total,) = await store.usage.rows(replace(DAYS, group_by=()), 10)
    assert (total.median_bucket, total.slow_bucket) == (9, 18)  # the 10th and the 19th of 20
    by_client = await store.usage.rows(replace(DAYS, group_by=("client",)), 10)
    assert [(row.client, row.counts.queued, row.median_bucket, row.slow_bucket) for row in by_client] == [
        ("client_0", 10, 8, 18),
        ("client_1", 10, 9, 19),
    ]
    await store.close()


async def test_rows_of_old_days_are_removed_in_batches(tmp_path: Path) -> None:
    store = open_sqlite(tmp_path / "ledger.db", T0)
    for number in range(3):
        await store.create(replace(made(24 * 60 * number), request=replace(made(0).request, model=f"m{number}")))
    assert await store.usage.expire(date(2026, 1, 1), 10) == 0
    assert [await store.usage.expire(date(2026, 1, 3), 1) for _ in range(3)] == [1, 1, 0]
    days = replace(DAYS, last_day=date(2026, 12, 31), group_by=("day", "model"))
    assert [(row.day, row.model) for row in await store.usage.rows(days, 10)] == [("2026-01-03", "m2")]
    await store.close()


async def test_a_write_computes_the_account_and_the_contribution_of_a_state_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are pure, so that computing them again shows nowhere but in the time of each create and each poll."""
    calls: Counter[str] = Counter()

    def count(module: ModuleType, name: str) -> None:
        compute = getattr(module, name)

        def counted(*arguments: object) -> object:
            calls[name] += 1
            return compute(*arguments)

        monkeypatch.setattr(module, name, counted)

    for module in (accounting, accounts, of_contributions):
        count(module, "account")
    for module in (accounting, usage):
        count(module, "contribution")
    store = open_sqlite(tmp_path / "ledger.db", T0)
    try:
        created = await store.create(made(1))
        assert calls == {"account": 1, "contribution": 1}
        calls.clear()
        progress = replace(
            ended(1), status=Status.QUEUED, progress=0.5, provider=None, provider_model=None, completed_at=None
        )
        version = await store.write(created, [progress], T0)
        assert version is not None
        assert not calls
        await store.write(replace(apply(created, progress), version=version), [ended(1)], T0)
        assert calls == {"account": 2, "contribution": 2}
    finally:
        await store.close()
