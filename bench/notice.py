"""How soon a client learns that a provider has finished: `python bench/notice.py`.

Sandbox, gateway and client are separate processes over real HTTP. The client has a long poll for every generation.
Measured twice: the provider calls back, and the gateway has to poll.
"""

import asyncio
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from bench.load import KEY
from bench.processes import free_port

COUNT = 240  # generations in each of the two runs
PER_SECOND = 12.0
POLL_SECONDS = 2.0
TASK_SECONDS = 2.1  # a poll comes just before: the worst case of polling
SELDOM_SECONDS = 600.0
PATH = "/v1/videos/generations"


@asynccontextmanager
async def process(ready: str, *arguments: str, cwd: Path) -> AsyncIterator[None]:
    """Run a command of the gateway as a process, and wait until the URL `ready` answers."""
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *arguments,
        cwd=cwd,
        env={**os.environ, "BENCH_KEY": KEY, "PYTHONPATH": str(Path(__file__).parents[1])},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with httpx.AsyncClient() as client, asyncio.timeout(20):
            while True:
                try:
                    if (await client.get(ready)).status_code == 200:
                        break
                except httpx.TransportError:
                    await asyncio.sleep(0.1)
        yield
    finally:
        running.send_signal(signal.SIGTERM)
        await running.wait()


def configuration(folder: Path, port: int, sandbox: str, *, callbacks: bool) -> Path:
    """The configuration of a gateway with one provider that calls back or is polled."""
    seconds = SELDOM_SECONDS if callbacks else POLL_SECONDS
    config = folder / "notice.toml"
    config.write_text(
        f"""
        [server]
        host = "127.0.0.1"
        port = {port}
        api_keys = ["env:BENCH_KEY"]
        log_level = "warning"
        {f'public_url = "http://127.0.0.1:{port}"' if callbacks else ""}
        [database]
        url = "sqlite:///{folder}/notice.db"
        [artifacts]
        url = "file:{folder}/artifacts"
        [fetch]
        allow = ["127.0.0.0/8"]
        [providers.keevx]
        api_key = "env:BENCH_KEY"
        base_url = "{sandbox}/keevx/v1"
        first_poll_seconds = {seconds}
        poll_seconds = {seconds}
        poll_max_seconds = {seconds}
        """
    )
    return config


async def ended(client: httpx.AsyncClient, delay: float) -> tuple[str, float]:
    """Create a generation. Returns its task, and the time at which the client received its end."""
    await asyncio.sleep(delay)
    body = {"model": "keevx/V", "prompt": f"A beach. {delay}", "image": "https://example.com/first.jpg", "duration": 4}
    answer = await client.post(PATH, json=body)
    generation: dict[str, Any] = answer.raise_for_status().json()
    while generation["status"] in {"queued", "in_progress"}:
        generation = (await client.get(f"{PATH}/{generation['id']}", params={"wait": 60})).json()
    moment = time.time()
    if generation["status"] != "completed":
        raise RuntimeError(generation)
    return generation["attempts"][0]["tasks"][0], moment


async def measure(folder: Path, *, callbacks: bool) -> list[float]:
    """Milliseconds from the end of each task at the provider until the client has it."""
    port, other = free_port(), free_port()
    sandbox, gateway = f"http://127.0.0.1:{other}", f"http://127.0.0.1:{port}"
    config = configuration(folder, port, sandbox, callbacks=callbacks)
    settings = [f"total_seconds={TASK_SECONDS}", "max_short_side=90", "check_images=false", "plain_results=true"]
    given = [part for setting in settings for part in ("--set", setting)]
    async with (
        process(f"{sandbox}/_sandbox/state", "gateway.sandbox", "--port", str(other), *given, cwd=folder),
        process(f"{gateway}/health/ready", "gateway", "serve", "--config", str(config), cwd=folder),
        httpx.AsyncClient(
            base_url=gateway,
            headers={"authorization": f"Bearer {KEY}"},
            timeout=90,
            limits=httpx.Limits(max_connections=COUNT),
        ) as client,
    ):
        await ended(client, 0)  # the first request has work that is done only once
        ends = dict(await asyncio.gather(*(ended(client, number / PER_SECOND) for number in range(COUNT))))
        tasks = (await client.get(f"{sandbox}/_sandbox/state")).json()["tasks"]
    return [(ends[task["id"]] - task["created_at"] - TASK_SECONDS) * 1000 for task in tasks if task["id"] in ends]


def main() -> None:
    """Measure callbacks and polls, and print a table."""
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{machine}, {datetime.now(UTC):%Y-%m-%d}")
    print(f"provider finished → client has it, ms{'generations':>14}{'p50':>10}{'p99':>10}{'most':>10}")
    for name, callbacks in (("callback", True), (f"polls every {POLL_SECONDS:g} s", False)):
        with tempfile.TemporaryDirectory() as folder:
            delays = asyncio.run(measure(Path(folder), callbacks=callbacks))
        p99 = statistics.quantiles(delays, n=100)[98]
        print(f"{name:34}{len(delays):>14}{statistics.median(delays):>10.1f}{p99:>10.1f}{max(delays):>10.1f}")


if __name__ == "__main__":
    main()
