"""Keevx's paths: one task for each output, its envelopes, and its codes."""

import json
from typing import Any

import pytest

from gateway.api.dialects.keevx import callback_body
from gateway.api.web.links import Links
from gateway.tokens import Signer

from ..test_images import PNG

VIDEO, IMAGE = "/keevx/v1/image_to_video", "/keevx/v1/image_generate"
# The lines of Keevx's own pages, as `curl` sent them.
ONE_VIDEO = {
    "model": "V",
    "prompt": "Waves crashing on the beach at sunset",
    "image_url": "https://example.com/beach.jpg",
    "aspect_ratio": "16:9",
    "aspect_resolution": "1080p",
    "duration": 6,
    "generate_audio": True,
}
TWO_VIDEOS = {
    "model": "KL",
    "prompt": "City night timelapse, neon lights flickering",
    "reference_images": [f"https://example.com/city{number}.jpg" for number in (1, 2, 3)],
    "aspect_ratio": "16:9",
    "aspect_resolution": "1080p",
    "duration": 10,
    "generate_count": 2,
}
TWO_IMAGES = {
    "prompt": "A serene mountain lake at sunset with golden reflections",
    "reference_images": ["https://example.com/ref.jpg"],
    "module": "std",
    "generate_count": 2,
    "image_quality": "2K",
    "image_ratio": "16:9",
}


async def create(gateway: Any, path: str, body: Any, **headers: str) -> list[str]:
    answer = await gateway.client.post(path, json=body, headers={"source": "skill", **headers})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["code"], answer.json()["msg"], set(answer.json()["data"])) == (0, "ok", {"task_ids"})
    ids: list[str] = answer.json()["data"]["task_ids"]
    assert answer.headers["location"] == f"{path}/{ids[0]}"
    return ids


async def task(gateway: Any, path: str, task_id: str) -> dict[str, Any]:
    answer = await gateway.client.get(f"{path}/{task_id}", headers={"source": "skill"})
    assert (answer.status_code, answer.json()["code"], answer.json()["msg"]) == (200, 0, "ok"), answer.text
    data: dict[str, Any] = answer.json()["data"]
    assert data["task_id"] == task_id
    return data


def refused(answer: Any, status: int, code: int, param: str | None) -> str:
    body = answer.json()
    assert (answer.status_code, body["code"], body["param"], body["data"]) == (status, code, param, None), answer.text
    message: str = body["msg"]
    return message


async def test_a_video_is_made_and_read(gateway: Any) -> None:
    [task_id] = await create(gateway, VIDEO, ONE_VIDEO)
    begun = await task(gateway, VIDEO, task_id)
    await gateway.finish()
    done = await task(gateway, VIDEO, task_id)

    assert task_id.startswith("i2v-")
    assert (begun["status"], begun["video_url"], begun["thumbnail_url"], begun["error_message"]) == (
        "PENDING",
        "",
        "",
        "",
    )
    assert (done["status"], done["error_message"]) == ("SUCCEEDED", "")
    async with gateway.client_of(None) as anybody:
        assert (await anybody.get(done["video_url"])).status_code == 200
    sent = json.loads(gateway.upstream.submits[-1].content)
    assert {name: sent[name] for name in ONE_VIDEO} == ONE_VIDEO


async def test_each_output_has_a_task_of_its_own(gateway: Any) -> None:
    first, second = await create(gateway, VIDEO, TWO_VIDEOS)
    gateway.upstream.failing = frozenset({"task-1-1"})
    await gateway.finish()

    assert (await task(gateway, VIDEO, first))["status"] == "SUCCEEDED"
    failed = await task(gateway, VIDEO, second)
    assert (failed["status"], failed["video_url"]) == ("FAILED", "")
    assert "It broke." in failed["error_message"]
    assert len(gateway.upstream.submits) == 1


async def test_images_are_made_and_read(gateway: Any) -> None:
    gateway.upstream.content, gateway.upstream.url = PNG, "https://cdn.example/result.png"
    ids = await create(gateway, IMAGE, TWO_IMAGES)
    begun = await task(gateway, IMAGE, ids[1])
    await gateway.finish()
    done = await task(gateway, IMAGE, ids[1])

    assert [task_id[:5] for task_id in ids] == ["i2is-", "i2is-"]
    assert begun == {"task_id": ids[1], "status": "GENERATING", "image_url": "", "error_message": ""}
    assert done["status"] == "SUCCEEDED"
    async with gateway.client_of(None) as anybody:
        assert (await anybody.get(done["image_url"])).content == PNG
    sent = json.loads(gateway.upstream.submits[-1].content)
    assert {name: sent[name] for name in TWO_IMAGES} == TWO_IMAGES


async def test_a_cancelled_task_has_failed_and_says_why(gateway: Any) -> None:
    [task_id] = await create(gateway, VIDEO, ONE_VIDEO)
    assert (await gateway.client.post(f"/v1/videos/generations/{task_id}/cancel")).status_code == 200

    data = await task(gateway, VIDEO, task_id)
    assert (data["status"], data["error_message"]) == ("FAILED", "The generation was cancelled.")


