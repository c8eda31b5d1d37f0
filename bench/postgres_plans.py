"""What statements read in a short and in a long ledger of PostgreSQL: `python -m bench.postgres_plans URL URL…`.

Each URL is a database that `bench.postgres_history` has filled, the shortest first. The store's own methods are called,
for a client with 99 % of the rows, for one with three rows, and for operators. Each statement is carried out twice with
`explain (analyze, buffers)`: with a plan for its values, and with the one plan for all values that PostgreSQL may keep
after five times. The counts are those of pages touched, which do not depend on the machine. Nothing is committed.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import asyncpg
from msgspec.structs import replace

from bench.postgres_history import DAYS, FEW, MOST
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.task import Status, TaskRef
from gateway.domain.clients import CreateLimits
from gateway.domain.generation.model import Attempt, AttemptState, Generation, Task
from gateway.domain.generation.transitions import AddAttempt, SaveStatus
from gateway.domain.money.budgets import Budget, Period
from gateway.ids import new_id
from gateway.store.port import Idempotency, Query
from gateway.store.postgres import inspect, lineage, replicas, signals
from gateway.store.postgres.dialect import together, translate
from gateway.store.postgres.statements import Statements
from gateway.store.sql.database import Change, Work
from gateway.store.sql.store import SqlStore, open_since
from gateway.store.usage import UsageQuery
from gateway.store.webhooks import DeliveryQuery

MODES = ("force_custom_plan", "force_generic_plan")


class Explained(Statements):
    """Carries out each statement three times: explained in both modes, which is taken back, and for its result."""

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self.label = ""
        self.seen: dict[str, list[tuple[int, int, str]]] = {}  # by label and number: pages of both modes, and the plan

    def called(self, label: str) -> None:
        """The statements from now on belong to this."""
        self.label = label

    async def explain(self, sql: str, values: Sequence[Any]) -> None:
        pages, shown = [], ""
        for mode in MODES:
            await self.connection.execute(f"savepoint before; set local plan_cache_mode = {mode}; prepare it as {sql}")
            given = f"({', '.join(map(literal, values))})" if values else ""
            text = await self.connection.fetchval(f"explain (analyze, buffers, format json) execute it{given}")
            plan = json.loads(text)[0]["Plan"]
            pages.append(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
            shown = ", ".join(dict.fromkeys(nodes(plan)))
            await self.connection.execute("rollback to savepoint before; deallocate it")
        self.seen.setdefault(self.label, []).append((pages[0], pages[1], shown))

    async def all(self, sql: str, values: Sequence[Any] = ()) -> Any:
        await self.explain(translate(sql).sql, translate(sql).values(values))
        return await super().all(sql, values)

    async def first(self, sql: str, values: Sequence[Any] = ()) -> Any:
        await self.explain(translate(sql).sql, translate(sql).values(values))
        return await super().first(sql, values)

    async def value(self, sql: str, values: Sequence[Any] = ()) -> Any:
        await self.explain(translate(sql).sql, translate(sql).values(values))
        return await super().value(sql, values)

    async def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        await self.explain(translate(sql).sql, translate(sql).values(values))
        return await super().run(sql, values)

    async def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        given = list(rows)
        if given:
            await self.explain(translate(sql).sql, translate(sql).values(given[0]))
            await super().many(sql, given)

    async def all_of(self, changes: Sequence[Change]) -> list[int]:
        if len(changes) > 1:  # otherwise it is carried out as `run`
            sql = together(tuple(sql for sql, _ in changes))
            await self.explain(sql, [value for sql, given in changes for value in translate(sql).values(given)])
        return await super().all_of(changes)


def literal(value: object) -> str:
    """A value as it is written in a statement."""
    if value is None:
        return "null"
    if isinstance(value, bytes):
        return f"'\\x{value.hex()}'"
    return str(value) if isinstance(value, int | float) else "'" + str(value).replace("'", "''") + "'"


def nodes(plan: dict[str, Any]) -> Iterator[str]:
    """How each table is read."""
    name = plan.get("Index Name") or plan.get("Relation Name")
    if name and plan["Node Type"] != "ModifyTable":
        yield f"{plan['Node Type'].replace(' Scan', '').lower()} {name}"
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


class Both:
    """A reader and a writer in the one transaction that is taken back."""

    waiting = 0

    def __init__(self, statements: Explained) -> None:
        self.statements = statements

    async def all(self, sql: str, values: Sequence[Any] = ()) -> Any:
        return await self.statements.all(sql, values)

    async def long(self, _: str, sql: str, values: Sequence[Any] = ()) -> Any:
        return await self.statements.all(sql, values)

    async def run(self, work: Work[Any], **_: Any) -> Any:
        return await work(self.statements)

    async def purchase(self, work: Work[Any], _: Any) -> Any:
        return await work(self.statements)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[SqlStore, Explained]]:
    """A store whose statements are explained."""
    connection = await asyncpg.connect(url)
    transaction = connection.transaction()
    await transaction.start()
    statements = Explained(connection)
    both = Both(statements)
    database: Any = SimpleNamespace(
        reader=both, writer=both, lineage=None, signals=None, replicas=None, at_start=None, close=None
    )
    try:
        yield SqlStore(database), statements
    finally:
        await transaction.rollback()
        await connection.close()


def lists(client: str | None, newest: datetime, project: str) -> Iterator[tuple[str, Query]]:
    """The lists of a client, or of operators."""
    middle = newest - timedelta(days=DAYS / 2)
    filters: dict[str, dict[str, Any]] = {
        "no filter": {},
        "status": {"status": Status.FAILED},
        "a status that most have": {"status": Status.COMPLETED},
        "model": {"model": "model-0"},
        "a rare model": {"model": "model-3"},
        "a model without any": {"model": "none"},
        "provider": {"provider": "keevx"},
        "created_after, old first": {"created_after": middle, "order": "asc"},
        "created_before": {"created_before": middle},
        "model and status": {"model": "model-0", "status": Status.COMPLETED},
    }
    if client is None:
        filters["failure"] = {"failures": (FailureKind.CONTENT_POLICY,)}
        filters["failure of two kinds"] = {"failures": (FailureKind.CONTENT_POLICY, FailureKind.AMBIGUOUS)}
        filters["fell back, maybe billed"] = {"fell_back": True, "maybe_billed": True}
    else:
        filters["metadata"] = {"metadata": {"project": project}}
        filters["metadata and status"] = {"metadata": {"project": project}, "status": Status.COMPLETED}
    for name, chosen in filters.items():
        for kind in ("video",) if client else ("video", None):
            yield f"{name}{'' if kind else ', both kinds'}", Query(key=client, kind=kind, limit=20, **chosen)


async def reads(store: SqlStore, called: Callable[[str], None], now: datetime) -> Generation:
    """Call what clients and operators read; returns a generation that has ended."""
    for client, name in ((MOST, "list of the large client"), (FEW, "list of the small client"), (None, "list of all")):
        for label, query in lists(client, now, "p0"):
            called(f"{name}: {label}")
            await store.page(query)
    newest = (await store.page(Query(key=MOST, kind="video", limit=1, status=Status.COMPLETED))).data[0]
    called("read a generation")
    await store.get(newest.id)
    called("events of a generation")
    await store.events(newest.id)
    return newest


async def changes(store: SqlStore, called: Callable[[str], None], newest: Generation, now: datetime) -> None:
    """Call what moves a generation from its create to its deliveries."""
    called("a create")
    idempotency = Idempotency(digest=b"x" * 32, key="new", retry=True)
    limits = CreateLimits(open_generations=1_000_000, outputs_per_day=10_000_000)
    budgets = [Budget(owner=MOST, period=Period.DAY, limit=10**15)]
    fresh = replace(newest, id=new_id("gen_", now), created_at=now, status=Status.QUEUED, outputs=(), attempts=())
    fresh = replace(fresh, completed_at=None, fence=1, version=1)
    fresh = await store.create(fresh, idempotency=idempotency, client_limits=limits, budgets=budgets)
    called("a repeat of a create, by key and by digest")
    await store.recall(MOST, idempotency, now)
    await store.recall(MOST, Idempotency(digest=b"y" * 32, key=None, retry=True), now)
    called("money of a client")
    await store.money.spent(MOST, now)
    called("reserve an attempt")
    attempt = Attempt(
        id=new_id("att_", now), number=1, route=0, slots=(0,), state=AttemptState.RESERVED, reserved_at=now
    )
    version = await store.write(fresh, [AddAttempt(attempt)], now)
    assert version is not None
    called("begin a submit")
    await store.begin_submit(attempt.id, 1, now)
    called("accept a task")
    await store.accept(attempt.id, [Task(ref=TaskRef(id="task-new"), slot=0)], now)
    called("the end of a generation")
    driven = await store.get(fresh.id)
    assert driven is not None
    end = SaveStatus(
        was=driven.status,
        status=Status.FAILED,
        progress=0,
        provider=None,
        provider_model=None,
        failure=None,
        completed_at=now,
    )
    assert await store.write(driven, [end], now) is not None
    called("webhooks: what is due")
    await store.webhooks.keys()
    due = await store.webhooks.receivers(MOST, now, 10)
    await store.webhooks.next_due(now)
    called("webhooks: claim")
    await store.webhooks.claim({(MOST, name): 8 for name, _ in due[:1]}, now, now + timedelta(minutes=1))
    await deliveries(store, called, newest)


async def deliveries(store: SqlStore, called: Callable[[str], None], newest: Generation) -> None:
    """Call what shows deliveries."""
    for client in (MOST, FEW, None):
        for label, filters in (
            ("", {}),
            (", by state", {"state": "dead"}),
            (", of an endpoint", {"endpoint_id": "whe_most"}),
        ):
            called(f"deliveries of {client or 'all'}{label}")
            await store.webhooks.page(DeliveryQuery(key=client, limit=20, **filters))  # type: ignore[arg-type]
    called("deliveries of a generation")
    await store.webhooks.page(DeliveryQuery(key=MOST, limit=20, generation_id=newest.id))


async def upkeep(store: SqlStore, seen: Explained, called: Callable[[str], None], now: datetime) -> None:
    """Call what removes, what a start reads, and what replicas ask one another."""
    called("remove 200 old deliveries")
    await store.webhooks.expire(now, 200, before=now - timedelta(days=DAYS - 1))
    old = now - timedelta(days=DAYS - 1)
    called("remove 5 old generations")
    await store.retention.remove_generations(old, now, 5)
    called("remove 200 old events")
    await store.retention.remove_events(old, 200)
    called("close accounts")
    await store.money.expire(now, 200)
    called("remove old purchases")
    await store.purchases.expire(old, 200)
    called("remove old usage")
    await store.usage.expire(old.date(), 200)
    called("forget old idempotency keys")
    await store.forget(now, 200)
    called("remove expired uploads and files")
    await store.uploads.expire(now, 200)
    await store.library.expire(now, 20)
    called("expired artifacts")
    await store.archived_files.expired(now, 200)
    for client in (MOST, FEW, None):
        called(f"usage of a day: {client or 'all'}")
        day = now.date() - timedelta(days=10)
        await store.usage.rows(
            UsageQuery(reader="", first_day=day, last_day=day, group_by=("model",), owner=client), 1000
        )
    called("attempts with an unclear outcome")
    await store.unknown_attempts(20)
    called("at a start: times of the newest 1,000 completions")
    await store.completions(1000)
    called("at a start: tasks of unknown providers")
    await store.unfollowed(["foxapi", "keevx"])
    called("at a start: newest moment")
    await inspect.ledger_time(seen)
    await store.restored_page(20)
    called("everything open")
    await store.open_ids(now)
    called("open ones of dead replicas")
    await seen.all(replicas._OF_DEAD, open_since(now))  # noqa: SLF001  # the statement itself
    called("orphans")
    await seen.all(replicas._ORPHANS, open_since(now))  # noqa: SLF001  # the statement itself
    called("heartbeat")
    await seen.explain(replicas._BEAT, ("rep_1", 0, False))  # noqa: SLF001  # the statement itself
    called("look for missed signals")
    await seen.explain(signals._LOOK, (await seen.connection.fetchval(lineage.NEWEST_EVENT) - 100, 5000))  # noqa: SLF001  # the statement itself
    await seen.all(lineage.NEWEST_EVENT)


async def main() -> None:
    """Print the pages of each database side by side."""
    results = []
    for url in sys.argv[1:]:
        async with opened(url) as (store, seen):
            now = datetime.now(UTC)
            newest = await reads(store, seen.called, now)
            await changes(store, seen.called, newest, now)
            await upkeep(store, seen, seen.called, now)
            results.append(seen.seen)
            count = await seen.connection.fetchval("select reltuples from pg_class where relname = 'generations'")
            size = await seen.connection.fetchval("select pg_database_size(current_database())")
            print(f"{url.rpartition('/')[2]}: {count:,.0f} generations, {size / 1e9:.2f} GB")
    print(f"{'pages touched: with a plan for the values / for all values':62}{'ratio':>7}{'statements':>12}")
    for label in results[-1]:
        cells = []
        for result in results:
            of_label = result.get(label, [])
            cells.append((sum(row[0] for row in of_label), sum(row[1] for row in of_label)))
        ratio = max(cells[-1]) / max(1, *cells[0])
        print(
            f"{label:62}{ratio:7.1f}{len(results[-1][label]):>12}  "
            + "  ".join(f"{custom:,}/{generic:,}" for custom, generic in cells)
        )
        if ratio > 2:
            for _, generic, shown in results[-1][label]:
                if generic > 20:
                    print(f"{'':8}{generic:,} pages: {shown}")


if __name__ == "__main__":
    asyncio.run(main())
