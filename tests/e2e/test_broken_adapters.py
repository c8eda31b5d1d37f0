"""An adapter that raises: the gateway is to blame, never the client, and money is spent as if the call had failed.

A break before the call is sent costs nothing, and the next route is tried. A break after it leaves open whether a task
exists. A break in a poll says nothing about the task.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from gateway.domain.generation.model import AttemptState

from .conftest import IMAGE_URL, Gateway

FOXAPI, KEEVX = "foxapi/kling-v3-image-to-video", "keevx/V"
BODY = {"model": "m", "image": IMAGE_URL}


class Boom(Exception):
    """What a faulty adapter raises."""


def boom(*_: Any) -> Any:
    raise Boom


async def start(idle: Gateway, provider: str, **functions: Callable[..., Any]) -> Gateway:
    """Start with these functions in the adapter of one provider."""
    idle.adapters[provider] = replace(idle.adapters[provider], **functions)
    return await idle.start()


def attempts(made: Mapping[str, Any]) -> list[tuple[str, str, str | None, str | None]]:
    """Provider, status, failure and bill of each."""
    return [
        (attempt["provider"], attempt["status"], attempt["failure"], attempt["billed"]) for attempt in made["attempts"]
    ]


@pytest.mark.parametrize("function", ["to_upstream", "authorize"])
async def test_a_break_before_the_call_costs_nothing_and_the_next_route_is_tried(
    idle: Gateway, events: list[Mapping[str, Any]], function: str
) -> None:
    idle.route(FOXAPI, KEEVX)
    gateway = await start(idle, "foxapi", **{function: boom})

    made = await gateway.make(**BODY)

    assert made["status"] == "completed"
    assert attempts(made) == [("foxapi", "failed", "adapter_failed", "no"), ("keevx", "completed", None, "yes")]
    assert "adapter" in made["attempts"][0]["message"]
    assert gateway.submits == gateway.paid == {"keevx": 1}
    [line] = [event for event in events if event["event"] == "translation_failed"]
    assert (line["log_level"], type(line["exc_info"])) == ("error", Boom)


@pytest.mark.parametrize("function", ["to_upstream", "authorize"])
async def test_on_the_only_route_the_error_blames_the_gateway(idle: Gateway, function: str) -> None:
    idle.route(FOXAPI)
    gateway = await start(idle, "foxapi", **{function: boom})

    made = await gateway.make(**BODY)

    assert (made["status"], made["error"]["code"]) == ("failed", "adapter_failed")
    assert made["error"]["message"].startswith("The gateway's adapter for the provider failed")
    assert gateway.submits == {}


@pytest.mark.parametrize("function", ["upload", "uploaded_url"])
async def test_a_break_in_an_upload_is_one_before_the_call(idle: Gateway, jpeg: bytes, function: str) -> None:
    idle.route(KEEVX, FOXAPI)
    gateway = await start(idle, "keevx", **{function: boom})
    files = {"image": ("a.jpg", jpeg, "image/jpeg")}
    answer = await gateway.client.post("/v1/videos/generations", data={"model": "m", "prompt": "A beach."}, files=files)

    made = await gateway.finish(answer.json()["id"])

    assert attempts(made)[0] == ("keevx", "failed", "adapter_failed", "no")
    assert made["status"] == "completed"
    assert gateway.submits == gateway.paid == {"foxapi": 1}


@pytest.mark.parametrize("function", ["classify", "task_refs"])
@pytest.mark.parametrize("policy", ["fall_back", "fail"])
async def test_a_break_after_the_call_is_never_sent_to_the_same_provider_again(
    idle: Gateway, function: str, policy: Any
) -> None:
    idle.route(KEEVX, FOXAPI, on_ambiguous=policy)
    # The shared reading would read the id of the task, so the reply has none.
    idle.sandbox.fault("keevx", "submit", "empty")
    gateway = await start(idle, "keevx", **{function: boom})

    made = await gateway.make(**BODY)

    assert attempts(made)[0] == ("keevx", "unknown", "ambiguous", "maybe")
    assert gateway.submits == {"keevx": 1, **({"foxapi": 1} if policy == "fall_back" else {})}
    assert made["status"] == ("completed" if policy == "fall_back" else "failed")


async def test_a_break_in_next_variant_leaves_a_clear_refusal_clear(
    idle: Gateway, events: list[Mapping[str, Any]]
) -> None:
    idle.route("kling_relay/kling-v1", KEEVX)
    idle.sandbox.fault("kling_relay", "submit", "401")
    gateway = await start(idle, "kling_relay", next_variant=boom)

    made = await gateway.make(**BODY)

    assert attempts(made)[0] == ("kling_relay", "failed", "credential_refused", "no")
    assert made["status"] == "completed"
    assert "next_variant_failed" in {event["event"] for event in events}


async def test_a_break_in_the_reading_of_a_poll_is_made_good_by_the_shared_vocabulary(idle: Gateway) -> None:
    idle.route(FOXAPI, KEEVX)
    gateway = await start(idle, "foxapi", from_upstream=boom)

    made = await gateway.make(**BODY)

    assert attempts(made) == [("foxapi", "completed", None, "yes")]


async def test_polls_that_break_end_as_the_gateways_failure_and_the_next_route_is_tried(
    idle: Gateway, events: list[Mapping[str, Any]]
) -> None:
    idle.route(FOXAPI, KEEVX)
    gateway = await start(idle, "foxapi", refresh=None, poll=boom)

    made = await gateway.make(**BODY)

    assert attempts(made)[0] == ("foxapi", "abandoned", "adapter_failed", "maybe")
    assert (made["status"], made["provider"]) == ("completed", "keevx")
    assert gateway.submits == {"foxapi": 1, "keevx": 1}
    assert "poll_not_understood" in {event["event"] for event in events}


async def test_a_deadline_that_passes_while_polls_break_blames_the_gateway(idle: Gateway) -> None:
    idle.route(FOXAPI)
    gateway = await start(idle, "foxapi", refresh=None, poll=boom)

    made = await gateway.make(**BODY, deadline_seconds=300)

    assert (made["status"], made["error"]["code"]) == ("expired", "expired")
    assert "The gateway's adapter for the provider failed" in made["error"]["message"]
    assert attempts(made) == [("foxapi", "abandoned", "adapter_failed", "maybe")]


async def test_polls_that_work_again_bring_the_result(idle: Gateway) -> None:
    idle.route(FOXAPI)
    poll, calls = idle.adapters["foxapi"].poll, []

    def sometimes(ref: Any) -> Any:
        calls.append(ref)
        return boom() if len(calls) < 3 else poll(ref)

    gateway = await start(idle, "foxapi", refresh=None, poll=sometimes)

    made = await gateway.make(**BODY)

    assert attempts(made) == [("foxapi", "completed", None, "yes")]


async def test_a_break_in_the_content_call_says_nothing_about_the_file(
    idle: Gateway, events: list[Mapping[str, Any]]
) -> None:
    idle.route("kling_relay/kling-v1", KEEVX)
    idle.sandbox.fault("kling_relay", "task", "no_url")
    gateway = await start(idle, "kling_relay", content=boom)

    made = await gateway.make(**BODY)

    assert attempts(made)[0][:3] == ("kling_relay", "abandoned", "adapter_failed")
    assert made["status"] == "completed"
    assert "content_not_understood" in {event["event"] for event in events}


@pytest.mark.parametrize("function", ["read_callback", "known_task"])
async def test_a_break_in_a_callback_leaves_a_trace_and_changes_nothing(
    idle: Gateway, events: list[Mapping[str, Any]], function: str
) -> None:
    idle.route(KEEVX)
    idle.sandbox.fault("keevx", "submit", "close_after_accept")
    gateway = await start(idle, "keevx", **{function: boom})
    made = await gateway.post(**BODY, deadline_seconds=3600)
    stored = await gateway.until_state(made["id"], AttemptState.UNKNOWN)
    [task] = gateway.sandbox.state.tasks.values()
    [attempt] = stored.attempts
    path = task.callback_url.removeprefix("https://gw.example")

    answer = await gateway.client.post(path, json={"code": 0, "data": {"task_id": task.id}})

    assert answer.status_code == (500 if function == "known_task" else 200)
    assert (await gateway.stored(made["id"])).attempts[0].state is AttemptState.UNKNOWN
    lines = {event["event"]: event for event in events}
    if function == "known_task":
        line = lines["task_reference_failed"]
        assert (line["attempt"], line["provider"], line["tasks"]) == (attempt.id, "keevx", [task.id])
    else:
        assert "callback_unreadable" in lines
