"""The sandbox of a chaos run: all providers in a process of its own, with faults and a journal of what was bought."""

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import httpx

ROOT = Path(__file__).parents[2]
SOON_SECONDS = 60.0  # what does not happen within this time counts as failed


class Fault(NamedTuple):
    """A fault of the sandbox, for a share of the calls."""

    operation: str
    name: str
    rate: float = 1.0
    args: dict[str, Any] = {}  # noqa: RUF012  # never changed
    provider: str = "any"


# Some of every kind of answer to submits and polls.
FAULTS = (
    Fault("submit", "close_before_read", 0.01),
    Fault("submit", "429", 0.02, {"retry_after": 1}),
    Fault("submit", "503_no_channel", 0.02),
    Fault("submit", "502_html", 0.01),
    Fault("submit", "close", 0.01, {"started": 1, "reset": 1}),
    Fault("submit", "close_after_accept", 0.02),
    Fault("submit", "truncated_json", 0.01),
    Fault("submit", "slow", 0.1, {"seconds": 1}),
    Fault("submit", "hang_after_accept", 0.005),
    Fault("submit", "fail", 0.03),
    Fault("submit", "slow_task", 0.05, {"seconds": 4}),
    Fault("poll", "lost", 0.005),
    Fault("poll", "500", 0.02),
    Fault("poll", "close", 0.01),
    Fault("poll", "garbage", 0.01),
    Fault("result", "close", 0.02),
    Fault("result", "502_html", 0.02),
)


class Sandbox:
    """`url` is empty until it is open."""

    def __init__(self, journal: Path, task_seconds: float) -> None:
        self.journal = journal
        self.journal.touch()
        self.url = ""
        self._task_seconds = task_seconds
        self._http = httpx.AsyncClient(timeout=5, trust_env=False)
        self._process: asyncio.subprocess.Process | None = None

    async def open(self) -> None:
        """Start it."""
        settings: dict[str, object] = {"queued_seconds": self._task_seconds / 4, "total_seconds": self._task_seconds}
        settings |= {"max_short_side": 64, "plain_results": "true"}
        changes = [f"--set={name}={value}" for name, value in settings.items()]
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "sandbox", "--port", "0", "--journal", str(self.journal), *changes),
            cwd=ROOT,
            env=environment(),
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(SOON_SECONDS):
            line = (await self._process.stdout.readline()).decode()
        match = re.search(r"sandbox on (http://[^;]+)", line)
        assert match, f"the sandbox printed {line!r}"
        self.url = match[1]

    async def faults(self, seed: int, *first: Fault, usual: bool = True) -> None:
        """Set these faults and, if `usual`, those of every run. Each affects calls at its rate."""
        await self.no_faults()
        for place, (operation, name, rate, args, provider) in enumerate((*first, *(FAULTS if usual else ()))):
            fault = {"fault": name, "operation": operation, "provider": provider, "times": None}
            wanted = fault | {"args": args | {"rate": rate, "seed": seed * 100 + place}}
            (await self._http.post(f"{self.url}/_sandbox/faults", json=wanted)).raise_for_status()

    async def no_faults(self) -> None:
        """Remove all faults."""
        (await self._http.delete(f"{self.url}/_sandbox/faults")).raise_for_status()

    async def close(self) -> None:
        """Kill it."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        await self._http.aclose()


def environment() -> dict[str, str]:
    """Our environment without variables that configure the gateway, or measure coverage of killed processes."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("VIDEO_GATEWAY_", "COVERAGE_"))}
