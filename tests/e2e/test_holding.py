"""Held submits without a clear answer, and what an operator decides: nothing is paid for without a decision."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from msgspec import structs

from gateway.domain.generation.reconciliation import QUARANTINE_SECONDS
from gateway.settings.load import Secret

from .conftest import IMAGE_URL, Gateway

ADMIN_KEY = "vg_test-key-of-an-operator"
ATTEMPTS = "/v1/admin/attempts"
ROUTE = {
    "keevx": "keevx/V",
    "kling_relay": "kling_relay/kling-v1",
    "foxapi": "foxapi/kling-v3-image-to-video",
}
Answer = Mapping[str, Any]


class Operator:
    """A gateway with one model whose policy is to hold, and the calls of an operator."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    async def call(self, method: str, path: str = "", body: Any = None) -> httpx.Response:
        async with self.gateway.client_of(ADMIN_KEY) as client:
            answer = await client.request(method, ATTEMPTS + path, json=body)
        await self.gateway.traffic.settle()
        return answer

    async def listed(self, state: str = "held") -> list[Any]:
        answer = await self.call("GET", f"?state={state}")
        assert answer.status_code == 200, answer.text
        attempts: list[Any] = answer.json()["data"]
        return attempts

    async def change(self, attempt: str, what: str, status: int = 200, **body: Any) -> Answer:
        answer = await self.call("POST", f"/{attempt}/{what}", body or None)
        assert answer.status_code == status, answer.text
        attempt_view: Answer = answer.json()
        return attempt_view

    async def hold(self, provider: str = "foxapi", **body: Any) -> tuple[str, str]:
        """A generation whose first submit started a task and lost its reply: the generation's id and the attempt's."""
        self.gateway.sandbox.fault(provider, "submit", "close_after_accept")
        made = await self.gateway.post(model="m", **body)
        generation = await self.gateway.until_state(made["id"], "unknown")
        await self.gateway.traffic.settle()
        return made["id"], generation.attempts[-1].id

    def task_of(self, provider: str = "foxapi") -> str:
        """The id of the task that the provider started, as an operator would find it on the provider's own pages."""
        (task_id,) = [task.id for task in self.gateway.sandbox.state.tasks.values() if task.provider == provider]
        return task_id


@pytest.fixture
async def held(idle: Gateway) -> Operator:
    """A started gateway whose model `m` has these routes; the submit on the first one is held."""
    plain = idle.settings

    def settings() -> Any:
        attempt = plain()
        return structs.replace(attempt, server=structs.replace(attempt.server, admin_keys=(Secret.of(ADMIN_KEY),)))

    idle.settings = settings  # type: ignore[method-assign]  # the real ones, with an admin key
    idle.route(ROUTE["foxapi"], ROUTE["keevx"], on_ambiguous="hold")
    return Operator(await idle.start())


@pytest.mark.parametrize(
    ("provider", "route", "body"),
    [
        ("keevx", ROUTE["keevx"], {"image": IMAGE_URL}),
        ("kling_relay", ROUTE["kling_relay"], {"image": IMAGE_URL}),
        ("kling_relay", ROUTE["kling_relay"], {}),
        ("foxapi", ROUTE["foxapi"], {"image": IMAGE_URL}),
        ("foxapi", "foxapi/kling-v3-text-to-video", {}),
    ],
)
async def test_attached_task_is_followed_and_nothing_is_bought_again(
    held: Operator, provider: str, route: str, body: Any
) -> None:
    gateway = held.gateway
    gateway.route(route, on_ambiguous="hold")
    await gateway.restart()
    made, attempt = await held.hold(provider, **body)
    (shown,) = await held.listed()
    assert (shown["id"], shown["generation"], shown["held"]) == (attempt, made, True)
    assert (shown["status"], shown["billed"], shown["decision"]) == ("unknown", "maybe", None)

    attached = await held.change(attempt, "attach", task_id=held.task_of(provider))

    assert (attached["status"], attached["tasks"], attached["held"]) == ("accepted", [held.task_of(provider)], False)
    now = await gateway.finish(made)
    assert (now["status"], len(now["attempts"])) == ("completed", 1)
    assert now["data"][0]["url"] is not None
    assert gateway.paid == gateway.submits == {provider: 1}
    assert await held.listed() == await held.listed("unknown") == []
    answered = await gateway.stored((await gateway.make(model="m", **body))["id"])
    ref = (await gateway.stored(made)).attempts[0].tasks[0].ref
    assert ref.path == answered.attempts[0].tasks[0].ref.path  # the same as if the reply had arrived


