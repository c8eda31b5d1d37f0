"""xAI's shape over HTTP: videos and images as `@ai-sdk/xai` 4 asks for them."""

import base64
import json
from typing import Any

import pytest

from ..test_images import PNG, images

VIDEOS, IMAGES, EDITS = "/xai/v1/videos/generations", "/xai/v1/images/generations", "/xai/v1/images/edits"
BODY = {"model": "foxapi/kling-v3-image-to-video", "prompt": "Waves"}
IMAGE = {"url": "https://example.com/a.png"}


async def test_a_video_is_pending_until_it_is_done(start: Any) -> None:
    gateway = await start("[providers.foxapi.models.kling-v3-image-to-video]\nprices = [{ per_clip = 0.5 }]")
    created = await gateway.client.post(VIDEOS, json={**BODY, "image": IMAGE, "last_frame": IMAGE, "duration": 5})
    started = created.json()["request_id"]
    pending = await gateway.client.get(f"/xai/v1/videos/{started}")
    await gateway.finish("completed")
    done = await gateway.client.get(f"/xai/v1/videos/{started}")

    assert (set(created.json()), created.headers["location"]) == ({"request_id"}, f"/xai/v1/videos/{started}")
    assert (pending.status_code, pending.json()["status"]) == (202, "pending")
    assert (done.status_code, done.json()["status"]) == (200, "done")
    assert done.json()["video"]["duration"] == 5
    assert done.json()["usage"] == {"cost_in_usd_ticks": 5_000_000_000}
    async with gateway.client_of(None) as nobody:
        assert (await nobody.get(done.json()["video"]["url"])).content == gateway.upstream.content
    stored = await gateway.stored(started.replace("xai_", "gen_"))
    assert (stored.request.input.first_frame, stored.request.input.last_frame) == (IMAGE["url"], IMAGE["url"])


async def test_every_other_end_has_a_reason(gateway: Any) -> None:
    """`@ai-sdk/xai` shows `error.message` of a failed video, and has a text of its own for an expired one."""
    body = {**BODY, "image": IMAGE}
    failed = (await gateway.client.post(VIDEOS, json=body)).json()["request_id"]
    await gateway.finish("failed")
    cancelled = (await gateway.client.post(VIDEOS, json=body)).json()["request_id"]
    await gateway.client.post(f"/v1/videos/generations/{cancelled}/cancel")
    expired = (await gateway.client.post(VIDEOS, json={**body, "deadline_seconds": 60})).json()["request_id"]
    gateway.upstream.word = "processing"
    for _ in range(5):
        await gateway.clock.advance(40)

    ends = {failed: ("failed", "task_failed"), cancelled: ("failed", "cancelled"), expired: ("expired", "expired")}
    for started, end in ends.items():
        read = await gateway.client.get(f"/xai/v1/videos/{started}")
        assert (read.status_code, read.json()["status"], read.json()["error"]["code"]) == (200, *end)
        assert read.json()["error"]["message"]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("image", {"uri": "x"}, "`image.uri` is not a member of an image"),
        ("reference_images", [IMAGE, {"uri": "x"}], "`reference_images[1].uri` is not a member"),
        ("last_frame", {"url": 1}, "`last_frame.url` must be a string"),
        ("keyframes", [{"image": IMAGE, "timestamp_s": 1}], "`keyframes` is not supported"),
        ("reference_audios", [{"voice_id": "x"}], "`reference_audios` is not supported"),
        ("storage_options", {"filename": "a"}, "`storage_options` is not supported"),
        ("video", IMAGE, "`video` is not supported: no model edits"),
        ("resolution", "480p", "`resolution`"),
        ("colour", "red", "`colour` is not a field"),
    ],
)
async def test_a_field_that_cannot_be_honoured_is_named(untouched: Any, field: str, value: Any, words: str) -> None:
    answer = await untouched.client.post(VIDEOS, json={**BODY, "image": IMAGE, field: value})

    assert answer.status_code in {400, 422}
    assert set(answer.json()) == {"code", "error"}
    assert words in answer.json()["error"]


@pytest.mark.parametrize("what", ["edits", "extensions"])
async def test_what_no_model_can_do_is_refused_in_xais_words(untouched: Any, what: str) -> None:
    answer = await untouched.client.post(f"/xai/v1/videos/{what}", json={**BODY, "video": IMAGE})

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    assert answer.json()["error"].startswith("No model can")


@pytest.mark.parametrize("path", [IMAGES, "/v1/images/generations"])
async def test_images_come_as_bytes_with_their_cost(start: Any, path: str) -> None:
    gateway = await start("[providers.keevx.models.image]\nprices = [{ per_clip = 0.05 }]")
    gateway.upstream.content, gateway.upstream.url = PNG, "https://cdn.example/result.png"
    body = {"model": "keevx/image", "prompt": "A lake", "n": 1, "response_format": "b64_json"}
    answer = (await images(gateway, path=path, json=body)).json()

    assert [base64.b64decode(image["b64_json"]) for image in answer["data"]] == [PNG]
    assert answer["usage"]["cost_in_usd_ticks"] == 500_000_000


async def test_images_from_other_images(gateway: Any) -> None:
    gateway.upstream.content, gateway.upstream.url = PNG, "https://cdn.example/result.png"
    sent = {"model": "keevx/image", "prompt": "At night", "resolution": "2k", "sync_mode": True}
    files = [{**IMAGE, "type": "image_url"}, {"url": "https://example.com/b.png", "type": "image_url"}]
    answer = await images(gateway, path=EDITS, json={**sent, "images": files})

    assert answer.status_code == 200, answer.text
    [submit] = gateway.upstream.submits
    assert json.loads(submit.content)["image_quality"] == "2K"


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (IMAGES, {"resolution": "9k"}, "`resolution` must be one of 1K, 2K"),
        (IMAGES, {"sync_mode": False}, "`sync_mode` can only be true"),
        (IMAGES, {"sync_mode": {}}, "`sync_mode` can only be true"),
        (IMAGES, {"colour": "red"}, "`colour` is not a field"),
        (EDITS, {}, "`image` is required"),
    ],
)
async def test_a_bad_call_for_images_is_refused_in_xais_words(
    untouched: Any, path: str, body: dict[str, Any], words: str
) -> None:
    answer = await untouched.client.post(path, json={"model": "keevx/image", "prompt": "A lake", **body})

    assert (answer.status_code, set(answer.json())) == (400, {"code", "error"})
    assert words in answer.json()["error"]
