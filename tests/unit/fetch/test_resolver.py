"""Names whose servers do not answer delay only other names of the same fetcher."""

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.app import Application
from gateway.domain.adapter.contract import Adapter
from gateway.fetch.resolver import RESOLVERS, Resolvers
from gateway.settings.load import load
from gateway.upstream.registry import load_adapters

ADAPTERS: dict[str, Adapter] = dict(load_adapters())
STOP = """
import asyncio, socket, threading
from gateway.fetch.fetcher import Fetcher, FetchFailed

socket.getaddrinfo = lambda *_, **__: threading.Event().wait()

async def main():
    fetcher = Fetcher([])
    try:
        await fetcher.post("https://silent.test/", content=b"", headers={}, timeout_seconds=0.05)
    except FetchFailed as error:
        print(error)
    await fetcher.close()

asyncio.run(main())
"""


class System:
    """Replaces the system's resolver. Names that begin with `silent` wait for `answers`. Each name is recorded."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.names: list[str] = []
        self._changed = threading.Condition()

    def getaddrinfo(self, host: str, port: int, **_: object) -> list[Any]:
        with self._changed:
            self.names.append(host)
            self._changed.notify()
        if host.startswith("silent"):
            self.answers.wait(10)
        if host == "nobody.test":
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", port))]

    async def were_asked(self, count: int) -> None:
        def wait() -> bool:
            with self._changed:
                return self._changed.wait_for(lambda: len(self.names) >= count, 5)

        assert await asyncio.to_thread(wait)


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    system = System()
    monkeypatch.setattr("gateway.fetch.resolver.socket.getaddrinfo", system.getaddrinfo)
    yield system
    system.answers.set()


async def hold(resolvers: Resolvers, system: System) -> list[asyncio.Task[list[str]]]:
    """Let every thread resolve a name whose servers do not answer."""
    held = [asyncio.create_task(resolvers.resolve(f"silent-{number}.test", 80)) for number in range(RESOLVERS)]
    await system.were_asked(RESOLVERS)
    return held


async def test_a_name_is_resolved_or_fails(system: System) -> None:
    resolvers = Resolvers()
    assert await resolvers.resolve("public.test", 80) == ["93.184.216.34"]
    with pytest.raises(socket.gaierror):
        await resolvers.resolve("nobody.test", 80)
    resolvers.close()


async def test_a_cancelled_name_is_not_resolved(system: System) -> None:
    resolvers = Resolvers()
    held = await hold(resolvers, system)
    given_up = asyncio.create_task(resolvers.resolve("given-up.test", 80))
    last = asyncio.create_task(resolvers.resolve("last.test", 80))
    await asyncio.sleep(0)
    given_up.cancel()
    held.pop().cancel()
    await asyncio.wait([given_up])
    system.answers.set()

    assert await last == ["93.184.216.34"]
    assert await asyncio.gather(*held) == [["93.184.216.34"]] * len(held)
    assert "given-up.test" not in system.names
    resolvers.close()


async def test_silent_names_delay_only_their_own_fetcher(system: System, tmp_path: Path) -> None:
    environ = {
        "KEEVX_API_KEY": "a-key",
        "VIDEO_GATEWAY_DATABASE_URL": f"sqlite:///{tmp_path / 'test.db'}",
        "VIDEO_GATEWAY_ARTIFACTS": str(tmp_path / "artifacts"),
    }
    (tmp_path / "gateway.toml").touch()
    application = Application(load(tmp_path / "gateway.toml", environ, ADAPTERS), adapters=ADAPTERS)
    async with application.litestar.lifespan(), asyncio.timeout(5):
        held = await hold(application.input_fetcher._system, system)
        for fetcher in (application.result_fetcher, application.webhook_fetcher):
            assert await fetcher._system.resolve("public.test", 80) == ["93.184.216.34"]
        system.answers.set()
        await asyncio.gather(*held)


def test_a_name_that_is_being_resolved_does_not_delay_the_exit() -> None:
    done = subprocess.run([sys.executable, "-c", STOP], capture_output=True, text=True, check=True, timeout=20)  # noqa: S603  # our own
    assert done.stdout.startswith("silent.test does not lead to a public address; ")
