"""`/v1/videos` as OpenAI's libraries call it."""

import io
import struct
from typing import Any

import pytest
from openai import APIStatusError, AsyncOpenAI, BadRequestError, NotFoundError
from PIL import Image

from ..conftest import box

VIDEOS = "/v1/videos"
BODY = {"model": "foxapi/kling-v3-text-to-video", "prompt": "Waves", "seconds": "5", "size": "1280x720"}
KEYS = {
    *("id", "object", "model", "status", "progress", "created_at", "completed_at", "expires_at", "prompt", "size"),
    *("seconds", "remixed_from_video_id", "error"),
}


def picture(width: int, height: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height)).save(out, "PNG")
    return out.getvalue()


def film(width: int, height: int) -> bytes:
    """A video of five seconds, as far as the gateway reads it: its header."""
    size = struct.pack(">II", width << 16, height << 16)
    track = box(
        b"trak",
        box(b"tkhd", bytes(40), struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 2**30), size),
        box(b"mdia", box(b"hdlr", bytes(8), b"vide", bytes(12))),
    )
    length = box(b"mvhd", bytes(12), struct.pack(">II", 1000, 5000), bytes(80))
    return box(b"ftyp", b"mp42") + box(b"moov", length, track) + box(b"mdat", b"a video" * 100)


async def test_a_video_has_every_key_that_the_libraries_read(gateway: Any) -> None:
    created = await gateway.client.post(VIDEOS, json=BODY)
    video = created.json()

    assert (created.status_code, set(video)) == (200, KEYS | {"polling_url"})
    assert (video["object"], video["status"], video["size"], video["seconds"]) == ("video", "queued", "1280x720", "5")
    assert created.headers["location"] == f"{VIDEOS}/{video['id']}"
    await gateway.finish("completed")
    done = (await gateway.client.get(f"{VIDEOS}/{video['id']}")).json()
    assert set(done) == KEYS
    assert (done["status"], done["progress"], done["error"]) == ("completed", 100, None)
    assert (done["size"], done["seconds"]) == ("1280x720", "5")
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
    assert "makes no spritesheets" in sheet.json()["error"]["message"]

    assert early.status_code == 409
    assert (done.status_code, done.headers["content-type"]) == (200, "video/mp4")
    assert (sheet.status_code, sheet.json()["error"]["param"]) == (400, "variant")


@pytest.mark.parametrize("path", ["video_1/remix", "edits", "extensions", "characters"])
async def test_what_no_provider_can_do_is_refused_and_buys_nothing(gateway: Any, path: str) -> None:
    answer = await gateway.client.post(f"{VIDEOS}/{path}", json={"prompt": "at night"})

    assert answer.status_code == 400
    assert "No model" in answer.json()["error"]["message"]
    assert gateway.rows()["generations"] == 0


async def test_a_client_of_openrouter_that_openai_was_taken_for_can_read_its_video(gateway: Any) -> None:
    """Nothing tells its body apart, so the answer says where it reads the video in its own words."""
    created = (await gateway.client.post(VIDEOS, json={"model": BODY["model"], "prompt": "Waves"})).json()
    path = created["polling_url"].removeprefix("http://gateway.test")
    await gateway.finish("completed")
    read = (await gateway.client.get(path)).json()

    assert path == f"/api/v1/videos/or_{created['id'].removeprefix('video_')}"
    assert (read["status"], len(read["unsigned_urls"])) == ("completed", 1)


async def test_size_and_seconds_are_those_that_the_provider_was_asked_for(gateway: Any) -> None:
    """The shape has no warnings, so it shows what `adapt` has made of the request."""
    body = {**BODY, "size": "1792x1024", "seconds": "8", "adapt": "nearest"}
    video = (await gateway.client.post(VIDEOS, json=body)).json()
    await gateway.finish("completed")
    done = (await gateway.client.get(f"{VIDEOS}/{video['id']}")).json()

    assert (video["size"], video["seconds"]) == ("1920x1080", "10")
    assert (done["size"], done["seconds"]) == ("1920x1080", "10")


async def test_without_adapt_a_size_that_no_route_has_is_refused_with_the_remedy(gateway: Any) -> None:
    answer = await gateway.client.post(VIDEOS, json={**BODY, "size": "1024x1792"})
    error = answer.json()["error"]

    assert (answer.status_code, error["param"]) == (422, "size")
    assert '`"adapt": "nearest"` would take 1080p' in error["message"]


async def test_size_and_seconds_that_nobody_has_said_are_those_of_the_file(gateway: Any) -> None:
    gateway.upstream.content = film(1920, 1080)
    video = (await gateway.client.post(VIDEOS, json={"model": BODY["model"], "prompt": "Waves"})).json()
    await gateway.finish("completed")
    done = (await gateway.client.get(f"{VIDEOS}/{video['id']}")).json()

    assert (video["size"], video["seconds"]) == ("auto", "auto")
    assert (done["size"], done["seconds"]) == ("1920x1080", "5")


