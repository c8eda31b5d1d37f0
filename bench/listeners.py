"""Many open event streams against one server process, over sockets: memory, CPU, and the time until all have an event.

The environment variables `LISTENERS`, `GENERATIONS` and `IDLE_SECONDS` change what is measured.
"""

import asyncio
import os
import platform
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx

from bench.load import KEY
from bench.processes import Process
from bench.server import serving
from bench.upstream import responder

LISTENERS = int(os.environ.get("LISTENERS", "10000"))
GENERATIONS = int(os.environ.get("GENERATIONS", "1000"))  # in the second round: the listeners are spread over them
IDLE_SECONDS = float(os.environ.get("IDLE_SECONDS", "30"))
AT_ONCE = 200  # connections that are being opened at the same time
PATH = "/v1/videos/generations"
END = b"event: video.generation.cancelled"
SPARE = 200  # open files other than connections
CONFIG = """
[server]
api_keys = ["env:BENCH_KEY"]
log_level = "warning"
[providers.foxapi]
api_key = "env:BENCH_KEY"
base_url = "{upstream}"
first_poll_seconds = 3600
poll_seconds = 3600
poll_max_seconds = 3600
"""


class Listener(asyncio.Protocol):
    """One stream. It stores nothing except what it waits for."""

    def __init__(self, generation: str, on_event: Callable[["Listener"], None]) -> None:
        self.generation = generation
        self._on_event = on_event
        self.began = asyncio.get_running_loop().create_future()
        self.keep_alives = 0
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request for the stream."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        lines = (f"GET {PATH}/{self.generation}/events HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {KEY}")
        transport.write("".join(f"{line}\r\n" for line in (*lines, "")).encode())

    def data_received(self, data: bytes) -> None:
        """Look for the first event, for comments, and for the end."""
        if not self.began.done():
            self._tail += data
            if b"event: video.generation" not in self._tail:
                return
            assert self._tail.startswith(b"HTTP/1.1 200"), self._tail[:500]
            self.began.set_result(None)
        elif data == b"3\r\n:\n\n\r\n":
            self.keep_alives += 1
            return
        if END in self._tail[-len(END) :] + data:
            self._on_event(self)
        self._tail = data[-len(END) :]


async def connected(server: Process, generations: list[str], on_event: Callable[[Listener], None]) -> list[Listener]:
    """`LISTENERS` open streams; each has received all events so far."""
    loop = asyncio.get_running_loop()
    host, _, port = server.url.removeprefix("http://").partition(":")
    room = asyncio.Semaphore(AT_ONCE)

    async def connect(number: int) -> Listener:
        async with room:
            _, listener = await loop.create_connection(
                lambda: Listener(generations[number % len(generations)], on_event), host, int(port)
            )
            await listener.began
            return listener

    return await asyncio.gather(*(connect(number) for number in range(LISTENERS)))


async def measured(server: Process, client: httpx.AsyncClient, count: int) -> None:
    """Open the streams on `count` generations, wait, end one of the generations, and print the figures."""
    body = {"model": "foxapi/kling-v3-text-to-video", "prompt": "A calm sunrise over the ocean"}
    generations = [(await client.post(PATH, json=body)).raise_for_status().json()["id"] for _ in range(count)]
    await asyncio.sleep(2)  # until every submit is stored
    quiet = server.cpu_seconds()
    await asyncio.sleep(5)
    quiet = (server.cpu_seconds() - quiet) / 5
    memory, cpu = server.memory_kb(), server.cpu_seconds()
    done = asyncio.Event()
    ends: Counter[str] = Counter()

    def note_event(listener: Listener) -> None:
        ends[listener.generation] += 1
        if ends[listener.generation] == LISTENERS // count:
            done.set()

    listeners = await connected(server, generations, note_event)
    joined = server.cpu_seconds() - cpu
    grown = (server.memory_kb() - memory) / LISTENERS
    before, cpu = sum(listener.keep_alives for listener in listeners), server.cpu_seconds()
    await asyncio.sleep(IDLE_SECONDS)
    idle = (server.cpu_seconds() - cpu) / IDLE_SECONDS - quiet
    beats = (sum(listener.keep_alives for listener in listeners) - before) / IDLE_SECONDS
    cpu, began = server.cpu_seconds(), time.perf_counter()
    assert (await client.post(f"{PATH}/{generations[0]}/cancel")).status_code == 200
    async with asyncio.timeout(60):
        await done.wait()
    took = time.perf_counter() - began
    spent = server.cpu_seconds() - cpu
    label = f"{LISTENERS:,} listeners on {count:,} generation{'s' if count > 1 else ''}"
    print(f"{label}: {grown:.1f} KB each; {joined / LISTENERS * 1e6:.0f} µs of CPU to join")
    print(f"  idle: {idle * 100:.1f} % of a core for {beats:.0f} keep-alives a second")
    print(
        f"  one change sent to {LISTENERS // count:,}: the last after {took * 1e3:.0f} ms, {spent * 1e3:.0f} ms of CPU"
    )
    for listener in listeners:
        listener.transport.abort()


async def served(upstream: str, generations: int) -> None:
    """Measure on a new gateway process, because memory that an earlier round freed would hide the growth."""
    with tempfile.TemporaryDirectory() as folder:
        headers = {"authorization": f"Bearer {KEY}"}
        async with (
            serving(Path(folder), CONFIG.format(upstream=upstream)) as server,
            httpx.AsyncClient(base_url=server.url, headers=headers, timeout=60) as client,
        ):
            await measured(server, client, generations)


async def main() -> None:
    """Start a provider that never finishes a task, measure, stop it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{machine}, {datetime.now(UTC):%Y-%m-%d}; open files: {soft:,}, at most {hard:,}")
    if hard != resource.RLIM_INFINITY and hard < LISTENERS + SPARE:
        sys.exit(f"{LISTENERS:,} connections need a hard limit of {LISTENERS + SPARE:,} open files (ulimit -Hn)")
    with tempfile.TemporaryDirectory() as folder:
        async with responder(Path(folder)) as upstream:
            for generations in (1, GENERATIONS):
                await served(upstream.url, generations)


if __name__ == "__main__":
    asyncio.run(main())
