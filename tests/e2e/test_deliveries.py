"""Webhooks, from the end of a generation to a receiver that has it: at least once, signed, whatever happens."""

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

from .conftest import OTHER_KEY, Gateway, sandboxed
from .receiver import Received, Receiver, receiving

FOX = "foxapi/kling-v3-text-to-video"
ENDPOINTS, DELIVERIES = "/v1/webhook_endpoints", "/v1/webhook_deliveries"
OLD, NEW = "whsec_" + "b2xk" * 8, "whsec_" + "bmV3" * 8
SCHEDULE = (5, 300, 1800, 7200, 18_000, 36_000, 36_000)


class Telling:
    """A gateway that may reach loopback, and its receiver."""

    def __init__(self, gateway: Gateway, receiver: Receiver) -> None:
        self.gateway = gateway
        self.receiver = receiver
        self.fetch = FetchSettings(allow=(ip_network("127.0.0.0/8"),))
        self.webhooks = WebhookSettings()
        self.secret: Any = None  # of the key, for URLs of generations' own
        plain = gateway.settings
        gateway.settings = lambda: self.settings(plain())  # type: ignore[method-assign]  # the same, and more

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
        """A generation that comes to its end at once; its id."""
        made = await self.gateway.post(model=FOX, **body)
        await self.call("POST", f"/v1/videos/generations/{made['id']}/cancel")
        return str(made["id"])

    async def tell(self, url: str | None = None) -> str:
        """One that ends and has its own URL."""
        return await self.end(webhook_url=url or self.receiver.url)

    async def endpoint(self, **body: Any) -> Any:
        return await self.call("POST", ENDPOINTS, url=self.receiver.url, **body)

    async def settle(self) -> None:
        await self.gateway.traffic.settle()

    async def told(self, generation_id: str) -> Any:
        """The one delivery of a generation."""
        (found,) = (await self.call("GET", f"{DELIVERIES}?generation={generation_id}"))["data"]
        return found

    async def until(self, reached: Callable[[], bool]) -> None:
        await self.gateway.until(reached)


@pytest_asyncio.fixture
async def telling(tmp_path: Any, events: Any) -> AsyncIterator[Telling]:
    """Not started yet."""
    async with sandboxed(tmp_path) as gateway, receiving(gateway.clock.now) as receiver:
        try:
            yield Telling(gateway, receiver)
        finally:
            receiver.gate.set()


@pytest_asyncio.fixture
async def running(telling: Telling) -> Telling:
    await telling.start()
    return telling


# --- what is sent -----------------------------------------------------------------------------------------------------


async def test_a_completed_generation_is_told_to_its_url_and_to_an_endpoint_of_its_key(running: Telling) -> None:
    endpoint = await running.endpoint()
    ended = await running.gateway.make(model=FOX, webhook_url=running.receiver.url)

    own, other = sorted(running.receiver.requests, key=lambda one: endpoint["secret"] != running.secret)
    secrets = {running.secret, endpoint["secret"]}
    assert len(secrets) == 2
    by = [secret for one in (own, other) for secret in secrets if _verifies(one, secret)]
    assert sorted(by) == sorted(secrets)
    for one in (own, other):
        body = one.verified_by(*[secret for secret in secrets if _verifies(one, secret)])
        assert (body["type"], body["data"]) == ("video.generation.completed", ended)
        assert body["timestamp"].startswith("2025-11-21T")
        assert body["timestamp"].endswith("Z")
        assert one.headers["content-type"] == "application/json"
        assert one.headers["user-agent"].startswith("video-gateway/")
        assert "authorization" not in one.headers
        assert one.headers["webhook-timestamp"] == str(int(one.at.timestamp()))
    assert own.id == other.id == ended["id"].replace("gen_", "evt_")


def _verifies(one: Received, secret: str) -> bool:
    try:
        return bool(one.verified_by(secret))
    except WebhookVerificationError:
        return False


