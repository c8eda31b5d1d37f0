"""Whether every open task is polled at its interval: `python -m bench.readings [TASKS]`.

The gateway is a separate process with default settings. The provider accepts every submit, never finishes a task and
takes 300 ms for each poll. Every gap between two polls of a task is compared with the longest interval of FoxAPI's
adapter, 15 s.
"""

import asyncio
import itertools
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import httpx

from bench.load import KEY
from bench.notice import PATH, process
from bench.processes import free_port

READING_SECONDS = 0.3
INTERVAL_SECONDS = 15.0
BOUND = 1.2
SETTLING_SECONDS = 60.0  # until the intervals have grown to their maximum
MEASURED_SECONDS = 60.0


class Upstream:
    """The submit and the query of FoxAPI, with the fewest possible fields."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.submits = 0
        self.complete = asyncio.Event()  # set when `count` tasks were submitted
        self.readings: dict[str, list[float]] = defaultdict(list)  # by task: the time of each poll

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request after another on a connection."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                lengths = [int(line[15:]) for line in head.split("\r\n") if line.startswith("content-length:")]
                await reader.readexactly(sum(lengths))
                answer = json.dumps(await self.answer(head.split(" ", 2)[:2])).encode()
                status = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                writer.write(status % len(answer) + answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def answer(self, request: list[str]) -> dict[str, object]:
        """The answer to a submit, or, after 300 ms, to a query."""
        method, path = request
        if method == "post":
            self.submits += 1
            if self.submits == self.count:
                self.complete.set()
            return {"id": f"task-{self.submits}", "status": "pending"}
        task = path.rpartition("/")[2].partition("?")[0]
        self.readings[task].append(time.monotonic())
        await asyncio.sleep(READING_SECONDS)
        return {"id": task, "status": "processing", "results": None, "error": None}


async def create(client: httpx.AsyncClient, count: int) -> None:
    """Create `count` generations, 16 at the same time."""
    left = iter(range(count))

    async def worker() -> None:
        for number in left:
            body = {"model": "foxapi/kling-v3-text-to-video", "prompt": f"A beach. {number}"}
            (await client.post(PATH, json=body)).raise_for_status()

    await asyncio.gather(*(worker() for _ in range(16)))


async def measure(folder: Path, count: int) -> list[float]:
    """The gaps between the polls of each task, in seconds."""
    upstream, port = Upstream(count), free_port()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0, backlog=4096)
    base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    config = folder / "readings.toml"
    config.write_text(
        f"""
        [server]
        host = "127.0.0.1"
        port = {port}
        api_keys = ["env:BENCH_KEY"]
        log_level = "warning"
        [database]
        url = "sqlite:///{folder}/readings.db"
        [artifacts]
        url = "file:{folder}/artifacts"
        [providers.foxapi]
        api_key = "env:BENCH_KEY"
        base_url = "{base}"
        """
    )
    gateway = f"http://127.0.0.1:{port}"
    headers = {"authorization": f"Bearer {KEY}"}
    async with (
        process(f"{gateway}/health/ready", "gateway", "serve", "--config", str(config), cwd=folder),
        httpx.AsyncClient(base_url=gateway, headers=headers, timeout=90) as client,
    ):
        await create(client, count)
        await upstream.complete.wait()
        await asyncio.sleep(SETTLING_SECONDS)
        since = time.monotonic()
        await asyncio.sleep(MEASURED_SECONDS)
        until = time.monotonic()
    server.close()
    gaps: list[float] = []
    for moments in upstream.readings.values():
        seen = [moment for moment in moments if moment < until]
        gaps += [later - sooner for sooner, later in itertools.pairwise(seen) if later >= since]
        gaps.append(until - seen[-1])  # shows a task that is not polled any more
    return gaps


def main() -> None:
    """Measure and print the figures."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{machine}, {datetime.now(UTC):%Y-%m-%d}")
    with tempfile.TemporaryDirectory() as folder:
        gaps = asyncio.run(measure(Path(folder), count))
    p99 = statistics.quantiles(gaps, n=100)[98]
    late = sum(gap > INTERVAL_SECONDS * BOUND for gap in gaps)
    print(f"{count} open tasks, {READING_SECONDS * 1000:g} ms a reading, interval {INTERVAL_SECONDS:g} s")
    print(f"between two readings, s: p50 {statistics.median(gaps):.1f}, p99 {p99:.1f}, most {max(gaps):.1f}")
    print(f"later than {BOUND:g} x the interval: {late} of {len(gaps)}")


if __name__ == "__main__":
    main()
