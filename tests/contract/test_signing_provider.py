"""What an adapter of a third party may have: several secrets, signatures over bytes, a cancel, a test of the key."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import structlog

from gateway.app import Application
from gateway.domain.adapter.contract import Credential, FilePart, HttpCall, KeyVerdict
from gateway.settings.load import load
from gateway.upstream.client import Upstream
from gateway.upstream.key_tests import try_keys
from gateway.upstream.provider import bind

from .signing_provider import ADAPTER, URL, SigningProvider, signature

VIDEOS = "/v1/videos/generations"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TABLES = """
[providers.signing]
secrets = { access_key = "env:A_ACCESS", secret_key = "env:A_SECRET" }
[providers.signing_b]
adapter = "signing"
secrets = { access_key = "env:B_ACCESS", secret_key = "env:B_SECRET" }
"""
ENVIRON = {"A_ACCESS": "access-a", "A_SECRET": "the secret of a", "B_ACCESS": "access-b", "B_SECRET": "the secret of b"}


@dataclass
class Site:
    """A gateway with two accounts at the provider."""

    provider: SigningProvider
    client: httpx.AsyncClient
    application: Application

    @property
    def is_idle(self) -> bool:
        """Whether no generation is driven, so that everything learnt is stored."""
        return not self.application.engine._drivers

    async def post(self, **body: Any) -> dict[str, Any]:
        answer = await self.client.post(VIDEOS, json={"prompt": "A kite.", **body})
        assert answer.status_code == 200, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def until(self, generation: dict[str, Any], reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read the generation until it is as expected."""
        async with asyncio.timeout(20):
            while not reached(generation):
                await asyncio.sleep(0.01)
                generation = (await self.client.get(f"{VIDEOS}/{generation['id']}")).json()
        return generation


