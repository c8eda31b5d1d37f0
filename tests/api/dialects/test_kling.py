"""Kling's paths, the relay's shape on the same paths, and new-api's universal route, over HTTP."""

import asyncio
import base64
import io
from typing import Any

import httpx
import jwt
import pytest
from PIL import Image

MODEL = "kling_relay/kling-v1"
TEXT, IMAGE, UNIVERSAL = "/v1/videos/text2video", "/v1/videos/image2video", "/v1/video/generations"
URL = "https://example.com/first.jpg"
NATIVE = {"model_name": MODEL, "prompt": "Waves", "mode": "std", "aspect_ratio": "16:9", "duration": "5"}


def png() -> str:
    out = io.BytesIO()
    Image.new("RGB", (320, 320)).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def refused(response: httpx.Response, status: int, code: int) -> str:
    """Check an error in Kling's shape; return its message."""
    body = response.json()
    assert response.status_code == status, body
    assert set(body) == {"code", "message", "request_id"}
    assert body["code"] == code, body
    assert body["request_id"] == response.headers["x-request-id"]
    message: str = body["message"]
    return message


@pytest.mark.parametrize("base", ["", "/kling"])
async def test_a_task_of_kling_from_create_to_video(gateway: Any, base: str) -> None:
    created = await gateway.client.post(base + TEXT, json={**NATIVE, "cfg_scale": 0.5, "external_task_id": ""})
    assert created.status_code == 200, created.text
    body = created.json()
    assert (body["code"], body["message"], body["status"]) == (0, "SUCCEED", "queued")
    task = body["data"]
    assert task["task_id"] == body["task_id"]
    assert task["task_id"].startswith("task_")
    assert (task["task_status"], task["task_status_msg"]) == ("submitted", "")
    assert "task_result" not in task
    assert task["created_at"] == task["updated_at"] > 10**12
    path = f"{base}{TEXT}/{task['task_id']}"
    assert created.headers["location"] == path

    await gateway.begin(f"gen_{task['task_id'].removeprefix('task_')}")
    assert (await gateway.client.get(path)).json()["data"]["task_status"] == "processing"
    await gateway.finish()
    read = (await gateway.client.get(path)).json()
    [video] = read["data"]["task_result"]["videos"]
    assert (read["data"]["task_status"], video["duration"], read["status"]) == ("succeed", "5", "completed")
    assert (read["url"], read["format"], read["metadata"]["duration"]) == (video["url"], "mp4", 5)
    assert read["data"]["updated_at"] > task["updated_at"]
    async with gateway.client_of(None) as nobody:  # Kling's clients fetch the file without a key
        assert (await nobody.get(video["url"])).content == gateway.upstream.content
    assert (await gateway.client.get(path.replace("text2video", "image2video"))).json()["data"] == read["data"]
    refused(await gateway.other.get(path), 404, 1203)


async def test_the_upstream_gets_what_the_client_said(gateway: Any) -> None:
    raw = png()
    body = {**NATIVE, "image": raw, "image_tail": f"data:image/png;base64,{raw}", "mode": "pro", "cfg_scale": 0.7}
    created = await gateway.client.post(IMAGE, json={**body, "negative_prompt": "blur", "duration": "10"})
    assert created.status_code == 200, created.text
    await gateway.begin(f"gen_{created.json()['task_id'].removeprefix('task_')}")

    [submit] = gateway.upstream.submits
    sent = httpx.Response(200, content=submit.content).json()
    assert submit.url.path.endswith("/kling/v1/videos/image2video")
    assert (sent["image"], sent["image_tail"]) == (raw, raw)
    assert (sent["mode"], sent["cfg_scale"], sent["negative_prompt"]) == ("pro", 0.7, "blur")
    assert (sent["duration"], sent["aspect_ratio"], sent["prompt"]) == ("10", "16:9", "Waves")


