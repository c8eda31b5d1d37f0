"""The queue of replicas while its server is away."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, cast

import asyncpg
import pytest
from structlog.testing import capture_logs

from gateway.store.postgres import queue
from gateway.store.postgres.queue import Queue
from gateway.store.postgres.server import Server

from ....processes import until


class Idle:
    """Duties of which nothing comes."""

    async def take(self, ids: Sequence[str]) -> bool:  # the interface
        return True

    async def look_after_all(self) -> None:
        return

    async def sweep(self) -> None:
        return


class Late:
    """A server that takes the fourth connection."""

    def __init__(self, url: str) -> None:
        self._server = Server(url)
        self.tries = 0

    async def connect(self) -> Any:
        self.tries += 1
        if self.tries < 4:
            raise ConnectionRefusedError
        return await self._server.connect()


async def test_an_outage_is_logged_when_it_begins_and_when_it_is_over(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "RESTART_SECONDS", 0.0)
    monkeypatch.setattr(queue, "_PROBE_SECONDS", 0.01)
    server = Late(postgres_url)
    work = Queue(cast(Server, server), Idle())
    with capture_logs() as lines:
        running = asyncio.create_task(work.run())
        await until(lambda: any(line["event"] == "queue_works_again" for line in lines))
        await work.stop()
        await running

    warnings = [line["event"] for line in lines if line["log_level"] == "warning"]
    assert warnings == ["queue_failed", "queue_works_again"]
    assert server.tries == 4


def test_only_what_a_lost_connection_does_not_explain_is_logged_by_the_package() -> None:
    logger = logging.getLogger("pgqueuer")

    def is_logged(error: Exception | None) -> bool:
        reason = None if error is None else (type(error), error, None)
        return bool(logger.filter(logger.makeRecord("pgqueuer", logging.ERROR, "", 0, "failed", (), reason)))

    assert not is_logged(asyncpg.InterfaceError("connection is closed"))
    assert not is_logged(ConnectionResetError())
    assert is_logged(KeyError("a defect"))
    assert is_logged(None)
