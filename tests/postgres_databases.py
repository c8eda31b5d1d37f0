"""Databases of PostgreSQL as fixtures: `postgres_url` has the schema and no rows, `empty_postgres_url` has nothing."""

import asyncio
import os
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from gateway.store.postgres.migrate import migrate

from .postgres_server import VARIABLE, shared_server

T = TypeVar("T")
CLEAN = """
select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid();
delete from generations;
do $$ declare name text; begin
    for name in select tablename from pg_tables where schemaname = 'public' and tablename <> 'schema_migrations'
        order by tablename in ('receivers', 'inline_bytes', 'revisions')
    loop execute format('delete from %I', name); end loop;
end $$;
alter sequence events_seq_seq restart;
alter sequence lineages_number_seq restart
"""


def run_apart(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, on an event loop of its own."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(asyncio.run, work).result()


async def execute(url: str, sql: str) -> str:
    """Carry out statements without values on a connection of their own."""
    connection = await asyncpg.connect(url)
    try:
        return str(await connection.execute(sql))
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the server, with a database that always exists."""
    if url := os.environ.get(VARIABLE):
        yield url
        return
    base = tmp_path_factory.getbasetemp()
    with shared_server((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "postgres") as url:
        yield f"{url}/postgres"


@pytest.fixture(scope="session")
def _postgres_database(postgres_server: str) -> Iterator[str]:
    """A database of this process, with the schema."""
    with _database(postgres_server, f"tests_{os.getpid()}") as url:
        run_apart(_migrated(url))
        yield url


@pytest.fixture
def postgres_url(_postgres_database: str) -> str:
    """The URL of a database with the schema and without rows."""
    run_apart(execute(_postgres_database, CLEAN))
    return _postgres_database


@pytest.fixture
def empty_postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of a new database without a schema."""
    with _database(postgres_server, f"empty_{os.getpid()}") as url:
        yield url


def named(url: str, database: str) -> str:
    """The URL with another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


@contextmanager
def _database(server: str, name: str) -> Iterator[str]:
    run_apart(execute(server, f"create database {name} template template0 encoding 'UTF8'"))
    yield named(server, name)
    run_apart(execute(server, f"drop database {name} with (force)"))


async def _migrated(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await migrate(connection, datetime(2020, 1, 1, tzinfo=UTC))  # before the moments of all tests
    finally:
        await connection.close()
