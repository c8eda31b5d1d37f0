"""The processes of a run: the sandbox, and gateways in front of it with a configuration and a ledger of their own."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from .measure import Target

VIDEOS = "/v1/videos/generations"
SOON_SECONDS = 30.0  # what does not happen within this time counts as failed
KEYS = {"ATTACKER_KEY": "vg_" + "a" * 40, "OTHER_KEY": "vg_" + "b" * 40}
PROVIDERS = {"keevx": "keevx/v1", "kling_relay": "kling_relay", "foxapi": "foxapi"}  # and the paths of the sandbox
POLLING = "first_poll_seconds = 0.3\npoll_seconds = 0.3\npoll_max_seconds = 0.6\nconcurrency = 64"
WITH_KEYS = 'api_keys = ["env:ATTACKER_KEY", "env:OTHER_KEY"]'
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Gateway(Target):
    """A running gateway, and the sandbox that it buys from."""

    sandbox: str
    process: asyncio.subprocess.Process

    def client(self, key: str = "ATTACKER_KEY", connections: int = 1000) -> httpx.AsyncClient:
        """A client with one of `KEYS`."""
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=20)
        headers = {"authorization": f"Bearer {KEYS[key]}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=60, limits=limits, trust_env=False)

    async def fault(self, name: str, operation: str, times: int | None = None, **args: Any) -> None:
        """Set a fault of the sandbox, for all providers."""
        body = {"fault": name, "operation": operation, "times": times, "args": args}
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            (await client.post(f"{self.sandbox}/_sandbox/faults", json=body)).raise_for_status()

    async def faults_left(self) -> int:
        """How many times faults with a number will still happen."""
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            rules = (await client.get(f"{self.sandbox}/_sandbox/faults")).json()["faults"]
        return sum(rule["times"] or 0 for rule in rules)

    async def all_happened(self) -> bool:
        """Whether every fault with a number has happened so often."""
        return await self.faults_left() == 0

    async def no_faults(self) -> None:
        """Remove all faults."""
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            (await client.delete(f"{self.sandbox}/_sandbox/faults")).raise_for_status()

    async def bought(self) -> int:
        """How many submits the sandbox has received."""
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            state = (await client.get(f"{self.sandbox}/_sandbox/state?tasks=0")).json()
        return sum(state["providers"][name]["submits"] for name in PROVIDERS)


@asynccontextmanager
async def sandbox(**settings: object) -> AsyncIterator[str]:
    """The URL of a sandbox, which is a process of its own."""
    changes = [f"--set={name}={value}" for name, value in settings.items()]
    async with _started(["sandbox", "--port", "0", *changes], {}, ROOT) as (url, _):
        yield url


@asynccontextmanager
async def gateway(
    folder: Path,
    sandbox_url: str,
    server: str = WITH_KEYS,
    *,
    more: str = "",
    provider_key: str = "sandbox-key-of-a-provider",
    stderr: int | None = None,
) -> AsyncIterator[Gateway]:
    """A gateway in an empty folder. `server` has the lines of `[server]`, `more` further tables.

    Its log is the file `gateway.log` of the folder, or goes to the descriptor `stderr`.
    """
    tables = [f"[server]\n{server}", '[artifacts]\nurl = "file:./artifacts"', '[fetch]\nallow = ["127.0.0.0/8"]', more]
    for name, path in PROVIDERS.items():
        tables.append(f'[providers.{name}]\napi_key = "env:PROVIDER_KEY"\nbase_url = "{sandbox_url}/{path}"\n{POLLING}')
    (folder / "video-gateway.toml").write_text("\n".join(tables) + "\n")
    with (folder / "gateway.log").open("ab") as log:
        secrets = KEYS | {"PROVIDER_KEY": provider_key}
        arguments = ["serve", "--port", "0"]
        async with _started(arguments, secrets, folder, log.fileno() if stderr is None else stderr) as (url, process):
            await _ready(url)
            yield Gateway(url, process.pid, sandbox_url, process)


@asynccontextmanager
async def _started(
    arguments: list[str], variables: Mapping[str, str], folder: Path, stderr: int | None = None
) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """Start a command of ours; the URL is that of the first line that it prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VIDEO_GATEWAY_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", *arguments),
        cwd=folder,
        env=environment | dict(variables),
        stdout=asyncio.subprocess.PIPE,
        stderr=stderr,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(SOON_SECONDS):
            line = (await process.stdout.readline()).decode()
        match = re.search(r"http://[^;\s]+", line)
        assert match is not None, f"it printed {line!r} instead of its URL"
        yield match[0], process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
            await process.wait()


async def _ready(url: str) -> None:
    """Wait until the gateway is ready, and let it make what it makes once."""
    async with httpx.AsyncClient(base_url=url, timeout=SOON_SECONDS, trust_env=False) as client:
        await until(lambda: _is_ready(client))
        (await client.get("/openapi.json")).raise_for_status()


async def _is_ready(client: httpx.AsyncClient) -> bool:
    return (await client.get("/health/ready")).is_success


async def until(is_so: Callable[[], Awaitable[bool]], seconds: float = SOON_SECONDS) -> None:
    """Ask until the answer is yes. Raises `TimeoutError` after so many seconds."""
    async with asyncio.timeout(seconds):
        while not await is_so():  # noqa: ASYNC110  # another process decides
            await asyncio.sleep(0.1)


async def create(client: httpx.AsyncClient, prompt: str = "a cat", **fields: Any) -> dict[str, Any]:
    """Create a generation."""
    answer = await client.post(VIDEOS, json={"model": "kling_relay/kling-v1-6", "prompt": prompt, **fields})
    made: dict[str, Any] = answer.raise_for_status().json()
    return made


async def ended(client: httpx.AsyncClient, made: dict[str, Any]) -> dict[str, Any]:
    """Wait until a generation has ended."""
    async with asyncio.timeout(SOON_SECONDS):
        while made["status"] in {"queued", "in_progress"}:
            await asyncio.sleep(0.1)
            made = (await client.get(f"{VIDEOS}/{made['id']}")).raise_for_status().json()
    return made
