"""An answer that is sent before the whole body was read reaches the client; reading on has limits."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from litestar.routes import HTTPRoute

from gateway.api.web import request_log
from gateway.api.web.streaming import CUT

from ..asgi import scope_of

VIDEOS = "/v1/videos/generations"
LARGE = 6_000_000  # bytes; more than the buffers of both sides


async def exchange(port: int, head: str, body: bytes) -> bytes:
    """The answer to a client that sends its whole body first and then reads until the connection closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(20):
            writer.write(head.encode() + b"\r\n" + body)
            await writer.drain()
            return await reader.read()
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


# The method and the path, "K" if the request has a key, and the status of its answer.
EARLY: dict[str, tuple[str, str, bytes]] = {
    "no key": (f"POST {VIDEOS}", "", b"401"),
    "no such path": ("POST /v1/nothing", "K", b"404"),
    "no such method": (f"PUT {VIDEOS}", "K", b"405"),
    "a query": (f"POST {VIDEOS}?a=1", "K", b"400"),
    "a body where none is read": ("GET /v1/models", "K", b"200"),
    "a cancel of nothing": (f"POST {VIDEOS}/gen_1/cancel", "K", b"404"),
}


@pytest.mark.parametrize("name", EARLY)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_an_early_answer_reaches_a_client_that_is_still_sending(served: Any, name: str, version: str) -> None:
    line, headers, status = EARLY[name]
    key = f"Authorization: Bearer {served.key}\r\n" if headers else ""
    close = "Connection: close\r\n" if version == "1.1" else ""
    head = f"{line} HTTP/{version}\r\nHost: x\r\n{key}{close}Content-Type: application/json\r\n"
    answer = await exchange(served.port, f"{head}Content-Length: {LARGE}\r\n", b"x" * LARGE)
    assert answer.split(b" ", 2)[1] == status
    assert b"\r\n\r\n" in answer


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_over_the_limit_is_answered_with_413(served: Any, chunked: bool) -> None:
    size = 30_000_000
    head = f"POST {VIDEOS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {served.key}\r\nConnection: close\r\n"
    if chunked:
        body = b"%x\r\n" % size + b"x" * size + b"\r\n0\r\n\r\n"
        answer = await exchange(served.port, f"{head}Transfer-Encoding: chunked\r\n", body)
    else:
        answer = await exchange(served.port, f"{head}Content-Length: {size}\r\n", b"x" * size)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"body_too_large" in answer


async def test_a_persistent_connection_is_usable_after_an_early_answer(served: Any) -> None:
    head = f"POST {VIDEOS} HTTP/1.1\r\nHost: x\r\nContent-Length: {LARGE}\r\n\r\n".encode()
    then = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answers = await served.raw(head + b"x" * LARGE + then)
    assert answers[0].status_code == 401


async def test_a_client_that_waits_for_100_continue_is_answered_at_once(served: Any) -> None:
    head = f"POST {VIDEOS} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 100\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(f"{head}\r\n".encode())
    async with asyncio.timeout(5):
        refused = await reader.readuntil(b"\r\n\r\n")
    assert refused.startswith(b"HTTP/1.1 401 ")  # and no `100 Continue` before it
    assert b"\r\nconnection: close\r\n" in refused
    writer.close()

    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(f"{head}Authorization: Bearer {served.key}\r\n\r\n".encode())
    async with asyncio.timeout(5):
        assert (await reader.readline()).startswith(b"HTTP/1.1 100 ")
        writer.write(b"x" * 100)
        answer = await reader.readuntil(b'"request_id"')
    assert b"HTTP/1.1 415 " in answer
    assert b"connection: close" not in answer
    writer.close()


FAULTY = {
    "no host": "HTTP/1.1\r\n",
    "two hosts": "HTTP/1.1\r\nHost: x\r\nHost: x\r\n",
    "two keys": "HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n",
    "two types": "HTTP/1.1\r\nHost: x\r\nContent-Type: a/b\r\nContent-Type: a/c\r\n",
    "chunked in HTTP/1.0": "HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    "HTTP/2 without a preface": "HTTP/2.0\r\nHost: x\r\n",
}


@pytest.mark.parametrize("name", FAULTY)
async def test_a_faulty_head_is_answered_with_400_and_the_connection_ends(served: Any, name: str) -> None:
    head = f"POST {VIDEOS} {FAULTY[name]}".encode()
    (answer,) = await served.raw(head + b"\r\n")
    assert (answer.status_code, answer.headers["connection"]) == (400, "close")
    assert b'"code":"bad_request"' in answer.content.replace(b": ", b":")
    assert answer.headers["x-request-id"].encode() in answer.content


class Endless:
    """A client that announces a body, and sends it without end or stops."""

    def __init__(self, gateway: Any, *, sends: bool) -> None:
        self._gateway = gateway
        self._sends = sends
        self.came = 0
        self.sent: list[Any] = []
        self.cut = False

    async def receive(self) -> Any:
        if not self._sends:
            await asyncio.Event().wait()
        self.came += 2**20
        await asyncio.sleep(0)
        return {"type": "http.request", "body": bytes(2**20), "more_body": True}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    def abort(self) -> None:
        self.cut = True

    async def ask(self) -> None:
        headers = {"host": "x", "content-length": "9" * 12}
        scope = scope_of("POST", VIDEOS, headers, state={CUT: self.abort})
        await self._gateway.application.asgi(scope, self.receive, self.send)


async def test_a_body_without_end_is_cut_off(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_log, "LINGER_BYTES", 5 * 2**20)
    client = Endless(gateway, sends=True)
    await client.ask()
    assert client.sent[0]["status"] == 401
    assert (client.came, client.cut) == (5 * 2**20, True)
    assert gateway.application.asgi._bodies.taken == 0


async def test_the_gateway_waits_a_moment_for_a_body_that_stops(gateway: Any) -> None:
    client = Endless(gateway, sends=False)
    request = asyncio.create_task(client.ask())
    await gateway.clock.advance(request_log.LINGER_IDLE_SECONDS - 1)
    # The whole answer was sent, except its end.
    assert [message.get("more_body") for message in client.sent] == [None, True]
    assert not request.done()
    await gateway.clock.advance(1)
    await asyncio.wait_for(request, 5)
    assert client.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert not client.cut


async def test_options_names_all_methods_of_every_path(untouched: Any) -> None:
    routes = [route for route in untouched.application.litestar.routes if isinstance(route, HTTPRoute)]
    assert len(routes) > 15
    for route in routes:
        path = "".join(f"/{part if isinstance(part, str) else 'x'}" for part in route.path_components) or "/"
        options = await untouched.client.options(path)
        wrong = await untouched.client.request("TRACE", path)
        allowed = {method.strip() for method in options.headers["allow"].split(",")}
        assert allowed == {method.strip() for method in wrong.headers["allow"].split(",")} == set(route.methods)
        assert ("HEAD" in allowed) == ("GET" in allowed)
    both = await untouched.client.options(VIDEOS)
    assert both.headers["allow"] == "GET, HEAD, OPTIONS, POST"
