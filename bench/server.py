"""A gateway as it runs in production, in a process of its own, with a configuration of the caller."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench.load import KEY
from bench.processes import Process, free_port, python, running


@asynccontextmanager
async def serving(folder: Path, config: str) -> AsyncIterator[Process]:
    """A gateway that has started in a folder with this configuration, until the end of the block."""
    (folder / "video-gateway.toml").write_text(config)
    port = free_port()
    command = python("gateway", "serve", "--port", str(port))
    url = f"http://127.0.0.1:{port}"
    async with running(command, url, folder, ready="/health/ready", environment={"BENCH_KEY": KEY}) as process:
        yield process
