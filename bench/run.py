"""CPU per operation, beside a bare framework handler in the same run: `make bench`.

Machines differ, so ratios count. Creates and reads run in one process on one event loop, without a network, 64 at once
as under load: the code, the framework and the store are measured. The bare handlers show what Litestar costs alone.
Polls run over real HTTP.

`python bench/run.py --against PATH` compares this checkout with the one at PATH: it runs the benchmark of each, in
alternation and with the same Python, and prints the medians and their ratio (`make bench-against BASE=PATH`).
"""

import argparse
import asyncio
import logging
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import structlog
from litestar import Litestar, get, post
from msgspec import Struct

from gateway.app import Application
from gateway.settings.load import load
from gateway.upstream.registry import load_adapters
from tests.asgi import scope_of

CONCURRENCY = 64
ROUNDS = 5
COUNT = 4000  # operations of a kind in a round
OPEN = 4000  # generations in flight while polls are measured
POLLS_PER_SECOND = 2000
PATH = "/v1/videos/generations"
KEY = "bench-key-0123456789abcdef"
CREATE = msgspec.json.encode(
    {"model": "kling-v3-text-to-video", "prompt": "A calm sunrise over the ocean", "duration": 5, "resolution": "720p"}
)
QUEUED = msgspec.json.encode({"id": "task-1", "status": "pending", "object": "video.generation.task"})


class BareBody(Struct, forbid_unknown_fields=True):
    """The typed body of the bare handler."""

    model: str
    prompt: str
    duration: int | None = None
    resolution: str | None = None


class BareAnswer(Struct):
    """The typed answer of the bare handler."""

    id: str
    status: str
    model: str


@post("/bare", status_code=200)
async def bare_post(data: BareBody) -> BareAnswer:
    """Litestar's own way from a JSON body to a JSON answer."""
    return BareAnswer("gen_1", "queued", data.model)


@get("/bare/{name:str}")
async def bare_get(name: str) -> BareAnswer:
    """Litestar's own way from a path to a JSON answer."""
    return BareAnswer(name, "queued", "kling")


class Client:
    """Calls an ASGI application directly, without a server."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, method: str, path: str, body: bytes = b"") -> bytes:
        headers = {
            "host": "127.0.0.1",
            "authorization": f"Bearer {KEY}",
            "content-type": "application/json",
            "content-length": str(len(body)),
        }
        scope = scope_of(method, path, headers)
        answer: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            answer.append(message)

        await self.app(scope, receive, send)
        if answer[0]["status"] != 200:
            raise RuntimeError(f"{method} {path}: {answer}")
        return b"".join(message.get("body", b"") for message in answer[1:])


async def measure(operation: Callable[[int], Awaitable[Any]], count: int) -> tuple[float, float]:
    """Microseconds of CPU and of wall time for one operation, with `CONCURRENCY` running at the same time."""
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await operation(number)

    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
    return (time.process_time() - cpu) / count * 1e6, (time.perf_counter() - wall) / count * 1e6


def application(folder: Path, transport: httpx.AsyncBaseTransport | None, base_url: str, poll: float) -> Application:
    """A gateway with one provider, which is on this machine."""
    config = folder / "bench.toml"
    config.write_text(
        f"""
        [server]
        api_keys = ["env:BENCH_KEY"]
        [database]
        url = "sqlite:///{folder}/bench.db"
        [artifacts]
        url = "file:{folder}/artifacts"
        [providers.foxapi]
        api_key = "env:BENCH_KEY"
        base_url = "{base_url}"
        concurrency = 64
        first_poll_seconds = {poll}
        poll_seconds = {poll}
        poll_max_seconds = {poll}
        """
    )
    settings = load(config, {"BENCH_KEY": KEY}, load_adapters())
    return Application(settings, transport=transport)


async def requests(count: int) -> dict[str, list[tuple[float, float]]]:
    """Measure create, read and the bare handlers in alternation, so that a slow moment affects all of them."""
    rows: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        app = application(Path(folder), httpx.MockTransport(_never), "http://127.0.0.1:9", 3600)
        bare = Client(Litestar([bare_post, bare_get], openapi_config=None, logging_config=None))
        gateway = Client(app.asgi)
        async with app.litestar.lifespan():
            app.engine.begin = lambda _: None  # type: ignore[method-assign, assignment]  # what happens after a create is measured separately
            made = msgspec.json.decode(await gateway("POST", PATH, CREATE))["id"]
            for _ in range(ROUNDS):
                for name, operation in {
                    "bare Litestar POST": lambda _: bare("POST", "/bare", CREATE),
                    "create, durable": lambda _: gateway("POST", PATH, CREATE),
                    "bare Litestar GET": lambda number: bare("GET", f"/bare/{number}"),
                    "read by id": lambda _: gateway("GET", f"{PATH}/{made}"),
                }.items():
                    rows.setdefault(name, []).append(await measure(operation, count))
    return rows


def _never(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("nothing is sent here", request=request)


async def polls(open_tasks: int, seconds: float) -> tuple[float, float]:
    """Microseconds of CPU for a poll without a change, by the real drivers, and KB of memory for an open generation."""
    server = await asyncio.create_subprocess_exec(
        sys.executable, str(Path(__file__).with_name("pending.py")), stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    base_url = (await server.stdout.readline()).decode().strip()
    try:
        with tempfile.TemporaryDirectory() as folder:
            app = application(Path(folder), None, base_url, open_tasks / POLLS_PER_SECOND)
            gateway = Client(app.asgi)
            async with app.litestar.lifespan(), httpx.AsyncClient(base_url=base_url) as counter:
                await gateway("POST", PATH, CREATE)
                memory = _resident()
                await measure(lambda _: gateway("POST", PATH, CREATE), open_tasks)
                while (await counter.get("/counted")).json()["submits"] < open_tasks:  # noqa: ASYNC110  # another process, so without an event
                    await asyncio.sleep(0.2)
                grown = (_resident() - memory) / open_tasks
                before = (await counter.get("/counted")).json()["polls"]
                cpu = time.process_time()
                await asyncio.sleep(seconds)
                spent = time.process_time() - cpu
                count = (await counter.get("/counted")).json()["polls"] - before
                return spent / count * 1e6, grown
    finally:
        server.terminate()
        await server.wait()


def _resident() -> float:
    """Resident memory in KB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024


