"""The guarded fetcher against hostile addresses, names, redirects and bodies, all over real sockets.

`Roads` leads every address to a trap on loopback, unless a test gave the address a server of its own: an address that
is connected to is always seen, whatever network the tests run in.
"""

import asyncio
import contextlib
import gzip
import re
import socket
import ssl
import threading
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpcore
import httpx
import pytest
import pytest_asyncio
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.public_addresses import addresses_of
from gateway.fetch import fetcher as module
from gateway.fetch.fetcher import (
    AddressRefused,
    Fetcher,
    FetchFailed,
    FetchRefused,
    FetchTooLarge,
    Posted,
    RedirectRefused,
    _onward,
    target_of,
)
from gateway.fetch.network import HEAD_MAX, StreamNetwork
from gateway.live import Live

from ..dns_server import ALIAS, DnsServer, dns_server
from ..raw_server import BROKEN, SILENCE, SILENT, Connection, Handler, RawServer, Serve, after_reading, reply, servers

PUBLIC, OTHER_PUBLIC, PUBLIC_6 = "93.184.216.34", "93.184.216.35", "2606:2800:220:1::1"
LOOPBACK = [ip_network("127.0.0.0/8")]
ZONE: Mapping[str, Sequence[Sequence[str]]] = {
    "public.test": [[PUBLIC]],
    "other.test": [[OTHER_PUBLIC]],
    "named.test": [[PUBLIC]],
    "both.test": [[PUBLIC, PUBLIC_6]],
    "two.test": [[OTHER_PUBLIC, PUBLIC]],
    "loopback.test": [["127.0.0.1"]],
    "private.test": [["10.0.0.1"]],
    "shared.test": [["100.100.100.200"]],
    "six.test": [["::1"]],
    "local-six.test": [["fd00:ec2::254"]],
    "mapped.test": [["::ffff:127.0.0.1"]],
    "compatible.test": [["::127.0.0.1"]],
    "nat64.test": [["64:ff9b::7f00:1"]],
    "six-to-four.test": [["2002:7f00:1::"]],
    "closed-both.test": [["127.0.0.1", "10.0.0.1", "::1"]],
    "alias.test": [[ALIAS + "private.test"]],
    "long-alias.test": [[ALIAS + "alias.test"]],
    "local-alias.test": [[ALIAS + "localhost"]],
    "localhost": [["127.0.0.1"]],
    "metadata": [["169.254.169.254"]],
    "metadata.google.internal": [["169.254.169.254"]],
    "instance-data.ec2.internal": [["169.254.169.254"]],
    "empty.test": [[]],
    "mixed.test": [["127.0.0.1", PUBLIC, "::1"]],
    "rebinding.test": [[PUBLIC], ["127.0.0.1"]],
}

