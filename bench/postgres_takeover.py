"""How long open generations are without a gateway: `python -m bench.postgres_takeover [--open 20000]`.

Three gateways share the open generations of a new ledger in PostgreSQL. One is killed, then another one is asked to
end. The database says when the first and when the last generation is driven by a living one again.
"""

import argparse
import asyncio
import signal
import time
from typing import Any

from bench.postgres_gateways import UNDRIVEN, connected, gateways, server, source, until_driven

_SHARES = "select id, driven from replicas where replica_lives(id) order by id"


async def taken_over(connection: Any, began: float) -> str:
    """When the first and the last generation were taken over, and how many there were."""
    most, first = 0, 0.0
    async with asyncio.timeout(300):
        while True:
            left = await connection.fetchval(UNDRIVEN)
            passed = time.perf_counter() - began
            if left < most and not first:
                first = passed
            most = max(most, left)
            if most and not left:
                return f"{most:,} generations; the first after {first:.1f} s, all after {passed:.1f} s"
            if not most and passed > 60:
                return "nothing had to be taken over"
            await asyncio.sleep(0.05)


async def main(count: int) -> None:
    """Measure and print."""
    with server() as (url, _):
        async with source() as upstream, gateways(url, upstream.url) as made, connected(url) as connection:
            await made.make_open(count)
            began = time.perf_counter()
            await made.start(3)
            await until_driven(connection, count)
            print(f"cold start of three: all {count:,} driven after {time.perf_counter() - began:.1f} s")
            await asyncio.sleep(30)  # shares become even, and first polls are over
            print("shares:", ", ".join(str(row[1]) for row in await connection.fetch(_SHARES)))
            began = time.perf_counter()
            await made.end(made.processes[0], signal.SIGKILL)
            print("kill -9:", await taken_over(connection, began))
            await until_driven(connection, count)
            began = time.perf_counter()
            ending = asyncio.create_task(made.end(made.processes[0], signal.SIGTERM))
            print("SIGTERM:", await taken_over(connection, began))
            await ending
            print(f"  its process has ended after {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="how long open generations are without a gateway")
    parser.add_argument("--open", type=int, default=20_000, metavar="N", help="open generations")
    asyncio.run(main(parser.parse_args().open))
