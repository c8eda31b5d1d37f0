"""Creates, reads and polls a second with 1, 2 and 4 gateways on one PostgreSQL: `python -m bench.postgres_scaling`.

Each number of gateways gets a new database. All of it runs on one machine with the load, so what counts is the CPU of
one operation, of the gateways and of PostgreSQL apart, and how long the lock of the ledger is waited for: all
transactions that write are carried out one after another. A create includes what follows it: the submit and its reply.
"""

import argparse
import asyncio
import os
import platform
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from bench.load import KEY
from bench.postgres_gateways import connected, gateways, server, server_cpu_seconds, source
from bench.systems import CREATE, PATH

CONNECTIONS = 32  # of the load, at each gateway
SAMPLE_SECONDS = 0.02
_LOCK = (
    "select count(*) filter (where wait_event = 'advisory') as waiting,"
    " count(*) filter (where state <> 'idle' and wait_event is distinct from 'advisory'"
    " and query not like '%pg_stat_activity%') as working,"
    " count(*) filter (where state = 'idle in transaction') as held from pg_stat_activity"
    " where application_name = 'video-gateway'"
)
_NOT_SENT = (
    "select count(*) from generations as g where status = 'queued'"
    " and not exists (select 1 from attempts where generation_id = g.id and state = 'accepted')"
)


class Load:
    """Sends one request after another on each of its connections, and counts the answers."""

    def __init__(self, urls: list[str], request: Callable[[int], bytes]) -> None:
        self._urls = urls
        self._request = request
        self.count = 0  # of requests
        self.refused = 0
        self.ids: list[str] = []

    async def run(self, seconds: float) -> None:
        """Load every gateway for this long."""
        self._until = time.perf_counter() + seconds
        await asyncio.gather(*(self._load(url) for url in self._urls for _ in range(CONNECTIONS)))

    async def _load(self, url: str) -> None:
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        while time.perf_counter() < self._until:
            self.count += 1
            writer.write(self._request(self.count))
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            if not head.startswith(b"HTTP/1.1 200"):
                self.refused += 1
            elif len(self.ids) < 1000:
                self.ids.append(body.split(b'"id":"')[1].split(b'"')[0].decode())
        writer.close()


def create(number: int) -> bytes:
    """A create with a prompt of its own."""
    body = CREATE.replace(b"over the ocean", b"over the ocean, take %d" % number)
    return _head("POST", PATH, len(body)) + body


def _head(method: str, path: str, length: int) -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


async def sampled(connection: Any, samples: list[tuple[int, int, int]]) -> None:
    """Look again and again at who waits for the lock of the ledger."""
    while True:
        samples.append(tuple(await connection.fetchrow(_LOCK)))
        await asyncio.sleep(SAMPLE_SECONDS)


async def measure(number: int, seconds: float) -> None:
    """Measure and print one number of gateways."""
    with server() as (url, pid):
        async with source() as upstream, gateways(url, upstream.url) as made, connected(url) as connection:
            await made.start(number)

            async def phase(
                name: str, work: Callable[[], Awaitable[None]], count: Callable[[], Awaitable[int]]
            ) -> None:
                samples: list[tuple[int, int, int]] = []
                sampling = asyncio.create_task(sampled(connection, samples))
                cpu, of_server = made.cpu_seconds(), server_cpu_seconds(pid)
                before, since = await count(), time.perf_counter()
                await work()
                took, done = time.perf_counter() - since, await count() - before
                sampling.cancel()
                each = 1e6 / max(1, done)
                print(
                    f"{number:>9}  {name:8}{done / took:>9.0f}"
                    f"{(made.cpu_seconds() - cpu) * each:>12.0f}{(server_cpu_seconds(pid) - of_server) * each:>12.0f}"
                    f"{(made.cpu_seconds() - cpu) / took:>10.2f}{(server_cpu_seconds(pid) - of_server) / took:>10.2f}"
                    f"{sum(row[0] for row in samples) / max(1, len(samples)):>11.2f}"
                    f"{sum(row[2] > 0 or row[1] > 0 for row in samples) / max(1, len(samples)):>9.0%}",
                    flush=True,
                )

            creating = Load(made.urls, create)

            async def created() -> int:
                return creating.count - creating.refused

            await phase("creates", lambda: creating.run(seconds), created)
            paths = [f"{PATH}/{name}" for name in creating.ids]
            reading = Load(made.urls, lambda count: _head("GET", paths[count % len(paths)], 0))

            async def read() -> int:
                return reading.count - reading.refused

            await phase("reads", lambda: reading.run(seconds), read)
            if refused := creating.refused + reading.refused:
                print(f"{'':11}{refused:,} requests were refused")
            async with asyncio.timeout(120):
                while await connection.fetchval(_NOT_SENT):  # noqa: ASYNC110  # another process changes it
                    await asyncio.sleep(0.5)
            await phase("polls", lambda: asyncio.sleep(seconds), upstream.requests)


def main() -> None:
    """Measure each number of gateways."""
    parser = argparse.ArgumentParser(description="creates, reads and polls with several gateways on one PostgreSQL")
    parser.add_argument("--gateways", type=int, nargs="+", default=[1, 2, 4], metavar="N")
    parser.add_argument("--seconds", type=float, default=20, metavar="S", help="how long each is measured")
    arguments = parser.parse_args()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()},"
        f" load average {os.getloadavg()[0]:.1f} at the start"
    )
    print(
        f"{'gateways':>9}  {'':8}{'a second':>9}{'µs gateway':>12}{'µs server':>12}{'cores gw':>10}{'cores pg':>10}"
        f"{'waiting':>11}{'busy':>9}"
    )
    for number in arguments.gateways:
        asyncio.run(measure(number, arguments.seconds))


if __name__ == "__main__":
    main()
