"""OpenRouter's shape over HTTP: create, read, files, models, errors."""

from typing import Any

import pytest
from openrouter import components

WAVES = {"model": "kling", "prompt": "Waves", "aspect_ratio": "16:9", "duration": 5, "resolution": "720p"}
FRAME = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}, "frame_type": "first_frame"}


@pytest.mark.parametrize("base", ["/api/v1", "/openrouter/v1"])
async def test_a_video_is_created_read_and_fetched_without_a_key(gateway: Any, base: str) -> None:
    created = await gateway.client.post(f"{base}/videos", json=WAVES)
    job = created.json()
    assert (created.status_code, job["status"]) == (202, "pending")
    assert job["id"].startswith("or_")
    assert job["polling_url"].endswith(f"/api/v1/videos/{job['id']}")
    early = await gateway.client.get(f"{base}/videos/{job['id']}/content?index=0")
    assert (early.status_code, early.json()["error"]["code"]) == (409, 409)

    await gateway.finish("completed")
    read = (await gateway.client.get(f"{base}/videos/{job['id']}")).json()
    ended = components.VideoGenerationResponse.model_validate(read)
    assert ended.status == "completed", read
    assert ended.urls == ended.unsigned_urls
    assert ended.urls is not None
    assert len(ended.urls) == 1
    assert "token=" in ended.urls[0]
    async with gateway.client_of(None) as nobody:
        assert (await nobody.get(ended.urls[0])).content == gateway.upstream.content
    content = await gateway.client.get(f"{base}/videos/{job['id']}/content?index=0")
    assert content.content == gateway.upstream.content


async def test_a_file_that_is_not_archived_has_our_url_too(gateway: Any) -> None:
    """Some clients send their key to every URL of a file, and the provider must not get it."""
    gateway.upstream.withheld = True
    job = (await gateway.client.post("/api/v1/videos", json=WAVES)).json()["id"]
    await gateway.finish("completed")
    read = (await gateway.client.get(f"/api/v1/videos/{job}")).json()

    assert read["urls"] == read["unsigned_urls"]
    assert read["urls"][0].startswith("http://gateway.test/")
    async with gateway.client_of(None) as nobody:
        answer = await nobody.get(read["urls"][0])
    assert (answer.status_code, answer.headers["location"]) == (302, gateway.upstream.url)


async def test_frames_at_the_shared_path_get_openrouters_answer(gateway: Any) -> None:
    created = await gateway.client.post("/v1/videos", json={**WAVES, "frame_images": [FRAME]})
    assert created.status_code == 202
    shared = await gateway.client.get(f"/v1/videos/{created.json()['id']}")
    assert shared.json()["polling_url"] == created.json()["polling_url"]
    plain = await gateway.client.post("/v1/videos", json={"model": "kling", "prompt": "Waves"})
    assert (plain.status_code, plain.json()["object"]) == (200, "video")


@pytest.mark.parametrize("base", ["/api/v1", "/openrouter/v1", "/v1"])
async def test_the_models_need_no_key(gateway: Any, base: str) -> None:
    async with gateway.client_of(None) as nobody:
        answer = await nobody.get(f"{base}/videos/models")
    models = components.VideoModelsListResponse.model_validate(answer.json()).data
    kling = next(model for model in models if model.id == "kling")
    assert 5 in (kling.supported_durations or ())


@pytest.mark.parametrize(
    ("field", "value", "name"),
    [
        ("frame_images", "x", "frame_images"),
        ("frame_images", [{**FRAME, "frame_type": "middle"}], "frame_images[0].frame_type"),
        ("frame_images", [FRAME, FRAME], "frame_images[1]"),
        ("frame_images", [{**FRAME, "image_url": {"url": 1}}], "frame_images[0].image_url.url"),
        ("input_references", [{"type": "video_url", "video_url": {"url": "x"}}], "input_references[0]"),
        ("input_references", [{**FRAME}], "input_references[0].frame_type"),
        ("provider", {"only": ["x"]}, "provider.only"),
        ("provider", [], "provider"),
        ("provider", {"options": {"kling": {"watermark": True}}}, "provider.options.kling"),
        ("provider", {"options": {"foxapi": {"watermark": True}}}, "provider.options.foxapi.watermark"),
        ("provider", {"options": {"foxapi": {"shot_type": None}}}, "provider.options.foxapi.shot_type"),
        ("provider", {"options": {"foxapi": 1}}, "provider.options.foxapi"),
        ("previous_job_id", "or_1", "previous_job_id"),
        ("upscale_factor", 2, "upscale_factor"),
        ("trace", {"trace_id": "1"}, "trace"),
        ("callback_url", "nowhere", "callback_url"),
        ("colour", "red", "colour"),
    ],
)
async def test_a_bad_field_is_named_and_nothing_is_bought(untouched: Any, field: str, value: Any, name: str) -> None:
    answer = await untouched.client.post("/api/v1/videos", json={**WAVES, field: value})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, 400)
    assert name in error["message"]
    assert error["metadata"]["param"] == name
    assert "`provider_options." not in error["message"]


async def test_fields_without_a_value_ask_for_nothing(gateway: Any) -> None:
    empty = dict.fromkeys(("frame_images", "input_references", "provider", "seed", "trace", "creativity", "session_id"))
    assert (await gateway.client.post("/api/v1/videos", json={**WAVES, **empty})).status_code == 202


async def test_a_cost_that_is_not_known_is_absent(start: Any) -> None:
    """`@openrouter/ai-sdk-provider` refuses a null there."""
    gateway = await start("[providers.keevx.models.V]\nprices = [{ per_clip = 0.5 }]")
    image = {"frame_images": [FRAME]}
    jobs = [
        (await gateway.client.post("/api/v1/videos", json={"model": model, "prompt": "Waves", **image})).json()["id"]
        for model in ("keevx/V", "foxapi/kling-v3-image-to-video")
    ]
    await gateway.finish("completed")
    priced, other = [(await gateway.client.get(f"/api/v1/videos/{job}")).json()["usage"] for job in jobs]

    assert priced == {"cost": 0.5, "is_byok": False}
    assert other == {"is_byok": False}


async def test_the_file_of_another_client_is_missing_under_the_id_that_was_sent(gateway: Any) -> None:
    created = await gateway.client.post("/api/v1/videos", json=WAVES)
    name = created.json()["id"]
    answer = await gateway.other.get(f"/api/v1/videos/{name}/content")
    assert answer.status_code == 404
    assert name in answer.json()["error"]["message"]
    assert "gen_" not in answer.json()["error"]["message"]
