"""Sends requests to URLs that clients or providers named, protected against SSRF.

A stranger's URL must not make the gateway reach a private address. So the host is resolved once, its addresses that
are not public are dropped, and the connection goes to one of the others: a second answer of the name server has no
effect (DNS rebinding). Each redirect is checked in the same way. Each request has its own connection, and nothing is
taken from the environment: no proxy, no `.netrc`, no cookies, no extra certificates.

Each step has a time limit of its own: resolving, connecting, TLS, the head of the reply, and silence within the body.
"""

import asyncio
import ipaddress
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cached_property
from importlib.metadata import version

import httpcore
import httpx
from msgspec import Struct

from gateway.domain.adapter.options import URL_MAX
from gateway.domain.public_addresses import (
    Address,
    Network,
    addresses_of,
    is_allowed,
    is_disguised,
    port_is_open,
    refusal,
)
from gateway.fetch.file_body import IDLE_SECONDS, BadBody, BodyReader, FileBodyTooLarge
from gateway.fetch.network import PinnedNetwork, StreamNetwork
from gateway.fetch.resolver import Resolvers
from gateway.fetch.urls import url_fault

USER_AGENT = f"video-gateway/{version('video-gateway')}"  # of POST requests: webhooks
# Hosts of files often refuse clients that do not look like a browser: with 403, or with a page instead of the file.
BROWSER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
REDIRECTS_MAX = 5
ADDRESSES_MAX = 8  # of one name; the others are not tried
RESOLVE_SECONDS = 3.0
CONNECT_SECONDS = 10.0  # for one address; the TLS handshake gets the same time again
HEAD_SECONDS = 60.0  # from the first connection to the end of the reply's head, however slowly it arrives
POST_REPLY_MAX = 64 * 1024  # bytes of the reply to a POST that are read
_WHOLE = re.compile(r"bytes 0-(\d{1,15})/(\d{1,15})")
_AS_GATEWAY = {"User-Agent": USER_AGENT, "Accept": "*/*"}
_AS_BROWSER = {"User-Agent": BROWSER_AGENT, "Accept": "*/*", "Accept-Language": "en-US,en;q=0.9"}
WHOLE = frozenset({200, 203})  # the statuses of a reply with the complete file
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")

# A name, a port and the client that named it → the addresses of the name. Raises `OSError` if it has no address.
Resolve = Callable[[str, int, str], Awaitable[Sequence[str]]]


class FetchRefused(Exception):
    """A URL may not be fetched. This is permanent, except in the subclasses. The text is safe to show to clients."""


class AddressRefused(FetchRefused):
    """None of the addresses of the host may be reached. The name may get other addresses later."""


class RedirectRefused(FetchRefused):
    """A redirect leads to a URL that may not be fetched. The host may redirect to another one later."""


class FetchFailed(Exception):
    """The URL could not be fetched this time. The text is safe to show to clients."""


class BrokeOff(FetchFailed):
    """The body ended early, or stopped arriving."""


class FetchTooLarge(FetchFailed):
    """The body has more bytes than the caller accepts."""


