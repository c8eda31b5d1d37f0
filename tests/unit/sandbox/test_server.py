"""Counting, the journal, files, callbacks, and the sandbox as a server."""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.sandbox import media
from gateway.sandbox.app import create_app
from gateway.sandbox.server import SandboxServer
from gateway.sandbox.settings import Clock

KEY = {"authorization": "Bearer k"}
VIDEO = {
    "model": "V",
    "prompt": "x",
    "image_url": "https://example.com/1.jpg",
    "aspect_resolution": "720p",
    "duration": 4,
}
TEXT = {"model": "kling-v3-text-to-video", "prompt": "x"}


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[SandboxServer]:
    journal = tmp_path / "journal.jsonl"
    async with SandboxServer(clock=Clock(1_763_700_000), max_short_side=90, journal=journal) as server:
        yield server


@pytest.fixture
async def client(sandbox: SandboxServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=sandbox.url, headers=KEY, trust_env=False) as client:
        yield client


class Receiver:
    """A server that receives callbacks."""

    def __init__(self) -> None:
        self.bodies: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        self.bodies.put_nowait(json.loads(body))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(5):
            return await self.bodies.get()


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[Receiver, str]]:
    server, app = SandboxServer(), Receiver()
    unused, server.app = server.app, app  # type: ignore[assignment]  # the same server around another application
    async with server:
        yield app, server.url + "/callback"
        server.app = unused