async def test_the_body_of_the_relay_s_page(gateway: Any) -> None:
    body = {
        "model": MODEL,
        "prompt": "Waves",
        "image": URL,
        "duration": 5,
        "width": 1280,
        "height": 720,
        "n": 1,
        "response_format": "url",
        "user": "user-1234",
        "metadata": {"negative_prompt": "blur", "order": "7"},
    }
    created = (await gateway.client.post("/kling" + IMAGE, json=body)).json()
    assert (created["task_id"], created["status"]) == (created["data"]["task_id"], "queued")
    stored = await gateway.stored(f"gen_{created['task_id'].removeprefix('task_')}")
    assert (stored.request.settings.negative_prompt, stored.request.metadata) == ("blur", {"order": "7"})
    assert (stored.request.settings.resolution, stored.request.settings.aspect_ratio) == ("720p", "16:9")


async def test_what_new_api_sends_as_a_client_with_a_model_since_v2(gateway: Any) -> None:
    model = "kling_relay/kling-v2-master"
    body = {"prompt": "Waves", "mode": "pro", "duration": "5", "aspect_ratio": "1:1", "cfg_scale": 0.5}
    answer = await gateway.client.post("/kling" + TEXT, json={**body, "model": model, "model_name": model})
    assert answer.json()["code"] == 0, answer.text


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        (TEXT, {"camera_control": {"type": "simple"}}, "camera_control"),
        (TEXT, {"image": URL}, "image"),
        (TEXT, {"image_tail": URL}, "image_tail"),
        (IMAGE, {}, "image"),
        (IMAGE, {"image": " "}, "image"),
        (IMAGE, {"image": URL, "static_mask": URL}, "static_mask"),
        (IMAGE, {"image": URL, "dynamic_masks": [{"mask": URL}]}, "dynamic_masks"),
        (IMAGE, {"image_tail": URL}, "image_tail"),
        (TEXT, {"sound": "loud"}, "sound"),
        (TEXT, {"sound": "on"}, "sound"),
        (TEXT, {"voice_list": [{"voice_id": "1"}]}, "voice_list"),
        (TEXT, {"watermark_info": {"enabled": True}}, "watermark_info"),
        (TEXT, {"multi_shot": True}, "multi_shot"),
        (TEXT, {"multi_prompt": [{"index": 1}]}, "multi_prompt"),
        (TEXT, {"metadata": {"watermark_info": {"enabled": True}}}, "metadata.watermark_info"),
        (TEXT, {"metadata": {"aspect_ratio": "9:16"}}, "metadata.aspect_ratio"),
        (TEXT, {"duration": "7"}, "duration"),
        (TEXT, {"fps": 30}, "fps"),
        (TEXT, {"external_task_id": 5}, "external_task_id"),
        (TEXT, {"external_task_id": "x" * 513}, "external_task_id"),
        (TEXT, {"external_task_id": "gen_" + "0" * 26}, "external_task_id"),
        (TEXT, {"callback_url": "http://example.com/hook"}, "callback_url"),
        (TEXT, {"ratio": "16:9"}, "ratio"),
        (TEXT, {"model": "another"}, "model"),
    ],
)
async def test_what_cannot_be_honoured_is_named(untouched: Any, path: str, body: dict[str, Any], named: str) -> None:
    message = refused(await untouched.client.post(path, json={**NATIVE, **body}), 400, 1201)
    assert f"`{named}`" in message or f"`{named}.enabled`" in message, message


async def test_an_option_of_the_relay_is_explained_with_the_way_to_send_it(untouched: Any) -> None:
    message = refused(
        await untouched.client.post(TEXT, json={**NATIVE, "camera_control": {"type": "simple"}}), 400, 1201
    )
    assert "movement of the camera" in message
    assert '"provider_options": {"kling_relay": {"camera_control": …}}' in message


async def test_empty_fields_ask_for_nothing(gateway: Any) -> None:
    nothing = {
        "camera_control": None,
        "static_mask": "",
        "dynamic_masks": [],
        "voice_list": None,
        "watermark_info": {"enabled": False},
        "multi_shot": False,
        "shot_type": "",
        "multi_prompt": [],
        "element_list": [],
        "callback_url": "",
        "negative_prompt": "",
        "sound": "off",
        "metadata": {"static_mask": None, "note": None},
    }
    answer = await gateway.client.post(TEXT, json={**NATIVE, **nothing})
    assert answer.status_code == 200, answer.text


