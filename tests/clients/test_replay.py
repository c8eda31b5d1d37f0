"""The comparison of answers: it accepts the captured ones, and reports what a client would miss."""

from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from .differences import NOT_SPOKEN
from .replay import NUMBERED, Exchange, Replay, different, different_file, load
from .test_replays import NAMES


class Echo:
    """A gateway that answers what the capture has."""

    def __init__(self, exchanges: Iterator[Exchange]) -> None:
        self.exchanges = exchanges
        self.requests: list[httpx.Request] = []
        self.clock = SimpleNamespace(run_until=self.run_until, now=lambda: datetime.now(UTC), move_on=lambda _: None)
        self.traffic = SimpleNamespace(settle=self.settle)
        self.client = httpx.AsyncClient(
            transport=httpx.MockTransport(lambda _: httpx.Response(200, json={"data": []})),
            base_url="https://gw.example",
        )

    async def run_until(self, reached: Callable[[], Awaitable[bool]]) -> None:
        for _ in range(50):
            if await reached():
                return
            await self.client.get("/")

    async def settle(self) -> None: ...

    def client_of(self, _: str | None) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self.answer))

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        captured = next(self.exchanges).response
        if isinstance(captured["body"], str):
            kind = captured["body"].rstrip(")").rpartition(" ")[2]
            return httpx.Response(captured["status"], content=b"bytes", headers={"content-type": kind})
        return httpx.Response(captured["status"], json=captured["body"])


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NOT_SPOKEN])
async def test_a_captured_answer_has_no_difference(name: str) -> None:
    capture = load(name)
    echo: Any = Echo(iter(capture.exchanges))

    assert await Replay(echo, "http://127.0.0.1:1/hook").run(capture) == []
    for exchange, request in zip(capture.exchanges, echo.requests, strict=True):
        # Of an object whose create the capture lacks another id is sent.
        assert (request.method, NUMBERED.sub("ID", request.url.raw_path.decode().partition("?")[0])) == (
            exchange.request["method"],
            NUMBERED.sub("ID", exchange.request["path"]),
        )


@pytest.mark.parametrize(
    ("captured", "ours", "difference"),
    [
        ({"id": "a"}, {}, "id is missing"),
        ({"id": "a"}, {"id": 1}, "id is a number instead of a text"),
        ({"seconds": "4"}, {"seconds": None}, "seconds is null instead of a text"),
        ({"ok": True}, {"ok": 1}, "ok is a number instead of a boolean"),
        ({"data": [{"id": "a"}]}, {"data": []}, "data is empty"),
        ({"data": [{"id": "a"}]}, {"data": [{}]}, "data[].id is missing"),
        ({"data": {"task_status": "submitted"}}, {"data": {"task_status": "succeed"}}, "data.task_status is succeed"),
        ({"status": "completed"}, {"status": "succeeded"}, "status is succeeded instead of completed"),
        ([1], {"data": 1}, "the body is an object instead of a list"),
    ],
)
def test_what_a_client_would_miss_is_reported(captured: Any, ours: Any, difference: str) -> None:
    (reported,) = different(captured, ours)

    assert reported.startswith(difference)


def test_more_keys_and_null_in_the_capture_are_no_difference() -> None:
    assert list(different({"error": None, "n": 1}, {"error": {"code": "x"}, "n": 2.5, "more": 1})) == []


def test_a_file_of_another_kind_is_reported() -> None:
    answer = httpx.Response(200, content=b"", headers={"content-type": "application/json"})

    assert list(different_file("(32 bytes of video/mp4)", answer)) == [
        "the file is application/json instead of video/mp4",
        "the file is empty",
    ]