def measure_all() -> None:
    """Measure everything and print one table."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    print(f"{machine()}, {datetime.now(UTC):%Y-%m-%d}")
    rows = asyncio.run(requests(COUNT))
    cpu = {name: statistics.median(spent for spent, _ in values) for name, values in rows.items()}
    wall = {name: statistics.median(taken for _, taken in values) for name, values in rows.items()}
    yardsticks = {"create, durable": "bare Litestar POST", "read by id": "bare Litestar GET"}
    print(f"{'':30}{'CPU µs':>10}{'per second':>12}{'× bare':>9}")
    for name, spent in cpu.items():
        ratio = f"{spent / cpu[yardsticks[name]]:.2f}" if name in yardsticks else ""
        print(f"{name:30}{spent:>10.1f}{1e6 / wall[name]:>12,.0f}{ratio:>9}")
    poll, memory = asyncio.run(polls(OPEN, 5))
    print(f"{'poll that changes nothing':30}{poll:>10.1f}{1e6 / poll:>12,.0f}")
    print(f"one open generation in memory: {memory:.1f} KB ({OPEN:,} open)")


def machine() -> str:
    """What the figures were measured on."""
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def compare(base: Path, repetitions: int) -> None:
    """Run the benchmark of `base` and of this checkout in alternation, and print both medians with their ratio."""
    before: dict[str, list[float]] = {}
    after: dict[str, list[float]] = {}
    print(f"{machine()}, {datetime.now(UTC):%Y-%m-%d}, {repetitions} runs each, in alternation")
    for _ in range(repetitions):
        for checkout, figures in ((base, before), (Path(__file__).parents[1], after)):
            for name, figure in figures_of(checkout).items():
                figures.setdefault(name, []).append(figure)
    print(f"{'CPU µs':30}{'before':>10}{'after':>10}{'ratio':>8}   lowest to highest before, after")
    for name, measured in after.items():
        if name in before:
            old, new = statistics.median(before[name]), statistics.median(measured)
            spreads = "   ".join(f"{min(values):.1f} to {max(values):.1f}" for values in (before[name], measured))
            print(f"{name:30}{old:>10.1f}{new:>10.1f}{new / old:>8.2f}   {spreads}")


def figures_of(checkout: Path) -> dict[str, float]:
    """The first number of each line of a checkout's own table: CPU microseconds, and KB in memory."""
    done = subprocess.run(  # noqa: S603  # our own program, in another checkout
        [sys.executable, str(checkout / "bench" / "run.py")],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},  # before the package that is installed
        check=True,
        capture_output=True,
        text=True,
    )
    rows = (re.match(r"(\S[^:]*?):?\s+([\d.]+) ", line) for line in done.stdout.splitlines()[1:])
    return {row[1]: float(row[2]) for row in rows if row is not None}


def main() -> None:
    """Measure this checkout, or compare it with another one."""
    parser = argparse.ArgumentParser(description="CPU per operation")
    parser.add_argument("--against", type=Path, metavar="PATH", help="compare with the checkout at this path")
    parser.add_argument("--repetitions", type=int, default=3, metavar="N", help="runs of each checkout")
    arguments = parser.parse_args()
    if arguments.against is None:
        measure_all()
    else:
        compare(arguments.against.resolve(), arguments.repetitions)


if __name__ == "__main__":
    main()
