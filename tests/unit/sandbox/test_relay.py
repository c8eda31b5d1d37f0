"""The Kling relay in the sandbox, over real HTTP, compared with its documentation."""

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
TEXT = {"model": "kling-v1-6", "model_name": "kling-v1-6", "prompt": "An astronaut gets up"}
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
    """Submit a task, wait for its end, and query it."""
    reply = await client.post(PATH, json=TEXT | changes)
    assert reply.status_code == 200, reply.text
    [task_id] = [task.id for task in sandbox.state.tasks.values()]
    sandbox.state.clock.advance(6)
    body: dict[str, Any] = (await client.get(f"{PATH}/{task_id}")).json()
    return body


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
        body = (await client.get(f"/kling/v1/videos/image2video/{task_id}")).json()
        seen.append((body["code"], body["data"]["status"], body["data"]["progress"], body["data"]["data"]["code"]))
    assert seen == [
        ("success", "NOT_START", "0%", 0),
        ("success", "IN_PROGRESS", "30%", 0),
        ("success", "SUCCESS", "100%", 0),
    ]
    videos = body["data"]["data"]["data"]["task_result"]["videos"]
    assert (videos[0]["url"], videos[0]["duration"]) == (body["data"]["result_url"], "10.0")

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
    body = (await client.post(PATH, json=TEXT)).json()
    [task_id] = sandbox.state.tasks
    assert set(body) == SUBMIT_SHAPES[shape]
    assert task_id in {body.get("task_id"), body.get("data", {}).get("task_id")}
    assert task_id.isdecimal() or shape == "documented"


