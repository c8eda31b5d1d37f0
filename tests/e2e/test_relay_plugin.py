"""The gateway in front of a relay that runs new-api's task plug-in (since August 2026)."""

import base64
from pathlib import Path
from typing import Any

import pytest

from gateway.settings.load import ProviderModel

PHOTO = base64.b64encode(Path("examples/beach.jpg").read_bytes()).decode()
V1, FOX = "kling_relay/kling-v1", "foxapi/kling-v3-text-to-video"
PRO_DEFAULTED = [{"type": "defaulted", "param": "mode", "to": "pro", "provider": "kling_relay"}]
ONCE = {"kling_relay": 1}


@pytest.fixture
async def sandbox_options() -> dict[str, Any]:
    return {"relay_regime": "C"}


def attempts_of(made: dict[str, Any]) -> list[tuple[str, str | None, str | None]]:
    return [(attempt["provider"], attempt["failure"], attempt["billed"]) for attempt in made["attempts"]]


def warned(made: dict[str, Any]) -> list[dict[str, Any]]:
    """The warnings about the request itself."""
    return [warning for warning in made["warnings"] if warning["type"] != "not_kept"]


def bought(gateway: Any) -> list[tuple[str, str, Any]]:
    """For each task that was bought: its input, its model and its mode."""
    return [(task.action, task.model, task.request.get("mode")) for task in gateway.sandbox.state.tasks.values()]


@pytest.mark.parametrize(
    ("fields", "task", "warnings"),
    [
        ({"model": V1}, ("text2video", "kling-v1", None), []),
        ({"model": V1, "image": PHOTO}, ("image2video", "kling-v1", None), []),
        ({"model": V1, "image": PHOTO, "last_image": PHOTO}, ("image2video", "kling-v1", "pro"), PRO_DEFAULTED),
        (
            {"model": "kling_relay/kling-v1-6", "image": PHOTO, "last_image": PHOTO, "resolution": "1080p"},
            ("image2video", "kling-v1-6", "pro"),
            PRO_DEFAULTED,
        ),
        ({"model": "kling_relay/kling-v2-master"}, ("text2video", "kling-v2-master", "pro"), PRO_DEFAULTED),
        ({"model": "kling_relay/kling-v2-master", "mode": "pro"}, ("text2video", "kling-v2-master", "pro"), []),
        ({"model": V1, "duration": 10, "aspect_ratio": "9:16"}, ("text2video", "kling-v1", None), []),
    ],
    ids=("text", "image", "both", "both-1080p", "master", "master-pro", "ten-upright"),
)
@pytest.mark.parametrize("sandbox_options", [{"relay_regime": regime} for regime in "ABC"], ids=tuple("ABC"))
async def test_one_purchase_makes_what_was_asked_for(
    gateway, fields: dict[str, Any], task: tuple[str, str, str | None], warnings: list[dict[str, Any]]
):
    made = await gateway.make(**fields)
    assert (made["status"], warned(made), attempts_of(made)) == ("completed", warnings, [("kling_relay", None, "yes")])
    assert bought(gateway) == [task]
    assert gateway.submits == gateway.paid == ONCE