async def test_an_external_id_reads_its_task_and_is_bought_once(gateway: Any) -> None:
    body = {**NATIVE, "external_task_id": "order/1 é"}
    first = await gateway.client.post(TEXT, json=body)
    task_id = first.json()["data"]["task_id"]
    assert first.json()["data"]["task_info"] == {"external_task_id": "order/1 é"}
    again = await gateway.client.post(TEXT, json={**body, "duration": 5})
    assert (again.json()["data"]["task_id"], again.headers["idempotent-replayed"]) == (task_id, "true")
    message = refused(await gateway.client.post(TEXT, json={**body, "prompt": "Trees"}), 400, 1201)
    assert "`external_task_id`" in message
    headers = {"idempotency-key": "another"}
    refused(await gateway.client.post(TEXT, json={**body, "prompt": "Trees"}, headers=headers), 400, 1201)
    assert (await gateway.client.post(TEXT, json=body, headers=headers)).json()["data"]["task_id"] == task_id
    assert gateway.rows()["generations"] == 1

    listed = (await gateway.client.get(TEXT, params={"external_task_id": "order/1 é"})).json()["data"]
    assert [task["task_id"] for task in listed] == [task_id]
    assert (await gateway.client.get(TEXT, params={"external_task_id": "order"})).json()["data"] == []
    refused(await gateway.client.get(f"{TEXT}/{task_id}?external_task_id=x"), 404, 1203)
    other = await gateway.other.post(TEXT, json={**body, "prompt": "Trees"})  # ids are those of one client
    assert other.json()["data"]["task_id"] != task_id


async def test_an_external_id_in_the_path(gateway: Any) -> None:
    created = (await gateway.client.post(TEXT, json={**NATIVE, "external_task_id": "order-1.5"})).json()
    read = (await gateway.client.get(f"/kling{TEXT}/order-1.5")).json()
    assert read["data"]["task_id"] == created["task_id"]
    refused(await gateway.client.get(f"{TEXT}/order-2"), 404, 1203)
    refused(await gateway.other.get(f"{TEXT}/order-1.5"), 404, 1203)


