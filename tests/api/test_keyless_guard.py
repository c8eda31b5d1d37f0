"""What other web pages and proxies get from a gateway without client keys: nothing."""

from typing import Any

import pytest
from litestar.routes import HTTPRoute

from ..asgi import scope_of
from .conftest import VIDEOS

LOCAL = "http://localhost"
EVIL = {"origin": "https://evil.example"}
SAFE = {"GET", "HEAD", "OPTIONS"}
CHANGING = ("POST", "PUT", "PATCH", "DELETE")
BODY = {"model": "foxapi/kling-v3-text-to-video", "prompt": "A beach."}


def doors(gateway: Any) -> list[tuple[str, str]]:
    """Every method and path of the application that is not read-only, with something in place of its parameters."""
    return [
        (method, "/".join("x" if part.startswith("{") else part for part in route.path.split("/")))
        for route in gateway.application.litestar.routes
        if isinstance(route, HTTPRoute)
        for method in route.methods
        if method not in SAFE
    ]


async def test_without_keys_no_door_is_open_to_another_page(start: Any) -> None:
    gateway = await start(keys=False)
    every_door = doors(gateway)
    others = [*((method, "/nothing") for method in CHANGING), ("PUT", VIDEOS), ("POST", "/docs")]
    for method, path in [*every_door, *others]:
        status, body = await answered_unread(gateway, method, path)
        assert (status, b"web page of another origin" in body) == (403, True), (method, path, body)
    assert set(gateway.rows().values()) == {0}
    assert gateway.upstream.requests == []
    paths = {path for _, path in every_door}
    assert {VIDEOS, "/mcp", "/callbacks/x/x", "/v1/files", "/foxapi/v1/files/upload/url"} <= paths
    assert any(path.startswith("/kling/") for path in paths)
    assert {method for method, _ in every_door} >= {"POST", "DELETE"}


async def answered_unread(gateway: Any, method: str, path: str) -> tuple[int, bytes]:
    """The status and the body of the answer to a page's request, which must begin before the body is asked for."""
    sent: list[Any] = []

    async def receive() -> Any:
        assert sent, f"the body of {method} {path} was read before the request was refused"
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = {"host": "localhost", "content-type": "text/plain", "content-length": "9", **EVIL}
    await gateway.application.asgi(scope_of(method, path, headers), receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (VIDEOS, lambda body: body["error"]["code"]),
        ("/mcp", lambda body: (body["jsonrpc"], body["error"]["data"]["code"])[1]),
        ("/kling/v1/videos/text2video", lambda body: {1103: "forbidden_origin"}[body["code"]]),
        ("/keevx/v1/image_to_video", lambda body: body["error"]),
        ("/nothing", lambda body: body["error"]["code"]),
    ],
)
async def test_the_refusal_has_the_form_of_the_dialect(start: Any, path: str, expected: Any) -> None:
    gateway = await start(keys=False)
    async with gateway.client_of(None, LOCAL) as client:
        answer = await client.post(path, json=BODY, headers=EVIL)
    assert (answer.status_code, expected(answer.json())) == (403, "forbidden_origin"), answer.text
    assert "server.cors_origins" in answer.text


async def test_without_keys_programs_and_own_pages_buy(start: Any) -> None:
    gateway = await start(keys=False)
    async with gateway.client_of(None, LOCAL) as client:
        for headers in ({}, {"origin": LOCAL, "sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}):
            assert (await client.post(VIDEOS, json=BODY, headers=headers)).status_code == 200
        assert (await client.get(VIDEOS, headers=EVIL)).status_code == 200
        answer = await client.options(VIDEOS, headers={**EVIL, "access-control-request-method": "POST"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert gateway.rows()["generations"] == 3


@pytest.mark.parametrize("name", ["forwarded", "x-forwarded-for", "via", "x-real-ip"])
async def test_without_keys_nothing_comes_through_a_proxy(start: Any, check_error: Any, name: str) -> None:
    gateway = await start(keys=False)
    async with gateway.client_of(None, LOCAL) as client:
        for method, path in [("GET", VIDEOS), ("POST", VIDEOS), ("GET", "/docs"), ("GET", "/health/live")]:
            answer = await client.request(method, path, headers={name: "1.2.3.4"})
            message = check_error(answer, 403, "forbidden_proxy")
            assert name in message
            assert "server.api_keys" in message
        check_error(await client.get("/nothing", headers={name: "1.2.3.4"}), 403, "forbidden_proxy")
    assert gateway.rows()["generations"] == 0


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/health/live", "/nothing", "/v1/webhooks/event_types"])
async def test_without_keys_no_path_is_answered_by_another_name(start: Any, check_error: Any, path: str) -> None:
    gateway = await start(keys=False)
    async with gateway.client_of(None, "http://evil.example") as client:
        check_error(await client.get(path), 403, "forbidden_host")


async def test_with_keys_browsers_and_proxies_need_a_key_and_nothing_else(gateway: Any) -> None:
    headers = {**EVIL, "x-forwarded-for": "1.2.3.4", "via": "1.1 proxy", "sec-fetch-site": "cross-site"}
    assert (await gateway.client.post(VIDEOS, json=BODY, headers=headers)).status_code == 200
    answer = await gateway.client.get(VIDEOS, headers=EVIL)
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert "vary" not in answer.headers
