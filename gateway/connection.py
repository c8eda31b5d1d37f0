"""One connection of a client: uvicorn's HTTP protocol, with a limit on all that it holds and a timer in each state.

The states of a connection, and what ends each of them:

- *idle*, before a further request: uvicorn's keep-alive time-out, 5 s.
- *head*, from the start of the connection or the first byte of a further request: `HEAD_SECONDS`.
- *body*, and *answer under way*: the application, which has a time limit for bodies, for waiting reads and for streams
  that are not read (`json_body.py`, `request_log.py`, `streaming.py` in `gateway/api/web`).
- *rest of a body* after an answer: `RequestLog` reads on for a while before it ends the answer. Then the connection
  ends, with whatever the client still sends.
- *answer unread*: `UNREAD_SECONDS` after its end; before, `STALL_SECONDS` for each piece of it.
- *refused*: `REFUSED_SECONDS`.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from enum import Enum
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from gateway.api.web.headers import CLOSES
from gateway.api.web.streaming import CUT, STALL_SECONDS

Asgi = Callable[..., Awaitable[None]]
REFUSED_MAX = 500  # connections above a limit that get a 503; any further ones are closed without an answer
ADDRESS_MIN = 100  # connections that one address may always have, as far as there are so many
READ_MAX = 64 * 1024  # bytes that are read of one connection before others get their turn
HEAD_MAX = 64 * 1024  # bytes of the request line, the headers and the trailers together
FIELDS_MAX = 100  # headers and trailers together
HEAD_SECONDS = 30.0  # in which a client has to send a head
PIECES_MAX = 512  # pieces of a body that may be small; beyond, they must have `PIECE_BYTES` on average
PIECE_BYTES = 64  # each piece costs a call, so that millions of tiny chunks would stop the event loop for seconds
WAITING_MAX = 1  # requests that wait while the one before them is answered
UNREAD_SECONDS = 30.0  # in which a client has to read the rest of a complete answer
# A refused connection is read for a while before it is closed: a client that still sends would get a reset, no answer.
REFUSED_BYTES = 16 * 2**20
REFUSED_SECONDS = 3.0


class Admission(Enum):
    """What happens to a new connection."""

    SERVED = "served"
    REFUSED = "refused"  # each request is answered by 503, except health checks
    CLOSED = "closed"


class OpenConnections:
    """Counts the connections, all together and those of each address, against their limits."""

    def __init__(self, connections_max: int, address_max: int | None = None) -> None:
        """`address_max` is half of `connections_max` by default, but at least `ADDRESS_MIN`."""
        most = max(connections_max // 2, ADDRESS_MIN) if address_max is None else address_max
        self._max = connections_max
        self._address_max = min(most, connections_max)
        self._by_address: Counter[str] = Counter()
        self.open = 0

    def enter(self, address: str) -> Admission:
        """Count a new connection of an address as `owner_of` gives it; each needs a `leave`, whatever the answer is."""
        self.open += 1
        self._by_address[address] += 1
        beyond = self.open - self._max
        beyond_address = self._by_address[address] - self._address_max
        if beyond > REFUSED_MAX or beyond_address > REFUSED_MAX // 2:
            return Admission.CLOSED
        return Admission.REFUSED if beyond > 0 or beyond_address > 0 else Admission.SERVED

    def leave(self, address: str) -> None:
        """Stop counting a connection."""
        self.open -= 1
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]


def owner_of(host: str) -> str:
    """Whom a connection counts for: an IPv4 address, or the /64 of an IPv6 address, which one client can fill."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return host
    return str(address.ipv4_mapped or ip_network((address, 64), strict=False))


