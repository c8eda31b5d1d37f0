"""A body that stops or is too slow is refused in time; a client that has left gets no answer."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog

from ..asgi import scope_of

VIDEOS = "/v1/videos/generations"
BODY = json.dumps({"model": "foxapi/kling-v3-text-to-video", "prompt": "A beach."}).encode()
HEADERS = {"content-type": "application/json"}


async def stalled(content: bytes) -> AsyncIterator[bytes]:
    """Yields the content, then waits without end."""
    yield content
    await asyncio.Event().wait()


@pytest.mark.parametrize("content", [b"", BODY[:1], BODY])
async def test_a_body_that_stops_is_408(gateway: Any, check_error: Any, content: bytes) -> None:
    request = asyncio.create_task(gateway.client.post(VIDEOS, content=stalled(content), headers=HEADERS))
    await gateway.clock.advance(29)
    assert not request.done()
    await gateway.clock.advance(1)
    response = await asyncio.wait_for(request, 5)
    assert "30 seconds" in check_error(response, 408, "request_timeout")
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert gateway.rows()["generations"] == 0
    assert gateway.upstream.submits == []


async def test_an_endless_body_is_408_although_it_never_pauses(gateway: Any, check_error: Any) -> None:
    parts: asyncio.Queue[bytes] = asyncio.Queue()

    async def trickle() -> AsyncIterator[bytes]:
        while True:
            yield await parts.get()

    request = asyncio.create_task(gateway.client.post(VIDEOS, content=trickle(), headers=HEADERS))
    for at in range(14):
        parts.put_nowait(BODY[at : at + 1])
        await gateway.clock.advance(20)
    assert not request.done()
    parts.put_nowait(b" ")
    await gateway.clock.advance(20)
    assert "300 seconds" in check_error(await asyncio.wait_for(request, 5), 408, "request_timeout")
    assert gateway.rows()["generations"] == 0


async def test_a_slow_body_is_accepted(gateway: Any) -> None:
    parts: asyncio.Queue[bytes] = asyncio.Queue()

    async def slowly() -> AsyncIterator[bytes]:
        while part := await parts.get():
            yield part

    request = asyncio.create_task(gateway.client.post(VIDEOS, content=slowly(), headers=HEADERS))
    for part in (BODY[:10], BODY[10:20], BODY[20:], b""):
        await gateway.clock.advance(25)
        parts.put_nowait(part)
    assert (await asyncio.wait_for(request, 5)).status_code == 200


async def test_a_connection_that_stalls_is_closed(served: Any) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    head = f"POST {VIDEOS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {served.key}\r\nContent-Length: 100\r\n\r\n{{"
    writer.write(head.encode())
    await writer.drain()
    async with asyncio.timeout(5):
        answer = asyncio.create_task(reader.read())  # until the connection is closed
        while not answer.done():
            await served.clock.advance(30)
        received = await answer
    writer.close()
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in received.lower()


async def test_a_client_that_leaves_in_mid_body_is_neither_answered_nor_a_failure(gateway: Any) -> None:
    messages: list[Any] = [
        {"type": "http.request", "body": BODY[:5], "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = scope_of(
        "POST", VIDEOS, {"host": "x", "authorization": f"Bearer {gateway.key}", "content-type": "application/json"}
    )
    with structlog.testing.capture_logs() as logs:
        await gateway.application.asgi(scope, receive, send)
    assert sent == []
    assert [(line["event"], line["log_level"], line["status"]) for line in logs] == [("request_finished", "info", 499)]
    assert gateway.rows()["generations"] == 0