FOLLOWS = "foxapi/kling-v3-image-to-video"  # its videos have the ratio of the image
SENT = {"model": FOLLOWS, "prompt": "Zoom in", "seconds": "5", "size": "1280x720"}


async def send_image(gateway: Any, width: int, height: int, **fields: str) -> Any:
    form = {name: (None, value) for name, value in {**SENT, **fields}.items()}
    image = ("a.png", picture(width, height), "image/png")
    return await gateway.client.post(VIDEOS, files={**form, "input_reference": image})


async def test_a_size_beside_an_image_of_the_same_ratio_is_taken(gateway: Any) -> None:
    answer = await send_image(gateway, 640, 360)

    assert answer.status_code == 200, answer.text
    stored = await gateway.stored(answer.json()["id"].replace("video_", "gen_"))
    [route] = stored.plan.routes
    assert (route.settings.resolution, route.settings.aspect_ratio) == ("720p", None)


async def test_a_size_that_contradicts_the_image_is_refused_unless_the_model_adapts(start: Any) -> None:
    gateway = await start(f'[models.sora-2]\nadapt = "nearest"\nroutes = ["{FOLLOWS}"]')
    answer = await send_image(gateway, 400, 400)
    error = answer.json()["error"]

    assert (answer.status_code, error["param"]) == (422, "size")
    assert "follows the image, which is 400x400" in error["message"]
    taken = await send_image(gateway, 400, 400, model="sora-2")
    assert (taken.status_code, taken.json()["size"]) == (200, "auto")


async def test_every_end_without_a_video_is_failed_with_a_code(gateway: Any) -> None:
    failed = (await gateway.client.post(VIDEOS, json=BODY)).json()["id"]
    await gateway.finish("failed")
    expired = (await gateway.client.post(VIDEOS, json={**BODY, "deadline_seconds": 60})).json()["id"]
    gateway.upstream.word = "processing"
    for _ in range(5):
        await gateway.clock.advance(40)

    for video, code in ((failed, "task_failed"), (expired, "expired")):
        read = (await gateway.client.get(f"{VIDEOS}/{video}")).json()
        assert (read["status"], read["error"]["code"]) == ("failed", code)


async def test_an_image_is_not_a_video(gateway: Any) -> None:
    body = {"model": "keevx/image", "prompt": "A lake"}
    image = (await gateway.client.post("/v1/images/generations", params={"async": "true"}, json=body)).json()["id"]
    video = image.replace("gen_", "video_")

    for answer in (
        await gateway.client.get(f"{VIDEOS}/{video}"),
        await gateway.client.get(f"{VIDEOS}/{video}/content"),
        await gateway.client.delete(f"{VIDEOS}/{video}"),
    ):
        assert answer.status_code == 404
        assert f"use /v1/images/generations/{video}" in answer.json()["error"]["message"]
    assert (await gateway.client.get(VIDEOS)).json()["data"] == []


@pytest.mark.filterwarnings("ignore:The Sora API")
async def test_the_package_reads_every_answer(gateway: Any) -> None:
    client = AsyncOpenAI(base_url="http://gateway.test/v1", api_key=gateway.key, http_client=gateway.client)
    model: Any = BODY["model"]
    video = await client.videos.create(prompt="Waves", model=model, seconds="5", size="1280x720")  # type: ignore[arg-type]  # the package lists OpenAI's lengths
    with pytest.raises(APIStatusError, match="not ready"):
        await client.videos.download_content(video.id)
    await gateway.finish("completed")

    assert (await client.videos.retrieve(video.id)).status == "completed"
    assert [listed.id async for listed in client.videos.list(limit=1)] == [video.id]
    assert (await client.videos.download_content(video.id)).content == gateway.upstream.content
    for call in (
        client.videos.remix(video.id, prompt="at night"),
        client.videos.edit(prompt="at night", video=b"", extra_body={"video": {"id": video.id}}),
        client.videos.extend(prompt="go on", seconds="4", video=b"", extra_body={"video": {"id": video.id}}),
        client.videos.create_character(name="Bob", video=b"x"),
        client.videos.download_content(video.id, variant="spritesheet"),
    ):
        with pytest.raises(BadRequestError, match=r"No model|no spritesheets"):
            await call
    assert (await client.videos.delete(video.id)).deleted
    with pytest.raises(NotFoundError, match=video.id):
        await client.videos.retrieve(video.id)


async def test_an_unknown_model_is_named(gateway: Any) -> None:
    answer = await gateway.client.post(VIDEOS, json={**BODY, "model": "sora-2-xyz"})

    assert (answer.status_code, answer.json()["error"]["param"]) == (404, "model")
