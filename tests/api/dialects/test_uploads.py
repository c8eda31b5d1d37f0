"""The uploads of FoxAPI and Keevx: what they store, and that the URL of the answer is an image of a create."""

import base64
import json
import threading
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.api.dialects import foxapi_uploads
from gateway.domain.errors import FileLimitReached
from gateway.store.files import FileLimits

from ..test_images import png

PNG = png(320, 320)

WAYS = ("stream", "base64", "url")
SOURCE = "https://pictures.example/cat.png?size=1"


async def upload(gateway: Any, path: str, way: str, content: bytes = PNG, **fields: Any) -> Any:
    path = f"{path}/{way}"
    if way == "stream":
        return await gateway.client.post(path, files={"file": ("a/cat.png", content, "image/png")}, data=fields)
    if way == "base64":
        return await gateway.client.post(path, json={"file_data": base64.b64encode(content).decode(), **fields})
    gateway.upstream.url, gateway.upstream.content = SOURCE, content
    return await gateway.client.post(path, json={"url": SOURCE, **fields})


def refused(answer: Any, status: int, code: str, param: str | None) -> str:
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param), answer.text
    message: str = error["message"]
    return message


@pytest.mark.parametrize("root", ["/v1", "/foxapi/v1"])
@pytest.mark.parametrize("way", WAYS)
async def test_an_upload_is_a_file_whose_url_is_an_image_of_a_create(gateway: Any, root: str, way: str) -> None:
    stored = (await upload(gateway, f"{root}/files/upload", way)).json()
    body = {"model": "kling_relay/kling-v2-master", "prompt": "Waves", "image_url": stored["url"]}
    task = await gateway.client.post("/foxapi/v1/videos/generations", json=body)
    await gateway.clock.advance(1)

    assert stored["size"] == len(PNG)
    assert stored["filename"] == ("image.png" if way == "base64" else "cat.png")
    assert (await gateway.client.get(f"/v1/files/{stored['id']}")).status_code == 200
    async with gateway.client_of(None) as anybody:
        assert (await anybody.get(stored["url"])).content == PNG
    assert task.status_code == 200, task.text
    generation = await gateway.stored(f"gen_{task.json()['id'].removeprefix('task-unified-')}")
    assert generation.request.input.first_frame == stored["id"]


async def test_a_large_text_is_decoded_outside_of_the_event_loop(gateway: Any, monkeypatch: Any) -> None:
    threads: list[threading.Thread] = []

    def read(value: object, name: str) -> Any:
        threads.append(threading.current_thread())
        return read_image(value, name)

    read_image = foxapi_uploads.read_image
    monkeypatch.setattr(foxapi_uploads, "read_image", read)
    for most in (foxapi_uploads.LARGE, 10):
        monkeypatch.setattr(foxapi_uploads, "LARGE", most)
        assert (await upload(gateway, "/v1/files/upload", "base64")).status_code == 200

    assert [thread is threading.current_thread() for thread in threads] == [True, False]


async def test_a_link_of_another_client_stays_a_url(gateway: Any) -> None:
    """Its token shows the file to anybody, but the file itself is of another key."""
    stored = (await upload(gateway, "/v1/files/upload", "stream")).json()
    body = {"model": "foxapi/kling-v3-image-to-video", "prompt": "Waves", "image_url": stored["url"]}
    task = (await gateway.other.post("/v1/videos/generations", json=body)).json()
    altered = {**body, "image_url": stored["url"][:-2] + "xx"}
    other = (await gateway.client.post("/v1/videos/generations", json=altered)).json()

    assert (await gateway.stored(task["id"])).request.input.first_frame == stored["url"]
    assert (await gateway.stored(other["id"])).request.input.first_frame == altered["image_url"]


async def test_a_link_in_an_object_or_a_list_is_the_file_and_in_a_prompt_it_is_text(gateway: Any) -> None:
    stored = (await upload(gateway, "/v1/files/upload", "stream")).json()
    body = {"model": "V", "prompt": stored["url"], "reference_images": [{"url": stored["url"]}]}
    task = (await gateway.client.post("/v1/videos/generations", json=body)).json()

    request = (await gateway.stored(task["id"])).request
    assert (request.input.references, request.prompt) == ((stored["id"],), stored["url"])


