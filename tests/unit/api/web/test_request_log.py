"""Every answer passes one place, where secrets are hidden in its text and its headers."""

from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.api.web.json_body import Bodies
from gateway.api.web.request_log import RequestLog
from gateway.clock import SystemClock
from gateway.domain.redaction import Redactor
from gateway.telemetry import Observers

KEY = b"Zx.Q~77!pass/word+Key_2026=tail"
AT = datetime(2026, 1, 1, tzinfo=UTC)


async def answered(content_type: bytes, *chunks: bytes, **headers: bytes) -> tuple[dict[bytes, bytes], list[bytes]]:
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

    log = RequestLog(app, Bodies(1024), SystemClock(), Observers([]), Redactor([KEY]))  # type: ignore[arg-type]
    await log({"type": "http", "method": "GET", "path": "/", "headers": [], "state": {}}, receive, send)  # type: ignore[typeddict-item]
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
