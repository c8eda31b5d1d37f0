"""`/v1/videos/generations`: one generation, from create to delete."""

import asyncio
import base64
import io
import json
import shutil
from contextlib import closing
from hashlib import sha256
from typing import Any

import apsw
import httpx
import pytest
from PIL import Image

VIDEOS = "/v1/videos/generations"
TEXT = {"model": "foxapi/kling-v3-text-to-video", "prompt": "A beach."}
IMAGE = {"model": "foxapi/kling-v3-image-to-video", "prompt": "A beach.", "image": "https://a.example/1.png"}
REFERENCES = {"model": "keevx/KL", "prompt": "A beach.", "reference_images": ["https://a.example/1.png"]}


def picture(width: int, height: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height)).save(out, "PNG")
    return out.getvalue()


PNG = picture(640, 480)


async def test_create_answers_with_the_queued_generation_and_where_it_is(gateway: Any) -> None:
    response = await gateway.client.post(VIDEOS, json={**TEXT, "metadata": {"order": "12"}, "user": "u"})
    body = response.json()
    assert response.status_code == 200
    assert response.headers["location"] == f"{VIDEOS}/{body['id']}"
    assert "idempotent-replayed" not in response.headers
    assert body["status"] == "queued"
    assert body["progress"] == 0
    assert (body["object"], body["model"]) == ("video.generation", TEXT["model"])
    assert [output["status"] for output in body["data"]] == ["queued"]
    assert (body["metadata"], body["user"]) == ({"order": "12"}, "u")
    assert body["deadline_at"] - body["created_at"] == 3600
    assert body["expires_at"] == body["deadline_at"]  # its older name, deprecated
    assert (await gateway.client.get(response.headers["location"])).json()["id"] == body["id"]


async def test_create_does_not_wait_for_the_provider(gateway: Any) -> None:
    never = asyncio.Event()

    async def silent(request: httpx.Request) -> httpx.Response:
        await never.wait()
        raise httpx.ReadTimeout("", request=request)

    gateway.application.upstream._fresh = httpx.MockTransport(silent)
    async with asyncio.timeout(2):
        assert (await gateway.create())["status"] == "queued"
        never.set()


@pytest.mark.parametrize(
    ("named", "alias", "value", "base"),
    [
        ("image", "image_url", "https://a.example/2.png", {**IMAGE, "image": ...}),
        ("image", "input_reference", "https://a.example/2.png", {**IMAGE, "image": ...}),
        ("last_image", "image_tail_url", "https://a.example/3.png", IMAGE),
        ("last_image", "image_tail", "https://a.example/3.png", IMAGE),
        ("last_image", "end_image_url", "https://a.example/3.png", IMAGE),
        ("reference_images", "image_urls", ["https://a.example/2.png"], {**REFERENCES, "reference_images": ...}),
        ("duration", "seconds", 5, TEXT),
        ("duration", "seconds", "5", TEXT),
        ("duration", "duration", "5", TEXT),
        ("duration", "duration", 5.0, TEXT),
        ("resolution", "aspect_resolution", "1080p", TEXT),
        ("resolution", "resolution", "1080P", TEXT),
        ("n", "generate_count", 2, REFERENCES),
        ("fallback", "fallbacks", ["auto"], TEXT),
        ("webhook_url", "callback_url", "https://a.example/hook", TEXT),
    ],
)
async def test_an_alias_means_the_same_as_its_name(gateway: Any, named: str, alias: str, value: Any, base: Any) -> None:
    plain = {"5": 5, "1080P": "1080p"}.get(value, value) if isinstance(value, str) else value
    by_alias = await gateway.create(**{**base, alias: value})
    by_name = await gateway.create(**{**base, named: plain})
    assert by_alias["request"] == by_name["request"]
    assert by_alias["request"][named] == plain
    first, second = [await gateway.stored(made["id"]) for made in (by_alias, by_name)]
    assert first.request == second.request


@pytest.mark.parametrize("given", [{"size": "1920x1080"}, {"size": "1920X1080"}, {"width": 1920, "height": 1080}])
async def test_size_is_resolution_and_aspect_ratio(gateway: Any, given: Any) -> None:
    body = await gateway.create(**TEXT, **given)
    assert (body["request"]["resolution"], body["request"]["aspect_ratio"]) == ("1080p", "16:9")


