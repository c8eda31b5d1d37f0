"""No statement of the ledger reads through a table that grows, in the plan of PostgreSQL for values it does not know.

A small ledger with rows in all tables gets the statistics of one that is 10,000 times as long. A plan must then reach
each growing table along an index with a condition, and along the index that the statement names, if it names one.
"""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from bench.postgres_history import fill
from gateway.store.postgres import inspect, lineage, replicas, signals
from gateway.store.postgres.dialect import translate
from gateway.store.postgres.migrate import migrate
from gateway.store.sql import rows

from ....ledger_statements import statements
from ....postgres_databases import run_apart

LONGER = 10_000
_GROWING = [
    "generations",
    "outputs",
    "attempts",
    "events",
    "generation_metadata",
    "files",
    "generation_files",
    "idempotency_keys",
    "deleted_generations",
    "artifacts",
    "uploads",
    "callbacks",
    "tasks",
    "purchases",
    "deliveries",
    "accounts",
    "usage",
    "usage_times",
    "receivers",
    "client_days",
    "spending",
    "closed_accounts",
    "inline_bytes",
]
# What is read whole by an operator who asks for it, or at the first start with money of an old ledger.
_WHOLE = {"money_audit._ACCOUNTS", "money_audit._CLOSED", "money_audit._SUMS"}
# What these pass over, from the oldest on, is open or pending still: there is little of it among the old.
_PASSING = {"files._EXPIRED", "idempotency._FORGET_KEYS", "webhooks._HAS_OLD", "webhooks._REMOVE_OLD"}
# Partial indexes that are short whatever the length of the history: what is open, and what waits.
_SHORT = {"generations_open", "generations_restored", "attempts_live", "deliveries_of_tests"}
# Those of PostgreSQL alone.
OWN = [
    (f"{module.__name__}.{name}", value)
    for module in (inspect, lineage, replicas, signals)
    for name, value in vars(module).items()
    if isinstance(value, str) and re.match(r"\s*(select|update|delete|with) ", value) and name != "_SEND"
]
_AGES = ("files_by_expiry", "idempotency_keys_by_age", "deliveries_pkey")
_STATISTICS = (
    "update pg_class set reltuples = reltuples * $1 where relnamespace = 'public'::regnamespace and reltuples > 0"
)


def nodes(plan: dict[str, Any], is_limited: bool = False) -> Iterator[tuple[dict[str, Any], bool]]:
    """Each node, and whether a limit ends it: no node between the two needs all rows first."""
    yield plan, is_limited
    needs_all = plan["Node Type"] in {"Sort", "Hash", "Aggregate", "Bitmap Heap Scan", "WindowAgg"}
    for inner in plan.get("Plans", ()):
        yield from nodes(inner, (is_limited or plan["Node Type"] == "Limit") and not needs_all)


def faults(name: str, sql: str, plan: dict[str, Any]) -> Iterator[str]:
    used = set()
    may_pass_over = _SHORT | {"attempts_unknown", *([] if name not in _PASSING else _AGES)}
    for node, is_limited in nodes(plan):
        index = node.get("Index Name")
        used.add(index)
        if "Scan" not in node["Node Type"] or "Bitmap Heap" in node["Node Type"]:
            continue
        if node["Node Type"] == "Seq Scan":
            if node["Relation Name"] in _GROWING:
                yield f"reads all of {node['Relation Name']}"
        elif index is not None and "Index Cond" not in node and index not in _SHORT:
            if not is_limited or "Filter" in node:
                yield f"reads all of {index}"
        elif "Filter" in node and " = " not in node.get("Index Cond", " = ") and index not in may_pass_over:
            yield f"may pass over many rows along {index}"
    for index in re.findall(r"indexed by (\w+)", sql):
        if index not in used:
            yield f"does not read {index}, but {sorted(filter(None, used))}"


async def filled(url: str) -> asyncpg.Connection:
    """A connection to a ledger with the statistics of a long one; it plans without knowing values."""
    connection = await asyncpg.connect(url)
    if not await connection.fetchval("select rolsuper from pg_roles where rolname = current_user"):
        await connection.close()
        pytest.skip("only a superuser may change statistics")
    await migrate(connection, datetime(2020, 1, 1, tzinfo=UTC))
    await fill(connection, 1000, datetime.now(UTC), open_count=20, days=1, rebuilds=False)
    await connection.execute(f"{_STATISTICS.replace('$1', str(LONGER))}; set plan_cache_mode = force_generic_plan")
    return connection


async def plan_of(connection: asyncpg.Connection, sql: str) -> dict[str, Any]:
    await connection.execute(f"prepare it as {sql}")
    count = max(map(int, re.findall(r"\$(\d+)", sql)), default=0)
    values = f"({', '.join(['null'] * count)})" if count else ""
    # The plan of a step of a recursion is complete only after a step.
    options = "analyze, format json" if "recursive" in sql else "format json"
    (explained,) = json.loads(await connection.fetchval(f"explain ({options}) execute it{values}"))
    await connection.execute("deallocate it")
    plan: dict[str, Any] = explained["Plan"]
    return plan


def test_every_statement_reads_along_an_index(empty_postgres_url: str) -> None:
    async def check() -> None:
        connection = await filled(empty_postgres_url)
        wrong, number = [], 0
        for name, sql in [*statements(), *OWN]:
            text = sql if "?" not in sql and (name, sql) in OWN else translate(sql).sql
            if name in _WHOLE or sql == rows.SELECT or (text.startswith("insert") and " select " not in text):
                continue
            number += 1
            wrong += [f"{name}: {fault}\n{text}" for fault in faults(name, sql, await plan_of(connection, text))]
        # The check can fail: an order that no index has, and a limit without an order.
        for sql in ("select id from accounts where deleted_at < $1 limit 1", "select id from outputs where late = 1"):
            assert list(faults("", "", await plan_of(connection, sql.replace("select id", "select 1"))))
        await connection.close()
        assert not wrong, "\n".join(wrong)
        assert number > 150

    run_apart(check())
