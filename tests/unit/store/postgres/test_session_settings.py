"""Defaults that an operator has set for the server, the database or the user break nothing, or are refused."""

import asyncio
from typing import Any
from urllib.parse import urlsplit

import pytest

from gateway.domain.errors import ConfigurationError
from gateway.store.port import Permission
from gateway.store.postgres.open import open_postgres
from gateway.store.postgres.server import Server
from gateway.store.signals import CircuitsReset, Signal

from ....postgres_databases import execute, run_apart
from ....processes import NOW, Process, until

STRANGE = {
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "statement_timeout": "40ms",
    "lock_timeout": "1ms",
    "transaction_timeout": "60ms",
    "idle_session_timeout": "50ms",
    "idle_in_transaction_session_timeout": "1ms",
    "extra_float_digits": "-15",
    "timezone": "Asia/Kathmandu",
    "datestyle": "SQL, DMY",
    "intervalstyle": "sql_standard",
    "bytea_output": "escape",
    "client_min_messages": "debug1",
    "client_encoding": "latin1",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "row_security": "off",
    "escape_string_warning": "off",
    "plan_cache_mode": "force_generic_plan",
}


@pytest.fixture
def strange_url(empty_postgres_url: str) -> str:
    name = urlsplit(empty_postgres_url).path[1:]
    statements = [f"alter database {name} set {setting} = '{value}'" for setting, value in STRANGE.items()]
    run_apart(
        execute(
            empty_postgres_url,
            "; ".join(
                ["create schema elsewhere", f"alter database {name} set search_path = elsewhere, public", *statements]
            ),
        )
    )
    return empty_postgres_url


async def test_two_replicas_work_with_strange_defaults(strange_url: str) -> None:
    first, second = [Process(open_postgres(Server(strange_url), NOW)) for _ in range(2)]
    heard: list[Signal] = []
    second.store.signals.start(heard.append)
    first.store.signals.start(lambda _: None)
    for process in (first, second):
        await process.engine.start()
    first.store.signals.send(CircuitsReset("bolt", None))
    await until(lambda: heard)
    at = NOW.replace(microsecond=123457)
    made = await first.add(created_at=at)
    first.engine.begin(made)
    attempt_id = await first.reserve(made)
    assert await first.store.begin_submit(attempt_id, made.fence, at) is Permission.GRANTED
    for _ in range(5):
        await asyncio.gather(first.beat(), second.beat())
    stored = await second.store.get(made.id)
    assert stored is not None
    assert (stored.created_at, stored.attempts[0].sent_at) == (at, at), "no digit is lost"

    moved = [await first.create() for _ in range(30)]
    await first.engine.stop(0)
    await until(lambda: {each.id for each in moved} <= second.drivers.keys())
    replicas: Any = second.store.replicas
    await replicas._connection.execute("select pg_sleep(0.1)")  # it is longer than the limits of the server
    await second.beat()
    for process in (first, second):
        await process.stop()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("session_replication_role = replica", "`session_replication_role` turns triggers off"),
        ("search_path = nowhere", "no schema of `search_path` exists"),
    ],
)
def test_what_cannot_be_set_is_refused(setting: str, message: str, empty_postgres_url: str) -> None:
    run_apart(execute(empty_postgres_url, f"alter database {urlsplit(empty_postgres_url).path[1:]} set {setting}"))
    with pytest.raises(ConfigurationError, match=message):
        open_postgres(Server(empty_postgres_url), NOW)