async def test_null_is_the_same_as_absent(gateway: Any) -> None:
    nulls = dict.fromkeys(("image", "duration", "n", "seed", "metadata", "fallback", "size", "adapt", "user"))
    first, second = [await gateway.create(**given) for given in (nulls, {})]
    stored = [(await gateway.stored(made["id"])).request for made in (first, second)]
    assert stored[0] == stored[1]


@pytest.mark.parametrize(
    "image",
    [
        "data:image/png;base64," + base64.b64encode(PNG).decode(),
        base64.b64encode(PNG).decode(),
        {"image_url": "data:image/png;base64," + base64.b64encode(PNG).decode()},
    ],
    ids=["data URL", "base64", "object"],
)
async def test_an_image_that_came_inline_is_kept_and_can_be_named_again(gateway: Any, image: Any) -> None:
    created = await gateway.create(**{**IMAGE, "image": image})
    name = created["request"]["image"]
    assert name.startswith("file_")
    assert gateway.rows()["files"] == 1
    again = await gateway.create(**{**IMAGE, "image": name})
    assert again["request"]["image"] == name
    response = await gateway.other.post(VIDEOS, json={**IMAGE, "image": name})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_image")


async def test_the_same_idempotency_key_and_body_give_the_first_answer(gateway: Any) -> None:
    headers = {"idempotency-key": "order-1"}
    first = await gateway.client.post(VIDEOS, json=TEXT, headers=headers)
    await gateway.finish()
    again = await gateway.client.post(VIDEOS, json={"prompt": "A beach.", "model": TEXT["model"]}, headers=headers)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert again.json()["id"] == first.json()["id"]
    assert len(gateway.upstream.submits) == 1
    assert gateway.rows()["generations"] == 1
    others = await gateway.other.post(VIDEOS, json=TEXT, headers=headers)
    assert others.json()["id"] != first.json()["id"]
    assert "idempotent-replayed" not in others.headers


async def test_a_replay_names_the_gateway_s_own_urls_as_a_read_does(gateway: Any) -> None:
    headers = {"idempotency-key": "order-1"}
    body = {"model": "kling_relay/kling-v1", "prompt": "A beach."}
    first = await gateway.client.post(VIDEOS, json=body, headers=headers)
    await gateway.finish()
    read = await gateway.client.get(first.headers["location"])
    again = await gateway.client.post(VIDEOS, json=body, headers=headers)
    own = f"http://gateway.test{first.headers['location']}/content?index=0&token="
    assert read.json()["data"][0]["url"].startswith(own)
    of_creates = {"request_id", "created", "type", "task_info"}  # for clients of other APIs
    assert {name: value for name, value in again.json().items() if name not in of_creates} == read.json()


async def test_an_idempotency_key_with_another_body_is_refused(gateway: Any, check_error: Any) -> None:
    headers = {"idempotency-key": "order-1"}
    await gateway.client.post(VIDEOS, json=TEXT, headers=headers)
    response = await gateway.client.post(VIDEOS, json={**TEXT, "prompt": "A dog."}, headers=headers)
    check_error(response, 422, "idempotency_key_reused", "Idempotency-Key")
    assert gateway.rows()["generations"] == 1


async def test_an_idempotency_key_of_a_request_that_is_being_handled_is_in_use(gateway: Any, check_error: Any) -> None:
    headers = {"idempotency-key": "order-1"}
    await gateway.clock.traffic.settle()
    with closing(apsw.Connection(str(gateway.application.settings.database.path))) as database:
        database.execute("begin immediate")  # the first request waits until this transaction ends
        first = asyncio.create_task(gateway.client.post(VIDEOS, json=TEXT, headers=headers))
        await gateway.until_busy()
        response = await gateway.client.post(VIDEOS, json=TEXT, headers=headers)
        check_error(response, 409, "idempotency_key_in_use")
        assert int(response.headers["retry-after"]) >= 1
        database.execute("rollback")
    assert (await first).status_code == 200
    assert gateway.rows()["generations"] == 1


async def test_a_refused_request_leaves_its_idempotency_key_free(gateway: Any) -> None:
    headers = {"idempotency-key": "order-1"}
    refused = await gateway.client.post(VIDEOS, json={**TEXT, "duration": 7}, headers=headers)
    assert refused.status_code == 422
    assert (await gateway.client.post(VIDEOS, json=TEXT, headers=headers)).status_code == 200


