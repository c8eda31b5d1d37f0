"""What a whole life costs: create, submit, five polls, a result of 2 MB that is kept, and its webhook."""

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec

from bench.effort import Effort
from bench.load import once, open_loop, percentile, request
from bench.report import Section, Table, middle, spread
from bench.systems import BODY, PATH, PROTOTYPE, System, gateway
from bench.upstream import responder

POLLS = 5
POLL_SECONDS = 0.5
PER_SECOND = 15
PATIENCE_SECONDS = 120.0


async def lives(folder: Path, systems: Sequence[System], effort: Effort) -> list[Section]:
    """Measure gateways; the prototype does not live to the end."""
    costs: defaultdict[str, list[float]] = defaultdict(list)
    ends: defaultdict[str, list[float]] = defaultdict(list)
    waits: defaultdict[str, list[float]] = defaultdict(list)
    measured = [each for each in systems if each.durable and each.name != PROTOTYPE.name]
    async with responder(folder / "provider", polls=POLLS) as upstream:
        for number, system in itertools.product(range(effort.rounds), measured):
            place = folder / f"{system.name.replace(' ', '-')}-{number}"
            options = system.start.keywords if isinstance(system.start, partial) else {}
            async with gateway(place, upstream.url, poll_seconds=POLL_SECONDS, **options) as process:
                body = msgspec.json.encode({**BODY, "webhook_url": f"{upstream.url}/webhook"})
                message = itertools.repeat(request("POST", PATH, body))
                ended = len(await _webhooks(upstream.url, 0))
                warming = await open_loop(process.url, message, per_second=PER_SECOND, seconds=1)
                before = await _webhooks(upstream.url, ended + warming.count)
                began: dict[str, float] = {}
                cpu, waited, since = process.cpu_seconds(), process.waited_seconds(), time.perf_counter()
                load = await open_loop(
                    process.url,
                    message,
                    per_second=PER_SECOND,
                    seconds=effort.lives / PER_SECOND,
                    note=lambda body, due, began=began: began.update({msgspec.json.decode(body)["id"]: due}),  # type: ignore[misc]
                )
                webhooks = await _webhooks(upstream.url, len(before) + load.count)
                await asyncio.sleep(0.3)  # the confirmation of the last webhook is stored
                wall = time.perf_counter() - since
                costs[system.name].append((process.cpu_seconds() - cpu) / load.count * 1e6)
                waits[system.name].append((process.waited_seconds() - waited) / wall * 100)
                ends[system.name] += [webhooks[name] - due for name, due in began.items()]
    rows = [
        (
            name,
            (
                middle(costs[name]),
                spread(costs[name]),
                percentile(ends[name], 0.5),
                percentile(ends[name], 0.99),
                middle(waits[name]),
            ),
        )
        for name in costs
    ]
    columns = ("CPU µs", "lowest-highest", "p50 s to the webhook", "p99 s", "waited %")
    title = f"create, submit, {POLLS} polls, 2 MB kept, webhook"
    return [
        Section(
            "lives",
            [Table(title, columns, rows)],
            notes=[f"{PER_SECOND} lives begin a second; a poll every {POLL_SECONDS:g} s; no thumbnail is drawn"],
        )
    ]


async def _webhooks(url: str, count: int) -> dict[str, float]:
    """The moments of the webhooks by generation, once there are `count` and no more come."""
    moments: dict[str, float] = {}
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            newest: dict[str, float] = msgspec.json.decode(await once(url, request("GET", "/webhooks")))
            if len(newest) >= count and len(newest) == len(moments):
                return newest
            moments = newest
            await asyncio.sleep(0.5)