@asynccontextmanager
async def running(tmp_path: Path) -> AsyncIterator[Site]:
    """A running gateway."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    file = tmp_path / "gateway.toml"
    file.write_text(TABLES)
    environ = {
        **ENVIRON,
        "VIDEO_GATEWAY_DATABASE_URL": f"sqlite:///{tmp_path / 'test.db'}",
        "VIDEO_GATEWAY_ARTIFACTS": str(tmp_path / "artifacts"),
    }
    provider = SigningProvider({"access-a": "the secret of a", "access-b": "the secret of b"})
    adapters = {"signing": ADAPTER}
    application = Application(load(file, environ, adapters), adapters=adapters, transport=httpx.MockTransport(provider))
    transport = httpx.ASGITransport(application.asgi)
    try:
        async with (
            application.litestar.lifespan(),
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
        ):
            yield Site(provider, client, application)
    finally:
        structlog.reset_defaults()


def accepted(generation: dict[str, Any]) -> bool:
    return bool(generation["attempts"]) and generation["attempts"][-1]["status"] == "in_progress"


async def test_each_account_signs_with_its_own_secrets_and_has_its_own_task_ids(tmp_path: Path) -> None:
    async with running(tmp_path) as site:
        made = [await site.post(model=f"{account}/one") for account in ("signing", "signing_b")]
        for generation in made:
            await site.until(generation, accepted)
        await site.until(made[1], lambda _: site.provider.calls["access-b", "GET", "/tasks/t-1"] > 0)
        attempts = [(await site.application.store.get(generation["id"])) for generation in made]

    assert [attempt.attempts[0].tasks[0].ref.id for attempt in attempts if attempt is not None] == ["t-1", "t-1"]
    assert site.provider.tasks == {"access-a": 1, "access-b": 1}
    assert site.provider.calls["access-a", "GET", "/tasks/t-1"] > 0


async def test_a_clients_cancel_reaches_the_provider_once_and_its_answer_decides_about_the_bill(tmp_path: Path) -> None:
    async with running(tmp_path) as site:
        made = await site.until(await site.post(model="signing_b/one"), accepted)

        cancelled = (await site.client.post(f"{VIDEOS}/{made['id']}/cancel")).json()
        assert cancelled["status"] == "cancelled"
        ended = await site.until(cancelled, lambda generation: generation["attempts"][0]["billed"] == "no")

        assert (ended["status"], site.provider.cancelled) == ("cancelled", {("access-b", "t-1")})
        assert site.provider.calls["access-b", "POST", "/tasks/t-1/cancel"] == 1


async def test_an_answer_without_proof_leaves_the_bill_open(tmp_path: Path) -> None:
    async with running(tmp_path) as site:
        for answer in (
            httpx.Response(200, text="<html>"),
            httpx.Response(500),
            httpx.Response(200, json={"charged": 1}),
        ):
            site.provider.on_cancel = lambda answer=answer: answer  # type: ignore[misc]  # the default binds it
            made = await site.until(await site.post(model="signing/one"), accepted)
            sent = len(site.provider.cancelled)
            await site.client.post(f"{VIDEOS}/{made['id']}/cancel")

            ended = await site.until(made, lambda _, sent=sent: len(site.provider.cancelled) > sent and site.is_idle)  # type: ignore[misc]  # as above

            assert ended["attempts"][0]["billed"] == "maybe"


async def test_the_test_of_a_key_proves_it_and_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text(TABLES)
    settings = load(tmp_path / "gateway.toml", {**ENVIRON, "B_SECRET": "another secret"}, {"signing": ADAPTER})
    provider = SigningProvider({"access-a": "the secret of a", "access-b": "the secret of b"})
    upstream = Upstream(httpx.MockTransport(provider))

    results = await try_keys(bind(settings, {"signing": ADAPTER}).values(), upstream, NOW)

    verdicts = [result.key.verdict for result in results if result.key is not None]
    assert verdicts == [KeyVerdict.ACCEPTED, KeyVerdict.REFUSED]
    assert provider.tasks == {}


PICTURE = FilePart(field="file", filename='a "fox".png', content_type="image/png", content=b"\x89PNG\r\n--\r\n" * 50)


CALLS = (
    HttpCall(method="POST", path="/x", json={"prompt": "ü – \u2028", "n": [1, 2.5, None, True]}),
    HttpCall(method="GET", path="/x/a%2Fb", query={"a b": "ü&=", "c": ""}),
    HttpCall(method="POST", path="/x", file=PICTURE, fields={"kind": "first frame", "ü": "ö"}),
    HttpCall(method="POST", path="/x", json={}),
    HttpCall(method="POST", path="/x", json=[], headers={"Content-Type": "text/json"}),
)


async def test_authorize_sees_exactly_what_is_sent() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200)

    credential = Credential(secrets={"access_key": "a", "secret_key": "s"})
    upstream = Upstream(httpx.MockTransport(answer))
    for call in CALLS:
        signed = ADAPTER.authorize(call, credential, NOW)
        await upstream.send(signed, base_url=URL + "/v1", timeout_seconds=1)

        request = seen.pop()
        target = request.url.raw_path.decode().removeprefix("/v1")
        expected = signature("s", str(int(NOW.timestamp())), call.method, target, request.content)
        assert request.headers["x-signature"] == expected
        assert (target, request.content) == (call.target, call.body)
        own_type = {name.lower(): value for name, value in call.headers.items()}.get("content-type")
        assert request.headers.get("content-type") == (own_type or call.content_type)


def test_a_body_that_authorize_changes_is_sent_as_changed() -> None:
    call = HttpCall(method="POST", path="/x", json={"a": 1})
    assert call.body == b'{"a":1}'

    changed = HttpCall(method=call.method, path=call.path, json={**call.json, "signature": "s"})

    assert changed.body == b'{"a":1,"signature":"s"}'


def test_a_multipart_body_is_what_a_client_library_makes_of_the_same_parts() -> None:
    call = HttpCall(method="POST", path="/x", file=PICTURE, fields={"kind": "first frame", "b": "2"})
    assert call.content_type is not None
    made = httpx.Request(
        "POST",
        URL,
        headers={"Content-Type": call.content_type},
        data={"kind": "first frame", "b": "2"},
        files={"file": (PICTURE.filename, PICTURE.content, PICTURE.content_type)},
    )

    assert call.body == made.read()
    assert re.fullmatch(r"multipart/form-data; boundary=[0-9a-f]{32}", call.content_type)
    assert HttpCall(method="POST", path="/x", file=PICTURE, fields={"b": "2"}).content_type != call.content_type