@pytest.mark.parametrize("value", ["", "k" * 256])
async def test_an_idempotency_key_has_1_to_255_characters(gateway: Any, check_error: Any, value: str) -> None:
    response = await gateway.client.post(VIDEOS, json=TEXT, headers={"idempotency-key": value})
    check_error(response, 400, "invalid_parameter", "Idempotency-Key")
    longest = await gateway.client.post(VIDEOS, json=TEXT, headers={"idempotency-key": "k" * 255})
    assert longest.status_code == 200


async def test_a_finished_generation_shows_its_result_and_its_attempts(gateway: Any) -> None:
    created = await gateway.create()
    await gateway.finish()
    body = (await gateway.client.get(f"{VIDEOS}/{created['id']}")).json()
    assert (body["status"], body["progress"], body["provider"]) == ("completed", 100, "foxapi")
    (output,) = body["data"]
    assert output["provider_url"] == gateway.upstream.url
    assert (output["duration"], output["width"], output["height"]) == (5.0, None, None)
    assert (await gateway.client.get(output["url"])).content == gateway.upstream.content
    assert output["sha256"] == sha256(gateway.upstream.content).hexdigest()
    assert body["completed_at"] >= body["created_at"]
    (attempt,) = body["attempts"]
    assert (attempt["status"], attempt["tasks"]) == ("completed", ["task-1"])


async def test_a_failed_generation_says_why(gateway: Any) -> None:
    created = await gateway.create()
    await gateway.finish("failed")
    body = (await gateway.client.get(f"{VIDEOS}/{created['id']}")).json()
    assert (body["status"], body["error"]["code"]) == ("failed", "task_failed")
    assert body["data"][0]["error"] == body["error"]
    assert body["attempts"][0]["billed"] == "maybe"


async def test_an_allowed_adaptation_is_a_warning(gateway: Any) -> None:
    created = await gateway.create(duration=7, adapt="nearest")
    await gateway.finish()
    body = (await gateway.client.get(f"{VIDEOS}/{created['id']}")).json()
    adapted = {"type": "adapted", "param": "duration", "from": 7, "to": 5, "provider": "foxapi"}
    assert body["warnings"] == [adapted]


async def test_an_attempt_shows_the_settings_that_were_sent(gateway: Any) -> None:
    created = await gateway.create(duration=7, adapt="nearest", aspect_ratio="9:16")
    assert [attempt["status"] for attempt in created["attempts"]] == ["queued"]
    await gateway.finish()
    body = (await gateway.client.get(f"{VIDEOS}/{created['id']}")).json()
    (attempt,) = body["attempts"]
    assert attempt["settings"] == {"duration": 5, "aspect_ratio": "9:16"}
    sent = json.loads(gateway.upstream.submits[0].content)
    assert (int(sent["duration"]), sent["aspect_ratio"]) == (5, "9:16")


async def test_a_default_of_a_route_is_a_warning_once_it_was_sent(gateway: Any) -> None:
    created = await gateway.create(model="keevx/V", image="https://a.example/1.png", resolution="1080p")
    assert created["warnings"] == []
    await gateway.finish()
    body = (await gateway.client.get(f"{VIDEOS}/{created['id']}")).json()
    assert body["warnings"] == [{"type": "defaulted", "param": "duration", "to": 4, "provider": "keevx"}]
    assert body["attempts"][0]["settings"] == {"duration": 4, "resolution": "1080p"}
    sent = json.loads(gateway.upstream.submits[0].content)
    assert (sent["duration"], sent["aspect_resolution"]) == (4, "1080p")
    assert body["request"]["resolution"] == "1080p"
    assert "duration" not in body["request"]


async def test_a_default_of_a_route_that_was_not_used_is_not_a_warning(gateway: Any) -> None:
    gateway.upstream.refuse = httpx.Response(401, json={})
    created = await gateway.create(model="keevx/V", image="https://a.example/1.png", duration=8)
    await gateway.finish()
    body = (await gateway.client.get(f"{VIDEOS}/{created['id']}")).json()
    assert body["attempts"][0]["settings"] == {"duration": 8, "resolution": "720p"}
    assert body["warnings"] == []


