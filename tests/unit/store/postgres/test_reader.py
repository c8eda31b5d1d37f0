"""Reads beside the writer: repeated when a connection breaks, stopped at a limit, shared between clients."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio

from gateway.domain.errors import Overloaded, SearchTooLong, StoreUnavailable
from gateway.store import long_reads
from gateway.store.long_reads import PLACES
from gateway.store.postgres import reader as reader_module
from gateway.store.postgres import server as server_module
from gateway.store.postgres.reader import PoolReader
from gateway.store.postgres.server import Server

from ....chaos.replicas.proxy import Flow, Proxy
from ....processes import LIMIT_SECONDS

BACKEND = "select pg_backend_pid()"


@pytest_asyncio.fixture
async def reader(postgres_url: str) -> AsyncIterator[PoolReader]:
    reader = PoolReader(Server(postgres_url))
    yield reader
    await reader.close()


@pytest_asyncio.fixture
async def other(postgres_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(postgres_url)
    yield connection
    await connection.close()


async def test_reads_run_at_once_and_leave_their_connection_to_others(reader: PoolReader) -> None:
    first = await asyncio.gather(*(reader.all(f"{BACKEND}, cast(? as integer)", (number,)) for number in range(20)))
    assert [rows[0][1] for rows in first] == list(range(20))
    assert 1 < len({rows[0][0] for rows in first}) <= reader_module.CONNECTIONS


async def test_a_read_whose_connection_breaks_is_repeated(reader: PoolReader, other: Any) -> None:
    [[pid]] = await reader.all(BACKEND)
    await other.execute(f"select pg_terminate_backend({pid})")
    [[another]] = await reader.all(BACKEND)
    assert another != pid


async def test_a_server_that_is_gone_is_unavailable() -> None:
    reader = PoolReader(Server("postgresql://postgres@127.0.0.1:1/none"))
    with pytest.raises(StoreUnavailable, match="cannot be read now") as refusal:
        await reader.all("select 1")
    assert "the connection to PostgreSQL is lost" in str(refusal.value.reason)
    await reader.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await reader.all("select 1")


async def test_a_read_through_a_network_that_passes_nothing_is_given_up(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request to stop it is not answered either. Waiting for that as long as for a connection would be 10 s."""
    monkeypatch.setattr(reader_module, "SHORT_SECONDS", 0.05)
    monkeypatch.setattr(reader_module, "_CANCEL_SECONDS", 0.05)
    address = urlsplit(postgres_url)
    assert address.port is not None
    network = Proxy(lambda: [address.port or 0])
    await network.open()
    reader = PoolReader(Server(postgres_url.replace(f":{address.port}/", f":{network.port}/")))
    assert await reader.all("select 1")

    network.flow(Flow.HOLD, Flow.HOLD)
    async with asyncio.timeout(reader_module.CONNECTION_SECONDS / 2):
        with pytest.raises(StoreUnavailable):
            await reader.all("select 1")

    network.flow(Flow.PASS, Flow.PASS)
    monkeypatch.setattr(reader_module, "SHORT_SECONDS", 10.0)
    assert await reader.all("select 1")
    await reader.close()
    network.close()


async def test_a_long_read_is_stopped_and_a_short_one_too(
    reader: PoolReader, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_reads, "READ_SECONDS", 0.05)
    monkeypatch.setattr(reader_module, "SHORT_SECONDS", 0.06)
    with pytest.raises(SearchTooLong):
        await reader.long("alice", "select pg_sleep(60)")
    with pytest.raises(StoreUnavailable):
        await reader.all("select pg_sleep(60)")
    left = "select count(*) from pg_stat_activity where query = 'select pg_sleep(60)' and state = 'active'"
    async with asyncio.timeout(10):
        while await other.fetchval(left):
            pass


async def test_long_reads_are_shared_between_clients(reader: PoolReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_reads, "WAITING_MAX", 1)
    monkeypatch.setattr(long_reads, "WAIT_SECONDS", 0.05)
    monkeypatch.setattr(long_reads, "READ_SECONDS", 1.0)
    greedy = [asyncio.create_task(reader.long("alice", "select pg_sleep(60)")) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="send fewer"):
        await reader.long("alice", "select 1")
    assert await reader.long("bob", "select 1") == [(1,)], f"one client has one of {PLACES} places"
    with pytest.raises(Overloaded, match="has waited"):
        await greedy[1]
    greedy[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await greedy[0]
    assert await reader.long("alice", "select 2") == [(2,)], "the place of a caller that is gone is free"


async def test_a_defect_is_not_taken_for_a_state_of_the_server(reader: PoolReader) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        await reader.all("select 1 from no_table")


async def test_a_connection_that_never_becomes_ready_fails_its_read_in_time(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pooler without a free connection lets a client in, and answers its first statement when it has one."""
    parts = urlsplit(postgres_url)
    proxy = Proxy(lambda: [parts.port or 0])
    await proxy.open()
    reader = PoolReader(Server(f"postgresql://{parts.username}@127.0.0.1:{proxy.port}{parts.path}"))
    adjust = server_module.adjust

    async def wait_for_pooler(connection: Any) -> None:
        proxy.flow(Flow.HOLD, Flow.HOLD)
        await adjust(connection)

    monkeypatch.setattr(server_module, "adjust", wait_for_pooler)
    monkeypatch.setattr(reader_module, "CONNECTION_SECONDS", 0.2)
    async with asyncio.timeout(LIMIT_SECONDS):
        with pytest.raises(StoreUnavailable) as refusal:
            await reader.all(BACKEND)
    assert "default_pool_size" in str(refusal.value.reason)
    proxy.close()
    await reader.close()