async def test_keevx_answers_an_upload_in_its_own_envelope(gateway: Any) -> None:
    path = "/keevx/v1/figure-resource/upload/file"
    answer = (await gateway.client.post(path, files={"file": ("image.png", PNG, "image/png")})).json()
    result = answer.pop("result")
    body = {"model": "V", "prompt": "Waves", "image_url": result["url"], "duration": 6}
    [task_id] = (await gateway.client.post("/keevx/v1/image_to_video", json=body)).json()["data"]["task_ids"]
    generation = await gateway.stored(f"gen_{task_id.removeprefix('i2v-')}")

    assert answer == {"code": 0, "success": True, "message": {"global": "success"}}
    assert (result["fileName"], generation.request.input.first_frame) == ("image.png", result["fileId"])


async def test_keevx_refuses_an_upload_in_its_own_envelope(gateway: Any) -> None:
    path = "/keevx/v1/figure-resource/upload/file"
    bad = await gateway.client.post(path, files={"file": ("a.pdf", b"%PDF-1.7 text", "application/pdf")})
    more = await gateway.client.post(path, files={"file": ("a.png", PNG)}, data={"folder": "x"})
    async with gateway.client_of(None) as nobody:
        unknown = await nobody.post(path, files={"file": ("a.png", PNG)})

    seen = [(each.status_code, each.json()["code"], each.json()["param"]) for each in (bad, more, unknown)]
    assert seen == [(400, 100007, "file"), (400, 100001, "folder"), (401, 100002, None)]
    assert "folder" in more.json()["message"]["global"]
    assert (more.json()["success"], more.json()["result"]) == (False, None)
    assert gateway.rows()["files"] == 0


@pytest.mark.parametrize("way", WAYS)
async def test_the_client_chooses_the_name_and_no_folder_of_it(gateway: Any, way: str) -> None:
    stored = (await upload(gateway, "/v1/files/upload", way, file_name="../../dog.png")).json()
    assert stored["filename"] == "dog.png"


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_no_image_is_refused_by_the_name_of_its_field(gateway: Any, way: str) -> None:
    param = {"stream": "file", "base64": "file_data", "url": "url"}[way]
    refused(await upload(gateway, "/v1/files/upload", way, b"<html>please log in</html>"), 400, "invalid_image", param)
    assert gateway.rows()["files"] == 0


@pytest.mark.parametrize("way", WAYS)
async def test_a_field_that_is_not_there_is_named(gateway: Any, way: str) -> None:
    answer = await upload(gateway, "/v1/files/upload", way, colour="red")
    assert "colour" in refused(answer, 400, "unknown_parameter", "colour")


@pytest.mark.parametrize(
    ("way", "body", "code", "param"),
    [
        ("base64", {}, "invalid_parameter", "file_data"),
        ("base64", {"file_data": "https://example.com/a.png"}, "invalid_image", "file_data"),
        ("base64", {"file_data": 7}, "invalid_image", "file_data"),
        ("base64", {"file_data": "!!!"}, "invalid_image", "file_data"),
        ("base64", {"file_data": "iVBORw0KGgo", "auto_cleanup": "perhaps"}, "invalid_parameter", "auto_cleanup"),
        ("base64", {"file_data": "iVBORw0KGgo", "auto_cleanup": {}}, "invalid_parameter", "auto_cleanup"),
        ("base64", {"file_data": "iVBORw0KGgo", "file_name": {}}, "invalid_parameter", "file_name"),
        ("base64", {"file_data": "iVBORw0KGgo", "file_name": 7}, "invalid_parameter", "file_name"),
        ("url", {}, "invalid_parameter", "url"),
        ("url", {"url": 7}, "invalid_parameter", "url"),
        ("url", {"url": "ftp://example.com/a.png"}, "invalid_parameter", "url"),
        ("url", {"url": "http://127.0.0.1/a.png"}, "invalid_image", "url"),
    ],
)
async def test_a_body_that_cannot_be_names_its_field(gateway: Any, way: str, body: Any, code: str, param: str) -> None:
    message = refused(await gateway.client.post(f"/v1/files/upload/{way}", json=body), 400, code, param)
    assert f"`{param}`" in message
    assert gateway.rows()["files"] == 0


