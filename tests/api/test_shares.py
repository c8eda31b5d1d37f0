"""What is limited is shared: a client that holds all of it gives way to another client, not to its own requests."""

import asyncio
import base64
import io
import random
from collections.abc import AsyncIterator
from typing import Any

import httpx
from PIL import Image

from gateway.api.web.streaming import CUT
from gateway.generations.service import INLINE_LIFE

from ..asgi import scope_of
from .test_files import PNG


def picture_of(pixels: bytes) -> bytes:
    out = io.BytesIO()
    Image.frombytes("RGB", (200, 200), pixels).save(out, "PNG")
    return out.getvalue()


VIDEOS = "/v1/videos/generations"
JSON = {"content-type": "application/json"}
LARGE = b"x" * 250_000
NOISE = picture_of(random.Random(1).randbytes(200 * 200 * 3))


class Unfinished:
    """A body whose end never comes."""

    def __init__(self) -> None:
        self.has_begun = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield LARGE
        self.has_begun.set()
        await asyncio.Event().wait()


async def unfinished(client: httpx.AsyncClient) -> "asyncio.Task[httpx.Response]":
    body = Unfinished()
    sending = asyncio.create_task(client.post(VIDEOS, content=body, headers=JSON))
    async with asyncio.timeout(5):
        await body.has_begun.wait()
    return sending


async def test_unfinished_bodies_of_one_client_give_way_to_a_body_of_another(start: Any, check_error: Any) -> None:
    gateway = await start("server.max_body_bytes = 300_000\nserver.max_bodies_bytes = 600_000")
    oldest, newest = await unfinished(gateway.client), await unfinished(gateway.client)

    check_error(await gateway.client.post(VIDEOS, content=LARGE, headers=JSON), 503, "overloaded")
    came = await gateway.other.post(VIDEOS, content=LARGE, headers=JSON)

    check_error(came, 400, "invalid_json")
    check_error(await asyncio.wait_for(newest, 5), 503, "overloaded")
    assert not oldest.done()
    oldest.cancel()


async def test_a_long_poll_answers_early_when_another_client_needs_its_place(start: Any) -> None:
    gateway = await start("server.max_long_polls = 2")
    made, others = await gateway.create(), await gateway.create(gateway.other)
    waiting = [asyncio.create_task(gateway.client.get(f"{VIDEOS}/{made['id']}", params={"wait": 60})) for _ in range(2)]
    await gateway.clock.advance(0)

    other = asyncio.create_task(gateway.other.get(f"{VIDEOS}/{others['id']}", params={"wait": 60}))
    early = await asyncio.wait_for(waiting[1], 5)

    assert (early.status_code, early.json()["id"]) == (200, made["id"])
    assert not waiting[0].done()
    assert not other.done()
    for task in (waiting[0], other):
        task.cancel()


