"""`/v1/images`: calls that wait for their images, and the paths of image generations."""

import asyncio
import base64
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from gateway.artifacts import access

IMAGES = "/v1/images/generations"
EDITS = "/v1/images/edits"
BODY = {"model": "keevx/image", "prompt": "A lake"}
READ_SECONDS = 10  # more than a poll of Keevx takes


def png(width: int = 64, height: int = 64) -> bytes:
    """A PNG file of one colour."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = (b"\0" + b"\x20\x40\x80" * width) * height
    head = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


PNG = png()


@pytest.fixture
async def gateway(gateway: Any) -> Any:
    gateway.upstream.content = PNG
    gateway.upstream.url = "https://cdn.example/result.png"
    return gateway


@asynccontextmanager
async def call(gateway: Any, path: str = IMAGES, **request: Any) -> AsyncIterator["asyncio.Task[httpx.Response]"]:
    """A call that waits while the body of the `with` block runs."""
    request = {"json": BODY, **request} if "data" not in request else request
    waiting = asyncio.create_task(gateway.client.post(path, **request))
    try:
        await gateway.clock.advance(0)
        yield waiting
    finally:
        waiting.cancel()
        await asyncio.wait([waiting])


async def images(gateway: Any, word: str = "completed", path: str = IMAGES, **request: Any) -> httpx.Response:
    """The answer of a call whose tasks end in this state."""
    async with call(gateway, path, **request) as waiting:
        assert not waiting.done(), (await waiting).text
        await gateway.finish(word)
        return await waiting


async def the_one(gateway: Any) -> dict[str, Any]:
    """The only image generation, as its client reads it."""
    page = (await gateway.client.get(IMAGES)).json()
    assert len(page["data"]) == 1
    generation: dict[str, Any] = page["data"][0]
    return generation


async def test_the_answer_has_the_url_and_the_bytes_of_each_image(gateway: Any) -> None:
    response = await images(gateway, json={**BODY, "n": 2})
    answer = response.json()
    generation = await the_one(gateway)
    assert response.headers["location"] == f"{IMAGES}/{generation['id']}"
    assert (answer["id"], answer["created"]) == (generation["id"], generation["created_at"])
    assert [base64.b64decode(image["b64_json"]) for image in answer["data"]] == [PNG, PNG]
    assert [image["url"] for image in answer["data"]] == [output["url"] for output in generation["data"]]
    assert answer["failed"] == answer["warnings"] == []
    assert answer["usage"]["total_tokens"] == 0
    assert (answer["background"], answer["output_format"]) == ("opaque", "png")
    first = generation["data"][0]
    assert answer["size"] == f"{first['width']}x{first['height']}"
    assert "quality" not in answer  # the body asks for none, and the provider names none
    async with gateway.client_of(None) as anybody:
        assert (await anybody.get(answer["data"][1]["url"])).content == PNG
    assert generation["object"] == "image.generation"
    assert generation["request"] == {"prompt": "A lake", "n": 2}


@pytest.mark.parametrize(("quality", "word"), [("1K", "low"), ("2K", "medium"), ("high", "high")])
async def test_the_answer_has_the_quality_in_words_of_openai(gateway: Any, quality: str, word: str) -> None:
    response = await images(gateway, json={**BODY, "quality": quality})

    assert response.json()["quality"] == word


@pytest.mark.parametrize(("response_format", "members"), [("url", {"url"}), ("B64_JSON", {"b64_json"})])
async def test_the_client_chooses_the_form_of_an_image(gateway: Any, response_format: str, members: set[str]) -> None:
    response = await images(gateway, json={**BODY, "response_format": response_format})
    [image] = response.json()["data"]
    assert set(image) == members
    assert int(response.headers["content-length"]) == len(response.content)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 1_000_001])
async def test_the_bytes_are_encoded_whole_whatever_their_number(gateway: Any, size: int) -> None:
    # Not one byte repeated: it would look like the keys here, which are searched for in every answer.
    content = gateway.upstream.content = PNG + (bytes(range(256)) * (size // 256 + 1))[:size]
    response = await images(gateway, json={**BODY, "response_format": "b64_json"})
    assert base64.b64decode(response.json()["data"][0]["b64_json"], validate=True) == content


async def test_of_several_images_those_that_came_are_there_and_the_others_named(gateway: Any) -> None:
    gateway.upstream.failing = frozenset({"task-1-1"})
    response = await images(gateway, json={**BODY, "n": 3})
    answer = response.json()
    assert response.status_code == 200
    assert len(answer["data"]) == 2
    [failed] = answer["failed"]
    assert failed == {"index": 1, "code": "task_failed", "message": failed["message"]}
    assert "It broke." in failed["message"]


@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        (httpx.Response(400, json={"code": 100004, "msg": "The prompt is too odd."}), 400, "invalid_request"),
        (httpx.Response(400, json={"code": 100009, "msg": "Content policy violation"}), 400, "content_policy"),
        (httpx.Response(402, json={"code": 1, "msg": "insufficient balance"}), 502, "out_of_credit"),
        (httpx.Response(401, json={"code": 1, "msg": "unauthorized"}), 502, "credential_refused"),
    ],
)
async def test_a_refused_generation_answers_with_the_code_of_its_failure(
    gateway: Any, check_error: Any, refusal: httpx.Response, status: int, code: str
) -> None:
    gateway.upstream.refuse = refusal
    async with call(gateway) as waiting:
        for _ in range(5):
            await gateway.clock.advance(READ_SECONDS)
        response = await waiting
    message = check_error(response, status, code)
    generation = await the_one(gateway)
    assert response.json()["error"]["generation_id"] == generation["id"]
    assert response.headers["location"] == f"{IMAGES}/{generation['id']}"
    assert generation["error"]["code"] == code
    assert generation["error"]["message"] in message
    assert len(gateway.upstream.submits) == 1


async def test_a_failed_task_answers_502(gateway: Any, check_error: Any) -> None:
    gateway.upstream.word = "failed"
    async with call(gateway) as waiting:
        for _ in range(5):
            await gateway.clock.advance(READ_SECONDS)
        assert "It broke." in check_error(await waiting, 502, "task_failed")


async def test_a_wait_that_is_too_long_names_the_generation_and_the_same_call_waits_again(
    gateway: Any, check_error: Any
) -> None:
    headers = {"idempotency-key": "k"}
    async with call(gateway, headers=headers) as waiting:
        await gateway.clock.advance(299)
        assert not waiting.done()
        await gateway.clock.advance(2)
        response = await waiting
    message = check_error(response, 504, "still_running")
    generation = await the_one(gateway)
    assert response.json()["error"]["generation_id"] == generation["id"]
    assert f"GET {IMAGES}/{generation['id']}" in message
    assert int(response.headers["retry-after"]) > 0
    again = await images(gateway, headers=headers)
    assert again.json()["id"] == generation["id"]
    assert again.headers["idempotent-replayed"] == "true"
    assert len(gateway.upstream.submits) == 1


async def test_the_retry_of_a_client_library_waits_for_the_same_generation(gateway: Any) -> None:
    async with call(gateway, headers={"x-stainless-retry-count": "0"}) as first:
        again = await images(gateway, headers={"x-stainless-retry-count": "1"})
        assert (await first).json() == again.json()
    assert len(gateway.upstream.submits) == 1


async def test_an_unmarked_repeat_of_a_call_without_images_buys_nothing(gateway: Any) -> None:
    """The package `ai` repeats after 504 without any header that says so."""
    async with call(gateway) as waiting:
        await gateway.clock.advance(301)
        first = await waiting
    assert first.status_code == 504
    again = await images(gateway)
    assert again.json()["id"] == first.json()["error"]["generation_id"]
    assert again.headers["idempotent-replayed"] == "true"
    assert len(gateway.upstream.submits) == 1
    await images(gateway)  # it was answered, so the next equal call is a new wish
    assert len(gateway.upstream.submits) == 2


async def test_an_unmarked_repeat_of_a_call_whose_answer_had_no_place_buys_nothing(start: Any) -> None:
    gateway = await start("server.max_downloads = 1")
    gateway.upstream.content, gateway.upstream.url = PNG, "https://cdn.example/result.png"
    body = {**BODY, "response_format": "b64_json"}
    with gateway.application.litestar.state.context.downloads.place("another client"):
        refused = await images(gateway, json=body)
    assert refused.status_code == 503

    again = await asyncio.wait_for(gateway.client.post(IMAGES, json=body), 5)  # a new purchase would wait for ever

    assert base64.b64decode(again.json()["data"][0]["b64_json"]) == PNG
    assert again.headers["idempotent-replayed"] == "true"
    listed = (await gateway.client.get(IMAGES)).json()["data"]
    assert len(listed) == 1, "nothing was bought twice"


async def test_an_unmarked_repeat_of_a_failed_call_buys_nothing_for_a_minute(gateway: Any) -> None:
    async def failed() -> httpx.Response:
        async with call(gateway) as waiting:
            while not waiting.done():
                await gateway.clock.advance(1)
            return await waiting

    gateway.upstream.word = "failed"
    first, again = await failed(), (await gateway.client.post(IMAGES, json=BODY))
    assert (first.status_code, again.status_code) == (502, 502)
    assert again.json()["error"]["generation_id"] == first.json()["error"]["generation_id"]
    await gateway.clock.advance(40)
    later = await gateway.client.post(IMAGES, json=BODY)
    assert later.json()["error"]["generation_id"] == first.json()["error"]["generation_id"]
    assert len(gateway.upstream.submits) == 1
    await gateway.clock.advance(21)  # the minute counts from the failure, and not from the last repeat
    await failed()
    assert len(gateway.upstream.submits) == 2


async def test_two_equal_calls_without_images_are_repeated_with_one_generation_each(gateway: Any) -> None:
    async with call(gateway) as first_call, call(gateway) as second_call:
        await gateway.clock.advance(301)
        ids = {(await waiting).json()["error"]["generation_id"] for waiting in (first_call, second_call)}
    async with call(gateway) as first_call, call(gateway) as second_call:
        await gateway.finish()
        assert {(await waiting).json()["id"] for waiting in (first_call, second_call)} == ids
    assert len(gateway.upstream.submits) == 2


async def test_a_new_idempotency_key_buys_after_a_call_without_images(gateway: Any) -> None:
    async with call(gateway) as waiting:
        await gateway.clock.advance(301)
        await waiting
    again = await images(gateway, headers={"idempotency-key": "new"})
    assert "idempotent-replayed" not in again.headers
    assert len(gateway.upstream.submits) == 2


async def test_the_longest_wait_is_configured(start: Any, check_error: Any) -> None:
    gateway = await start("server.blocking_seconds = 20")
    async with call(gateway) as waiting:
        await gateway.clock.advance(21)
        assert "No result after 20 s" in check_error(await waiting, 504, "still_running")


@pytest.mark.parametrize("headers", [{"idempotency-key": "k"}, {}], ids=["key", "unmarked"])
async def test_a_client_that_goes_away_loses_nothing_and_frees_its_place(served: Any, headers: dict[str, str]) -> None:
    places = served.application._notifier.long_polls
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    body = b'{"model": "keevx/image", "prompt": "A lake"}'
    head = f"POST {IMAGES} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {served.key}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(head.encode() + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    await writer.drain()
    await wait_until(served, lambda: served.upstream.submits)
    assert places.taken == 1
    writer.close()
    await writer.wait_closed()
    await wait_until(served, lambda: places.taken == 0)
    served.upstream.content = PNG
    response = await images(served, headers=headers)
    assert response.headers["idempotent-replayed"] == "true"
    assert len(served.upstream.submits) == 1
    del reader


async def test_a_create_sees_that_its_client_has_left(served: Any) -> None:
    """Nobody would see what it makes, so that it may be the first request of a retry that came before it."""
    senders: list[Any] = []
    create = served.application.store.create

    async def noted(generation: Any, files: Any, idempotency: Any, *args: Any, **options: Any) -> Any:
        senders.append(idempotency.sender)
        return await create(generation, files, idempotency, *args, **options)

    served.application.store.create = noted
    _, writer = await asyncio.open_connection("127.0.0.1", served.port)
    body = b'{"model": "keevx/image", "prompt": "A lake"}'
    head = f"POST {IMAGES} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {served.key}\r\n"
    head += f"User-Agent: A/1\r\nX-Stainless-Lang: b\r\nX-Stainless-Retry-Count: 0\r\nContent-Length: {len(body)}\r\n"
    writer.write(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
    await wait_until(served, lambda: senders)
    assert not senders[0].has_left()
    assert senders[0].library == b"user-agent: A/1\nx-stainless-lang: b", "the count differs in each try"
    writer.close()
    await writer.wait_closed()
    await wait_until(served, senders[0].has_left)


async def wait_until(gateway: Any, condition: Any) -> None:
    for _ in range(200):
        if condition():
            return
        await gateway.clock.advance(0.001)
    pytest.fail("it does not happen")


async def test_without_a_place_to_wait_nothing_is_bought(start: Any, check_error: Any) -> None:
    gateway = await start("server.max_long_polls = 1")
    gateway.upstream.content = PNG
    async with call(gateway) as waiting:
        refused = await gateway.client.post(IMAGES, json={**BODY, "prompt": "Another lake"})
        assert "`?async=true`" in check_error(refused, 503, "overloaded")
        assert refused.headers["retry-after"]
        assert gateway.rows()["generations"] == 1
        unwaiting = await gateway.client.post(f"{IMAGES}?async=true", json={**BODY, "prompt": "Another lake"})
        assert unwaiting.status_code == 200
        await gateway.finish()
        assert (await waiting).status_code == 200


async def test_a_stop_answers_the_calls_that_wait_with_the_id(gateway: Any, check_error: Any) -> None:
    async with call(gateway) as waiting:
        gateway.application.drain()
        response = await waiting
    message = check_error(response, 503, "shutting_down")
    assert response.json()["error"]["generation_id"] in message
    assert response.headers["retry-after"]


async def test_a_cancel_ends_the_call_that_waits(gateway: Any, check_error: Any) -> None:
    async with call(gateway) as waiting:
        generation = await the_one(gateway)
        cancelled = await gateway.client.post(f"{IMAGES}/{generation['id']}/cancel")
        assert cancelled.json()["status"] == "cancelled"
        response = await waiting
    assert generation["id"] in check_error(response, 409, "cancelled")


@pytest.mark.parametrize(
    ("query", "headers", "applied"),
    [
        ("?async=true", {}, None),
        ("?async=1", {}, None),
        ("", {"prefer": "respond-async"}, "respond-async"),
        ("", {"prefer": "wait=10, Respond-Async; foo=bar"}, "respond-async"),
    ],
)
async def test_a_client_that_prefers_it_gets_the_generation_at_once(
    gateway: Any, query: str, headers: dict[str, str], applied: str | None
) -> None:
    response = await gateway.client.post(f"{IMAGES}{query}", json=BODY, headers=headers)
    generation = response.json()
    assert (response.status_code, generation["object"], generation["status"]) == (200, "image.generation", "queued")
    assert response.headers["location"] == f"{IMAGES}/{generation['id']}"
    assert response.headers.get("preference-applied") == applied
    await gateway.finish()
    read = await gateway.client.get(response.headers["location"])
    assert read.json()["status"] == "completed"
    got = await gateway.client.get(read.json()["data"][0]["url"])
    assert got.status_code == 200, (read.json()["data"], got.text)
    assert (got.headers["content-type"], got.content) == ("image/png", PNG)


async def test_bytes_cannot_be_asked_for_without_waiting(untouched: Any, check_error: Any) -> None:
    body = {**BODY, "response_format": "b64_json"}
    response = await untouched.client.post(f"{IMAGES}?async=true", json=body)
    assert "does not wait" in check_error(response, 400, "invalid_parameter", "response_format")
    check_error(await untouched.client.post(f"{IMAGES}?async=maybe", json=BODY), 400, "invalid_parameter", "async")


async def test_images_and_videos_are_read_only_under_their_own_paths(gateway: Any, check_error: Any) -> None:
    image = (await gateway.client.post(f"{IMAGES}?async=true", json=BODY)).json()["id"]
    video = (await gateway.create())["id"]
    videos = "/v1/videos/generations"
    for wrong, right, name in ((videos, IMAGES, image), (IMAGES, videos, video)):
        for method, below in (("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("DELETE", "")):
            response = await gateway.client.request(method, f"{wrong}/{name}{below}")
            assert f"use {right}/{name}" in check_error(response, 404, "not_found", "id")
        response = await gateway.other.get(f"{wrong}/{name}")
        assert right not in check_error(response, 404, "not_found", "id"), "only its owner learns what it is"
    assert [row["id"] for row in (await gateway.client.get(IMAGES)).json()["data"]] == [image]
    assert [row["id"] for row in (await gateway.client.get(videos)).json()["data"]] == [video]


async def test_the_whole_life_of_an_image_generation(gateway: Any) -> None:
    generation = (await gateway.client.post(f"{IMAGES}?async=true", json=BODY)).json()
    path = f"{IMAGES}/{generation['id']}"
    await gateway.finish()
    read = await gateway.client.get(path)
    assert (await gateway.client.get(path, headers={"if-none-match": read.headers["etag"]})).status_code == 304
    events = (await gateway.client.get(f"{path}/events")).text
    assert "event: image.generation.queued" in events
    assert "event: image.generation.completed" in events
    assert "video.generation" not in events
    deleted = await gateway.client.delete(path)
    assert deleted.json() == {"id": generation["id"], "object": "image.generation", "deleted": True}
    assert (await gateway.client.get(path)).status_code == 404


async def test_a_quote_has_the_price_of_the_quality(start: Any) -> None:
    gateway = await start(
        '[providers.keevx.models.image]\nprices = [{ quality = "4K", per_clip = 0.3 }, { per_clip = 0.1 }]'
    )
    quote = (await gateway.client.post(f"{IMAGES}/quote", json={**BODY, "quality": "high", "n": 3})).json()
    assert (quote["object"], quote["cost_usd"]) == ("image.generation.quote", 0.9)
    assert quote["routes"][0]["settings"]["quality"] == "4K"
    refused = await gateway.client.post(f"{IMAGES}/quote", json={**BODY, "quality": "4K", "max_cost": 0.2})
    assert refused.json()["routes"] == []
    assert (await gateway.client.post(f"{IMAGES}/quote", json=BODY)).json()["cost_usd"] == 0.1


async def test_a_model_of_the_other_kind_is_refused_with_the_right_path(untouched: Any, check_error: Any) -> None:
    response = await untouched.client.post(IMAGES, json={**BODY, "model": "foxapi/kling-v3-text-to-video"})
    assert "POST /v1/videos/generations" in check_error(response, 422, "unsupported_parameter", "model")
    response = await untouched.client.post("/v1/videos/generations", json=BODY)
    assert f"POST {IMAGES}" in check_error(response, 422, "unsupported_parameter", "model")


@pytest.mark.parametrize("model", ["auto", "image", "keevx/image", None])  # OpenAI's clients may leave it out
async def test_the_names_of_the_image_model(gateway: Any, model: str | None) -> None:
    assert (await images(gateway, json={**BODY, "model": model})).status_code == 200


# ---- edits and variations


@pytest.mark.parametrize(
    "files",
    [
        [("image", ("blob", PNG, "image/png"))],  # the AI SDK
        [("image[]", ("image.png", PNG, "image/png"))],  # LiteLLM
        [("image[]", ("a.png", PNG, "image/png")), ("image[]", ("b.png", png(80, 64), "image/png"))],  # OpenAI
    ],
)
async def test_an_edit_takes_the_images_of_a_form(gateway: Any, files: list[Any]) -> None:
    data = {"model": "keevx/image", "prompt": "at night", "n": "1"}
    response = await images(gateway, path=EDITS, data=data, files=files)
    assert response.status_code == 200
    assert len((await the_one(gateway))["request"]["reference_images"]) == len(files)


async def test_an_edit_takes_json(gateway: Any) -> None:
    body = {**BODY, "images": [{"image_url": "https://example.com/a.png"}]}
    assert (await images(gateway, path=EDITS, json=body)).status_code == 200
    assert (await the_one(gateway))["request"]["reference_images"] == ["https://example.com/a.png"]


async def test_an_edit_without_an_image_a_mask_a_style_and_variations_are_refused(
    untouched: Any, check_error: Any
) -> None:
    check_error(await untouched.client.post(EDITS, json=BODY), 400, "invalid_parameter", "image")
    response = await untouched.client.post(IMAGES, json={**BODY, "style": "vivid"})
    assert "describe the style" in check_error(response, 400, "unknown_parameter", "style")
    files = [("image", ("a.png", PNG, "image/png")), ("mask", ("m.png", PNG, "image/png"))]
    response = await untouched.client.post(EDITS, data=BODY, files=files)
    assert "leave the mask out" in check_error(response, 400, "unknown_parameter", "mask")
    response = await untouched.client.post("/v1/images/variations", data={"model": "image"}, files=files[:1])
    assert EDITS in check_error(response, 400, "bad_request")


@pytest.mark.parametrize(
    "body",
    [
        {"background": "auto", "moderation": "auto", "output_compression": 100, "partial_images": 0},
        {"background": "opaque", "style": None, "stream": False, "input_fidelity": "low", "user": "u"},
        {"quality": "auto", "size": "auto", "output_compression": None, "response_format": None},
        {"n": 1, "size": "1024x1024", "quality": "high"},  # the AI SDK and OpenAI's library
    ],
)
async def test_fields_of_openai_that_ask_for_what_happens_anyway_are_taken(gateway: Any, body: dict[str, Any]) -> None:
    assert (await images(gateway, json={**BODY, **body})).status_code == 200


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("background", "transparent", "no model can make a transparent background"),
        ("moderation", "low", "the provider decides"),
        ("output_compression", 50, "kept as its provider made it"),
        ("partial_images", 2, "only whole images"),
        ("input_fidelity", "high", "how closely it follows an image"),
        ("stream", True, "GET /v1/images/generations/{id}/events"),
        ("response_format", "png", "one of url, b64_json"),
    ],
)
async def test_fields_of_openai_that_cannot_be_honoured_are_refused(
    untouched: Any, check_error: Any, name: str, value: object, reason: str
) -> None:
    response = await untouched.client.post(IMAGES, json={**BODY, name: value})
    assert reason in check_error(response, 400, "invalid_parameter", name)


BYTES = {**BODY, "response_format": "b64_json"}
KEYED = {"idempotency-key": "one"}


async def not_kept(gateway: Any, check_error: Any, body: dict[str, Any]) -> str:
    """Let a call for bytes fail because the host of the file does not answer; return the message."""
    gateway.upstream.withheld = True
    response = await images(gateway, json=body, headers=KEYED)
    message: str = check_error(response, 502, "image_not_readable", "response_format")
    assert response.json()["error"]["generation_id"] == (await the_one(gateway))["id"]
    return message


def partial_files(gateway: Any) -> list[Any]:
    folder = gateway.application.artifact_store.partial().parent
    return list(folder.iterdir())


async def test_the_bytes_of_an_image_that_only_its_host_has_are_fetched(gateway: Any, check_error: Any) -> None:
    message = await not_kept(gateway, check_error, {**BYTES, "n": 2})
    assert "is not for the gateway" in message
    assert "the same Idempotency-Key, buys nothing" in message
    gateway.upstream.withheld = False
    content = gateway.upstream.content = PNG + bytes(100_000)
    response = await gateway.client.post(IMAGES, json={**BYTES, "n": 2}, headers=KEYED)
    assert response.status_code == 200, response.text
    assert [base64.b64decode(image["b64_json"]) for image in response.json()["data"]] == [content, content]
    assert int(response.headers["content-length"]) == len(response.content)
    assert (await the_one(gateway))["data"][0]["provider_url"] == gateway.upstream.url, "still not kept"
    assert len(gateway.upstream.submits) == 1
    assert partial_files(gateway) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"<!doctype html><title>Not found</title>", "not an image"), (b"", "not an image"), (PNG + bytes(5000), "4,000")],
)
async def test_what_is_not_the_image_is_not_sent_as_its_bytes(
    gateway: Any, check_error: Any, monkeypatch: pytest.MonkeyPatch, content: bytes, reason: str
) -> None:
    await not_kept(gateway, check_error, BYTES)
    gateway.upstream.withheld, gateway.upstream.content = False, content
    monkeypatch.setattr(access, "IMAGE_BYTES_MAX", 4000)
    response = await gateway.client.post(IMAGES, json=BYTES, headers=KEYED)
    assert reason in check_error(response, 502, "image_not_readable", "response_format")
    assert partial_files(gateway) == []


async def test_a_host_that_sends_an_image_too_slowly_is_not_waited_for(gateway: Any, check_error: Any) -> None:
    await not_kept(gateway, check_error, BYTES)
    begun = asyncio.Event()

    @asynccontextmanager
    async def slow(*_: Any, **__: Any) -> AsyncIterator[Any]:
        begun.set()
        await asyncio.Event().wait()
        yield None

    gateway.application.result_fetcher.get = slow
    async with call(gateway, json=BYTES, headers=KEYED) as waiting:
        await begun.wait()
        await gateway.clock.advance(61)
        assert "within 60 s" in check_error(await waiting, 502, "image_not_readable", "response_format")
    assert partial_files(gateway) == []