class _Beyond(Exception):
    """The request has more of something than a limit allows."""

    def __init__(self, status: int, text: str) -> None:
        self.status, self.text = status, text


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with the limits above. Make a class with limits of its own by `bounded`."""

    open_connections = OpenConnections(10_000)
    refusal: Asgi | None = None
    _owner = ""
    _in_head = True  # the next bytes belong to a head
    _has_begun = False  # the first bytes of this head have arrived
    _pending = 0  # bytes since the last end of a head, piece of a body or end of a message
    _fields = _field_bytes = 0  # of this message: its headers and trailers
    _pieces = _body_bytes = 0  # of this message
    _is_upgrade = False  # the head asks for another protocol, and is read again without that wish
    _beyond: _Beyond | None = None
    _answers = 0
    _running: RequestResponseCycle | None = None  # the request whose answer is under way, or was the last
    _head_timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None
    _paused_timer: asyncio.TimerHandle | None = None
    _refused_bytes: int | None = None  # received since the connection was refused; None: it was not refused

    # --- the connection ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # the type that uvicorn uses
        """Start the time limit of the first head, or refuse the connection if there are too many."""
        super().connection_made(transport)
        self._owner = owner_of(self.client[0]) if self.client else ""
        admission = self.open_connections.enter(self._owner)
        if admission is Admission.CLOSED:
            transport.abort()
            return
        if admission is Admission.REFUSED and self.refusal is not None:
            self.app = self.refusal
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers, and make room for another connection."""
        self.open_connections.leave(self._owner)
        self._stop_head_timer()
        self._stop_paused_timer()
        if self._unread_timer is not None:
            self._unread_timer.cancel()
        self._disconnect()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Note whose answer is under way: `cycle` is the newest request, which may wait for the end of this answer."""
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _disconnect(self) -> None:
        """Tell the application that nobody reads the answer. uvicorn tells it of the newest request alone."""
        for cycle in (self._running, self.cycle):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()

    def _end(self) -> None:
        """Close the connection when everything has been sent; a client that does not read does not hold it."""
        self._stop_head_timer()
        self.transport.close()
        self._watch_unread()

    def _watch_unread(self) -> None:
        """Start the time limit for reading, if the client has not read everything yet."""
        if self._unread_timer is None and self.transport.get_write_buffer_size():
            self._unread_timer = self.loop.call_later(UNREAD_SECONDS, self._check_unread, self._answers)

    def _check_unread(self, answers: int) -> None:
        self._unread_timer = None
        if self._is_answering():
            return  # the end of that answer starts a new time limit
        if self._answers == answers and self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self._watch_unread()

    def pause_writing(self) -> None:
        """Wait for the client, which has to read; a stream that is not read ends a little before this time limit."""
        super().pause_writing()
        self._paused_timer = self.loop.call_later(STALL_SECONDS + 5, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        super().resume_writing()
        self._stop_paused_timer()

    def _stop_paused_timer(self) -> None:
        if self._paused_timer is not None:
            self._paused_timer.cancel()
            self._paused_timer = None

    def _start_head_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._end)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    # --- bytes ---

    def data_received(self, data: bytes) -> None:
        """Read a request, and refuse one of which nothing ends: a long header, trailers or chunk extensions."""
        if self._refused_bytes is not None:
            self._refused_bytes += len(data)
            if self._refused_bytes > REFUSED_BYTES:
                self.transport.abort()
            return
        self._unset_keepalive_if_required()
        self._pending += len(data)
        before = self._pending
        try:
            self._parse(data)
        except httptools.HttpParserError:
            beyond, self._beyond = self._beyond, None
            self._refuse(beyond or _Beyond(400, "Invalid HTTP request received."))
            return
        if self._pending == before and before > HEAD_MAX:
            self._refuse(_too_large())
        elif self._in_head and not self._is_answering():
            self._start_head_timer()

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if not self._is_upgrade:  # CONNECT: whatever follows is not HTTP
                self.transport.close()
                return
            # The parser takes the body for the other protocol, which we do not speak: read the request without the wish
            self._is_upgrade = False
            headers = b"".join(
                b"%s: %s\r\n" % field for field in self.headers if field[0] not in {b"upgrade", b"http2-settings"}
            )
            version = self.parser.get_http_version().encode()
            head = b"%s %s HTTP/%s\r\n%s\r\n" % (self.parser.get_method(), self.url, version, headers)
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self._parse(head + data[upgrade.args[0] :])

    def _is_answering(self) -> bool:
        cycle: Any = self.cycle  # None before the first request
        return cycle is not None and not cycle.response_complete

    def _refuse(self, beyond: _Beyond) -> None:
        """Answer, and read for a moment: after an immediate close, a client that still sends would lose the answer."""
        self._stop_head_timer()
        if self._is_answering():
            self._disconnect()  # now, and not when the loop has closed the connection: the answer would fail
            if self._in_head or self._running is not self.cycle or self.cycle.response_started:
                self.transport.abort()  # the client would take our answer for another one, or for a part of it
                return
        self._refused_bytes = 0
        text = beyond.text.encode()
        head = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(text)
        self.transport.write(STATUS_LINE[beyond.status] + head + text)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(REFUSED_SECONDS, self._end)

    # --- what the parser calls ---

    def on_message_begin(self) -> None:
        """Begin a request. Only few may wait for the end of the one before."""
        if len(self.pipeline) >= WAITING_MAX:
            self._fail(_Beyond(400, "Send a request after the answer to the one before."))
        self._in_head = self._has_begun = True
        self._fields = self._field_bytes = self._pieces = self._body_bytes = 0
        super().on_message_begin()
        self.scope["state"][CUT] = self.transport.abort
        self.scope["state"][CLOSES] = self.transport.is_closing

    def on_url(self, url: bytes) -> None:
        """Count a part of the request line."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header or a trailer. Trailers are dropped: as headers they would change a request that has begun."""
        self._fields += 1
        self._count(len(name) + len(value) + 4)
        if self._in_head:
            super().on_header(name, value)

    def _count(self, size: int) -> None:
        self._field_bytes += size
        if self._field_bytes > HEAD_MAX or self._fields > FIELDS_MAX:
            self._fail(_too_large())

    def _fail(self, beyond: _Beyond) -> None:
        """Make the parser stop at once: it raises an error of its own for each error in a callback."""
        self._beyond = beyond
        raise beyond

    def on_headers_complete(self) -> None:
        """Stop the time limit, and start the application."""
        self._pending = 0
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._is_upgrade = True
            return
        self._stop_head_timer()
        self._in_head = self._has_begun = False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body; a body in millions of tiny pieces is refused."""
        self._pending = 0
        self._pieces += 1
        self._body_bytes += len(body)
        if self._pieces > PIECES_MAX and self._body_bytes < self._pieces * PIECE_BYTES:
            self._fail(_Beyond(400, f"Send chunks of at least {PIECE_BYTES} bytes."))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note the end of a request: the next bytes are a head again."""
        self._pending = 0
        if self._is_upgrade:
            return
        self._in_head = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with the next request, or end the connection if the client still sends the body of this one."""
        self._answers += 1
        super().on_response_complete()
        if not self._in_head and not self._is_answering():
            self._unset_keepalive_if_required()
            self.transport.close()
        elif self._has_begun:
            self._unset_keepalive_if_required()
            self._start_head_timer()
        self._watch_unread()

    def timeout_keep_alive_handler(self) -> None:
        """End an idle connection."""
        self._end()


def _too_large() -> _Beyond:
    return _Beyond(431, f"The head and the trailers may have {FIELDS_MAX} fields and {HEAD_MAX // 1024} KB together.")


class Inlet(asyncio.BufferedProtocol):
    """Gives a `BoundedProtocol` what arrives in pieces of at most `READ_MAX` bytes, so that all get their turn.

    Otherwise the event loop reads 256 KB of each connection at a time, which also takes new memory for each piece.
    """

    _buffer = memoryview(bytearray(READ_MAX))  # of all connections: a piece is copied before the next one is read

    def __init__(self, protocol: BoundedProtocol) -> None:
        self._protocol = protocol
        self.connection_lost = protocol.connection_lost  # type: ignore[method-assign]  # a call less for each event
        self.pause_writing = protocol.pause_writing  # type: ignore[method-assign]  # a call less for each event
        self.resume_writing = protocol.resume_writing  # type: ignore[method-assign]  # a call less for each event

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin a connection."""
        self._protocol.connection_made(cast("asyncio.Transport", transport))

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # the signature of asyncio
        """Where the event loop writes the next piece."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Read the next piece."""
        self._protocol.data_received(bytes(self._buffer[:nbytes]))


def bounded(open_connections: OpenConnections, refusal: Asgi) -> Callable[..., Inlet]:
    """Makes protocols with these limits: connections for which there is no room are answered by `refusal`."""
    members: dict[str, Any] = {"open_connections": open_connections, "refusal": staticmethod(refusal)}
    protocol = type("Bounded", (BoundedProtocol,), members)
    return lambda **arguments: Inlet(protocol(**arguments))
