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
from gateway.fetch.resolver import FAILED_SECONDS, RESOLVERS, RESOLVERS_PER_CLIENT, Resolvers
from gateway.settings.load import load
from gateway.upstream.registry import load_adapters

ADAPTERS: dict[str, Adapter] = dict(load_adapters())
STOP = """
import asyncio, socket, threading
from gateway.fetch.fetcher import Fetcher, FetchFailed
from gateway.live import Live

socket.getaddrinfo = lambda *_, **__: threading.Event().wait()

async def main():
    fetcher = Fetcher(Live(()))
    try:
        await fetcher.post("https://silent.test/", client="key", content=b"", headers={}, timeout_seconds=0.05)
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
    held = [
        asyncio.create_task(resolvers.resolve(f"silent-{number}.test", 80, f"key-{number // RESOLVERS_PER_CLIENT}"))
        for number in range(RESOLVERS)
    ]
    await system.were_asked(RESOLVERS)
    return held


async def test_a_name_is_resolved_or_fails(system: System) -> None:
    resolvers = Resolvers()
    assert await resolvers.resolve("public.test", 80, "key") == ["93.184.216.34"]
    with pytest.raises(socket.gaierror):
        await resolvers.resolve("nobody.test", 80, "key")
    resolvers.close()


async def test_a_cancelled_name_is_not_resolved(system: System) -> None:
    resolvers = Resolvers()
    held = await hold(resolvers, system)
    given_up = asyncio.create_task(resolvers.resolve("given-up.test", 80, "key"))
    last = asyncio.create_task(resolvers.resolve("last.test", 80, "key"))
    await asyncio.sleep(0)
    given_up.cancel()
    held.pop().cancel()
    await asyncio.wait([given_up])
    system.answers.set()

    assert await last == ["93.184.216.34"]
    assert await asyncio.gather(*held) == [["93.184.216.34"]] * len(held)
    assert "given-up.test" not in system.names
    resolvers.close()


async def test_silent_names_of_one_client_delay_no_other_client(system: System) -> None:
    resolvers = Resolvers()
    held = [asyncio.create_task(resolvers.resolve(f"silent-{number}.test", 80, "key")) for number in range(RESOLVERS)]
    await system.were_asked(RESOLVERS_PER_CLIENT)

    assert await resolvers.resolve("public.test", 80, "other") == ["93.184.216.34"]

    assert len(system.names) == RESOLVERS_PER_CLIENT + 1
    system.answers.set()
    assert await asyncio.gather(*held) == [["93.184.216.34"]] * RESOLVERS
    resolvers.close()


async def test_a_name_that_waits_for_the_share_of_one_client_is_resolved_with_that_of_another(system: System) -> None:
    resolvers = Resolvers()
    held = [
        asyncio.create_task(resolvers.resolve(f"silent-{number}.test", 80, "key"))
        for number in range(RESOLVERS_PER_CLIENT)
    ]
    held.append(asyncio.create_task(resolvers.resolve("public.test", 80, "key")))
    await system.were_asked(RESOLVERS_PER_CLIENT)

    assert await asyncio.wait_for(resolvers.resolve("public.test", 80, "other"), 5) == ["93.184.216.34"]

    assert await held.pop() == ["93.184.216.34"], "the first client gets the answer, too"
    system.answers.set()
    await asyncio.gather(*held)
    assert system.names.count("public.test") == 1
    resolvers.close()


async def test_a_thread_counts_for_its_client_until_the_name_is_resolved(system: System) -> None:
    resolvers = Resolvers()
    held = [
        asyncio.create_task(resolvers.resolve(f"silent-{number}.test", 80, "key"))
        for number in range(RESOLVERS_PER_CLIENT)
    ]
    await system.were_asked(RESOLVERS_PER_CLIENT)
    for task in held:  # the calls end by their time-out; the threads go on
        task.cancel()
    await asyncio.wait(held)

    late = asyncio.create_task(resolvers.resolve("late.test", 80, "key"))
    assert await resolvers.resolve("public.test", 80, "other") == ["93.184.216.34"]
    assert "late.test" not in system.names

    system.answers.set()
    assert await late == ["93.184.216.34"]
    resolvers.close()


async def test_a_name_is_resolved_once_for_all_who_wait_for_it(system: System) -> None:
    resolvers = Resolvers()
    waiting = [asyncio.create_task(resolvers.resolve("silent.test", 80, key)) for key in ("key", "other", "key")]
    await system.were_asked(1)
    waiting.pop().cancel()
    system.answers.set()
    assert await asyncio.gather(*waiting) == [["93.184.216.34"]] * 2
    assert system.names == ["silent.test"]
    resolvers.close()


async def test_a_name_without_an_address_is_not_resolved_again_for_a_while(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolvers, loop = Resolvers(), asyncio.get_running_loop()
    for _ in range(2):
        with pytest.raises(socket.gaierror):
            await resolvers.resolve("nobody.test", 80, "key")
    assert system.names == ["nobody.test"]

    later = loop.time() + FAILED_SECONDS
    monkeypatch.setattr(loop, "time", lambda: later)
    with pytest.raises(socket.gaierror):
        await resolvers.resolve("nobody.test", 80, "key")
    assert system.names == ["nobody.test"] * 2
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
            assert await fetcher._system.resolve("public.test", 80, "key") == ["93.184.216.34"]
        system.answers.set()
        await asyncio.gather(*held)


def test_a_name_that_is_being_resolved_does_not_delay_the_exit() -> None:
    done = subprocess.run([sys.executable, "-c", STOP], capture_output=True, text=True, check=True, timeout=20)  # noqa: S603  # our own
    assert done.stdout.startswith("silent.test does not lead to a public address; ")
