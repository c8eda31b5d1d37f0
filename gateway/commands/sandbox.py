"""`sandbox`: imitates the providers on a port of this machine."""

import asyncio
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import rich_click as click

from gateway.commands.terminal import say
from gateway.sandbox.media import missing
from gateway.sandbox.server import SandboxServer

KEY = "sandbox-key"  # any key works, except those to which the sandbox reacts in a special way


def sandbox(host: str, port: int, journal: Path | None, changes: Mapping[str, Any]) -> int:
    """Run until SIGINT or SIGTERM. Returns the exit code."""
    try:
        server = SandboxServer(host=host, port=port, journal=journal, **changes)
    except msgspec.ValidationError as error:
        raise click.UsageError(f"--set: {error}") from error
    try:
        asyncio.run(_run(server))
    except OSError as error:
        raise click.UsageError(f"--port: cannot listen on {port} of {host}: {error.strerror or error}") from error
    return 0


async def _run(server: SandboxServer) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with server:
        say(
            f"# sandbox on {server.url}; faults and counters: {server.url}/_sandbox/faults, {server.url}/_sandbox/state"
        )
        if reason := missing():
            say(f"# no results: {reason}")
        say("# start a gateway that uses it with:")
        for name, url in server.base_urls().items():
            say(f"export {name.upper()}_API_KEY={KEY} {name.upper()}_BASE_URL={url}")
        await stop.wait()
