"""Gateways whose clocks are eight seconds apart: nothing is done twice, and nothing ends earlier or later by more."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from gateway.api.web.links import TOKEN_GRACE
from gateway.app import Application
from gateway.clock import SystemClock
from gateway.domain.replicas import DEAD_SECONDS
from gateway.domain.webhooks import RETRY_SECONDS
from gateway.fetch.fetcher import Posted
from gateway.settings.load import load
from gateway.store.port import KEY_LIFE

from ..postgres_databases import execute
from ..processes import LIMIT_SECONDS, freeze, until
from .conftest import ADAPTERS, PROVIDER_KEYS, VIDEOS, running
from .results import keep, kept_generation
from .test_attempts import ADMIN_KEY
from .test_replicas import OWN, SHARED, contradictions, several, submits

APART = 8
WITHIN = timedelta(seconds=APART + 1)  # by more than the clocks differ, as some time passes while a test looks
NEARLY = timedelta(seconds=APART / 2)  # a gateway learns the clock of the database as exactly as a slow answer allows
# The last heartbeat of the gateway that drives something is a minute old.
AGE = (
    "update replicas set heartbeat_at = heartbeat_at - interval '1 minute'"
    " where id in (select replica from generations)"
)
KEY = {"idempotency-key": "order 1"}


class Pair:
    """Two gateways on one ledger; the clock of the second is ahead of that of the first by `apart` seconds."""

    def __init__(self, gateways: list[Any], apart: int) -> None:
        self.both = gateways
        self.first, self.second = gateways
        self._ahead = timedelta(seconds=apart)
        self.second.clock._now = self.first.clock._now + self._ahead

    async def pass_to(self, moment: datetime) -> None:
        """Let time pass until it is this moment by the clock of the first."""
        for gateway, wanted in zip(self.both, (moment, moment + self._ahead), strict=True):
            await gateway.clock.advance((wanted - gateway.clock.now()).total_seconds())

    async def pass_seconds(self, seconds: int) -> None:
        """Let time pass, second by second."""
        for _ in range(seconds):
            await self.pass_to(self.first.clock.now() + timedelta(seconds=1))


@pytest.fixture(params=[-APART, APART])
def pair(start: Any, postgres_url: str, request: pytest.FixtureRequest) -> Any:
    """Starts two gateways with a configuration and an environment."""

    async def begin(toml: str = "", **environ: str) -> Pair:
        return Pair(await several(start, postgres_url, toml=toml, **environ), request.param)

    return begin


async def test_a_key_of_a_client_ends_at_both(pair: Any, check_error: Any) -> None:
    toml = 'server.admin_keys = ["env:ADMIN"]\n[clients.shop]\nkeys = ["env:SHOP"]\n'
    gateways = await pair(toml, ADMIN=ADMIN_KEY, SHOP="vg_" + "s" * 40)
    ends = gateways.first.clock.now().replace(microsecond=0) + timedelta(seconds=60)
    async with gateways.first.client_of(ADMIN_KEY) as admin:
        answer = await admin.post("/v1/admin/clients/shop/keys", json={"expires_at": int(ends.timestamp())})
    clients = [gateway.client_of(answer.json()["key"]) for gateway in gateways.both]
    await gateways.pass_to(ends - WITHIN)
    for client in clients:
        await until_accepted(client)
    await gateways.pass_to(ends + WITHIN)
    for client in clients:
        check_error(await client.get(VIDEOS), 401, "api_key_expired")
        await client.aclose()


async def until_accepted(client: httpx.AsyncClient) -> None:
    """Wait until a gateway has noticed a key that was made at another one."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while (await client.get(VIDEOS)).status_code != 200:
            pass


async def test_an_idempotency_key_is_forgotten_by_both_and_used_again_once(pair: Any) -> None:
    gateways = await pair()

    async def repeat() -> set[str]:
        calls = [gateway.client.post(VIDEOS, json=OWN[1], headers=KEY) for gateway in gateways.both]
        return {answer.json()["id"] for answer in await asyncio.gather(*calls)}

    made = (await gateways.first.client.post(VIDEOS, json=OWN[1], headers=KEY)).json()["id"]
    created_at = (await gateways.first.stored(made)).created_at
    await gateways.first.finish()
    await gateways.pass_to(created_at + KEY_LIFE - WITHIN)
    assert await repeat() == {made}
    await gateways.pass_to(created_at + KEY_LIFE)
    between = await repeat() - {made}
    await gateways.pass_to(created_at + KEY_LIFE + WITHIN)
    after = await repeat()
    assert len(after) == 1, "neither makes one of its own"
    assert between <= after != {made}
    assert len((await gateways.second.client.get(VIDEOS)).json()["data"]) == 2
    await gateways.pass_seconds(3)
    assert submits(gateways.both) == 2


async def test_the_link_of_a_result_opens_it_at_both_until_it_ends(pair: Any, check_error: Any) -> None:
    gateways = await pair()
    owner = (await gateways.first.stored((await gateways.first.create())["id"])).owner
    made = kept_generation(owner, gateways.first.clock.now(), b"a video")
    await keep(gateways.first.application, made, b"a video")
    ends = made.outputs[0].kept.kept_until
    view = (await gateways.first.client.get(f"{VIDEOS}/{made.id}")).json()
    link = httpx.URL(view["data"][0]["url"]).raw_path.decode()
    for moment, status in ((ends - WITHIN, 200), (ends + WITHIN, 410), (ends + TOKEN_GRACE + WITHIN, 401)):
        await gateways.pass_to(moment)
        for gateway in gateways.both:
            async with gateway.client_of(None) as anybody:
                assert (await anybody.get(link)).status_code == status


