"""What many open generations cost: `python -m bench.open_generations [--open 20000] [--against PATH]`.

A ledger with that many open generations is written through the store, each with one task at a provider. Then a gateway
starts on it, cold, in a process of its own. Everything is measured from outside of that process: when it is ready,
whether it stays ready, how long `/health/live` takes, how many polls the provider gets, and the memory.

The provider is `bench/pending.py`, which never finishes a task. The intervals are those of FoxAPI's adapter, unless
`--interval` gives another one. With `--against`, the checkout at PATH is measured first, on a copy of the same ledger.
"""

import argparse
import asyncio
import logging
import os
import platform
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import structlog
from msgspec.structs import replace

from bench.notice import free_port
from bench.run import CREATE, KEY, PATH, Client
from gateway.app import Application
from gateway.domain.adapter.task import Status, TaskRef
from gateway.domain.generation.model import Attempt, AttemptState, Generation, Output, Task
from gateway.ids import new_id
from gateway.settings.load import load
from gateway.upstream.registry import load_adapters

AT_ONCE = 2000  # generations in one transaction while the ledger is made
EVERY_SECONDS = 0.02  # between two requests of the prober
START_SECONDS = 15.0  # after "ready": the first polls of all tasks
READY_MAX_SECONDS = 120.0
CONFIG = """
[server]
api_keys = ["env:BENCH_KEY"]
log_level = "warning"
max_open_generations = 200000
[database]
url = "sqlite:///{folder}/open.db"
[artifacts]
url = "file:{folder}/artifacts"
[providers.foxapi]
api_key = "env:BENCH_KEY"
base_url = "{upstream}"
{interval}
"""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What one gateway did with the open generations."""

    ready_seconds: float  # from the start of the process to the first 200 of `/health/ready`
    unready: int  # answers of `/health/ready` after that which were not 200, or did not come within 5 s
    at_start: tuple[float, float]  # p99 and maximum of `/health/live` in ms, in the first `START_SECONDS`
    polled: tuple[float, float]  # the same after that
    polls_per_second: float
    cpu_percent: float  # of one core, while polled
    waited_percent: float  # of the same time: the event loop could have run and had no core, because others used them
    memory_mb: float  # resident at the end

    def __str__(self) -> str:
        """One line of the table."""
        return (
            f"{self.ready_seconds:>8.2f}{self.unready:>9}"
            f"{self.at_start[0]:>10.0f}{self.at_start[1]:>8.0f}{self.polled[0]:>10.0f}{self.polled[1]:>8.0f}"
            f"{self.polls_per_second:>9.0f}{self.cpu_percent:>7.0f}{self.waited_percent:>10.0f}{self.memory_mb:>8.0f}"
        )


HEAD = (
    f"{'':24}{'ready s':>8}{'unready':>9}{'start p99':>10}{'max':>8}{'then p99':>10}{'max':>8}"
    f"{'polls/s':>9}{'CPU %':>7}{'waited %':>10}{'MB':>8}"
)


def configuration(folder: Path, upstream: str, interval: float | None) -> Path:
    """The configuration of a gateway whose ledger is in the folder."""
    config = folder / "open.toml"
    names = ("first_poll_seconds", "poll_seconds", "poll_max_seconds")
    lines = [] if interval is None else [f"{name} = {interval}" for name in names]
    config.write_text(CONFIG.format(folder=folder, upstream=upstream, interval="\n".join(lines)))
    return config


async def make_ledger(folder: Path, count: int) -> None:
    """Write a ledger with `count` open generations, each with a task that the provider accepted a minute ago.

    The gateway's own create makes the first one, so that requests and plans are real; the others are copies with ids
    and prompts of their own.
    """
    settings = load(configuration(folder, "http://127.0.0.1:9", None), {"BENCH_KEY": KEY}, load_adapters())
    application = Application(settings)
    application.engine.begin = lambda _: None  # type: ignore[method-assign, assignment]  # nothing is sent while the ledger is made
    await Client(application.asgi)("POST", PATH, CREATE)
    (template_id,) = await application.store.open_ids(datetime.now(UTC))
    template = await application.store.get(template_id)
    assert template is not None
    for start in range(0, count - 1, AT_ONCE):
        numbers = range(start, min(start + AT_ONCE, count - 1))
        await asyncio.gather(*(application.store.create(running(template, number)) for number in numbers))
    await application.store.close()


def running(template: Generation, number: int) -> Generation:
    """A copy of a generation, with a task at its first provider."""
    now = datetime.now(UTC)
    accepted_at = now - timedelta(seconds=60)
    attempt = Attempt(
        id=new_id("att_", now),
        number=1,
        route=0,
        slots=(0,),
        state=AttemptState.ACCEPTED,
        reserved_at=accepted_at,
        sent_at=accepted_at,
        accepted_at=accepted_at,
        tasks=(Task(ref=TaskRef(id=f"task-{number}"), slot=0, status=Status.IN_PROGRESS, raw_status="pending"),),
    )
    route = template.plan.routes[0]
    return replace(
        template,
        id=new_id("gen_", now),
        request=replace(template.request, prompt=f"{template.request.prompt}, number {number}"),
        status=Status.IN_PROGRESS,
        provider=route.provider,
        provider_model=route.model,
        created_at=accepted_at,
        deadline_at=now + timedelta(hours=12),
        outputs=(Output(index=0),),
        attempts=(attempt,),
    )


class Prober:
    """Asks one path at fixed moments, and notes how long after its moment each answer came.

    It asks one question at a time. Questions that became due while it waited for an answer count as well, each with
    the time that was left: a hold of one second is then not one slow answer among many quick ones.
    """

    def __init__(self, url: str, every_seconds: float) -> None:
        self._url = url
        self._every = every_seconds
        self._due = 0.0  # the moment of the question that has no answer yet
        self.answers: list[tuple[float, float]] = []  # moment of the question, seconds to the answer
        self.statuses: list[int] = []  # of the answers; 0: none came within 5 s

    async def run(self) -> None:
        """Ask until cancelled."""
        self._due = time.perf_counter()
        async with httpx.AsyncClient(timeout=5) as client:
            while True:
                await asyncio.sleep(max(self._due - time.perf_counter(), 0))
                try:
                    self.statuses.append((await client.get(self._url)).status_code)
                except httpx.HTTPError:
                    self.statuses.append(0)
                self._note(time.perf_counter())

    def _note(self, answered: float) -> None:
        while self._due < answered:
            self.answers.append((self._due, answered - self._due))
            self._due += self._every

    def milliseconds(self, since: float, until: float) -> tuple[float, float]:
        """p99 and maximum of the answers to the questions of this time. One without an answer counts until its end."""
        unanswered = (until - self._due,) if self._due < until else ()
        taken = [
            taken * 1000
            for taken in (*unanswered, *(taken for moment, taken in self.answers if since <= moment < until))
        ]
        return statistics.quantiles([*taken, *taken], n=100)[98], max(taken)


@asynccontextmanager
async def upstream() -> AsyncIterator[str]:
    """The base URL of a provider that never finishes a task."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(Path(__file__).with_name("pending.py")), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.terminate()
        await process.wait()


