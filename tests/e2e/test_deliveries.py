"""Webhooks from the end of a generation to their receiver: at least once, signed, also after crashes and failures."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_network
from itertools import pairwise
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from msgspec.structs import replace
from standardwebhooks import WebhookVerificationError

from gateway.domain.adapter.task import Status
from gateway.domain.errors import StoreUnavailable
from gateway.domain.generation.lifecycle import cancel
from gateway.failpoints import FailpointError
from gateway.fetch.fetcher import Posted
from gateway.settings.load import FetchSettings, Secret, Settings, WebhookSettings
from gateway.webhooks import deliverer as deliver
from gateway.webhooks.deliverer import RECEIVER_MAX, SPARE_SECONDS, TROUBLE_SECONDS
from gateway.webhooks.formats import Format

from .conftest import OTHER_KEY, Gateway, sandboxed
from .receiver import Received, Receiver, receiving

FOX = "foxapi/kling-v3-text-to-video"
ENDPOINTS, DELIVERIES = "/v1/webhook_endpoints", "/v1/webhook_deliveries"
OLD, NEW = "whsec_" + "b2xk" * 8, "whsec_" + "bmV3" * 8
SCHEDULE = (5, 300, 1800, 7200, 18_000, 36_000, 36_000)


class WebhookSetup:
    """A gateway that may send webhooks to this machine, and the receiver that they go to."""

    def __init__(self, gateway: Gateway, receiver: Receiver) -> None:
        self.gateway = gateway
        self.receiver = receiver
        self.fetch = FetchSettings(allow=(ip_network("127.0.0.0/8"),))
        self.webhooks = WebhookSettings()
        self.secret: Any = None  # of the key, for the generations' own URLs
        plain = gateway.settings
        gateway.settings = lambda: self.settings(plain())  # type: ignore[method-assign]  # the usual ones, with those of webhooks

    def settings(self, plain: Settings) -> Settings:
        return replace(plain, fetch=self.fetch, webhooks=self.webhooks)

    async def start(self) -> None:
        await self.gateway.start()
        self.secret = (await self.call("GET", "/v1/webhook_secret"))["secret"]

    async def call(self, method: str, path: str, **body: Any) -> Any:
        answer = await self.gateway.client.request(method, path, json=body if method in {"POST", "PATCH"} else None)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def end(self, **body: Any) -> str:
        """Create a generation and cancel it at once; its id."""
        made = await self.gateway.post(model=FOX, **body)
        await self.call("POST", f"/v1/videos/generations/{made['id']}/cancel")
        return str(made["id"])

    async def end_with_url(self, url: str | None = None) -> str:
        """Create one with its own `webhook_url` and cancel it; its id."""
        return await self.end(webhook_url=url or self.receiver.url)

    async def endpoint(self, **body: Any) -> Any:
        return await self.call("POST", ENDPOINTS, url=self.receiver.url, **body)

    async def settle(self) -> None:
        await self.gateway.traffic.settle()

    async def delivery_of(self, generation_id: str) -> Any:
        """The one delivery of a generation."""
        (delivery,) = (await self.call("GET", f"{DELIVERIES}?generation={generation_id}"))["data"]
        return delivery

    async def until(self, reached: Callable[[], bool]) -> None:
        await self.gateway.until(reached)


@pytest_asyncio.fixture
async def prepared(tmp_path: Any, events: Any) -> AsyncIterator[WebhookSetup]:
    """A gateway and its receiver; the test changes settings and starts the gateway."""
    async with sandboxed(tmp_path) as gateway, receiving(gateway.clock.now) as receiver:
        try:
            yield WebhookSetup(gateway, receiver)
        finally:
            receiver.gate.set()


@pytest_asyncio.fixture
async def running(prepared: WebhookSetup) -> WebhookSetup:
    await prepared.start()
    return prepared


# --- what is sent -----------------------------------------------------------------------------------------------------


async def test_a_completed_generation_is_announced_to_its_url_and_to_an_endpoint_of_its_key(
    running: WebhookSetup,
) -> None:
    endpoint = await running.endpoint()
    ended = await running.gateway.make(model=FOX, webhook_url=running.receiver.url)

    own, other = sorted(running.receiver.requests, key=lambda received: endpoint["secret"] != running.secret)
    secrets = {running.secret, endpoint["secret"]}
    assert len(secrets) == 2
    by = [secret for received in (own, other) for secret in secrets if _verifies(received, secret)]
    assert sorted(by) == sorted(secrets)
    for received in (own, other):
        body = received.verified_by(*[secret for secret in secrets if _verifies(received, secret)])
        assert (body["type"], body["data"]) == ("video.generation.completed", ended)
        assert body["timestamp"].startswith("2025-11-21T")
        assert body["timestamp"].endswith("Z")
        assert received.headers["content-type"] == "application/json"
        assert received.headers["user-agent"].startswith("video-gateway/")
        assert "authorization" not in received.headers
        assert received.headers["webhook-timestamp"] == str(int(received.at.timestamp()))
    assert own.id == other.id == ended["id"].replace("gen_", "evt_")


def _verifies(received: Received, secret: str) -> bool:
    try:
        return bool(received.verified_by(secret))
    except WebhookVerificationError:
        return False


async def test_an_end_is_announced_at_once(running: WebhookSetup) -> None:
    """No time passes between a cancel and its webhook."""
    generation = await running.end_with_url()
    await running.settle()

    (received,) = running.receiver.requests
    assert received.verified_by(running.secret)["type"] == "video.generation.cancelled"
    assert (received.data["id"], received.data["status"], received.path) == (generation, "cancelled", "/hook")
    delivery = await running.delivery_of(generation)
    assert (delivery["state"], delivery["next_try_at"], delivery["endpoint"]) == ("succeeded", None, None)
    assert [a_try["status"] for a_try in delivery["tries"]] == [200]


async def test_an_expired_generation_is_announced(running: WebhookSetup) -> None:
    made = await running.gateway.post(model=FOX, webhook_url=running.receiver.url, deadline_seconds=60)
    running.gateway.clock.move_on(70)
    await running.gateway.finish(made["id"])

    (received,) = running.receiver.requests
    assert received.verified_by(running.secret)["type"] == "video.generation.expired"


async def test_an_endpoint_gets_the_events_that_it_wants_of_its_own_key(running: WebhookSetup) -> None:
    await running.endpoint(events=["video.generation.completed"])
    own = running.gateway.client
    running.gateway.client = running.gateway.client_of(OTHER_KEY)
    endpoint = await running.endpoint(events=["video.generation.cancelled"])
    running.gateway.client = own
    await running.end()
    await running.settle()
    assert running.receiver.requests == []

    running.gateway.client = running.gateway.client_of(OTHER_KEY)
    await running.end()
    await running.settle()
    (received,) = running.receiver.requests
    received.verified_by(endpoint["secret"])


# --- failed tries -----------------------------------------------------------------------------------------------------


async def test_a_failing_delivery_is_tried_along_the_schedule_and_then_dead(running: WebhookSetup) -> None:
    running.receiver.fail(500)
    generation = await running.end_with_url()
    await running.gateway.clock.run_for(30 * 3600)

    moments = [received.at for received in running.receiver.requests]
    waits = [(after - before).total_seconds() for before, after in pairwise(moments)]
    assert tuple(waits) == SCHEDULE
    assert len(set(running.receiver.ids)) == 1
    for received in running.receiver.requests:  # each has a new timestamp: libraries refuse an old one
        received.verified_by(running.secret)
    delivery = await running.delivery_of(generation)
    assert (delivery["state"], delivery["next_try_at"], len(delivery["tries"])) == ("dead", None, 8)


async def test_a_receiver_that_works_again_gets_the_delivery(running: WebhookSetup) -> None:
    running.receiver.answer = lambda _: (200 if len(running.receiver.requests) > 2 else 503, {})
    generation = await running.end_with_url()
    await running.gateway.clock.run_for(24 * 3600)

    assert [a_try["status"] for a_try in (await running.delivery_of(generation))["tries"]] == [503, 503, 200]
    assert len(running.receiver.requests) == 3


async def test_a_retry_after_of_the_receiver_is_honoured(running: WebhookSetup) -> None:
    running.receiver.fail(429, **{"Retry-After": "90"})
    generation = await running.end_with_url()
    await running.settle()

    delivery = await running.delivery_of(generation)
    assert delivery["next_try_at"] - delivery["tries"][0]["at"] == 90


async def test_an_answer_of_410_disables_the_endpoint(running: WebhookSetup) -> None:
    endpoint = await running.endpoint()
    running.receiver.fail(410)
    await running.end()
    await running.settle()
    await running.end()
    await running.gateway.clock.run_for(48 * 3600)

    assert len(running.receiver.requests) == 1
    disabled = await running.call("GET", f"{ENDPOINTS}/{endpoint['id']}")
    assert (disabled["disabled"], disabled["disabled_reason"]) == (True, "gone")
    await running.call("PATCH", f"{ENDPOINTS}/{endpoint['id']}", disabled=False)
    await running.end()
    await running.settle()
    assert len(running.receiver.requests) == 2


async def test_a_redirect_is_not_followed(running: WebhookSetup) -> None:
    async with receiving(running.gateway.clock.now) as elsewhere:
        running.receiver.fail(307, Location=elsewhere.url)
        generation = await running.end_with_url()
        await running.settle()

        assert elsewhere.requests == []
    delivery = await running.delivery_of(generation)
    assert (delivery["state"], [a_try["status"] for a_try in delivery["tries"]]) == ("pending", [307])


async def test_a_receiver_that_does_not_answer_is_tried_again(prepared: WebhookSetup) -> None:
    prepared.webhooks = WebhookSettings(timeout_seconds=0.2)
    await prepared.start()
    prepared.receiver.gate.clear()
    generation = await prepared.end_with_url()
    await prepared.settle()

    delivery = await prepared.delivery_of(generation)
    assert (delivery["state"], delivery["tries"][0]["status"]) == ("pending", None)
    assert "in time" in delivery["tries"][0]["error"]


async def test_a_closed_port_is_tried_again(running: WebhookSetup) -> None:
    generation = await running.end_with_url("http://127.0.0.1:9/hook")
    await running.settle()

    delivery = await running.delivery_of(generation)
    assert (delivery["state"], delivery["tries"][0]["status"]) == ("pending", None)
    assert "could be opened" in delivery["tries"][0]["error"]


async def test_a_url_that_is_no_longer_allowed_is_dead_with_the_remedy(running: WebhookSetup) -> None:
    running.receiver.fail(500)
    generation = await running.end_with_url()
    await running.settle()
    running.fetch = FetchSettings()
    await running.gateway.restart()
    await running.gateway.clock.run_for(10)

    delivery = await running.delivery_of(generation)
    assert (delivery["state"], len(running.receiver.requests)) == ("dead", 1)
    assert "fetch.allow" in delivery["tries"][1]["error"]


async def test_a_host_name_with_a_refused_address_is_tried_again(running: WebhookSetup, monkeypatch: Any) -> None:
    """The next answer of the name server may be another one."""
    answers = ["127.0.0.1", "10.9.9.9"]

    async def resolve(*_: Any) -> list[str]:
        return [answers.pop()]

    monkeypatch.setattr(running.gateway.app._deliverer._poster, "_resolve", resolve)
    generation = await running.end_with_url("https://hook.test:9/")
    await running.gateway.clock.run_for(SCHEDULE[0])

    delivery = await running.delivery_of(generation)
    assert (delivery["state"], answers) == ("pending", [])
    astray, closed = (a_try["error"] for a_try in delivery["tries"])
    assert "fetch.allow" in astray
    assert "could be opened" in closed


# --- signatures -------------------------------------------------------------------------------------------------------


async def test_both_secrets_sign_while_that_of_an_endpoint_is_rotated(running: WebhookSetup) -> None:
    endpoint = await running.endpoint()
    changed = await running.call("POST", f"{ENDPOINTS}/{endpoint['id']}/rotate_secret", expires_after_seconds=60)
    await running.end()
    await running.settle()
    running.receiver.requests[0].verified_by(endpoint["secret"], changed["secret"])

    running.gateway.clock.move_on(60)
    await running.end()
    await running.settle()
    last = running.receiver.requests[-1]
    assert (_verifies(last, endpoint["secret"]), _verifies(last, changed["secret"])) == (False, True)


async def test_both_secrets_of_the_operator_sign(prepared: WebhookSetup) -> None:
    prepared.webhooks = WebhookSettings(secret=Secret.of(NEW), previous_secret=Secret.of(OLD))
    await prepared.start()
    await prepared.end_with_url()
    await prepared.settle()

    prepared.receiver.requests[0].verified_by(OLD, NEW)
    assert prepared.secret is None


async def test_the_secret_of_a_key_is_the_same_after_a_restart(running: WebhookSetup) -> None:
    await running.gateway.restart()
    await running.end_with_url()
    await running.settle()

    assert running.receiver.requests[0].verified_by(running.secret)


# --- on request -------------------------------------------------------------------------------------------------------


async def test_a_test_is_sent_signed_and_listed(running: WebhookSetup) -> None:
    endpoint = await running.endpoint(events=["video.generation.failed"])
    sent = await running.call("POST", f"{ENDPOINTS}/{endpoint['id']}/test")
    await running.settle()

    body = running.receiver.requests[0].verified_by(endpoint["secret"])
    assert (body["type"], body["data"]) == ("webhook.test", {"id": endpoint["id"], "object": "webhook_endpoint"})
    assert running.receiver.ids == [sent["event_id"]]
    assert (await running.call("GET", f"{DELIVERIES}/{sent['id']}"))["state"] == "succeeded"


@pytest.mark.parametrize("status", [200, 410, 500])
async def test_a_delivery_is_sent_again_under_the_same_id(running: WebhookSetup, status: int) -> None:
    running.receiver.fail(status)
    generation = await running.end_with_url()
    await running.settle()
    delivery = await running.delivery_of(generation)
    running.receiver.fail(204)

    await running.call("POST", f"{DELIVERIES}/{delivery['id']}/redeliver")
    await running.settle()

    after = await running.delivery_of(generation)
    assert (after["state"], [a_try["status"] for a_try in after["tries"]]) == ("succeeded", [status, 204])
    assert running.receiver.ids == [delivery["event_id"]] * 2


async def test_a_pending_delivery_follows_its_endpoint(running: WebhookSetup) -> None:
    endpoint = await running.endpoint()
    running.receiver.fail(500)
    await running.end()
    await running.settle()
    async with receiving(running.gateway.clock.now) as elsewhere:
        await running.call("PATCH", f"{ENDPOINTS}/{endpoint['id']}", url=elsewhere.url)
        await running.gateway.clock.run_for(6)

        assert elsewhere.ids == running.receiver.ids
        elsewhere.requests[0].verified_by(endpoint["secret"])


# --- crashes, stops and load ------------------------------------------------------------------------------------------


async def test_a_crash_between_sending_and_noting_sends_it_again(
    running: WebhookSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(window: str) -> None:
        raise FailpointError(window)

    monkeypatch.setattr(deliver, "reach", dies)
    generation = await running.end_with_url()
    await running.settle()
    assert (await running.delivery_of(generation))["tries"] == []
    await running.gateway.crash()
    monkeypatch.undo()

    await running.gateway.start()
    await running.gateway.clock.run_for(15 + SPARE_SECONDS)

    assert len(running.receiver.requests) == 2
    assert len(set(running.receiver.ids)) == 1
    assert (await running.delivery_of(generation))["state"] == "succeeded"


async def test_an_end_before_a_stop_is_announced_after_it(running: WebhookSetup) -> None:
    running.gateway.app._deliverer.stop()
    generation = await running.end_with_url()
    await running.settle()
    assert running.receiver.requests == []

    await running.gateway.restart()
    await running.settle()

    assert [received.data["id"] for received in running.receiver.requests] == [generation]


async def test_a_stop_waits_for_a_delivery_that_is_being_sent(running: WebhookSetup) -> None:
    running.receiver.gate.clear()
    generation = await running.end_with_url()
    await running.until(lambda: running.receiver.under_way == 1)
    stopping = asyncio.create_task(running.gateway.stop())
    await running.until(lambda: running.gateway.app._deliverer._stopping)
    assert not stopping.done()

    running.receiver.gate.set()
    await stopping

    await running.gateway.start()
    await running.gateway.clock.run_for(3600)
    assert (await running.delivery_of(generation))["state"] == "succeeded"
    assert len(running.receiver.requests) == 1


async def test_a_stop_waits_for_a_limited_time(prepared: WebhookSetup) -> None:
    prepared.gateway.drain_seconds = 0.6
    await prepared.start()
    prepared.receiver.gate.clear()
    generation = await prepared.end_with_url()
    await prepared.until(lambda: prepared.receiver.under_way == 1)
    await prepared.gateway.stop()
    prepared.receiver.gate.set()

    await prepared.gateway.start()
    await prepared.gateway.clock.run_for(60)
    assert len(prepared.receiver.requests) == 2
    assert (await prepared.delivery_of(generation))["state"] == "succeeded"


async def test_a_slow_receiver_occupies_only_its_share_of_the_places(running: WebhookSetup) -> None:
    running.receiver.gate.clear()
    for _ in range(RECEIVER_MAX + 4):
        await running.end_with_url()
    await running.until(lambda: running.receiver.under_way == RECEIVER_MAX)
    async with receiving(running.gateway.clock.now) as quick:
        await running.end_with_url(quick.url)
        await running.until(lambda: len(quick.requests) == 1)

    assert running.receiver.most == RECEIVER_MAX
    running.receiver.gate.set()
    await running.settle()
    assert len(set(running.receiver.ids)) == RECEIVER_MAX + 4
    assert running.receiver.most == RECEIVER_MAX


async def test_the_many_receivers_of_one_key_take_no_place_from_another_key(
    running: WebhookSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "SENDING_MAX", 4)
    gate, posted = asyncio.Event(), []

    async def post(url: str, **_: Any) -> Posted:
        posted.append(url)
        await gate.wait()
        return Posted(200, {})

    deliverer = running.gateway.app._deliverer
    monkeypatch.setattr(deliverer._poster, "post", running.gateway.traffic.counting(post))
    for number in range(12):
        await running.end_with_url(f"https://{number}.many.example/")
    await running.until(lambda: len(posted) == 4)
    running.gateway.client = running.gateway.client_of(OTHER_KEY)
    for number in range(3):
        await running.end_with_url(f"https://{number}.other.example/")
    assert not [url for url in posted if "other" in url]

    first = next(iter(deliverer._sending))  # one place becomes free, then a second one
    first.cancel()
    await running.until(lambda: len(posted) == 5)
    assert "other" in posted[4]
    gate.set()
    await running.settle()
    assert sorted("other" in url for url in posted[5:9]) == [False, False, True, True]
    assert len(set(posted)) == 15


async def test_a_slow_receiver_of_one_key_leaves_places_at_it_to_another_key(running: WebhookSetup) -> None:
    running.receiver.gate.clear()
    for _ in range(RECEIVER_MAX * 2):
        await running.end_with_url()
    await running.until(lambda: running.receiver.under_way == RECEIVER_MAX)
    running.gateway.client = running.gateway.client_of(OTHER_KEY)
    generation = await running.end_with_url()
    secret = (await running.call("GET", "/v1/webhook_secret"))["secret"]

    running.receiver.gate.set()
    await running.settle()

    (place,) = (place for place, received in enumerate(running.receiver.requests) if received.data["id"] == generation)
    assert place <= RECEIVER_MAX * 3 / 2  # each key gets half of the free places, and this one came last
    running.receiver.requests[place].verified_by(secret)
    assert running.receiver.most == RECEIVER_MAX


async def test_nothing_is_lost_while_the_store_does_not_work(
    running: WebhookSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = running.gateway.app.store.webhooks

    async def away(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(store, "claim", away)
        generation = await running.end_with_url()
        await running.settle()
    with monkeypatch.context() as patched:
        patched.setattr(store, "note", away)
        await running.gateway.clock.run_for(TROUBLE_SECONDS)
    assert len(running.receiver.requests) == 1
    await running.gateway.clock.run_for(15 + SPARE_SECONDS)

    assert len(running.receiver.requests) == 2
    assert (await running.delivery_of(generation))["state"] == "succeeded"


@pytest.mark.parametrize("part", ["_formats", "_poster", "_encode"])
async def test_a_defect_of_the_gateway_with_one_delivery_does_not_stop_the_others(
    running: WebhookSetup, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    deliverer = running.gateway.app._deliverer
    broken = (await running.gateway.post(model=FOX, webhook_url=running.receiver.url + "/broken"))["id"]
    own, post, encode = deliverer._formats["own"], deliverer._poster.post, deliver._encode

    def body(delivery: Any, generation: Any) -> object:
        if generation.id == broken:
            raise ValueError("broken")
        return own.body(delivery, generation)

    async def posts(url: str, **more: Any) -> Any:
        if url.endswith("broken"):
            raise RuntimeError("broken")
        return await post(url, **more)

    def encodes(body: Any) -> bytes:
        if msgspec.to_builtins(body["data"])["id"] == broken:
            raise TypeError("broken")
        return encode(body)

    match part:
        case "_formats":
            monkeypatch.setattr(deliverer, "_formats", {"own": Format(body)})
        case "_poster":
            monkeypatch.setattr(deliverer._poster, "post", posts)
        case _:
            monkeypatch.setattr(deliver, "_encode", encodes)
    await running.call("POST", f"/v1/videos/generations/{broken}/cancel")
    good = await running.end_with_url()
    await running.settle()

    assert [received.data["id"] for received in running.receiver.requests] == [good]
    assert [a_try["error"] for a_try in (await running.delivery_of(broken))["tries"]] == ["the gateway failed"]
    await running.gateway.clock.run_for(30 * 3600)
    delivery = await running.delivery_of(broken)
    assert (delivery["state"], len(delivery["tries"])) == ("dead", 8)


async def test_a_deleted_generation_is_not_announced(running: WebhookSetup) -> None:
    running.receiver.fail(500)
    generation = await running.end_with_url()
    await running.gateway.clock.run_for(1)
    await running.call("DELETE", f"/v1/videos/generations/{generation}")
    await running.gateway.clock.run_for(48 * 3600)

    assert len(running.receiver.requests) == 1
    assert (await running.call("GET", DELIVERIES))["data"] == []


async def test_300_ends_are_each_announced_at_least_once_and_signed(running: WebhookSetup) -> None:
    """The receiver fails a third of the time. `bench/webhooks.py` does the same with 10,000."""
    running.receiver.answer = lambda _: (200, {}) if len(running.receiver.requests) % 3 else (500, {})
    store = running.gateway.app.store
    first = await running.gateway.stored(await running.end_with_url())
    for number in range(299):
        fresh = replace(first, id=f"gen_{number:026}", status=Status.QUEUED, version=1, attempts=())
        made = await store.create(replace(fresh, completed_at=None))
        await store.write(made, cancel(made, first.created_at), running.gateway.clock.now())

    async def quiet() -> bool:
        return not await store.webhooks.keys()

    await running.gateway.clock.run_until(quiet)
    await running.settle()

    tries = Counter(running.receiver.ids)
    assert len(tries) == 300
    assert sum(tries.values()) >= 400
    assert max(tries.values()) > 2
    for received in running.receiver.requests:
        received.verified_by(running.secret)