async def test_two_creates_with_one_external_id_at_the_same_time_buy_once(gateway: Any) -> None:
    body = {**NATIVE, "external_task_id": "order-1"}
    answers = await asyncio.gather(*(gateway.client.post(TEXT, json=body) for _ in range(4)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert len({answer.json()["task_id"] for answer in answers if answer.status_code == 200}) == 1
    assert gateway.rows()["generations"] == 1


async def test_an_external_id_is_bought_once_whatever_the_idempotency_keys(gateway: Any) -> None:
    body = {**NATIVE, "external_task_id": "order-1"}
    keys: list[dict[str, str]] = [{"idempotency-key": "a"}, {"idempotency-key": "b"}, {}]
    answers = await asyncio.gather(*(gateway.client.post(TEXT, json=body, headers=key) for key in keys))
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert len({answer.json()["task_id"] for answer in answers}) == 1
    assert gateway.rows()["generations"] == 1


async def test_an_external_id_counts_also_after_its_key_was_forgotten(gateway: Any) -> None:
    body = {**NATIVE, "external_task_id": "order-1"}
    first = (await gateway.client.post(TEXT, json=body)).json()["task_id"]
    await gateway.finish()
    await gateway.clock.advance(25 * 3600)
    await gateway.application.store.forget(gateway.clock.now(), 100)
    assert (await gateway.client.post(TEXT, json=body)).json()["task_id"] == first
    assert gateway.rows()["generations"] == 1


async def test_lists_have_the_tasks_of_their_path_in_pages(gateway: Any) -> None:
    texts = [(await gateway.client.post(TEXT, json=NATIVE)).json()["task_id"] for _ in range(3)]
    image = (await gateway.client.post(IMAGE, json={**NATIVE, "image": URL})).json()["task_id"]
    own = (await gateway.create())["id"]

    async def ids(path: str, **params: Any) -> list[str]:
        answer = (await gateway.client.get(path, params=params)).json()
        assert answer["code"] == 0
        return [task["task_id"] for task in answer["data"]]

    every = [own.replace("gen_", "task_"), *reversed(texts)]
    assert await ids(TEXT) == every
    assert await ids("/kling" + TEXT, pageNum=1, pageSize=500) == every
    assert await ids(TEXT, pageNum=2, pageSize=3) == every[3:]
    assert await ids(TEXT, pageNum=3, pageSize=3) == []
    assert await ids(IMAGE, pageNum=1, pageSize=30) == [image]
    for query in ("pageNum=0", "pageNum=1001", "pageSize=501", "pageSize=0", "pageNum=x", "pagenum=1"):
        refused(await gateway.client.get(f"{TEXT}?{query}"), 400, 1201)
    assert "`pageNum`" in refused(await gateway.client.get(f"{TEXT}?pageNum=1000&pageSize=500"), 400, 1201)


async def test_a_list_of_many_tasks_is_read_in_pieces(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.api.dialects.kling.tasks.PIECE", 2)
    texts = [(await gateway.client.post(TEXT, json=NATIVE)).json()["task_id"] for _ in range(7)]
    answer = (await gateway.client.get(f"{TEXT}?pageNum=1&pageSize=5")).json()
    assert [task["task_id"] for task in answer["data"]] == texts[:1:-1]
    answer = (await gateway.client.get(f"{TEXT}?pageNum=2&pageSize=5")).json()
    assert [task["task_id"] for task in answer["data"]] == texts[1::-1]


async def test_a_failed_task_says_why(gateway: Any) -> None:
    body = {**NATIVE, "fallback": False}
    created = (await gateway.client.post(TEXT, json=body)).json()
    await gateway.finish("failed")
    read = (await gateway.client.get(f"{TEXT}/{created['task_id']}")).json()
    assert (read["code"], read["data"]["task_status"], read["status"]) == (0, "failed", "failed")
    assert "It broke." in read["data"]["task_status_msg"]
    assert read["error"] == {"code": 5000, "message": read["data"]["task_status_msg"]}
    universal = (await gateway.client.get(f"{UNIVERSAL}/{created['task_id']}")).json()["data"]
    assert (universal["status"], universal["progress"], universal["result_url"]) == ("FAILURE", "100%", "")
    assert "It broke." in universal["fail_reason"]


async def test_a_cancelled_task_has_failed(gateway: Any) -> None:
    created = (await gateway.client.post(TEXT, json=NATIVE)).json()
    await gateway.client.post(f"/v1/videos/generations/{created['task_id']}/cancel")
    task = (await gateway.client.get(f"{TEXT}/{created['task_id']}")).json()["data"]
    assert task["task_status"] == "failed"
    assert task["task_status_msg"].startswith("It was cancelled.")


@pytest.mark.parametrize("base", ["", "/kling"])
async def test_the_account_has_no_resource_packs(gateway: Any, base: str) -> None:
    answer = await gateway.client.get(
        f"{base}/account/costs", params={"start_time": 1795985240780, "end_time": 1795985241780}
    )
    assert answer.json()["data"] == {"code": 0, "msg": "", "resource_pack_subscribe_infos": []}
    refused(await gateway.client.get(f"{base}/account/costs?start_time=2&end_time=1"), 400, 1201)
    refused(await gateway.client.get(f"{base}/account/costs?start_time=x"), 400, 1201)


async def test_kling_s_codes_for_keys(start: Any) -> None:
    access, secret = "access-" + "f" * 20, "secret-" + "g" * 40
    pair = '[[server.kling_keys]]\naccess_key = "env:ACCESS"\nsecret_key = "env:SIGNING"'
    gateway = await start(pair, environ={"ACCESS": access, "SIGNING": secret})
    now = int(gateway.clock.now().timestamp())

    async def answer(key: str | None) -> httpx.Response:
        async with gateway.client_of(key) as client:
            return await client.get(TEXT)

    def signed(ahead: int, with_secret: str = secret) -> str:
        claims = {"iss": access, "exp": now + ahead + 1800, "nbf": now + ahead - 5}
        return jwt.encode(claims, with_secret, algorithm="HS256")

    assert (await answer(signed(0))).json()["data"] == []
    refused(await answer(None), 401, 1001)
    refused(await answer("vg_unknown"), 401, 1002)
    refused(await answer(signed(0, "x" * 40)), 401, 1000)
    refused(await answer(signed(3600)), 401, 1003)
    refused(await answer(signed(-3600)), 401, 1004)


async def test_kling_s_codes_for_requests(gateway: Any) -> None:
    refused(await gateway.client.post(TEXT, content=b"{", headers={"content-type": "application/json"}), 400, 1200)
    refused(await gateway.client.post(TEXT, json={**NATIVE, "model_name": "nothing"}), 404, 1203)
    refused(await gateway.client.get("/kling/v1/videos/lip-sync"), 404, 1203)
    refused(await gateway.client.post("/v1/videos/multi-image2video", json={}), 405, 1202)
    refused(await gateway.client.put(TEXT), 405, 1202)


async def test_a_missing_model_is_kling_s_default(gateway: Any) -> None:
    created = (await gateway.client.post(TEXT, json={"prompt": "Waves"})).json()
    assert (await gateway.stored(f"gen_{created['task_id'].removeprefix('task_')}")).request.model == "kling-v1"


async def test_an_idempotency_key_counts(gateway: Any) -> None:
    headers = {"idempotency-key": "aisdk_vid_1"}
    first, again = [await gateway.client.post(TEXT, json=NATIVE, headers=headers) for _ in range(2)]
    assert first.json()["task_id"] == again.json()["task_id"]
    refused(await gateway.client.post(TEXT, json={**NATIVE, "prompt": "x"}, headers=headers), 400, 1201)


async def test_the_universal_route_from_create_to_video(gateway: Any) -> None:
    body = {"model": MODEL, "prompt": "Waves", "images": [URL], "duration": 5, "metadata": {"mode": "std"}}
    created = (await gateway.client.post(UNIVERSAL, json=body)).json()
    assert (created["id"], created["object"], created["status"]) == (created["task_id"], "video", "queued")
    path = f"{UNIVERSAL}/{created['task_id']}"
    read = (await gateway.client.get(path)).json()
    assert (read["code"], read["message"]) == ("success", "")
    assert (read["data"]["status"], read["data"]["progress"], read["data"]["action"]) == ("QUEUED", "0%", "generate")
    await gateway.finish()
    done = (await gateway.client.get(path)).json()["data"]
    assert (done["status"], done["progress"], done["fail_reason"]) == ("SUCCESS", "100%", "")
    assert done["result_url"] == done["data"]["data"]["task_result"]["videos"][0]["url"]
    assert 0 < done["submit_time"] <= done["start_time"] <= done["finish_time"]


async def test_the_errors_of_the_universal_route(gateway: Any) -> None:
    async with gateway.client_of(None) as nobody:
        answers = [
            (await gateway.client.get(f"{UNIVERSAL}/task_x"), 400, "task_not_exist"),
            (
                await gateway.client.post(UNIVERSAL, json={"model": MODEL, "prompt": "x", "seed": 1}),
                400,
                "invalid_request",
            ),
            (await gateway.client.post(UNIVERSAL, json={"model": MODEL, "images": [URL, URL]}), 400, "invalid_request"),
            (await gateway.client.post(UNIVERSAL, json={"model": "nothing", "prompt": "x"}), 404, "model_not_found"),
            (await nobody.get(f"{UNIVERSAL}/task_x"), 401, "invalid_api_key"),
        ]
    for answer, status, code in answers:
        body = answer.json()
        assert (answer.status_code, body["code"], body["data"]) == (status, code, None), body
        assert body["error"]["message"] == body["message"]
        assert body["error"]["code"] == code
