"""What it costs PostgreSQL to remove the oldest day of a history: `python -m bench.postgres_retention URL`.

The database was filled by `bench.postgres_history`, so that the day is 1 % of it; it is removed, in portions,
as the sweeper does it. Measured are the CPU of the server's process, pages, and bytes of the write-ahead log: of the
removal by the gateway, of the bare deletes, and of the vacuum afterwards. The server must be on this machine.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from bench.postgres_history import DAYS
from bench.processes import cpu_seconds
from gateway.store.postgres.open import open_postgres
from gateway.store.postgres.server import Server
from gateway.store.retention import FIRST_END

PORTION = 50  # generations in one transaction
_OLDEST = "select array(select id from generations where completed_at < $1 order by completed_at limit $2)"
_WAL = "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"
_BACKENDS = "select pid from pg_stat_activity where datname = current_database()"


async def measured(connection: Any, name: str, work: Callable[[], Awaitable[int]]) -> None:
    """Do the work, and print what it cost."""
    wal, since = await connection.fetchval(_WAL), time.perf_counter()
    before = {row[0]: cpu_seconds(row[0]) for row in await connection.fetch(_BACKENDS)}
    count = await work()
    took = time.perf_counter() - since
    after = {row[0]: cpu_seconds(row[0]) for row in await connection.fetch(_BACKENDS)}
    cpu = sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())
    written = float(await connection.fetchval(_WAL) - wal)
    each = max(1, count)
    print(
        f"{name}: {count:,} in {took:.1f} s; each {cpu / each * 1e6:,.0f} µs of CPU of the server,"
        f" {written / each:,.0f} bytes of WAL; in all {cpu:.1f} s of CPU, {written / 1e6:,.1f} MB of WAL",
        flush=True,
    )


async def main(url: str) -> None:
    """Remove one half of the day by the gateway and the other one by deletes alone, then vacuum."""
    connection = await asyncpg.connect(url)
    now = datetime.now(UTC)
    store = open_postgres(Server(url), now, said="moved")
    half, day = now - timedelta(days=DAYS - 0.5), now - timedelta(days=DAYS - 1)

    async def by_gateway() -> int:
        total, place = 0, FIRST_END
        while True:
            count, following = await store.retention.remove_generations(half, now, PORTION, place)
            total += count
            if following is None:
                return total
            place = following

    async def by_deletes() -> int:
        total = 0
        while ids := await connection.fetchval(_OLDEST, day.timestamp(), PORTION):
            await connection.execute("delete from generations where id = any($1)", ids)
            total += len(ids)
        return total

    async def vacuumed() -> int:
        await connection.execute("vacuum (index_cleanup on)")
        return 1

    await measured(connection, "removed by the gateway", by_gateway)
    await measured(connection, "deleted alone", by_deletes)
    await measured(connection, "vacuum", vacuumed)
    await store.close()
    await connection.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
