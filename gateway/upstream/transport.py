"""httpx's transport seam over `pyreqwest`, and what each of its errors proves.

The names of `pyreqwest`'s errors mislead: a server that reads a POST and closes raises `ConnectError`, one that never
answers raises `ConnectTimeoutError`. The cause tells: only `client error (Connect)` means that no connection opened.
"""

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import BuilderError, DetailedPyreqwestError, PoolTimeoutError, PyreqwestError
from pyreqwest.request import StreamRequest
from pyreqwest.response import Response

CONNECT_SECONDS = 10.0
_NEVER_OPENED = "client error (Connect)"


class ReqwestTransport(httpx.AsyncBaseTransport):
    """Sends over HTTP/1.1, follows nothing, decodes nothing, reads no proxy settings.

    With `fresh`, each request has a connection of its own: a stale kept-alive one looks just like a lost reply.
    With `idle_seconds`, an exchange ends when no byte has come for so long: this is for files, whose transfer may take
    long. A body is handed over as it comes, because the bytes before a break may hold what was paid for.
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
            # A header that cannot be read must not cost the reply that it stands in: it may have been paid for.
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
        """One exchange; `request.extensions["timeout"]["read"]` is the limit for all of it, in seconds.

        Who cancels it is released at once; the exchange itself goes on until that limit, or the one for silence, and
        may still be sent.
        """
        limit = request.extensions.get("timeout", {}).get("read") or 60.0
        try:
            call = (
                self._client.request(request.method, str(request.url))
                .headers(request.headers.multi_items())
                .timeout(timedelta(seconds=limit))
            )
            if request.content:
                call = call.body_bytes(request.content)
            # The head comes at once, not with the first 64 KB of the body: what was read before a break is kept.
            call = call.streamed_read_buffer_limit(0)
            exchange = call.build_streamed()
        except (ValueError, PyreqwestError) as error:  # an address or a header that cannot be sent
            raise httpx.ConnectError(f"cannot be sent: {type(error).__name__}", request=request) from error
        try:
            reply = await exchange.__aenter__()
        except PyreqwestError as error:
            raise proof(error, request) from error
        return httpx.Response(
            reply.status,
            headers=_headers(reply),
            stream=_Body(exchange, reply, request),
            request=request,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.close()


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
    """Every header that is ASCII text; one that is not would raise, and cost a reply that was paid for."""
    found: list[tuple[str, str]] = []
    for name in dict.fromkeys(reply.headers.keys()):
        with contextlib.suppress(ValueError):
            found += [(name, value) for value in reply.headers.getall(name)]
    return found


def proof(error: PyreqwestError, request: httpx.Request) -> httpx.TransportError:
    """Give httpx's error for what really happened: `ConnectError` only when no connection was ever opened."""
    if isinstance(error, PoolTimeoutError):
        return httpx.PoolTimeout(str(error), request=request)
    causes = error.details.get("causes") or [] if isinstance(error, DetailedPyreqwestError) else []
    if isinstance(error, BuilderError) or any(cause["message"] == _NEVER_OPENED for cause in causes):
        return httpx.ConnectError(causes[-1]["message"], request=request)
    return httpx.ReadError(causes[-1]["message"] if causes else str(error), request=request)