async def test_an_end_is_told_at_once(running: Telling) -> None:
    """No time passes between a cancel and its webhook."""
    generation = await running.tell()
    await running.settle()

    (one,) = running.receiver.requests
    assert one.verified_by(running.secret)["type"] == "video.generation.cancelled"
    assert (one.data["id"], one.data["status"], one.path) == (generation, "cancelled", "/hook")
    told = await running.told(generation)
    assert (told["state"], told["next_try_at"], told["endpoint"]) == ("succeeded", None, None)
    assert [one["status"] for one in told["tries"]] == [200]


async def test_a_deadline_is_told(running: Telling) -> None:
    made = await running.gateway.post(model=FOX, webhook_url=running.receiver.url, deadline_seconds=60)
    running.gateway.clock.move_on(70)
    await running.gateway.finish(made["id"])

    (one,) = running.receiver.requests
    assert one.verified_by(running.secret)["type"] == "video.generation.expired"


async def test_only_what_an_endpoint_wants_and_only_of_its_own_key(running: Telling) -> None:
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
    (one,) = running.receiver.requests
    one.verified_by(endpoint["secret"])


# --- what is not received ---------------------------------------------------------------------------------------------


async def test_it_is_tried_along_the_schedule_and_then_dead(running: Telling) -> None:
    running.receiver.fail(500)
    generation = await running.tell()
    await running.gateway.clock.run_for(30 * 3600)

    moments = [one.at for one in running.receiver.requests]
    waits = [(after - before).total_seconds() for before, after in pairwise(moments)]
    assert tuple(waits) == SCHEDULE
    assert len(set(running.receiver.ids)) == 1
    for one in running.receiver.requests:  # each with a fresh timestamp: a library takes none that is old
        one.verified_by(running.secret)
    told = await running.told(generation)
    assert (told["state"], told["next_try_at"], len(told["tries"])) == ("dead", None, 8)


async def test_a_receiver_that_is_back_gets_it(running: Telling) -> None:
    running.receiver.answer = lambda _: (200 if len(running.receiver.requests) > 2 else 503, {})
    generation = await running.tell()
    await running.gateway.clock.run_for(24 * 3600)

    assert [one["status"] for one in (await running.told(generation))["tries"]] == [503, 503, 200]
    assert len(running.receiver.requests) == 3


async def test_a_receiver_may_ask_for_time(running: Telling) -> None:
    running.receiver.fail(429, **{"Retry-After": "90"})
    generation = await running.tell()
    await running.settle()

    told = await running.told(generation)
    assert told["next_try_at"] - told["tries"][0]["at"] == 90


async def test_gone_disables_the_endpoint(running: Telling) -> None:
    endpoint = await running.endpoint()
    running.receiver.fail(410)
    await running.end()
    await running.settle()
    await running.end()
    await running.gateway.clock.run_for(48 * 3600)

    assert len(running.receiver.requests) == 1
    found = await running.call("GET", f"{ENDPOINTS}/{endpoint['id']}")
    assert (found["disabled"], found["disabled_reason"]) == (True, "gone")
    await running.call("PATCH", f"{ENDPOINTS}/{endpoint['id']}", disabled=False)
    await running.end()
    await running.settle()
    assert len(running.receiver.requests) == 2


async def test_a_redirect_is_not_followed(running: Telling) -> None:
    async with receiving(running.gateway.clock.now) as elsewhere:
        running.receiver.fail(307, Location=elsewhere.url)
        generation = await running.tell()
        await running.settle()

        assert elsewhere.requests == []
    told = await running.told(generation)
    assert (told["state"], [one["status"] for one in told["tries"]]) == ("pending", [307])


async def test_a_receiver_that_says_nothing_is_given_up_for_now(telling: Telling) -> None:
    telling.webhooks = WebhookSettings(timeout_seconds=0.2)
    await telling.start()
    telling.receiver.gate.clear()
    generation = await telling.tell()
    await telling.settle()

    told = await telling.told(generation)
    assert (told["state"], told["tries"][0]["status"]) == ("pending", None)
    assert "in time" in told["tries"][0]["error"]


