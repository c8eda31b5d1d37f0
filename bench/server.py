"""A gateway as it runs in production, in a process of its own, for benchmarks that measure it from outside."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

KEY = "bench-key-0123456789abcdef"  # the configuration has it as `env:BENCH_KEY`


class Server(NamedTuple):
    """A gateway process."""

    url: str
    pid: int

    def memory_kb(self) -> float:
        """Resident memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1024

    def cpu_seconds(self) -> float:
        """CPU seconds of all its threads until now."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def serving(folder: Path, config: str) -> AsyncIterator[Server]:
    """A gateway that has started in a folder with this configuration, until the end of the block."""
    (folder / "video-gateway.toml").write_text(config)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "serve", "--port", "0"),
        cwd=folder,
        env={**os.environ, "BENCH_KEY": KEY},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        yield Server((await process.stdout.readline()).decode().split()[-1], process.pid)
    finally:
        process.terminate()
        await process.wait()