async def test_what_was_paid_for_is_counted(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    await client.post(
        "/keevx/v1/image_to_video", json=VIDEO | {"generate_count": 2, "callback_url": "http://127.0.0.1:9/a"}
    )
    reply = await client.post(
        "/keevx/v1/image_to_video", json=VIDEO | {"generate_count": 2, "callback_url": "http://127.0.0.1:9/b"}
    )
    await client.post("/keevx/v1/image_to_video", json=VIDEO | {"duration": 5})
    await client.get("/keevx/v1/image_to_video/" + reply.json()["data"]["task_ids"][0])
    state = (await client.get("/_sandbox/state")).json()
    keevx = state["providers"]["keevx"]
    assert (keevx["submits"], keevx["tasks_started"], keevx["polls"], keevx["uploads"]) == (3, 4, 1, 0)
    assert list(keevx["submits_started_by_fingerprint"].values()) == [2]
    assert keevx["submits_started_by_prompt"] == {"x": 2}
    assert [task["polls"] for task in state["tasks"]] == [0, 0, 1, 0]
    assert state["tasks"][0]["request"]["callback_url"] == "http://127.0.0.1:9/a"
    assert (await client.get("/_sandbox/state?tasks=0")).json()["tasks"] == []

    await client.delete("/_sandbox/state")
    state = (await client.get("/_sandbox/state")).json()
    assert (state["providers"]["keevx"]["submits"], state["tasks"]) == (0, [])


async def test_journal_has_every_submit_and_every_started_task_even_without_a_reply(
    sandbox: SandboxServer, client: httpx.AsyncClient
) -> None:
    await client.post("/foxapi/v1/videos/generations", json=TEXT)
    sandbox.fault("foxapi", "submit", "close_after_accept")
    with pytest.raises(httpx.RemoteProtocolError):
        await client.post("/foxapi/v1/videos/generations", json=TEXT | {"prompt": "y"})
    await client.post("/foxapi/v1/videos/generations", json=TEXT | {"duration": 99})
    assert sandbox.state.journal is not None
    lines = [json.loads(line) for line in sandbox.state.journal.path.read_text().splitlines()]
    first, second = sandbox.state.tasks
    assert {(line["provider"], line["model"]) for line in lines} == {("foxapi", TEXT["model"])}
    assert [(line["event"], line["prompt"], line.get("tasks")) for line in lines] == [
        ("submit", TEXT["prompt"], None),
        ("start", TEXT["prompt"], [first]),
        ("submit", "y", None),
        ("start", "y", [second]),
        ("submit", TEXT["prompt"], None),
    ]


def journaled(sandbox: SandboxServer, event: str) -> list[dict[str, Any]]:
    assert sandbox.state.journal is not None
    lines = map(json.loads, sandbox.state.journal.path.read_text().splitlines())
    return [line for line in lines if line["event"] == event]


@pytest.mark.parametrize(
    ("fault", "seconds"), [("", 6), ("slow_task?seconds=4", 10), ("stuck", None), ("fail", None), ("no_url", None)]
)
async def test_journal_says_when_a_result_will_be_there(
    sandbox: SandboxServer, client: httpx.AsyncClient, fault: str, seconds: float | None
) -> None:
    prompt = f"[[sandbox:keevx:task:{fault}]]" if fault else "x"
    await client.post("/keevx/v1/image_to_video", json=VIDEO | {"prompt": prompt, "generate_count": 2})
    now = sandbox.state.clock.now()
    [submit], [start] = journaled(sandbox, "submit"), journaled(sandbox, "start")
    assert (submit["count"], submit["created_at"]) == (2, now)
    assert start["done_at"] == dict.fromkeys(sandbox.state.tasks, seconds and now + seconds)


async def test_journal_says_which_tasks_a_reply_does_not_name(
    sandbox: SandboxServer, client: httpx.AsyncClient
) -> None:
    sandbox.fault("keevx", "submit", "530003", started=1)
    sandbox.fault("keevx", "submit", "fewer_ids", n=2)
    sandbox.fault("keevx", "submit", "close", started=1)
    sandbox.fault("keevx", "submit", "error_after_accept")
    answer = await client.post("/keevx/v1/image_to_video", json=VIDEO | {"generate_count": 3})
    assert answer.json()["code"] == 530003
    with pytest.raises(httpx.RemoteProtocolError):
        await client.post("/keevx/v1/image_to_video", json=VIDEO)
    await client.post("/keevx/v1/image_to_video", json=VIDEO)
    first, second, third, _, fifth = sandbox.state.tasks
    assert [line["tasks"] for line in journaled(sandbox, "withheld")] == [[second, third], [first], [fifth]]


async def test_journal_has_every_reading_and_whether_its_answer_has_left(
    sandbox: SandboxServer, client: httpx.AsyncClient
) -> None:
    await client.post("/foxapi/v1/videos/generations", json=TEXT)
    [task] = sandbox.state.tasks
    path, began = f"/foxapi/v1/tasks/{task}", sandbox.state.clock.now()
    await client.get(path)
    for fault in ("500", "garbage", "close_after_accept", "close_before_read", "lost"):
        sandbox.fault("foxapi", "poll", fault)
        with contextlib.suppress(httpx.RemoteProtocolError, httpx.ReadError):
            await client.get(path)
    sandbox.state.clock.advance(6)
    sandbox.fault("foxapi", "poll", "slow", seconds=0.05)
    await client.get(path)
    lines, ended = journaled(sandbox, "read"), began + 6
    assert [(line["says"], line["at"], line["answered_at"]) for line in lines] == [
        ("queued", began, began),
        ("nothing", began, began),
        ("nothing", began, began),
        ("queued", began, None),
        ("nothing", began, None),
        ("not_found", began, began),
        ("done", ended, ended),
    ]
    assert {(line["provider"], line["task"]) for line in lines} == {("foxapi", task)}


async def test_journal_has_the_answer_to_every_callback(sandbox: SandboxServer, receiver: tuple[Receiver, str]) -> None:
    for task, url in (("i2v-a", receiver[1]), ("i2v-b", "http://127.0.0.1:9/nobody")):
        await sandbox.app._callbacks.send(url, {"data": {"task_id": task}})
    assert [(line["task"], line["outcome"]) for line in journaled(sandbox, "callback")] == [
        ("i2v-a", 204),
        ("i2v-b", "ConnectError"),
    ]


async def test_results_have_ranges(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    await client.post("/foxapi/v1/videos/generations", json=TEXT)
    [task] = sandbox.state.tasks.values()
    assert (await client.get(task.result_url)).status_code == 404
    sandbox.state.clock.advance(6)
    whole = (await client.get(task.result_url)).content

    async def part(spec: str) -> tuple[int, bytes]:
        reply = await client.get(task.result_url, headers={"range": spec})
        return reply.status_code, reply.content

    assert await part("bytes=10-19") == (206, whole[10:20])
    assert await part("bytes=-5") == (206, whole[-5:])
    assert await part(f"bytes={len(whole) - 3}-") == (206, whole[-3:])
    assert await part(f"bytes={len(whole)}-") == (416, b"")
    assert await part("lines=1-2") == (200, whole)
    head = await client.head(task.result_url)
    assert (head.content, head.headers["content-length"]) == (b"", str(len(whole)))
    assert head.headers["accept-ranges"] == "bytes"
    assert (await client.post(task.result_url)).status_code == 405


@pytest.mark.parametrize(("provider", "days", "status"), [("foxapi", 1, 404), ("keevx", 7, 403)])
async def test_results_expire(
    sandbox: SandboxServer, client: httpx.AsyncClient, provider: str, days: int, status: int
) -> None:
    path, body = {
        "foxapi": ("/foxapi/v1/videos/generations", TEXT),
        "keevx": ("/keevx/v1/image_to_video", VIDEO),
    }[provider]
    await client.post(path, json=body)
    [task] = sandbox.state.tasks.values()
    sandbox.state.clock.advance(6 + days * 86400 - 60)
    assert (await client.get(task.result_url)).status_code == 200
    sandbox.state.clock.advance(120)
    assert (await client.get(task.result_url)).status_code == status


async def test_missing_extra_is_reported(
    sandbox: SandboxServer, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    await client.post("/foxapi/v1/videos/generations", json=TEXT)
    [task] = sandbox.state.tasks.values()
    sandbox.state.clock.advance(6)
    reply = await client.get(task.result_url)
    assert (reply.status_code, "video-gateway[demo]" in reply.text) == (501, True)
    assert "av" in (media.missing() or "")


async def test_callback_comes_at_the_end_of_each_task(
    sandbox: SandboxServer, client: httpx.AsyncClient, receiver: tuple[Receiver, str]
) -> None:
    inbox, url = receiver
    body = VIDEO | {"callback_url": url, "generate_count": 2}
    ids = (await client.post("/keevx/v1/image_to_video", json=body)).json()["data"]["task_ids"]
    sandbox.state.clock.advance(5)
    assert inbox.bodies.empty()
    sandbox.state.clock.advance(1)
    callbacks = [await inbox.next(), await inbox.next()]
    assert {each["data"]["task_id"] for each in callbacks} == set(ids)
    assert set(callbacks[0]) == {"code", "msg", "task_type", "data"}
    assert set(callbacks[0]["data"]) == {"task_id", "status", "video_url", "thumbnail_url", "error_message"}
    assert callbacks[0]["data"]["status"] == "SUCCEEDED"


async def test_callback_of_a_failed_task_says_so(
    sandbox: SandboxServer, client: httpx.AsyncClient, receiver: tuple[Receiver, str]
) -> None:
    inbox, url = receiver
    prompt = "[[sandbox:keevx:task:fail_content]]"
    await client.post("/keevx/v1/image_to_video", json=VIDEO | {"callback_url": url, "prompt": prompt})
    sandbox.state.clock.advance(6)
    data = (await inbox.next())["data"]
    assert (data["status"], data["video_url"]) == ("FAILED", "")
    assert data["error_message"] == "Video generation failed due to content policy"


async def test_callbacks_go_wrong_on_demand(
    sandbox: SandboxServer, client: httpx.AsyncClient, receiver: tuple[Receiver, str]
) -> None:
    inbox, url = receiver

    async def submit(fault: str) -> str:
        sandbox.fault("keevx", "callback", fault)
        reply = await client.post("/keevx/v1/image_to_video", json=VIDEO | {"callback_url": url})
        task_id: str = reply.json()["data"]["task_ids"][0]
        return task_id

    early = await submit("early")
    assert (
        inbox.bodies.get_nowait()["data"] | {"task_id": early, "status": "SUCCEEDED"}
        == sandbox.state.callbacks[0]["body"]["data"]
    )

    twice = await submit("duplicated")
    sandbox.state.clock.advance(6)
    assert [(await inbox.next())["data"]["task_id"] for _ in range(2)] == [twice, twice]

    forged = await submit("forged")
    lie = (await inbox.next())["data"]
    assert (lie["task_id"], lie["status"]) == (forged, "SUCCEEDED")
    assert "169.254" in lie["video_url"]
    sandbox.state.clock.advance(6)
    assert "169.254" not in (await inbox.next())["data"]["video_url"]

    await submit("none")
    sandbox.state.clock.advance(6)
    await asyncio.sleep(0)
    assert inbox.bodies.empty()


async def test_clock_and_settings_can_be_changed_from_outside(client: httpx.AsyncClient) -> None:
    assert (await client.post("/_sandbox/clock", json={"advance": 5})).json() == {"now": 1_763_700_005}
    assert (await client.patch("/_sandbox/settings", json={"relay_regime": "A"})).json()["relay_regime"] == "A"
    assert (await client.get("/_sandbox/settings")).json()["relay_regime"] == "A"
    for body in ({"relay_regime": "D"}, {"colour": 1}):
        assert (await client.patch("/_sandbox/settings", json=body)).status_code == 400
    assert (await client.get("/_sandbox/nothing")).status_code == 404
    assert (await client.get("/")).status_code == 404


async def test_a_server_that_is_down_refuses_connections(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    url = sandbox.url
    await sandbox.stop_listening()
    with pytest.raises(httpx.ConnectError):
        await client.get(url)


async def test_app_runs_under_any_asgi_server() -> None:
    transport = httpx.ASGITransport(create_app())
    async with httpx.AsyncClient(transport=transport, base_url="http://sandbox", headers=KEY) as client:
        assert (await client.post("/foxapi/v1/videos/generations", json=TEXT)).status_code == 200


def test_process_tells_its_addresses_and_stops() -> None:
    command = [sys.executable, "-m", "gateway.sandbox", "--port", "0", "--set", "total_seconds=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  # our own command
        assert process.stdout is not None
        url = process.stdout.readline().rpartition(" ")[2].strip()
        lines = [process.stdout.readline().strip() for _ in range(3)]
        assert httpx.get(url + "/_sandbox/settings", trust_env=False).json()["total_seconds"] == 0
        process.terminate()
        assert process.wait(10) == 0
    assert lines[0] == f"KEEVX_BASE_URL={url}/keevx/v1"
