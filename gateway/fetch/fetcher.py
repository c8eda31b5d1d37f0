"""The guarded fetcher: the way to every URL that a client or a provider named.

A host is resolved once, what is not public is left out of its addresses, and the connection goes to exactly one of the
rest: a name that answers otherwise the next time gains nothing. Each request has a connection of its own, and nothing
comes from the environment: no proxy, no `.netrc`, no cookies, no certificates but the usual ones.

Every state of a connection has a limit of its own: resolving, connecting, TLS, the head of the reply, and the longest
silence within the body.
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

from gateway.domain.public_addresses import (
    Address,
    Network,
    addresses_of,
    is_allowed,
    is_disguised,
    port_is_open,
    refusal,
)
from gateway.fetch.file_body import IDLE_SECONDS, BadBody, BodyReader, BodyTooLarge
from gateway.fetch.network import PinnedNetwork, StreamNetwork
from gateway.fetch.resolver import Resolvers
from gateway.fetch.urls import URL_MAX, url_fault

USER_AGENT = f"video-gateway/{version('video-gateway')}"  # for what is posted to receivers of ours
# Hosts of files often refuse what does not look like a browser: with 403, or with a page instead of the file.
BROWSER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
REDIRECTS_MAX = 5
ADDRESSES_MAX = 8  # of a name; the rest are not tried
RESOLVE_SECONDS = 10.0
CONNECT_SECONDS = 10.0  # to one address, its TLS handshake besides
HEAD_SECONDS = 60.0  # from the first address to the end of the reply's head, however it drips
POST_REPLY_MAX = 64 * 1024
_WHOLE = re.compile(r"bytes 0-(\d{1,15})/(\d{1,15})")
_AS_GATEWAY = {"User-Agent": USER_AGENT, "Accept": "*/*"}
_AS_BROWSER = {"User-Agent": BROWSER_AGENT, "Accept": "*/*", "Accept-Language": "en-US,en;q=0.9"}
WHOLE = frozenset({200, 203})  # the statuses of a reply that has all of a file
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")

Resolve = Callable[
    [str, int], Awaitable[Sequence[str]]
]  # a name and a port → addresses; `OSError` where there are none


class FetchRefused(Exception):
    """This URL may not be fetched, now or, but for an `AddressRefused`, later; the text is safe to show."""


class AddressRefused(FetchRefused):
    """Its host is a name that leads to no address that may be connected to; it may lead to another later."""


class RedirectRefused(FetchRefused):
    """A redirect leads to where nothing may be fetched; the host may redirect elsewhere later."""


class FetchFailed(Exception):
    """It could not be fetched this time; the text is safe to show."""


class BrokeOff(FetchFailed):
    """The body ended before it was whole, or nothing more of it came."""


class FetchTooLarge(FetchFailed):
    """There is more of it than was asked for."""


class Target(Struct, frozen=True):
    """A URL that was read: all that is checked and all that is sent comes from here, so that no two readings differ."""

    url: httpx.URL

    @property
    def host(self) -> str:
        """The name or address, in ASCII and without brackets."""
        return self.url.raw_host.decode("ascii")

    @property
    def port(self) -> int:
        """The port, said or implied."""
        return self.url.port or (443 if self.url.scheme == "https" else 80)

    @property
    def origin(self) -> tuple[str, str, int]:
        """What must be equal for headers to go along with a redirect."""
        return self.url.scheme, self.host, self.port

    def admitted(self, addresses: Iterable[Address], allow: Sequence[Network]) -> list[Address]:
        """Those of its addresses that may be connected to; where there are none, `AddressRefused` of a name."""
        refused = FetchRefused if addresses_of(self.host) else AddressRefused
        public = [address for address in addresses if refusal(address, allow) is None]
        if not public:
            raise refused(f"{self.host} does not lead to a public address; {REMEDY}")
        admitted = [one for one in public if port_is_open(self.port) or is_allowed(one, allow)]
        if not admitted:
            refused = refused if allow else FetchRefused  # no other address would do
            raise refused(f"port {self.port} of {self.host} is not one that the web is served on; {REMEDY}")
        return admitted


REMEDY = "networks besides the public ones are opened by `fetch.allow` of the gateway's configuration"


def target_of(url: str) -> Target:
    """An http(s) URL without credentials and with a host that can be only one thing; else `FetchRefused`."""
    fault = url_fault(url, URL_MAX)
    if fault is not None:
        raise FetchRefused(f"it {fault}")
    try:
        target = Target(httpx.URL(url))
    except httpx.InvalidURL:
        raise FetchRefused("it is not a valid URL") from None
    if target.url.scheme not in {"http", "https"} or target.url.userinfo:  # asked again of the reading that is sent
        raise FetchRefused("it is not an http(s) URL without credentials")
    if is_disguised(target.host):
        raise FetchRefused("it has a number for a host; write a name, or an address as four decimal numbers")
    if not addresses_of(target.host) and not _is_name(target.host):
        raise FetchRefused("it is a URL without a valid host")
    return target


def _is_name(host: str) -> bool:
    return len(host) <= 253 and all(_LABEL.fullmatch(label) for label in host.removesuffix(".").split("."))


class Fetched:
    """A reply whose body is still to be read."""

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
        """Whether this is all of the file: 200, 203 from a proxy, or a 206 with every byte, as some hosts answer."""
        part = (
            _WHOLE.fullmatch(self.headers.get("content-range", ""))
            if self.status == httpx.codes.PARTIAL_CONTENT
            else None
        )
        return self.status in WHOLE or (part is not None and int(part[1]) + 1 == int(part[2]))

    async def raw(self) -> AsyncIterator[bytes]:
        """The body as it was sent, once, without any limit of size; `BrokeOff` where it ends early."""
        try:
            with _failures(self.host):
                async for chunk in self._reply.aiter_stream():
                    yield chunk
        except FetchFailed as error:
            raise BrokeOff(str(error)) from error

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body decoded, once; `FetchFailed` where it is not all there, `FetchTooLarge` over `max_bytes`."""
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
    """What is wrong with a body, as `FetchFailed` with the name of its sender."""
    try:
        yield
    except BodyTooLarge as error:
        raise FetchTooLarge(f"{host} {error}") from error
    except BadBody as error:
        raise FetchFailed(f"{host} {error}") from error


