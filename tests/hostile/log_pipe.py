"""A log shipper that hangs: nobody reads the standard error of the gateway, and then it is to stop."""

import asyncio
import fcntl
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

from .card import Row
from .measure import costing
from .world import VIDEOS, create, ended, gateway

LINES = 1000  # requests, each of which writes a line
PIPE_BYTES = 4096
STOP_SECONDS = 15.0  # more than the gateway waits for what is under way, which is nothing


@contextmanager
def full_pipe() -> Iterator[int]:
    """The writing end of a small pipe that nobody reads."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    try:
        yield write
    finally:
        os.close(read)
        os.close(write)


async def log_pipe(sandbox: str, folder: Path, lines: int = LINES) -> AsyncIterator[Row]:
    """A gateway of its own writes more than the pipe takes, must still make a video, and must end at SIGTERM."""
    answers: Counter[str] = Counter()
    faults: list[str] = []
    with full_pipe() as pipe:
        async with gateway(folder, sandbox, stderr=pipe) as target:
            async with costing(target) as cost, target.client(connections=10) as client:
                for _ in range(lines // 10):
                    reads = (client.get(f"{VIDEOS}/gen_0") for _ in range(10))
                    answers.update(str(answer.status_code) for answer in await asyncio.gather(*reads))
                made = await ended(client, await create(client))
            if made["status"] != "completed":
                faults.append(f"a generation is {made['status']}")
            began = time.monotonic()
            target.process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    code = await target.process.wait()
                note = f"exit code {code}, {time.monotonic() - began:.1f} s after SIGTERM"
                faults += [f"exit code {code}"] if code else []
            except TimeoutError:
                note = ""
                faults.append(f"still running {STOP_SECONDS:.0f} s after SIGTERM")
    yield Row("a log that nobody reads", f"{lines:,} lines, then SIGTERM", cost, answers, note=note, faults=faults)
