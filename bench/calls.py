"""What calls of clients cost with server and network: creates stored, submitted and accepted, reads, and lists.

The systems are measured one after the other, round after round, so that a slow moment of the machine affects all.
"""

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench import peers
from bench.effort import Effort
from bench.load import Measured, Prober, closed_loop, once, open_loop, request
from bench.plots import Bars, Lines
from bench.processes import Process, installed_mb
from bench.report import Cell, Section, Table, middle, spread
from bench.systems import GATEWAY, PATH, System
from bench.upstream import Provider, provider

BUSY = 64  # connections of the loop whose figures are compared
WARMING_SECONDS = 0.5
ARRIVAL_MAX_SECONDS = 120.0  # of the submits of the last creates
QUIET_SECONDS = 0.15  # in which a process that has nothing left to do uses less than `QUIET_SHARE` of its core
QUIET_SHARE = 0.15
PROBED_EVERY_SECONDS = 0.02


@dataclass(frozen=True)
class Run:
    """One system under one load."""

    cpu_us: float  # of the system, for each request with all that follows it
    per_second: float  # until everything that follows was done
    p50_ms: float  # of the answers
    p99_ms: float
    held_ms: float  # the longest answer to a health check meanwhile; 0: nobody asked
    load_share: float  # of the core of the load that load and provider used
    waited_share: float  # of the time in which the system could have run and had no core


class Running:
    """A system that runs, and the id of one generation of it."""

    def __init__(self, system: System, process: Process, provider: Provider) -> None:
        self.system, self.process, self._provider = system, process, provider
        self._create = itertools.repeat(system.create(provider.url))
        self._read: bytes | None = None

    async def begin(self) -> None:
        """Warm up, and make the generation that is read."""
        body = await once(self.process.url, next(self._create))
        name = msgspec.json.decode(body).get("id", "")
        self._read = None if self.system.read is None else self.system.read(name)
        await closed_loop(self.process.url, self._create, connections=16, seconds=WARMING_SECONDS)
        await self._quiet()

    @property
    def reads(self) -> bool:
        """Whether it can be asked for what it made."""
        return self._read is not None

    async def creates(self, connections: int, seconds: float) -> Run:
        """Creates in a closed loop."""
        return await self._run(
            lambda: closed_loop(self.process.url, self._create, connections=connections, seconds=seconds),
            submits=self.system.submits,
        )

    async def creates_at(self, rate: float, seconds: float) -> Run:
        """Creates in an open loop, with health checks beside it."""
        prober = Prober(self.process.url, request("GET", "/health/live"), PROBED_EVERY_SECONDS)
        probing = asyncio.create_task(prober.run())
        began = time.perf_counter()
        try:
            return await self._run(
                lambda: open_loop(self.process.url, self._create, per_second=rate, seconds=seconds),
                submits=self.system.submits,
                held=lambda: prober.milliseconds(began, time.perf_counter())[1],
            )
        finally:
            probing.cancel()
            with suppress(asyncio.CancelledError):
                await probing

    async def gets(self, connections: int, seconds: float, message: bytes | None = None) -> Run:
        """Reads of one generation, or another request, in a closed loop."""
        message = message or self._read
        assert message is not None
        messages = itertools.repeat(message)
        return await self._run(
            lambda: closed_loop(self.process.url, messages, connections=connections, seconds=seconds), submits=False
        )

    async def _run(
        self, load: Callable[[], Awaitable[Measured]], *, submits: bool, held: Callable[[], float] = lambda: 0.0
    ) -> Run:
        before = await self._provider.requests()
        cpu, waited, by_provider = self._clocks()
        measured = await load()
        longest = held()
        if submits:
            await self._arrived(before + measured.count)
        wall = time.perf_counter() - measured.began
        busy = self._clocks()
        if submits:
            await self._quiet()  # the acceptance of the last submits
        return Run(
            cpu_us=(self._clocks()[0] - cpu) / measured.count * 1e6,
            per_second=measured.count / wall,
            p50_ms=measured.milliseconds(0.5),
            p99_ms=measured.milliseconds(0.99),
            held_ms=longest,
            load_share=(measured.own_cpu_seconds + busy[2] - by_provider) / wall,
            waited_share=(busy[1] - waited) / wall,
        )

    def _clocks(self) -> tuple[float, float, float]:
        return self.process.cpu_seconds(), self.process.waited_seconds(), self._provider.process.cpu_seconds()

    async def _arrived(self, count: int) -> None:
        async with asyncio.timeout(ARRIVAL_MAX_SECONDS):
            while await self._provider.requests() < count:  # noqa: ASYNC110  # another process, so without an event
                await asyncio.sleep(0.02)

    async def _quiet(self) -> None:
        for _ in range(40):
            cpu = self.process.cpu_seconds()
            await asyncio.sleep(QUIET_SECONDS)
            if self.process.cpu_seconds() - cpu < QUIET_SECONDS * QUIET_SHARE:
                return


@asynccontextmanager
async def started(folder: Path, systems: Sequence[System]) -> AsyncIterator[tuple[Provider, list[Running]]]:
    """A provider and all systems, each warm."""
    async with AsyncExitStack() as stack:
        started_provider = await stack.enter_async_context(provider(folder / "provider"))
        started_systems = []
        for system in systems:
            place = folder / system.name.replace(" ", "-")
            process = await stack.enter_async_context(system.start(place, started_provider.url))
            started_systems.append(Running(system, process, started_provider))
            await started_systems[-1].begin()
        yield started_provider, started_systems