async def test_nobody_listens(running: Telling) -> None:
    generation = await running.tell("http://127.0.0.1:9/hook")
    await running.settle()

    told = await running.told(generation)
    assert (told["state"], told["tries"][0]["status"]) == ("pending", None)
    assert "could be opened" in told["tries"][0]["error"]


async def test_what_may_not_be_reached_any_more_is_dead_and_says_the_remedy(running: Telling) -> None:
    running.receiver.fail(500)
    generation = await running.tell()
    await running.settle()
    running.fetch = FetchSettings()
    await running.gateway.restart()
    await running.gateway.clock.run_for(10)

    told = await running.told(generation)
    assert (told["state"], len(running.receiver.requests)) == ("dead", 1)
    assert "fetch.allow" in told["tries"][1]["error"]


async def test_a_name_that_leads_astray_for_a_while_is_tried_again(running: Telling, monkeypatch: Any) -> None:
    """One bad answer of a name server says nothing about the next."""
    answers = ["127.0.0.1", "10.9.9.9"]

    async def resolve(*_: Any) -> list[str]:
        return [answers.pop()]

    monkeypatch.setattr(running.gateway.app._deliverer._poster, "_resolve", resolve)
    generation = await running.tell("https://hook.test:9/")
    await running.gateway.clock.run_for(SCHEDULE[0])

    told = await running.told(generation)
    assert (told["state"], answers) == ("pending", [])
    astray, closed = (one["error"] for one in told["tries"])
    assert "fetch.allow" in astray
    assert "could be opened" in closed


# --- signatures -------------------------------------------------------------------------------------------------------


async def test_both_secrets_verify_while_an_endpoints_is_being_rotated(running: Telling) -> None:
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


async def test_both_of_the_operators_secrets_verify(telling: Telling) -> None:
    telling.webhooks = WebhookSettings(secret=Secret.of(NEW), previous_secret=Secret.of(OLD))
    await telling.start()
    await telling.tell()
    await telling.settle()

    telling.receiver.requests[0].verified_by(OLD, NEW)
    assert telling.secret is None


async def test_the_secret_of_a_key_is_the_same_after_a_restart(running: Telling) -> None:
    await running.gateway.restart()
    await running.tell()
    await running.settle()

    assert running.receiver.requests[0].verified_by(running.secret)


# --- asked for --------------------------------------------------------------------------------------------------------


async def test_a_test_is_sent_signed_and_told_of(running: Telling) -> None:
    endpoint = await running.endpoint(events=["video.generation.failed"])
    sent = await running.call("POST", f"{ENDPOINTS}/{endpoint['id']}/test")
    await running.settle()

    body = running.receiver.requests[0].verified_by(endpoint["secret"])
    assert (body["type"], body["data"]) == ("webhook.test", {"id": endpoint["id"], "object": "webhook_endpoint"})
    assert running.receiver.ids == [sent["event_id"]]
    assert (await running.call("GET", f"{DELIVERIES}/{sent['id']}"))["state"] == "succeeded"


@pytest.mark.parametrize("status", [200, 410, 500])
async def test_a_delivery_is_sent_again_under_the_same_id(running: Telling, status: int) -> None:
    running.receiver.fail(status)
    generation = await running.tell()
    await running.settle()
    told = await running.told(generation)
    running.receiver.fail(204)

    await running.call("POST", f"{DELIVERIES}/{told['id']}/redeliver")
    await running.settle()

    after = await running.told(generation)
    assert (after["state"], [one["status"] for one in after["tries"]]) == ("succeeded", [status, 204])
    assert running.receiver.ids == [told["event_id"]] * 2


async def test_what_waits_goes_to_where_its_endpoint_is_moved(running: Telling) -> None:
    endpoint = await running.endpoint()
    running.receiver.fail(500)
    await running.end()
    await running.settle()
    async with receiving(running.gateway.clock.now) as elsewhere:
        await running.call("PATCH", f"{ENDPOINTS}/{endpoint['id']}", url=elsewhere.url)
        await running.gateway.clock.run_for(6)

        assert elsewhere.ids == running.receiver.ids
        elsewhere.requests[0].verified_by(endpoint["secret"])


