"""What one connection may hold, and that each of its states ends."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from gateway import connection as limits
from gateway.connection import Admission, OpenConnections, bounded, owner_of

HOST = b"Host: x\r\n"
GET = b"GET /text HTTP/1.1\r\n" + HOST + b"\r\n"
CHUNKED = b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
LARGE = 8_000_000  # bytes; more than fits into the buffers of both sides


class App:
    """`/echo` answers with the body, `/wait` after `go`, `/large` at length, `/gone` waits for the client to leave.

    Other paths do not read the body.
    """

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.seen: list[str] = []
        self.gone = 0
        self.headers: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        self.seen.append(path)
        self.headers = scope["headers"]
        body = b"ok"
        if path == "/wait":
            await self.go.wait()
        if path == "/gone":
            await receive()
            assert (await receive())["type"] == "http.disconnect"
            self.gone += 1
            return
        if path == "/echo":
            body = b""
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    self.gone += 1
                    return
                body += message["body"]
                if not message["more_body"]:
                    break
        if path == "/large":
            body = bytes(LARGE)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})


class Served:
    """A server with one application and one `OpenConnections`."""

    def __init__(
        self, app: App, open_connections: OpenConnections, address: tuple[str, int], state: ServerState
    ) -> None:
        self.app, self.open_connections, self._address, self._state = app, open_connections, address, state

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection(*self._address)
        try:
            yield reader, writer
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def exchange(self, *parts: bytes) -> bytes:
        """Everything that arrives until the server ends the connection."""
        async with self.connection() as (reader, writer), asyncio.timeout(5):
            received = b""
            with suppress(ConnectionError):
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                while chunk := await reader.read(65536):
                    received += chunk
            return received

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not done():  # noqa: ASYNC110  # the server has no event for it
                await asyncio.sleep(0)


async def refusal(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 503, "headers": [(b"connection", b"close")]})
    await send({"type": "http.response.body", "body": b""})


Serve = Callable[..., Awaitable[Served]]


@pytest.fixture
async def serve(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Serve]:
    monkeypatch.setattr(limits, "HEAD_SECONDS", 0.1)
    monkeypatch.setattr(limits, "UNREAD_SECONDS", 0.1)
    monkeypatch.setattr(limits, "REFUSED_SECONDS", 0.1)
    started: list[tuple[asyncio.Server, ServerState]] = []

    async def start(connections_max: int = 100, address_max: int | None = None) -> Served:
        app, open_connections = App(), OpenConnections(connections_max, address_max)
        config = uvicorn.Config(
            app,
            http=bounded(open_connections, refusal),
            log_config=None,
            lifespan="off",
            ws="none",
            timeout_keep_alive=0.1,  # type: ignore[arg-type]  # any number is one
        )
        config.load()
        state = ServerState()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: config.http_protocol_class(config=config, server_state=state, app_state={}, _loop=loop),  # type: ignore[call-arg,arg-type,return-value]
            "127.0.0.1",
            0,
        )
        started.append((server, state))
        return Served(app, open_connections, server.sockets[0].getsockname()[:2], state)

    yield start
    for server, state in started:
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        async with asyncio.timeout(5):
            while state.connections:  # noqa: ASYNC110  # the server has no event for it
                await asyncio.sleep(0)


@pytest.fixture
async def served(serve: Serve) -> Served:
    return await serve()


def status(answer: bytes) -> bytes:
    return answer.partition(b" ")[2][:3]


# --- what is refused --------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[bytes, bytes]] = {
    "many headers": (GET[:-2] + b"A: b\r\n" * 100 + b"\r\n", b"431"),
    "large headers": (GET[:-2] + b"A: %s\r\n" % (b"x" * 33_000) * 2 + b"\r\n", b"431"),
    "a header without end": (GET[:-2] + b"A: " + b"x" * LARGE, b"431"),
    "a path without end": (b"GET /" + b"x" * LARGE, b"431"),
    "empty lines": (b"\r\n" * 500_000, b"431"),
    "many trailers": (CHUNKED + b"0\r\n" + b"A: b\r\n" * 200_000, b"431"),
    "large trailers": (CHUNKED + b"0\r\n" + b"A: %s\r\n" % (b"x" * 60_000) * 2 + b"\r\n", b"431"),
    "headers and trailers": (CHUNKED[:-2] + b"A: b\r\n" * 60 + b"\r\n0\r\n" + b"A: b\r\n" * 40 + b"\r\n", b"431"),
    "a trailer without end": (CHUNKED + b"0\r\nA: " + b"x" * LARGE, b"431"),
    "a chunk extension without end": (CHUNKED + b"1;a=" + b"x" * LARGE, b"431"),
    "tiny chunks": (CHUNKED + b"1\r\nx\r\n" * 1_000_000, b"400"),
    "no request": (b"no request\r\n\r\n" + b"x" * LARGE, b"400"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"400"),
    "two lengths": (b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx", b"400"),
    "length, chunked": (CHUNKED[:-2] + b"Content-Length: 5\r\n\r\n0\r\n\r\n", b"400"),
    "chunked, length": (CHUNKED.replace(HOST, HOST + b"Content-Length: 5\r\n") + b"0\r\n\r\n", b"400"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_request_over_a_limit_is_answered_while_it_is_still_sent(served: Served, name: str) -> None:
    sent, expected = REFUSED[name]
    answer = await served.exchange(sent)
    assert status(answer) == expected
    assert answer.count(b"HTTP/1.1") == 1
    await served.until(lambda: served.open_connections.open == 0)


async def test_a_refused_request_is_not_read_for_ever(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REFUSED_BYTES", 1_000_000)
    monkeypatch.setattr(limits, "REFUSED_SECONDS", 60)
    async with served.connection() as (_, writer), asyncio.timeout(5):

        async def send_on() -> None:
            while True:
                writer.write(b"GET / HTTP/1.1\r\nX: " + b"x" * 1_000_000)
                await writer.drain()

        with pytest.raises(ConnectionError):
            await send_on()


async def test_a_body_that_breaks_off_in_a_fault_ends_its_request(served: Served) -> None:
    answer = await served.exchange(CHUNKED + b"1\r\nx\r\nnonsense\r\n")
    assert status(answer) == b"400"
    assert served.app.gone == 1


async def test_trailers_do_not_become_headers(served: Served) -> None:
    head = CHUNKED.replace(HOST, HOST + b"Connection: close\r\n")
    answer = await served.exchange(head + b"1\r\nx\r\n0\r\nAuthorization: Bearer y\r\n\r\n")
    assert status(answer) == b"200"
    assert {name for name, _ in served.app.headers} == {b"host", b"connection", b"transfer-encoding"}


# --- one request after another ----------------------------------------------------------------------------------------


async def test_one_request_may_wait_for_the_answer_to_another(served: Served) -> None:
    async with served.connection() as (reader, writer), asyncio.timeout(5):
        writer.write(GET.replace(b"/text", b"/wait") + GET)
        await served.until(lambda: bool(served.app.seen))
        await asyncio.sleep(0)
        assert served.app.seen == ["/wait"]
        served.app.go.set()
        for _ in range(2):
            assert (await reader.readuntil(b"\r\n\r\nok")).startswith(b"HTTP/1.1 200 ")
        assert served.app.seen == ["/wait", "/text"]


async def test_more_waiting_requests_end_the_connection(served: Served) -> None:
    assert await served.exchange(GET.replace(b"/text", b"/wait") + GET * 3) == b""
    assert served.app.seen == ["/wait"]


async def test_the_application_learns_at_once_that_nobody_gets_its_answer(served: Served) -> None:
    assert await served.exchange(GET.replace(b"/text", b"/echo") * 4) == b""
    assert (served.app.seen, served.app.gone) == (["/echo"], 1)


async def test_the_application_learns_that_a_client_has_left_although_a_further_request_waits(served: Served) -> None:
    async with served.connection() as (_, writer):
        writer.write(CHUNKED + b"1\r\nx\r\n")
        await served.until(lambda: bool(served.app.seen))
    await served.until(lambda: served.app.gone == 1)
    async with served.connection() as (_, writer):
        writer.write(GET.replace(b"/text", b"/gone") + GET)
        await served.until(lambda: "/gone" in served.app.seen)
        await asyncio.sleep(0)
    await served.until(lambda: served.app.gone == 2)


async def test_a_fault_in_a_waiting_body_is_not_taken_for_the_answer_to_the_first(served: Served) -> None:
    assert await served.exchange(GET.replace(b"/text", b"/wait") + CHUNKED + b"1\r\nx\r\nnonsense\r\n") == b""


async def test_a_faulty_second_request_is_not_taken_for_the_answer_to_the_first(served: Served) -> None:
    assert await served.exchange(GET.replace(b"/text", b"/wait") + b"no request\r\n\r\n") == b""


@pytest.mark.parametrize(
    "body", [b"Content-Length: 3\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"]
)
async def test_the_wish_for_another_protocol_is_ignored(served: Served, body: bytes) -> None:
    wish = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    async with served.connection() as (reader, writer), asyncio.timeout(5):
        for _ in range(2):
            writer.write(b"POST /echo HTTP/1.1\r\n" + HOST + wish + body)
            assert (await reader.readuntil(b"\r\n\r\nabc")).startswith(b"HTTP/1.1 200 ")


# --- states and timers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [b"", b"\r\n", b"GET / HTTP/1.1\r\nHost: x"], ids=["silent", "empty line", "half"])
async def test_a_head_that_does_not_come_ends_the_connection(served: Served, start: bytes) -> None:
    assert await served.exchange(start) == b""


@pytest.mark.parametrize("start", [b"", b"\r\n", b"GET / HTTP/1.1\r\nHost: x"], ids=["silent", "empty line", "half"])
async def test_a_further_head_that_does_not_come_ends_it_too(served: Served, start: bytes) -> None:
    async with served.connection() as (reader, writer), asyncio.timeout(5):
        writer.write(GET)
        await reader.readuntil(b"\r\n\r\nok")
        writer.write(start)
        assert await reader.read() == b""


async def test_half_a_head_during_an_answer_ends_the_connection_after_it(served: Served) -> None:
    async with served.connection() as (reader, writer), asyncio.timeout(5):
        writer.write(GET.replace(b"/text", b"/wait") + b"GET / HTTP")
        await served.until(lambda: bool(served.app.seen))
        served.app.go.set()
        assert (await reader.read()).endswith(b"\r\n\r\nok")


async def test_a_slow_answer_and_a_long_body_do_not_end_it(served: Served) -> None:
    body = b"x" * (limits.HEAD_MAX * 3)
    async with served.connection() as (reader, writer), asyncio.timeout(5):
        for _ in range(2):  # the second request uses the same connection
            writer.write(b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(body))
            await asyncio.sleep(limits.HEAD_SECONDS * 1.5)
            writer.write(body)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            await reader.readexactly(len(body))


async def test_the_rest_of_a_body_after_the_answer_ends_the_connection(served: Served) -> None:
    answer = await served.exchange(b"POST /early HTTP/1.1\r\n" + HOST + b"Content-Length: 100\r\n\r\nx")
    assert answer.endswith(b"\r\n\r\nok")


@pytest.mark.parametrize("close", [b"", b"Connection: close\r\n"])
async def test_an_answer_that_nobody_reads_ends_the_connection(served: Served, close: bytes) -> None:
    async with served.connection() as (_, writer):
        writer.write(b"GET /large HTTP/1.1\r\n" + HOST + close + b"\r\n")
        await served.until(lambda: served.open_connections.open == 1)
        await served.until(lambda: served.open_connections.open == 0)


async def test_an_unread_answer_before_a_stream_ends_the_connection(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STALL_SECONDS", -4.9)
    async with served.connection() as (_, writer):
        writer.write(b"GET /large HTTP/1.1\r\n" + HOST + b"\r\n" + GET.replace(b"/text", b"/wait"))
        await served.until(lambda: served.open_connections.open == 1)
        await served.until(lambda: served.open_connections.open == 0)


# --- how many connections ---------------------------------------------------------------------------------------------


async def test_connections_beyond_the_limit_are_refused_and_there_is_room_again_later(serve: Serve) -> None:
    served = await serve(connections_max=1)
    async with served.connection() as (reader, writer):
        writer.write(GET)
        assert (await reader.readuntil(b"\r\n\r\nok")).startswith(b"HTTP/1.1 200 ")
        assert status(await served.exchange(GET)) == b"503"
    await served.until(lambda: served.open_connections.open == 0)
    async with served.connection() as (reader, writer):
        writer.write(GET)
        assert (await reader.readuntil(b"\r\n\r\nok")).startswith(b"HTTP/1.1 200 ")


async def test_connections_far_beyond_the_limit_are_closed(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REFUSED_MAX", 0)
    served = await serve(connections_max=1)
    async with served.connection():
        await served.until(lambda: served.open_connections.open == 1)
        assert await served.exchange(GET) == b""


def test_one_address_cannot_take_the_room_of_all() -> None:
    open_connections = OpenConnections(1000)
    admissions = [open_connections.enter("a") for _ in range(1000)]
    assert [admissions.count(admission) for admission in Admission] == [500, 250, 250]
    assert open_connections.enter("b") is Admission.REFUSED  # also the closed ones count, until they are gone
    for _ in range(251):
        open_connections.leave("a")
    assert open_connections.enter("b") is Admission.SERVED
    assert open_connections.enter("a") is Admission.REFUSED


@pytest.mark.parametrize(
    ("connections_max", "address_max", "served"), [(5, None, 5), (150, None, 100), (400, None, 200), (400, 3, 3)]
)
def test_the_limit_of_one_address(connections_max: int, address_max: int | None, served: int) -> None:
    open_connections = OpenConnections(connections_max, address_max)
    assert [open_connections.enter("a") for _ in range(400)].count(Admission.SERVED) == served


@pytest.mark.parametrize(
    ("host", "owner"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1:1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_whose_connection_it_is(host: str, owner: str) -> None:
    assert owner_of(host) == owner
