"""`client.webhooks.*` of OpenAI's package: endpoints under its names, and events that it verifies and reads."""

import asyncio
import base64
import json
import time
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest
from openai import APIStatusError, AsyncOpenAI

from gateway.domain.webhooks import EVENTS
from gateway.fetch.fetcher import FetchFailed

from .test_webhooks import DELIVERIES, ENDPOINTS, URL, ended, made

T = TypeVar("T")


@pytest.fixture
async def openai(notified: Any) -> AsyncOpenAI:
    client = AsyncOpenAI(
        base_url="http://gateway.test/v1", api_key=notified.key, http_client=notified.client, max_retries=0
    )
    notified.application._deliverer._wall_clock = notified.clock
    notified.clock._now = datetime.now(UTC)  # the package compares the time of a webhook with that of the machine
    return client


async def while_time_passes(gateway: Any, call: Awaitable[T], seconds: float = 0) -> T:
    """The result of a call that waits for a delivery."""
    waiting = asyncio.ensure_future(call)
    await gateway.clock.advance(0)
    await gateway.clock.advance(seconds)
    return await asyncio.wait_for(waiting, 10)


async def test_the_package_manages_endpoints(notified: Any, openai: AsyncOpenAI) -> None:
    created = await openai.webhooks.create(event_types=["video.completed", "video.failed"], name="mine", url=URL)
    endpoint = await openai.webhooks.retrieve(created.id)
    assert (endpoint.object, endpoint.name, endpoint.url) == ("webhook_endpoint", "mine", URL)
    assert endpoint.event_types == created.event_types == ["video.completed", "video.failed"]
    assert created.signing_secret.startswith("whsec_")
    assert not hasattr(endpoint, "signing_secret")

    changed = await openai.webhooks.update(created.id, name="other", event_types=["video.failed"])
    assert (changed.name, changed.event_types, changed.url) == ("other", ["video.failed"], URL)
    own = (await notified.client.get(f"{ENDPOINTS}/{created.id}")).json()
    assert (own["description"], own["events"]) == ("other", ["video.failed"])

    assert (await openai.webhooks.delete(created.id)).deleted
    assert [item.id async for item in openai.webhooks.list()] == []


async def test_the_package_lists_endpoints_page_by_page(notified: Any, openai: AsyncOpenAI) -> None:
    ids = [(await made(notified))["id"] for _ in range(5)]

    assert [item.id async for item in openai.webhooks.list(limit=2)] == ids
    assert [item.id async for item in openai.webhooks.list(after=ids[2])] == ids[3:]
    await openai.webhooks.delete(ids[2])
    assert [item.id async for item in openai.webhooks.list(after=ids[2], limit=1)] == ids[3:]


async def test_the_package_lists_the_types_of_events(openai: AsyncOpenAI) -> None:
    types = await openai.webhooks.event_types.list()
    assert (types.object, types.data) == ("list", [*EVENTS, "video.completed", "video.failed"])


@pytest.mark.parametrize("is_kept", [True, False])
async def test_the_package_says_whether_the_old_secret_still_signs(
    notified: Any, openai: AsyncOpenAI, is_kept: bool
) -> None:
    endpoint = await made(notified)
    rotated = await openai.webhooks.rotate_secret(endpoint["id"], keep_old_secret_active_for_24_hours=is_kept)
    await ended(notified)

    openai.webhooks.verify_signature(notified.bodies[0], notified.headers[0], secret=rotated.signing_secret)
    assert len(notified.headers[0]["webhook-signature"].split()) == (2 if is_kept else 1)


async def test_a_rotation_without_a_word_keeps_the_old_secret_for_a_day(notified: Any, openai: AsyncOpenAI) -> None:
    endpoint = await made(notified)
    await openai.webhooks.rotate_secret(endpoint["id"])
    await ended(notified)

    openai.webhooks.verify_signature(notified.bodies[0], notified.headers[0], secret=endpoint["secret"])


@pytest.mark.filterwarnings("ignore:The Sora API")
@pytest.mark.parametrize(("word", "event"), [("completed", "video.completed"), ("failed", "video.failed")])
async def test_the_package_unwraps_the_end_of_a_video(
    notified: Any, openai: AsyncOpenAI, word: str, event: str
) -> None:
    endpoint = await openai.webhooks.create(event_types=["video.completed", "video.failed"], name="a", url=URL)
    video = await openai.videos.create(prompt="Waves", model="foxapi/kling-v3-text-to-video")
    notified.upstream.word = word
    for _ in range(20):
        await notified.clock.advance(40)

    [body], [headers] = notified.bodies, notified.headers
    read: Any = unwrapped(openai, body, headers, endpoint.signing_secret)
    assert (read.object, read.type, read.data.id) == ("event", event, video.id)
    assert json.loads(body) == {
        "id": headers["webhook-id"],
        "object": "event",
        "created_at": read.created_at,
        "type": event,
        "data": {"id": video.id},
    }
    [delivery] = (await notified.client.get(DELIVERIES)).json()["data"]
    assert (delivery["type"], delivery["generation"]) == (event, video.id.replace("video_", "gen_"))