async def test_a_webhook_goes_to_private_addresses_only_where_they_are_allowed(start: Any, check_error: Any) -> None:
    gateway = await start('[fetch]\nallow = ["10.1.0.0/16"]')
    allowed = await gateway.create(webhook_url="http://10.1.2.3/hook")
    assert allowed["request"]["webhook_url"] == "http://10.1.2.3/hook"
    for url in ("http://10.2.0.1/", "http://93.184.216.34/", "https://127.0.0.1/", "https://localhost/"):
        response = await gateway.client.post(VIDEOS, json={**TEXT, "callback_url": url})
        assert "`fetch.allow`" in check_error(response, 400, "invalid_parameter", "callback_url")
    assert gateway.rows()["generations"] == 1


async def test_an_etag_gives_304_while_nothing_changed(gateway: Any) -> None:
    created = await gateway.create()
    await gateway.begin(created["id"])
    path = f"{VIDEOS}/{created['id']}"
    tag = (await gateway.client.get(path)).headers["etag"]
    for tags in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        response = await gateway.client.get(path, headers={"if-none-match": tags})
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == tag
    assert (await gateway.client.get(path, headers={"if-none-match": '"x"'})).status_code == 200
    await gateway.finish()
    changed = await gateway.client.get(path, headers={"if-none-match": tag})
    assert (changed.status_code, changed.json()["status"]) == (200, "completed")


async def test_wait_holds_the_answer_until_the_status_changes(gateway: Any) -> None:
    created = await gateway.create()
    await gateway.begin(created["id"])
    path = f"{VIDEOS}/{created['id']}"
    reading = asyncio.create_task(gateway.client.get(path, params={"wait": 60}))
    await gateway.clock.advance(1)
    assert not reading.done()
    await gateway.finish()
    assert (await reading).json()["status"] == "completed"
    async with asyncio.timeout(5):  # the answer does not wait for a generation that has ended
        assert (await gateway.client.get(path, params={"wait": 60})).json()["status"] == "completed"


async def test_wait_ends_when_its_time_is_over(gateway: Any) -> None:
    created = await gateway.create()
    await gateway.begin(created["id"])
    path = f"{VIDEOS}/{created['id']}"
    reading = asyncio.create_task(gateway.client.get(path, params={"wait": 2}))
    await gateway.clock.advance(1.5)
    assert not reading.done()
    await gateway.clock.advance(0.5)
    async with asyncio.timeout(5):
        assert (await reading).json()["status"] == "in_progress"


async def test_wait_ends_with_a_cancel(gateway: Any) -> None:
    created = await gateway.create()
    await gateway.begin(created["id"])
    path = f"{VIDEOS}/{created['id']}"
    reading = asyncio.create_task(gateway.client.get(path, params={"wait": 60}))
    await gateway.clock.advance(0)
    await gateway.client.post(f"{path}/cancel")
    async with asyncio.timeout(5):
        assert (await reading).json()["status"] == "cancelled"


async def test_head_is_a_read_without_the_body(served: Any) -> None:
    path = f"{VIDEOS}/{(await served.create())['id']}"
    await served.finish()
    read = await served.client.get(path)
    head_line = f"HEAD {path} HTTP/1.1\r\nHost: gateway.test\r\nConnection: close"
    request = f"{head_line}\r\nAuthorization: Bearer {served.key}\r\n\r\n"
    (head,) = await served.raw(request.encode())
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == read.headers["content-length"]
    assert head.headers["etag"] == read.headers["etag"]


async def test_cancel_before_a_provider_started_says_so(gateway: Any) -> None:
    gateway.upstream.refuse = httpx.Response(503, json={"error": {"code": "no_available_model", "message": "None."}})
    created = await gateway.create()
    await gateway.clock.advance(0)
    response = await gateway.client.post(f"{VIDEOS}/{created['id']}/cancel")
    assert response.status_code == 200
    assert response.json()["status"] == "cancelled"
    assert response.json()["cancellation"]["provider_started"] is False
    again = await gateway.client.post(f"{VIDEOS}/{created['id']}/cancel")
    assert (again.status_code, again.json()) == (200, response.json())