async def polls(base_url: str) -> int:
    """How many polls the provider has received."""
    async with httpx.AsyncClient(timeout=30) as client:
        count: int = (await client.get(f"{base_url}/counted")).json()["polls"]
        return count


async def measure(checkout: Path, folder: Path, interval: float | None, seconds: float) -> Figures:
    """Start the gateway of a checkout on the ledger in the folder, and watch it for this long after `START_SECONDS`."""
    async with upstream() as base_url:
        config, port = configuration(folder, base_url, interval), free_port()
        url = f"http://127.0.0.1:{port}"
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "serve", "--config", str(config), "--port", str(port), "--moved"),
            cwd=folder,
            env={**os.environ, "BENCH_KEY": KEY, "PYTHONPATH": str(checkout)},
            stdout=asyncio.subprocess.DEVNULL,
        )
        live, ready = Prober(f"{url}/health/live", EVERY_SECONDS), Prober(f"{url}/health/ready", 0.1)
        probing: list[asyncio.Task[None]] = []
        try:
            await until_ready(url)
            first = time.perf_counter()
            probing = [asyncio.create_task(prober.run()) for prober in (live, ready)]
            await asyncio.sleep(START_SECONDS)
            count, cpu, since = await polls(base_url), cpu_seconds(process.pid), time.perf_counter()
            waited = waited_seconds(process.pid)
            await asyncio.sleep(seconds)
            until = time.perf_counter()
            return Figures(
                ready_seconds=first - began,
                unready=sum(status != 200 for status in ready.statuses),
                at_start=live.milliseconds(first, first + START_SECONDS),
                polled=live.milliseconds(since, until),
                polls_per_second=(await polls(base_url) - count) / (time.perf_counter() - since),
                cpu_percent=(cpu_seconds(process.pid) - cpu) / (until - since) * 100,
                waited_percent=(waited_seconds(process.pid) - waited) / (until - since) * 100,
                memory_mb=memory_mb(process.pid),
            )
        finally:
            for task in probing:
                task.cancel()
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), 15)
            except TimeoutError:
                process.kill()
                await process.wait()


async def until_ready(url: str) -> None:
    """Wait for the first 200 of `/health/ready`."""
    async with httpx.AsyncClient(timeout=READY_MAX_SECONDS) as client, asyncio.timeout(READY_MAX_SECONDS):
        while True:
            try:
                if (await client.get(f"{url}/health/ready")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.02)


def cpu_seconds(pid: int) -> float:
    """CPU seconds of all threads of a process until now."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def waited_seconds(pid: int) -> float:
    """How long the main thread of a process has waited for a core until now, as Linux counts it."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def memory_mb(pid: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    """Measure an empty ledger and a full one, with this checkout and perhaps with another one before."""
    parser = argparse.ArgumentParser(description="what many open generations cost")
    parser.add_argument("--open", type=int, default=20_000, metavar="N", help="open generations")
    parser.add_argument("--seconds", type=float, default=30, metavar="S", help="how long they are watched")
    parser.add_argument("--interval", type=float, metavar="S", help="seconds between two polls of a task")
    parser.add_argument("--against", type=Path, metavar="PATH", help="measure the checkout at this path first")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    here = Path(__file__).parents[1]
    checkouts = {"before": arguments.against.resolve()} if arguments.against else {}
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()},"
        f" {datetime.now(UTC):%Y-%m-%d}; load average {os.getloadavg()[0]:.1f}"
    )
    print(HEAD)
    with tempfile.TemporaryDirectory() as folder:
        for count in (1, arguments.open):
            made = Path(folder) / f"made-{count}"
            made.mkdir()
            asyncio.run(make_ledger(made, count))
            for name, checkout in {**checkouts, "now": here}.items():
                copy = Path(folder) / f"{name}-{count}"
                shutil.copytree(made, copy)
                figures = asyncio.run(
                    measure(checkout, copy, arguments.interval, arguments.seconds if count > 1 else 2)
                )
                print(f"{f'{count:,} open, {name}':24}{figures}", flush=True)


if __name__ == "__main__":
    main()