async def test_without_room_the_oldest_files_go_only_if_the_client_says_so(start: Any) -> None:
    gateway = await start("files.max_per_key = 2")
    first, second = [(await upload(gateway, "/v1/files/upload", "stream")).json()["id"] for _ in range(2)]
    silent = await upload(gateway, "/v1/files/upload", "stream")
    refused_again = await upload(gateway, "/v1/files/upload", "base64", auto_cleanup=False)
    made = await upload(gateway, "/v1/files/upload", "base64", auto_cleanup=True)

    assert (silent.status_code, refused_again.status_code, made.status_code) == (403, 403, 200)
    assert silent.json()["error"]["code"] == "file_limit_reached"
    left = [file["id"] for file in (await gateway.client.get("/v1/files")).json()["data"]]
    assert (first in left, second in left, made.json()["id"] in left) == (False, True, True)


async def test_a_file_that_an_open_generation_uses_is_not_evicted(start: Any) -> None:
    gateway = await start("files.max_per_key = 2")
    used, free = [(await upload(gateway, "/v1/files/upload", "stream")).json()["id"] for _ in range(2)]
    await gateway.create(model="kling_relay/kling-v2-master", image=used)
    made = await upload(gateway, "/v1/files/upload", "stream", auto_cleanup="true")

    assert made.status_code == 200, made.text
    left = [file["id"] for file in (await gateway.client.get("/v1/files")).json()["data"]]
    assert (used in left, free in left) == (True, False)


async def test_nothing_is_evicted_for_a_file_that_has_no_room_all_the_same(start: Any) -> None:
    gateway = await start("files.max_per_key = 2")
    free, used = [(await upload(gateway, "/v1/files/upload", "stream")).json()["id"] for _ in range(2)]
    await gateway.create(model="kling_relay/kling-v2-master", image=used)
    library = gateway.application.store.library
    (stored,) = await library.holders(free)
    large = replace(stored, id="file_" + "0" * 26, facts=replace(stored.facts, bytes=2 * stored.facts.bytes))
    limits = FileLimits(count=2, bytes=large.facts.bytes + stored.facts.bytes - 1)  # beside the file in use
    with pytest.raises(FileLimitReached):
        await library.add(large, limits, evict=True)
    left = [file["id"] for file in (await gateway.client.get("/v1/files")).json()["data"]]
    assert set(left) == {free, used}


async def test_foxapi_models_get_their_own_fields(gateway: Any) -> None:
    """The lines of FoxAPI's pages; what reaches FoxAPI is what they say."""
    path = "/foxapi/v1/videos/generations"
    frames = {
        "model": "kling-v3-image-to-video",
        "prompt": "<<<voice_1>>> says hello",
        "resolution": "720p",
        "image_url": "https://example.com/start.jpg",
        "image_tail_url": "https://example.com/end.jpg",
        "duration": 10,
        "generate_audio": True,
        "voice_ids": ["voice_123456"],
        "multi_prompt": None,
        "negative_prompt": "",
    }
    answer = await gateway.client.post(path, json=frames)
    await gateway.clock.advance(1)

    assert answer.status_code == 200, answer.text
    assert answer.json()["id"].startswith("task-unified-")
    assert answer.headers["location"] == f"/foxapi/v1/tasks/{answer.json()['id']}"
    sent = json.loads(gateway.upstream.submits[-1].content)
    wanted = {name: value for name, value in frames.items() if value}
    assert {name: sent.get(name) for name in wanted} == wanted


@pytest.mark.parametrize(
    ("changes", "status", "param"),
    [
        ({"colour": "red"}, 400, "colour"),
        ({"shot_type": "customize"}, 400, "shot_type"),
        ({"duration": 7}, 422, "duration"),
    ],
)
async def test_foxapi_refuses_by_the_name_of_the_field(gateway: Any, changes: Any, status: int, param: str) -> None:
    body = {"model": "kling-v3-text-to-video", "prompt": "Waves", **changes}
    answer = await gateway.client.post("/foxapi/v1/videos/generations", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert gateway.rows()["generations"] == 0
