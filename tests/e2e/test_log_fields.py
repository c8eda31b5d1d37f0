"""Every line about a generation names it, its client and its attempt; lines of a request name the request as well."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from gateway import log as logs

from ..log_state import logs_as_before
from .conftest import IMAGE_URL, OTHER_KEY, Gateway

OF_DRIVERS = {"submission_receipt", "submit_finished", "fallback_begun", "generation_status_changed"}


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    with logs_as_before():
        yield lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


async def test_a_line_says_whom_and_what_it_is_about(idle: Gateway, lines: Any) -> None:
    idle.route("foxapi/kling-v3-image-to-video", "keevx/V")
    idle.sandbox.fault("foxapi", "submit", "401")
    idle.sandbox.fault("keevx", "submit", "content_refusal")
    gateway = await idle.start()
    logs.configure("json", "info")
    logging.getLogger().setLevel(logging.WARNING)

    made = await gateway.client.post(
        "/v1/videos/generations",
        json={"model": "m", "prompt": "A.", "image": IMAGE_URL, "webhook_url": "https://hooks.example/x"},
        headers={"x-request-id": "ticket-4711"},
    )
    generation = made.json()["id"]
    assert made.headers["x-request-id"] == "ticket-4711"
    await gateway.finish(generation)
    async with gateway.client_of(OTHER_KEY) as other:  # its cancel is refused, and its request wakes no driver's line
        await other.post(f"/v1/videos/generations/{generation}/cancel")
    logged = lines()

    by_request = [line for line in logged if line.get("request_id") == "ticket-4711"]
    assert [line["event"] for line in by_request] == ["generation_created", "request_finished"]
    client = by_request[0]["client"]
    assert {line["generation"] for line in by_request} == {generation}
    about = [line for line in logged if line["event"] in OF_DRIVERS]
    assert {line["event"] for line in about} >= {"submit_finished", "fallback_begun", "generation_status_changed"}
    assert {(line["generation"], line["client"]) for line in about} == {(generation, client)}
    assert not any("request_id" in line for line in about), "a driver outlives the request that started it"
    opened = next(line for line in logged if line["event"] == "circuit_opened")
    assert (opened["generation"], opened["attempt"]) == (generation, f"att_{generation.removeprefix('gen_')}_1")
    [failed] = [line for line in about if line["event"] == "generation_status_changed" and line["status"] == "failed"]
    assert (failed["level"], failed["kind"]) == ("warning", "content_policy")
    assert failed["message"]
    [sent] = [line for line in logged if line["event"] == "webhook_sent"]
    assert (sent["generation"], sent["client"]) == (generation, client)
    refused = logged[-1]
    assert (refused["event"], refused["status"], refused["code"]) == ("request_finished", 404, "not_found")
    assert refused["client"] not in {client, ""}