class StalledDownload:
    """A client that reads the head of an answer and nothing more."""

    def __init__(self, gateway: Any, url: str) -> None:
        target = httpx.URL(url)
        self.has_begun, self.is_cut = asyncio.Event(), asyncio.Event()
        scope = scope_of(
            "GET", target.path, {"host": "gateway.test"}, query=target.query.decode(), state={CUT: self.is_cut.set}
        )
        self.task = asyncio.create_task(gateway.application.asgi(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        await self.is_cut.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.body":
            self.has_begun.set()
            await asyncio.Event().wait()


async def test_a_download_over_a_link_is_cut_when_the_owner_needs_its_place(start: Any) -> None:
    gateway = await start("server.max_downloads = 2")
    made = await gateway.create()
    await gateway.finish()
    link = (await gateway.client.get(f"{VIDEOS}/{made['id']}")).json()["data"][0]["url"]
    held = [StalledDownload(gateway, link) for _ in range(2)]
    for download in held:
        await asyncio.wait_for(download.has_begun.wait(), 5)

    assert (await gateway.client_of(None).get(link)).status_code == 503, "everybody with the link is one client"
    assert (await gateway.client.get(f"{VIDEOS}/{made['id']}/content")).status_code == 200

    await asyncio.wait_for(held[1].task, 5)
    assert (held[0].is_cut.is_set(), held[1].is_cut.is_set()) == (False, True)
    held[0].task.cancel()


async def test_a_call_that_waits_for_its_images_holds_no_body(gateway: Any) -> None:
    bodies = gateway.application.litestar.state.context.bodies
    body = {"prompt": "A lake", "image": "data:image/png;base64," + base64.b64encode(NOISE).decode()}

    waiting = asyncio.create_task(gateway.client.post("/v1/images/edits", json=body))
    for _ in range(20):
        await gateway.clock.advance(1)
        if gateway.upstream.submits:
            break

    assert gateway.upstream.submits
    assert bodies.taken == 0
    waiting.cancel()


async def test_a_disk_that_is_nearly_full_takes_no_images_but_other_creates(start: Any, check_error: Any) -> None:
    gateway = await start(f"artifacts.min_free_bytes = {2**50}")
    image = "data:image/png;base64," + base64.b64encode(PNG).decode()
    body = {"model": "foxapi/kling-v3-image-to-video", "prompt": "A beach.", "image": image}

    refused = await gateway.client.post(VIDEOS, json=body)
    uploaded = await gateway.client.post(
        "/v1/files", data={"purpose": "vision"}, files={"file": ("a.png", PNG, "image/png")}
    )

    for answer in (refused, uploaded):
        assert "nearly full" in check_error(answer, 507, "insufficient_storage")
        assert int(answer.headers["retry-after"]) > 1
    assert gateway.rows()["generations"] == gateway.rows()["files"] == 0
    assert (await gateway.client.post(VIDEOS, json={**body, "image": "https://example.com/a.png"})).status_code == 200
    (warning,) = (await gateway.client.get("/health/ready")).json()["warnings"]
    assert warning.startswith("artifacts.min_free_bytes: ")


async def test_images_of_creates_count_against_the_quota_until_they_are_gone(start: Any, check_error: Any) -> None:
    gateway = await start("files.max_bytes_per_key = 1048576")
    library = gateway.application.store.library

    async def create(content: bytes, client: Any = None) -> httpx.Response:
        image = "data:image/png;base64," + base64.b64encode(content).decode()
        body = {"model": "kling_relay/kling-v1", "prompt": "A beach.", "image": image}
        response: httpx.Response = await (client or gateway.client).post(VIDEOS, json=body)
        return response

    first, second = PNG + bytes(600_000), PNG + bytes(600_001)
    assert (await create(first)).status_code == 200
    message = check_error(await create(second), 400, "file_limit_reached")
    assert "images of creates" in message
    upload = {"data": {"purpose": "vision"}, "files": {"file": ("a.png", second, "image/png")}}
    check_error(await gateway.client.post("/v1/files", **upload), 400, "file_limit_reached", "file")
    assert (await create(second, gateway.other)).status_code == 200

    await gateway.finish("failed")
    await library.expire(gateway.clock.now(), 10)
    check_error(await create(second), 400, "file_limit_reached")
    await library.expire(gateway.clock.now() + INLINE_LIFE, 10)
    assert gateway.rows()["files"] == 0
    assert (await create(second)).status_code == 200


async def test_creates_at_the_same_time_do_not_pass_the_quota_together(start: Any) -> None:
    gateway = await start("files.max_bytes_per_key = 1048576")

    async def create(size: int) -> httpx.Response:
        image = "data:image/png;base64," + base64.b64encode(PNG + bytes(size)).decode()
        body = {"model": "kling_relay/kling-v1", "prompt": "A beach.", "image": image}
        response: httpx.Response = await gateway.client.post(VIDEOS, json=body)
        return response

    answers = await asyncio.gather(*(create(300_000 + number) for number in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 400, 400]
    assert gateway.rows()["files"] == gateway.rows()["generations"] == 3


async def test_an_image_of_a_create_stays_while_an_open_generation_uses_it(gateway: Any) -> None:
    image = "data:image/png;base64," + base64.b64encode(PNG).decode()
    body = {"model": "kling_relay/kling-v1", "prompt": "A beach.", "image": image}
    await gateway.create(**body)
    await gateway.application.store.library.expire(gateway.clock.now() + 2 * INLINE_LIFE, 10)
    assert gateway.rows()["files"] == 1
