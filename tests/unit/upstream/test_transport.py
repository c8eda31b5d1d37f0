"""What each kind of broken exchange proves. A raw socket server drives every case."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio

from gateway.upstream import transport as module
from gateway.upstream.transport import ReqwestTransport

from ..raw_server import (
    BROKEN,
    SILENCE,
    SILENT,
    Connection,
    Serve,
    after_reading,
    full_backlog,
    reply,
    servers,
    unused_port,
)


@pytest.fixture
def serve() -> Iterator[Serve]:
    with servers() as start:
        yield start


@pytest_asyncio.fixture(params=[True, False], ids=["fresh", "reused"])
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[ReqwestTransport]:
    transport = ReqwestTransport(fresh=request.param)
    yield transport
    await transport.aclose()


def post(url: str, *, seconds: float = 5.0, content: bytes = b'{"paid": true}') -> httpx.Request:
    return httpx.Request("POST", url, content=content, extensions={"timeout": {"read": seconds}})


async def exchange(transport: ReqwestTransport, request: httpx.Request) -> tuple[int, bytes]:
    response = await transport.handle_async_request(request)
    try:
        return response.status_code, b"".join([chunk async for chunk in response.stream])  # type: ignore[union-attr]  # async
    finally:
        await response.aclose()


# -- nothing was sent


async def test_a_refused_connection_proves_that_nothing_was_sent(transport: ReqwestTransport) -> None:
    with pytest.raises(httpx.ConnectError):
        await exchange(transport, post(f"http://127.0.0.1:{unused_port()}/"))


async def test_a_name_without_an_address_proves_that_nothing_was_sent(transport: ReqwestTransport) -> None:
    with pytest.raises(httpx.ConnectError):
        await exchange(transport, post("http://nope.invalid/"))


async def test_a_failed_tls_handshake_proves_that_nothing_was_sent(transport: ReqwestTransport, serve: Serve) -> None:
    hellos: list[bytes] = []

    def plain(connection: Connection) -> None:
        hellos.append(connection.socket.recv(65536))
        connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    server = serve(plain)

    with pytest.raises(httpx.ConnectError):
        await exchange(transport, post(f"https://127.0.0.1:{server.port}/secret-path"))

    assert len(hellos) == 1
    assert b"secret-path" not in hellos[0]
    assert b"paid" not in hellos[0]
    assert b"\x02h2" not in hellos[0], "over HTTP/2 a submit would share a connection"


async def test_a_tls_handshake_that_is_cut_off_proves_that_nothing_was_sent(
    transport: ReqwestTransport, serve: Serve
) -> None:
    server = serve(lambda connection: connection.reset())

    with pytest.raises(httpx.ConnectError):
        await exchange(transport, post(f"https://127.0.0.1:{server.port}/"))


async def test_a_connection_that_does_not_open_in_time_proves_that_nothing_was_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CONNECT_SECONDS", SILENCE)
    impatient = ReqwestTransport(fresh=True)

    with full_backlog() as port, pytest.raises((httpx.ConnectError, httpx.ConnectTimeout)):
        await exchange(impatient, post(f"http://127.0.0.1:{port}/"))

    await impatient.aclose()


async def test_when_the_whole_time_is_over_before_a_connection_opened_nothing_is_proved(
    transport: ReqwestTransport,
) -> None:
    """In this case the client does not say how far the exchange got."""
    with full_backlog() as port, pytest.raises(httpx.ReadError):
        await exchange(transport, post(f"http://127.0.0.1:{port}/", seconds=SILENCE))


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("ftp://127.0.0.1:1/", {}),
        ("http://127.0.0.1:1/", {"x-name": "two\nlines"}),
        ("http://127.0.0.1:1/", {"x-name": "nul\x00"}),
    ],
)
async def test_what_cannot_be_written_as_a_request_was_not_sent(
    transport: ReqwestTransport, url: str, headers: dict[str, str]
) -> None:
    with pytest.raises(httpx.ConnectError):
        await exchange(transport, httpx.Request("POST", url, headers=headers, content=b"{}"))


async def test_a_sender_that_loses_its_permission_on_the_open_connection_sends_no_body(
    transport: ReqwestTransport, serve: Serve
) -> None:
    """A process may be suspended while its connection is being opened, and others take its work over meanwhile."""
    server = serve(after_reading(reply(b"ok")))
    content = b"paid" * 100_000
    answers: list[bool] = []

    for given, error in (([False], httpx.ConnectError), ([True, True, False], httpx.WriteError)):
        answers[:] = given
        request = post(server.url, content=content)
        request.extensions[module.MAY_SEND] = lambda: answers.pop(0)
        with pytest.raises(error, match="may not send any more"):
            await exchange(transport, request)
        assert answers == []
    assert server.requests == [], "no whole request has arrived"

    request = post(server.url, content=content)
    request.extensions[module.MAY_SEND] = lambda: True
    assert await exchange(transport, request) == (200, b"ok")
    assert server.accepted == 3
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert body == content
    assert b"transfer-encoding" not in head.lower()


# -- something may have been sent


@pytest.mark.parametrize("case", BROKEN)
async def test_an_opened_connection_that_breaks_proves_nothing(
    transport: ReqwestTransport, serve: Serve, case: str
) -> None:
    server = serve(BROKEN[case])

    with pytest.raises(httpx.ReadError):
        await exchange(transport, post(server.url))

    assert server.accepted == 1, "it was not tried again"
    assert len(server.requests) <= 1


@pytest.mark.parametrize("case", SILENT)
async def test_silence_ends_at_the_time_out_and_proves_nothing(
    transport: ReqwestTransport, serve: Serve, case: str
) -> None:
    server = serve(SILENT[case])

    with pytest.raises(httpx.ReadError):
        await asyncio.wait_for(exchange(transport, post(server.url, seconds=SILENCE)), 3)

    assert server.accepted == 1


async def test_a_kept_connection_that_the_server_closes_on_a_request_is_not_tried_again(serve: Serve) -> None:
    """The second request is read but not answered, so it may have had its effect."""

    def once(connection: Connection) -> None:
        connection.read()
        connection.send(reply())
        connection.read()

    reusing = ReqwestTransport()
    server = serve(once)
    assert await exchange(reusing, post(server.url)) == (200, b"{}")

    with pytest.raises(httpx.ReadError):
        await exchange(reusing, post(server.url))

    assert server.accepted == 1
    assert len(server.requests) == 2
    await reusing.aclose()


async def test_a_cancelled_call_returns_at_once_and_closes_its_connection_at_its_time_out(
    transport: ReqwestTransport, serve: Serve
) -> None:
    arrived, left = threading.Event(), threading.Event()

    def handler(connection: Connection) -> None:
        connection.read()
        arrived.set()
        with contextlib.suppress(OSError):
            connection.socket.recv(1)
        left.set()

    server = serve(handler)
    call = asyncio.ensure_future(exchange(transport, post(server.url, seconds=SILENCE)))
    assert await asyncio.to_thread(arrived.wait, 3)

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(call, 0.1)

    assert await asyncio.to_thread(left.wait, 3)
    assert server.accepted == 1


# -- files


@pytest.mark.parametrize("case", SILENT)
async def test_a_file_ends_after_a_silence_long_before_its_whole_time_is_over(serve: Serve, case: str) -> None:
    files = ReqwestTransport(idle_seconds=SILENCE)
    server = serve(SILENT[case])

    with pytest.raises(httpx.ReadError):
        await asyncio.wait_for(exchange(files, post(server.url, seconds=3600)), 3)

    await files.aclose()


async def test_a_file_that_keeps_arriving_may_take_longer_than_a_silence_may(serve: Serve) -> None:
    def handler(connection: Connection) -> None:
        connection.read()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n")
        for _ in range(12):
            connection._over.wait(0.03)
            connection.send(b"x")

    files = ReqwestTransport(idle_seconds=SILENCE)
    assert await exchange(files, post(serve(handler).url)) == (200, b"x" * 12)
    await files.aclose()


async def test_a_file_that_is_no_longer_wanted_closes_its_connection_at_once(serve: Serve) -> None:
    left = threading.Event()

    def handler(connection: Connection) -> None:
        connection.read()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")
        with contextlib.suppress(OSError):
            connection.socket.recv(1)
        left.set()

    files, begun = ReqwestTransport(idle_seconds=3600), asyncio.Event()

    async def read() -> None:
        response = await files.handle_async_request(post(serve(handler).url, seconds=3600))
        try:
            async for _ in response.aiter_raw():
                begun.set()
        finally:
            await response.aclose()

    call = asyncio.ensure_future(read())
    await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(call, 1)
    assert await asyncio.to_thread(left.wait, 3)
    await files.aclose()


async def test_the_bytes_of_a_file_before_a_break_are_handed_over(serve: Serve) -> None:
    sent = b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n" + b"x" * 5000
    files = ReqwestTransport(idle_seconds=5)
    response = await files.handle_async_request(post(serve(after_reading(sent)).url))
    size = 0
    with pytest.raises(httpx.ReadError):  # noqa: PT012  # what came before it counts
        async for chunk in response.aiter_raw():
            size += len(chunk)
    assert size == 5000
    await files.aclose()


# -- good replies


GOOD: dict[str, tuple[bytes, int, bytes]] = {
    "length": (reply(b'{"id": 1}'), 200, b'{"id": 1}'),
    "no body": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "until the end": (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}", 200, b"{}"),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", 200, b"{}"),
    "continue first": (b"HTTP/1.1 100 Continue\r\n\r\n" + reply(), 200, b"{}"),
    "error": (reply(b"no", status=b"503 Service Unavailable"), 503, b"no"),
    "a length that is too short": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{} and more", 200, b"{}"),
    "odd bytes in a header": (reply(b"{}", b"X-Name: caf\xe9 \xff", b"X-Other: \xe5\x8a\xa8"), 200, b"{}"),
    "compressed": (reply(b"\x1f\x8b\x08not really", b"Content-Encoding: gzip"), 200, b"\x1f\x8b\x08not really"),
}


@pytest.mark.parametrize("case", GOOD)
async def test_a_whole_reply_is_read_as_it_was_sent(transport: ReqwestTransport, serve: Serve, case: str) -> None:
    sent, status, body = GOOD[case]
    server = serve(after_reading(sent))

    assert await exchange(transport, post(server.url)) == (status, body)


async def test_headers_are_handed_on_each_with_all_its_values(transport: ReqwestTransport, serve: Serve) -> None:
    server = serve(after_reading(reply(b"{}", b"X-A: 1", b"X-B: \xff", b"x-a: 2", b"Retry-After: 3")))

    response = await transport.handle_async_request(post(server.url))
    await response.aclose()

    assert response.headers.get_list("x-a") == ["1", "2"]
    assert response.headers["retry-after"] == "3"
    assert "x-b" not in response.headers


async def test_a_redirect_is_an_answer_and_is_not_followed(transport: ReqwestTransport, serve: Serve) -> None:
    other = serve(after_reading(reply(b"never")))
    location = b"Location: %s/elsewhere" % other.url.encode()
    server = serve(after_reading(reply(b"", location, status=b"307 Temporary Redirect")))
    request = post(server.url)
    request.headers["authorization"] = "Bearer secret"

    assert await exchange(transport, request) == (307, b"")

    assert server.accepted == 1
    assert other.accepted == 0


async def test_a_proxy_of_the_environment_is_not_used(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = serve(after_reading(reply(b"from the proxy")))
    server = serve(after_reading(reply(b"from the server")))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    direct = ReqwestTransport()

    assert await exchange(direct, post(server.url)) == (200, b"from the server")

    assert proxy.accepted == 0
    await direct.aclose()


async def test_path_query_and_body_arrive_as_they_were_written(transport: ReqwestTransport, serve: Serve) -> None:
    server = serve(after_reading(reply()))

    await exchange(transport, post(f"{server.url}/v1/a%2Fb%20c/..%2f?q=%E5%8A%A8&x=a+b", content=b"\x00\xff body"))

    line, _, rest = server.requests[0].partition(b"\r\n")
    assert line == b"POST /v1/a%2Fb%20c/..%2f?q=%E5%8A%A8&x=a+b HTTP/1.1"
    assert rest.endswith(b"\r\n\r\n\x00\xff body")
    assert rest.lower().count(b"host: 127.0.0.1:") == 1
    assert rest.lower().count(b"content-length: 7\r\n") == 1


def forever(connection: Connection) -> None:
    while True:
        connection.read()
        connection.send(reply())


@pytest.mark.parametrize(("fresh", "connections"), [(True, 4), (False, 1)])
async def test_fresh_calls_open_a_connection_each_and_others_share_one(
    serve: Serve, fresh: bool, connections: int
) -> None:
    server = serve(forever)
    transport = ReqwestTransport(fresh=fresh)

    for _ in range(4):
        assert await exchange(transport, post(server.url)) == (200, b"{}")

    assert server.accepted == connections
    assert len(server.requests) == 4
    await transport.aclose()
