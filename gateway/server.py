"""The listening sockets and the HTTP server: uvicorn, with limits on connections and on the head of a request."""

import asyncio
import contextlib
import errno
import resource
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.api.web.streaming import CUT
from gateway.app import Application
from gateway.domain.errors import ConfigurationError

log = structlog.get_logger()
Asgi = Callable[..., Awaitable[None]]
BACKLOG = 2048
REFUSED_MAX = 500  # connections above the limit that get a 503; any further ones are closed without an answer
DESCRIPTORS_KEPT = 512  # open files for the ledger, inputs and calls to providers, not for clients
HEAD_MAX = 64 * 1024  # bytes of the request line and the headers
HEAD_SECONDS = 30.0  # in which a client has to send them
# A refused connection is read for a while before it is closed: a client that still sends would get a reset, no answer.
REFUSED_BYTES = 16 * 2**20
REFUSED_SECONDS = 3.0
LINGER_SECONDS = 0.5  # in which load balancers can see that this process is not ready any more
GRACE_SECONDS = 3  # for answers that are being sent when the gateway stops; then their connections end
# Errors that are about the address, not about the port.
_WRONG_HOST = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


def listen(host: str, port: int) -> list[socket.socket]:
    """Listening sockets for a host name or address, all on one port; 0: any free port.

    Raises `ConfigurationError` if the host or the port cannot be used.
    """
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"server.host: {host} cannot be resolved: {_reason(error)}") from error
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
        raise ConfigurationError(f"server.host: {host} is not an address of this machine") from fault
    if fault.errno == errno.EADDRINUSE:
        raise ConfigurationError(
            f"server.port: {port} on {host} is taken by another process; choose a free port, or 0 for any"
        ) from fault
    raise ConfigurationError(f"server.port: cannot listen on {port} of {host}: {_reason(fault)}") from fault


def url_of(listener: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _bound(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.settimeout(0)
    except OSError:
        listener.close()
        raise
    return listener


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with two limits: a head that is too long or too slow ends the connection.

    Without them a client could fill the memory: the parser stores a head until it is complete, and uvicorn waits for
    that without a limit.
    """

    connections_max = 10_000  # further ones are answered by `refusal`
    refusal: Asgi | None = None
    _in_head = True
    _head_ended = False  # within the bytes that just arrived
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None
    _refused_bytes: int | None = None  # received since the connection was refused; None: it was not refused

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # the type that uvicorn uses
        """Start the time limit of the first head, or refuse the connection if there are too many."""
        super().connection_made(transport)
        beyond = len(self.connections) - self.connections_max
        if beyond > REFUSED_MAX:
            transport.abort()
            return
        if beyond > 0 and self.refusal is not None:
            self.app = self.refusal
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the time limit."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count the bytes that certainly belong to a head, and refuse a head that is too long."""
        if self._refused_bytes is not None:
            self._refused_bytes += len(data)
            if self._refused_bytes > REFUSED_BYTES:
                self.transport.abort()
            return
        only_head = self._in_head
        self._head_ended = False
        super().data_received(data)
        if only_head and not self._head_ended and not self._is_over():
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_MAX:
                self._refuse(431, b"")

    def _is_over(self) -> bool:
        return self._refused_bytes is not None or self.transport.is_closing()

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is not HTTP with 400."""
        self._refuse(400, msg.encode())

    def _refuse(self, status: int, text: bytes) -> None:
        """Answer, and read for a moment: after an immediate close, a client that still sends would lose the answer."""
        self._stop_timer()
        self._refused_bytes = 0
        head = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(text)
        self.transport.write(STATUS_LINE[status] + head + text)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(REFUSED_SECONDS, self.transport.close)

    def on_message_begin(self) -> None:
        """Start the time limit of a further head; that of the first head runs since the connection was made."""
        super().on_message_begin()
        self.scope["state"][CUT] = self.transport.abort
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def on_headers_complete(self) -> None:
        """Stop the time limit: the head is complete."""
        self._stop_timer()
        self._in_head, self._head_ended, self._head_bytes = False, True, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note the end of a request: the next bytes are a head again."""
        self._in_head = True
        super().on_message_complete()

    def _too_slow(self) -> None:
        self._head_timer = None
        self.transport.close()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def bounded(connections_max: int, refusal: Asgi) -> type[BoundedProtocol]:
    """The protocol with a limit: connections above it are answered by `refusal` and closed."""
    return type("Bounded", (BoundedProtocol,), {"connections_max": connections_max, "refusal": staticmethod(refusal)})


def _descriptors() -> int:
    """How many files and connections the process may have open, after raising the soft limit to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


class GatewayServer(uvicorn.Server):
    """Serves one application. The caller handles signals."""

    def __init__(self, application: Application, ready: Callable[[], None]) -> None:
        """`ready` is called once, when the server answers requests."""
        self._application = application
        self._ready = ready
        self._leaving: asyncio.Task[None] | None = None
        self._grace_seconds = grace = int(min(GRACE_SECONDS, application.drain_seconds / 3))
        wanted = application.settings.server.max_connections
        allowed = min(wanted, _descriptors() - DESCRIPTORS_KEPT)
        if allowed < wanted:
            log.warning("connections_limited", max_connections=wanted, allowed=allowed)
        super().__init__(
            uvicorn.Config(
                application.asgi,
                loop="none",
                http=bounded(allowed, application.refusing),
                ws="none",
                interface="asgi3",
                lifespan="on",
                log_config=None,
                log_level="error",  # any client can cause lower levels by sending garbage
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=grace + 1,  # for connections that `_cut` did not end
            )
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
            self._ready()
