"""Keevx in the sandbox, over real HTTP, compared with its documentation."""

import io
from collections.abc import AsyncIterator
from typing import Any

import av
import httpx
import pytest
from PIL import Image

from gateway.sandbox.server import SandboxServer
from gateway.sandbox.settings import Clock

KEY = {"authorization": "Bearer k", "source": "skill"}
VIDEO = {
    "model": "V",
    "prompt": "Waves crashing on the beach",
    "image_url": "https://example.com/beach.jpg",
    "aspect_ratio": "16:9",
    "aspect_resolution": "720p",
    "duration": 6,
}
KL = {
    "model": "KL",
    "prompt": "City night",
    "reference_images": ["https://example.com/1.jpg"],
    "aspect_resolution": "1080p",
    "duration": 10,
}


def picture(width: int = 640, height: int = 400, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(out, kind)
    return out.getvalue()


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxServer]:
    async with SandboxServer(clock=Clock(1_763_700_000), max_short_side=90) as server:
        yield server


@pytest.fixture
async def client(sandbox: SandboxServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=sandbox.base_urls()["keevx"], headers=KEY, trust_env=False) as client:
        yield client


async def submit(client: httpx.AsyncClient, **changes: Any) -> list[str]:
    reply = await client.post("/image_to_video", json=VIDEO | changes)
    assert reply.status_code == 200, reply.text
    assert set(reply.json()) == {"code", "msg", "data"}
    assert set(reply.json()["data"]) == {"task_ids"}
    ids: list[str] = reply.json()["data"]["task_ids"]
    return ids


async def read(client: httpx.AsyncClient, task_id: str) -> dict[str, Any]:
    reply = await client.get(f"/image_to_video/{task_id}")
    data: dict[str, Any] = reply.json()["data"]
    return data