async def test_failing_ends_it_without_another_submit(held: Operator, events: list[Mapping[str, Any]]) -> None:
    made, attempt = await held.hold(image=IMAGE_URL)
    answer = await held.change(attempt, "fail")
    assert (answer["decision"], answer["held"], answer["resubmit_after"]) == ("fail", False, None)
    now = await held.gateway.finish(made)
    assert (now["status"], now["error"]["code"]) == ("failed", "submission_unknown")
    assert held.gateway.submits == {"foxapi": 1}
    (logged,) = [event for event in events if event["event"] == "attempt_decided"]
    assert (logged["generation"], logged["attempt"], logged["decision"]) == (made, attempt, "fail")
    assert (await held.change(attempt, "fail", 409))["error"]["code"] == "conflict"


async def test_resubmit_goes_out_once_after_the_quarantine(held: Operator) -> None:
    gateway = held.gateway
    made, attempt = await held.hold(image=IMAGE_URL)
    before = (await held.listed())[0]["resubmit_after"]
    answer = await held.change(attempt, "resubmit")
    assert (answer["decision"], answer["held"], answer["resubmit_after"]) == ("resubmit", False, before)
    assert (await held.change(attempt, "resubmit", 409))["error"]["code"] == "conflict"
    await gateway.clock.run_for(QUARANTINE_SECONDS - 1)
    assert gateway.submits == {"foxapi": 1}
    await gateway.clock.run_for(2)
    assert gateway.submits == {"foxapi": 2}
    now = await gateway.finish(made)
    assert (now["status"], [attempt["status"] for attempt in now["attempts"]]) == (
        "completed",
        ["unknown", "completed"],
    )
    assert gateway.paid == gateway.submits == {"foxapi": 2}


async def test_second_unclear_answer_is_not_sent_a_third_time(held: Operator) -> None:
    gateway = held.gateway
    made, first = await held.hold(image=IMAGE_URL)
    await held.change(first, "resubmit")
    gateway.sandbox.fault("foxapi", "submit", "close_after_accept")
    await gateway.clock.run_for(QUARANTINE_SECONDS + 1)
    (second,) = await held.listed()
    assert (second["generation"], second["number"]) == (made, 2)
    refused = await held.change(second["id"], "resubmit", 409)
    assert "repeated once already" in refused["error"]["message"]
    await held.change(second["id"], "fail")
    assert (await gateway.finish(made))["status"] == "failed"
    assert gateway.submits == {"foxapi": 2}


async def test_task_attached_in_the_quarantine_stops_the_resubmit(held: Operator) -> None:
    made, attempt = await held.hold(image=IMAGE_URL)
    await held.change(attempt, "resubmit")
    await held.gateway.clock.run_for(QUARANTINE_SECONDS - 5)
    await held.change(attempt, "attach", task_id=held.task_of())
    await held.gateway.clock.run_for(30)
    now = await held.gateway.finish(made)
    assert (now["status"], len(now["attempts"])) == ("completed", 1)
    assert held.gateway.paid == held.gateway.submits == {"foxapi": 1}


