"""Calls that wait for images, through the whole gateway with the sandbox as the provider."""

import asyncio
import base64
import io
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from .conftest import Gateway, sandboxed

IMAGES, EDITS = "/v1/images/generations", "/v1/images/edits"
BODY = {"model": "image", "prompt": "A lake.", "quality": "1K", "aspect_ratio": "1:1"}


@pytest.fixture
async def gateway(tmp_path: Path, sandbox_options: dict[str, Any]) -> AsyncIterator[Gateway]:
    """A gateway that may fetch results of the sandbox."""
    async with sandboxed(tmp_path, plain_results=True, **sandbox_options) as gateway:
        gateway.fetch_allow = (ip_network("127.0.0.0/8"),)
        yield await gateway.start()


async def submitted(gateway: Gateway, waiting: "asyncio.Task[httpx.Response]") -> None:
    """Wait in real time until the sandbox has a task: before that only the call that waits has a timer."""
    async with asyncio.timeout(10):
        while not waiting.done() and not gateway.sandbox.state.tasks:  # noqa: ASYNC110  # the sandbox has no event
            await asyncio.sleep(0.001)


async def call(gateway: Gateway, path: str = IMAGES, **request: Any) -> httpx.Response:
    """The answer of a call, for which the clock moves until it is there."""
    waiting = asyncio.create_task(gateway.client.post(path, **request))
    await submitted(gateway, waiting)

    async def ended() -> bool:
        return waiting.done() or not await gateway.app.store.open_ids(gateway.clock.now())

    await gateway.clock.run_until(ended)  # the files are then sent in real time
    return await waiting


def images_of(response: httpx.Response) -> list[Image.Image]:
    """The images of an answer, decoded."""
    assert response.status_code == 200, response.text
    return [Image.open(io.BytesIO(base64.b64decode(image["b64_json"]))) for image in response.json()["data"]]


def bought(gateway: Gateway) -> list[dict[str, Any]]:
    """The submits that started tasks, each once."""
    bodies = {task.fingerprint: dict(task.request) for task in gateway.sandbox.state.tasks.values()}
    return list(bodies.values())


async def test_a_call_answers_with_images_that_decode(gateway: Gateway) -> None:
    response = await call(gateway, json={**BODY, "n": 2, "size": "1024x1024"})
    assert [image.width == image.height for image in images_of(response)] == [True, True]
    assert [(body["image_quality"], body["image_ratio"], body["generate_count"]) for body in bought(gateway)] == [
        ("1K", "1:1", 2)
    ]


@pytest.mark.parametrize(
    ("fields", "changed"),
    [
        (
            {"size": "1024x1024", "quality": "standard"},
            [("size", "1024x1024", "90x90")],
        ),  # the sandbox makes small ones
        ({"quality": "high"}, []),
        ({"size": "256x256"}, [("size", "256x256", "90x90")]),
        ({"size": "90x90", "quality": "high"}, [("quality", "high", "1K")]),
        ({"width": 512, "height": 512, "n": 2}, [("size", "512x512", "90x90")]),
    ],
)
async def test_a_size_or_quality_that_was_changed_is_a_warning(
    gateway: Gateway, fields: dict[str, Any], changed: list[tuple[str, str, str]]
) -> None:
    answer = (await call(gateway, json={**BODY, **fields})).json()
    warned = [(warning["param"], warning["from"], warning["to"]) for warning in answer["warnings"] if "from" in warning]
    assert warned == changed
    read = await gateway.client.get(f"{IMAGES}/{answer['id']}")
    assert read.json()["warnings"] == answer["warnings"]


async def test_an_edit_sends_the_images_of_its_form_to_the_provider(gateway: Gateway) -> None:
    file = io.BytesIO()
    Image.new("RGB", (400, 400), "teal").save(file, "PNG")
    files = [("image[]", ("a.png", file.getvalue(), "image/png"))]
    response = await call(gateway, EDITS, data={"model": "image", "prompt": "At night."}, files=files)
    assert len(images_of(response)) == 1
    [body] = bought(gateway)
    assert len(body["reference_images"]) == 1


@pytest.mark.parametrize("headers", [{"idempotency-key": "k"}, {}], ids=["key", "unmarked"])
async def test_a_call_that_a_stop_cut_off_is_answered_after_the_restart_and_bought_once(
    gateway: Gateway, headers: dict[str, str]
) -> None:
    waiting = asyncio.create_task(gateway.client.post(IMAGES, json=BODY, headers=headers))
    await submitted(gateway, waiting)
    stopping = asyncio.create_task(gateway.stop())
    stopped = await waiting
    await stopping
    assert (stopped.status_code, stopped.json()["error"]["code"]) == (503, "shutting_down")

    gateway.clock.move_on(1)
    await gateway.start()
    again = await call(gateway, json=BODY, headers=headers)

    assert len(images_of(again)) == 1
    assert again.json()["id"] == stopped.json()["error"]["generation_id"]
    assert again.headers["idempotent-replayed"] == "true"
    assert len(bought(gateway)) == 1


@pytest.mark.parametrize("response_format", ["url", "b64_json"])
async def test_a_call_that_was_answered_is_not_taken_up_after_a_restart(gateway: Gateway, response_format: str) -> None:
    body = {**BODY, "response_format": response_format}
    first = await call(gateway, json=body)
    await gateway.stop()
    gateway.clock.move_on(1)
    await gateway.start()
    again = await call(gateway, json=body)
    assert again.json()["id"] != first.json()["id"]


async def test_as_many_equal_calls_as_a_stop_cut_off_are_taken_up_after_the_restart(gateway: Gateway) -> None:
    calls = [asyncio.create_task(gateway.client.post(IMAGES, json=BODY)) for _ in range(3)]
    await gateway.until(lambda: len(gateway.sandbox.state.tasks) == 3)
    stopping = asyncio.create_task(gateway.stop())
    stopped = [(await waiting).json()["error"]["generation_id"] for waiting in calls]
    await stopping
    gateway.clock.move_on(1)
    await gateway.start()

    again = [await call(gateway, json=BODY) for _ in calls]
    assert sum(gateway.paid.values()) == 3
    another = asyncio.create_task(gateway.client.post(IMAGES, json=BODY))
    await gateway.until(lambda: len(gateway.sandbox.state.tasks) == 4)
    another.cancel()

    assert len(set(stopped)) == 3
    assert {answer.json()["id"] for answer in again} == set(stopped)
