"""What `callback_url` gets: a callback in the words of the API in which the generation was created."""

import hmac
import json
from hashlib import sha256
from typing import Any

import msgspec
import pytest

from gateway.api.dialects.foxapi import FoxTask
from gateway.api.dialects.kling.views import KlingTask
from gateway.api.dialects.webhook_formats import OpenRouterEvent

from ..test_webhooks import DELIVERIES, SECRET

HOOK = "https://a.example/hook"
WAVES = {"prompt": "Waves", "aspect_ratio": "16:9", "duration": 5}
KEEVX = {"model": "V", "prompt": "Waves", "image_url": "https://example.com/a.jpg", "duration": 6}
CREATES: dict[str, tuple[str, dict[str, Any]]] = {
    "keevx": ("/keevx/v1/image_to_video", KEEVX),
    "keevx image": ("/keevx/v1/image_generate", {"prompt": "A hill"}),
    "kling": ("/kling/v1/videos/text2video", {"model_name": "kling_relay/kling-v1", **WAVES, "duration": "5"}),
    "kling root": ("/v1/videos/text2video", {"model_name": "kling_relay/kling-v1", **WAVES, "duration": "5"}),
    "new-api": ("/v1/video/generations", {"model": "kling_relay/kling-v1", **WAVES}),
    "openrouter": ("/api/v1/videos", {"model": "foxapi/kling-v3-text-to-video", **WAVES}),
    "foxapi": ("/foxapi/v1/videos/generations", {"model": "kling-v3-text-to-video", **WAVES}),
}


async def made(gateway: Any, name: str, **more: Any) -> Any:
    path, body = CREATES[name]
    answer = await gateway.client.post(path, json={**body, **more})
    assert answer.status_code in {200, 202}, answer.text
    return answer.json()


async def deliveries(gateway: Any) -> list[dict[str, Any]]:
    """All deliveries, the oldest first."""
    data: list[dict[str, Any]] = (await gateway.client.get(f"{DELIVERIES}?order=asc")).json()["data"]
    return data


async def ended(gateway: Any, word: str) -> None:
    """Let the tasks end, and the webhooks be sent."""
    gateway.upstream.word = word
    for _ in range(20):
        await gateway.clock.advance(40)


def bodies(gateway: Any) -> list[Any]:
    """What was sent, with the address at which tests call the gateway: no request says it to the deliverer."""
    return [json.loads(body.replace(b"http://127.0.0.1:8080/", b"http://gateway.test/")) for body in gateway.bodies]


def is_of(kind: Any, body: Any) -> bool:
    """Whether a body has the fields of a structure and no others."""
    return bool(json.loads(msgspec.json.encode(msgspec.convert(body, kind))) == body)


@pytest.mark.parametrize(("word", "status"), [("completed", "SUCCEEDED"), ("failed", "FAILED")])
async def test_keevx_gets_one_callback_for_each_task(notified: Any, word: str, status: str) -> None:
    ids = (await made(notified, "keevx", generate_count=3, callback_url=HOOK))["data"]["task_ids"]
    await ended(notified, word)

    assert notified.posted == [HOOK] * 3
    sent = sorted(bodies(notified), key=lambda body: ids.index(body["data"]["task_id"]))
    for task_id, body in zip(ids, sent, strict=True):
        read = (await notified.client.get(f"/keevx/v1/image_to_video/{task_id}")).json()["data"]
        measured = ("duration", "width", "height")
        data = {name: value for name, value in read.items() if name not in measured}
        assert data["status"] == status
        assert body == {"code": 0, "msg": "ok", "task_type": "image_to_video", "data": data}
    assert len({headers["webhook-id"] for headers in notified.headers}) == 3
    assert sorted(delivery["output"] for delivery in await deliveries(notified)) == [0, 1, 2]


async def test_of_several_tasks_of_keevx_each_says_how_it_ended(notified: Any) -> None:
    ids = (await made(notified, "keevx", generate_count=2, callback_url=HOOK))["data"]["task_ids"]
    notified.upstream.failing = frozenset({"task-1-1"})
    await ended(notified, "completed")

    data = {body["data"]["task_id"]: body["data"] for body in bodies(notified)}
    assert [data[task_id]["status"] for task_id in ids] == ["SUCCEEDED", "FAILED"]
    assert [bool(data[task_id]["video_url"]) for task_id in ids] == [True, False]
    assert [bool(data[task_id]["error_message"]) for task_id in ids] == [False, True]


async def test_a_callback_about_an_image_of_keevx(notified: Any) -> None:
    [task_id] = (await made(notified, "keevx image", callback_url=HOOK))["data"]["task_ids"]
    await ended(notified, "failed")

    [body] = bodies(notified)
    assert body == {
        "code": 0,
        "msg": "ok",
        "task_type": "image_generate",
        "data": {"task_id": task_id, "status": "FAILED", "image_url": "", "error_message": "It broke."},
    }


