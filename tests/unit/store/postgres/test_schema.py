"""The schema of PostgreSQL: the same tables as in SQLite, its functions, and how it is applied."""

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from gateway.domain.errors import ConfigurationError
from gateway.store import migrations
from gateway.store.postgres.migrate import migrate
from gateway.store.postgres.queue import queries_on
from gateway.store.sqlite.file import connect
from gateway.store.sqlite.file import migrate as migrate_sqlite

from ....postgres_databases import execute

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
# What several replicas need, which SQLite does not have: tables, triggers and indexes begin with these names.
_OF_REPLICAS = (
    "^(replicas|pgqueuer|tg_pgqueuer|generations_driven|attempts_submitted"
    "|revisions|generation_changed|generation_deleted|client_changed|client_key_changed|provider_hold_changed"
    "|submits_in_flight|submit_inserted|submit_noted|submit_deleted|waiting_submits|request_rates"
    "|open_counts|generation_opened|generation_ended|open_generation|newest_deleted_event|events_deleted)"
)
_COLUMNS = (
    "select table_name, column_name, is_nullable = 'NO' from information_schema.columns where table_schema = 'public'"
    " and table_name !~ $1"
    " and (table_name, column_name) not in (('generations', 'replica'), ('schema_migrations', 'oldest'))"
)
_NUMBERS = "select number from schema_migrations order by 1"
_INDEXES = (
    "select name from (select indexname as name from pg_indexes where schemaname = 'public'"
    " and indexname not in (select conname from pg_constraint)"
    " union all select tgname from pg_trigger where not tgisinternal) as names"
    " where name !~ $1"
)


async def test_it_is_that_of_sqlite(postgres_url: str, tmp_path: Path) -> None:
    sqlite = connect(tmp_path / "ledger.db")
    migrate_sqlite(sqlite, NOW)
    tables = [row[0] for row in sqlite.execute("select name from sqlite_schema where type = 'table'")]
    columns = {
        (table, name, bool(not_null or key))
        for table in tables
        for _, name, _, not_null, _, key in sqlite.execute(f"pragma table_info({table})")
        if not table.startswith("sqlite_")
    }
    others = "select name from sqlite_schema where type in ('index', 'trigger') and sql is not null"
    indexes = {row[0] for row in sqlite.execute(others)}
    sqlite.close()

    connection = await asyncpg.connect(postgres_url)
    assert {tuple(row) for row in await connection.fetch(_COLUMNS, _OF_REPLICAS)} == columns
    assert {row[0] for row in await connection.fetch(_INDEXES, _OF_REPLICAS)} == indexes
    default = await connection.fetch(
        "select table_name, column_name from information_schema.columns where table_schema = 'public'"
        " and data_type = 'text' and collation_name is distinct from 'C' and table_name <> 'schema_migrations'"
        " and table_name !~ $1",
        _OF_REPLICAS,
    )
    assert not default, "ids are compared by bytes"
    await connection.close()


async def test_the_queue_has_the_tables_of_the_installed_version(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    plan = await queries_on(connection).plan_upgrade()
    await connection.close()
    assert (plan.statements, plan.notes) == ((), ())


FIELDS = (
    (r'{"a": {"b": [1, {"c": "x"}]}}', "$.a.b[1].c", "x"),
    (r'{"a": 1.5}', "$.a", "1.5"),
    (r'{"a": null}', "$.a", None),
    (r'{"b": 1}', "$.a", None),
    (None, "$.a", None),
    (r'{"a": "x\u0000y", "b": "\\u0000", "c": "\\\u0000"}', "$.a", "x\ufffdy"),
    (r'{"a": "x\u0000y", "b": "\\u0000", "c": "\\\u0000"}', "$.b", r"\u0000"),
    (r'{"a": "x\u0000y", "b": "\\u0000", "c": "\\\u0000"}', "$.c", "\\\ufffd"),
)


async def test_fields_of_json(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    for document, path, expected in FIELDS:
        assert await connection.fetchval("select json_extract($1, $2)", document, path) == expected, (document, path)
    assert await connection.fetch("select * from json_elements($1)", '["a\\u0000", 1]') == [("a\ufffd",), ("1",)]
    await connection.close()


async def test_gateways_that_start_at_once_apply_it_once(empty_postgres_url: str) -> None:
    connections = [await asyncpg.connect(empty_postgres_url) for _ in range(3)]
    await asyncio.gather(*(migrate(connection, NOW) for connection in connections))
    shipped = [(migration.number, migration.checksum) for migration in migrations.load("postgres")]
    rows = await connections[0].fetch("select number, checksum from schema_migrations")
    assert [tuple(row) for row in rows] == shipped

    for change, message in (
        ("update schema_migrations set checksum = 'x'", "was applied with another text"),
        (
            "insert into schema_migrations values (99, 'x', 'x', 0, 99)",
            f"the database has schema 99, this program knows {shipped[-1][0]}",
        ),
    ):
        await execute(empty_postgres_url, change)
        with pytest.raises(ConfigurationError, match=re.escape(message)):
            await migrate(connections[0], NOW)
    for connection in connections:
        await connection.close()


def test_a_failure_in_between_leaves_whole_migrations(empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def interrupted() -> None:
        connection = await asyncpg.connect(empty_postgres_url)
        broken = migrations.Migration(len(shipped) + 1, "broken.sql", "create table a (b text); select 1 / 0")
        monkeypatch.setattr(migrations, "load", lambda _: [*shipped, broken])
        with pytest.raises(asyncpg.DivisionByZeroError):
            await migrate(connection, NOW)
        assert await connection.fetchval("select to_regclass('a')") is None
        assert [row[0] for row in await connection.fetch(_NUMBERS)] == [each.number for each in shipped]
        await connection.close()

    shipped = migrations.load("postgres")
    asyncio.run(interrupted())
