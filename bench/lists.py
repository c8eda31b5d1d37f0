"""Lists of a short and of a long history, through HTTP, beside the health check: `python -m bench.lists`.

Two gateways run at the same time, one with `SHORT` and one with `LONG` generations, and get the same requests in
alternation, so that the ratio of their times does not depend on the machine. The environment variables `LISTS_SHORT`,
`LISTS_LONG` and `LISTS_ROUNDS` change what is measured.
"""

import asyncio
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import httpx

from bench.history import SPACING_SECONDS, fill
from tests.hostile.lists import VIDEOS, many_lists, percentile

SHORT = int(os.environ.get("LISTS_SHORT", "1000"))
LONG = int(os.environ.get("LISTS_LONG", "1000000"))
ROUNDS = int(os.environ.get("LISTS_ROUNDS", "300"))
KEY = "bench-key-0123456789abcdef"
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
async def served(folder: Path, count: int, newest: datetime) -> AsyncIterator[str]:
    """The URL of a gateway with such a history; how long it took to make and to migrate is printed."""
    began = time.perf_counter()
    fill(folder / "video-gateway.db", count, f"key_{sha256(KEY.encode()).hexdigest()[:24]}", newest)
    made = time.perf_counter() - began
    (folder / "video-gateway.toml").write_text(CONFIG)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "serve", "--port", "0"),
        cwd=folder,
        env={**os.environ, "BENCH_KEY": KEY},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        url = (await process.stdout.readline()).decode().split()[-1]
        began = time.perf_counter() - began - made
        size = (folder / "video-gateway.db").stat().st_size / 1e6
        print(f"{count:,} generations ({size:,.0f} MB): made in {made:.0f} s; migrated and started in {began:.1f} s")
        yield url
    finally:
        process.terminate()
        await process.wait()


async def compared(urls: list[str], queries: list[dict[str, str]]) -> None:
    """Print p50 and p99 of each list in both histories, and their ratios."""
    print(
        f"{'filter':28}{'p50 short':>11}{'p50 long':>10}{'ratio':>7}{'p99 short':>11}{'p99 long':>10}{'ratio':>7}   ms"
    )
    headers = {"authorization": f"Bearer {KEY}"}
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(httpx.AsyncClient(base_url=url, headers=headers, timeout=60))
            for url in urls
        ]
        for name in queries[0]:
            times: list[list[float]] = [[], []]
            for round_ in range(ROUNDS + 5):
                for client, of_client, query in zip(clients, times, queries, strict=True):
                    began = time.perf_counter()
                    (await client.get(f"{VIDEOS}?limit=20&{query[name]}")).raise_for_status()
                    if round_ >= 5:  # the first ones open a connection and read from the disk
                        of_client.append((time.perf_counter() - began) * 1e3)
            (short50, long50), (short99, long99) = (
                [statistics.median(values) for values in times],
                [percentile(values, 0.99) for values in times],
            )
            print(
                f"{name:28}{short50:11.2f}{long50:10.2f}{long50 / short50:7.2f}"
                f"{short99:11.2f}{long99:10.2f}{long99 / short99:7.2f}"
            )


async def main() -> None:
    """Make both histories, compare the lists, then attack the long one."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {ROUNDS} rounds")
    newest = datetime.now(UTC)
    async with AsyncExitStack() as stack:
        urls = []
        for count in (SHORT, LONG):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            urls.append(await stack.enter_async_context(served(folder, count, newest)))
        await compared(urls, [lists_of(SHORT, newest), lists_of(LONG, newest)])
        for count, url in zip((SHORT, LONG), urls, strict=True):
            harm = await many_lists(url, KEY)
            print(
                f"20 lists at once, {count:,} generations: p99 {percentile(harm.seconds, 0.99) * 1e3:,.0f} ms,"
                f" of /health/live {harm.health_p99 * 1e3:.0f} ms, its longest {max(harm.health_seconds) * 1e3:.0f} ms;"
                f" answers {dict(harm.answers)}"
            )


if __name__ == "__main__":
    asyncio.run(main())
