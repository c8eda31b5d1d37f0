"""Runs attacks against a gateway, and measures from outside what they cost: memory, answers to others, connections."""

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

LEAST_SECONDS = 1.0  # of a measurement, so that there are answers to count
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
        match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert match is not None
        return int(match[1]) * 1024

    def descriptors(self) -> int:
        """How many files and connections the process has open."""
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())


@dataclass(frozen=True)
class Attack:
    """What one connection sends, again and again until its budget is used up or the server ends the connection."""

    name: str
    sends: str  # for a reader: what is sent
    pieces: Callable[[], Iterator[bytes]]  # an endless or a short sequence; after a short one the connection is held
    pause: float = 0.0  # seconds between two pieces
    reads: bool = True  # False: the answers are left unread


@dataclass
class Sent:
    """What became of one connection."""

    count: int = 0  # bytes
    seconds: float = 0.0
    status: bytes = b""  # of the first answer; empty without one
    ended: bool = False  # by the server, before the limits of the run


@dataclass
class Outcome:
    """What an attack cost."""

    attack: str
    sent: int  # bytes, over all connections
    grown: int  # bytes of memory that the process has more than before
    p99_ms: float  # of `/health/live` during the attack
    longest_ms: float
    failures: int  # questions to `/health/live` without a 200
    ended: int  # connections that the server ended during the attack
    free_seconds: float | None  # after the attack, until the process had no more descriptors than before; None: never
    statuses: set[bytes] = field(default_factory=set)


async def attack_once(
    attack: Attack, address: tuple[str, int], *, budget: int, seconds: float, hold: float | None = None
) -> Sent:
    """Attack over one connection: at most `budget` bytes and about `seconds`, or until the server ends it.

    After the last byte, the connection is held for `hold` seconds; without it, until `seconds` are over.
    """
    sent = Sent()
    began = time.monotonic()
    async with _connection(address) as (reader, writer):
        reading = asyncio.create_task(_read(reader, sent)) if attack.reads else None
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(seconds):
                for piece in attack.pieces():
                    if sent.count + len(piece) > budget or sent.ended:
                        break
                    writer.write(piece)
                    await writer.drain()
                    sent.count += len(piece)
                    await asyncio.sleep(attack.pause)
                async with asyncio.timeout(hold):
                    await (reading if reading is not None else _until_lost(writer))
        sent.ended = sent.ended or time.monotonic() - began < seconds
        if reading is not None:
            reading.cancel()
    sent.seconds = time.monotonic() - began
    return sent


async def _read(reader: asyncio.StreamReader, sent: Sent) -> None:
    with suppress(ConnectionError):
        while chunk := await reader.read(65536):
            sent.status = sent.status or chunk[9:12]
    sent.ended = True


async def _until_lost(writer: asyncio.StreamWriter) -> None:
    """Wait for a reset; a client that does not read learns of an end in no other way."""
    while True:
        writer.write(b"\r\n")
        await writer.drain()
        await asyncio.sleep(0.1)


@asynccontextmanager
async def _connection(address: tuple[str, int]) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(*address, limit=2**16)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


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


async def measure(
    attack: Attack, target: Target, *, connections: int = 1, budget: int = 100_000_000, seconds: float = 20.0
) -> Outcome:
    """Attack over so many connections at once, each with this budget in bytes, and measure what it costs.

    After the attack it waits up to 60 s until the process has closed its side of every connection.
    """
    memory, descriptors = target.resident(), target.descriptors()
    async with probing(target) as answers:
        runs = [attack_once(attack, target.address, budget=budget, seconds=seconds) for _ in range(connections)]
        sent, _ = await asyncio.gather(asyncio.gather(*runs), asyncio.sleep(LEAST_SECONDS))
    latencies = sorted(map(abs, answers))
    return Outcome(
        attack=attack.name,
        sent=sum(each.count for each in sent),
        grown=target.resident() - memory,
        p99_ms=latencies[int(len(latencies) * 0.99)] * 1000 if latencies else 0.0,
        longest_ms=max(latencies, default=0.0) * 1000,
        failures=sum(seconds < 0 for seconds in answers),
        ended=sum(each.ended for each in sent),
        free_seconds=await _freed(target, descriptors, 60.0),
        statuses={each.status for each in sent},
    )


async def _freed(target: Target, before: int, seconds: float) -> float | None:
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        if target.descriptors() <= before:
            return passed
        await asyncio.sleep(0.05)
    return None


def row(outcome: Outcome) -> str:
    """A line of a table: attack, bytes sent, memory, p99 and longest of `/health/live`, failures, ended, free after."""
    free = "never" if outcome.free_seconds is None else f"{outcome.free_seconds:.1f} s"
    statuses = b" ".join(sorted(outcome.statuses)).decode() or "-"
    return (
        f"{outcome.attack:<34} {outcome.sent / 1e6:>7.1f} MB {outcome.grown / 1e6:>+7.1f} MB"
        f" {outcome.p99_ms:>6.0f} ms {outcome.longest_ms:>6.0f} ms {outcome.failures:>3} {outcome.ended:>4} {free:>7}"
        f"  {statuses}"
    )