ADDRESSES = [
    *("127.0.0.1", "127.0.0.1.", "127.1", "127.0.1", "127.255.255.254", "0", "0.0.0.0"),
    *("2130706433", "017700000001", "0x7f000001", "0x7f.1", "0X7F.0.0.1", "0177.0.0.1", "0177.1", "127.0.0.01"),
    *("127。0。0。1", "１２７.0.0.1", "①②⑦.0.0.1", "localhost", "LOCALHOST", "localhost.", "a.localhost"),
    *("10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "192.0.0.192", "198.18.0.1", "203.0.113.1"),
    *("169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "100.100.100.200", "168.63.129.16"),
    *("224.0.0.1", "240.0.0.1", "255.255.255.255"),
    *("[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]", "[::127.0.0.1]"),
    *("[64:ff9b::127.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::10.0.0.1]", "[2002:7f00:1::]", "[2002:a00:1::]"),
    *("[2001:0:4136:e378:8000:63bf:80ff:fffe]", "[fe80::1]", "[fe80::1%25lo]", "[fc00::1]", "[fd00:ec2::254]"),
    *("[fec0::1]", "[ff02::1]", "[2001:db8::1]", "[2606:2800::5efe:7f00:1]"),
]
NAMES = [
    *("loopback.test", "loopback.test.", "LoopBack.Test", "private.test", "shared.test", "six.test", "local-six.test"),
    *("mapped.test", "compatible.test", "nat64.test", "six-to-four.test", "closed-both.test"),
    *("alias.test", "long-alias.test", "local-alias.test"),
    *("metadata", "metadata.google.internal", "instance-data.ec2.internal"),
    *("127.0.0.1.nip.test", "a.10.0.0.1.nip.test", "7f000001.nip.test", "a9fea9fe.nip.test"),
]
TRICKS = [
    "http://public.test@127.0.0.1/",
    "http://public.test:80@127.0.0.1/",
    "http://user:secret@public.test/",
    "http://127.0.0.1\\@public.test/",
    "http://public.test\\@127.0.0.1/",
    "http://127.0.0.1:80#@public.test/",
    "http://127.0.0.1:80?@public.test/",
    "http:///127.0.0.1/",
    "http:127.0.0.1/",
    "//127.0.0.1/",
    "127.0.0.1/",
    "http://127.0.0.1%2f.public.test/",
    "http://127.0.0.1%00.public.test/",
    "http://127.0.0.1 .public.test/",
    "http://127.0.0.1\t/",
    "http://public.test/\r\nX-Injected: 1",
    "http://[::1",
    "http://[::1]public.test/",
    "http://127.0.0.1:0/",
    "http://127.0.0.1:99999/",
    "http://public..test/",
    "http://" + "a" * 64 + ".test/",
    "http://public.test/" + "a" * 9000,
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_INFO",
    "ftp://127.0.0.1/",
    "data:text/plain,hello",
    "unix:///var/run/docker.sock",
    "",
]
PORTS = [f"http://public.test:{port}/" for port in (22, 25, 53, 465, 2375, 5432, 6379, 11211)]
HOSTILE = [f"http://{host}/" for host in (*ADDRESSES, *NAMES)] + TRICKS + PORTS + ["https://127.0.0.1:8443/a"]
REDIRECTS = [
    "http://127.0.0.1/",
    "//127.0.0.1/",
    "http://localhost/",
    "http://0x7f.1/",
    "http://2130706433/",
    "http://[::1]/",
    "http://[::ffff:7f00:1]/",
    "http://169.254.169.254/latest/meta-data/",
    "http://loopback.test/",
    "http://alias.test/",
    "http://7f000001.nip.test/",
    "http://metadata.google.internal/",
    "http://public.test:6379/",
    "http://user:secret@other.test/",
    "http://public.test@127.0.0.1/",
    "http://127.0.0.1\\@public.test/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_INFO",
    "javascript:alert(1)",
    "http://[::1",
    "http:////[",
]
FIRST_HOP = "http://public.test/first"


class Roads(StreamNetwork):
    """A network in which every address leads to the trap, except those in `roads`. It records each connection."""

    def __init__(self, trap: int) -> None:
        self.connections: list[tuple[str, int]] = []
        self.roads: dict[str, int] = {}  # an address → a port on loopback
        self._trap = trap

    async def connect_tcp(self, host: str, port: int, *args: Any, **limits: Any) -> httpcore.AsyncNetworkStream:
        self.connections.append((host, port))
        return await super().connect_tcp("127.0.0.1", self.roads.get(host, self._trap), *args, **limits)


class World:
    """A trap that must not be reached, a DNS server, the network between them, and a fetcher."""

    def __init__(self, trap: RawServer, names: DnsServer, serve: Serve) -> None:
        self.trap = trap
        self.names = names
        self.roads = Roads(trap.port)
        self._serve = serve
        self.fetcher = self.fetcher_with()

    def fetcher_with(self, **changes: Any) -> Fetcher:
        return Fetcher(**{"allow": Live(()), "resolve": self.names.resolve, "network": self.roads, **changes})

    def at(self, address: str, handler: Handler) -> RawServer:
        """Start a server that is reached at this address."""
        server = self._serve(handler)
        self.roads.roads[address] = server.port
        return server

    async def get(self, url: str, fetcher: Fetcher | None = None, **changes: Any) -> bytes:
        options: Any = {"client": "key", "max_bytes": 100_000, "timeout_seconds": 5, **changes}
        async with (fetcher or self.fetcher).get(url, **options) as fetched:
            return b"".join([chunk async for chunk in fetched.chunks()])


@pytest.fixture(scope="module")
def trap() -> Iterator[RawServer]:
    with servers() as serve:
        yield serve(after_reading(reply(b"trapped", b"Connection: close")))


@pytest.fixture
def serve() -> Iterator[Serve]:
    with servers() as start:
        yield start


@pytest_asyncio.fixture
async def world(trap: RawServer, serve: Serve) -> AsyncIterator[World]:
    trap.accepted = 0
    with dns_server(ZONE) as names:
        world = World(trap, names, serve)
        yield world
        await world.fetcher.close()


def redirect(location: str, status: bytes = b"302 Found") -> Handler:
    return after_reading(b"HTTP/1.1 %s\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % (status, location.encode()))


# -- what is refused


@pytest.mark.parametrize("url", HOSTILE)
async def test_a_hostile_url_is_refused_before_anything_is_connected(world: World, url: str) -> None:
    with pytest.raises(FetchRefused) as refused:
        await world.get(url)
    with pytest.raises(FetchRefused):
        await world.fetcher.post(url, client="key", content=b"{}", headers={}, timeout_seconds=5)
    assert world.roads.connections == []
    assert world.trap.accepted == 0
    if url.startswith(("http://10.0.0.1/", "http://private.test/", "http://[::1]/", "http://public.test:6379/")):
        assert "`fetch.allow`" in str(refused.value)


@pytest.mark.parametrize("location", REDIRECTS)
@pytest.mark.parametrize("hops", [1, 3])
async def test_a_redirect_is_checked_like_the_first_url(world: World, location: str, hops: int) -> None:
    sent = [redirect(f"/{hop}") for hop in range(1, hops)] + [redirect(location)]

    def handler(connection: Connection) -> None:
        sent.pop(0)(connection)

    server = world.at(PUBLIC, handler)
    with pytest.raises(FetchRefused) as refused:
        await world.get(FIRST_HOP)
    assert server.accepted == hops
    assert world.trap.accepted == 0
    message = str(refused.value)
    assert "secret" not in message
    assert not any(detail in message for detail in ("10.0.0.1", "meta-data", "_INFO", "passwd"))


@settings(max_examples=200)
@given(
    st.text(alphabet="htps:/@\\#?[]%.0127xaftes localhost。é\t\n-_", max_size=40)
    | st.text(max_size=30).map("http://{}/".format)
    | st.text(alphabet="0123456789abcdefx.:[]%@", max_size=30).map("https://{}/".format)
)
def test_any_text_is_refused_or_means_one_host(text: str) -> None:
    try:
        target = target_of(text)
    except FetchRefused:
        return
    assert target.url.scheme in {"http", "https"}
    assert "@" not in target.url.netloc.decode()
    assert 0 < target.port < 65536
    assert addresses_of(target.host) or re.fullmatch(r"[a-z0-9_.-]*[a-z_-][a-z0-9_.-]*", target.host)
    assert urlsplit(str(target.url)).hostname == target.host


@settings(max_examples=200)
@given(
    st.sampled_from(["", "//", "///", "http:", "http://", "http:////", "https://", "//[", "?"]),
    st.text(alphabet="/:?#[]@%.\\ \té℀。\xad0189xa", max_size=8),
)
def test_any_redirect_is_refused_or_leads_on(start: str, text: str) -> None:
    reply = httpcore.Response(302, headers=[(b"Location", (start + text).encode())])
    with contextlib.suppress(FetchRefused, FetchFailed):
        assert _onward(target_of(FIRST_HOP), reply) is not None


async def test_a_name_may_get_another_address_later_and_an_address_may_not(world: World) -> None:
    for url in ("http://private.test/", "http://alias.test/"):
        with pytest.raises(AddressRefused):
            await world.get(url)
    with pytest.raises(AddressRefused):  # an allowed address may be reached on any port
        await world.get("http://public.test:6379/", world.fetcher_with(allow=Live(tuple(LOOPBACK))))
    for url in ("http://10.0.0.1/", "http://[::1]/", "http://public.test:6379/", "http://2130706433/", "ftp://a.test/"):
        with pytest.raises(FetchRefused) as refused:
            await world.get(url)
        assert not isinstance(refused.value, AddressRefused)


async def test_the_refusal_of_a_name_does_not_show_its_address(world: World) -> None:
    for name in ("private.test", "metadata.google.internal", "alias.test"):
        with pytest.raises(FetchRefused) as refused:
            await world.get(f"http://{name}/")
        assert str(refused.value).startswith(f"{name} does not lead to a public address; ")
        assert "10.0" not in str(refused.value)
        assert "169" not in str(refused.value)


async def test_a_name_that_rebinds_does_not_reach_a_private_address(world: World) -> None:
    """If the check and the connection each resolved the name, the connection would reach the private address."""
    server = world.at(PUBLIC, after_reading(reply(b"fine")))
    assert await world.get("http://rebinding.test/") == b"fine"
    assert world.names.queries == {"rebinding.test": 1}
    assert world.roads.connections == [(PUBLIC, 80)]
    assert (server.accepted, world.trap.accepted) == (1, 0)

    with pytest.raises(FetchRefused):  # the next request resolves and checks again
        await world.get("http://rebinding.test/")
    assert (server.accepted, world.trap.accepted) == (1, 0)


async def test_a_name_that_rebinds_between_redirects_is_refused(world: World) -> None:
    server = world.at(PUBLIC, redirect("http://rebinding.test/again"))
    with pytest.raises(FetchRefused):
        await world.get("http://rebinding.test/")
    assert (server.accepted, world.trap.accepted) == (1, 0)


async def test_only_the_public_addresses_of_a_mixed_answer_are_used(world: World) -> None:
    world.at(PUBLIC, after_reading(reply(b"fine")))
    assert await world.get("http://mixed.test/") == b"fine"
    assert world.roads.connections == [(PUBLIC, 80)]

    world.roads.roads[PUBLIC] = 1  # nothing listens there, and the other addresses still must not be used
    with pytest.raises(FetchFailed):
        await world.get("http://mixed.test/")
    assert world.trap.accepted == 0


async def test_an_allowed_network_does_not_open_other_schemes_or_networks(world: World) -> None:
    fetcher = world.fetcher_with(allow=Live(tuple(LOOPBACK)))
    for url in (
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "http://u:p@127.0.0.1/",
        "http://127.1/",
        "http://10.0.0.1/",
    ):
        with pytest.raises(FetchRefused):
            await world.get(url, fetcher)
    for url in ("http://[::1]/", "http://private.test/", "http://six.test/", "http://[64:ff9b::7f00:1]/"):
        with pytest.raises(FetchRefused):
            await world.get(url, fetcher)
    assert world.trap.accepted == 0


async def test_nothing_comes_from_the_environment(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine public.test login user password secret")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, world.trap.url)
    server = world.at(PUBLIC, after_reading(reply(b"fine", b"Set-Cookie: a=b")))
    assert await world.get(FIRST_HOP) == b"fine"
    assert await world.get(FIRST_HOP) == b"fine"
    assert world.trap.accepted == 0
    for request in server.requests:
        assert b"authorization" not in request.lower()
        assert b"cookie" not in request.lower()


class Unguarded(httpcore.AsyncNetworkBackend):
    """Connects as a plain client does: the C library or DNS resolves the host at the moment of connecting."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def connect_tcp(self, host: str, port: int, *args: Any, **limits: Any) -> httpcore.AsyncNetworkStream:
        try:
            addresses = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, flags=socket.AI_NUMERICHOST)]
        except OSError:
            try:
                addresses = await self._world.names.resolve(host, port, "key")
            except Exception as error:
                raise httpcore.ConnectError(str(error)) from error
        if not addresses:
            raise httpcore.ConnectError("no address")
        return await self._world.roads.connect_tcp(addresses[0], port, *args, **limits)


async def reached_by_a_plain_client(world: World) -> list[str]:
    """The hostile URLs and redirects with which an unprotected httpx client reaches the trap."""
    reached = []
    transport = httpx.AsyncHTTPTransport()
    transport._pool = httpcore.AsyncConnectionPool(network_backend=Unguarded(world), max_keepalive_connections=0)
    async with httpx.AsyncClient(
        transport=transport, follow_redirects=True, trust_env=False, timeout=SILENCE
    ) as client:
        for url in HOSTILE + [f"redirect {location}" for location in REDIRECTS]:
            before = world.trap.accepted
            world.roads.roads.clear()
            if url.startswith("redirect "):
                world.at(PUBLIC, redirect(url.removeprefix("redirect ")))
            with contextlib.suppress(httpx.HTTPError, httpx.InvalidURL, ValueError):
                await client.get(FIRST_HOP if url.startswith("redirect ") else url)
            if world.trap.accepted > before:
                reached.append(url)
    return reached


async def test_an_unprotected_client_reaches_the_trap_with_most_of_these(world: World) -> None:
    """Otherwise the tests above would prove nothing."""
    assert len(await reached_by_a_plain_client(world)) >= 90


# -- replies that are not accepted

FINE = b"HTTP/1.1 200 OK\r\n"


def endless(head: bytes, piece: bytes) -> Handler:
    """Send the same again and again, until the other side closes the connection."""

    def handler(connection: Connection) -> None:
        connection.read()
        connection.send(head)
        while True:
            connection.send(piece * 500)

    return handler


def drip(head: bytes, piece: bytes = b"x") -> Handler:
    """Send a piece now and then, so that no single read times out."""

    def handler(connection: Connection) -> None:
        connection.read()
        connection.send(head)
        while not connection._over.wait(0.02):
            connection.send(piece)

    return handler


TOO_LARGE: dict[str, Handler] = {
    "a bomb in gzip": after_reading(reply(gzip.compress(bytes(10**6), mtime=0))),
    "a bomb in a bomb": after_reading(
        reply(gzip.compress(gzip.compress(bytes(10**6), mtime=0)), b"Content-Encoding: gzip, gzip")
    ),
    "a declared length over the limit": endless(FINE + b"Content-Length: 100001\r\n\r\n", b"x"),
    "a declared length of exabytes": endless(FINE + b"Content-Length: 9999999999999999999\r\n\r\n", b"x"),
    "chunks without end": endless(FINE + b"Transfer-Encoding: chunked\r\n\r\n", b"400\r\n" + b"x" * 1024 + b"\r\n"),
    "a body without end": endless(FINE + b"\r\n", b"x" * 100),
}
BAD: dict[str, Handler] = {
    **{f"broken: {name}": handler for name, handler in BROKEN.items()},
    "damaged gzip": after_reading(reply(b"\x1f\x8b\x08\0" + b"\xff" * 100, b"Content-Encoding: gzip")),
    "half of gzip": after_reading(reply(gzip.compress(b"fine" * 9, mtime=0)[:-9])),
    "br, which nothing shows": after_reading(reply(b"\0" * 100, b"Content-Encoding: br")),
    "zstd": after_reading(reply(b"\x28\xb5\x2f\xfd" + b"\0" * 100)),
    "a transfer coding": after_reading(FINE + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "a length of very many digits": after_reading(FINE + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n"),
    "a length in hexadecimal": after_reading(FINE + b"Content-Length: 0x2\r\n\r\n{}"),
    "a length with a sign": after_reading(FINE + b"Content-Length: +2\r\n\r\n{}"),
    "a chunk of exabytes": after_reading(FINE + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 16 + b"\r\n{}"),
    "a chunk of negative size": after_reading(FINE + b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n"),
    "a header without end": endless(FINE + b"X-Long: ", b"x" * 100),
    "headers without end": endless(FINE, b"X-More: 1\r\n"),
    "interim replies without end": endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "a head just over the limit": after_reading(FINE + b"X-Long: " + b"x" * HEAD_MAX + b"\r\n\r\n"),
    "another protocol": after_reading(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
    "a redirect that leads nowhere": after_reading(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"),
    "a redirect to itself": redirect("/first"),
}
SLOW: dict[str, Handler] = {
    **SILENT,
    "a body that drips": drip(FINE + b"Content-Length: 90000\r\n\r\n"),
    "chunks that drip": drip(FINE + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "a head that drips": drip(FINE, b"X-Drip: 1\r\n"),
    "interim replies that drip": drip(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
}


@pytest.mark.parametrize("case", TOO_LARGE)
async def test_a_body_over_the_limit_is_not_read_further(world: World, case: str) -> None:
    world.at(PUBLIC, TOO_LARGE[case])
    size = 0
    with pytest.raises(FetchTooLarge):  # noqa: PT012  # what came before it counts
        async with world.fetcher.get(FIRST_HOP, client="key", max_bytes=100_000, timeout_seconds=5) as fetched:
            async for chunk in fetched.chunks():
                size += len(chunk)
    assert size == 0 if "declared" in case or "bomb" in case else 0 < size <= 100_000


@pytest.mark.parametrize("handler", BAD.values(), ids=BAD)
async def test_an_incomplete_reply_fails(world: World, handler: Handler) -> None:
    world.at(PUBLIC, handler)
    with pytest.raises(FetchFailed) as failed:
        await world.get(FIRST_HOP, max_bytes=10**9)
    assert not isinstance(failed.value, FetchTooLarge)
    assert "public.test" in str(failed.value)


ENCODED: dict[str, bytes] = {
    **{
        f"plain bytes called {name}": reply(b"fine", f"Content-Encoding: {name}".encode())
        for name in ("utf-8", "binary", "aws-chunked", "none", "identity", "", "gzip", "gzip, identity", "deflate")
    },
    "gzip": reply(gzip.compress(b"fine", mtime=0), b"Content-Encoding: gzip"),
    "gzip that is called something else": reply(gzip.compress(b"fine", mtime=0), b"Content-Encoding: utf-8"),
    "gzip that is not mentioned": reply(gzip.compress(b"fine", mtime=0)),
    "deflate": reply(zlib.compress(b"fine"), b"Content-Encoding: deflate"),
    "deflate in gzip": reply(gzip.compress(zlib.compress(b"fine"), mtime=0), b"Content-Encoding: deflate, gzip"),
    "two headers": reply(gzip.compress(b"fine", mtime=0), b"Content-Encoding: identity", b"Content-Encoding: gzip"),
    "a length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"4\r\nfine\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("case", ENCODED)
async def test_an_odd_encoding_is_decoded_or_ignored(world: World, case: str) -> None:
    world.at(PUBLIC, after_reading(ENCODED[case]))
    assert await world.get(FIRST_HOP) == b"fine"


async def test_a_body_in_chunks_of_one_byte_is_refused(world: World) -> None:
    world.at(PUBLIC, endless(FINE + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"))
    with pytest.raises(FetchFailed, match="pieces that are too small"):
        await world.get(FIRST_HOP)


@pytest.mark.parametrize("handler", SLOW.values(), ids=SLOW)
async def test_the_time_limit_is_for_the_whole_request(world: World, handler: Handler) -> None:
    world.at(PUBLIC, handler)
    with pytest.raises(FetchFailed, match="did not answer in time, or was too slow"):
        await world.get(FIRST_HOP, timeout_seconds=SILENCE)


async def test_a_body_that_moves_is_read_for_longer_than_any_single_limit(world: World) -> None:
    """Each piece arrives in time; only a silence would be too long."""

    def handler(connection: Connection) -> None:
        connection.read()
        connection.send(FINE + b"Content-Length: 12\r\n\r\n")
        for _ in range(12):
            connection._over.wait(0.03)
            connection.send(b"x")

    world.at(PUBLIC, handler)
    patient = world.fetcher_with(idle_seconds=SILENCE, head_seconds=SILENCE)
    assert await world.get(FIRST_HOP, patient) == b"x" * 12

    world.at(PUBLIC, SILENT["silence in the body"])
    with pytest.raises(FetchFailed, match="did not answer in time, or was too slow"):
        await world.get(FIRST_HOP, world.fetcher_with(idle_seconds=0.05))


@pytest.mark.parametrize(
    "case", ["silence", "silence in the headers", "a head that drips", "interim replies that drip"]
)
async def test_the_head_of_a_reply_has_a_limit_of_its_own(world: World, case: str) -> None:
    world.at(PUBLIC, SLOW[case])
    async with asyncio.timeout(3):
        with pytest.raises(FetchFailed, match="did not answer in time"):
            await world.get(FIRST_HOP, world.fetcher_with(head_seconds=SILENCE), timeout_seconds=3600)


async def test_a_handshake_that_stops_has_a_limit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECT_SECONDS", SILENCE)
    world.at(PUBLIC, Connection.wait)
    async with asyncio.timeout(3):
        with pytest.raises(FetchFailed, match="did not answer in time"):
            await world.get("https://public.test/", timeout_seconds=3600)


async def test_a_resolver_that_does_not_answer_times_out(world: World) -> None:
    async def silent(name: str, port: int, client: str) -> list[str]:
        await asyncio.Event().wait()
        return [PUBLIC]

    async with asyncio.timeout(5):
        with pytest.raises(FetchFailed, match=r"public.test does not lead to a public address"):
            await world.get(FIRST_HOP, world.fetcher_with(resolve=silent), timeout_seconds=0.05)


@pytest.mark.parametrize("name", ["unknown.test", "empty.test"])
async def test_a_name_without_an_address_may_have_one_later(world: World, name: str) -> None:
    with pytest.raises(FetchFailed) as failed:
        await world.get(f"http://{name}/")
    with pytest.raises(FetchRefused) as refused:
        await world.get("http://private.test/")
    # The same words, so that they do not tell which names the gateway's own network has.
    assert str(failed.value) == str(refused.value).replace("private.test", name)


async def test_what_follows_the_declared_length_is_not_read(world: World) -> None:
    world.at(PUBLIC, after_reading(FINE + b"Content-Length: 4\r\n\r\nfineHTTP/1.1 200 OK\r\n\r\nmore"))
    assert await world.get(FIRST_HOP) == b"fine"


# -- what is fetched


async def test_the_server_gets_the_name_and_the_connection_the_address(world: World) -> None:
    server = world.at(PUBLIC, after_reading(reply(b"fine")))
    assert await world.get("http://Public.Test:8080/a/b%20c?d=é#part") == b"fine"
    assert world.roads.connections == [(PUBLIC, 8080)]
    head = server.requests[0].decode().lower()
    assert head.startswith("get /a/b%20c?d=%c3%a9 http/1.1\r\n")
    assert "\r\nhost: public.test:8080\r\n" in head
    assert "\r\naccept-encoding: identity\r\n" in head
    assert "\r\nuser-agent: mozilla/5.0 (" in head
    assert "\r\naccept: */*\r\n" in head


async def test_an_allowed_network_may_be_reached_on_any_port(world: World) -> None:
    fetcher = Fetcher(Live(tuple(LOOPBACK)))
    server = world.at("127.0.0.1", after_reading(reply(b"fine")))
    for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]"):
        assert await world.get(f"http://{host}:{server.port}/", fetcher) == b"fine"
    named = world.fetcher_with(allow=Live(tuple(LOOPBACK)))
    assert await world.get("http://loopback.test:6379/", named) == b"fine"
    assert server.accepted == 4
    await fetcher.close()


@pytest.mark.parametrize("name", ["both.test", "two.test"])
async def test_the_next_address_is_tried_where_one_does_not_answer(world: World, name: str) -> None:
    answering = PUBLIC_6 if name == "both.test" else PUBLIC
    world.at(answering, after_reading(reply(b"fine")))
    world.roads.roads[OTHER_PUBLIC if name == "two.test" else PUBLIC] = 1
    assert await world.get(f"http://{name}/") == b"fine"
    assert [address for address, _ in world.roads.connections][-1] == answering


@pytest.mark.parametrize("status", [b"301 Moved", b"302 Found", b"303 Other", b"307 Temporary", b"308 Permanent"])
async def test_redirects_between_public_hosts_are_followed(world: World, status: bytes) -> None:
    world.at(PUBLIC, redirect("//other.test/second", status))
    server = world.at(OTHER_PUBLIC, after_reading(reply(b"fine")))
    assert await world.get(FIRST_HOP) == b"fine"
    assert server.requests[0].startswith(b"GET /second HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/second", "/second"),
        ("second?a=b c", "/second?a=b%20c"),
        ("  /my video.mp4  ", "/my%20video.mp4"),
        ("/second#t=1", "/second"),
        ("?other=1", "/first?other=1"),
        ("//public.test/second", "/second"),
    ],
)
async def test_a_redirect_is_read_as_browsers_do(world: World, location: str, path: str) -> None:
    replies = [redirect(location), after_reading(reply(b"fine"))]

    def handler(connection: Connection) -> None:
        replies.pop(0)(connection)

    server = world.at(PUBLIC, handler)
    assert await world.get(FIRST_HOP) == b"fine"
    assert server.requests[1].split(b" ")[1] == path.encode()


async def test_a_refused_redirect_may_lead_elsewhere_later(world: World) -> None:
    for location in ("http://10.0.0.1/", "file:///etc/passwd", "http://private.test/", "http://public.test:6379/"):
        world.at(PUBLIC, redirect(location))
        with pytest.raises(RedirectRefused):
            await world.get(FIRST_HOP)


async def test_open_headers_are_sent_to_every_origin(world: World) -> None:
    first = world.at(PUBLIC, redirect("http://other.test/second"))
    second = world.at(OTHER_PUBLIC, after_reading(reply(b"fine")))
    given = {"open_headers": {"Range": "bytes=4-", "accept": "video/*"}, "headers": {"Authorization": "Bearer secret"}}
    assert await world.get(FIRST_HOP, **given) == b"fine"
    for server, secret in ((first, True), (second, False)):
        head = server.requests[0].lower()
        assert b"\r\nrange: bytes=4-\r\n" in head
        assert head.count(b"\r\naccept: video/*\r\n") == head.count(b"\r\naccept:") == 1
        assert (b"bearer secret" in head) is secret


@pytest.mark.parametrize(
    ("status", "headers", "whole"),
    [
        (b"200 OK", [], True),
        (b"203 Transformed", [], True),
        (b"206 Part", [b"Content-Range: bytes 0-3/4"], True),
        (b"206 Part", [b"Content-Range: bytes 0-3/5"], False),
        (b"206 Part", [b"Content-Range: bytes 1-4/5"], False),
        (b"206 Part", [b"Content-Range: bytes 0-3/*"], False),
        (b"206 Part", [], False),
        (b"202 Later", [], False),
        (b"404 None", [], False),
    ],
)
async def test_which_answers_are_complete_files(world: World, status: bytes, headers: list[bytes], whole: bool) -> None:
    world.at(PUBLIC, after_reading(reply(b"fine", *headers, status=status)))
    async with world.fetcher.get(FIRST_HOP, client="key", max_bytes=10, timeout_seconds=5) as fetched:
        assert fetched.is_whole is whole


async def test_five_redirects_are_followed_and_no_more(world: World) -> None:
    left = 5

    def handler(connection: Connection) -> None:
        nonlocal left
        left -= 1
        (redirect("/on") if left >= 0 else after_reading(reply(b"fine")))(connection)

    server = world.at(PUBLIC, handler)
    assert await world.get(FIRST_HOP) == b"fine"
    assert server.accepted == 6
    left = 6
    with pytest.raises(FetchFailed, match=r"more than 5 redirects lead to public\.test"):
        await world.get(FIRST_HOP)


async def test_headers_are_not_sent_to_another_origin_or_back_from_it(world: World) -> None:
    sent = {"/first": "/second", "/second": "http://other.test/", "/third": ""}

    def handler(connection: Connection) -> None:
        path = connection.read().split(b" ")[1].decode()
        location = sent[path]
        connection.send(b"HTTP/1.1 302 Found\r\nLocation: %s\r\n\r\n" % location.encode() if location else reply())

    first = world.at(PUBLIC, handler)
    second = world.at(OTHER_PUBLIC, redirect("http://public.test/third"))
    assert await world.get(FIRST_HOP, headers={"Authorization": "Bearer secret"}) == b"{}"
    carried = [b"Bearer secret" in request for request in first.requests]
    assert carried == [True, True, False]
    assert b"Bearer" not in second.requests[0]


async def test_status_headers_and_length_are_those_of_the_reply(world: World) -> None:
    world.at(PUBLIC, after_reading(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nX-A: 1\r\nX-a: 2\r\n\r\ngone"))
    async with world.fetcher.get(FIRST_HOP, client="key", max_bytes=10, timeout_seconds=5) as fetched:
        assert (fetched.status, fetched.length, fetched.headers["x-a"]) == (404, 4, "1, 2")
        assert [chunk async for chunk in fetched.chunks()] == [b"gone"]

    world.at(PUBLIC, after_reading(FINE + b"Transfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n4;a=b\r\nagai\r\n0\r\n\r\n"))
    async with world.fetcher.get(FIRST_HOP, client="key", max_bytes=10, timeout_seconds=5) as fetched:
        assert fetched.length is None
        assert b"".join([chunk async for chunk in fetched.chunks()]) == b"fineagai"


async def test_an_empty_body_is_not_a_failure(world: World) -> None:
    world.at(PUBLIC, after_reading(b"HTTP/1.1 204 No Content\r\n\r\n"))
    assert await world.get(FIRST_HOP) == b""


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_connection_is_closed_however_a_fetch_ends(world: World, cancelled: bool) -> None:
    begun, closed = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def handler(connection: Connection) -> None:
        connection.read()
        connection.send(FINE + b"Content-Length: 9\r\n\r\n{")
        loop.call_soon_threadsafe(begun.set)
        while connection.socket.recv(100):
            pass
        loop.call_soon_threadsafe(closed.set)

    world.at(PUBLIC, handler)
    if cancelled:
        task = asyncio.create_task(world.get(FIRST_HOP))
        await begun.wait()
        task.cancel()
    else:
        async with world.fetcher.get(FIRST_HOP, client="key", max_bytes=10, timeout_seconds=5):
            pass
    await asyncio.wait_for(closed.wait(), 5)


# -- deliveries


async def test_a_post_is_sent_completely_and_answered(world: World) -> None:
    server = world.at(PUBLIC, after_reading(reply(b"thanks", b"Retry-After: 7", status=b"503 Later")))
    headers = {"Content-Type": "application/json", "user-agent": "own/1"}
    posted = await world.fetcher.post(FIRST_HOP, client="key", content=b'{"a":1}', headers=headers, timeout_seconds=5)
    assert (posted.status, posted.headers["retry-after"]) == (503, "7")
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert body == b'{"a":1}'
    assert b"\r\nContent-Length: 7" in head
    assert b"\r\nuser-agent: own/1" in head
    assert b"video-gateway" not in head


async def test_a_post_is_not_redirected(world: World) -> None:
    server = world.at(PUBLIC, redirect("http://other.test/", b"307 Temporary"))
    posted = await world.fetcher.post(FIRST_HOP, client="key", content=b"{}", headers={}, timeout_seconds=5)
    assert (posted.status, server.accepted, world.trap.accepted) == (307, 1, 0)


ANSWERED: dict[str, Handler] = {
    "cut short": after_reading(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"),
    "that drips": drip(FINE + b"Content-Length: 90000\r\n\r\n"),
    "compressed": after_reading(reply(b"\0", b"Content-Encoding: gzip")),
}


@pytest.mark.parametrize("handler", ANSWERED.values(), ids=ANSWERED)
async def test_the_body_of_an_answer_does_not_matter(world: World, handler: Handler) -> None:
    world.at(PUBLIC, handler)
    posted = await world.fetcher.post(FIRST_HOP, client="key", content=b"{}", headers={}, timeout_seconds=SILENCE)
    assert posted == Posted(200, posted.headers)


async def test_an_endless_answer_is_not_read_for_long(world: World) -> None:
    sent = 0

    def handler(connection: Connection) -> None:
        nonlocal sent
        connection.read()
        connection.send(FINE + b"\r\n")
        while True:
            connection.send(b"x" * 65536)
            sent += 65536

    world.at(PUBLIC, handler)
    posted = await world.fetcher.post(FIRST_HOP, client="key", content=b"{}", headers={}, timeout_seconds=5)
    assert posted.status == 200
    assert sent < 16 * 2**20  # what fits in the buffers of the sockets, not what five seconds can bring


async def test_a_receiver_that_does_not_read_times_out(world: World) -> None:
    world.at(PUBLIC, Connection.wait)
    with pytest.raises(FetchFailed):
        await world.fetcher.post(
            FIRST_HOP, client="key", content=b"x" * 20_000_000, headers={}, timeout_seconds=SILENCE
        )


# -- TLS

CERTIFICATE = Path(__file__).parents[1] / "tls" / "named.test.pem"  # of named.test, until 2120, and its key


class TlsServer:
    """A handler that speaks TLS first, and records the server name that the client sent."""

    def __init__(self, then: Handler) -> None:
        self.names: list[str | None] = []
        self._then = then
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(CERTIFICATE)
        self._context.sni_callback = self._note

    def _note(self, _: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
        self.names.append(name)

    def __call__(self, connection: Connection) -> None:
        connection.socket = self._context.wrap_socket(connection.socket, server_side=True)
        self._then(connection)
        connection.socket.close()


@pytest.fixture
def trusting(world: World) -> Callable[[], Fetcher]:
    return lambda: world.fetcher_with(tls=ssl.create_default_context(cafile=CERTIFICATE))


async def test_tls_is_for_the_name_and_not_for_the_address(
    world: World, trusting: Callable[[], Fetcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    tls = TlsServer(after_reading(reply(b"fine")))
    server = world.at(PUBLIC, tls)
    assert await world.get("https://named.test./", trusting()) == b"fine"
    assert tls.names == ["named.test"]
    assert b"\r\nHost: named.test.\r\n" in server.requests[0] + b"\r\n"

    for url in ("https://public.test/", f"https://{PUBLIC}/"):
        with pytest.raises(FetchFailed, match=r"the certificate of .* is not valid"):
            await world.get(url, trusting())
    with pytest.raises(FetchFailed, match=r"the certificate of named.test is not valid"):
        await world.get("https://named.test/")
    assert len(server.requests) == 1


async def test_a_redirect_from_https_to_http_is_refused(world: World, trusting: Callable[[], Fetcher]) -> None:
    world.at(PUBLIC, TlsServer(redirect("http://other.test/")))
    with pytest.raises(FetchRefused, match=r"named.test redirects from https to http"):
        await world.get("https://named.test/", trusting())
    assert world.trap.accepted == 0


async def test_a_server_without_tls_fails(world: World) -> None:
    world.at(PUBLIC, after_reading(reply(b"fine")))
    with pytest.raises(FetchFailed):
        await world.get("https://public.test/", timeout_seconds=SILENCE)


class LateRoads(Roads):
    """Connections that are returned when the server has sent something."""

    def __init__(self, said: threading.Event) -> None:
        super().__init__(trap=0)
        self._said = said

    async def connect_tcp(self, host: str, port: int, *args: Any, **limits: Any) -> httpcore.AsyncNetworkStream:
        stream = await super().connect_tcp(host, port, *args, **limits)
        await asyncio.to_thread(self._said.wait, 5)
        for _ in range(5):  # the event loop reads what was sent
            await asyncio.sleep(0)
        return stream


LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


async def public(*_: object) -> list[str]:
    """Resolve every name to this address."""
    return [PUBLIC]


@LOOPS
@pytest.mark.parametrize("then", ["TLS", "close"])
def test_bytes_before_the_handshake_are_not_a_reply(
    serve: Serve, loop: Callable[[], asyncio.AbstractEventLoop], then: str
) -> None:
    """An attacker on the network can send them without a certificate."""
    said = threading.Event()
    tls = TlsServer(after_reading(reply(b"fine")))

    def handler(connection: Connection) -> None:
        connection.send(reply(b"not from named.test"))
        if then == "close":
            connection.socket.shutdown(socket.SHUT_WR)
        said.set()
        tls(connection)

    async def fetched(port: int) -> bytes:
        network = LateRoads(said)
        network.roads[PUBLIC] = port
        fetcher = Fetcher(Live(()), resolve=public, network=network, tls=ssl.create_default_context(cafile=CERTIFICATE))
        async with fetcher.get("https://named.test/", client="key", max_bytes=100, timeout_seconds=5) as reply:
            return b"".join([chunk async for chunk in reply.chunks()])

    server = serve(handler)
    with asyncio.Runner(loop_factory=loop) as runner:
        if then == "close":
            with pytest.raises(FetchFailed):
                runner.run(fetched(server.port))
        else:
            assert runner.run(fetched(server.port)) == b"fine"


@LOOPS
def test_a_peer_that_closes_early_does_not_lose_what_it_sent(
    serve: Serve, loop: Callable[[], asyncio.AbstractEventLoop], caplog: pytest.LogCaptureFixture
) -> None:
    """The peer closes without the TLS message for it, and before everything was read."""
    body = b"x" * 1_000_000  # more than is buffered for a slow reader, less than the buffers of the sockets
    closed = threading.Event()
    tls = TlsServer(after_reading(reply(body)))

    def handler(connection: Connection) -> None:
        tls(connection)
        closed.set()

    async def fetched(port: int) -> int:
        roads = Roads(trap=port)
        fetcher = Fetcher(Live(()), resolve=public, network=roads, tls=ssl.create_default_context(cafile=CERTIFICATE))
        size = 0
        async with fetcher.get("https://named.test/", client="key", max_bytes=len(body), timeout_seconds=5) as reply:
            async for chunk in reply.chunks():
                if size == 0:
                    await asyncio.to_thread(closed.wait, 2)
                size += len(chunk)
        return size

    server = serve(handler)
    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(fetched(server.port)) == len(body)
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []
