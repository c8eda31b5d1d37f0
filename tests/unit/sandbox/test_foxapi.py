"""FoxAPI in the sandbox, over real HTTP, compared with its documentation."""

import base64
import io
from collections.abc import AsyncIterator
from typing import Any

import av
import httpx
import pytest
from PIL import Image

from gateway.sandbox.server import SandboxServer
from gateway.sandbox.settings import Clock

KEY = {"authorization": "Bearer sk-1"}
TEXT = {"model": "kling-v3-text-to-video", "prompt": "A calm sunrise"}
IMAGE = {"model": "kling-v3-image-to-video", "prompt": "Fog", "image_url": "https://example.com/start.jpg"}
O3 = {"model": "kling-o3-image-to-video", "prompt": "Fog", "image_url": "https://example.com/start.jpg"}
REFERENCE = {"model": "kling-o3-reference-to-video", "prompt": "@Image1", "image_urls": ["https://example.com/1.jpg"]}
HEAD = {"id", "object", "type", "model", "status", "progress", "created"}


def picture(width: int = 640, height: int = 320, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(out, kind)
    return out.getvalue()


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxServer]:
    async with SandboxServer(clock=Clock(1_757_165_031), max_short_side=90) as server:
        yield server


@pytest.fixture
async def client(sandbox: SandboxServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=sandbox.base_urls()["foxapi"], headers=KEY, trust_env=False) as client:
        yield client


def configure(sandbox: SandboxServer, **changes: Any) -> None:
    sandbox.state.settings = sandbox.state.settings.changed(changes)


