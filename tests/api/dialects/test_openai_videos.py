"""`/v1/videos` as OpenAI's libraries call it."""

from typing import Any

import pytest

VIDEOS = "/v1/videos"
BODY = {"model": "foxapi/kling-v3-text-to-video", "prompt": "Waves", "seconds": "5", "size": "1280x720"}
KEYS = {
    *("id", "object", "model", "status", "progress", "created_at", "completed_at", "expires_at", "prompt", "size"),
    *("seconds", "remixed_from_video_id", "error"),
}


async def test_a_video_has_every_key_that_the_libraries_read(gateway: Any) -> None:
    created = await gateway.client.post(VIDEOS, json=BODY)
    video = created.json()

    assert (created.status_code, set(video)) == (200, KEYS)
    assert (video["object"], video["status"], video["size"], video["seconds"]) == ("video", "queued", "1280x720", "5")
    assert created.headers["location"] == f"{VIDEOS}/{video['id']}"
    await gateway.finish("completed")
    done = (await gateway.client.get(f"{VIDEOS}/{video['id']}")).json()
    assert (done["status"], done["progress"], done["error"]) == ("completed", 100, None)
    assert done["expires_at"] > done["completed_at"]


async def test_a_form_means_the_same_as_json(gateway: Any) -> None:
    form = {name: (None, value) for name, value in BODY.items()}
    by_form = (await gateway.client.post(VIDEOS, files=form, headers={"idempotency-key": "k"})).json()
    by_json = (await gateway.client.post(VIDEOS, json=BODY, headers={"idempotency-key": "k"})).json()

    assert by_form["id"] == by_json["id"]
    assert gateway.rows()["generations"] == 1


async def test_a_create_without_a_model_takes_any_that_can(gateway: Any) -> None:
    created = await gateway.client.post(VIDEOS, json={"prompt": "Waves"})

    assert (created.status_code, created.json()["model"]) == (200, "auto")


async def test_an_open_video_is_never_in_another_status_than_these(gateway: Any) -> None:
    video = (await gateway.client.post(VIDEOS, json=BODY)).json()["id"]
    await gateway.client.post(f"/v1/videos/generations/{video}/cancel")
    cancelled = (await gateway.client.get(f"{VIDEOS}/{video}")).json()

    assert (cancelled["status"], cancelled["error"]["code"]) == ("failed", "cancelled")


async def test_the_list_pages_through_every_video_of_the_key(gateway: Any) -> None:
    ids = [(await gateway.client.post(VIDEOS, json=BODY)).json()["id"] for _ in range(3)][::-1]
    first = (await gateway.client.get(VIDEOS, params={"limit": 2})).json()
    rest = (await gateway.client.get(VIDEOS, params={"limit": 2, "after": first["last_id"]})).json()

    assert [video["id"] for video in first["data"] + rest["data"]] == ids
    assert (first["has_more"], rest["has_more"]) == (True, False)
    nothing = (await gateway.client.get(VIDEOS, params={"limit": 0})).json()
    assert (nothing["data"], nothing["has_more"]) == ([], True)
    assert (await gateway.other.get(VIDEOS)).json()["data"] == []


async def test_a_delete_answers_as_the_libraries_expect(gateway: Any) -> None:
    video = (await gateway.client.post(VIDEOS, json=BODY)).json()["id"]
    headers = {"content-type": "application/json"}
    early = await gateway.client.delete(f"{VIDEOS}/{video}", headers=headers)
    await gateway.finish("completed")
    deleted = await gateway.client.delete(f"{VIDEOS}/{video}", headers=headers)

    assert early.status_code == 409
    assert deleted.json() == {"id": video, "object": "video.deleted", "deleted": True}
    assert (await gateway.client.get(f"{VIDEOS}/{video}")).status_code == 404


async def test_content_is_409_until_the_video_is_ready(gateway: Any) -> None:
    video = (await gateway.client.post(VIDEOS, json=BODY)).json()["id"]
    early = await gateway.client.get(f"{VIDEOS}/{video}/content")
    await gateway.finish("completed")
    done = await gateway.client.get(f"{VIDEOS}/{video}/content")
    sheet = await gateway.client.get(f"{VIDEOS}/{video}/content", params={"variant": "spritesheet"})

    assert early.status_code == 409
    assert (done.status_code, done.headers["content-type"]) == (200, "video/mp4")
    assert (sheet.status_code, sheet.json()["error"]["param"]) == (400, "variant")


@pytest.mark.parametrize("path", ["video_1/remix", "edits", "extensions", "characters"])
async def test_what_no_provider_can_do_is_refused_and_buys_nothing(gateway: Any, path: str) -> None:
    answer = await gateway.client.post(f"{VIDEOS}/{path}", json={"prompt": "at night"})

    assert answer.status_code == 400
    assert "No model" in answer.json()["error"]["message"]
    assert gateway.rows()["generations"] == 0


async def test_an_unknown_model_is_named(gateway: Any) -> None:
    answer = await gateway.client.post(VIDEOS, json={**BODY, "model": "sora-2-xyz"})

    assert (answer.status_code, answer.json()["error"]["param"]) == (404, "model")
