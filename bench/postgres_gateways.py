"""Several gateways on one PostgreSQL, each in a process of its own, for benchmarks that measure them from outside."""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg

from bench.ledgers import create_first, running
from bench.load import KEY
from bench.processes import cpu_seconds, free_port, until_ready
from bench.upstream import Provider, provider
from gateway.app import Application
from gateway.settings.load import load
from gateway.upstream.registry import load_adapters
from tests.postgres_server import Server

AT_ONCE = 500  # generations in one piece while a ledger is made
CONFIG = """
[server]
api_keys = ["env:BENCH_KEY"]
log_level = "warning"
max_open_generations = 200000
[database]
url = "{url}"
[artifacts]
url = "file:{folder}/artifacts"
shared = true
[providers.foxapi]
api_key = "env:BENCH_KEY"
base_url = "{upstream}"
"""
# The open generations whose replica is not among the living ones.
UNDRIVEN = """
select count(*) from generations where status in ('queued', 'in_progress')
and (replica is null or replica not in (select id from replicas where replica_lives(id)))
"""
DRIVEN = "select coalesce(sum(driven), 0), count(*) from replicas where replica_lives(id)"


@contextmanager
def server() -> Iterator[tuple[str, int]]:
    """A new server that writes to its disk before it confirms: the URL of a database in it, and its process id."""
    started = Server()
    settings = {"fsync": "on", "full_page_writes": "on", "wal_level": "replica", "shared_buffers": "256MB"}
    try:
        started.start(**settings, max_wal_size="2GB", max_connections="200")
        pid = int((started.folder / "data" / "postmaster.pid").read_text().split()[0])
        yield f"{started.url}/postgres", pid
    finally:
        started.remove()


def server_cpu_seconds(pid: int) -> float:
    """CPU seconds of a server and of its processes until now. One that has ended counts with its parent."""
    total = cpu_seconds(pid)
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    total += (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            total += cpu_seconds(int(child))
        except OSError:  # it has ended meanwhile
            continue
    return total


class Gateways:
    """Gateway processes with one configuration."""

    def __init__(self, folder: Path, url: str, upstream: str) -> None:
        self._folder = folder
        self._config = folder / "gateways.toml"
        self._config.write_text(CONFIG.format(url=url, folder=folder, upstream=upstream))
        self.urls: list[str] = []
        self.processes: list[asyncio.subprocess.Process] = []

    async def start(self, count: int) -> None:
        """Start so many gateways, and return when all of them are ready."""
        waiting = []
        for _ in range(count):
            port = free_port()
            log = self._folder / f"{port}.txt"
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "gateway", "serve", "--config", str(self._config), "--port", str(port)),
                cwd=self._folder,
                env={**os.environ, "BENCH_KEY": KEY, "PYTHONPATH": str(Path(__file__).parents[1])},
                stdout=log.open("wb"),
                stderr=asyncio.subprocess.STDOUT,
            )
            self.processes.append(process)
            self.urls.append(f"http://127.0.0.1:{port}")
            waiting.append(until_ready(f"{self.urls[-1]}/health/ready", process, log))
        await asyncio.gather(*waiting)

    def cpu_seconds(self) -> float:
        """CPU seconds of all of them until now."""
        return sum(cpu_seconds(process.pid) for process in self.processes)

    async def end(self, process: asyncio.subprocess.Process, how: signal.Signals) -> None:
        """Send a signal to one of them, and wait for its end."""
        place = self.processes.index(process)
        del self.processes[place], self.urls[place]
        process.send_signal(how)
        try:
            await asyncio.wait_for(process.wait(), 60)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def stop(self) -> None:
        """End all of them."""
        await asyncio.gather(*(self.end(process, signal.SIGTERM) for process in list(self.processes)))

    async def make_open(self, count: int) -> None:
        """Store so many open generations, each with one task that the provider has accepted."""
        application = Application(load(self._config, {"BENCH_KEY": KEY}, load_adapters()))
        application.engine.begin = lambda _: None  # type: ignore[method-assign, assignment]  # nothing is sent meanwhile
        application.engine.admit = lambda _: nullcontext()  # type: ignore[method-assign, assignment]  # it has no row of a replica
        await create_first(application)
        store = application.store
        (first,) = await store.open_ids(datetime.now(UTC))
        template = await store.get(first)
        assert template is not None
        for start in range(0, count - 1, AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, count - 1))
            await asyncio.gather(*(store.create(running(template, number)) for number in numbers))
        await store.close()


@asynccontextmanager
async def gateways(url: str, upstream: str) -> AsyncIterator[Gateways]:
    """Gateways on a database, none of which is started yet; all are stopped at the end."""
    with tempfile.TemporaryDirectory() as folder:
        made = Gateways(Path(folder), url, upstream)
        try:
            yield made
        finally:
            await made.stop()


@asynccontextmanager
async def source() -> AsyncIterator[Provider]:
    """A provider that never finishes a task."""
    with tempfile.TemporaryDirectory() as folder:
        async with provider(Path(folder)) as started:
            yield started


async def until_driven(connection: Any, count: int, seconds: float = 300) -> None:
    """Wait until living replicas drive so many generations."""
    async with asyncio.timeout(seconds):
        while (await connection.fetchrow(DRIVEN))[0] < count or await connection.fetchval(UNDRIVEN):  # noqa: ASYNC110  # another process changes it
            await asyncio.sleep(0.5)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    """A connection of the benchmark's own."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()
