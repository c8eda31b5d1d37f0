"""What is measured side by side: the gateway, yardsticks, and the gateways of others, each a process on one core."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from bench.load import KEY, request
from bench.processes import MEASURED_CORE, ROOT, Process, free_port, python, running
from bench.upstream import NGINX, PROXY, nginx

PATH = "/v1/videos/generations"
BODY = {
    "model": "kling-v3-text-to-video",
    "prompt": "A calm sunrise over the ocean",
    "duration": 5,
    "resolution": "720p",
}
CREATE = msgspec.json.encode(BODY)
SELDOM_SECONDS = 3600.0  # between polls, where polls are not measured
CONFIGURATION = """
[server]
api_keys = ["env:BENCH_KEY"]
max_open_generations = 1000000
[database]
url = "sqlite:///{folder}/ledger.db"
[artifacts]
url = "file:{folder}/artifacts"
thumbnails = false
[fetch]
allow = ["127.0.0.0/8"]
[providers.foxapi]
api_key = "env:BENCH_KEY"
base_url = "{provider}"
concurrency = 64
{polling}
"""


@dataclass(frozen=True)
class System:
    """Something that can be measured."""

    name: str
    start: Callable[[Path, str], AbstractAsyncContextManager[Process]]  # gets a folder and the URL of the provider
    create: Callable[[str], bytes] = lambda _: request("POST", PATH, CREATE)  # gets the URL of the provider
    read: Callable[[str], bytes] | None = lambda name: request("GET", f"{PATH}/{name}")  # gets the id of a create
    durable: bool = False  # it stores what it promises, so its answers are measured at fixed rates as well
    lists: bool = False  # it has a list of its generations
    submits: bool = True  # each create sends one request to the provider, perhaps after its answer


def polling(seconds: float | None) -> str:
    """The lines of the configuration for one interval between polls; without one, those of the adapter count."""
    names = ("first_poll_seconds", "poll_seconds", "poll_max_seconds")
    return "" if seconds is None else "\n".join(f"{name} = {seconds}" for name in names)


@asynccontextmanager
async def gateway(
    folder: Path, provider: str, *, checkout: Path = ROOT, poll_seconds: float | None = SELDOM_SECONDS
) -> AsyncIterator[Process]:
    """The gateway of a checkout, as `video-gateway serve` runs it. Its ledger is in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config, port = folder / "gateway.toml", free_port()
    config.write_text(CONFIGURATION.format(folder=folder, provider=provider, polling=polling(poll_seconds)))
    command = python("gateway", "serve", "--config", str(config), "--port", str(port), "--moved")
    async with running(
        command,
        f"http://127.0.0.1:{port}",
        folder,
        core=MEASURED_CORE,
        ready="/health/ready",
        environment={"BENCH_KEY": KEY, "PYTHONPATH": str(checkout)},  # before the package that is installed
    ) as process:
        yield process


@asynccontextmanager
async def prototype(folder: Path, provider: str, *, poll_seconds: float = SELDOM_SECONDS) -> AsyncIterator[Process]:
    """`bench/prototype.py` on granian, the quickest server that it can have."""
    port = free_port()
    command = python(
        "granian", "--interface", "asgi", "--port", str(port), "--loop", "uvloop", "--no-ws", "bench.prototype:app"
    )
    async with running(
        command,
        f"http://127.0.0.1:{port}",
        folder,
        core=MEASURED_CORE,
        ready="/health/live",
        environment={
            "PROTOTYPE_PROVIDER": provider,
            "PROTOTYPE_LEDGER": str(folder / "prototype.db"),
            "PROTOTYPE_POLL_SECONDS": str(poll_seconds),
            "PYTHONPATH": str(ROOT),
        },
    ) as process:
        yield process


@asynccontextmanager
async def bare(folder: Path, _: str) -> AsyncIterator[Process]:
    """`bench/bare.py` on uvicorn, the gateway's server."""
    port = free_port()
    options = (
        "--port",
        str(port),
        "--loop",
        "uvloop",
        "--http",
        "httptools",
        "--no-access-log",
        "--log-level",
        "error",
    )
    command = python("uvicorn", *options, "bench.bare:app")
    environment = {"PYTHONPATH": str(ROOT)}
    async with running(
        command, f"http://127.0.0.1:{port}", folder, core=MEASURED_CORE, ready="/health/live", environment=environment
    ) as process:
        yield process


@asynccontextmanager
async def proxy(folder: Path, provider: str) -> AsyncIterator[Process]:
    """The provider itself, through nginx."""
    port = free_port()
    servers = PROXY.format(port=port, provider=provider.removeprefix("http://"))
    async with nginx(folder, servers, f"http://127.0.0.1:{port}", MEASURED_CORE) as process:
        yield process


GATEWAY = System("gateway", gateway, durable=True, lists=True)
PROTOTYPE = System("prototype", prototype, durable=True)
YARDSTICKS = (
    PROTOTYPE,
    System("bare Litestar", bare, submits=False),
    *((System("nginx as a proxy", proxy, read=lambda _: request("GET", "/v1/tasks/task-1")),) if NGINX else ()),
)


def before(checkout: Path) -> System:
    """The gateway of another checkout."""
    return System("gateway before", partial(gateway, checkout=checkout), durable=True, lists=True)