async def test_an_idempotency_key_counts(gateway: Any) -> None:
    key = {"idempotency-key": "once"}
    assert await create(gateway, VIDEO, ONE_VIDEO, **key) == await create(gateway, VIDEO, ONE_VIDEO, **key)
    assert gateway.rows()["generations"] == 1


@pytest.mark.parametrize(
    ("path", "changes", "code", "param"),
    [
        (VIDEO, {"model": None}, 100001, "model"),
        (VIDEO, {"duration": 5}, 100001, "duration"),
        (VIDEO, {"prompt": "x" * 1001}, 100005, "prompt"),
        (VIDEO, {"image_url": "data:image/png;base64,AAAA"}, 100007, "image_url"),
        (VIDEO, {"generate_count": 5}, 100001, "generate_count"),
        (VIDEO, {"colour": "red"}, 100001, "colour"),
        (VIDEO, {"aspect_resolution": "480p"}, 100001, "aspect_resolution"),
        (IMAGE, {"image_ratio": "5:1"}, 100001, "image_ratio"),
        (IMAGE, {"generate_count": 9}, 100001, "generate_count"),
        (IMAGE, {"reference_images": [f"https://example.com/{at}.png" for at in range(6)]}, 100001, "reference_images"),
        (IMAGE, {"duration": 5}, 100001, "duration"),
        (IMAGE, {"reference_images": ["data:image/png;base64,AAAA"]}, 530002, "reference_images[0]"),
    ],
)
async def test_what_cannot_be_is_refused_by_its_own_name(
    gateway: Any, path: str, changes: Any, code: int, param: str
) -> None:
    body = {**(ONE_VIDEO if path == VIDEO else TWO_IMAGES), **changes}
    answer = await gateway.client.post(path, json=body)

    assert refused(answer, 400, code, param)
    assert gateway.rows()["generations"] == 0


async def test_a_model_that_does_not_exist_is_named(gateway: Any) -> None:
    answer = await gateway.client.post(VIDEO, json={**ONE_VIDEO, "model": "S"})
    assert "S" in refused(answer, 404, 100001, "model")


@pytest.mark.parametrize(("path", "code"), [(VIDEO, 100003), (IMAGE, 110002)])
async def test_a_task_that_does_not_exist_has_the_code_of_its_family(gateway: Any, path: str, code: int) -> None:
    [task_id] = await create(gateway, VIDEO, ONE_VIDEO)
    wrong = ["i2v-00000000000000000000000000000000", f"{task_id}-1"]
    if path == IMAGE:
        wrong.append(task_id)  # it is a video
    for other in wrong:
        refused(await gateway.client.get(f"{path}/{other}"), 404, code, "id")
    refused(await gateway.other.get(f"{path}/{task_id}"), 404, code, "id")


@pytest.mark.parametrize("path", [VIDEO, IMAGE])
async def test_without_a_key_the_code_is_that_of_an_invalid_token(gateway: Any, path: str) -> None:
    async with gateway.client_of(None) as nobody:
        refused(await nobody.post(path, json=ONE_VIDEO), 401, 100002, None)


async def test_the_payload_of_a_callback_is_that_of_keevx(gateway: Any) -> None:
    [task_id] = await create(gateway, VIDEO, ONE_VIDEO)
    await gateway.finish()
    generation = await gateway.stored((await gateway.client.get(f"/v1/videos/generations/{task_id}")).json()["id"])
    body = callback_body(generation, 0, Links("https://us.example", Signer(bytes(32))))

    assert {name: value for name, value in body.items() if name != "data"} == {
        "code": 0,
        "msg": "ok",
        "task_type": "image_to_video",
    }
    assert set(body["data"]) == {"task_id", "status", "video_url", "thumbnail_url", "error_message"}
    assert (body["data"]["task_id"], body["data"]["status"]) == (task_id, "SUCCEEDED")
    assert body["data"]["video_url"].startswith("https://us.example/v1/videos/generations/")


async def test_the_id_of_one_output_gives_its_file_and_ends_no_other(gateway: Any) -> None:
    first, second = await create(gateway, VIDEO, {**ONE_VIDEO, "generate_count": 2})
    own = f"gen_{first.removeprefix('i2v-')}"
    cancelled = await gateway.client.post(f"/v1/videos/generations/{second}/cancel")
    assert (cancelled.status_code, cancelled.json()["error"]["param"]) == (400, "id")
    await gateway.finish()
    content = await gateway.client.get(f"/v1/videos/generations/{second}/content")
    by_index = await gateway.client.get(f"/v1/videos/generations/{own}/content?index=1")
    assert (content.status_code, content.headers.get("location")) == (
        by_index.status_code,
        by_index.headers.get("location"),
    )
    missing = await gateway.client.get(f"/v1/videos/generations/{first}-999/content")
    assert missing.status_code == 404
    for path in ("/v1/videos", "/v1/videos/generations"):
        deleted = await gateway.client.delete(f"{path}/{second}")
        assert f"`{first}`" in deleted.json()["error"]["message"]
        assert deleted.status_code == 400
    assert (await gateway.client.get(f"{VIDEO}/{first}")).status_code == 200
