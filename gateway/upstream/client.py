"""Sends an `HttpCall` and returns the `HttpReply`. A failure says whether the call may have reached the provider."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
from msgspec.structs import replace

from gateway.domain.adapter.content_encoding import DecodedTooLarge, decoded
from gateway.domain.adapter.contract import HttpCall, HttpReply
from gateway.fetch.fetcher import BROWSER_AGENT
from gateway.fetch.file_body import IDLE_SECONDS
from gateway.sharing.turns import Turns
from gateway.upstream.transport import MAY_SEND, ReqwestTransport

REPLY_MAX = 8 * 1024 * 1024  # bytes of a reply; `stream`, which is for results, has no such limit
POLL_REPLY_MAX = 1024 * 1024  # bytes of the reply to a poll: a task is polled again and again
_RETRY_AFTER_MAX = 86400.0  # seconds; a longer wait is shortened to this
_RETRY_AFTER_ABSURD = 100 * 86400.0  # seconds; a wait beyond this is ignored as a mistake
_DATE_MAX = 100  # characters of a date in `Retry-After`
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class NotSent(Exception):
    """No connection was opened, or nothing of the body was sent: the provider did nothing. The call may be repeated."""


class NoAnswer(Exception):
    """The call may have reached the provider, and no complete reply came back."""


class Upstream:
    """Sends calls to providers.

    Submits use fresh connections, polls reuse open connections, and downloads have connections of their own. Replies
    over reused connections are read in turns: they are many, and a provider that hung may send all of them at once.
    """

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport | None = None,
        fresh: httpx.AsyncBaseTransport | None = None,
        *,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        """`idle_seconds` without a byte end the download of a file. Polls and submits end by their total time."""
        self._reused = transport or ReqwestTransport()
        self._fresh = fresh or transport or ReqwestTransport(fresh=True)
        self._turns = Turns()
        self._files = transport or ReqwestTransport(idle_seconds=idle_seconds)

    async def send(
        self,
        call: HttpCall,
        *,
        base_url: str,
        timeout_seconds: float,
        headers: Mapping[str, str] | None = None,
        fresh: bool = False,
        reply_max: int | None = None,
        may_send: Callable[[], bool] | None = None,
    ) -> HttpReply:
        """Send the call once; it is never repeated here. Raises `NotSent` or `NoAnswer`.

        `reply_max` limits the bytes of the reply, before and after decoding; without it that is `REPLY_MAX`.
        `timeout_seconds` limits the whole exchange. Once the status and the headers have arrived, the provider
        has answered, even if the body breaks off after that (`HttpReply.cut`). `may_send` is asked as late as possible,
        on the open connection; when it says no, the rest of the call is not sent.
        """
        request = _request(call, base_url, timeout_seconds, headers or {})
        if may_send is not None:
            request.extensions[MAY_SEND] = may_send
        reply_max = REPLY_MAX if reply_max is None else reply_max
        try:
            response = await (self._fresh.handle_async_request(request) if fresh else self._in_turn(request))
            try:
                body, broken = await _read(response, reply_max)
            finally:
                await response.aclose()
        except _NEVER_SENT as error:
            raise NotSent(f"{type(error).__name__}: {error}") from error
        except httpx.TransportError as error:
            raise NoAnswer(f"{type(error).__name__}: {error}") from error
        try:
            plain = decoded(body, response.headers.get("content-encoding", ""), reply_max)
        except DecodedTooLarge:
            raise NoAnswer(f"HTTP {response.status_code}: the decoded reply is over {reply_max} bytes") from None
        return HttpReply(
            status=response.status_code,
            headers={name.lower(): value for name, value in response.headers.items()},
            body=plain.body,
            method=call.method,
            path=call.path,
            cut=broken or not plain.whole,
        )

    async def _in_turn(self, request: httpx.Request) -> httpx.Response:
        """The reply over a reused connection, or its failure, once as many others as one round allows are read."""
        try:
            response = await self._reused.handle_async_request(request)
        except httpx.TransportError:
            await self._turns.next()
            raise
        try:
            await self._turns.next()
        except asyncio.CancelledError:
            await response.aclose()
            raise
        return response

    async def stream(
        self, call: HttpCall, *, base_url: str, timeout_seconds: float, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """The reply with its body unread, for results. The caller must close it. Raises `NotSent` or `NoAnswer`.

        `timeout_seconds` limits the whole transfer; `idle_seconds` without a byte end it before that.
        """
        download = replace(call, headers={"Accept": "*/*", "User-Agent": BROWSER_AGENT, **call.headers})
        request = _request(download, base_url, timeout_seconds, headers or {})
        try:
            return await self._files.handle_async_request(request)
        except _NEVER_SENT as error:
            raise NotSent(f"{type(error).__name__}: {error}") from error
        except httpx.TransportError as error:
            raise NoAnswer(f"{type(error).__name__}: {error}") from error

    async def close(self) -> None:
        """Close every connection."""
        for transport in {self._reused, self._fresh, self._files}:
            await transport.aclose()


def _request(call: HttpCall, base_url: str, timeout_seconds: float, headers: Mapping[str, str]) -> httpx.Request:
    typed = {} if call.content_type is None else {"Content-Type": call.content_type}
    usual = {"Accept-Encoding": "identity", "Accept": "application/json", **typed}
    return httpx.Request(
        call.method,
        base_url + call.target,
        headers={**usual, **call.headers, **headers},
        content=call.body if typed else None,
        extensions={"timeout": {"read": timeout_seconds}},
    )


async def _read(response: httpx.Response, reply_max: int) -> tuple[bytes, bool]:
    """The body as it was sent, and whether the transfer broke off. Raises `NoAnswer` for one over `reply_max`."""
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in response.stream:  # type: ignore[union-attr]  # an async transport gives an async stream
            size += len(chunk)
            if size > reply_max:
                raise NoAnswer(f"HTTP {response.status_code}: the reply is over {reply_max} bytes")
            chunks.append(chunk)
    except httpx.TransportError:
        return b"".join(chunks), True
    return b"".join(chunks), False


def retry_after_seconds(reply: HttpReply, clock: Callable[[], datetime]) -> float | None:
    """The `Retry-After` of a reply, which is a number or a date, in seconds from now. `None` without a usable value.

    This function never raises: a header must not change what the answer itself says. A wait of more than a hundred days
    is a mistake and counts as missing, so that the provider's documented wait is used.
    """
    value = reply.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        seconds = float(value[:_DATE_MAX])
    elif len(value) > _DATE_MAX:
        return None
    else:
        try:
            when = parsedate_to_datetime(value)
            when = when if when.tzinfo else when.replace(tzinfo=UTC)
            seconds = (when - clock()).total_seconds()
        except Exception:  # noqa: BLE001  # the parser of dates raises many kinds of errors, which differ between versions of Python
            return None
    return None if seconds > _RETRY_AFTER_ABSURD else min(max(seconds, 0.0), _RETRY_AFTER_MAX)
