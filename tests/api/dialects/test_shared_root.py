"""The paths at the root that several APIs share: a client that starts paid work there can read it in its own words."""

from io import BytesIO
from typing import Any

import pytest
from PIL import Image

VIDEOS = "/v1/videos/generations"
_FILE = BytesIO()
Image.new("RGB", (64, 64), "teal").save(_FILE, "PNG")
PNG = _FILE.getvalue()
BODY = {"model": "foxapi/kling-v3-text-to-video", "prompt": "Waves"}


async def test_the_answer_to_a_create_serves_clients_of_three_apis(gateway: Any) -> None:
    created = (await gateway.client.post(VIDEOS, json=BODY)).json()

    ulid = created["id"].removeprefix("gen_")
    assert created["request_id"] == f"xai_{ulid}"
    assert created["created"] == created["created_at"]
    # Six polls of the route, because nothing was measured yet.
    assert (created["type"], created["task_info"]) == ("video", {"can_cancel": True, "estimated_time": 30})
    task = (await gateway.client.get(f"/v1/tasks/task-unified-{ulid}")).json()
    assert task["task_info"] == created["task_info"]


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


@pytest.mark.parametrize("prefix", ["gen_", "video_", "or_", "xai_", "task_", "task-unified-"])
async def test_every_read_accepts_every_id(gateway: Any, prefix: str) -> None:
    created = (await gateway.client.post(VIDEOS, json=BODY)).json()["id"]
    other = prefix + created.removeprefix("gen_")

    for path in (f"{VIDEOS}/{other}", f"/v1/videos/{other}", f"/v1/tasks/{other}", f"/xai/v1/videos/{other}"):
        assert (await gateway.client.get(path)).status_code in {200, 202}, path
    assert (await gateway.other.get(f"/v1/videos/{other}")).status_code == 404


@pytest.mark.parametrize(
    ("prefix", "member", "word"),
    [
        ("gen_", "object", "video.generation"),
        ("video_", "object", "video"),
        ("or_", "status", "pending"),
        ("xai_", "status", "pending"),
        ("task-unified-", "object", "video.generation.task"),
        ("task_", "status", "queued"),
    ],
)
async def test_a_read_has_the_words_of_the_id(gateway: Any, prefix: str, member: str, word: str) -> None:
    created = (await gateway.client.post(VIDEOS, json=BODY)).json()["id"]
    read = await gateway.client.get(f"/v1/videos/{created.replace('gen_', prefix)}")

    assert read.json()[member] == word


async def test_an_error_has_the_words_of_the_id(gateway: Any) -> None:
    nothing = "01JDKQ00000000000000000000"
    xai = (await gateway.client.get(f"/v1/videos/xai_{nothing}")).json()
    openai = (await gateway.client.get(f"/v1/videos/video_{nothing}")).json()
    fox = (await gateway.client.get(f"/v1/tasks/task-unified-{nothing}")).json()

    assert set(xai) == {"code", "error"}
    assert (openai["error"]["type"], openai["error"]["code"]) == ("invalid_request_error", "not_found")
    assert fox["error"]["type"] == "not_found"


@pytest.mark.parametrize("prefix", ["gen_", "video_", "or_", "xai_", "task_"])
async def test_an_error_names_the_id_that_the_client_has_sent(gateway: Any, prefix: str) -> None:
    sent = f"{prefix}01JDKQ00000000000000000000"
    own = [f"{VIDEOS}/{sent}", f"{VIDEOS}/{sent}/content", f"{VIDEOS}/{sent}/events"]
    for path in (*own, f"/v1/videos/{sent}", f"/v1/videos/{sent}/content", f"/v1/tasks/{sent}"):
        answer = await gateway.client.get(path)
        assert answer.status_code == 404, path
        assert f"'{sent}' does not exist" in answer.text


async def test_the_content_of_a_video_that_is_not_ready_is_refused_in_the_words_of_the_id(gateway: Any) -> None:
    ulid = (await gateway.client.post(VIDEOS, json=BODY)).json()["id"].removeprefix("gen_")
    openai = await gateway.client.get(f"/v1/videos/video_{ulid}/content")
    router = await gateway.client.get(f"/v1/videos/or_{ulid}/content?index=0")
    xai = await gateway.client.get(f"/v1/videos/xai_{ulid}/content")

    assert {answer.status_code for answer in (openai, router, xai)} == {409}
    assert openai.json()["error"]["code"] == "conflict"
    assert router.json()["error"]["code"] == 409
    assert xai.json()["code"] == "conflict"