Runs = Mapping[tuple[int, str], list[Run]]  # by connections or rate, and by the name of the system


async def requests(folder: Path, systems: Sequence[System], effort: Effort) -> list[Section]:
    """Measure creates, reads and lists; the memory and the start of each system beside them."""
    creates: defaultdict[tuple[int, str], list[Run]] = defaultdict(list)
    offered: defaultdict[tuple[int, str], list[Run]] = defaultdict(list)
    reads: defaultdict[tuple[int, str], list[Run]] = defaultdict(list)
    lists: defaultdict[tuple[int, str], list[Run]] = defaultdict(list)
    async with started(folder, systems) as (of_all, running):
        idle = [(each.system.name, each.process.ready_seconds, each.process.memory_mb()) for each in running]
        for _ in range(effort.rounds):
            for connections, each in itertools.product(effort.connections, running):
                creates[connections, each.system.name].append(await each.creates(connections, effort.closed_seconds))
            for rate, each in itertools.product(effort.rates, [each for each in running if each.system.submits]):
                if each.system.durable:
                    offered[rate, each.system.name].append(await each.creates_at(rate, effort.open_seconds))
            for connections, each in itertools.product((1, BUSY), running):
                if each.reads:
                    reads[connections, each.system.name].append(await each.gets(connections, effort.closed_seconds))
                if each.system.lists:
                    message = request("GET", f"{PATH}?limit=20")
                    lists[connections, each.system.name].append(
                        await each.gets(connections, effort.closed_seconds, message)
                    )
        memory = {each.system.name: each.process.memory_mb() for each in running}
    sizes = {GATEWAY.name: installed_mb(), **peers.sizes()}
    note = f"the provider: {of_all.name}; every system on one core, load and provider on the other one"
    return [
        Section(
            "creates",
            [closed_table("create, stored, submitted, accepted", creates)],
            [_bars("creates", "CPU of a create, 64 connections", creates)],
            [note, "bare Litestar stores and sends nothing; nginx, LiteLLM and Portkey store nothing"],
        ),
        Section(
            "offered",
            [_offered_table(offered)],
            [_lines(offered)],
            ["held: the longest answer of /health/live, asked 50 times a second on a connection of its own"],
        ),
        Section(
            "reads",
            [closed_table("read by id", reads), closed_table("list, 20 of many", lists)],
            [_bars("reads", "CPU of a read, 64 connections", reads)],
        ),
        Section(
            "start",
            [
                Table(
                    "start and memory",
                    ("ready s", "MB then", "MB after all creates", "MB installed"),
                    [(name, (ready, then, memory[name], sizes.get(name))) for name, ready, then in idle],
                )
            ],
        ),
    ]


def closed_table(title: str, runs: Runs) -> Table:
    """One row for each system and number of connections, with the ratio to the prototype if it was measured as well."""
    rows: list[tuple[str, tuple[Cell, ...]]] = []
    for (connections, name), measured in sorted(runs.items(), key=lambda item: item[0][0]):
        cpu = middle(run.cpu_us for run in measured)
        yardstick = runs.get((connections, "prototype"))
        ratio = None if yardstick is None else cpu / middle(run.cpu_us for run in yardstick)
        rows.append(
            (
                f"{connections:>4} connections, {name}" if connections > 1 else f"   1 connection, {name}",
                (
                    cpu,
                    spread([run.cpu_us for run in measured]),
                    ratio,
                    *(middle(getattr(run, field) for run in measured) for field in ("per_second", "p50_ms", "p99_ms")),
                    _percent(run.load_share for run in measured),
                    _percent(run.waited_share for run in measured),
                ),
            )
        )
    columns = ("CPU µs", "lowest-highest", "x prototype", "a second", "p50 ms", "p99 ms", "load %", "waited %")
    return Table(title, columns, rows)


def _offered_table(runs: Runs) -> Table:
    rows: list[tuple[str, tuple[Cell, ...]]] = [
        (
            f"{rate:>4} a second, {name}",
            (
                *(
                    middle(getattr(run, field) for run in measured)
                    for field in ("per_second", "p50_ms", "p99_ms", "held_ms", "cpu_us")
                ),
                _percent(run.waited_share for run in measured),
            ),
        )
        for (rate, name), measured in sorted(runs.items(), key=lambda item: item[0][0])
    ]
    return Table("creates at a rate", ("done a second", "p50 ms", "p99 ms", "held ms", "CPU µs", "waited %"), rows)


def _percent(shares: Iterable[float]) -> str:
    return f"{middle(shares) * 100:.0f}"


def _bars(name: str, title: str, runs: Runs) -> Bars:
    values = {system: middle(run.cpu_us for run in measured) for (at, system), measured in runs.items() if at == BUSY}
    return Bars(name, title, "microseconds", values)


def _lines(runs: Runs) -> Lines:
    lines: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for (rate, name), measured in sorted(runs.items(), key=lambda item: item[0][0]):
        lines[name].append((rate, middle(run.p99_ms for run in measured)))
    return Lines("offered", "Answers to creates that arrive at random", "p99, milliseconds", "creates a second", lines)
