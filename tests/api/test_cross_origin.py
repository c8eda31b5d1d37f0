"""Web pages of the origins that the configuration names may call the gateway with a key (CORS)."""

from typing import Any

import pytest

from gateway.api.web.cross_origin import EXPOSED

from .conftest import DOCUMENT, VIDEOS

PAGE = "https://app.example.com"
BODY = {"model": "foxapi/kling-v3-text-to-video", "prompt": "A beach."}


@pytest.fixture
async def open_to_page(start: Any) -> Any:
    return await start(f'server.cors_origins = ["{PAGE}", "http://localhost:3000"]')


async def test_a_preflight_of_a_named_origin_is_answered_without_a_key(open_to_page: Any) -> None:
    headers = {
        "origin": PAGE,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,idempotency-key",
    }
    async with open_to_page.client_of(None) as page:
        for path in (VIDEOS, "/mcp", "/kling/v1/videos/text2video", "/nothing"):
            answer = await page.options(path, headers=headers)
            assert (answer.status_code, answer.content) == (204, b"")
            assert answer.headers["access-control-allow-origin"] == PAGE
            assert answer.headers["access-control-allow-headers"] == headers["access-control-request-headers"]
            assert {"POST", "DELETE", "GET"} <= set(answer.headers["access-control-allow-methods"].split(", "))
            assert answer.headers["vary"] == "Origin"
            assert "access-control-allow-credentials" not in answer.headers


async def test_a_named_origin_reads_answers_and_errors(open_to_page: Any, check_error: Any) -> None:
    created = await open_to_page.client.post(VIDEOS, json=BODY, headers={"origin": PAGE})
    refused = await open_to_page.client.post(VIDEOS, json={}, headers={"origin": PAGE})
    missing = await open_to_page.client.get("/nothing", headers={"origin": "http://localhost:3000"})
    async with open_to_page.client_of(None) as stranger:
        unknown = await stranger.get(VIDEOS, headers={"origin": PAGE})
    assert [answer.status_code for answer in (created, refused, missing, unknown)] == [200, 400, 404, 401]
    origins = [answer.headers["access-control-allow-origin"] for answer in (created, refused, missing, unknown)]
    assert origins == [PAGE, PAGE, "http://localhost:3000", PAGE]
    assert all("x-request-id" in answer.headers["access-control-expose-headers"] for answer in (created, unknown))


async def test_another_origin_gets_no_permission(open_to_page: Any) -> None:
    for origin in ("https://evil.example", "https://app.example.com.evil.example", "null", "http://app.example.com"):
        headers = {"origin": origin, "access-control-request-method": "POST"}
        for answer in (
            await open_to_page.client.options(VIDEOS, headers=headers),
            await open_to_page.client.get(VIDEOS, headers=headers),
        ):
            assert not [name for name in answer.headers if name.startswith("access-control")]
            assert answer.headers["vary"] == "Origin"
    without = await open_to_page.client.get(VIDEOS)
    assert (without.status_code, without.headers["vary"]) == (200, "Origin")


async def test_a_named_origin_may_use_mcp(open_to_page: Any) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    for origin, status in ((PAGE, 200), ("https://evil.example", 403)):
        answer = await open_to_page.client.post("/mcp", json=body, headers={"origin": origin})
        assert answer.status_code == status, answer.text


async def test_the_document_stays_open_to_every_page(open_to_page: Any) -> None:
    answer = await open_to_page.client.get("/openapi.json", headers={"origin": PAGE})
    assert answer.headers.get_list("access-control-allow-origin") == ["*"]


def test_every_documented_header_is_exposed() -> None:
    safe = {"cache-control", "content-language", "content-length", "content-type", "expires", "last-modified"}
    documented = {
        name.lower()
        for operations in DOCUMENT["paths"].values()
        for operation in operations.values()
        if isinstance(operation, dict)
        for answer in operation.get("responses", {}).values()
        for name in answer.get("headers", {})
    }
    assert documented - safe <= set(EXPOSED.split(", "))
