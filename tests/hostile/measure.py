"""Measures from outside what happens to a gateway meanwhile: memory, answers to others, connections."""

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

LEAST_SECONDS = 1.0  # of a measurement, so that there are answers to count
FREE_SECONDS = 60.0  # in which the connections of an attack have to be free again
LOOK_SECONDS = 0.02  # between two looks at the memory
LISTENING = "0A"  # the state of a socket in `/proc/net/tcp`
PROBE = Path(__file__).with_name("probe.py")


@dataclass(frozen=True)
class Target:
    """A gateway that runs on this machine: its URL, and the number of its process."""

    url: str
    pid: int

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        return parts.hostname, parts.port or 80

    def resident(self) -> int:
        """Bytes of memory that the process has."""
        return _resident(self.pid)

    def largest_child(self) -> int:
        """Bytes of memory that the largest of the processes has that it has started, or that these have started."""
        return max(map(_resident, _descendants(self.pid)), default=0)

    def connections(self) -> int:
        """How many connections to its port a process still holds on this side, as `/proc/net/tcp` lists them."""
        port = f":{self.address[1]:04X}"
        rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
        return sum(row[1].endswith(port) and row[3] != LISTENING and row[9] != "0" for row in rows)


def _resident(pid: int) -> int:
    with suppress(OSError):
        match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        return int(match[1]) * 1024 if match else 0
    return 0  # it has just ended


def _descendants(pid: int) -> Iterator[int]:
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (thread / "children").read_text().split()):
                yield child
                yield from _descendants(child)


@dataclass
class Cost:
    """What something cost a gateway."""

    grown: int = 0  # bytes of memory that the process has more than before
    peak: int = 0  # bytes that it had more at some moment
    child: int = 0  # most bytes of a process that it has started
    p99_ms: float = 0.0  # of `/health/live` meanwhile
    longest_ms: float = 0.0
    failures: int = 0  # questions to `/health/live` without a 200
    free_seconds: float | None = 0.0  # until the process had no more connections than before; None: never


@asynccontextmanager
async def costing(target: Target) -> AsyncIterator[Cost]:
    """What the block costs the gateway: the value is filled in after the block.

    After the block it waits up to `FREE_SECONDS` until the process has closed its side of every connection.
    """
    cost = Cost()
    memory, connections = target.resident(), target.connections()
    async with probing(target) as answers:
        watching = asyncio.create_task(_watch(target, memory, cost))
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(LEAST_SECONDS))
            yield cost
        watching.cancel()
    latencies = sorted(map(abs, answers))
    cost.grown = target.resident() - memory
    cost.peak = max(cost.peak, cost.grown)
    cost.p99_ms = latencies[int(len(latencies) * 0.99)] * 1000 if latencies else 0.0
    cost.longest_ms = max(latencies, default=0.0) * 1000
    cost.failures = sum(seconds < 0 for seconds in answers)
    cost.free_seconds = await _freed(target, connections, FREE_SECONDS)


async def _watch(target: Target, before: int, cost: Cost) -> None:
    while True:
        cost.peak = max(cost.peak, target.resident() - before)
        cost.child = max(cost.child, target.largest_child())
        await asyncio.sleep(LOOK_SECONDS)


async def _freed(target: Target, before: int, seconds: float) -> float | None:
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        if target.connections() <= before:
            return passed
        await asyncio.sleep(0.05)
    return None


@asynccontextmanager
async def probing(target: Target) -> AsyncIterator[list[float]]:
    """Ask `/health/live` all the time; after the block, the list has the seconds of each answer, as `probe.py` does."""
    answers: list[float] = []
    host, port = target.address
    process = subprocess.Popen(  # noqa: S603, ASYNC220  # our own program
        [sys.executable, str(PROBE), host, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    await asyncio.to_thread(process.stdout.readline)  # the first answer has come
    try:
        yield answers
    finally:
        output, _ = await asyncio.to_thread(process.communicate)
        answers += json.loads(output)