async def test_task_attached_after_the_end_brings_a_late_output(held: Operator) -> None:
    """A task can be attached under any policy. Here another route has made the video already."""
    gateway = held.gateway
    gateway.route(ROUTE["foxapi"], ROUTE["keevx"], on_ambiguous="fall_back")
    await gateway.restart()
    gateway.sandbox.fault("foxapi", "submit", "close_after_accept")
    made = await gateway.make(model="m", image=IMAGE_URL)
    assert (made["status"], made["provider"]) == ("completed", "keevx")
    assert await held.listed() == []
    (shown,) = await held.listed("unknown")
    assert (shown["held"], shown["generation_status"]) == (False, "completed")
    assert (await held.change(shown["id"], "fail", 409))["error"]["code"] == "conflict"

    await held.change(shown["id"], "attach", task_id=held.task_of())

    await gateway.clock.run_for(600)
    now = await gateway.get(made["id"])
    assert [(output["status"], output.get("late", False)) for output in now["data"]] == [
        ("completed", False),
        ("completed", True),
    ]
    assert [(attempt["status"], attempt["billed"]) for attempt in now["attempts"]] == [
        ("completed", "yes"),
        ("completed", "yes"),
    ]
    assert gateway.paid == gateway.submits == {"foxapi": 1, "keevx": 1}


async def test_task_of_a_cancelled_generation_is_recorded_and_not_polled(held: Operator) -> None:
    made, attempt = await held.hold(image=IMAGE_URL)
    await held.gateway.client.post(f"/v1/videos/generations/{made}/cancel")
    answer = await held.change(attempt, "attach", task_id=held.task_of())
    assert answer["tasks"] == [held.task_of()]
    await held.gateway.clock.run_for(600)
    assert (await held.gateway.stored(made)).attempts[0].state == "abandoned"
    assert held.gateway.received("foxapi", "poll") == 0


async def test_several_tasks_of_one_submit_are_attached_together(held: Operator) -> None:
    gateway = held.gateway
    gateway.route(ROUTE["keevx"], on_ambiguous="hold")
    await gateway.restart()
    made, attempt = await held.hold("keevx", image=IMAGE_URL, n=2)
    tasks = list(gateway.sandbox.state.tasks)
    assert len(tasks) == 2
    await held.change(attempt, "attach", task_ids=tasks)
    now = await gateway.finish(made)
    assert [output["status"] for output in now["data"]] == ["completed", "completed"]
    assert gateway.submits == {"keevx": 1}


async def test_one_task_is_not_that_of_two_attempts(held: Operator) -> None:
    gateway = held.gateway
    _, first = await held.hold(image=IMAGE_URL)
    task = held.task_of()
    _, second = await held.hold(image=IMAGE_URL)
    await held.change(first, "attach", task_id=task)
    refused = await held.change(second, "attach", 409, task_id=task)
    assert first in refused["error"]["message"]
    assert [attempt_view["id"] for attempt_view in await held.listed()] == [second]
    again = await held.change(first, "attach", task_id=task)
    assert again["tasks"] == [task]
    assert (await held.change(first, "attach", 409, task_id="another"))["error"]["code"] == "conflict"
    assert gateway.writes["claim"] == 2, "what is attached already, or cannot be, is answered without a write"


@pytest.mark.parametrize("crash", [False, True], ids=["stop", "crash"])
async def test_decisions_survive_a_restart(held: Operator, crash: bool) -> None:
    gateway = held.gateway
    resubmitted, first = await held.hold(image=IMAGE_URL)
    await held.change(first, "resubmit")
    await gateway.clock.run_for(1)  # ids of the same millisecond do not sort by age
    waiting, second = await held.hold(image=IMAGE_URL)
    if crash:
        await gateway.crash()
        await gateway.start()
    else:
        await gateway.restart()
    assert [attempt_view["id"] for attempt_view in await held.listed()] == [second]
    assert [attempt_view["decision"] for attempt_view in await held.listed("unknown")] == ["resubmit", None]
    await gateway.clock.run_for(QUARANTINE_SECONDS + 1)
    assert gateway.submits == {"foxapi": 3}
    assert (await gateway.finish(resubmitted))["status"] == "completed"
    await held.change(second, "fail")
    assert (await gateway.finish(waiting))["status"] == "failed"
    assert gateway.submits == {"foxapi": 3}


async def test_nobody_decides_until_the_deadline(held: Operator) -> None:
    made, attempt = await held.hold(image=IMAGE_URL, deadline_seconds=600)
    refused = await held.change(attempt, "resubmit", 409)
    assert "deadline" in refused["error"]["message"]
    assert (await held.gateway.finish(made))["status"] == "expired"
    assert await held.listed() == []
    assert held.gateway.submits == {"foxapi": 1}
