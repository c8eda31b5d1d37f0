"""A key that was a client by itself becomes a key of a client with a name, which then owns what the key owned."""

import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import httpx
import pytest
from standardwebhooks import Webhook
from structlog.testing import capture_logs

from gateway.app import Application
from gateway.commands.check import check
from gateway.domain.clients import key_digest, owner_of_key
from gateway.fetch.fetcher import Posted
from gateway.settings.load import load
from gateway.store import migrations
from gateway.store.sql.adoption import MOVES

from .conftest import ADAPTERS, KEY, OTHER_KEY, PROVIDER_KEYS, VIDEOS, Gateway, ManualClock, StubUpstream, running
from .test_files import picture

ALONE = 'server.api_keys = ["env:KEY", "env:OTHER"]'
NAMED = '[clients.shop]\nkeys = ["env:KEY", "env:OTHER"]'
ADOPTED = f'[clients.shop]\nkeys = ["env:NEW"]\nadopt = ["{owner_of_key(key_digest(KEY))}"]'
NEW = "vg_" + "n" * 40
BODY = {"model": "foxapi/kling-v3-text-to-video", "prompt": "A beach."}


class Gateways:
    """Starts one gateway after another on the same ledger."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.upstream, self.clock = StubUpstream(), ManualClock()
        self.variables = {**PROVIDER_KEYS, "KEY": KEY, "OTHER": OTHER_KEY, "NEW": NEW}
        self.variables["VIDEO_GATEWAY_ARTIFACTS"] = str(folder / "artifacts")
        self.variables["VIDEO_GATEWAY_DATABASE_URL"] = f"sqlite:///{folder / 'test.db'}"

    def write(self, toml: str) -> Path:
        """The configuration file, with these lines."""
        file = self._folder / "gateway.toml"
        file.write_text(f"artifacts.thumbnails = false\n{toml}")
        return file

    @asynccontextmanager
    async def run(self, toml: str) -> AsyncIterator[Any]:
        settings = load(self.write(toml), self.variables, ADAPTERS)
        transport = httpx.MockTransport(self.upstream)
        application = Application(settings, adapters=ADAPTERS, clock=self.clock, transport=transport)
        posts: list[tuple[bytes, dict[str, str]]] = []

        async def post(_: str, *, content: bytes, headers: dict[str, str], **__: Any) -> Posted:
            posts.append((content, dict(headers)))
            return Posted(200, {})

        application.webhook_fetcher.post = post  # type: ignore[method-assign, assignment]  # tests have no network
        application.input_fetcher.get = self.upstream.fetch  # type: ignore[method-assign]  # likewise
        application.result_fetcher.get = self.upstream.fetch  # type: ignore[method-assign]  # likewise
        self.clock.traffic.count_threads(application)
        async with running(application):
            gateway: Any = Gateway(application, self.upstream, self.clock)
            gateway.posts, gateway.new = posts, gateway.client_of(NEW)
            yield gateway


@pytest.fixture
def gateways(tmp_path: Path) -> Gateways:
    return Gateways(tmp_path)


def owners(gateway: Any) -> dict[str, set[str]]:
    """By table: the owner ids that it has."""
    with closing(apsw.Connection(str(gateway.application.settings.database.path))) as database:
        return {
            table: {row[0] for row in database.execute(f"select distinct key from {table}")}  # noqa: S608  # no text from outside
            for table in MOVES
        }


async def test_everything_that_a_key_owned_belongs_to_its_client(gateways: Gateways) -> None:
    png = picture()
    order, image = {"idempotency-key": "order-1"}, "data:image/png;base64," + base64.b64encode(png).decode()
    with_image = {**BODY, "model": "foxapi/kling-v3-image-to-video", "image": image, "metadata": {"a": "b"}}
    retry = {"x-stainless-retry-count": "1"}
    async with gateways.run(ALONE) as gateway:
        first = (await gateway.client.post(VIDEOS, json=with_image, headers=order)).json()
        other = (await gateway.other.post(VIDEOS, json=BODY, headers=order)).json()  # the same name for another request
        plain = (await gateway.client.post(VIDEOS, json={**with_image, "prompt": "A wave."})).json()
        hook = {**BODY, "webhook_url": "https://client.example/hook"}
        called = (await gateway.client.post(VIDEOS, json=hook)).json()
        secret = (await gateway.client.get("/v1/webhook_secret")).json()["secret"]
        endpoint = (await gateway.client.post("/v1/webhook_endpoints", json={"url": "https://client.example/e"})).json()
        upload = (await gateway.client.post("/v1/files", files={"file": png}, data={"purpose": "vision"})).json()
        link = (await gateway.client.post("/foxapi/v1/files/upload/stream", files={"file": png})).json()
        deleted = (await gateway.client.post(VIDEOS, json={**BODY, "prompt": "Gone."})).json()
        await gateway.client.post(f"{VIDEOS}/{deleted['id']}/cancel")
        assert (await gateway.client.delete(f"{VIDEOS}/{deleted['id']}")).status_code == 200
        before = {owner for names in owners(gateway).values() for owner in names}
        assert before == {owner_of_key(key_digest(key)) for key in (KEY, OTHER_KEY)}
    async with gateways.run(NAMED) as gateway:
        after = owners(gateway)
        assert {owner for table, names in after.items() if table != "idempotency_keys" for owner in names} == {
            "client_shop"
        }
        submits = len(gateways.upstream.submits)
        for client in (gateway.client, gateway.other):  # both keys are of one client now
            listed = {listed["id"] for listed in (await client.get(VIDEOS)).json()["data"]}
            assert listed == {first["id"], other["id"], plain["id"], called["id"]}
            filtered = (await client.get(VIDEOS, params={"metadata[a]": "b"})).json()["data"]
            assert {listed["id"] for listed in filtered} == {first["id"], plain["id"]}
            assert (await client.get(f"/v1/files/{upload['id']}")).status_code == 200
            assert (await client.get(f"/v1/webhook_endpoints/{endpoint['id']}")).status_code == 200
            for body, headers, made in (
                (with_image, order, first),
                (BODY, order, other),
                ({**with_image, "prompt": "A wave."}, retry, plain),
            ):
                repeat = await client.post(VIDEOS, json=body, headers=headers)
                assert repeat.json()["id"] == made["id"], repeat.text
            gone = await client.post(VIDEOS, json={**BODY, "prompt": "Gone."}, headers=retry)
            assert gone.json()["error"]["code"] == "generation_deleted"
        assert (await gateway.client_of(None).get(link["url"])).status_code == 200  # a link from before
        gateways.upstream.word = "completed"
        for _ in range(3):
            await gateway.clock.advance(60)
        assert len(gateways.upstream.submits) == submits
        bodies = [post for post in gateway.posts if b'"id":"%s"' % called["id"].encode() in post[0]]
        assert len(bodies) == 2  # its own URL and the endpoint
        for body, headers in bodies:
            signatures = headers["webhook-signature"].split(" ")
            moment = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
            is_own = Webhook(secret).sign(headers["webhook-id"], moment, body.decode()) in signatures
            assert is_own == (len(signatures) == 3)  # of the client, and of both keys from before; or of the endpoint
    async with gateways.run(NAMED) as gateway:  # a second start changes nothing
        assert owners(gateway)["idempotency_keys"] == after["idempotency_keys"]
        repeat = await gateway.client.post(VIDEOS, json=with_image, headers=order)
        assert repeat.json()["id"] == first["id"]


async def test_a_key_that_leaves_its_client_is_warned_of_and_can_come_back(
    gateways: Gateways, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = owner_of_key(key_digest(KEY))

    def warnings(logged: Sequence[Mapping[str, Any]]) -> list[str]:
        return [line["detail"] for line in logged if line["event"] == "key_left_things_behind"]

    def checked(toml: str) -> str:
        capsys.readouterr()
        check(gateways.write(toml), connect=False)
        return " ".join(capsys.readouterr().out.split())

    for name, value in gateways.variables.items():
        monkeypatch.setenv(name, value)
    async with gateways.run(ALONE) as gateway:
        made = await gateway.create()
    with capture_logs() as logged:
        async with gateways.run(NAMED):
            pass
    assert (warnings(logged), "what the key" in checked(NAMED)) == ([], False)
    with capture_logs() as logged:
        async with gateways.run(ALONE) as gateway:
            assert (await gateway.client.get(VIDEOS)).json()["data"] == []
            later = await gateway.create()
    assert len(warnings(logged)) == 2, "one for each key"
    (warning,) = [text for text in warnings(logged) if own in text]
    assert warning.startswith(f"server.api_keys[0]: what the key {own} made until")
    assert warning.endswith("move the key to `keys` of [clients.shop]")
    assert f"server.api_keys[0]: what the key {own} made until" in checked(ALONE)
    assert f"clients.store: what the key {own} made until" in checked(NAMED.replace("shop", "store"))
    with capture_logs() as logged:
        async with gateways.run(NAMED) as gateway:
            listed = {listed["id"] for listed in (await gateway.client.get(VIDEOS)).json()["data"]}
    assert (listed, warnings(logged)) == ({made["id"], later["id"]}, [])


async def test_owner_ids_are_adopted_without_their_keys(gateways: Gateways) -> None:
    async with gateways.run(ALONE) as gateway:
        made = await gateway.create()
        others = await gateway.create(gateway.other)
    async with gateways.run(ADOPTED) as gateway:
        assert [listed["id"] for listed in (await gateway.new.get(VIDEOS)).json()["data"]] == [made["id"]]
        assert (await gateway.new.get(f"{VIDEOS}/{others['id']}")).status_code == 404
        assert (await gateway.client.get(VIDEOS)).status_code == 401  # its key is configured no more


async def test_the_last_webhooks_of_a_client_that_was_removed_hide_what_it_may_not_have_seen(
    gateways: Gateways,
) -> None:
    words = ("provider", "attempts", "cost_usd")
    body = {**BODY, "webhook_url": "https://client.example/hook"}
    for toml, shown in ((NAMED, True), (ALONE, False)):
        async with gateways.run(NAMED) as gateway:
            made = (await gateway.client.post(VIDEOS, json=body)).json()
        gateways.upstream.word = "completed"
        async with gateways.run(toml) as gateway:
            for _ in range(3):
                await gateway.clock.advance(60)
            (sent,) = [post.decode() for post, _ in gateway.posts if made["id"].encode() in post]
        assert '"completed"' in sent
        assert [word for word in words if f'"{word}"' in sent] == (list(words) if shown else [])
        gateways.upstream.word = "processing"
        body["prompt"] = "A wave."


def test_every_table_with_an_owner_has_a_rule_for_its_adoption() -> None:
    with closing(apsw.Connection(":memory:")) as database:
        for migration in migrations.load("sqlite"):
            database.execute(migration.sql)
        owned = {
            row[0]
            for row in database.execute(
                "select m.name from sqlite_schema as m join pragma_table_info(m.name) as c"
                " where m.type = 'table' and c.name = 'key'"
            )
        }
    assert owned == set(MOVES)
