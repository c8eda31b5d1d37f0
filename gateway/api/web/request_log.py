"""Gives every request an id, which its answer, its errors and the log share, and logs one line when it has finished.

A client or a proxy may name the request itself (`X-Request-ID`), so that one id leads through the logs of both.
"""

import asyncio
import re
import time
from collections.abc import Iterable
from secrets import token_hex

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, ReceiveMessage, Scope, Send

from gateway import log_context
from gateway.api.web.client import client_of
from gateway.api.web.held_body import HeldBody
from gateway.api.web.rate_headers import rate_headers
from gateway.api.web.streaming import CUT
from gateway.api.web.timeouts import timeout
from gateway.clock import Clock
from gateway.domain.redaction import PIECE, Redactor, starred
from gateway.domain.trace_context import TraceContext, read_trace_context
from gateway.live import Live
from gateway.sharing.limiter import FairQueue
from gateway.sharing.room import Room
from gateway.store.port import is_cursor
from gateway.telemetry import Observer, RequestFinished

LARGE = 32 * 1024  # bytes of a text: to search a larger one for secrets on the event loop would delay other requests
BUILT_IN = "built_in"  # in the state of a request: its answer is a part of the program and has no secrets
ERROR_CODE = "error_code"  # in the state of a request: the code of the error that answered it, for telemetry
CLIENT_GONE = 499  # only in the log; nginx writes it for a client that leaves before its answer
# After an early answer (413, 401) the rest of the body is read and discarded within these limits. To close the
# connection while the client still sends would reset it, and a client that sees the reset before the answer sends
# everything again.
LINGER_BYTES = 256 * 2**20
LINGER_SECONDS = 30.0
LINGER_IDLE_SECONDS = 5.0  # the longest pause within the body
_QUIET = ("/health/", "/metrics")  # not logged: they are called every few seconds
REQUEST_ID = b"x-request-id"
_SOUND_ID = re.compile(rb"[A-Za-z0-9._~:=/+@-]{1,128}")  # such as a UUID, or the `Root=1-67…` of a load balancer
_NO_SNIFFING = (b"x-content-type-options", b"nosniff")
# Answers are private. A client may store an answer with an ETag, if it asks each time whether it is still current.
_NO_STORE = (b"cache-control", b"no-store")
_REVALIDATE = (b"cache-control", b"private, no-cache")


