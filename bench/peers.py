"""The gateways of others, for `make bench PEERS=1`: LiteLLM from PyPI, Portkey from npm, each in a folder of its own.

They send each request on and store nothing. LiteLLM serves OpenAI's `/v1/videos`. Portkey fails to send this path on,
so it gets `/v1/images/generations`.
"""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from bench.load import KEY, request
from bench.processes import MEASURED_CORE, ROOT, Process, folder_mb, free_port, running
from bench.systems import System

FOLDER = ROOT / "build" / "bench" / "peers"
LITELLM = "litellm[proxy]==1.108.7"
PORTKEY = "@portkey-ai/gateway@1.15.2"
CREATE = msgspec.json.encode({"model": "sora-2", "prompt": "A calm sunrise over the ocean", "seconds": "4"})
CONFIGURATION = """
model_list:
  - model_name: sora-2
    litellm_params: {{model: openai/sora-2, api_base: "{provider}/v1", api_key: "{key}"}}
general_settings: {{master_key: "{key}"}}
litellm_settings: {{telemetry: false}}
"""


async def install() -> tuple[System, ...]:
    """Install both where they are missing. Portkey is left out without npm."""
    if not (FOLDER / "litellm" / "bin" / "litellm").exists():
        await _done(sys.executable, "-m", "venv", str(FOLDER / "litellm"))
        pip = (
            str(FOLDER / "litellm" / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        )
        await _done(*pip, LITELLM)
    npm = shutil.which("npm")
    if npm is None:
        return (_LITELLM,)
    if not _PORTKEY_SERVER.exists():
        await _done(npm, "install", "--prefix", str(FOLDER / "portkey"), "--no-audit", "--no-fund", "--silent", PORTKEY)
    return _LITELLM, _PORTKEY


async def _done(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command)
    if await process.wait() != 0:
        raise RuntimeError(f"{' '.join(command)} failed")


@asynccontextmanager
async def litellm(folder: Path, provider: str) -> AsyncIterator[Process]:
    """LiteLLM's proxy with one worker."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "litellm.yaml").write_text(CONFIGURATION.format(provider=provider, key=f"sk-{KEY}"))
    port = free_port()
    program = str(FOLDER / "litellm" / "bin" / "litellm")
    async with running(
        [program, "--config", str(folder / "litellm.yaml"), "--host", "127.0.0.1", "--port", str(port)],
        f"http://127.0.0.1:{port}",
        folder,
        core=MEASURED_CORE,
        ready="/health/liveliness",
        environment={"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"},
    ) as process:
        yield process


@asynccontextmanager
async def portkey(folder: Path, provider: str) -> AsyncIterator[Process]:  # noqa: ARG001  # each request names it
    """Portkey's gateway."""
    port = free_port()
    async with running(
        ["node", str(_PORTKEY_SERVER), f"--port={port}", "--headless"],
        f"http://127.0.0.1:{port}",
        folder,
        core=MEASURED_CORE,
        ready="/",
        environment={"NODE_ENV": "production"},
    ) as process:
        yield process


_PORTKEY_SERVER = FOLDER / "portkey" / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
_LITELLM = System(
    "LiteLLM",
    litellm,
    create=lambda _: request("POST", "/v1/videos", CREATE, key=f"sk-{KEY}"),
    read=lambda name: request("GET", f"/v1/videos/{name}", key=f"sk-{KEY}"),
)
_PORTKEY = System(
    "Portkey",
    portkey,
    create=lambda provider: request(
        "POST",
        "/v1/images/generations",
        msgspec.json.encode({"model": "gpt-image-1", "prompt": "A calm sunrise over the ocean"}),
        {"x-portkey-provider": "openai", "x-portkey-custom-host": f"{provider}/v1"},
    ),
    read=None,
)


def sizes() -> dict[str, float]:
    """How many MB each has on the disk."""
    folders = {_LITELLM.name: FOLDER / "litellm" / "lib", _PORTKEY.name: FOLDER / "portkey" / "node_modules"}
    return {name: folder_mb(folder) for name, folder in folders.items() if folder.exists()}