class Target(Struct, frozen=True):
    """A parsed URL. What is checked and what is sent both come from here, so that no second parser can disagree."""

    url: httpx.URL

    @property
    def host(self) -> str:
        """The name or address in ASCII, without brackets."""
        return self.url.raw_host.decode("ascii")

    @property
    def port(self) -> int:
        """The port of the URL, or the default port of its scheme."""
        return self.url.port or (443 if self.url.scheme == "https" else 80)

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port. Private headers follow a redirect only where these stay equal."""
        return self.url.scheme, self.host, self.port

    def admitted(self, addresses: Iterable[Address], allow: Sequence[Network]) -> list[Address]:
        """Those of the addresses that may be reached (SSRF).

        When no address is left, raises `AddressRefused` for a name, and `FetchRefused` for an address.
        """
        refused = FetchRefused if addresses_of(self.host) else AddressRefused
        public = [address for address in addresses if refusal(address, allow) is None]
        if not public:
            raise refused(_not_public(self.host))
        admitted = [address for address in public if port_is_open(self.port) or is_allowed(address, allow)]
        if not admitted:
            refused = refused if allow else FetchRefused  # without `allow` the port is refused for any address
            raise refused(f"port {self.port} of {self.host} is not one that the web is served on; {REMEDY}")
        return admitted


REMEDY = "networks besides the public ones are opened by `fetch.allow` of the gateway's configuration"


def _not_public(host: str) -> str:
    """One text for a name without an address and for one with a private address.

    Two texts would tell a stranger which names the gateway's own network has.
    """
    return f"{host} does not lead to a public address; {REMEDY}"


def target_of(url: str) -> Target:
    """Parse an http(s) URL. Raises `FetchRefused` for one with credentials, or with a host of more than one meaning."""
    fault = url_fault(url, URL_MAX)
    if fault is not None:
        raise FetchRefused(f"it {fault}")
    try:
        target = Target(httpx.URL(url))
    except httpx.InvalidURL:
        raise FetchRefused("it is not a valid URL") from None
    # Checked again on the parsed URL, because that one is sent.
    if target.url.scheme not in {"http", "https"} or target.url.userinfo:
        raise FetchRefused("it is not an http(s) URL without credentials")
    if is_disguised(target.host):
        raise FetchRefused("it has a number for a host; write a name, or an address as four decimal numbers")
    if not addresses_of(target.host) and not _is_name(target.host):
        raise FetchRefused("it is a URL without a valid host")
    return target


def _is_name(host: str) -> bool:
    return len(host) <= 253 and all(_LABEL.fullmatch(label) for label in host.removesuffix(".").split("."))


class Fetched:
    """The head of a reply. Its body is still to be read."""

    def __init__(self, target: Target, reply: httpcore.Response, max_bytes: int) -> None:
        headers = httpx.Headers(reply.headers)
        self.status: int = reply.status
        self.headers: Mapping[str, str] = dict(headers)  # names in lower case
        self.length: int | None = int(headers["content-length"]) if "content-length" in headers else None  # declared
        self.host = target.host
        self._reply = reply
        self._max_bytes = max_bytes

    @property
    def is_whole(self) -> bool:
        """True for a reply with the complete file: 200, 203 from a proxy, or a 206 that has every byte."""
        part = (
            _WHOLE.fullmatch(self.headers.get("content-range", ""))
            if self.status == httpx.codes.PARTIAL_CONTENT
            else None
        )
        return self.status in WHOLE or (part is not None and int(part[1]) + 1 == int(part[2]))

    async def raw(self) -> AsyncIterator[bytes]:
        """The body before decoding, once, without a limit of its size. Raises `BrokeOff` when it ends early."""
        try:
            with _failures(self.host):
                async for chunk in self._reply.aiter_stream():
                    yield chunk
        except FetchFailed as error:
            raise BrokeOff(str(error)) from error

    async def chunks(self) -> AsyncIterator[bytes]:
        """The decoded body, once. Raises `FetchFailed` for an incomplete body, `FetchTooLarge` over `max_bytes`."""
        now = asyncio.get_running_loop().time
        body = BodyReader(self.headers.get("content-encoding", ""), self._max_bytes, now())
        with named(self.host):
            body.check_length(self.length)
            async for chunk in self.raw():
                for piece in body.take(chunk, now()):
                    yield piece
            if rest := body.finish():
                yield rest


@contextmanager
def named(host: str) -> Iterator[None]:
    """Raise a fault of a body as `FetchFailed`, with the name of the host that sent it."""
    try:
        yield
    except FileBodyTooLarge as error:
        raise FetchTooLarge(f"{host} {error}") from error
    except BadBody as error:
        raise FetchFailed(f"{host} {error}") from error


class Posted(Struct, frozen=True):
    """The answer to a POST."""

    status: int
    headers: Mapping[str, str]  # names in lower case


class Fetcher:
    """Sends GET and POST requests, only to public addresses and to the networks in `allow` (SSRF)."""

    def __init__(
        self,
        allow: Sequence[Network],
        *,
        resolve: Resolve | None = None,
        network: httpcore.AsyncNetworkBackend | None = None,
        tls: ssl.SSLContext | None = None,
        idle_seconds: float = IDLE_SECONDS,
        head_seconds: float = HEAD_SECONDS,
    ) -> None:
        """A request ends after `idle_seconds` without a byte. The head of a reply must be there in `head_seconds`."""
        self._allow = tuple(allow)
        self._system = Resolvers()
        self._resolve = resolve or self._system.resolve
        self._network = network or StreamNetwork()
        self._given_tls = tls
        self._idle_seconds = idle_seconds
        self._head_seconds = head_seconds

    @asynccontextmanager
    async def get(
        self,
        url: str,
        *,
        client: str,
        max_bytes: int,
        timeout_seconds: float,
        headers: Mapping[str, str] | None = None,
        open_headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Fetched]:
        """The reply to a GET, of any status but a redirect: at most five redirects are followed.

        `client` is the API key that the request is for: it gets its share of the resolvers. `timeout_seconds` limits
        all of the request, including the body. `headers` may be secret and are not sent to another
        origin; `open_headers` are sent everywhere. Raises `FetchRefused` or `FetchFailed`.
        """
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        target = target_of(url)
        for hop in range(REDIRECTS_MAX + 1):
            sent = {**(open_headers or {}), **(headers or {})}
            async with self._exchange("GET", target, sent, b"", deadline, client=client, redirected=hop > 0) as reply:
                onward = _onward(target, reply)
                if onward is None:
                    yield Fetched(target, reply, max_bytes)
                    return
            headers = headers if onward.origin == target.origin else {}
            target = onward
        raise FetchFailed(f"more than {REDIRECTS_MAX} redirects lead to {target.host}")

    async def post(
        self, url: str, *, client: str, content: bytes, headers: Mapping[str, str], timeout_seconds: float
    ) -> Posted:
        """The answer to a POST for `client`, an API key; redirects are not followed.

        Raises `FetchRefused` or `FetchFailed`.
        """
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        target = target_of(url)
        async with self._exchange("POST", target, headers, content, deadline, client=client) as reply:
            size = 0
            with suppress(FetchFailed), _failures(target.host):  # the status is known; the body does not matter
                async for chunk in reply.aiter_stream():
                    size += len(chunk)
                    if size > POST_REPLY_MAX:
                        break
            return Posted(reply.status, dict(httpx.Headers(reply.headers)))

    async def close(self) -> None:
        """Stop resolving names. Requests under way are not ended here."""
        self._system.close()

    @asynccontextmanager
    async def _exchange(
        self,
        method: str,
        target: Target,
        headers: Mapping[str, str],
        content: bytes,
        deadline: float,
        *,
        client: str,
        redirected: bool = False,
    ) -> AsyncIterator[httpcore.Response]:
        """Send one request over its own connection, which is closed at the end. The head of the reply has been read."""
        scheme, host, port = target.origin
        addresses = await self._addresses(target, deadline, client, redirected=redirected)
        head_deadline = min(deadline, asyncio.get_running_loop().time() + self._head_seconds)
        pinned = PinnedNetwork(self._network, addresses, head_deadline if method == "GET" else deadline)
        written = httpx.Headers(_AS_BROWSER if method == "GET" else _AS_GATEWAY)
        written.update(headers)
        written.update(
            {"Accept-Encoding": "identity", "Connection": "close", "Host": target.url.netloc.decode("ascii")}
        )
        if method == "POST":
            written["Content-Length"] = str(len(content))
        request = httpcore.Request(
            method,
            httpcore.URL(scheme=scheme, host=host, port=port, target=target.url.raw_path),
            headers=written.raw,
            content=content,
            extensions={
                "timeout": {"connect": CONNECT_SECONDS, "read": self._idle_seconds, "write": self._idle_seconds},
                "sni_hostname": host.removesuffix("."),
            },
        )
        connection = httpcore.AsyncHTTPConnection(
            request.url.origin, ssl_context=self._tls if scheme == "https" else None, network_backend=pinned
        )
        try:
            with _failures(target.host):
                reply = await connection.handle_async_request(request)
            pinned.head_is_read(deadline)
            if reply.status < httpx.codes.OK:
                raise FetchFailed(f"{target.host} sent a reply that cannot be read")
            yield reply
        finally:
            await pinned.aclose()

    async def _addresses(self, target: Target, deadline: float, client: str, *, redirected: bool) -> list[Address]:
        addresses = addresses_of(target.host)
        if not addresses:
            limit = min(deadline, asyncio.get_running_loop().time() + RESOLVE_SECONDS)
            try:
                async with asyncio.timeout_at(limit):
                    texts = await self._resolve(target.host, target.port, client)
                addresses = tuple(map(ipaddress.ip_address, texts))
            except (OSError, ValueError) as error:  # `TimeoutError` is an `OSError`
                raise FetchFailed(_not_public(target.host)) from error
        if not addresses:
            raise FetchFailed(_not_public(target.host))
        try:
            return target.admitted(addresses, self._allow)[:ADDRESSES_MAX]
        except FetchRefused as error:
            if redirected:
                raise RedirectRefused(str(error)) from error
            raise

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return self._given_tls or httpx.create_ssl_context(trust_env=False)


def _onward(target: Target, reply: httpcore.Response) -> Target | None:
    """The URL that a redirect leads to, checked like any URL; `None` for another reply."""
    if reply.status not in REDIRECTS:
        return None
    location = httpx.Headers(reply.headers).get("location", "").strip()
    if not location:
        raise FetchFailed(f"{target.host} sent a redirect that leads nowhere")
    try:
        onward = target_of(str(target.url.join(location.replace(" ", "%20"))))  # as browsers do
    except (FetchRefused, httpx.InvalidURL, ValueError):
        why = f"{target.host} redirects to something that is not a valid http(s) URL without credentials"
        raise RedirectRefused(why) from None
    if target.url.scheme == "https" and onward.url.scheme == "http":
        raise RedirectRefused(f"{target.host} redirects from https to http")
    return onward


@contextmanager
def _failures(host: str) -> Iterator[None]:
    """Raise the errors of the HTTP client as `FetchFailed`."""
    try:
        yield
    except httpcore.TimeoutException as error:
        raise FetchFailed(f"{host} did not answer in time, or was too slow") from error
    except httpcore.ConnectError as error:
        if isinstance(error.__cause__, ssl.SSLCertVerificationError):
            raise FetchFailed(f"the certificate of {host} is not valid: {error.__cause__.verify_message}") from error
        raise FetchFailed(f"no connection to {host} could be opened") from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise FetchFailed(f"{host} broke the connection off, or sent a reply that cannot be read") from error
