"""The listening sockets and the HTTP server: uvicorn, with the connections of `gateway/connection.py`."""

import asyncio
import contextlib
import errno
import resource
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import structlog
import uvicorn

from gateway.api.web.streaming import STALL_SECONDS
from gateway.app import Application
from gateway.connection import Asgi, OpenConnections, bounded
from gateway.domain.errors import ConfigurationError
from gateway.metrics.figures import connections

log = structlog.get_logger()
BACKLOG = 2048
UNREAD_MILLISECONDS = int(STALL_SECONDS + 30) * 1000
DESCRIPTORS_KEPT = 512  # open files for the ledger, inputs and calls to providers, not for clients
METRICS_CONNECTIONS = 64  # of the port for metrics: Prometheus and health checks need a few
LINGER_SECONDS = 0.5  # in which load balancers can see that this process is not ready any more
GRACE_SECONDS = 3  # for answers that are being sent when the gateway stops; then their connections end
# Errors that are about the address, not about the port.
_WRONG_HOST = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


def listen(host: str, port: int, section: str = "server") -> list[socket.socket]:
    """Listening sockets for a host name or address, all on one port; 0: any free port.

    Raises `ConfigurationError` if the host or the port cannot be used; it names the keys of this section.
    """
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"{section}.host: {host} cannot be resolved: {_reason(error)}") from error
    sockets: list[socket.socket] = []
    fault: OSError | None = None
    for family, kind, protocol, _, address in dict.fromkeys(addresses):
        place = (address[0], port, *address[2:])
        try:
            listener = _bound(family, kind, protocol, place)
        except OSError as error:
            fault = error
            if error.errno in _WRONG_HOST:
                continue  # `localhost` may have an IPv6 address on a machine without IPv6
            break
        sockets.append(listener)
        port = listener.getsockname()[1]
        fault = None
    if fault is None or (sockets and fault.errno in _WRONG_HOST):
        return sockets
    for listener in sockets:
        listener.close()
    if fault.errno in _WRONG_HOST:
        raise ConfigurationError(f"{section}.host: {host} is not an address of this machine") from fault
    if fault.errno == errno.EADDRINUSE:
        raise ConfigurationError(
            f"{section}.port: {port} on {host} is taken by another process; choose a free port, or 0 for any"
        ) from fault
    raise ConfigurationError(f"{section}.port: cannot listen on {port} of {host}: {_reason(fault)}") from fault


def url_of(listener: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _bound(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sys.platform == "linux":
            # Accepted connections inherit it: the system ends one whose client does not read what we have handed over.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MILLISECONDS)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.settimeout(0)
    except OSError:
        listener.close()
        raise
    return listener


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _descriptors() -> int:
    """How many files and connections the process may have open, after raising the soft limit to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


class GatewayServer(uvicorn.Server):
    """Serves one application. The caller handles signals."""

    def __init__(
        self, application: Application, ready: Callable[[], None], metrics: Sequence[socket.socket] = ()
    ) -> None:
        """`ready` is called once, when the server answers requests. `metrics`: sockets of the port for metrics."""
        self._application = application
        self._metrics_sockets = metrics
        self._ready = ready
        self._leaving: asyncio.Task[None] | None = None
        self._grace_seconds = int(min(GRACE_SECONDS, application.drain_seconds / 3))
        wanted = application.settings.server.max_connections
        reserved = DESCRIPTORS_KEPT + (METRICS_CONNECTIONS if metrics else 0)
        allowed = min(wanted, _descriptors() - reserved)
        if allowed < wanted:
            log.warning("connections_limited", max_connections=wanted, allowed=allowed)
        open_connections = OpenConnections(allowed, application.settings.server.max_connections_per_address)
        application.metrics.add(lambda: connections(open_connections.open, allowed))
        super().__init__(self._config(application.asgi, open_connections))

    def _config(self, app: Asgi, open_connections: OpenConnections) -> uvicorn.Config:
        return uvicorn.Config(
            app,
            loop="none",
            http=bounded(open_connections, self._application.refusing),  # type: ignore[arg-type]  # it only has to make protocols
            ws="none",
            interface="asgi3",
            lifespan="on",
            log_config=None,
            log_level="error",  # any client can cause lower levels by sending garbage
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=self._grace_seconds + 1,  # for connections that `_cut` did not end
        )

    def stop(self) -> None:
        """Take no new work, report "not ready", and answer requests until the running submits have ended; then stop."""
        self._application.drain()
        self._leaving = asyncio.get_running_loop().create_task(self._leave())

    async def _leave(self) -> None:
        try:
            await asyncio.sleep(LINGER_SECONDS)
            await self._application.drained(reserve_seconds=self._grace_seconds)
        finally:
            self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop. A download that takes longer than the grace period is cut; its client can resume it."""
        cutting = asyncio.get_running_loop().call_later(self._grace_seconds, self._cut)
        try:
            await super().shutdown(sockets)
        finally:
            cutting.cancel()

    def _cut(self) -> None:
        if self.server_state.tasks:
            log.info("responses_aborted", count=len(self.server_state.tasks))
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and call `ready`."""
        await super().startup(sockets)
        if self.started:
            await self._start_metrics()
            self._ready()

    async def _start_metrics(self) -> None:
        """Serve the port for metrics, with the same connections. A stop ends them together with the others."""
        config = self._config(self._application.metrics_asgi, OpenConnections(METRICS_CONNECTIONS, METRICS_CONNECTIONS))
        config.load()
        make: Any = config.http_protocol_class  # `bounded` has made a function
        protocol = partial(make, config=config, server_state=self.server_state, app_state=self.lifespan.state)
        for listener in self._metrics_sockets:
            self.servers.append(await asyncio.get_running_loop().create_server(protocol, sock=listener))