class RequestLog:
    """ASGI middleware around the framework, so that requests which the framework itself refuses are logged as well."""

    def __init__(self, app: ASGIApp, bodies: Room, clock: Clock, observer: Observer, redactor: Live[Redactor]) -> None:
        self._app = app
        self._bodies = bodies
        self._clock = clock
        self._observer = observer
        self._redactor = redactor
        self._searches = FairQueue(1)  # for secrets in large texts: several threads would slow the event loop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request: count the bytes of its body, add the headers that every answer has, log one line."""
        if scope["type"] == ScopeType.HTTP:
            await self._http(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        request_id = self._begin(scope)
        started = time.perf_counter()
        path = scope["path"]  # the framework replaces it later
        status = size = 0  # `size`: bytes of the body that were sent
        gone = False
        body = HeldBody(scope, self._bodies)
        unread = _has_body(scope)
        has_read = False
        is_text = False  # whether the answer is text, in which secrets are hidden; files are sent as they are
        end: Message | None = None  # the last message of the answer, delayed until the rest of the body has been read

        async def receive_counted() -> ReceiveMessage:
            nonlocal gone, unread, has_read
            has_read = True
            message = await body.next_message(receive)
            if status:  # the answer has begun, so nobody reads the body any more
                body.release()
            while status and message["type"] == "http.request":
                unread = unread and message.get("more_body", False)
                message = await receive()
            if message["type"] == "http.request":
                unread = unread and message.get("more_body", False)
            else:
                gone = True
            return message

        async def send_with_headers(message: Message) -> None:
            nonlocal status, size, end, is_text
            if gone:
                return
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"] = _headers(scope, message["headers"], self._redactor.current)
                is_text = _is_text(headers) and not scope["state"].get(BUILT_IN)
                if unread and not has_read and _expects(scope):  # the client may never send the announced body
                    headers.append((b"connection", b"close"))
            elif is_text and message["type"] == "http.response.body":
                # Its length stays the same. A chunk is a whole answer or a whole event, so no secret is cut in two.
                message["body"] = await self._without_secrets(message.get("body", b""), client_of(scope))
            if unread and message["type"] == "http.response.body" and not message.get("more_body", False):
                end = {"type": "http.response.body", "body": b"", "more_body": False}
                message["more_body"] = True
            await send(message)
            if message["type"] == "http.response.body":
                size += len(message["body"])

        try:
            await self._app(scope, receive_counted, send_with_headers)
        finally:
            body.release()
            if not path.startswith(_QUIET):
                self._observer.observe(
                    RequestFinished(
                        request_id=request_id,
                        client=client_of(scope),
                        method=scope["method"],
                        location=log_location(scope),
                        status=status or (CLIENT_GONE if gone else 0),
                        error_code=scope["state"].get(ERROR_CODE),
                        duration_seconds=round(time.perf_counter() - started, 5),
                        bytes=size,
                        trace=_trace_of(scope),
                    )
                )
        if end is not None and not gone:
            await self._read_rest(scope, receive)
            await send(end)

    def _begin(self, scope: HTTPScope) -> str:
        """Give the request its id, which its log lines have from now on."""
        request_id = self._named_id(scope) or "req_" + token_hex(12)
        scope.setdefault("state", {})["request_id"] = request_id
        log_context.begin(request_id=request_id)
        return request_id

    def _named_id(self, scope: HTTPScope) -> str | None:
        """The id that the client gave the request; None if it gave none, or one that a log should not have."""
        ids = [value for name, value in scope["headers"] if name == REQUEST_ID]
        if len(ids) != 1 or not _SOUND_ID.fullmatch(ids[0]) or self._redactor.current.body(ids[0]) != ids[0]:
            return None
        return ids[0].decode()

    async def _without_secrets(self, text: bytes, client: str) -> bytes:
        redactor = self._redactor.current
        if len(text) <= LARGE:
            return redactor.body(text)
        places: list[tuple[int, int]] = []
        for begin in range(0, len(text), PIECE):  # a turn for each: a client may make its texts slow to search
            async with self._searches.slot(client):
                places += await asyncio.to_thread(redactor.places, text, [begin])
        return starred(text, places)

    async def _read_rest(self, scope: HTTPScope, receive: Receive) -> None:
        """Read and discard the rest of a body; cut the connection of a client that sends more than the limit."""
        left = LINGER_BYTES
        try:
            async with timeout(self._clock, LINGER_SECONDS):
                while left > 0:
                    async with timeout(self._clock, LINGER_IDLE_SECONDS):
                        message = await receive()
                    if message["type"] != "http.request" or not message.get("more_body", False):
                        return
                    left -= len(message.get("body", b""))
        except TimeoutError:
            return  # the client has had the time to read its answer
        if (cut := scope["state"].get(CUT)) is not None:
            cut()


def _trace_of(scope: HTTPScope) -> TraceContext | None:
    headers = dict(scope["headers"])
    if (parent := headers.get(b"traceparent")) is None:
        return None
    return read_trace_context(parent.decode("latin-1"), None)


def _has_body(scope: HTTPScope) -> bool:
    """True if the headers announce a body."""
    return any(
        (name == b"content-length" and value.strip() != b"0") or name == b"transfer-encoding"
        for name, value in scope["headers"]
    )


def _expects(scope: HTTPScope) -> bool:
    """True if the client waits for permission to send its body (`Expect: 100-continue`); reading gives it."""
    return any(name == b"expect" for name, _ in scope["headers"])


def log_location(scope: Scope) -> dict[str, str]:
    """The fields of a log line that say where a request went: the template of its path, and the id of a generation.

    The path itself and the query are not logged, because they can contain secrets: the token of a callback, or a key
    that was pasted in the wrong place. For a path that does not exist, the template is empty.
    """
    generation_id = scope.get("path_params", {}).get("generation_id", "")
    location = {"path": scope.get("path_template") or ""}
    return {**location, "generation": generation_id} if is_cursor(generation_id) else location


def _is_text(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """True if the body is JSON, a stream of events or other text that nobody has compressed."""
    values = dict(headers)
    kind = values.get(b"content-type", b"")
    return (kind.startswith(b"text/") or b"json" in kind) and b"content-encoding" not in values


def _without_secrets(headers: list[tuple[bytes, bytes]], redactor: Redactor) -> list[tuple[bytes, bytes]]:
    """The headers without secrets. All values are searched as one text: a search costs much more than its length."""
    together = b"\n".join(value for _, value in headers)  # no form of a secret and no escape goes on after a line
    if redactor.body(together) == together:
        return headers
    return [(name, redactor.body(value)) for name, value in headers]


def _headers(scope: Scope, headers: Iterable[tuple[bytes, bytes]], redactor: Redactor) -> list[tuple[bytes, bytes]]:
    """The headers of an answer without secrets, those that every answer has, and those of the client's rate."""
    own = _without_secrets(
        [(lower, value) for name, value in headers if (lower := name.lower()) != REQUEST_ID], redactor
    )
    names = {name for name, _ in own}
    if b"cache-control" not in names:
        own.append(_REVALIDATE if b"etag" in names else _NO_STORE)
    return [*own, _NO_SNIFFING, (REQUEST_ID, scope["state"]["request_id"].encode()), *rate_headers(scope)]
