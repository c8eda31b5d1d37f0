"""Every answer passes one place, where secrets are hidden in its text and its headers."""

import threading
from collections.abc import Iterable
from typing import Any

import pytest

from gateway.api.web.held_body import bodies_room
from gateway.api.web.request_log import LARGE, RequestLog
from gateway.clock import SystemClock
from gateway.domain.redaction import Redactor
from gateway.live import Live
from gateway.telemetry import Observers

KEY = b"Zx.Q~77!pass/word+Key_2026=tail"
REDACTOR = Redactor([KEY])


class NotedRedactor(Redactor):
    """Notes for each text whether it was searched on the event loop."""

    def __init__(self) -> None:
        super().__init__([KEY])
        self.on_loop: list[bool] = []

    def places(self, body: bytes, begins: Iterable[int]) -> list[tuple[int, int]]:
        self.on_loop.append(threading.current_thread() is threading.main_thread())
        return super().places(body, begins)


async def answered(
    content_type: bytes, *chunks: bytes, redactor: Redactor = REDACTOR, **headers: bytes
) -> tuple[dict[bytes, bytes], list[bytes]]:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        pairs = [(b"content-type", content_type), *((name.encode(), value) for name, value in headers.items())]
        await send({"type": "http.response.start", "status": 200, "headers": pairs})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    log = RequestLog(app, bodies_room(1024), SystemClock(), Observers([]), Live(redactor))
    await log({"type": "http", "method": "GET", "path": "/", "headers": [], "state": {}}, receive, send)  # type: ignore[arg-type]  # enough of one
    return dict(sent[0]["headers"]), [message["body"] for message in sent[1:] if message["body"]]


@pytest.mark.parametrize(
    "content_type", [b"application/json", b"application/json; charset=utf-8", b"text/event-stream", b"text/plain"]
)
async def test_a_secret_in_a_text_is_masked_and_the_length_stays(content_type: bytes) -> None:
    headers, [first, second] = await answered(
        content_type, b'data: {"url":"https://a/?k=' + KEY + b'"}\n\n', b'{"n":1}', location=b"/x?k=" + KEY
    )
    assert first == b'data: {"url":"https://a/?k=' + b"*" * len(KEY) + b'"}\n\n'
    assert second == b'{"n":1}'
    assert headers[b"location"] == b"/x?k=" + b"*" * len(KEY)


async def test_the_bytes_of_a_file_are_sent_as_they_are() -> None:
    _, [body] = await answered(b"video/mp4", KEY)
    assert body == KEY


async def test_a_large_text_is_searched_beside_the_event_loop() -> None:
    redactor = NotedRedactor()
    _, [small, large] = await answered(b"application/json", b"{}", b"[" * LARGE + KEY, redactor=redactor)
    assert redactor.on_loop == [True, True, False, True], "the header, then the two texts, then the empty end"
    assert (small, large) == (b"{}", b"[" * LARGE + b"*" * len(KEY))


async def named(*ids: bytes) -> str:
    """The id of the answer to a request that has these ids."""
    sent: list[Any] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def send(message: Any) -> None:
        sent.append(message)

    log = RequestLog(app, bodies_room(1024), SystemClock(), Observers([]), Live(REDACTOR))
    headers = [(b"x-request-id", value) for value in ids]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers, "state": {}}
    await log(scope, None, send)  # type: ignore[arg-type]  # enough of one
    return dict(sent[0]["headers"])[b"x-request-id"].decode()


async def test_a_sound_id_of_the_client_is_kept_and_any_other_replaced() -> None:
    for sound in (b"7f9c24e8-3b12-4fef-91e0-4c6a50c0f9d1", b"Root=1-67891233-abcdef012345678912345678", b"a" * 128):
        assert await named(sound) == sound.decode()
    for unsound in (b"", b"a" * 129, b"two words", b"a\x1b[2J", b"{}", "é".encode(), KEY):
        assert (await named(unsound)).startswith("req_"), unsound
    assert (await named(b"one", b"two")).startswith("req_")
    assert (await named()).startswith("req_")
