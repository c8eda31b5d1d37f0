"""Processes that are measured from outside: where they run, what they cost, how much memory they have.

Everything is read from Linux: the CPU clock of a process, which counts nanoseconds of all its threads, also of those
that have ended, and `/proc`. A process and its children are measured together.
"""

import asyncio
import contextlib
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import httpx
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
READY_MAX_SECONDS = 300.0
END_MAX_SECONDS = 3.0
ASKED_EVERY_SECONDS = 0.01  # whether a process is ready
PAGE = os.sysconf("SC_PAGE_SIZE")
_ALLOWED = sorted(os.sched_getaffinity(0))
MEASURED_CORE, OTHER_CORE = _ALLOWED[0], _ALLOWED[-1]  # of what is measured, and of everything else


@dataclass(frozen=True)
class Process:
    """A running process with its children."""

    pid: int
    url: str
    ready_seconds: float  # from its start to the first answer of its readiness
    log: Path = field(compare=False)  # what it wrote

    def cpu_seconds(self) -> float:
        """CPU seconds until now, of the process and of its children that live."""
        return sum(map(cpu_seconds, family(self.pid)))

    def waited_seconds(self) -> float:
        """How long its threads could have run and had no core, because others used it."""
        return sum(
            int(thread.read_text().split()[1]) / 1e9
            for pid in family(self.pid)
            for thread in Path(f"/proc/{pid}/task").glob("*/schedstat")
        )

    def memory_mb(self) -> float:
        """Resident memory."""
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in family(self.pid)) * PAGE / 2**20

    def memory_kb(self) -> float:
        """The same in KB."""
        return self.memory_mb() * 1024


def cpu_seconds(pid: int) -> float:
    """CPU seconds of one process until now. Raises `OSError` if it has ended."""
    return time.clock_gettime(~pid << 3 | 2)  # clock_getcpuclockid(3) of Linux


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    children = [
        int(child) for listing in Path(f"/proc/{pid}/task").glob("*/children") for child in listing.read_text().split()
    ]
    return [pid, *(member for child in children for member in family(child))]


@asynccontextmanager
async def running(
    command: Sequence[str],
    url: str,
    folder: Path,
    *,
    core: int | None = None,
    ready: str = "",
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Process]:
    """Run a command until the end of the block. The block begins when the path `ready` of `url` answers with 200.

    `core` is the only one that the process may use; without it, those of the caller.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.txt"
    mine = os.sched_getaffinity(0)
    began = time.perf_counter()
    if core is not None:
        os.sched_setaffinity(0, {core})  # a process inherits it, before its first instruction
    try:
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=folder,
                env={**os.environ, **(environment or {})},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
    finally:
        os.sched_setaffinity(0, mine)
    try:
        await until_ready(f"{url}{ready}", process, log)
        yield Process(process.pid, url, time.perf_counter() - began, log)
    finally:
        if process.returncode is None:
            members = family(process.pid)
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), END_MAX_SECONDS)
            for member in members:  # granian's worker goes on when its process is gone
                with contextlib.suppress(ProcessLookupError):
                    os.kill(member, signal.SIGKILL)
            await process.wait()


async def until_ready(url: str, process: asyncio.subprocess.Process, log: Path) -> None:
    """Wait until a URL answers with 200; raises with what the process wrote to `log` if it ends before that."""
    async with httpx.AsyncClient(timeout=READY_MAX_SECONDS) as client, asyncio.timeout(READY_MAX_SECONDS):
        while process.returncode is None:
            try:
                if (await client.get(url)).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(ASKED_EVERY_SECONDS)
    raise RuntimeError(f"{url} did not start:\n{log.read_text()[-3000:]}")


def free_port() -> int:
    """A port on which no process listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def machine() -> str:
    """What is measured, and on what, in one line."""
    commit = subprocess.run(  # noqa: S603  # a fixed command
        ["git", "-C", str(ROOT), "rev-parse", "--short=8", "HEAD"],  # noqa: S607  # the git of the developer
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()},"
        f" {datetime.now(UTC):%Y-%m-%d}, commit {commit or 'unknown'},"
        f" load average {os.getloadavg()[0]:.1f} at the start"
    )


def installed_mb() -> float:
    """The size of the gateway with every package that it needs at run time, as installed here."""
    seen: set[str] = set()
    waiting = ["video-gateway"]
    total = sum(path.stat().st_size for part in ("gateway", "providers") for path in _files(ROOT / part))
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        distribution = metadata.distribution(name)
        needed = map(Requirement, distribution.requires or ())
        waiting += [
            each.name.lower().replace("_", "-")
            for each in needed
            if not each.marker or each.marker.evaluate({"extra": ""})
        ]
        if name != "video-gateway":
            total += sum(size for file in distribution.files or () if (size := _size(Path(str(file.locate())))))
    return total / 2**20


def folder_mb(folder: Path) -> float:
    """The size of all files of a folder."""
    return sum(path.stat().st_size for path in _files(folder)) / 2**20


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink() and path.suffix != ".pyc"]


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() and path.suffix != ".pyc" else 0


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module with this Python."""
    return [sys.executable, "-m", module, *arguments]
