"""The health paths, and the headers that every answer has."""

from typing import Any

import pytest

from gateway import log as logs


async def test_alive_and_ready(gateway: Any) -> None:
    for path in ("/health/live", "/health/ready"):
        response = await gateway.client.get(path)
        assert (response.status_code, response.json()) == (200, {"status": "ok"})
        head = await gateway.client.head(path)
        assert (head.status_code, head.content) == (200, b"")


async def test_not_ready_while_it_stops_but_alive_and_answering(gateway: Any) -> None:
    gateway.application.drain()
    response = await gateway.client.get("/health/ready")
    assert response.status_code == 503
    assert response.json() == {"status": "unavailable", "reason": "the gateway is stopping"}
    assert int(response.headers["retry-after"]) > 0
    assert (await gateway.client.get("/health/live")).status_code == 200
    assert (await gateway.client.get("/v1/models")).status_code == 200


async def test_not_ready_while_the_store_takes_no_writes(gateway: Any) -> None:
    await gateway.application.store._writer.close()
    response = await gateway.client.get("/health/ready")
    assert response.json() == {"status": "unavailable", "reason": "the store cannot take writes"}
    assert response.status_code == 503
    gateway.application.store._writer.close = nothing


async def test_dropped_lines_of_the_log_are_a_warning(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs._Sink, "dropped", staticmethod(lambda: 12))
    answer = (await gateway.client.get("/health/ready")).json()
    assert answer["status"] == "ok"
    (warning,) = answer["warnings"]
    assert "12 line(s) of the log were dropped" in warning


async def nothing() -> None:
    """The writer has been closed by the test."""


@pytest.mark.parametrize("path", ["/health/live", "/v1/models", "/v1/videos/generations", "/docs", "/nothing"])
async def test_every_answer_has_an_id_and_cache_headers(gateway: Any, path: str) -> None:
    first, second = [await gateway.client.get(path, headers={"x-request-id": "mine {}"}) for _ in range(2)]
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    for response in (first, second):
        assert response.headers.get_list("x-request-id")[0].startswith("req_")
        assert response.headers.get_list("x-content-type-options") == ["nosniff"]
        assert response.headers.get_list("cache-control") == ["no-store"]


async def test_an_answer_with_an_etag_may_be_cached_by_its_client_only(gateway: Any) -> None:
    created = await gateway.create()
    response = await gateway.client.get(f"/v1/videos/generations/{created['id']}")
    assert response.headers["cache-control"] == "private, no-cache"
