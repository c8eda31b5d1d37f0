"""The connection to PostgreSQL is cut after a COMMIT has arrived, and before its answer has."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import pytest_asyncio

from gateway.failpoints import reach
from gateway.store.postgres import writer
from gateway.store.postgres.server import Server

from ..chaos.replicas.proxy import Flow, Proxy
from ..processes import LIMIT_SECONDS
from .test_replicas import contradictions, several

ONE_PLACE = "[providers.foxapi]\nconcurrency = 1\n"


class Way:
    """The way of the writer of a gateway to its database, and a connection past it."""

    def __init__(self, url: str, connection: Any) -> None:
        self._parts = urlsplit(url)
        self._connection = connection
        self.proxy = Proxy(lambda: [self._parts.port or 5432])

    def lead(self, gateway: Any) -> None:
        """Lead the writer through the proxy from its next transaction on."""
        user = self._parts.netloc.rpartition("@")[0]
        url = urlunsplit(self._parts._replace(netloc=f"{user}@127.0.0.1:{self.proxy.port}"))
        group_writer = gateway.application.store._writer
        group_writer._drop()
        group_writer._server = Server(url)

    async def begun(self) -> int:
        """How many submits have begun, as the database has committed it."""
        return int(await self._connection.fetchval("select count(*) from events where type = 'attempt.submitting'"))

    async def cut_after(self, begun: int) -> None:
        """Let nothing come back until so many submits have begun, then break the connection."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while await self.begun() < begun:
                pass
        self.proxy.reset()
        self.proxy.flow(Flow.PASS, Flow.PASS)

    def lose_permission(self, gateway: Any, monkeypatch: pytest.MonkeyPatch) -> list[asyncio.Task[None]]:
        """Let the answer to the commit of the first permission be lost; the list gets the task that does it."""
        store, losing = gateway.application.store, list[asyncio.Task[None]]()
        begin_submit = store.begin_submit

        def lose(window: str) -> None:
            if window == "commit_fails" and not losing:
                self.proxy.flow(Flow.PASS, Flow.HOLD)
                losing.append(asyncio.create_task(self.cut_after(1)))
            reach(window)

        async def begin(*args: Any) -> Any:
            monkeypatch.setattr(writer, "reach", lose)
            return await begin_submit(*args)

        store.begin_submit = begin
        return losing


@pytest_asyncio.fixture
async def way(postgres_url: str) -> AsyncIterator[Way]:
    connection = await asyncpg.connect(postgres_url)
    way = Way(postgres_url, connection)
    await way.proxy.open()
    yield way
    way.proxy.close()
    await connection.close()


async def test_a_permission_whose_answer_was_lost_neither_keeps_its_place_nor_is_used_twice(
    start: Any, postgres_url: str, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    (gateway,) = await several(start, postgres_url, 1, toml=ONE_PLACE)
    way.lead(gateway)
    losing = way.lose_permission(gateway, monkeypatch)
    made = await gateway.create()
    await until_sent(gateway, 1)
    await losing[0]
    stored = await gateway.stored(made["id"])
    assert [attempt.state for attempt in stored.attempts] == ["not_sent", "accepted"]
    assert await way.begun() == 2, "the first permission was committed"
    assert len(gateway.upstream.submits) == 1

    another = await gateway.create()
    await until_sent(gateway, 2)
    await gateway.finish()
    for generation in (made, another):
        assert (await gateway.stored(generation["id"])).status == "completed"
    assert len(gateway.upstream.submits) == 2
    assert not await contradictions(postgres_url)


async def until_sent(gateway: Any, count: int) -> None:
    for _ in range(60):
        await gateway.clock.advance(1)
        if len(gateway.upstream.submits) >= count:
            return
    pytest.fail(f"{len(gateway.upstream.submits)} of {count} submits were sent")