async def test_task_runs_from_pending_to_a_video_that_plays(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    reply = await client.post("/v1/videos/generations", json=TEXT | {"aspect_ratio": "9:16", "duration": 5})
    body = reply.json()
    assert set(body) == HEAD | {"task_info"}
    assert (body["status"], body["progress"], body["object"]) == ("pending", 0, "video.generation.task")
    assert body["id"].startswith("task-unified-1757165031-")
    seen = []
    for seconds in (0, 3.5, 2.5):
        sandbox.state.clock.advance(seconds)
        body = (await client.get(f"/v1/tasks/{body['id']}")).json()
        assert set(body) == HEAD | {"results", "error", "usage"}
        seen.append((body["status"], body["progress"], body["results"] is None))
    assert seen == [("pending", 0, True), ("processing", 50, True), ("completed", 100, False)]

    video = await client.get(body["results"][0]["url"])

    with av.open(io.BytesIO(video.content)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, container.duration) == (90, 160, 5_000_000)


@pytest.mark.parametrize("form", ["stream", "base64", "url"])
async def test_upload_is_kept_and_sets_the_ratio(sandbox: SandboxServer, client: httpx.AsyncClient, form: str) -> None:
    call: dict[str, Any]
    if form == "stream":
        call = {"files": {"file": ("photo.png", picture())}, "data": {"file_name": "my photo.png"}}
    elif form == "base64":
        data = "data:image/png;base64," + base64.b64encode(picture()).decode()
        call = {"json": {"file_data": data, "file_name": "my photo.png"}}
    else:
        first = await client.post("/v1/files/upload/stream", files={"file": ("a.png", picture())})
        call = {"json": {"url": first.json()["url"], "file_name": "my photo.png"}}
    body = (await client.post(f"/v1/files/upload/{form}", **call)).json()
    assert set(body) == {"id", "filename", "url", "size", "created"}
    assert (body["filename"], body["size"]) == ("my photo.png", len(picture()))
    assert (await client.get(body["url"])).content == picture()

    await client.post("/v1/videos/generations", json=IMAGE | {"image_url": body["url"]})
    [task] = sandbox.state.tasks.values()
    assert (task.spec.width, task.spec.height, task.spec.image) == (180, 90, picture())

    sandbox.state.clock.advance(72 * 3600 + 1)
    assert (await client.get(body["url"])).status_code == 404


@pytest.mark.parametrize(
    ("call", "status"),
    [
        ({"files": {"file": ("a.txt", b"words")}}, 422),
        ({"files": {"file": ("a.png", b"\xff\xd8\xff" + b"0" * 53_000_000)}}, 413),
        ({"data": {"name": "x"}}, 422),
    ],
)
async def test_upload_is_checked(client: httpx.AsyncClient, call: dict[str, Any], status: int) -> None:
    assert (await client.post("/v1/files/upload/stream", **call)).status_code == status


async def test_full_storage_evicts_or_refuses(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    configure(sandbox, foxapi_storage_bytes=len(picture()) + 10)
    first = await client.post("/v1/files/upload/stream", files={"file": ("a.png", picture())})
    refused = await client.post(
        "/v1/files/upload/stream", files={"file": ("b.png", picture())}, data={"auto_cleanup": "false"}
    )
    evicting = await client.post("/v1/files/upload/stream", files={"file": ("c.png", picture())})
    assert (first.status_code, refused.status_code, evicting.status_code) == (200, 403, 200)
    assert (await client.get(first.json()["url"])).status_code == 404


REFUSALS: list[tuple[dict[str, Any], str | None]] = [
    (TEXT | {"prompt": ""}, None),
    (TEXT | {"prompt": "x" * 2501}, None),
    ({"model": "kling-v3-text-to-video"}, None),
    ({"prompt": "x"}, None),
    (TEXT | {"model": "kling-v9"}, "model_not_found"),
    (TEXT | {"duration": 7}, None),
    (TEXT | {"duration": "5"}, None),
    (TEXT | {"resolution": "480p"}, None),
    (TEXT | {"aspect_ratio": "4:3"}, None),
    (TEXT | {"image_url": "https://example.com/1.jpg"}, None),
    (TEXT | {"seed": 1}, None),
    (TEXT | {"n": 1}, None),
    (TEXT | {"callback_url": "https://example.com"}, None),
    (TEXT | {"voice_ids": ["a"]}, None),
    (TEXT | {"voice_ids": ["a", "b", "c"], "generate_audio": True}, None),
    (TEXT | {"multi_prompt": [{"prompt": "a", "duration": 3}]}, None),
    (TEXT | {"generate_audio": 1}, None),
    (IMAGE | {"aspect_ratio": "16:9"}, None),
    (IMAGE | {"end_image_url": "https://example.com/1.jpg"}, None),
    (IMAGE | {"image_url": "not-a-url"}, "invalid_image_url"),
    (IMAGE | {"image_url": "data:image/png;base64,AAAA"}, "invalid_image_url"),
    ({"model": "kling-v3-image-to-video", "prompt": "x"}, None),
    (O3 | {"image_tail_url": "https://example.com/1.jpg"}, None),
    (O3 | {"negative_prompt": "x"}, None),
    (O3 | {"duration": 16}, None),
    (O3 | {"multi_prompt": [{"prompt": "a", "duration": 5}]}, None),
    (REFERENCE | {"image_url": "https://example.com/1.jpg"}, None),
    (REFERENCE | {"elements": [{"url": "https://example.com/1.jpg"}]}, None),
]


@pytest.mark.parametrize(("body", "code"), REFUSALS, ids=lambda value: str(value)[:80])
async def test_documented_rule_is_enforced(
    sandbox: SandboxServer, client: httpx.AsyncClient, body: dict[str, Any], code: str | None
) -> None:
    reply = await client.post("/v1/videos/generations", json=body)
    assert (reply.status_code, reply.json()["error"].get("code")) == (422, code)
    assert not sandbox.state.tasks


@pytest.mark.parametrize(
    "body",
    [
        IMAGE
        | {"image_tail_url": "https://example.com/2.jpg", "resolution": "4k", "negative_prompt": "", "duration": 10},
        O3 | {"end_image_url": "https://example.com/2.jpg", "duration": 15, "generate_audio": True},
        REFERENCE | {"elements": [{"frontal_image_url": "https://example.com/1.jpg"}], "aspect_ratio": "1:1"},
        {"model": "kling-o3-text-to-video", "multi_prompt": [{"prompt": "a", "duration": 5}], "shot_type": "customize"},
    ],
    ids=lambda body: body["model"],
)
async def test_documented_form_is_accepted(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    assert (await client.post("/v1/videos/generations", json=body)).status_code == 200


async def test_a_body_that_is_not_json_is_a_400(client: httpx.AsyncClient) -> None:
    reply = await client.post("/v1/videos/generations", content=b"{", headers={"content-type": "application/json"})
    assert (reply.status_code, reply.json()["error"]["message"]) == (400, "Invalid JSON")


async def test_replies_have_the_shape_that_was_chosen(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    configure(sandbox, foxapi_submit="newer", foxapi_query="dimensions")
    body = (await client.post("/v1/videos/generations", json=TEXT)).json()
    assert set(body) == HEAD | {"results", "error", "usage"}
    sandbox.state.clock.advance(6)
    sized = (await client.get(f"/v1/tasks/{body['id']}")).json()["results"][0]
    assert (sized["width"], sized["height"], sized["content_type"]) == (160, 90, "video/mp4")
    configure(sandbox, foxapi_query="strings")
    assert (await client.get(f"/v1/tasks/{body['id']}")).json()["results"] == [sized["url"]]
    configure(sandbox, foxapi_query="old")
    old = (await client.get(f"/v1/tasks/{body['id']}")).json()
    assert (old["output"]["urls"], old["error"]["code"]) == ([sized["url"]], "generation_failed")


async def test_keys_and_agents_are_checked(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    statuses = []
    for key in ("", "Bearer sandbox-invalid", "Bearer sandbox-no-credit", "Bearer x"):
        reply = await client.post("/v1/videos/generations", json=TEXT, headers={"authorization": key})
        statuses.append(reply.status_code)
    assert statuses == [401, 401, 402, 200]
    configure(sandbox, foxapi_blocks_default_agents=True)
    blocked = await client.post("/v1/videos/generations", json=TEXT)
    let_in = await client.post("/v1/videos/generations", json=TEXT, headers={"user-agent": "Mozilla/5.0"})
    assert (blocked.status_code, blocked.text, let_in.status_code) == (403, "error code: 1010", 200)


async def test_other_calls_answer(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/tasks/none")).json()["error"]["type"] == "not_found"
    assert len((await client.get("/v1/models")).json()["data"]) > 5
    assert (await client.get("/v1/account/credits")).status_code == 200
    assert (await client.get("/v1/nothing")).status_code == 404


async def test_url_may_need_a_synced_poll(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    sandbox.fault("foxapi", "submit", "no_url", until_sync=True)
    task_id = (await client.post("/v1/videos/generations", json=TEXT)).json()["id"]
    sandbox.state.clock.advance(6)
    plain = (await client.get(f"/v1/tasks/{task_id}")).json()
    synced = (await client.get(f"/v1/tasks/{task_id}?sync_upstream=true")).json()
    assert (plain["status"], plain["results"], plain["progress"]) == ("completed", None, 50)
    assert synced["results"]