@pytest.mark.parametrize("name", ["kling", "kling root", "new-api"])
@pytest.mark.parametrize(("word", "status"), [("completed", "succeed"), ("failed", "failed")])
async def test_kling_gets_its_task_without_an_envelope(notified: Any, name: str, word: str, status: str) -> None:
    given = {"metadata": {"callback_url": HOOK}} if name == "new-api" else {"callback_url": HOOK}
    answer = await made(notified, name, **given)
    task_id = answer.get("task_id") or answer["data"]["task_id"]
    await ended(notified, word)

    [body] = bodies(notified)
    read = (await notified.client.get(f"/kling/v1/videos/text2video/{task_id}")).json()["data"]
    assert (body, body["task_status"]) == (read, status)
    assert is_of(KlingTask, body)


@pytest.mark.parametrize(
    ("word", "members"), [("completed", {"unsigned_urls", "usage"}), ("failed", {"error", "usage"})]
)
async def test_openrouter_gets_its_event_with_its_signature(notified: Any, word: str, members: set[str]) -> None:
    created = await made(notified, "openrouter", callback_url=HOOK)
    secret = (await notified.client.get(SECRET)).json()["secret"]
    await ended(notified, word)

    [raw], [headers] = notified.bodies, notified.headers
    event = json.loads(raw)
    assert is_of(OpenRouterEvent, event)
    assert event["type"] == f"video.generation.{word}"
    assert event["created_at"].endswith("Z")
    assert set(event["data"]) == {"id", "status", "generation_id", "model"} | members
    assert (event["data"]["id"], event["data"]["status"]) == (created["id"], word)
    parts = [part.partition("=") for part in headers["x-openrouter-signature"].split(",")]
    [(_, _, timestamp), (_, _, signature)] = parts
    assert [name for name, _, _ in parts] == ["t", "v1"]
    expected = hmac.new(secret.encode(), timestamp.encode() + b"," + raw, sha256).hexdigest()
    assert hmac.compare_digest(expected, signature)
    assert headers["x-openrouter-idempotency-key"] == f"{created['id']}-{word}"


async def test_the_shared_path_tells_openrouter_by_its_fields(notified: Any) -> None:
    frame = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}, "frame_type": "first_frame"}
    body = {"model": "kling_relay/kling-v1", "prompt": "Waves", "frame_images": [frame], "callback_url": HOOK}
    created = (await notified.client.post("/v1/videos", json=body)).json()
    await ended(notified, "failed")

    assert bodies(notified)[0]["data"]["id"] == created["id"]
    assert "x-openrouter-signature" in notified.headers[0]


@pytest.mark.parametrize("word", ["completed", "failed"])
async def test_foxapi_gets_the_task_as_a_read_has_it(notified: Any, word: str) -> None:
    created = await made(notified, "foxapi", callback_url=HOOK)
    await ended(notified, word)

    [body] = bodies(notified)
    assert (body, body["status"]) == ((await notified.client.get(f"/foxapi/v1/tasks/{created['id']}")).json(), word)
    assert is_of(FoxTask, body)


@pytest.mark.parametrize("name", CREATES)
async def test_our_own_name_of_the_url_gets_our_own_webhook(notified: Any, name: str) -> None:
    await made(notified, name, webhook_url=HOOK)
    await ended(notified, "failed")

    [body], [delivery] = bodies(notified), await deliveries(notified)
    assert (set(body), body["type"]) == ({"type", "timestamp", "data"}, delivery["type"])
    assert body["data"]["id"] == delivery["generation"]


@pytest.mark.parametrize("name", CREATES)
async def test_an_endpoint_gets_our_own_event_of_a_generation_of_any_dialect(notified: Any, name: str) -> None:
    await notified.client.post("/v1/webhook_endpoints", json={"url": "https://b.example/"})
    given = {"metadata": {"callback_url": HOOK}} if name == "new-api" else {"callback_url": HOOK}
    await made(notified, name, **given)
    await ended(notified, "failed")

    assert sorted(notified.posted) == [HOOK, "https://b.example/"]
    own = json.loads(notified.bodies[notified.posted.index("https://b.example/")])
    assert set(own) == {"type", "timestamp", "data"}
    assert own["data"]["object"].endswith(".generation")


@pytest.mark.parametrize("name", CREATES)
async def test_a_callback_is_repeated_byte_for_byte_with_all_signatures(notified: Any, name: str) -> None:
    given = {"metadata": {"callback_url": HOOK}} if name == "new-api" else {"callback_url": HOOK}
    await made(notified, name, **given)
    notified.status = 500
    await ended(notified, "completed")
    for _ in range(3):
        await notified.clock.advance(2000)

    assert len(notified.bodies) > 2
    assert len(set(notified.bodies)) == 1
    assert len({headers["webhook-id"] for headers in notified.headers}) == 1
    common = {"content-type", "webhook-id", "webhook-timestamp", "webhook-signature"}
    assert all(common <= headers.keys() for headers in notified.headers)


async def test_the_same_create_in_other_words_is_another_request(notified: Any) -> None:
    """An idempotency key belongs to one body, and the words of the callback are part of what was asked for."""
    path, body = CREATES["openrouter"]
    key = {"idempotency-key": "k"}
    first = await notified.client.post(path, json={**body, "callback_url": HOOK}, headers=key)
    again = await notified.client.post(path, json={**body, "callback_url": HOOK}, headers=key)
    other = await notified.client.post(path, json={**body, "webhook_url": HOOK}, headers=key)

    assert (first.json()["id"], first.status_code) == (again.json()["id"], 202)
    assert other.status_code == 422
