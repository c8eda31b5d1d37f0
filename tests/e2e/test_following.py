"""Providers without new work: a disabled one is polled to the end, a missing one's tasks are not paid for again."""

from ipaddress import ip_network
from typing import Any

import pytest

from gateway.settings.load import Secret

RELAY = "kling_relay/kling-v1"
FOX = "foxapi/kling-v3-text-to-video"
KEEVX = "keevx/V"
IMAGE = {"image": "https://example.com/first.jpg"}
VIDEOS = "/v1/videos/generations"


async def running(gateway: Any, model: str, **body: Any) -> dict[str, Any]:
    """A generation with a task at its provider."""
    made: dict[str, Any] = await gateway.post(model=model, **body)
    await gateway.until_state(made["id"], "accepted")
    return made


@pytest.mark.parametrize(
    ("name", "model", "body"), [("foxapi", FOX, {}), ("kling_relay", RELAY, {}), ("keevx", KEEVX, IMAGE)]
)
async def test_a_disabled_provider_brings_its_running_tasks_to_the_end(
    gateway: Any, name: str, model: str, body: dict[str, Any]
) -> None:
    made = await running(gateway, model, **body)
    gateway.fetch_allow = (ip_network("127.0.0.0/8"),)
    gateway.providers[name]["enabled"] = False
    await gateway.restart()

    done = await gateway.finish(made["id"])

    assert (done["status"], done["provider"]) == ("completed", name)
    assert done["data"][0]["bytes"]
    assert gateway.submits == gateway.paid == {name: 1}


async def test_the_only_provider_may_be_disabled_and_is_followed(idle: Any) -> None:
    idle.providers = {"foxapi": {}}
    gateway = await idle.start()
    made = await running(gateway, FOX)
    gateway.providers["foxapi"]["enabled"] = False
    await gateway.restart()

    refused = await gateway.client.post(VIDEOS, json={"model": FOX, "prompt": "A beach."})
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")
    assert (await gateway.client.get("/v1/models")).json()["data"] == []
    assert (await gateway.finish(made["id"]))["status"] == "completed"


async def test_new_work_leaves_a_disabled_provider_out(gateway: Any) -> None:
    gateway.route(FOX, RELAY)
    gateway.providers["foxapi"]["enabled"] = False
    await gateway.restart()

    quote = await gateway.client.post(f"{VIDEOS}/quote", json={"model": "m", "prompt": "A beach."})
    models = (await gateway.client.get("/v1/models")).json()["data"]
    done = await gateway.make(model="m")

    assert [route["provider"] for route in quote.json()["routes"]] == ["kling_relay"]
    assert not [model["id"] for model in models if model["id"].startswith("foxapi/")]
    assert {route["provider"] for model in models for route in model["routes"]} == {"kling_relay", "keevx"}
    assert (done["status"], gateway.submits) == ("completed", {"kling_relay": 1})


@pytest.mark.parametrize("key", ["sk-upstream-foxapi-key", ""])
async def test_a_route_that_was_planned_is_not_bought_once_its_provider_is_disabled(gateway: Any, key: str) -> None:
    gateway.route(RELAY, FOX, "foxapi/kling-v3-image-to-video", KEEVX)
    await gateway.restart()
    made = await running(gateway, "m", prompt="waves [[sandbox:kling_relay:task:fail]]")
    gateway.providers["foxapi"] |= {"enabled": False, "api_key": Secret.of(key)}
    await gateway.restart()

    done = await gateway.finish(made["id"])

    assert (done["status"], gateway.submits) == ("failed", {"kling_relay": 1})
    assert {(attempt["provider"], attempt["billed"]) for attempt in done["attempts"][1:]} == {("foxapi", "no")}


async def test_a_planned_route_at_a_disabled_provider_falls_back_to_the_next(gateway: Any) -> None:
    gateway.route(FOX, RELAY)
    await gateway.restart()
    made = await gateway.post(model="m")  # planned, but not submitted yet
    gateway.providers["foxapi"]["enabled"] = False
    await gateway.restart()

    done = await gateway.finish(made["id"])

    assert (done["status"], done["provider"], gateway.submits) == ("completed", "kling_relay", {"kling_relay": 1})


async def test_a_task_of_a_provider_that_is_gone_is_found_by_a_start_that_has_it_again(idle: Any, events: Any) -> None:
    idle.route(FOX, RELAY)
    gateway = await idle.start()
    made = await running(gateway, "m", deadline_seconds=7200)
    del gateway.providers["foxapi"]
    await gateway.restart()

    warned = [event for event in events if event["event"] == "generations_not_followed"]
    health = (await gateway.client.get("/health/ready")).json()
    await gateway.clock.run_for(900)
    waiting = await gateway.get(made["id"])

    assert [(event["provider"], event["count"], event["generations"]) for event in warned] == [
        ("foxapi", 1, [made["id"]])
    ]
    assert health["status"] == "ok"
    assert "foxapi" in health["warnings"][0]
    assert (waiting["status"], len(waiting["attempts"])) == ("queued", 1)
    assert gateway.submits == {"foxapi": 1}

    gateway.providers["foxapi"] = {}
    await gateway.restart()
    assert (await gateway.finish(made["id"]))["status"] == "completed"
    assert gateway.submits == {"foxapi": 1}
    assert (await gateway.client.get("/health/ready")).json() == {"status": "ok"}


async def test_a_task_of_a_provider_that_is_gone_waits_for_the_deadline_alone(idle: Any) -> None:
    idle.route(FOX, RELAY, attempt_timeout_seconds=600)
    gateway = await idle.start()
    made = await running(gateway, "m", deadline_seconds=3600)
    gateway.providers["foxapi"] = {"enabled": False, "api_key": Secret.of("")}  # disabled, without a key
    await gateway.restart()

    done = await gateway.finish(made["id"])

    assert (done["status"], gateway.submits) == ("expired", {"foxapi": 1})
