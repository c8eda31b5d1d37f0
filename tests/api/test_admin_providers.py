"""`/v1/admin/providers`: operators see how accounts work, reset their circuits, and take them out of new work."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest_asyncio

from gateway.domain.health.hold import HOLDER_MAX, NOTE_MAX, Hold

ADMIN_KEY = "vg_" + "c" * 40
PROVIDERS, VIDEOS = "/v1/admin/providers", "/v1/videos/generations"
CONFIGURATION = """
server.admin_keys = ["env:TEST_ADMIN_KEY"]
providers.keevx.enabled = false
[models.both]
routes = ["foxapi/kling-v3-text-to-video", "kling_relay/kling-v1-6"]
"""
MODEL = "kling-v3-text-to-video"
NO_CREDIT = httpx.Response(402, json={"error": {"code": "insufficient_credits", "message": "no credit"}})


@pytest_asyncio.fixture
async def gateway(start: Any) -> Any:
    return await start(CONFIGURATION, environ={"TEST_ADMIN_KEY": ADMIN_KEY})


@pytest_asyncio.fixture
async def admin(gateway: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with gateway.client_of(ADMIN_KEY) as client:
        yield client


async def act(admin: httpx.AsyncClient, action: str, name: str = "foxapi", **body: Any) -> Any:
    answer = await admin.post(f"{PROVIDERS}/{name}/{action}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_only_operators_see_and_change_providers(gateway: Any, admin: Any, check_error: Any) -> None:
    for call in (("GET", ""), ("GET", "/foxapi"), ("POST", "/foxapi/hold"), ("POST", "/foxapi/reset")):
        check_error(await gateway.client.request(call[0], PROVIDERS + call[1]), 403, "admin_required")
    answer = await admin.get(PROVIDERS)
    shown = {entry["id"]: (entry["enabled"], entry["followed"], entry["held"]) for entry in answer.json()["data"]}
    assert shown == {
        "foxapi": (True, True, None),
        "keevx": (False, True, None),
        "kling_relay": (True, True, None),
    }
    for key in ("fox-1", "keevx-2", "relay-3"):
        assert key not in answer.text
    foxapi = (await admin.get(f"{PROVIDERS}/foxapi")).json()
    assert foxapi == answer.json()["data"][[*shown].index("foxapi")]
    assert foxapi["submits"]["limit"] == foxapi["submits"]["ceiling"]
    assert (foxapi["submits"]["in_use"], foxapi["polls"]["waiting"]) == (0, 0)
    assert MODEL in {model["name"] for model in foxapi["models"]}


async def test_what_has_no_other_route_waits_for_the_release(gateway: Any, admin: Any) -> None:
    held = await act(admin, "hold", by="ada", note="every second task fails")
    assert (held["held"]["by"], held["held"]["note"]) == ("ada", "every second task fails")
    made = await gateway.create()
    await gateway.clock.advance(100)

    assert gateway.upstream.submits == []
    read = (await gateway.client.get(f"{VIDEOS}/{made['id']}")).json()
    assert (read["status"], read["attempts"], read["next_try_at"]) == ("queued", [], None)
    assert [(entry["type"], entry["provider"]) for entry in read["warnings"]] == [("not_tried", "foxapi")]
    assert "second task" not in str(read), "the words are for operators"
    ready = (await gateway.client.get("/health/ready")).json()
    assert "foxapi is held since 2026-03-02" in ready["warnings"][0]
    plan = (await admin.get(f"/v1/admin/generations/{made['id']}")).json()["plan"]
    assert [route["held"] for route in plan["routes"]] == [True]

    released = await act(admin, "release")
    await gateway.clock.advance(0)

    assert released["held"] is None
    assert len(gateway.upstream.submits) == 1
    assert "warnings" not in (await gateway.client.get("/health/ready")).json()


async def test_a_plan_and_a_quote_put_a_held_provider_last(gateway: Any, admin: Any) -> None:
    await act(admin, "hold")
    body = {"model": "both", "prompt": "A beach."}
    quote = (await gateway.client.post(f"{VIDEOS}/quote", json=body)).json()
    assert [(route["provider"], route["held_at"] is None) for route in quote["routes"]] == [
        ("kling_relay", True),
        ("foxapi", False),
    ]
    assert "the operator sends no work there until its release" in quote["summary"][1]
    made = await gateway.create(**body)
    await gateway.begin(made["id"])
    assert [request.url.host.split(".")[-2] for request in gateway.upstream.submits] != ["foxapi"]


async def test_a_hold_moves_what_waits_for_its_turn_and_spares_open_tasks(gateway: Any, admin: Any) -> None:
    running = await gateway.create()
    await gateway.begin(running["id"])
    submits = gateway.application.health.submits["foxapi"]
    async with submits.slot("a"):
        submits._adaptive = type(submits._adaptive)(ceiling=1, value=1.0)  # the only place is taken
        waiting = await gateway.create(model="both")
        await gateway.clock.advance(1)
        assert len(gateway.upstream.submits) == 1

        await act(admin, "hold")
        await gateway.clock.advance(1)

        stored = await gateway.stored(waiting["id"])
        assert [stored.route(attempt).provider for attempt in stored.attempts] == ["foxapi", "kling_relay"]
        assert [attempt.state for attempt in stored.attempts] == ["not_sent", "accepted"]
    await gateway.finish()
    assert (await gateway.stored(running["id"])).status == "completed"
    assert len(gateway.upstream.submits) == 2


async def test_the_ledger_refuses_a_submit_of_which_the_process_does_not_know_that_it_is_held(
    gateway: Any, admin: Any
) -> None:
    await gateway.application.store.holds.put(Hold(provider="foxapi", held_at=gateway.clock.now(), note="elsewhere"))
    made = await gateway.create()
    await gateway.clock.advance(10)

    assert gateway.upstream.submits == []
    assert [attempt.state for attempt in (await gateway.stored(made["id"])).attempts] == ["not_sent"]
    assert (await act(admin, "hold", note="mine"))["held"]["note"] == "elsewhere", "the first hold stays"
    await act(admin, "release")
    await gateway.clock.advance(0)
    assert len(gateway.upstream.submits) == 1


async def test_a_reset_closes_the_circuits(gateway: Any, admin: Any) -> None:
    gateway.upstream.refuse = NO_CREDIT
    await gateway.create()
    await gateway.clock.advance(1)
    circuit = (await admin.get(f"{PROVIDERS}/foxapi")).json()["circuit"]
    assert (circuit["state"], circuit["reason"]) == ("open", "out_of_credit")
    assert circuit["next_probe_at"] > circuit["since"]

    other_model = await act(admin, "reset", model=MODEL)
    assert other_model["circuit"]["state"] == "open"
    assert (await act(admin, "reset"))["circuit"] == {
        "state": "closed",
        "since": None,
        "reason": None,
        "next_probe_at": None,
        "probing": None,
    }


async def test_an_unknown_status_word_is_shown(gateway: Any, admin: Any) -> None:
    assert gateway.application.health.note_unknown_word("foxapi", "resting")
    assert not gateway.application.health.note_unknown_word("foxapi", "resting"), "it is reported once"
    assert (await admin.get(f"{PROVIDERS}/foxapi")).json()["unknown_status_words"] == ["resting"]
    assert (await admin.get(f"{PROVIDERS}/keevx")).json()["unknown_status_words"] == []


async def test_bad_requests_name_what_is_wrong(gateway: Any, admin: Any, check_error: Any) -> None:
    for action in ("hold", "release", "reset"):
        message = check_error(await admin.post(f"{PROVIDERS}/acme/{action}"), 404, "not_found", "name")
        assert "foxapi" in message
    check_error(await admin.get(f"{PROVIDERS}/acme"), 404, "not_found", "name")
    bad = {"by": ["x" * (HOLDER_MAX + 1), "", " ", 7, "a\nb"], "note": ["x" * (NOTE_MAX + 1), "", ["a"]]}
    for name, values in bad.items():
        for value in values:
            answer = await admin.post(f"{PROVIDERS}/foxapi/hold", json={name: value})
            assert f"`{name}` must be a text" in check_error(answer, 400, "invalid_parameter", name)
    answer = await admin.post(f"{PROVIDERS}/foxapi/hold", json={"why": "x"})
    check_error(answer, 400, "unknown_parameter", "why")
    answer = await admin.post(f"{PROVIDERS}/foxapi/reset", json={"model": "none"})
    check_error(answer, 400, "invalid_parameter", "model")
    assert (await admin.get(f"{PROVIDERS}/foxapi")).json()["held"] is None
