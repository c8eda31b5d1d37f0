"""A schema that changes while gateways of the version before work with it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from gateway.domain.errors import ConfigurationError, StoreUnavailable
from gateway.store import migrations
from gateway.store.migrations import Migration
from gateway.store.postgres.inspect import inspect_postgres
from gateway.store.postgres.migrate import migrate
from gateway.store.postgres.open import open_postgres
from gateway.store.postgres.server import Server

from ....processes import Process

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
SHIPPED = migrations.load("postgres")
NEXT = len(SHIPPED) + 1
WORKS = f"-- works with programs from schema {NEXT - 1}\n"
COLUMN = "alter table generations add column extra text;"
INDEX = (
    "-- without a transaction\ndrop index concurrently if exists extra;\n"
    "create index concurrently extra on events (type);\n"
)
Ship = Callable[..., None]


@pytest.fixture
def ship(monkeypatch: pytest.MonkeyPatch) -> Ship:
    """Let the program have these migrations after its own; without any, it is the program as it is."""

    def change(*texts: str) -> None:
        added = [Migration(NEXT + index, f"{NEXT + index:03}_x.sql", text) for index, text in enumerate(texts)]
        monkeypatch.setattr(migrations, "load", lambda _: [*SHIPPED, *added])

    return change


@pytest_asyncio.fixture
async def connections(empty_postgres_url: str) -> AsyncIterator[list[Any]]:
    made = [await asyncpg.connect(empty_postgres_url) for _ in range(3)]
    await migrate(made[0], NOW)
    yield made
    for connection in made:
        await connection.close()


async def numbers(connection: Any) -> list[int]:
    return [row[0] for row in await connection.fetch("select number from schema_migrations order by 1")]


async def test_the_program_before_works_with_a_schema_that_says_so(
    connections: list[Any], empty_postgres_url: str, ship: Ship
) -> None:
    ship(WORKS + COLUMN)
    assert not (await migrate(connections[0], NOW)).is_newer
    ship()
    assert (await migrate(connections[0], NOW)).is_newer
    seen = await asyncio.to_thread(inspect_postgres, Server(empty_postgres_url), ())
    assert (seen.schema, seen.to_come, seen.is_newer) == (NEXT, 0, True)
    process = Process(open_postgres(Server(empty_postgres_url), NOW))
    assert f"a newer version has made the schema {NEXT} of the database" in str(process.store.at_start.warning)
    await process.engine.start()
    await process.create()
    await process.stop()

    ship(WORKS + COLUMN, COLUMN.replace("extra", "more"))
    await migrate(connections[0], NOW)
    ship()
    for look in (
        migrate(connections[0], NOW),
        asyncio.to_thread(inspect_postgres, Server(empty_postgres_url), ()),
    ):
        with pytest.raises(ConfigurationError, match=f"has schema {NEXT + 1}, this program knows {NEXT - 1}; run"):
            await look
    await connections[0].execute("update schema_migrations set oldest = $1 where number = $2", NEXT, NEXT + 1)
    with pytest.raises(ConfigurationError, match=f"which programs from schema {NEXT} on can use, this program knows"):
        await migrate(connections[0], NOW)


async def test_the_table_of_the_first_programs_gets_its_column(connections: list[Any]) -> None:
    await connections[0].execute("alter table schema_migrations drop column oldest")
    assert (await migrate(connections[0], NOW)).oldest == NEXT - 1


async def test_nothing_changes_while_a_gateway_runs_that_could_not_work_with_it(
    connections: list[Any], empty_postgres_url: str, ship: Ship
) -> None:
    process = Process(open_postgres(Server(empty_postgres_url), NOW))
    await process.engine.start()
    ship(COLUMN)
    with pytest.raises(ConfigurationError, match=r"does not work with the older gateways that are running: .+; stop"):
        await migrate(connections[0], NOW)
    assert await numbers(connections[0]) == [each.number for each in SHIPPED]
    await connections[0].execute("update replicas set heartbeat_at = heartbeat_at - interval '1 minute'")
    await migrate(connections[0], NOW)
    assert await numbers(connections[0]) == [*(each.number for each in SHIPPED), NEXT]

    assert process.store.replicas is not None
    with pytest.raises(StoreUnavailable) as refusal:  # it was suspended, say, and goes on
        await process.store.replicas.join()
    assert "a newer version has changed the schema" in str(refusal.value.reason)
    assert await connections[0].fetchval("select count(*) from replicas") == 1
    await process.stop()


async def test_a_migration_that_gets_no_lock_lets_others_pass(connections: list[Any], ship: Ship) -> None:
    ship(WORKS + COLUMN)
    slow = connections[1].transaction()
    await slow.start()
    await connections[1].execute("select 1 from generations")
    migrating = asyncio.create_task(migrate(connections[0], NOW))
    waiting = "select count(*) from pg_locks where relation = 'generations'::regclass and not granted"
    while not await connections[2].fetchval(waiting):
        pass
    async with asyncio.timeout(3):
        await connections[2].execute("select 1 from generations")
    assert not migrating.done()
    await slow.commit()
    await migrating
    assert await numbers(connections[2]) == [*(each.number for each in SHIPPED), NEXT]


async def test_an_index_is_built_while_others_write_and_another_gateway_waits(
    connections: list[Any], ship: Ship
) -> None:
    ship(WORKS + INDEX)
    writes = connections[1].transaction()
    await writes.start()
    await connections[1].execute("insert into revisions values ('x', 1)")
    await connections[1].execute(
        "insert into events (generation_id, type, data, at) select 'x', 'x', '{}', 0 where false"
    )
    starts = [asyncio.create_task(migrate(connections[index], NOW)) for index in (0, 2)]
    async with asyncio.timeout(20):
        while not await connections[1].fetchval("select 1 from pg_class where relname = 'extra'"):
            pass
    await connections[1].execute(
        "insert into events (generation_id, type, data, at) select 'x', 'x', '{}', 0 where false"
    )
    await writes.commit()
    await asyncio.gather(*starts)
    assert await connections[1].fetchval("select indisvalid from pg_index where indexrelid = 'extra'::regclass")
    assert await connections[1].fetchval("select count(*) from schema_migrations") == NEXT


async def test_an_index_whose_build_was_interrupted_is_built_again(connections: list[Any], ship: Ship) -> None:
    ship(WORKS + INDEX)
    writes = connections[1].transaction()
    await writes.start()
    await connections[1].execute(
        "insert into events (generation_id, type, data, at) select 'x', 'x', '{}', 0 where false"
    )
    start = asyncio.create_task(migrate(connections[0], NOW))
    async with asyncio.timeout(20):
        while not await connections[1].fetchval("select 1 from pg_class where relname = 'extra'"):
            pass
    connections[0].terminate()
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await start
    await writes.commit()
    await migrate(connections[2], NOW)
    assert await connections[2].fetchval("select indisvalid from pg_index where indexrelid = 'extra'::regclass")
