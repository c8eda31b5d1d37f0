"""What open generations cost PostgreSQL while nothing happens: `python -m bench.postgres_idle [--seconds 600]`.

A new server gets a ledger with 20,000 open generations, each with a task that never ends. Then gateways share and poll
them. From outside are measured, for each second: the bytes of the write-ahead log, the rows that are written and that
are dead afterwards, the transactions, and the CPU of the server and of the gateways.
"""

import argparse
import asyncio
import time

from bench.postgres_gateways import connected, gateways, server, server_cpu_seconds, source, until_driven

_WRITTEN = (
    "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0') as wal,"
    " (select sum(n_tup_ins + n_tup_upd + n_tup_del) from pg_stat_user_tables) as rows,"
    " (select sum(n_tup_upd + n_tup_del) from pg_stat_user_tables) as dead,"
    " (select xact_commit from pg_stat_database where datname = current_database()) as transactions"
)
_TABLES = (
    "select relname, n_tup_ins + n_tup_upd + n_tup_del as rows from pg_stat_user_tables"
    " where n_tup_ins + n_tup_upd + n_tup_del > 0 order by relname"
)
SETTLING_SECONDS = 90.0  # after all are driven: shares become even, and first polls are over


async def main(count: int, number: int, seconds: float) -> None:
    """Measure and print."""
    with server() as (url, pid):
        async with source() as upstream, gateways(url, upstream.url) as made:
            await made.make_open(count)
            began = time.perf_counter()
            await made.start(number)
            async with connected(url) as connection:
                await until_driven(connection, count)
                ready = time.perf_counter() - began
                print(f"{count:,} open; {number} gateways drive all of them {ready:.1f} s after a cold start")
                await asyncio.sleep(SETTLING_SECONDS)
                before, tables = await connection.fetchrow(_WRITTEN), dict(await connection.fetch(_TABLES))
                cpu, of_server = made.cpu_seconds(), server_cpu_seconds(pid)
                polled, since = await upstream.requests(), time.perf_counter()
                await asyncio.sleep(seconds)
                took = time.perf_counter() - since
                after = await connection.fetchrow(_WRITTEN)
                print(
                    f"a second, over {took:.0f} s: {float(after['wal'] - before['wal']) / took:,.0f} bytes of WAL,"
                    f" {float(after['rows'] - before['rows']) / took:.1f} rows written,"
                    f" {float(after['dead'] - before['dead']) / took:.1f} dead,"
                    f" {(after['transactions'] - before['transactions']) / took:.1f} transactions,"
                    f" {(await upstream.requests() - polled) / took:.0f} polls"
                )
                print(
                    f"CPU of a core: PostgreSQL {(server_cpu_seconds(pid) - of_server) / took:.2%},"
                    f" gateways {(made.cpu_seconds() - cpu) / took:.1%}"
                )
                for name, rows in await connection.fetch(_TABLES):
                    if rows > tables.get(name, 0):
                        print(f"  {name}: {(rows - tables.get(name, 0)) / took:.2f} rows a second")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="what open generations cost PostgreSQL while nothing happens")
    parser.add_argument("--open", type=int, default=20_000, metavar="N", help="open generations")
    parser.add_argument("--gateways", type=int, default=2, metavar="N")
    parser.add_argument("--seconds", type=float, default=600, metavar="S", help="how long it is measured")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.open, arguments.gateways, arguments.seconds))
