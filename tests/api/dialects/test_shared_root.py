"""The paths at the root that several APIs share: a client that starts paid work there can read it in its own words."""

from typing import Any

import pytest

VIDEOS = "/v1/videos/generations"
BODY = {"model": "foxapi/kling-v3-text-to-video", "prompt": "Waves"}


async def test_the_answer_to_a_create_serves_clients_of_three_apis(gateway: Any) -> None:
    created = (await gateway.client.post(VIDEOS, json=BODY)).json()

    ulid = created["id"].removeprefix("gen_")
    assert created["request_id"] == f"xai_{ulid}"
    assert created["created"] == created["created_at"]
    assert (created["type"], created["task_info"]) == ("video", {"can_cancel": True})


async def test_a_client_of_xai_reads_what_it_started_at_the_root(gateway: Any) -> None:
    body = {**BODY, "model": "foxapi/kling-v3-image-to-video", "image": {"url": "https://example.com/a.png"}}
    started = (await gateway.client.post(VIDEOS, json=body)).json()["request_id"]

    pending = await gateway.client.get(f"/v1/videos/{started}")
    await gateway.finish("completed")
    done = await gateway.client.get(f"/v1/videos/{started}")

    assert (pending.status_code, pending.json()["status"]) == (202, "pending")
    assert (done.status_code, done.json()["status"]) == (200, "done")
    assert done.json()["video"]["duration"] == 5
    assert "token=" in done.json()["video"]["url"]


async def test_a_client_of_foxapi_reads_what_it_started_at_the_root(gateway: Any) -> None:
    body = {**BODY, "quality": "720p", "image_urls": None, "voice_ids": None}
    started = (await gateway.client.post(VIDEOS, json=body)).json()["id"]

    pending = (await gateway.client.get(f"/v1/tasks/{started}")).json()
    await gateway.finish("completed")
    done = (await gateway.client.get(f"/v1/tasks/{started}?sync_upstream=true")).json()

    assert pending["status"] in {"pending", "processing"}
    assert (pending["results"], pending["error"]) == (None, None)
    assert (done["status"], done["progress"], len(done["results"])) == ("completed", 100, 1)
    assert done["result_data"][0]["url"] == done["results"][0]


async def test_options_of_foxapi_at_the_top_reach_the_provider(gateway: Any) -> None:
    body = {**BODY, "generate_audio": True, "voice_ids": ["v1"]}
    created = await gateway.client.post(VIDEOS, json=body)

    assert created.json()["request"]["provider_options"] == {"foxapi": {"voice_ids": ["v1"]}}


async def test_an_option_that_is_given_twice_with_two_values_is_refused(gateway: Any) -> None:
    body = {**BODY, "voice_ids": ["v1"], "provider_options": {"foxapi": {"voice_ids": ["v2"]}}}
    answer = await gateway.client.post(VIDEOS, json=body)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "voice_ids")
    assert gateway.rows()["generations"] == 0


@pytest.mark.parametrize("prefix", ["gen_", "video_", "xai_", "task-unified-"])
async def test_every_read_accepts_every_id(gateway: Any, prefix: str) -> None:
    created = (await gateway.client.post(VIDEOS, json=BODY)).json()["id"]
    other = prefix + created.removeprefix("gen_")

    for path in (f"{VIDEOS}/{other}", f"/v1/videos/{other}", f"/v1/tasks/{other}", f"/xai/v1/videos/{other}"):
        assert (await gateway.client.get(path)).status_code in {200, 202}, path
    assert (await gateway.other.get(f"/v1/videos/{other}")).status_code == 404


async def test_an_error_has_the_words_of_the_id(gateway: Any) -> None:
    nothing = "01JDKQ00000000000000000000"
    xai = (await gateway.client.get(f"/v1/videos/xai_{nothing}")).json()
    openai = (await gateway.client.get(f"/v1/videos/video_{nothing}")).json()
    fox = (await gateway.client.get(f"/v1/tasks/task-unified-{nothing}")).json()

    assert set(xai) == {"code", "error"}
    assert (openai["error"]["type"], openai["error"]["code"]) == ("invalid_request_error", "not_found")
    assert fox["error"]["type"] == "not_found"


async def test_a_key_is_needed_in_every_dialect(gateway: Any) -> None:
    for path in ("/v1/videos", "/v1/videos/video_1", "/v1/tasks/1", "/xai/v1/videos/1"):
        answer = await gateway.client.get(path, headers={"authorization": "Bearer nobody"})
        assert answer.status_code == 401, path


async def test_a_path_that_a_dialect_does_not_have_is_refused_in_its_words(gateway: Any) -> None:
    answer = await gateway.client.get("/xai/v1/nothing")

    assert (answer.status_code, set(answer.json())) == (404, {"code", "error"})


async def test_an_idempotency_key_counts_in_a_dialect(gateway: Any) -> None:
    headers = {"idempotency-key": "aisdk_vid_1"}
    first = await gateway.client.post("/xai/v1/videos/generations", json=BODY, headers=headers)
    again = await gateway.client.post("/xai/v1/videos/generations", json=BODY, headers=headers)

    assert first.json() == again.json()
    assert gateway.rows()["generations"] == 1


async def test_an_ended_generation_carries_its_cost_for_litellm(gateway: Any) -> None:
    created = (await gateway.client.post(VIDEOS, json=BODY)).json()["id"]
    open_read = await gateway.client.get(f"/v1/videos/{created}")
    await gateway.finish("completed")
    done = await gateway.client.get(f"{VIDEOS}/{created}")

    assert "x-litellm-response-cost" not in open_read.headers
    cost = done.json()["usage"]["cost_usd"]
    assert done.headers.get("x-litellm-response-cost") == (None if cost is None else f"{cost:g}")