async def test_a_repeated_create_has_the_same_answer(gateway: Any) -> None:
    headers = {"idempotency-key": "k"}
    first = await gateway.client.post(
        VIDEOS, json={**BODY, "voice_ids": ["v"], "generate_audio": True}, headers=headers
    )
    options = {"foxapi": {"voice_ids": ["v"]}}
    same = {**BODY, "provider_options": options, "generate_audio": True, "elements": None}
    again = await gateway.client.post(VIDEOS, json=same, headers=headers)

    assert again.headers["idempotent-replayed"] == "true"
    assert set(again.json()) == set(first.json())
    for member in ("id", "request_id", "created", "type", "task_info", "request"):
        assert again.json()[member] == first.json()[member], member


async def test_a_quote_takes_the_fields_of_a_create(gateway: Any) -> None:
    image = {"url": "https://example.com/a.png"}
    body = {"model": "foxapi/kling-v3-image-to-video", "prompt": "Waves", "image": image, "last_frame": image}
    answer = await gateway.client.post(f"{VIDEOS}/quote", json={**body, "generate_audio": True, "voice_ids": ["v"]})

    assert (answer.status_code, len(answer.json()["routes"])) == (200, 1), answer.text


@pytest.mark.parametrize("path", [VIDEOS, "/foxapi/v1/videos/generations"])
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"elements": [{"frontal_image_url": "https://a.example/x.png"}]}, "`elements`: this option does not exist"),
        ({"model": "keevx/V", "voice_ids": ["v"]}, "`voice_ids`: the model 'keevx/V' is served by keevx only"),
        ({"voice_ids": ["v"]}, "voice_ids needs generate_audio"),
    ],
)
async def test_an_option_that_no_route_has_is_refused_by_its_own_name(
    untouched: Any, path: str, body: dict[str, Any], message: str
) -> None:
    answer = await untouched.client.post(path, json={**BODY, **body})
    error = answer.json()["error"]

    assert answer.status_code in {400, 422}
    assert message in error["message"]
    assert error["param"] in body


async def test_an_option_in_a_form_is_read_as_in_json(untouched: Any, check_error: Any) -> None:
    form = {name: (None, value) for name, value in {**BODY, "voice_ids": "v"}.items()}
    answer = await untouched.client.post(VIDEOS, files=form)

    assert "must be a list of 0 to 2 members" in check_error(answer, 400, "invalid_parameter", "voice_ids")


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


PRICED = "[providers.foxapi.models.kling-v3-text-to-video]\nprices = [{ per_clip = 0.5 }]"
COST = "x-litellm-response-cost"


async def test_an_ended_generation_carries_its_cost_for_litellm(start: Any) -> None:
    gateway = await start(PRICED)
    created = (await gateway.client.post(VIDEOS, json=BODY)).json()["id"]
    ulid = created.removeprefix("gen_")
    paths = [
        f"{VIDEOS}/{created}",
        f"/v1/tasks/{created}",
        *(f"/v1/videos/{p}{ulid}" for p in ("video_", "or_", "xai_")),
    ]
    files = [f"{VIDEOS}/{created}/content", f"/v1/videos/video_{ulid}/content", f"/api/v1/videos/or_{ulid}/content"]
    for path in paths:
        assert COST not in (await gateway.client.get(path)).headers, path
    await gateway.finish("completed")

    for path in paths + files:
        assert (await gateway.client.get(path)).headers.get(COST) == "0.5", path
    assert (await gateway.client.head(files[0])).headers.get(COST) == "0.5"
    opened = (await gateway.client.get(paths[0])).json()["data"][0]["url"]
    async with gateway.client_of(None) as nobody:
        assert COST not in (await nobody.get(opened)).headers


async def test_the_link_to_an_image_works_in_every_dialect(gateway: Any) -> None:
    body = {"model": "keevx/image", "prompt": "A lake"}
    gateway.upstream.content, gateway.upstream.url = PNG, "https://cdn.example/result.png"
    created = (await gateway.client.post("/v1/images/generations?async=true", json=body)).json()["id"]
    await gateway.finish("completed")

    link = (await gateway.client.get(f"/v1/tasks/{created}")).json()["results"][0]
    file = await gateway.client_of(None).get(link)

    assert (file.status_code, file.headers["content-type"]) == (200, "image/png")