async def test_cancel_after_a_provider_started_says_that_it_may_bill(gateway: Any) -> None:
    created = await gateway.create()
    await gateway.begin(created["id"])
    body = (await gateway.client.post(f"{VIDEOS}/{created['id']}/cancel")).json()
    assert (body["status"], body["cancellation"]["provider_started"]) == ("cancelled", True)
    assert body["attempts"][0]["billed"] == "maybe"


async def test_an_ended_generation_cannot_be_cancelled(gateway: Any, check_error: Any) -> None:
    created = await gateway.create()
    await gateway.finish()
    check_error(await gateway.client.post(f"{VIDEOS}/{created['id']}/cancel"), 409, "conflict")


async def test_delete_removes_an_ended_generation(gateway: Any, check_error: Any) -> None:
    created = await gateway.create()
    path = f"{VIDEOS}/{created['id']}"
    check_error(await gateway.client.delete(path), 409, "conflict")
    await gateway.finish()
    response = await gateway.client.delete(path)
    assert response.json() == {"id": created["id"], "object": "video.generation", "deleted": True}
    check_error(await gateway.client.get(path), 404, "not_found", "id")
    check_error(await gateway.client.delete(path), 404, "not_found", "id")
    assert gateway.rows() == {"generations": 0, "attempts": 0, "files": 0, "idempotency_keys": 0}


async def test_content_that_is_not_archived_redirects_to_the_provider(gateway: Any, check_error: Any) -> None:
    gateway.upstream.withheld = True
    created = await gateway.create()
    path = f"{VIDEOS}/{created['id']}/content"
    check_error(await gateway.client.get(path), 404, "not_found", "index")
    await gateway.finish()
    response = await gateway.client.get(path)
    assert (response.status_code, response.headers["location"]) == (302, gateway.upstream.url)
    assert "content-type" not in response.headers
    assert (await gateway.client.head(path)).headers["location"] == gateway.upstream.url
    check_error(await gateway.client.get(path, params={"index": 1}), 404, "not_found", "index")


async def test_a_redirect_to_a_url_outside_of_ascii_is_escaped(gateway: Any) -> None:
    gateway.upstream.withheld = True
    gateway.upstream.url = "https://cdn.example/视频 1.mp4?a=%20&b=é".replace(" ", "%20")
    created = await gateway.create()
    await gateway.finish()
    response = await gateway.client.get(f"{VIDEOS}/{created['id']}/content")
    assert response.status_code == 302
    assert response.headers["location"] == "https://cdn.example/%E8%A7%86%E9%A2%91%201.mp4?a=%20&b=%C3%A9"


HALF = b"\0\0\0\x20ftypisom" + bytes(500)


class Broken(httpx.AsyncByteStream):
    async def __aiter__(self) -> Any:
        yield HALF
        raise httpx.ReadError("reset")


def broken_off() -> httpx.Response:
    return httpx.Response(200, stream=Broken(), headers={"content-type": "video/mp4"})


async def relayed(gateway: Any) -> str:
    """Return the content path of a generation whose file needs the provider's key and could not be archived."""
    created = await gateway.create(model="kling_relay/kling-v1", deadline_seconds=300)
    gateway.upstream.file = broken_off
    await gateway.finish()
    gateway.upstream.file = gateway.upstream.whole
    return f"{VIDEOS}/{created['id']}/content"


async def test_content_that_needs_the_provider_s_key_is_passed_through(gateway: Any) -> None:
    path = await relayed(gateway)
    response = await gateway.client.get(path)
    assert response.status_code == 200
    assert response.content == gateway.upstream.content
    assert response.headers["content-type"] == "video/mp4"
    assert int(response.headers["content-length"]) == len(response.content)
    assert response.headers["x-content-type-options"] == "nosniff"
    assert gateway.upstream.requests[-1].headers["authorization"].startswith("Bearer relay-")


