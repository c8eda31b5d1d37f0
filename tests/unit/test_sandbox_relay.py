"""The Kling relay in the sandbox, over real HTTP, against what its page says."""

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
TEXT = {"model": "kling-v1-6", "model_name": "kling-v1-6", "prompt": "An astronaut stands up"}
PATH = "/kling/v1/videos/text2video"


def picture(width: int = 400, height: int = 400, kind: str = "JPEG") -> str:
    out = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(out, kind)
    return base64.b64encode(out.getvalue()).decode()


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxServer]:
    async with SandboxServer(clock=Clock(1_771_800_000), max_short_side=90) as server:
        yield server


@pytest.fixture
async def client(sandbox: SandboxServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=sandbox.base_urls()["kling_relay"], headers=KEY, trust_env=False) as client:
        yield client


def configure(sandbox: SandboxServer, **changes: Any) -> None:
    sandbox.state.settings = sandbox.state.settings.changed(changes)


async def run(sandbox: SandboxServer, client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    """Submit, wait for the end, and read."""
    reply = await client.post(PATH, json=TEXT | changes)
    assert reply.status_code == 200, reply.text
    [task_id] = [task.id for task in sandbox.state.tasks.values()]
    sandbox.state.clock.advance(6)
    told: dict[str, Any] = (await client.get(f"{PATH}/{task_id}")).json()
    return told


async def test_task_runs_from_not_start_to_a_video_that_plays(
    sandbox: SandboxServer, client: httpx.AsyncClient
) -> None:
    body = TEXT | {"size": "1280x720", "image": picture(), "duration": 10}
    reply = await client.post("/kling/v1/videos/image2video", json=body)
    task_id = reply.json()["id"]
    assert reply.json() == {
        "id": task_id,
        "task_id": task_id,
        "object": "video",
        "model": "kling-v1-6",
        "status": "queued",
        "progress": 0,
        "created_at": 1_771_800_000,
    }
    assert task_id.startswith("task_")
    assert len(task_id) == 37
    assert reply.headers["x-oneapi-request-id"]
    seen = []
    for seconds in (0, 2, 4):
        sandbox.state.clock.advance(seconds)
        told = (await client.get(f"/kling/v1/videos/image2video/{task_id}")).json()
        seen.append((told["code"], told["data"]["status"], told["data"]["progress"], told["data"]["data"]["code"]))
    assert seen == [
        ("success", "NOT_START", "0%", 0),
        ("success", "IN_PROGRESS", "30%", 0),
        ("success", "SUCCESS", "100%", 0),
    ]
    videos = told["data"]["data"]["data"]["task_result"]["videos"]
    assert (videos[0]["url"], videos[0]["duration"]) == (told["data"]["result_url"], "10.0")

    video = await client.get(videos[0]["url"])
    through = await client.get(f"/v1/videos/{task_id}/content")

    assert through.content == video.content
    assert through.headers["cache-control"] == "public, max-age=86400"
    with av.open(io.BytesIO(video.content)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, container.duration) == (160, 90, 10_000_000)


async def test_content_needs_the_key_and_a_finished_task(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    task_id = (await client.post(PATH, json=TEXT)).json()["id"]
    early = await client.get(f"/v1/videos/{task_id}/content")
    missing = await client.get("/v1/videos/none/content")
    keyless = await client.get(f"/v1/videos/{task_id}/content", headers={"authorization": ""})
    sandbox.state.clock.advance(31 * 86400)
    gone = await client.get(f"/v1/videos/{task_id}/content")
    assert early.json()["error"]["message"] == "Task is not completed yet, current status: NOT_START"
    assert [reply.status_code for reply in (early, missing, keyless, gone)] == [400, 404, 401, 502]
    assert gone.json()["error"]["message"] == "Upstream service returned status 404"


SUBMIT_SHAPES = {
    "documented": {"task_id", "status"},
    "task_id": {"task_id"},
    "kling_task_id": {"code", "message", "task_id", "request_id", "data"},
    "openai_upstream_id": {"id", "task_id", "object", "model", "status", "progress", "created_at"},
    "kling_envelope": {"code", "message", "request_id", "data"},
}


@pytest.mark.parametrize("shape", SUBMIT_SHAPES)
async def test_submit_reply_has_the_shape_of_the_version(
    sandbox: SandboxServer, client: httpx.AsyncClient, shape: str
) -> None:
    configure(sandbox, relay_submit=shape)
    told = (await client.post(PATH, json=TEXT)).json()
    [task_id] = sandbox.state.tasks
    assert set(told) == SUBMIT_SHAPES[shape]
    assert task_id in {told.get("task_id"), told.get("data", {}).get("task_id")}
    assert task_id.isdecimal() or shape == "documented"


async def test_query_reply_has_the_shape_of_the_version(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    await run(sandbox, client)
    [task] = sandbox.state.tasks.values()
    url = task.result_url

    async def told(shape: str) -> Any:
        configure(sandbox, relay_query=shape)
        return (await client.get(f"{PATH}/{task.id}")).json()

    old = (await told("task_dto_2025"))["data"]
    assert (old["fail_reason"], "result_url" in old, "id" in old) == (url, False, False)
    nested = (await told("nested"))["data"]
    assert nested["result_url"].endswith(f"/v1/videos/{task.id}/content")
    assert nested["data"]["data"]["result_url"] == url
    assert nested["data"]["data"]["data"]["data"]["task_result"]["videos"][0]["url"] == url
    proxy = (await told("proxy_url"))["data"]
    assert (proxy["result_url"], proxy["data"]) == (f"http://localhost:3000/v1/videos/{task.id}/content", {})
    documented = await told("documented")
    assert (documented["status"], documented["url"], documented["metadata"]["width"]) == ("completed", url, 90)
    video = await told("openai_video")
    assert (video["status"], video["seconds"], video["metadata"]["url"]) == ("completed", "5.0", url)
    kling = await told("kling_envelope")
    assert (kling["code"], kling["data"]["task_status"]) == (0, "succeed")
    legacy = await told("legacy")
    assert (legacy["data"]["status"], legacy["data"]["url"]) == ("succeeded", url)
    flat = await told("flat")
    assert (flat["status"], url in str(flat)) == ("SUCCESS", False)


@pytest.mark.parametrize("path", ["/v1/video/generations", "/v1/videos", PATH, "/kling/v1/videos/image2video"])
async def test_any_path_finds_any_task(client: httpx.AsyncClient, path: str) -> None:
    task_id = (await client.post(PATH, json=TEXT)).json()["id"]
    told = (await client.get(f"{path}/{task_id}")).json()
    assert told.get("status", told.get("data", {}).get("status")) in {"NOT_START", "unknown"}


REFUSALS: list[tuple[str, dict[str, Any], int, str]] = [
    ("B", {"prompt": ""}, 400, "invalid_request"),
    ("B", {"model": None}, 400, "Model name not specified"),
    ("B", {"model": "kling-v9"}, 503, "model_not_found"),
    ("B", {"duration": 99999}, 400, "invalid_seconds"),
    ("B", {"duration": 7}, 400, "fail_to_fetch_task"),
    ("B", {"duration": 5.5}, 400, "invalid_request"),
    ("B", {"metadata": {"duration": 10}}, 500, "build_request_failed"),
    ("B", {"metadata": {"cfg_scale": 2}}, 400, "1201"),
    ("B", {"metadata": {"negative_prompt": "x" * 2501}}, 400, "1201"),
    ("B", {"mode": "4k"}, 400, "1201"),
    ("B", {"prompt": "x" * 2501}, 400, "1201"),
    ("B", {"image": "data:image/jpeg;base64," + picture()}, 400, "base64"),
    ("B", {"image": picture(200, 200)}, 400, "Image pixel is invalid"),
    ("B", {"image": picture(1200, 400)}, 400, "Image pixel is invalid"),
    ("B", {"image": picture(kind="GIF")}, 400, "format"),
    ("B-old", {"duration": "10"}, 400, "cannot unmarshal string into Go struct field TaskSubmitReq.duration"),
    ("A", {"duration": 10}, 500, "cannot unmarshal number into Go struct field requestPayload.duration"),
    ("A", {"aspect_ratio": "4:3"}, 400, "1201"),
    ("A", {"model": None, "model_name": None}, 400, "未指定模型名称"),
]


@pytest.mark.parametrize(("regime", "changes", "status", "words"), REFUSALS, ids=lambda value: str(value)[:60])
async def test_documented_rule_is_enforced(
    sandbox: SandboxServer, client: httpx.AsyncClient, *, regime: str, changes: dict[str, Any], status: int, words: str
) -> None:
    configure(sandbox, relay_regime=regime)
    body = {name: value for name, value in (TEXT | changes).items() if value is not None}
    reply = await client.post(PATH, json=body)
    assert reply.status_code == status
    assert words in reply.text
    assert not sandbox.state.tasks


@pytest.mark.parametrize(
    ("regime", "changes", "size", "seconds"),
    [
        ("B", {}, (90, 90), 5),
        ("B", {"aspect_ratio": "16:9"}, (90, 90), 5),
        ("B", {"size": "1920x1080"}, (160, 90), 5),
        ("B", {"size": "1920x1080", "metadata": {"aspect_ratio": "9:16"}}, (90, 160), 5),
        ("B", {"duration": "10"}, (90, 90), 10),
        ("B", {"duration": 5, "metadata": {"duration": "10"}}, (90, 90), 10),
        ("B-old", {"duration": 10, "n": 4, "seed": 1, "fps": 9}, (90, 90), 10),
        ("A", {"duration": "10", "aspect_ratio": "9:16"}, (90, 160), 10),
        ("A", {"size": "1280x720", "metadata": {"aspect_ratio": "16:9", "duration": 10}}, (90, 90), 5),
    ],
    ids=str,
)
async def test_only_what_the_regime_reads_takes_effect(
    sandbox: SandboxServer,
    client: httpx.AsyncClient,
    *,
    regime: str,
    changes: dict[str, Any],
    size: tuple[int, int],
    seconds: int,
) -> None:
    configure(sandbox, relay_regime=regime)
    assert (await client.post(PATH, json=TEXT | changes)).status_code == 200
    [task] = sandbox.state.tasks.values()
    assert ((task.spec.width, task.spec.height), task.spec.seconds) == (size, seconds)


async def test_a_body_not_declared_as_json_is_not_read(client: httpx.AsyncClient) -> None:
    reply = await client.post(PATH, content=b'{"model":"kling-v1","prompt":"x"}')
    assert (reply.status_code, reply.json()["error"]["type"]) == (400, "new_api_error")


@pytest.mark.parametrize(
    ("key", "language", "status", "words"),
    [
        ("", "en", 401, "未提供令牌"),
        ("Bearer sandbox-invalid", "en", 401, "Invalid token"),
        ("Bearer sandbox-invalid", "zh-CN", 401, "无效的令牌"),
        ("Bearer sandbox-no-credit", "en", 403, "insufficient_user_quota"),
    ],
)
async def test_keys_are_checked(client: httpx.AsyncClient, key: str, language: str, status: int, words: str) -> None:
    reply = await client.post(PATH, json=TEXT, headers={"authorization": key, "accept-language": language})
    assert reply.status_code == status
    assert words in reply.text


async def test_a_new_task_may_not_be_found_for_a_while(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    configure(sandbox, relay_insert_seconds=3)
    task_id = (await client.post(PATH, json=TEXT)).json()["id"]
    early = await client.get(f"{PATH}/{task_id}")
    sandbox.state.clock.advance(3)
    later = await client.get(f"{PATH}/{task_id}")
    assert (early.status_code, early.json()["code"], later.status_code) == (400, "task_not_exist", 200)


async def test_an_unknown_path_and_older_gets_are_refused(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    unknown = await client.post("/kling/v1/videos/omni-video", json=TEXT)
    configure(sandbox, relay_refuses_get_type=True)
    typed = await client.get(f"{PATH}/1", headers={"content-type": "application/json"})
    assert unknown.json()["error"]["message"] == "Invalid URL (POST /kling/v1/videos/omni-video)"
    assert (unknown.status_code, typed.status_code) == (404, 400)
    assert "kling-v1" in {model["id"] for model in (await client.get("/v1/models")).json()["data"]}


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("fail_content", "Failure to pass the risk control system"), ("fail", "upstream returned error")],
)
async def test_failed_task_says_why_where_the_relay_says_it(
    sandbox: SandboxServer, client: httpx.AsyncClient, fault: str, reason: str
) -> None:
    sandbox.fault("kling_relay", "submit", fault)
    told = (await run(sandbox, client))["data"]
    assert (told["status"], told["fail_reason"], told["result_url"]) == ("FAILURE", reason, reason)
    assert told["data"]["message"] == "SUCCEED"
    assert told["data"]["data"]["task_status_msg"] == reason
