"""What a poll that changes nothing costs, and how many of them one core can do."""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from bench.effort import Effort
from bench.ledgers import copied
from bench.load import closed_loop
from bench.processes import Process
from bench.report import Section, Table, middle, shown, spread
from bench.systems import PROTOTYPE, System, gateway, prototype
from bench.upstream import Provider, provider

QUIET_RATE, BUSY_RATE = 1000, 20_000  # polls a second that are due: what one core does easily, and more than it can do
SETTLING_SECONDS = 2.0  # after the first polls


@asynccontextmanager
async def polled(
    folder: Path, system: System, upstream: Provider, effort: Effort, seconds: float
) -> AsyncIterator[Process]:
    """A system with open generations that polls each at this interval."""
    if system.name == PROTOTYPE.name:  # it has no start with a ledger
        async with prototype(folder, upstream.url, poll_seconds=seconds) as process:
            creates = itertools.repeat(system.create(upstream.url))
            await closed_loop(process.url, creates, connections=64, seconds=60, count=effort.polled)
            yield process
        return
    await copied(folder, 1000, effort.polled)
    start = system.start.func if isinstance(system.start, partial) else gateway
    options = system.start.keywords if isinstance(system.start, partial) else {}
    async with start(folder, upstream.url, poll_seconds=seconds, **options) as process:
        yield process


async def polls(folder: Path, systems: Sequence[System], effort: Effort) -> list[Section]:
    """Measure systems that poll, each with its own process for each interval."""
    costs: defaultdict[str, list[float]] = defaultdict(list)
    rates: defaultdict[str, list[float]] = defaultdict(list)
    waits: defaultdict[str, list[float]] = defaultdict(list)
    async with provider(folder / "provider") as upstream:
        for number, system in itertools.product(range(effort.rounds), [each for each in systems if each.durable]):
            for due in (QUIET_RATE, BUSY_RATE):
                place = folder / f"{system.name.replace(' ', '-')}-{number}-{due}"
                async with polled(place, system, upstream, effort, effort.polled / due) as process:
                    await asyncio.sleep(effort.polled / QUIET_RATE + SETTLING_SECONDS)
                    cpu, waited, count = process.cpu_seconds(), process.waited_seconds(), await upstream.requests()
                    await asyncio.sleep(effort.open_seconds)
                    done = await upstream.requests() - count
                    if due == QUIET_RATE:
                        costs[system.name].append((process.cpu_seconds() - cpu) / done * 1e6)
                        waits[system.name].append((process.waited_seconds() - waited) / effort.open_seconds * 100)
                    else:
                        rates[system.name].append(done / effort.open_seconds)
    rows = [
        (
            name,
            (
                middle(costs[name]),
                spread(costs[name]),
                middle(rates[name]),
                spread(rates[name]),
                shown(middle(waits[name])),
            ),
        )
        for name in costs
    ]
    columns = ("CPU µs", "lowest-highest", "most a second", "lowest-highest", "waited %")
    return [
        Section(
            "polls",
            [Table(f"poll that changes nothing, {effort.polled:,} open", columns, rows)],
            notes=[f"CPU at {QUIET_RATE:,} polls a second; the most of them while {BUSY_RATE:,} a second were due"],
        )
    ]
