"""A transport for httpx over `pyreqwest`, which classifies each error by what it proves.

The names of `pyreqwest`'s errors mislead. A server that reads a POST and closes the connection raises `ConnectError`;
one that never answers raises `ConnectTimeoutError`. Only the cause `client error (Connect)` proves that no connection
was opened. Source: `tests/unit/upstream/test_transport.py`, which drives every case with a raw socket server.
"""

import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import httpx
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import BuilderError, DetailedPyreqwestError, PoolTimeoutError, PyreqwestError
from pyreqwest.request import StreamRequest
from pyreqwest.response import Response

CONNECT_SECONDS = 10.0
MAY_SEND = "may_send"  # the extension of a request whose sender may lose its permission: a function that is asked
_PIECE = 65_536  # bytes of a body that are sent after one such question
_NEVER_OPENED = "client error (Connect)"


class ReqwestTransport(httpx.AsyncBaseTransport):
    """Sends over HTTP/1.1. It follows no redirect, decodes no body and ignores proxy settings.

    With `fresh`, each request gets a connection of its own, because a stale kept-alive connection looks the same as a
    lost reply. With `idle_seconds`, an exchange ends when no byte has arrived for that long: this is for files, whose
    transfer may take long. A body is passed on as it arrives, because the bytes before a break may name a paid task.
    """

    def __init__(self, *, fresh: bool = False, idle_seconds: float | None = None) -> None:
        builder = (
            ClientBuilder()
            .gzip(enable=False)
            .brotli(enable=False)
            .zstd(enable=False)
            .deflate(enable=False)
            .follow_redirects(enable=False)
            .referer(enable=False)
            .no_proxy()
            .http1_only()
            # An invalid header must not make the whole reply unreadable: the reply may name a task that was paid for.
            .http1_ignore_invalid_headers_in_responses(value=True)
            .http1_allow_spaces_after_header_name_in_responses(value=True)
            .http1_allow_obsolete_multiline_headers_in_responses(value=True)
            .connect_timeout(timedelta(seconds=CONNECT_SECONDS))
            .pool_idle_timeout(timedelta(seconds=20))
        )
        if idle_seconds is not None:
            builder = builder.read_timeout(timedelta(seconds=idle_seconds))
        self._client: Client = (builder.pool_max_idle_per_host(0) if fresh else builder).build()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One exchange. `request.extensions["timeout"]["read"]` limits all of it, in seconds.

        `request.extensions[MAY_SEND]` is asked on the open connection, before each piece of the body is sent.
        Cancelling this coroutine returns at once, but the exchange goes on until one of its limits, and may still be
        sent.
        """
        limit = request.extensions.get("timeout", {}).get("read") or 60.0
        try:
            call = (
                self._client.request(request.method, str(request.url))
                .headers(request.headers.multi_items())
                .timeout(timedelta(seconds=limit))
            )
            body = _AskingBody(request.content, request.extensions.get(MAY_SEND))
            if request.content:
                call = call.body_bytes(request.content) if body.may_send is None else call.body_stream(body)
            # With 0 the head arrives at once, not with the first 64 KB of the body, so that nothing is lost at a break.
            call = call.streamed_read_buffer_limit(0)
            exchange = call.build_streamed()
        except (ValueError, PyreqwestError) as error:  # an address or a header that cannot be sent
            raise httpx.ConnectError(f"cannot be sent: {type(error).__name__}", request=request) from error
        try:
            reply = await exchange.__aenter__()
        except PyreqwestError as error:
            raise proof(error, request) from error
        except _NotAllowedError as error:
            kind = httpx.WriteError if body.has_begun else httpx.ConnectError
            raise kind("this process may not send any more", request=request) from error
        return httpx.Response(
            reply.status,
            headers=_headers(reply),
            stream=_Body(exchange, reply, request),
            request=request,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.close()


class _NotAllowedError(Exception):
    """The sender of a request has lost its permission."""


class _AskingBody:
    """A body whose pieces are sent as long as `may_send` says yes.

    The process may have been suspended while the connection was opened. The head is sent before that is asked, and no
    server carries out a request whose body is missing.
    """

    def __init__(self, content: bytes, may_send: Callable[[], bool] | None) -> None:
        self.may_send = may_send
        self.has_begun = False
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._content), _PIECE):
            if self.may_send is not None and not self.may_send():
                raise _NotAllowedError
            self.has_begun = True
            yield self._content[start : start + _PIECE]


class _Body(httpx.AsyncByteStream):
    def __init__(self, exchange: StreamRequest, reply: Response, request: httpx.Request) -> None:
        self._exchange = exchange
        self._reply = reply
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        reader = self._reply.body_reader
        try:
            while (chunk := await reader.read_chunk()) is not None:
                yield bytes(chunk)
        except PyreqwestError as error:
            raise httpx.ReadError(str(error), request=self._request) from error

    async def aclose(self) -> None:
        await self._exchange.__aexit__(None, None, None)


def _headers(reply: Response) -> list[tuple[str, str]]:
    """Every header that is ASCII text. Another one would raise, and a reply that was paid for would be lost."""
    pairs: list[tuple[str, str]] = []
    for name in dict.fromkeys(reply.headers.keys()):
        with contextlib.suppress(ValueError):
            pairs += [(name, value) for value in reply.headers.getall(name)]
    return pairs


def proof(error: PyreqwestError, request: httpx.Request) -> httpx.TransportError:
    """The httpx error for what really happened: `ConnectError` only if no connection was ever opened."""
    if isinstance(error, PoolTimeoutError):
        return httpx.PoolTimeout(str(error), request=request)
    causes = error.details.get("causes") or [] if isinstance(error, DetailedPyreqwestError) else []
    if isinstance(error, BuilderError) or any(cause["message"] == _NEVER_OPENED for cause in causes):
        return httpx.ConnectError(causes[-1]["message"], request=request)
    return httpx.ReadError(causes[-1]["message"] if causes else str(error), request=request)
