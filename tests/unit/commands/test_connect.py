"""`check --connect`: what each provider's answer proves about a key, in words, and that nothing is ever bought."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from gateway.cli import cli
from gateway.domain.adapter.contract import HttpCall, HttpReply, KeyVerdict
from gateway.sandbox.provider import BAD_KEY
from gateway.sandbox.server import SandboxServer
from gateway.settings.load import ProviderSettings, Secret, Settings
from gateway.settings.secret_values import redactor_of
from gateway.upstream.client import Upstream
from gateway.upstream.key_tests import KeyResult, try_keys
from gateway.upstream.provider import bind
from gateway.upstream.registry import load_adapters

from ...cases import every

ADAPTERS = load_adapters()
NAMES = ("keevx", "kling_relay", "foxapi")


@pytest.fixture(autouse=True)
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in (*map(str.upper, NAMES), "VIDEO_GATEWAY"):
        for ending in ("API_KEY", "BASE_URL", "CONFIG", "DATABASE_URL", "ARTIFACTS", "HOST", "PORT"):
            monkeypatch.delenv(f"{name}_{ending}", raising=False)
    return tmp_path


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxServer]:
    async with SandboxServer() as server:
        yield server


def write(urls: Mapping[str, str], keys: Mapping[str, str]) -> None:
    """Configure an account of each provider, and one more of the relay."""
    urls = {**urls, "relay_b": urls["kling_relay"]}
    text = "".join(
        f"[providers.{name}]\nadapter = '{'kling_relay' if name == 'relay_b' else name}'\n"
        f"api_key = 'env:{keys.get(name, 'GOOD')}'\nbase_url = '{urls[name]}'\n"
        for name in (*NAMES, "relay_b")
    )
    Path("video-gateway.toml").write_text(text)


async def connect(sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, **keys: str) -> Result:
    """Run the command; a key is GOOD unless it is named."""
    monkeypatch.setenv("GOOD", "a-good-upstream-key")
    monkeypatch.setenv("BAD", BAD_KEY)
    write(sandbox.base_urls(), keys)
    return await asyncio.to_thread(CliRunner().invoke, cli, ["check", "--connect"])


async def test_each_account_is_tested_and_nothing_is_bought(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = await connect(sandbox, monkeypatch, relay_b="BAD")

    assert done.exit_code == 1, done.output
    for line in (
        r"^keevx +key accepted: the provider looked for a task that does not exist, .*; not proven: ",
        r"^foxapi +key accepted: the provider looked for a task that does not exist",
        r"^kling_relay +key accepted: the relay lists \d+ models for it; not proven: .*credit.* \(\d+ ms\)$",
        r"^relay_b +an account of kling_relay, http",
        r"^relay_b +KEY REFUSED: HTTP 401",
        r"^result +starts, but the key is refused by relay_b$",
    ):
        assert re.search(line, done.output, re.MULTILINE), (line, done.output)
    assert all(sandbox.state.received[name, "submit"] == 0 for name in NAMES)
    assert all(sandbox.state.started[name] == 0 for name in NAMES)
    assert "a-good-upstream-key" not in done.output


async def test_a_good_key_everywhere_is_good_to_start(sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    done = await connect(sandbox, monkeypatch)

    assert done.exit_code == 0, done.output
    assert "relay_b: the same account as providers.kling_relay" in done.output
    assert re.search(r"^result +good to start$", done.output, re.MULTILINE)


async def test_a_provider_without_an_answer_about_the_key_is_no_error(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in NAMES:
        sandbox.fault(name, "poll", "429", times=None)
    sandbox.fault("kling_relay", "other", "429", times=None)

    done = await connect(sandbox, monkeypatch)

    assert done.exit_code == 0, done.output
    assert len(re.findall("the answer says nothing about the key: HTTP ", done.output)) == 4, done.output


@every(
    ("name", "reply", "verdict"),
    [
        ("keevx", (401, '{"code": 100002, "msg": "invalid token"}'), KeyVerdict.REFUSED),
        ("keevx", (200, '{"code": 100002, "msg": "invalid token"}'), KeyVerdict.REFUSED),
        ("keevx", (404, '{"code": 100003, "msg": "task not found"}'), KeyVerdict.ACCEPTED),
        ("keevx", (200, '{"code": 100003, "msg": "task not found", "data": null}'), KeyVerdict.ACCEPTED),
        ("keevx", (404, "404 page not found"), KeyVerdict.UNPROVEN),
        ("foxapi", (401, '{"error": {"message": "no", "type": "authentication_error"}}'), KeyVerdict.REFUSED),
        ("foxapi", (404, '{"error": {"message": "no", "type": "not_found"}}'), KeyVerdict.ACCEPTED),
        ("foxapi", (404, "<html>nginx</html>"), KeyVerdict.UNPROVEN),
        ("foxapi", (403, "error code: 1010"), KeyVerdict.UNPROVEN),
        ("kling_relay", (401, '{"error": {"message": "Invalid token", "type": "new_api_error"}}'), KeyVerdict.REFUSED),
        ("kling_relay", (200, '{"object": "list", "data": []}'), KeyVerdict.ACCEPTED),
        ("kling_relay", (200, "<!doctype html><title>New API</title>"), KeyVerdict.UNPROVEN),
        ("kling_relay", (403, '{"error": {"message": "IP", "code": "access_denied"}}'), KeyVerdict.UNPROVEN),
        *((name, (status, "{}"), KeyVerdict.UNPROVEN) for name in NAMES for status in (200, 429, 500, 502, 302)),
    ],
)
def test_a_reply_proves_what_the_provider_documents(name: str, reply: tuple[int, str], verdict: KeyVerdict) -> None:
    adapter = ADAPTERS[name]
    assert adapter.probe is not None
    assert adapter.read_probe is not None
    call = adapter.probe()

    read = adapter.read_probe(HttpReply(status=reply[0], body=reply[1].encode(), method=call.method, path=call.path))

    assert (call.method, read.verdict) == ("GET", verdict)


async def tested(**functions: object) -> KeyResult:
    """The test of an account whose adapter has these functions, at a provider that answers 200."""
    adapters = {"keevx": replace(ADAPTERS["keevx"], **functions)}  # type: ignore[arg-type]  # a test's own values
    settings = Settings(providers={"keevx": ProviderSettings(api_key=Secret.of("sk-the-upstream-key"))})
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, text="ok")

    upstream = Upstream(httpx.MockTransport(answer))
    provider = replace(bind(settings, adapters)["keevx"], redactor=redactor_of(settings))
    [result] = await try_keys([provider], upstream, datetime(2026, 1, 1, tzinfo=UTC))
    assert all(request.method == "GET" for request in requests), "a test must never send a call that may buy"
    return result


def raises(_: object = None) -> HttpCall:
    raise RuntimeError("it quotes sk-the-upstream-key")


async def test_an_adapter_that_breaks_or_would_start_something_proves_nothing() -> None:
    for functions in (
        {"probe": lambda: HttpCall(method="POST", path="/image_to_video", json={})},
        {"probe": raises},
        {"read_probe": raises},
    ):
        key = (await tested(**functions)).key
        assert key is not None
        assert (key.verdict, "sk-the-upstream-key" in key.detail) == (KeyVerdict.UNPROVEN, False)
    assert await tested(probe=None) == KeyResult(provider="keevx")