async def test_task_runs_from_pending_to_a_video_that_plays(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    [task_id] = await submit(client)
    before = await read(client, task_id)
    assert before == {
        "task_id": task_id,
        "status": "PENDING",
        "video_url": "",
        "thumbnail_url": "",
        "error_message": "",
    }
    sandbox.state.clock.advance(2)
    assert (await read(client, task_id))["status"] == "PROCESSING"
    sandbox.state.clock.advance(4)
    done = await read(client, task_id)
    assert (done["status"], done["duration"], done["width"], done["height"]) == ("SUCCEEDED", 6, 160, 90)

    video = await client.get(done["video_url"])
    thumbnail = await client.get(done["thumbnail_url"])

    assert video.headers["content-type"] == "video/mp4"
    assert video.content.index(b"moov") < video.content.index(b"mdat")
    with av.open(io.BytesIO(video.content)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, container.duration) == (160, 90, 6_000_000)
    assert Image.open(io.BytesIO(thumbnail.content)).format == "WEBP"


async def test_video_is_made_from_the_uploaded_image(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    reply = await client.post("/figure-resource/upload/file", files={"file": ("im age.png", picture(), "image/png")})
    body = reply.json()
    assert (body["code"], body["success"], body["message"]) == (0, True, {"global": "success"})
    assert set(body["result"]) == {"url", "fileId", "fileName"}
    assert (await client.get(body["result"]["url"])).content == picture()

    [task_id] = await submit(client, image_url=body["result"]["url"], duration=4)
    sandbox.state.clock.advance(6)
    video = await client.get((await read(client, task_id))["video_url"])
    with av.open(io.BytesIO(video.content)) as container:
        red, green, blue = next(container.decode(video=0)).to_image().getpixel((80, 45))

    assert (abs(red), abs(green - 128) < 12, abs(blue - 128) < 12) == (pytest.approx(0, abs=12), True, True)


async def test_each_count_is_a_task_of_its_own(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    assert len(set(await submit(client, generate_count=4))) == 4
    assert sandbox.state.started["keevx"] == 4


async def test_more_tasks_than_asked_are_started_and_counted(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    sandbox.fault("keevx", "submit", "extra_ids")
    assert len(await submit(client)) == 2
    assert len(await submit(client)) == 1
    assert sandbox.state.started["keevx"] == 3


async def test_fewer_tasks_than_were_started_are_named(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    sandbox.fault("keevx", "submit", "fewer_ids", times=2)
    assert len(await submit(client, generate_count=3)) == 2
    assert await submit(client) == []
    assert sandbox.state.started["keevx"] == 4


REFUSALS = [
    ({"prompt": ""}, 400, 100001),
    ({"prompt": None}, 400, 100001),
    ({"prompt": "x" * 1001}, 400, 100005),
    ({"model": "S"}, 400, 100001),
    ({"duration": 5}, 400, 100001),
    ({"duration": "6"}, 400, 100001),
    ({"duration": None}, 400, 100001),
    ({"aspect_ratio": "1:1"}, 400, 100001),
    ({"aspect_resolution": None}, 400, 100001),
    ({"aspect_resolution": "480p"}, 400, 100001),
    ({"generate_count": 5}, 400, 100001),
    ({"generate_count": True}, 400, 100001),
    ({"generate_audio": "yes"}, 400, 100001),
    ({"callback_url": "ftp://x"}, 400, 100001),
    ({"seed": 7}, 400, 100001),
    ({"image_url": None}, 400, 100001),
    ({"image_url": "data:image/png;base64,AAAA"}, 400, 100006),
    ({"reference_images": ["https://example.com/1.jpg"]}, 400, 100001),
    ({"image_url": None, "reference_images": ["https://example.com/1.jpg"], "duration": 6}, 400, 100001),
    ({"image_url": None, "reference_images": ["https://example.com/1.jpg"] * 4, "duration": 8}, 400, 100001),
    ({"image_url": None, "reference_images": [], "duration": 8}, 400, 100001),
    (KL | {"image_url": None, "aspect_resolution": "4k"}, 400, 100001),
    (KL | {"image_url": None, "duration": 8}, 400, 100001),
    (KL | {"image_url": None, "generate_audio": False}, 400, 100001),
    (KL | {"image_url": "https://example.com/1.jpg"}, 400, 100001),
    (KL | {"image_url": None, "reference_images": ["https://example.com/1.jpg"] * 8}, 400, 100001),
]


@pytest.mark.parametrize(("changes", "status", "code"), REFUSALS, ids=str)
async def test_documented_rule_is_enforced(
    sandbox: SandboxServer, client: httpx.AsyncClient, changes: dict[str, Any], status: int, code: int
) -> None:
    body = {name: value for name, value in (VIDEO | changes).items() if value is not None}
    reply = await client.post("/image_to_video", json=body)
    assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert sandbox.state.started["keevx"] == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"image_url": None, "reference_images": ["https://example.com/1.jpg"] * 3, "duration": 8},
        {"end_image_url": "https://example.com/2.jpg", "generate_audio": True, "aspect_resolution": "4k"},
        KL | {"image_url": None, "reference_images": ["https://example.com/1.jpg"] * 7, "aspect_ratio": "9:16"},
    ],
    ids=["references", "two frames", "KL"],
)
async def test_documented_form_is_accepted(client: httpx.AsyncClient, changes: dict[str, Any]) -> None:
    body = {name: value for name, value in (VIDEO | changes).items() if value is not None}
    assert (await client.post("/image_to_video", json=body)).status_code == 200


@pytest.mark.parametrize(
    ("data", "status", "code"), [(b"%PDF-1.7", 400, 100007), (b"\xff\xd8\xff" + b"0" * 21_000_000, 413, 100004)]
)
async def test_upload_is_checked(client: httpx.AsyncClient, data: bytes, status: int, code: int) -> None:
    reply = await client.post("/figure-resource/upload/file", files={"file": ("a.png", data)})
    assert (reply.status_code, reply.json()["code"]) == (status, code)


async def test_image_that_is_not_there_is_refused(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    for url in (f"{sandbox.url}/files/uploads/none/a.png", "http://127.0.0.1:9/a.png"):
        reply = await client.post("/image_to_video", json=VIDEO | {"image_url": url})
        assert (reply.status_code, reply.json()["code"]) == (400, 100006)


async def test_business_errors_can_come_with_http_200(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    sandbox.state.settings = sandbox.state.settings.changed({"keevx_errors": "200", "keevx_empty": "null"})
    reply = await client.post("/image_to_video", json=VIDEO | {"prompt": ""})
    assert (reply.status_code, reply.json()["code"], reply.json()["data"]) == (200, 100001, None)
    [task_id] = await submit(client)
    assert (await read(client, task_id))["video_url"] is None


async def test_keys_are_checked(client: httpx.AsyncClient) -> None:
    for key, status in (
        ("Bearer sandbox-invalid", 401),
        ("", 401),
        ("Basic x", 401),
        ("Bearer sandbox-no-credit", 402),
    ):
        reply = await client.post("/image_to_video", json=VIDEO, headers={"authorization": key})
        assert reply.status_code == status
    reply = await client.get("/image_to_video/x", headers={"authorization": "Bearer sandbox-no-credit"})
    assert (reply.status_code, reply.json()) == (404, {"code": 100003, "msg": "Task not found"})


async def test_the_source_header_can_be_enforced() -> None:
    async with SandboxServer(keevx_requires_source=True) as server, httpx.AsyncClient(trust_env=False) as client:
        url = server.base_urls()["keevx"] + "/image_to_video"
        refused = await client.post(url, json=VIDEO, headers={"authorization": "Bearer k"})
        accepted = await client.post(url, json=VIDEO, headers=KEY)
    assert (refused.status_code, accepted.status_code) == (400, 200)