class Receiver:
    """Gets the webhooks of all gateways: when each came, by the first clock, and the time that it was signed with."""

    def __init__(self, gateways: Pair) -> None:
        self.came: list[datetime] = []
        self.signed: list[datetime] = []
        self.status = 200
        self.answers = asyncio.Event()
        self.answers.set()
        self._clock = gateways.first.clock
        for gateway in gateways.both:
            gateway.application.webhook_fetcher.post = self._post

    async def _post(self, *_: Any, headers: Mapping[str, str], **__: Any) -> Posted:
        self.came.append(self._clock.now())
        self.signed.append(datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC))
        await self.answers.wait()
        return Posted(self.status, {})

    async def first_try(self, gateways: Pair) -> None:
        """Let a generation end, and its webhook come."""
        for gateway in gateways.both:
            gateway.upstream.word = "completed"
        await gateways.first.create(webhook_url="https://hook.example/")
        for _ in range(60):
            if self.came:
                return
            await gateways.pass_seconds(1)
        pytest.fail("no webhook comes")


def look_for_due(gateways: Pair) -> None:
    """Wake the senders of all gateways, as an event of another generation does."""
    for gateway in gateways.both:
        gateway.application.store.webhooks.wake()


async def test_a_webhook_that_is_being_sent_is_not_sent_by_another_one(pair: Any) -> None:
    gateways = await pair()
    receiver = Receiver(gateways)
    receiver.answers.clear()
    await receiver.first_try(gateways)
    for _ in range(int(gateways.first.application.settings.webhooks.timeout_seconds)):  # as long as a try may take
        look_for_due(gateways)
        await gateways.pass_seconds(1)
    receiver.answers.set()  # before anything may fail, as a gateway that stops waits for what it is sending
    assert len(receiver.came) == 1
    look_for_due(gateways)
    await gateways.pass_seconds(60)
    assert len(receiver.came) == 1
    (event,) = (await gateways.second.client.get("/v1/webhook_deliveries")).json()["data"]
    assert event["state"] == "succeeded"


async def test_retries_of_a_webhook_are_those_of_one_schedule(pair: Any) -> None:
    gateways = await pair()
    receiver = Receiver(gateways)
    receiver.status = 500
    await receiver.first_try(gateways)
    for _ in range(60):
        look_for_due(gateways)
        await gateways.pass_seconds(6)
    pauses = [later - came for came, later in pairwise(receiver.came)]
    assert len(pauses) == 2
    for pause, seconds in zip(pauses, RETRY_SECONDS, strict=False):
        assert abs(pause.total_seconds() - seconds) <= 0.2 * seconds + APART + 6
    for came, signed in zip(receiver.came, receiver.signed, strict=True):
        assert abs(signed - came) <= WITHIN, "receivers refuse a time that is five minutes from their own"


async def test_a_deadline_that_passes_after_a_hand_over_ends_a_generation_once(pair: Any, postgres_url: str) -> None:
    gateways = await pair()
    made = (await gateways.first.create(deadline_seconds=120))["id"]
    await gateways.first.begin(made)
    stored = await gateways.first.stored(made)
    await gateways.pass_to(gateways.first.clock.now())
    await freeze(gateways.first.application.engine)
    await execute(postgres_url, AGE)
    await gateways.pass_seconds(6)  # in which the other one has a heartbeat
    await until(lambda: gateways.second.application.engine.driven == 1)
    await gateways.pass_to(stored.deadline_at - WITHIN)
    assert (await gateways.first.stored(made)).status == "in_progress"
    await gateways.pass_to(stored.deadline_at + WITHIN)
    await gateways.pass_seconds(3)
    events = [event.type for event in await gateways.first.application.store.events(made)]
    assert events.count("generation.expired") == 1
    assert submits(gateways.both) == 1
    assert not await contradictions(postgres_url)


async def test_the_database_says_who_lives_whatever_the_clocks_say(pair: Any) -> None:
    gateways = await pair()
    made = (await gateways.second.create())["id"]
    gateways.second.clock._now += timedelta(seconds=2 * DEAD_SECONDS)
    for gateway in gateways.both:
        await gateway.application.engine.beat()
        await gateway.application.engine.look_after_all()
    assert (gateways.first.application.engine.driven, gateways.second.application.engine.driven) == (0, 1)
    assert (await gateways.first.stored(made)).fence == 1


class Machine(SystemClock):
    """The clock of a machine that is set wrong."""

    def __init__(self, wrong: int) -> None:
        super().__init__()
        self._wall += timedelta(seconds=wrong)


async def test_gateways_on_machines_with_wrong_clocks_go_by_the_clock_of_the_database(
    postgres_url: str, tmp_path: Path
) -> None:
    (tmp_path / "gateway.toml").write_text(SHARED)
    environ = {**PROVIDER_KEYS, "VIDEO_GATEWAY_DATABASE_URL": postgres_url, "VIDEO_GATEWAY_ARTIFACTS": str(tmp_path)}
    settings = load(tmp_path / "gateway.toml", environ, ADAPTERS)
    connection = await asyncpg.connect(postgres_url)
    async with AsyncExitStack() as stack:
        for wrong in (-APART, APART):
            application = Application(settings, adapters=ADAPTERS, clock=Machine(wrong))
            await stack.enter_async_context(running(application))
            before = await connection.fetchval("select clock_timestamp()")
            now = application.clock.now()
            after = await connection.fetchval("select clock_timestamp()")
            assert before - NEARLY < now < after + NEARLY
    await connection.close()