# --- whatever happens -------------------------------------------------------------------------------------------------


async def test_a_crash_between_sending_and_noting_sends_it_again(
    running: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(window: str) -> None:
        raise FailpointError(window)

    monkeypatch.setattr(deliver, "reach", dies)
    generation = await running.tell()
    await running.settle()
    assert (await running.told(generation))["tries"] == []
    await running.gateway.crash()
    monkeypatch.undo()

    await running.gateway.start()
    await running.gateway.clock.run_for(15 + SPARE_SECONDS)

    assert len(running.receiver.requests) == 2
    assert len(set(running.receiver.ids)) == 1
    assert (await running.told(generation))["state"] == "succeeded"


async def test_what_ended_before_a_stop_is_told_after_it(running: Telling) -> None:
    running.gateway.app._deliverer.stop()
    generation = await running.tell()
    await running.settle()
    assert running.receiver.requests == []

    await running.gateway.restart()
    await running.settle()

    assert [one.data["id"] for one in running.receiver.requests] == [generation]


async def test_a_stop_lets_what_is_being_sent_end(running: Telling) -> None:
    running.receiver.gate.clear()
    generation = await running.tell()
    await running.until(lambda: running.receiver.under_way == 1)
    stopping = asyncio.create_task(running.gateway.stop())
    await running.until(lambda: running.gateway.app._deliverer._stopping)
    assert not stopping.done()

    running.receiver.gate.set()
    await stopping

    await running.gateway.start()
    await running.gateway.clock.run_for(3600)
    assert (await running.told(generation))["state"] == "succeeded"
    assert len(running.receiver.requests) == 1


async def test_a_stop_does_not_wait_for_ever(telling: Telling) -> None:
    telling.gateway.drain_seconds = 0.6
    await telling.start()
    telling.receiver.gate.clear()
    generation = await telling.tell()
    await telling.until(lambda: telling.receiver.under_way == 1)
    await telling.gateway.stop()
    telling.receiver.gate.set()

    await telling.gateway.start()
    await telling.gateway.clock.run_for(60)
    assert len(telling.receiver.requests) == 2
    assert (await telling.told(generation))["state"] == "succeeded"


async def test_a_slow_receiver_has_its_share_and_delays_nobody_else(running: Telling) -> None:
    running.receiver.gate.clear()
    for _ in range(RECEIVER_MAX + 4):
        await running.tell()
    await running.until(lambda: running.receiver.under_way == RECEIVER_MAX)
    async with receiving(running.gateway.clock.now) as quick:
        await running.tell(quick.url)
        await running.until(lambda: len(quick.requests) == 1)

    assert running.receiver.most == RECEIVER_MAX
    running.receiver.gate.set()
    await running.settle()
    assert len(set(running.receiver.ids)) == RECEIVER_MAX + 4
    assert running.receiver.most == RECEIVER_MAX


async def test_the_many_receivers_of_one_key_take_no_place_from_another_key(
    running: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "SENDING_MAX", 4)
    gate, asked = asyncio.Event(), []

    async def post(url: str, **_: Any) -> Posted:
        asked.append(url)
        await gate.wait()
        return Posted(200, {})

    deliverer = running.gateway.app._deliverer
    monkeypatch.setattr(deliverer._poster, "post", running.gateway.traffic.counting(post))
    for number in range(12):
        await running.tell(f"https://{number}.many.example/")
    await running.until(lambda: len(asked) == 4)
    running.gateway.client = running.gateway.client_of(OTHER_KEY)
    for number in range(3):
        await running.tell(f"https://{number}.other.example/")
    assert not [url for url in asked if "other" in url]

    first = next(iter(deliverer._sending))  # one place becomes free, then a second one
    first.cancel()
    await running.until(lambda: len(asked) == 5)
    assert "other" in asked[4]
    gate.set()
    await running.settle()
    assert sorted("other" in url for url in asked[5:9]) == [False, False, True, True]
    assert len(set(asked)) == 15


async def test_a_slow_receiver_of_one_key_leaves_places_at_it_to_another_key(running: Telling) -> None:
    running.receiver.gate.clear()
    for _ in range(RECEIVER_MAX * 2):
        await running.tell()
    await running.until(lambda: running.receiver.under_way == RECEIVER_MAX)
    running.gateway.client = running.gateway.client_of(OTHER_KEY)
    generation = await running.tell()
    secret = (await running.call("GET", "/v1/webhook_secret"))["secret"]

    running.receiver.gate.set()
    await running.settle()

    (place,) = (place for place, one in enumerate(running.receiver.requests) if one.data["id"] == generation)
    assert place <= RECEIVER_MAX * 3 / 2  # each has half of what is free, and it came last
    running.receiver.requests[place].verified_by(secret)
    assert running.receiver.most == RECEIVER_MAX


async def test_a_store_that_is_away_for_a_while_holds_up_and_loses_nothing(
    running: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = running.gateway.app.store.webhooks

    async def away(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(store, "claim", away)
        generation = await running.tell()
        await running.settle()
    with monkeypatch.context() as patched:
        patched.setattr(store, "note", away)
        await running.gateway.clock.run_for(TROUBLE_SECONDS)
    assert len(running.receiver.requests) == 1
    await running.gateway.clock.run_for(15 + SPARE_SECONDS)

    assert len(running.receiver.requests) == 2
    assert (await running.told(generation))["state"] == "succeeded"


@pytest.mark.parametrize("part", ["_view", "_poster", "_encode"])
async def test_one_that_the_gateway_fails_at_is_tried_along_the_schedule_and_holds_up_no_other(
    running: Telling, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    deliverer = running.gateway.app._deliverer
    broken = (await running.gateway.post(model=FOX, webhook_url=running.receiver.url + "/broken"))["id"]
    view, post, encode = deliverer._view, deliverer._poster.post, deliver._encode

    def views(generation: Any) -> object:
        if generation.id == broken:
            raise ValueError("broken")
        return view(generation)

    async def posts(url: str, **more: Any) -> Any:
        if url.endswith("broken"):
            raise RuntimeError("broken")
        return await post(url, **more)

    def encodes(body: Any) -> bytes:
        if msgspec.to_builtins(body["data"])["id"] == broken:
            raise TypeError("broken")
        return encode(body)

    match part:
        case "_view":
            monkeypatch.setattr(deliverer, "_view", views)
        case "_poster":
            monkeypatch.setattr(deliverer._poster, "post", posts)
        case _:
            monkeypatch.setattr(deliver, "_encode", encodes)
    await running.call("POST", f"/v1/videos/generations/{broken}/cancel")
    good = await running.tell()
    await running.settle()

    assert [one.data["id"] for one in running.receiver.requests] == [good]
    assert [one["error"] for one in (await running.told(broken))["tries"]] == ["the gateway failed"]
    await running.gateway.clock.run_for(30 * 3600)
    told = await running.told(broken)
    assert (told["state"], len(told["tries"])) == ("dead", 8)


async def test_a_generation_that_is_deleted_is_told_of_no_more(running: Telling) -> None:
    running.receiver.fail(500)
    generation = await running.tell()
    await running.gateway.clock.run_for(1)
    await running.call("DELETE", f"/v1/videos/generations/{generation}")
    await running.gateway.clock.run_for(48 * 3600)

    assert len(running.receiver.requests) == 1
    assert (await running.call("GET", DELIVERIES))["data"] == []


async def test_of_300_each_is_told_at_least_once_and_none_unsigned(running: Telling) -> None:
    """The receiver fails a third of the time. `bench/webhooks.py` does the same with 10,000."""
    running.receiver.answer = lambda _: (200, {}) if len(running.receiver.requests) % 3 else (500, {})
    store = running.gateway.app.store
    first = await running.gateway.stored(await running.tell())
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
    for one in running.receiver.requests:
        one.verified_by(running.secret)
