"""How the gateway's costs grow with what it has stored, and with the generations that are open.

Each row is a cold start on a ledger of its own. The provider never finishes a task and notes when each was polled; the
intervals are those of FoxAPI's adapter, at most 15 s.
"""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from time import perf_counter

import msgspec

from bench.calls import Run, Running
from bench.effort import Effort
from bench.ledgers import copied
from bench.load import Prober, once, request
from bench.plots import Lines
from bench.report import Cell, Section, Table, middle
from bench.systems import GATEWAY, PATH, System, gateway
from bench.upstream import provider, responder

START_SECONDS = 10.0  # after "ready": the first polls of all tasks
WATCHED_SECONDS = 15.0  # one interval
PROBED_EVERY_SECONDS = 0.02
CONNECTIONS = 16


async def growth(folder: Path, systems: Sequence[System], effort: Effort) -> list[Section]:
    """Measure the gateways among the systems: open generations first, then stored ones."""
    gateways = [each for each in systems if each.lists]
    watched = [
        (
            f"{opened:>7,} open, {stored:>9,} stored, {system.name}",
            opened,
            await _watched(folder / f"{system.name}-{stored}-{opened}", system, stored, opened),
        )
        for (stored, opened), system in itertools.product(effort.ledgers, gateways)
    ]
    columns = (
        "ready s", "MB", "live p99 ms", "held ms", "polls a second", "CPU %", "CPU µs a poll", "gap p99 s", "most s",
        "create p99 ms", "read p99 ms", "list p99 ms", "waited %",
    )  # fmt: skip
    return [
        Section("open", [Table("cold start", columns, [(name, cells) for name, _, cells in watched])]),
        await _stored(folder, gateways, effort),
    ]


async def _watched(folder: Path, system: System, stored: int, opened: int) -> list[Cell]:
    await copied(folder, stored, opened)
    options = system.start.keywords if isinstance(system.start, partial) else {}
    async with (
        responder(folder / "provider") as upstream,
        gateway(folder, upstream.url, poll_seconds=None, **options) as process,
    ):
        prober = Prober(process.url, request("GET", "/health/live"), PROBED_EVERY_SECONDS)
        probing = asyncio.create_task(prober.run())
        try:
            await asyncio.sleep(START_SECONDS)
            await once(upstream.url, request("POST", "/lateness"))
            began, count, cpu = perf_counter(), await upstream.requests(), process.cpu_seconds()
            waited = process.waited_seconds()
            await asyncio.sleep(WATCHED_SECONDS)
            done = await upstream.requests() - count
            took, spent = perf_counter() - began, process.cpu_seconds() - cpu
            waited = process.waited_seconds() - waited
            late = msgspec.json.decode(await once(upstream.url, request("GET", "/lateness")))
            p99, held = prober.milliseconds(began, began + took)
        finally:
            probing.cancel()
            with suppress(asyncio.CancelledError):
                await probing
        memory = process.memory_mb()
        running = Running(system, process, upstream)
        await running.begin()
        creates = await running.creates(CONNECTIONS, 2)
        reads = await running.gets(CONNECTIONS, 1)
        lists = await running.gets(CONNECTIONS, 1, request("GET", f"{PATH}?limit=20"))
        return [
            process.ready_seconds,
            memory,
            p99,
            held,
            done / took,
            f"{spent / took * 100:.0f}",
            spent / done * 1e6 if done > took * 10 else None,
            late["p99"] if opened else None,
            late["most"] if opened else None,
            creates.p99_ms,
            reads.p99_ms,
            lists.p99_ms,
            f"{waited / took * 100:.0f}",
        ]


async def _stored(folder: Path, gateways: Sequence[System], effort: Effort) -> Section:
    """The calls of clients at each number of stored generations, in rounds."""
    counts = sorted({stored for stored, opened in effort.ledgers if opened == 0})
    runs: defaultdict[tuple[str, int, str], list[Run]] = defaultdict(list)
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(provider(folder / "provider"))
        running = []
        for stored, system in itertools.product(counts, gateways):
            place = folder / f"stored-{system.name}-{stored}"
            await copied(place, stored, 0)
            process = await stack.enter_async_context(system.start(place, upstream.url))
            running.append((stored, Running(system, process, upstream)))
            await running[-1][1].begin()
        for _, (stored, each) in itertools.product(range(effort.rounds), running):
            name = each.system.name
            runs["create", stored, name].append(await each.creates(CONNECTIONS, effort.closed_seconds))
            runs["read", stored, name].append(await each.gets(CONNECTIONS, effort.closed_seconds))
            newest = request("GET", f"{PATH}?limit=20")
            runs["list", stored, name].append(await each.gets(CONNECTIONS, effort.closed_seconds, newest))
            filtered = request("GET", f"{PATH}?limit=20&model=model-0&status=completed")
            runs["list, two filters", stored, name].append(
                await each.gets(CONNECTIONS, effort.closed_seconds, filtered)
            )
    least = counts[0]
    rows = []
    lines: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for (call, stored, name), measured in sorted(runs.items()):
        cpu = middle(run.cpu_us for run in measured)
        ratio = cpu / middle(run.cpu_us for run in runs[call, least, name])
        cells = (cpu, ratio, middle(run.p50_ms for run in measured), middle(run.p99_ms for run in measured))
        rows.append((f"{call}, {stored:>9,} stored, {name}", cells))
        if name == GATEWAY.name:
            lines[call].append((stored, cpu))
    table = Table(f"calls, {CONNECTIONS} connections", ("CPU µs", f"x that at {least:,}", "p50 ms", "p99 ms"), rows)
    plots = [Lines("stored", "Calls with a growing history", "microseconds of CPU", "stored generations", lines)]
    return Section("stored", [table], plots if len(counts) > 1 else [])
