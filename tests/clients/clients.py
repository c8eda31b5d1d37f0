"""The client packages, and how each of them is run."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from .world import KEYS, World

HERE = Path(__file__).parent
NODE = HERE / "node" / "node_modules"
LITELLM = HERE / ".litellm"  # an environment of its own: the package pins many versions that the gateway does not
LITELLM_VERSION = "1.108.7"
SECONDS = 180.0  # for one client


class Client(msgspec.Struct, frozen=True):
    """A package, and the script that makes its calls."""

    name: str  # of the package and its version
    pointed_by: str  # what is changed in a program that uses it
    script: tuple[str, ...]  # a file of this folder, and its arguments
    environment: str  # test: the one of the tests; litellm, node, curl


PYTHON = (
    Client("openai 3.57.0 (Python)", "`base_url`: …`/v1`", ("python/openai_calls.py",), "test"),
    Client("openai 3.57.0 (Python), AsyncOpenAI", "`base_url`: …`/v1`", ("python/openai_calls.py", "--async"), "test"),
    Client("openrouter 1.3.84 (Python)", "`server_url`: see the calls", ("python/openrouter_calls.py",), "test"),
    Client("mcp 2.3.0 (Python)", "the URL: …`/mcp`", ("python/mcp_calls.py",), "test"),
    Client("curl, lines for Keevx", "…`/keevx/v1`", ("python/curl_calls.py", "curl/keevx.sh"), "test"),
    Client("curl, lines for FoxAPI", "…`/foxapi/v1`", ("python/curl_calls.py", "curl/foxapi.sh"), "test"),
    Client("curl, lines for the Kling relay", "…`/kling/v1`", ("python/curl_calls.py", "curl/kling.sh"), "test"),
)
OTHERS = (
    Client(f"litellm {LITELLM_VERSION} (Python)", "`api_base`: …`/v1`", ("python/litellm_calls.py",), "litellm"),
    Client(
        f"litellm {LITELLM_VERSION}, its proxy", "`api_base`: …`/v1`", ("python/litellm_proxy_calls.py",), "litellm"
    ),
    Client("openai 7.59.0 (npm)", "`baseURL`: …`/v1`", ("node/openai.mjs",), "node"),
    Client("ai 7.0.173 (npm) with its providers", "`baseURL`: see the calls", ("node/ai_sdk.mjs",), "node"),
    Client("@openrouter/sdk 1.3.19 (npm)", "`serverURL`: see the calls", ("node/openrouter.mjs",), "node"),
    Client("@evolinkai/evolink-media 1.2.1 (npm)", "`baseUrl`: see the calls", ("node/evolink.mjs",), "node"),
    Client("kling-api 1.0.0 (npm)", "`baseUrl`: see the calls", ("node/kling_api.mjs",), "node"),
)
CLIENTS = PYTHON + OTHERS


class Result(msgspec.Struct, frozen=True):
    """What one call of one client did."""

    client: str
    call: str
    ok: bool
    why: str  # empty if it worked


def run(client: Client, world: World) -> list[Result]:
    """The results of a client's calls, in their order. Raises `AssertionError` if its script itself fails.

    Each client has a key of its own, so that several can use one gateway.
    """
    world = msgspec.structs.replace(world, key=KEYS[CLIENTS.index(client)])
    done = subprocess.run(  # noqa: S603  # our own scripts
        _command(client),
        cwd=HERE,
        env=os.environ | world.environ() | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert done.returncode == 0, f"{client.name}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    assert lines, f"{client.name} made no call: {done.stderr[-4000:]}"
    return [msgspec.convert({"client": client.name} | json.loads(line), Result) for line in lines]


def _command(client: Client) -> Sequence[str]:
    if client.environment == "node":
        return [str(NODE / ".bin" / "node"), *client.script]
    if client.environment == "litellm":
        return [str(LITELLM / "bin" / "python"), *client.script]
    return [sys.executable, *client.script]


def install() -> None:
    """Install the packages that the environment of the tests does not have. Raises `CalledProcessError`."""
    if not (NODE / ".bin" / "node").exists():
        npm = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"]
        subprocess.run(npm, cwd=HERE / "node", check=True)  # noqa: S603
    if not (LITELLM / "bin" / "litellm").exists():
        subprocess.run([sys.executable, "-m", "venv", str(LITELLM)], check=True)  # noqa: S603
        pip = [str(LITELLM / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, f"litellm[proxy]=={LITELLM_VERSION}"], check=True)  # noqa: S603
