"""What the removal of a long history holds up: `python -m bench.retention [COUNT]`.

A ledger with `COUNT` ended generations is migrated and counted, then all of them are removed as the sweeper does it.
Meanwhile a task asks for a turn of the event loop every millisecond, and another one writes. Beside the times by the
clock are those by the processor, which do not depend on what else the machine does.
"""

import asyncio
import platform
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import apsw

from bench.history import fill
from gateway.engine.old_rows import KeepFor, OldRows
from gateway.engine.sweeper import BATCH_OF_HISTORY
from gateway.live import Live
from gateway.store.sql.store import SqlStore
from gateway.store.sqlite import writer
from gateway.store.sqlite.open import open_sqlite

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


class Holds:
    """The longest time between two turns of the event loop, and the longest write beside the work."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store
        self.turn = self.write = 0.0

    async def turns(self) -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            self.turn = max(self.turn, time.perf_counter() - began - 0.001)

    async def writes(self) -> None:
        while True:
            began = time.perf_counter()
            await self._store.ping()
            self.write = max(self.write, time.perf_counter() - began)
            await asyncio.sleep(0.02)


async def measured(name: str, store: SqlStore, work: Callable[[], Awaitable[int]]) -> None:
    """Do the work, and print how long it took and what it held up."""
    holds = Holds(store)
    longest = 0.0
    carry_out = writer._carry_out  # noqa: SLF001  # the only place where all statements of a transaction run

    def timed(connection: apsw.Connection, jobs: Any) -> None:
        nonlocal longest
        began = time.thread_time()
        carry_out(connection, jobs)
        longest = max(longest, time.thread_time() - began)

    writer._carry_out = timed  # noqa: SLF001  # it is measured from outside
    tasks = [asyncio.create_task(holds.turns()), asyncio.create_task(holds.writes())]
    began, cpu = time.perf_counter(), time.process_time()
    count = await work()
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    for task in tasks:
        task.cancel()
    writer._carry_out = carry_out  # noqa: SLF001  # it is measured from outside
    print(
        f"{name}: {count:,} rows in {took:.1f} s ({cpu / max(count, 1) * 1e6:.0f} µs of CPU each);"
        f" longest: statements of a transaction {longest * 1000:.1f} ms of CPU, turn of the loop"
        f" {holds.turn * 1000:.1f} ms, another write {holds.write * 1000:.1f} ms"
    )


async def main() -> None:
    """Make the ledger, count it, remove it."""
    print(f"{platform.machine()}, {COUNT:,} generations")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        fill(path, COUNT, "key_0", NOW)
        began = time.perf_counter()
        store = open_sqlite(path, NOW)
        print(f"migration: {time.perf_counter() - began:.1f} s, {path.stat().st_size / COUNT:.0f} bytes a generation")

        async def count_history() -> int:
            total = 0
            while count := await store.usage.count_history(BATCH_OF_HISTORY):
                total += count
            return total

        await measured("counted", store, count_history)
        later = NOW + timedelta(days=8)
        for name, keep in (
            ("events", KeepFor(events=timedelta(days=7))),
            ("generations", KeepFor(generations=timedelta(days=7))),
        ):
            rows = OldRows(store, Live(keep))
            await measured(name, store, partial(rows.remove, later, lambda: False))
        await store.close()
        with apsw.Connection(str(path)) as connection:
            free, pages = (connection.execute(f"pragma {name}").get for name in ("freelist_count", "page_count"))
            print(f"the file has {path.stat().st_size:,} bytes, {free / pages:.0%} of its pages are free")


if __name__ == "__main__":
    asyncio.run(main())