@pytest.mark.parametrize(
    ("model", "fields", "mode"),
    [
        ("kling-v2-1-master", {}, "pro"),
        ("kling-v2-5-turbo", {"image": PHOTO, "last_image": PHOTO}, "pro"),
        ("kling-v2-6", {}, None),
        ("kling-v2-6", {"generate_audio": True}, "pro"),
        ("kling-v2-6", {"image": PHOTO, "last_image": PHOTO}, "pro"),
        ("kling-v3", {"duration": 15, "resolution": "720p"}, "std"),
    ],
    ids=range(6),
)
async def test_models_that_the_configuration_names_follow_kling_s_rules(
    idle, model: str, fields: dict[str, Any], mode: str | None
):
    sound = ProviderModel(generate_audio=True if model == "kling-v2-6" else None)
    idle.providers["kling_relay"]["models"] = {model: sound}
    gateway = await idle.start()
    made = await gateway.make(model=f"kling_relay/{model}", **fields)
    assert made["status"] == "completed"
    [(_, name, sent)] = bought(gateway)
    assert (name, sent, gateway.submits) == (model, mode, ONCE)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"model": V1, "image": PHOTO, "last_image": PHOTO, "resolution": "720p"},
            "with a last image: takes 1080p, not 720p",
        ),
        ({"model": V1, "image": PHOTO, "last_image": PHOTO, "mode": "std"}, "with a last image: takes pro, not std"),
        ({"model": "kling_relay/kling-v2-master", "mode": "std"}, "takes pro, not std"),
        ({"model": "kling_relay/kling-v2-master", "cfg_scale": 0.5}, "does not honour cfg_scale"),
    ],
    ids=range(4),
)
async def test_what_kling_would_refuse_is_refused_before_anything_is_sent(gateway, fields: dict[str, Any], words: str):
    answer = await gateway.client.post("/v1/videos/generations", json={"prompt": "A beach.", **fields})
    assert (answer.status_code, words in answer.json()["error"]["message"]) == (422, True), answer.text
    assert gateway.submits == {}


async def test_nearest_makes_the_resolution_that_a_last_image_needs(gateway):
    made = await gateway.make(model=V1, image=PHOTO, last_image=PHOTO, resolution="720p", adapt="nearest")
    changes = [(warning["type"], warning["param"], warning["to"]) for warning in warned(made)]
    assert (made["status"], changes) == (
        "completed",
        [("adapted", "resolution", "1080p"), ("defaulted", "mode", "pro")],
    )
    assert bought(gateway) == [("image2video", "kling-v1", "pro")]


@pytest.mark.parametrize("errors", ["named", "general"])
@pytest.mark.parametrize("how", ["status", "200"])
async def test_kling_s_refusal_costs_nothing_and_is_final_where_it_can_be_read(idle, how: str, errors: str):
    # Kling does not make 7 seconds.
    idle.providers["kling_relay"]["models"] = {"kling-v1": ProviderModel(durations=(7,))}
    gateway = await idle.start()
    state = gateway.sandbox.state
    state.settings = state.settings.changed({"relay_kling_refuses": how, "relay_native_errors": errors})
    made = await gateway.make(model=V1, duration=7)
    readable = (how, errors) != ("200", "general")
    kind, billed = ("invalid_request", "no") if readable else ("ambiguous", "maybe")
    assert (attempts_of(made), gateway.submits, gateway.paid) == ([("kling_relay", kind, billed)], ONCE, {})


async def test_a_task_that_the_relay_gave_up_ends_long_before_the_attempt_times_out(idle):
    idle.route(V1, FOX)
    gateway = await idle.start()
    gateway.sandbox.fault("kling_relay", "submit", "given_up")
    made = await gateway.make(model="m")
    first = made["attempts"][0]
    assert (made["status"], attempts_of(made)[0]) == ("completed", ("kling_relay", "task_failed", "maybe"))
    assert first["ended_at"] - first["started_at"] < 240
    assert gateway.paid == {"kling_relay": 1, "foxapi": 1}


@pytest.mark.parametrize("sandbox_options", [{"relay_regime": "C", "total_seconds": 600.0}])
async def test_relay_s_own_status_does_not_end_a_running_task(gateway):
    made = await gateway.make(model=V1)
    assert (made["status"], attempts_of(made)) == ("completed", [("kling_relay", None, "yes")])
    assert gateway.received("kling_relay", "poll") > 20


@pytest.mark.parametrize("sandbox_options", [{"relay_regime": "C", "relay_query": "native_bare"}])
async def test_result_without_a_link_is_fetched_through_the_relay(gateway):
    made = await gateway.make(model=V1)
    assert (made["status"], made["data"][0]["provider_url"]) == ("completed", None)
    assert gateway.submits == gateway.paid == ONCE