def unwrapped(openai: AsyncOpenAI, body: bytes, headers: dict[str, str], secret: str) -> Any:
    """What the package reads at the moment at which the webhook was sent."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: float(headers["webhook-timestamp"]))
        return openai.webhooks.unwrap(body, headers, secret=secret)


async def test_a_cancelled_video_has_failed_for_openai_and_images_have_no_event_there(notified: Any) -> None:
    await made(notified, events=["video.completed", "video.failed"])
    await ended(notified)
    assert [json.loads(body)["type"] for body in notified.bodies] == ["video.failed"]

    image = await notified.client.post(
        "/v1/images/generations?async=true", json={"model": "keevx/image", "prompt": "A hill"}
    )
    await notified.client.post(f"/v1/images/generations/{image.json()['id']}/cancel")
    await notified.clock.advance(0)
    assert len(notified.bodies) == 1


async def test_an_end_comes_once_under_each_name_that_an_endpoint_lists(notified: Any) -> None:
    for events in (["*"], ["*", "video.failed"], ["video.generation.cancelled", "video.failed"], ["video.completed"]):
        assert (await made(notified, events=events))["events"] == events
    await ended(notified)

    types = sorted(json.loads(body)["type"] for body in notified.bodies)
    assert types == ["video.failed"] * 2 + ["video.generation.cancelled"] * 3
    assert len({headers["webhook-id"] for headers in notified.headers}) == 2


async def test_a_field_has_one_value_under_both_names(notified: Any, check_error: Any) -> None:
    same = {"events": ["*"], "event_types": ["*"], "description": "x", "name": "x"}
    path = f"{ENDPOINTS}/{(await made(notified, **same))['id']}"
    for second, body in (
        ("event_types", {"events": ["*"], "event_types": ["video.failed"]}),
        ("name", {"description": "x", "name": None}),
        ("name", {"name": "y", "description": "x"}),
    ):
        for method, where in (("POST", ENDPOINTS), ("PATCH", path), ("POST", path)):
            answer = await notified.client.request(method, where, json={"url": URL, **body})
            assert "two names of one field" in check_error(answer, 400, "invalid_parameter", second)
    rotation = {"expires_after_seconds": 5, "keep_old_secret_active_for_24_hours": True}
    answer = await notified.client.post(f"{path}/rotate_secret", json=rotation)
    check_error(answer, 400, "invalid_parameter", "keep_old_secret_active_for_24_hours")
    assert (await made(notified, events=None, event_types=["video.failed"]))["events"] == ["video.failed"]
    assert (await made(notified, event_types=None))["event_types"] == ["*"]


@pytest.mark.parametrize("status", [200, 500])
async def test_a_sample_says_what_the_receiver_answered(notified: Any, openai: AsyncOpenAI, status: int) -> None:
    endpoint = await openai.webhooks.create(event_types=["video.failed"], name="a", url=URL)
    notified.status = status
    result = await while_time_passes(notified, openai.webhooks.test(endpoint.id, event_type="video.completed"))

    assert (result.object, result.event_type, result.status_code, result.success, result.webhook_endpoint_id) == (
        *("webhook_endpoint.test", "video.completed", status, True),
        endpoint.id,
    )
    read = unwrapped(openai, notified.bodies[0], notified.headers[0], endpoint.signing_secret)
    assert (read.type, read.data.id) == ("video.completed", read.id.replace("evt_", "video_"))
    await notified.clock.advance(86_400)
    assert len(notified.posted) == 1  # a test is not tried again


async def test_a_sample_without_an_answer_is_an_error(notified: Any, openai: AsyncOpenAI) -> None:
    endpoint = await made(notified)

    async def fails(url: str, **_: Any) -> Any:
        raise FetchFailed("the connection was refused")

    notified.application.webhook_fetcher.post = fails
    with pytest.raises(APIStatusError, match="the connection was refused") as caught:
        await while_time_passes(notified, openai.webhooks.test(endpoint["id"], event_type="video.failed"))
    assert (caught.value.status_code, caught.value.code) == (502, "receiver_not_reached")


async def test_a_sample_that_is_not_sent_in_time_is_an_error_that_names_it(notified: Any, openai: AsyncOpenAI) -> None:
    endpoint = await made(notified)
    notified.answers.clear()
    with pytest.raises(APIStatusError, match="/v1/webhook_deliveries/dlv_") as caught:
        await while_time_passes(notified, openai.webhooks.test(endpoint["id"], event_type="video.failed"), 30)
    assert caught.value.status_code == 502


async def test_only_openais_events_have_samples(notified: Any, check_error: Any) -> None:
    path = f"{ENDPOINTS}/{(await made(notified))['id']}/test"
    for event in ("video.generation.completed", "response.completed", 5, ["video.failed"]):
        answer = await notified.client.post(path, json={"event_type": event})
        assert "webhook.test" in check_error(answer, 400, "invalid_parameter", "event_type")
    assert notified.posted == []
    assert (await notified.client.post(path, json={"event_type": None})).json()["type"] == "webhook.test"


async def test_the_secret_is_in_a_form_that_the_package_decodes(notified: Any) -> None:
    assert len(base64.b64decode((await made(notified))["signing_secret"].removeprefix("whsec_"))) == 32
