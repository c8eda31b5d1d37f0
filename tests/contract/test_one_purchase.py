"""How often the gateway buys depends on what the adapter reads: counted at the provider, and as the client sees it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from gateway.app import Application
from gateway.fetch.fetcher import FetchRefused
from gateway.settings.load import load

from .exchanges import ADAPTERS, EXCHANGES

VIDEOS = "/v1/videos/generations"
PHOTO = "https://example.com/a.jpg"
ASKED = {
    "keevx": {"model": "keevx/V", "prompt": "a kite", "image": PHOTO, "duration": 4, "resolution": "720p"},
    "foxapi": {"model": "foxapi/kling-v3-text-to-video", "prompt": "a kite"},
    "kling_relay": {"model": "kling_relay/kling-v1-6", "prompt": "a kite"},
}
STARTED = {
    "keevx": "submitted-v-start-frame",
    "foxapi": "submitted-v3-text-to-video",
    "kling_relay": "submitted-documented",
}
ENDED = {"keevx": "completed-video", "foxapi": "completed-video", "kling_relay": "completed-documented"}


class Provider:
    """A provider that replies from exchanges: one for every submit, the others for polls; the last is repeated."""

    def __init__(self, name: str, submit: str, *reads: str) -> None:
        self.name = name
        self.submits = 0
        self._submit, *self._reads = (
            json.loads((EXCHANGES / name / f"{exchange}.json").read_text())["reply"] for exchange in (submit, *reads)
        )

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            self.submits += 1
            reply = self._submit
        else:
            reply = self._reads.pop(0) if len(self._reads) > 1 else self._reads[0]
        body = {"text": reply["text"]} if "text" in reply else {"json": reply["json"]}
        return httpx.Response(reply["status"], headers=reply.get("headers"), **body)


def _nothing(*_: object, **__: object) -> Any:
    raise FetchRefused("The test has no network.")


async def made(provider: Provider, folder: Path) -> dict[str, Any]:
    """The generation after it has ended."""
    polls = "first_poll_seconds = 0.01\npoll_seconds = 0.01\npoll_max_seconds = 0.01\ngrace_seconds = 0.01\n"
    (folder / "gateway.toml").write_text(f"[providers.{provider.name}]\n{polls}")
    environ = {
        f"{provider.name.upper()}_API_KEY": "a-key",
        "VIDEO_GATEWAY_DATABASE_URL": f"sqlite:///{folder / 'test.db'}",
        "VIDEO_GATEWAY_ARTIFACTS": str(folder / "artifacts"),
    }
    settings = load(folder / "gateway.toml", environ, ADAPTERS)
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    application = Application(settings, adapters=ADAPTERS, transport=httpx.MockTransport(provider))
    for fetcher in (application.input_fetcher, application.result_fetcher):
        fetcher.get = _nothing  # type: ignore[method-assign]  # the links of the exchanges cannot be fetched
    transport = httpx.ASGITransport(application.asgi)
    try:
        async with (
            application.litestar.lifespan(),
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
        ):
            answer = await client.post(VIDEOS, json=ASKED[provider.name])
            assert answer.status_code == 200, answer.text
            generation: dict[str, Any] = answer.json()
            async with asyncio.timeout(10):
                while generation["status"] in {"queued", "in_progress"}:
                    answer = await client.get(f"{VIDEOS}/{generation['id']}", params={"wait": 1})
                    generation = answer.json()
            return generation
    finally:
        structlog.reset_defaults()


@pytest.mark.parametrize(
    ("name", "submit"),
    [
        ("keevx", "refused-unknown-code-http-200"),
        ("keevx", "refused-100003-on-submit-http-200"),
        ("keevx", "refused-rate-words-http-200"),
        ("foxapi", "refused-200-flat-names-task"),
        ("kling_relay", "refused-200-kling-1303-names-task"),
        ("kling_relay", "refused-429-embedded-body-names-task"),
    ],
)
async def test_submit_that_may_have_been_accepted_is_not_repeated(name: str, submit: str, tmp_path: Path) -> None:
    provider = Provider(name, submit)

    generation = await made(provider, tmp_path)

    assert provider.submits == 1
    assert generation["status"] == "failed"
    assert [(attempt["status"], attempt["billed"]) for attempt in generation["attempts"]] == [("unknown", "maybe")]


@pytest.mark.parametrize(
    ("name", "submit"),
    [
        ("keevx", "refused-530003-names-tasks"),
        ("keevx", "refused-http-429-names-tasks"),
        ("foxapi", "refused-422-names-task"),
        ("foxapi", "refused-429-names-task"),
        ("kling_relay", "refused-503-no-channel-names-task"),
    ],
)
async def test_a_task_named_beside_an_error_is_followed(name: str, submit: str, tmp_path: Path) -> None:
    provider = Provider(name, submit, ENDED[name])

    generation = await made(provider, tmp_path)

    assert (provider.submits, generation["status"], len(generation["attempts"])) == (1, "completed", 1)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        *(("keevx", f"refused-poll-http-404-{form}") for form in ("html", "empty", "foreign-json", "unknown-code")),
        *(("foxapi", f"refused-404-query-{form}") for form in ("html", "empty", "foreign-json", "other-type", "text")),
        *(("kling_relay", f"refused-404-query-{form}") for form in ("html", "empty", "foreign-json", "invalid-url")),
    ],
)
async def test_a_404_of_a_proxy_costs_no_second_task(name: str, read: str, tmp_path: Path) -> None:
    provider = Provider(name, STARTED[name], *[read] * 5, ENDED[name])

    generation = await made(provider, tmp_path)

    assert provider.submits == 1
    assert generation["status"] == "completed"
    assert len(generation["attempts"]) == 1


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("keevx", "refused-100003-task-not-found-http-404"),
        ("foxapi", "refused-404-task-not-found"),
        ("kling_relay", "refused-400-task-not-exist"),
    ],
)
async def test_a_task_that_the_provider_does_not_know_ends_its_attempt(name: str, read: str, tmp_path: Path) -> None:
    generation = await made(Provider(name, STARTED[name], read), tmp_path)

    assert generation["status"] == "failed"
    assert [attempt["failure"] for attempt in generation["attempts"]] == ["task_lost"]
