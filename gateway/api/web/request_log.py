"""Around every request: an id that the client, the log and an error share, and one line when it is done."""

import time
from collections.abc import Iterable
from secrets import token_hex

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, ReceiveMessage, Scope, Send

from gateway.api.web.json_body import Bodies
from gateway.api.web.streaming import CUT
from gateway.api.web.timeouts import within
from gateway.clock import Clock
from gateway.store.port import is_cursor
from gateway.telemetry import Observer, RequestFinished

ERROR_CODE = "error_code"  # in the state of a request: the code of the error that answered it, for telemetry
CLIENT_GONE = 499  # in the log alone: what nginx writes for a client that does not wait for its answer
# What is read and thrown away of a body after its request has been answered. A connection that is closed while its
# client still sends is reset, and a client that sees the reset before the answer sends everything again.
LINGER_BYTES = 256 * 2**20
LINGER_SECONDS = 30.0
LINGER_IDLE_SECONDS = 5.0  # without anything new
_QUIET = ("/health/", "/metrics")
_NO_SNIFFING = (b"x-content-type-options", b"nosniff")
# What an answer tells is its client's alone. One with an ETag may be kept, to be asked for again each time.
_NOT_KEPT = (b"cache-control", b"no-store")
_ASKED_AGAIN = (b"cache-control", b"private, no-cache")


class RequestLog:
    """ASGI middleware outside of the framework, so that its own errors are seen as well."""

    def __init__(self, app: ASGIApp, bodies: Bodies, clock: Clock, observer: Observer) -> None:
        self._app = app
        self._bodies = bodies
        self._clock = clock
        self._observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on, body by body as there is room; answer with `x-request-id`."""
        if scope["type"] == ScopeType.HTTP:
            await self._http(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        request_id = "req_" + token_hex(12)
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.perf_counter()
        path = scope["path"]  # as it came: the framework puts its own in its place
        status = 0
        gone = False
        size = 0  # of what came of the body: the request has it in one form or another until its end
        unread = _has_body(scope)
        heard = False
        end: Message | None = None  # of the answer, held back while the rest of the body is read

        async def hear() -> ReceiveMessage:
            nonlocal gone, size, unread, heard
            heard = True
            message = await receive()
            while status and message["type"] == "http.request":
                unread = unread and message.get("more_body", False)
                message = await receive()  # behind the answer's beginning nobody reads a body
            if message["type"] == "http.request":
                unread = unread and message.get("more_body", False)
                came = len(message.get("body", b""))
                self._bodies.grow(size, came)
                size += came
            else:
                gone = True
            return message

        async def answer(message: Message) -> None:
            nonlocal status, end
            if gone:
                return
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"] = _headers(message["headers"], request_id)
                if unread and not heard and _expects(scope):  # its client may never send the body that was announced
                    headers.append((b"connection", b"close"))
            elif unread and message["type"] == "http.response.body" and not message.get("more_body", False):
                end = {"type": "http.response.body", "body": b"", "more_body": False}
                message["more_body"] = True
            await send(message)

        try:
            await self._app(scope, hear, answer)
        finally:
            self._bodies.release(size)
            if not path.startswith(_QUIET):
                self._observer.observe(
                    RequestFinished(
                        request_id=request_id,
                        method=scope["method"],
                        location=place(scope),
                        status=status or (CLIENT_GONE if gone else 0),
                        error_code=scope["state"].get(ERROR_CODE),
                        duration_seconds=round(time.perf_counter() - started, 5),
                    )
                )
        if end is not None and not gone:
            await self._read_rest(scope, receive)
            await send(end)

    async def _read_rest(self, scope: HTTPScope, receive: Receive) -> None:
        """Throw away what still comes of a body, until its end; cut the connection of a client that goes on and on."""
        left = LINGER_BYTES
        try:
            async with within(self._clock, LINGER_SECONDS):
                while left > 0:
                    async with within(self._clock, LINGER_IDLE_SECONDS):
                        message = await receive()
                    if message["type"] != "http.request" or not message.get("more_body", False):
                        return
                    left -= len(message.get("body", b""))
        except TimeoutError:
            return  # the client has had the time to read its answer
        if (cut := scope["state"].get(CUT)) is not None:
            cut()


def _has_body(scope: HTTPScope) -> bool:
    """Whether the client said that a body follows."""
    return any(
        (name == b"content-length" and value.strip() != b"0") or name == b"transfer-encoding"
        for name, value in scope["headers"]
    )


def _expects(scope: HTTPScope) -> bool:
    """Whether the client waits for leave to send its body (`Expect: 100-continue`), which reading it gives."""
    return any(name == b"expect" for name, _ in scope["headers"])


def place(scope: Scope) -> dict[str, str]:
    """Where a request went, for the log: the path's template, "" where none fits, and the generation it names.

    A path as it came may hold a secret: a token of a callback, a key pasted in the wrong place. So may a query.
    """
    named = scope.get("path_params", {}).get("generation_id", "")
    return {"path": scope.get("path_template") or "", **({"generation": named} if is_cursor(named) else {})}


def _headers(headers: Iterable[tuple[bytes, bytes]], request_id: str) -> list[tuple[bytes, bytes]]:
    """The headers of an answer with those that every answer has."""
    kept = [(lower, value) for name, value in headers if (lower := name.lower()) != b"x-request-id"]
    names = {name for name, _ in kept}
    if b"cache-control" not in names:
        kept.append(_ASKED_AGAIN if b"etag" in names else _NOT_KEPT)
    return [*kept, _NO_SNIFFING, (b"x-request-id", request_id.encode())]