class Posted(Struct, frozen=True):
    """What a receiver answered."""

    status: int
    headers: Mapping[str, str]  # names in lower case


class Fetcher:
    """Fetches and posts, to public addresses and those of the networks in `allow`."""

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
        """`idle_seconds` without a byte end a request; the head of a reply is to be there within `head_seconds`."""
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
        max_bytes: int,
        timeout_seconds: float,
        headers: Mapping[str, str] | None = None,
        open_headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Fetched]:
        """The reply to a GET, after at most five redirects; of any status that is not a redirect.

        `timeout_seconds` is for all of it, the body included. `headers` do not go along to another origin,
        `open_headers` do: they hold no secret. Raises `FetchRefused` or `FetchFailed`.
        """
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        target = target_of(url)
        for hop in range(REDIRECTS_MAX + 1):
            sent = {**(open_headers or {}), **(headers or {})}
            async with self._exchange("GET", target, sent, b"", deadline, redirected=hop > 0) as reply:
                onward = _onward(target, reply)
                if onward is None:
                    yield Fetched(target, reply, max_bytes)
                    return
            headers = headers if onward.origin == target.origin else {}
            target = onward
        raise FetchFailed(f"{target.host} was redirected to more than {REDIRECTS_MAX} times")

    async def post(self, url: str, *, content: bytes, headers: Mapping[str, str], timeout_seconds: float) -> Posted:
        """The answer to a POST; a redirect is an answer. Raises `FetchRefused` or `FetchFailed`."""
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        target = target_of(url)
        async with self._exchange("POST", target, headers, content, deadline) as reply:
            size = 0
            with suppress(FetchFailed), _failures(target.host):  # it has answered; the rest is heard out of courtesy
                async for chunk in reply.aiter_stream():
                    size += len(chunk)
                    if size > POST_REPLY_MAX:
                        break
            return Posted(reply.status, dict(httpx.Headers(reply.headers)))

    async def close(self) -> None:
        """Forget the names that are still being resolved. A request that is under way ends by itself."""
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
        redirected: bool = False,
    ) -> AsyncIterator[httpcore.Response]:
        """One request over one connection, which is closed at the end; the head of the reply has been read."""
        scheme, host, port = target.origin
        addresses = await self._addresses(target, deadline, redirected=redirected)
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

    async def _addresses(self, target: Target, deadline: float, *, redirected: bool) -> list[Address]:
        found = addresses_of(target.host)
        if not found:
            limit = min(deadline, asyncio.get_running_loop().time() + RESOLVE_SECONDS)
            try:
                async with asyncio.timeout_at(limit):
                    found = tuple(ipaddress.ip_address(one) for one in await self._resolve(target.host, target.port))
            except (OSError, ValueError) as error:  # a time-out is an `OSError` too
                raise FetchFailed(f"{target.host} could not be resolved") from error
        if not found:
            raise FetchFailed(f"{target.host} could not be resolved")
        try:
            return target.admitted(found, self._allow)[:ADDRESSES_MAX]
        except FetchRefused as error:
            if redirected:
                raise RedirectRefused(str(error)) from error
            raise

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return self._given_tls or httpx.create_ssl_context(trust_env=False)


def _onward(target: Target, reply: httpcore.Response) -> Target | None:
    """Where a redirect leads, read anew; `None` for another reply."""
    if reply.status not in REDIRECTS:
        return None
    location = httpx.Headers(reply.headers).get("location", "").strip()
    if not location:
        raise FetchFailed(f"{target.host} sent a redirect that leads nowhere")
    try:
        onward = target_of(str(target.url.join(location.replace(" ", "%20"))))  # as browsers read a blank in a URL
    except (FetchRefused, httpx.InvalidURL, ValueError):
        why = f"{target.host} redirects to what is not a valid http(s) URL without credentials"
        raise RedirectRefused(why) from None
    if target.url.scheme == "https" and onward.url.scheme == "http":
        raise RedirectRefused(f"{target.host} redirects from https to http")
    return onward


@contextmanager
def _failures(host: str) -> Iterator[None]:
    """What the HTTP client raises, as `FetchFailed`."""
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
