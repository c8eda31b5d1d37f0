"""Nothing that leaves the gateway shows a secret, however a provider quotes it. The sandbox quotes the key it got."""

from typing import Any

import pytest

from gateway.sandbox.faults import Fault
from gateway.settings.load import Secret

from ..hostile.secrets import KEYS, echoes, leaks
from .conftest import OTHER_KEY

TEXT = {"model": "foxapi/kling-v3-text-to-video", "prompt": "waves", "fallback": False}


ECHOES = [("message", "plain"), ("message", "base64_1"), ("message", "stars"), ("code", "plain"), ("text", "first_10")]


@pytest.mark.parametrize("key", KEYS[1:4])
async def test_no_echo_of_a_providers_key_leaves(idle: Any, key: str) -> None:
    idle.providers["foxapi"] = {"api_key": Secret.of(key)}
    gateway = await idle.start()
    for place, shape in [*ECHOES, ("request_id", "plain")]:
        args = echoes(place, shape, 500 if place == "request_id" else 400)
        gateway.sandbox.state.faults.add(Fault(name="reply", provider="foxapi", operation="submit", args=args, times=1))
        made = await gateway.make(**TEXT)
        path = f"/v1/videos/generations/{made['id']}"
        seen = [(await gateway.client.get(read)).text for read in (path, f"{path}/events")]
        seen.append(str(await gateway.stored(made["id"])))
        assert leaks("".join(seen), key) == [], (place, shape, seen)
    assert sum(gateway.sandbox.state.received.values()) >= len(ECHOES)


async def test_a_task_id_that_is_the_key_is_polled_and_not_shown(idle: Any) -> None:
    key = KEYS[3]
    idle.providers["foxapi"] = {"api_key": Secret.of(key)}
    gateway = await idle.start()
    reply = {"json": {"id": "{key:plain}", "status": "pending", "type": "video"}}
    gateway.sandbox.state.faults.add(
        Fault(name="reply", provider="foxapi", operation="submit", args={"status": 200, **reply}, times=1)
    )
    created = await gateway.client.post("/v1/videos/generations", json=TEXT)
    await gateway.clock.run_for(20)
    stored = await gateway.stored(created.json()["id"])
    answer = await gateway.client.get(f"/v1/videos/generations/{created.json()['id']}")

    assert [task.ref.id for attempt in stored.attempts for task in attempt.tasks] == [key]
    assert leaks(answer.text, key) == []
    assert answer.json()["id"] == created.json()["id"]


async def test_the_external_task_id_of_a_client_is_its_own(gateway: Any) -> None:
    body = {
        "model": "kling_relay/kling-v1",
        "prompt": "waves",
        "provider_options": {"kling_relay": {"external_task_id": "order-1"}},
    }
    made = await gateway.make(**body)
    other = await gateway.client_of(OTHER_KEY).post("/v1/videos/generations", json=body)
    await gateway.clock.run_for(30)
    sent = [task.request["external_task_id"] for task in gateway.sandbox.state.tasks.values()]

    assert made["status"] == "completed", made
    assert other.status_code == 200, other.text
    assert len(set(sent)) == 2
    assert all(name.endswith("-order-1") and len(name) == 12 + len("-order-1") for name in sent)
    stored = await gateway.stored(made["id"])
    assert stored.request.provider_options["kling_relay"]["external_task_id"] == "order-1"
