"""What clients do that a capture of one request does not show: they repeat a request, and they send null.

- The AI SDK and `kling-api` repeat a POST after a 5xx, a 429 or a broken connection: the first with the same
  `Idempotency-Key`.
- Clients that are made from a schema, and those in Go and Java, send `null` for every option that is not set.
- `requests` and `axios` send `Content-Type: application/json` with a GET, too.
"""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from ..e2e.conftest import Gateway
from ..e2e.receiver import receiving
from .differences import NOT_SPOKEN
from .replay import CAPTURES, Exchange, Replay, load

SPOKEN = sorted({path.stem for path in CAPTURES.glob("*.json")} - set(NOT_SPOKEN))


def creates(name: str) -> list[Exchange]:
    """The exchanges of a capture that start work with a body of JSON, each path once."""
    first: dict[str, Exchange] = {}
    for exchange in load(name).exchanges:
        body = exchange.request["body"]
        if (
            exchange.request["method"] == "POST"
            and exchange.response["status"] < 300
            and isinstance(body, dict)
            and ("prompt" in body and ("model" in body or "model_name" in body or "image_quality" in body))
            and body["prompt"] != ""
            and ("image_tail" not in body or body.get("mode") == "pro")  # else Kling refuses the last frame
        ):
            first.setdefault(exchange.request["path"], exchange)
    return list(first.values())


def answered(exchange: Exchange) -> int:
    """The status that the gateway answers: the captured one, except for OpenRouter's body that looks like OpenAI's."""
    is_guessed = exchange.request["path"] == "/v1/videos" and exchange.response["status"] == 202
    return 200 if is_guessed and "frame_images" not in exchange.request["body"] else exchange.response["status"]


CREATES = [
    pytest.param(exchange, id=f"{name} {exchange.request['path']}") for name in SPOKEN for exchange in creates(name)
]


@pytest.fixture
async def replay(gateway: Gateway) -> AsyncIterator[Replay]:
    """Sends requests of the captures."""
    async with receiving(gateway.clock.now) as receiver:
        yield Replay(gateway, receiver.url)


def changed(request: httpx.Request, body: dict[str, Any], **headers: str) -> httpx.Request:
    """The same request with more in its body and its headers."""
    head = {name: value for name, value in request.headers.items() if name != "content-length"}
    content = json.dumps(json.loads(request.content) | body).encode()
    return httpx.Request(request.method, request.url, headers=head | headers, content=content)


@pytest.mark.parametrize("exchange", CREATES)
async def test_the_same_key_starts_work_once(replay: Replay, exchange: Exchange) -> None:
    request = changed(replay.request(exchange), {}, **{"idempotency-key": "aisdk_vid_CkcedHDq4z4GiCOu"})

    first = await replay.answer(request)
    again = await replay.answer(changed(request, {}))

    assert (first.status_code, again.status_code) == (answered(exchange),) * 2, again.text
    assert {path: value for path, value in leaves(first.json()) if path.endswith("id")} == {
        path: value for path, value in leaves(again.json()) if path.endswith("id")
    }
    assert await generations(replay.gateway) == 1


def leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """The values of a JSON document that are neither an object nor a list, with their paths."""
    if isinstance(value, dict):
        return [
            leaf for name, inner in value.items() if name != "request_id" for leaf in leaves(inner, f"{path}.{name}")
        ]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in leaves(inner, f"{path}[]")]
    return [(path, value)]


async def generations(gateway: Gateway) -> int:
    """How many generations the client has."""
    pages = [await gateway.client.get(f"/v1/{kind}/generations?limit=100") for kind in ("videos", "images")]
    return len({view["id"] for page in pages for view in page.json()["data"]})


@pytest.mark.parametrize("exchange", CREATES)
async def test_null_is_the_same_as_an_absent_field(replay: Replay, exchange: Exchange) -> None:
    request = replay.request(exchange)
    others = [each for name in SPOKEN for each in creates(name) if each.request["path"] == exchange.request["path"]]
    fields = {name for other in others for name in other.request["body"]}

    answer = await replay.answer(changed(request, dict.fromkeys(fields - json.loads(request.content).keys())))

    assert answer.status_code == answered(exchange), answer.text


@pytest.mark.parametrize("exchange", CREATES)
async def test_a_broken_body_is_refused_in_words(replay: Replay, exchange: Exchange) -> None:
    request = replay.request(exchange)
    broken = httpx.Request("POST", request.url, headers={**request.headers, "content-length": "1"}, content=b"{")

    answer = await replay.answer(broken)

    assert answer.status_code == 400, answer.text
    assert "JSON" in answer.text