async def test_query_reply_has_the_shape_of_the_version(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    await run(sandbox, client)
    [task] = sandbox.state.tasks.values()
    url = task.result_url

    async def reply_of(shape: str) -> Any:
        configure(sandbox, relay_query=shape)
        return (await client.get(f"{PATH}/{task.id}")).json()

    old = (await reply_of("task_dto_2025"))["data"]
    assert (old["fail_reason"], "result_url" in old, "id" in old) == (url, False, False)
    nested = (await reply_of("nested"))["data"]
    assert nested["result_url"].endswith(f"/v1/videos/{task.id}/content")
    assert nested["data"]["data"]["result_url"] == url
    assert nested["data"]["data"]["data"]["data"]["task_result"]["videos"][0]["url"] == url
    proxy = (await reply_of("proxy_url"))["data"]
    assert (proxy["result_url"], proxy["data"]) == (f"http://localhost:3000/v1/videos/{task.id}/content", {})
    documented = await reply_of("documented")
    assert (documented["status"], documented["url"], documented["metadata"]["width"]) == ("completed", url, 90)
    video = await reply_of("openai_video")
    assert (video["status"], video["seconds"], video["metadata"]["url"]) == ("completed", "5.0", url)
    kling = await reply_of("kling_envelope")
    assert (kling["code"], kling["data"]["task_status"]) == (0, "succeed")
    legacy = await reply_of("legacy")
    assert (legacy["data"]["status"], legacy["data"]["url"]) == ("succeeded", url)
    flat = await reply_of("flat")
    assert (flat["status"], url in str(flat)) == ("SUCCESS", False)


@pytest.mark.parametrize("path", ["/v1/video/generations", "/v1/videos", PATH, "/kling/v1/videos/image2video"])
async def test_any_path_finds_any_task(client: httpx.AsyncClient, path: str) -> None:
    task_id = (await client.post(PATH, json=TEXT)).json()["id"]
    body = (await client.get(f"{path}/{task_id}")).json()
    assert body.get("status", body.get("data", {}).get("status")) in {"NOT_START", "unknown"}


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
    task = (await run(sandbox, client))["data"]
    assert (task["status"], task["fail_reason"], task["result_url"]) == ("FAILURE", reason, reason)
    assert task["data"]["message"] == "SUCCEED"
    assert task["data"]["data"]["task_status_msg"] == reason


# --- regime C: the task plug-in


@pytest.fixture
def plugin(sandbox: SandboxServer) -> SandboxServer:
    configure(sandbox, relay_regime="C")
    return sandbox


IMAGE_PATH = "/kling/v1/videos/image2video"


async def test_plug_in_tells_of_a_task_in_kling_s_words_with_an_id_of_its_own(
    plugin: SandboxServer, client: httpx.AsyncClient
) -> None:
    body = (await client.post(IMAGE_PATH, json=TEXT | {"image": picture(), "mode": "pro", "duration": 10})).json()
    task_id = body["data"]["task_id"]
    assert set(body) == {"code", "message", "request_id", "data"}
    assert (body["code"], body["data"]["task_status"], len(task_id)) == (0, "submitted", 37)
    seen = []
    for seconds in (0, 2, 4):
        plugin.state.clock.advance(seconds)
        body = (await client.get(f"{IMAGE_PATH}/{task_id}")).json()
        seen.append((body["code"], body["data"]["task_id"], body["data"]["task_status"]))
    assert seen == [(0, task_id, word) for word in ("submitted", "processing", "succeed")]
    [video] = body["data"]["task_result"]["videos"]
    assert (await client.get(video["url"])).content[4:8] == b"ftyp"
    openai = (await client.get(f"/v1/videos/{task_id}")).json()
    assert (openai["status"], openai["progress"], "metadata" in openai) == ("completed", 100, False)
    configure(plugin, relay_query="native_bare")
    assert (await client.get(f"{IMAGE_PATH}/{task_id}")).json() == {
        "code": 0,
        "data": {"task_id": task_id, "task_status": "succeed", "task_status_msg": ""},
    }


async def test_path_alone_decides_in_the_plug_in_and_the_journal_tells(
    plugin: SandboxServer, client: httpx.AsyncClient
) -> None:
    body = TEXT | {"image": picture(200, 200), "image_tail": "no picture at all"}
    assert (await client.post(PATH, json=body)).status_code == 200, "Kling refuses only fields that it reads"
    [reported] = plugin.state.report()["tasks"]
    [task] = plugin.state.tasks.values()
    assert (reported["action"], task.spec.image) == ("text2video", None)
    configure(plugin, relay_regime="B")
    await client.post(PATH, json=TEXT | {"image": picture()})
    assert [task["action"] for task in plugin.state.report()["tasks"]] == ["text2video", "image2video"]


@pytest.mark.parametrize(
    ("changes", "size", "seconds"),
    [
        ({}, (90, 90), 5),
        ({"size": "1920x1080"}, (90, 90), 5),
        ({"aspect_ratio": "9:16", "size": "1920x1080"}, (90, 160), 5),
        ({"duration": 10}, (90, 90), 10),
        ({"duration": "10", "metadata": {"duration": "5", "aspect_ratio": "9:16"}}, (90, 90), 10),
        ({"model": "kling-v9", "model_name": "kling-v3", "duration": "15"}, (90, 90), 15),
        ({"model_name": "kling-v2-master", "mode": ""}, (90, 90), 5),
        ({"mode": " PRO "}, (90, 90), 5),
    ],
    ids=str,
)
async def test_plug_in_hands_on_kling_s_own_names_in_any_type(
    plugin: SandboxServer, client: httpx.AsyncClient, changes: dict[str, Any], size: tuple[int, int], seconds: int
) -> None:
    reply = await client.post(PATH, json=TEXT | changes)
    assert reply.status_code == 200, reply.text
    [task] = plugin.state.tasks.values()
    assert ((task.spec.width, task.spec.height), task.spec.seconds) == (size, seconds)


REFUSED_BY_PLUGIN: list[tuple[dict[str, Any], str]] = [
    ({"model": None, "model_name": None}, "model is required"),
    ({"model_name": "kling-v2-master", "mode": "std"}, "kling-v2-master does not support mode std"),
    ({"model_name": "kling-v2-master", "mode": "4k"}, "mode must be pro"),
    ({"mode": "4k"}, "mode must be std or pro"),
]


@pytest.mark.parametrize(("changes", "words"), REFUSED_BY_PLUGIN, ids=str)
async def test_plug_in_refuses_before_anything_is_sent(
    plugin: SandboxServer, client: httpx.AsyncClient, changes: dict[str, Any], words: str
) -> None:
    body = {name: value for name, value in (TEXT | changes).items() if value is not None}
    reply = await client.post(PATH, json=body)
    assert (reply.status_code, reply.json()) == (400, {"code": "plugin_request_invalid", "message": words})
    assert not plugin.state.tasks


OF_KLING: list[tuple[str, dict[str, Any], str]] = [
    (IMAGE_PATH, {"image_tail": "P"}, "image_tail is not supported with mode std"),
    (IMAGE_PATH, {"image_tail": "P", "model_name": "kling-v2-6"}, "image_tail is not supported with mode std"),
    (IMAGE_PATH, {"image_tail": "P", "mode": "pro", "camera_control": {}}, "mutually exclusive"),
    (PATH, {"model_name": "kling-v2-1-master"}, "mode value 'std' is not supported"),
    (PATH, {"model_name": "kling-v2-5-turbo", "mode": "std"}, "mode value 'std' is not supported"),
    (PATH, {"model_name": "kling-v2-6", "cfg_scale": 0.5}, "cfg_scale is not supported"),
    (PATH, {"model_name": "kling-v2-5-turbo", "mode": "pro", "sound": "on"}, "sound is not supported"),
    (PATH, {"model_name": "kling-v2-6", "mode": "std", "sound": "on"}, "sound is not supported"),
    (PATH, {"model_name": "kling-v3", "duration": "16"}, "duration value '16' is invalid"),
    (PATH, {"prompt": ""}, "prompt is required"),
    (IMAGE_PATH, {"image": None}, "image is required"),
    (IMAGE_PATH, {"image": 7}, "image is invalid"),
]


@pytest.mark.parametrize(("path", "changes", "words"), OF_KLING, ids=str)
async def test_kling_s_refusal_comes_with_its_own_status_or_inside_a_502(
    plugin: SandboxServer, client: httpx.AsyncClient, path: str, changes: dict[str, Any], words: str
) -> None:
    pictured = {"image": "P"} if path == IMAGE_PATH else {}
    body = {name: picture() if value == "P" else value for name, value in (TEXT | pictured | changes).items()}
    by_status = await client.post(path, json=body)
    assert (by_status.status_code, by_status.json()["code"]) == (400, 1201)
    assert words in by_status.json()["message"]
    configure(plugin, relay_kling_refuses="200")
    inside = await client.post(path, json=body)
    assert (inside.status_code, set(inside.json())) == (502, {"code", "message"})
    assert inside.json()["code"] == "plugin_submit_response_failed"
    assert words in inside.json()["message"]
    assert not plugin.state.tasks


@pytest.mark.parametrize(
    "changes",
    [
        {"model_name": "kling-v2-6", "mode": "pro", "sound": "on"},
        {"model_name": "kling-v2-5-turbo", "mode": "pro"},
        {"model_name": "kling-v2-master"},
        {"cfg_scale": 1},
    ],
    ids=str,
)
async def test_kling_takes_what_its_models_have(client: httpx.AsyncClient, plugin: SandboxServer, changes: Any) -> None:
    assert (await client.post(PATH, json=TEXT | changes)).status_code == 200
    assert len(plugin.state.tasks) == 1


@pytest.mark.parametrize("regime", ["A", "B"])
async def test_kling_s_rules_hold_behind_every_regime(
    sandbox: SandboxServer, client: httpx.AsyncClient, regime: str
) -> None:
    configure(sandbox, relay_regime=regime)
    tail = {"image": picture(), "image_tail": picture(), "metadata": {"image_tail": picture()}}
    std = await client.post(IMAGE_PATH, json=TEXT | tail)
    assert (std.status_code, "image_tail is not supported" in std.text) == (400, True)
    configure(sandbox, relay_kling_refuses="200")
    assert (await client.post(IMAGE_PATH, json=TEXT | tail)).json()["code"] == "task_failed"
    assert (await client.post(IMAGE_PATH, json=TEXT | tail | {"mode": "pro"})).status_code == 200


async def test_newer_builds_say_one_code_for_each_status(plugin: SandboxServer, client: httpx.AsyncClient) -> None:
    configure(plugin, relay_native_errors="general")
    by_plugin = await client.post(PATH, json=TEXT | {"mode": "4k"})
    by_kling = await client.post(PATH, json=TEXT | {"duration": "7"})
    configure(plugin, relay_kling_refuses="200")
    inside = await client.post(PATH, json=TEXT | {"duration": "7"})
    assert by_plugin.json() == {"code": "invalid_request", "message": "mode must be std or pro"}
    assert (by_kling.json()["code"], '"code":1201' in by_kling.json()["message"]) == ("invalid_request", True)
    assert (inside.status_code, inside.json()) == (502, {"code": "server_error", "message": "Task request failed"})


async def test_a_task_that_the_relay_gave_up_goes_on_for_ever_on_the_native_route(
    plugin: SandboxServer, client: httpx.AsyncClient
) -> None:
    plugin.fault("kling_relay", "submit", "given_up")
    task_id = (await client.post(PATH, json=TEXT)).json()["data"]["task_id"]
    plugin.state.clock.advance(86400)
    assert (await client.get(f"{PATH}/{task_id}")).json()["data"]["task_status"] == "processing"
    openai = (await client.get(f"/v1/videos/{task_id}")).json()
    assert (openai["status"], openai["progress"], "error" in openai) == ("failed", 100, False)
    configure(plugin, relay_regime="B")
    outer = (await client.get(f"{PATH}/{task_id}")).json()["data"]
    assert (outer["status"], outer["fail_reason"]) == ("FAILURE", "任务超时（1440分钟）")
    assert outer["data"]["data"]["task_status"] == "processing"


async def test_a_missing_task_and_the_artifact_route_are_the_plug_in_s_own(
    plugin: SandboxServer, client: httpx.AsyncClient
) -> None:
    missing = await client.get(f"{PATH}/none")
    assert (missing.status_code, missing.json()) == (404, {"code": "task_not_found", "message": "Task not found"})
    task_id = (await client.post(PATH, json=TEXT)).json()["data"]["task_id"]
    plugin.state.clock.advance(6)
    path = f"/v1/tasks/{task_id}/artifacts/video/content"
    whole, part = await client.get(path), await client.get(path, headers={"range": "bytes=4-7"})
    head = await client.head(path)
    assert (whole.content[4:8], part.status_code, part.content) == (b"ftyp", 206, b"ftyp")
    assert (head.status_code, int(head.headers["content-length"])) == (200, len(whole.content))
    assert (await client.get(f"/v1/videos/{task_id}/content")).content == whole.content
    configure(plugin, relay_regime="B")
    assert (await client.get(path)).status_code == 404
