"""The sandbox as a server: in the event loop of a test, or as a process."""

import asyncio
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from gateway.sandbox.admin import NewFault, add_fault
from gateway.sandbox.app import PROVIDERS, Sandbox, create_app
from gateway.sandbox.faults import Fault
from gateway.sandbox.media import missing
from gateway.sandbox.settings import Clock, Settings
from gateway.sandbox.state import State
from gateway.sandbox.wire import TRANSPORT


class OpenProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol. It gives the application access to the connection, so that a fault can break it."""

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self.scope["extensions"] = {TRANSPORT: self.transport}  # type: ignore[dict-item]  # an extension of our own


class SandboxServer:
    """A sandbox on its own port in the running event loop, without signal handlers. It stops without waiting.

    Takes the arguments of `create_app`. `async with SandboxServer() as sandbox:` gives `.url`, `.state`, `.fault(…)`.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Clock | None = None,
        journal: Path | None = None,
        **changes: Any,
    ) -> None:
        self.app: Sandbox = create_app(settings, clock=clock, journal=journal, **changes)
        self._host, self._port = host, port
        self._connections = ServerState()
        self._server: asyncio.Server | None = None

    @property
    def state(self) -> State:
        """The tasks, uploads and counters of the sandbox; tests may read and change them."""
        return self.app.state

    @property
    def url(self) -> str:
        """The URL of the sandbox, without a trailing slash. Raises `RuntimeError` if it does not run."""
        if self._server is None:
            raise RuntimeError("the sandbox is not running")
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def base_urls(self) -> dict[str, str]:
        """The base URL of each provider, for the configuration of a gateway."""
        bases = {name: f"{self.url}/{name}" for name in PROVIDERS}
        return bases | {"keevx": f"{bases['keevx']}/v1"}

    def fault(self, provider: str, operation: str, fault: str, times: int | None = 1, **args: Any) -> Fault:
        """Set a fault. Raises `ValueError` if it does not exist."""
        new = NewFault(fault=fault, provider=provider, operation=operation, times=times, args=args)
        return add_fault(self.state, new, {name: each.errors for name, each in PROVIDERS.items()})

    async def __aenter__(self) -> Self:
        """Listen."""
        config = uvicorn.Config(
            self.app, log_config=None, access_log=False, lifespan="off", ws="none", proxy_headers=False
        )
        config.load()
        loop = asyncio.get_running_loop()

        def protocol() -> asyncio.Protocol:
            return OpenProtocol(config=config, server_state=self._connections, app_state={}, _loop=loop)

        self._server = await loop.create_server(protocol, self._host, self._port, backlog=2048)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, and end every connection at once."""
        await self.stop_listening()
        for connection in list(self._connections.connections):
            connection.transport.abort()
        tasks = set(self._connections.tasks)
        if tasks:  # they notice that their client is gone; give running work a moment to end
            _, late = await asyncio.wait(tasks, timeout=2)
            for task in late:
                task.cancel()
        await self.app.close()

    async def stop_listening(self) -> None:
        """Refuse new connections, as a provider that is down does. Open connections continue."""
        if self._server is not None:
            self._server.close()


def serve(host: str = "127.0.0.1", port: int = 9000, *, journal: Path | None = None, **settings: Any) -> None:
    """Run until SIGINT or SIGTERM. `settings` are fields of `Settings`."""
    asyncio.run(_serve(SandboxServer(host=host, port=port, journal=journal, **settings)))


async def _serve(server: SandboxServer) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    async with server:
        lines = [f"Sandbox on {server.url}"]
        lines += [f"  {name.upper()}_BASE_URL={url}" for name, url in server.base_urls().items()]
        lines += [f"  faults and counters: {server.url}/_sandbox/faults, {server.url}/_sandbox/state"]
        why = missing()
        lines += [f"  no results: {why}"] if why else []
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
        await stop.wait()
