"""Lists of a short and of a long history, through HTTP, beside the health check: `python -m bench.lists`.

Two gateways run at the same time, one with `SHORT` and one with `LONG` generations, and get the same requests in
alternation, so that the ratio of their times does not depend on the machine. The environment variables `LISTS_SHORT`,
`LISTS_LONG` and `LISTS_ROUNDS` change what is measured.
"""

import asyncio
import os
import platform
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import httpx

from bench.history import SPACING_SECONDS, fill
from bench.load import KEY
from bench.processes import Process
from bench.server import serving
from tests.hostile.lists import VIDEOS, many_lists, percentile

SHORT = int(os.environ.get("LISTS_SHORT", "1000"))
LONG = int(os.environ.get("LISTS_LONG", "1000000"))
ROUNDS = int(os.environ.get("LISTS_ROUNDS", "1500"))
PARTS = 5  # of the rounds; p99 is the median of those of the parts
CONFIG = """
[server]
api_keys = ["env:BENCH_KEY"]
log_level = "warning"
[providers.foxapi]
api_key = "env:BENCH_KEY"
"""


def lists_of(count: int, newest: datetime) -> dict[str, str]:
    """The queries by their names. The numbers in them differ between the histories, what they find does not."""
    middle = int((newest - timedelta(seconds=SPACING_SECONDS * count / 2)).timestamp())
    order = f"o-{count // 2:08}"
    return {
        "no filter": "",
        "status": "status=failed",
        "model": "model=model-0",
        "a model without generations": "model=none",
        "provider": "provider=keevx",
        "created_after": f"created_after={middle}&order=asc",
        "created_before": f"created_before={middle}",
        "metadata, one in 10": "metadata[project]=p1",
        "metadata, one in all": f"metadata[order]={order}",
        "model and status": "model=model-0&status=completed",
        "provider and metadata": "provider=keevx&metadata[project]=p1",
        "four filters": "model=model-0&provider=foxapi&status=completed&metadata[project]=p2",
        "one in all and two more": f"metadata[order]={order}&metadata[project]=p{count // 2 % 10}&status=completed",
    }


@asynccontextmanager
async def served(folder: Path, count: int, newest: datetime) -> AsyncIterator[Process]:
    """A gateway with such a history; how long it took to make and to migrate is printed."""
    began = time.perf_counter()
    fill(folder / "video-gateway.db", count, f"key_{sha256(KEY.encode()).hexdigest()[:24]}", newest)
    made = time.perf_counter() - began
    async with serving(folder, CONFIG) as server:
        began = time.perf_counter() - began - made
        size = (folder / "video-gateway.db").stat().st_size / 1e6
        print(f"{count:,} generations ({size:,.0f} MB): made in {made:.0f} s; migrated and started in {began:.1f} s")
        yield server


def usual_p99(values: list[float]) -> float:
    """The median of the p99s of `PARTS` parts of a run, so that a pause of the machine in one of them counts once."""
    size = len(values) // PARTS
    return statistics.median(percentile(values[at * size : (at + 1) * size], 0.99) for at in range(PARTS))


async def compared(servers: list[Process], queries: list[dict[str, str]]) -> None:
    """Print what each list takes in both histories in milliseconds, and the ratios: p50, p99, CPU of the process."""
    columns = [f"{label} {length}" for label in ("p50", "p99", "CPU") for length in ("short", "long", "ratio")]
    print(f"{'milliseconds':28}" + "".join(f"{column:>11}" for column in columns))
    headers = {"authorization": f"Bearer {KEY}"}
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(httpx.AsyncClient(base_url=server.url, headers=headers, timeout=60))
            for server in servers
        ]
        for name in queries[0]:
            times: list[list[float]] = [[], []]
            cpu = [0.0, 0.0]
            for round_ in range(ROUNDS + 5):
                if round_ == 5:  # the first ones open a connection and read from the disk
                    times, cpu = [[], []], [server.cpu_seconds() for server in servers]
                for client, of_client, query in zip(clients, times, queries, strict=True):
                    began = time.perf_counter()
                    (await client.get(f"{VIDEOS}?limit=20&{query[name]}")).raise_for_status()
                    of_client.append((time.perf_counter() - began) * 1e3)
            spent = [
                (server.cpu_seconds() - before) / ROUNDS * 1e3 for server, before in zip(servers, cpu, strict=True)
            ]
            figures = [[statistics.median(values) for values in times], list(map(usual_p99, times))]
            cells = [cell for short, long in (*figures, spent) for cell in (short, long, long / short)]
            print(f"{name:28}" + "".join(f"{cell:11.2f}" for cell in cells))


async def main() -> None:
    """Make both histories, compare the lists, then attack the long one."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {ROUNDS} rounds")
    newest = datetime.now(UTC)
    async with AsyncExitStack() as stack:
        servers: list[Process] = []
        for count in (SHORT, LONG):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            servers.append(await stack.enter_async_context(served(folder, count, newest)))
        await compared(servers, [lists_of(SHORT, newest), lists_of(LONG, newest)])
        for count, server in zip((SHORT, LONG), servers, strict=True):
            harm = await many_lists(server.url, KEY)
            print(
                f"20 lists at once, {count:,} generations: p99 {percentile(harm.seconds, 0.99) * 1e3:,.0f} ms,"
                f" of /health/live {harm.health_p99 * 1e3:.0f} ms, its longest {max(harm.health_seconds) * 1e3:.0f} ms;"
                f" answers {dict(harm.answers)}"
            )


if __name__ == "__main__":
    asyncio.run(main())