async def test_head_of_content_closes_the_provider_s_response(gateway: Any) -> None:
    closed = []

    class File(httpx.AsyncByteStream):
        async def __aiter__(self) -> Any:
            yield b"\0\0\0\x20ftypisom" + bytes(500)
            pytest.fail("the file was read on")

        async def aclose(self) -> None:
            closed.append(True)

    headers = {"content-type": "video/mp4", "content-length": "1000000"}
    path = await relayed(gateway)
    gateway.upstream.file = lambda: httpx.Response(200, stream=File(), headers=headers)
    response = await gateway.client.head(path)
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-length"] == "1000000"
    assert closed


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_content_that_breaks_off_before_it_begins_is_a_502(gateway: Any, check_error: Any, method: str) -> None:
    closed = []

    class File(httpx.AsyncByteStream):
        async def __aiter__(self) -> Any:
            raise httpx.ReadError("reset")
            yield b""

        async def aclose(self) -> None:
            closed.append(True)

    path = await relayed(gateway)
    gateway.upstream.file = lambda: httpx.Response(200, stream=File(), headers={"content-type": "video/mp4"})
    response = await gateway.client.request(method, path)
    assert (response.status_code, response.headers["retry-after"]) == (502, "30")
    assert closed
    if method == "GET":
        check_error(response, 502, "provider_unavailable")


async def test_a_refused_download_closes_the_provider_s_response(gateway: Any, check_error: Any) -> None:
    closed = []

    class File(httpx.AsyncByteStream):
        async def __aiter__(self) -> Any:
            yield b"first"

        async def aclose(self) -> None:
            closed.append(True)

    path = await relayed(gateway)
    gateway.upstream.file = lambda: httpx.Response(200, stream=File(), headers={"content-type": "video/mp4"})
    downloads = gateway.application.litestar.state.context.downloads
    downloads.taken = downloads._capacity
    check_error(await gateway.client.get(path), 503, "overloaded")
    assert closed


async def test_an_html_page_is_not_passed_on_as_a_page(gateway: Any) -> None:
    path = await relayed(gateway)
    page = b"<script>alert(1)</script>"
    headers = {"content-type": "text/html"}
    gateway.upstream.file = lambda: httpx.Response(200, stream=httpx.ByteStream(page), headers=headers)
    response = await gateway.client.get(path)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("status", [302, 404, 500])
async def test_content_that_the_provider_refuses_is_a_502(gateway: Any, check_error: Any, status: int) -> None:
    path = await relayed(gateway)
    gateway.upstream.file = lambda: httpx.Response(status, json={}, headers={"location": "http://10.0.0.1/"})
    check_error(await gateway.client.get(path), 502, "provider_unavailable")


async def test_a_file_that_breaks_off_does_not_look_complete(served: Any) -> None:
    path = await relayed(served)
    served.upstream.file = broken_off
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {served.key}\r\n\r\n"
    (answer,) = await served.raw(request.encode())
    assert answer.status_code == 200
    assert answer.content == b"200\r\n" + HALF + b"\r\n"  # without the chunk that would end it


ROUTES = [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/content"), ("GET", "/content?index=7")]


@pytest.mark.parametrize(("method", "below"), ROUTES)
@pytest.mark.parametrize("ended", [True, False])
async def test_a_generation_of_another_key_is_answered_like_a_missing_one(
    gateway: Any, check_error: Any, method: str, below: str, ended: bool
) -> None:
    created = await gateway.create()
    await (gateway.finish() if ended else gateway.begin(created["id"]))
    before = await gateway.stored(created["id"])
    missing = "gen_01JDKQ00000000000000000000"
    theirs, nobodys = [
        await gateway.other.request(method, f"{VIDEOS}/{name}{below}") for name in (created["id"], missing)
    ]
    check_error(theirs, 404, "not_found", "id")
    answers = [
        json.dumps(response.json()["error"]).replace(name, "ID")
        for response, name in ((theirs, created["id"]), (nobodys, missing))
    ]
    assert answers[0] == answers[1]
    names = [{name for name, _ in response.headers.items()} for response in (theirs, nobodys)]
    assert names[0] == names[1]
    assert await gateway.stored(created["id"]) == before


async def test_an_input_that_cannot_be_stored_is_a_503(gateway: Any, check_error: Any) -> None:
    folder = gateway.application.settings.artifacts.path
    shutil.rmtree(folder)
    folder.write_text("a file is where the folder should be")
    response = await gateway.client.post(VIDEOS, json={**IMAGE, "image": base64.b64encode(PNG).decode()})
    check_error(response, 503, "store_unavailable")
    assert int(response.headers["retry-after"]) >= 1
    assert set(gateway.rows().values()) == {0}
    assert gateway.upstream.requests == []
