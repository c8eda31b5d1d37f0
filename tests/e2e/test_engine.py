"""The outcome of a generation, as its client, the ledger and the sandbox's own count see it."""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.errors import StoreUnavailable
from gateway.domain.generation.reconciliation import TASKS_MAX
from gateway.domain.health.circuit import FAILURES_MIN
from gateway.sandbox.faults import DIRT
from gateway.settings.load import ModelSettings

PHOTO = base64.b64encode(Path("examples/beach.jpg").read_bytes()).decode()
IMAGE = {"image": "https://example.com/first.jpg"}
REFERENCES = {"reference_images": ["https://example.com/a.jpg", "https://example.com/b.jpg"]}
V, KL = "keevx/V", "keevx/KL"
RELAY = "kling_relay/kling-v1"
FOX_TEXT, FOX_IMAGE = "foxapi/kling-v3-text-to-video", "foxapi/kling-v3-image-to-video"
FOX_REFERENCE = "foxapi/kling-o3-reference-to-video"
BY_IMAGE = {"keevx": V, "kling_relay": RELAY, "foxapi": FOX_IMAGE}  # every provider makes a video of an image
NEXT = {"keevx": FOX_IMAGE, "kling_relay": FOX_IMAGE, "foxapi": RELAY}


def provider_of(route: str) -> str:
    return route.partition("/")[0]


def failures(made: Mapping[str, Any]) -> list[tuple[str, str | None, str | None]]:
    """Provider, failure kind and `billed` of every attempt."""
    return [(attempt["provider"], attempt["failure"], attempt["billed"]) for attempt in made["attempts"]]


# --- what goes well ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "given"),
    [
        (V, IMAGE),
        (V, REFERENCES),
        (KL, REFERENCES),
        (RELAY, {}),
        (RELAY, IMAGE),
        (FOX_TEXT, {}),
        (FOX_IMAGE, IMAGE),
        (FOX_REFERENCE, REFERENCES),
    ],
)
async def test_one_submit_makes_one_video(gateway, route: str, given: dict[str, Any]):
    provider, _, upstream = route.partition("/")

    made = await gateway.make(model=route, metadata={"order": "1"}, user="u-1", **given)

    [task] = gateway.sandbox.state.tasks.values()
    assert gateway.paid == gateway.submits == {provider: 1}
    assert task.model == upstream
    assert made["id"].startswith("gen_")
    assert made["object"] == "video.generation"
    assert (made["status"], made["progress"], made["error"]) == ("completed", 100, None)
    assert {warning["type"] for warning in made["warnings"]} <= {"defaulted", "not_kept"}
    assert (made["model"], made["provider"], made["provider_model"]) == (route, provider, upstream)
    assert (made["metadata"], made["user"]) == ({"order": "1"}, "u-1")
    assert made["request"]["prompt"] == "A beach."
    assert made["created_at"] < made["completed_at"] <= made["expires_at"] == made["created_at"] + 3600
    [output] = made["data"]
    assert (output["index"], output["status"], output["error"]) == (0, "completed", None)
    assert output["url"] == output["provider_url"] == task.result_url
    assert output["expires_at"] > made["completed_at"]
    assert "extra" not in output
    [attempt] = made["attempts"]
    assert (attempt["number"], attempt["provider"], attempt["provider_model"]) == (1, provider, upstream)
    assert (attempt["status"], attempt["billed"], attempt["failure"]) == ("completed", "yes", None)
    assert attempt["tasks"] == [task.id]


async def test_the_answer_to_a_post_comes_before_any_provider_is_asked(gateway):
    made = await gateway.post(model=V, **IMAGE)
    assert (made["status"], made["progress"], made["provider"]) == ("queued", 0, None)
    assert [(attempt["status"], attempt["tasks"]) for attempt in made["attempts"]] == [("queued", [])]
    assert made["data"][0]["status"] == "queued"


@pytest.mark.parametrize("sandbox_options", [{"total_seconds": 100.0, "queued_seconds": 12.0}])
async def test_status_and_progress_are_the_providers_own(gateway):
    made = await gateway.post(model=FOX_TEXT)
    seen = []
    for _ in range(8):
        await gateway.clock.run_for(10)
        now = await gateway.get(made["id"])
        seen.append((now["status"], now["progress"], now["data"][0]["status"], now["attempts"][0]["status"]))
    assert seen[0] == ("queued", 0, "queued", "queued")
    assert [reading[0] for reading in seen[-3:]] == ["in_progress"] * 3
    assert seen[-1][2:] == ("in_progress", "in_progress")
    progress = [reading[1] for reading in seen]
    assert progress == sorted(progress)
    assert 40 < progress[-1] < 100


@pytest.mark.parametrize("n", [1, 2, 3, 4])
async def test_a_provider_that_makes_several_outputs_gets_one_submit(gateway, n: int):
    made = await gateway.make(model=V, n=n, **IMAGE)
    assert gateway.submits == {"keevx": 1}
    assert gateway.paid == {"keevx": n}
    assert [output["status"] for output in made["data"]] == ["completed"] * n
    assert len({output["url"] for output in made["data"]}) == n
    assert [len(attempt["tasks"]) for attempt in made["attempts"]] == [n]


@pytest.mark.parametrize("n", [2, 4])
async def test_a_provider_that_makes_one_output_gets_a_submit_for_each(gateway, n: int):
    made = await gateway.make(model=RELAY, n=n)
    assert gateway.submits == gateway.paid == {"kling_relay": n}
    assert [output["index"] for output in made["data"]] == list(range(n))
    assert len({output["url"] for output in made["data"]}) == n
    assert [attempt["billed"] for attempt in made["attempts"]] == ["yes"] * n


async def test_only_the_empty_outputs_go_to_the_next_route(idle):
    idle.route(V, FOX_IMAGE)
    gateway = await idle.start()
    gateway.sandbox.fault("keevx", "submit", "fail", only=1)
    made = await gateway.make(model="m", n=3, **IMAGE)
    assert made["status"] == "completed"
    assert gateway.paid == {"keevx": 3, "foxapi": 1}
    assert len({output["url"] for output in made["data"]}) == 3
    first, second = made["attempts"]
    assert (first["status"], first["billed"], first["failure"]) == ("completed", "yes", "task_failed")
    assert (second["provider"], second["status"], len(second["tasks"])) == ("foxapi", "completed", 1)


async def test_a_generation_is_completed_if_one_of_its_outputs_is(gateway):
    gateway.sandbox.fault("keevx", "submit", "fail", only=0)
    made = await gateway.make(model=V, n=2, **IMAGE)
    assert (made["status"], made["error"]) == ("completed", None)
    assert [output["status"] for output in made["data"]] == ["failed", "completed"]
    assert made["data"][0]["error"]["code"] == "task_failed"


async def test_more_tasks_than_asked_for_are_extra_outputs(gateway):
    gateway.sandbox.fault("keevx", "submit", "extra_ids", n=1)
    made = await gateway.make(model=V, n=1, **IMAGE)
    assert gateway.paid == {"keevx": 2}
    assert [(output["status"], output.get("extra")) for output in made["data"]] == [
        ("completed", None),
        ("completed", True),
    ]
    assert len({output["url"] for output in made["data"]}) == 2
    assert len(made["attempts"][0]["tasks"]) == 2


async def test_extra_tasks_of_attempts_at_the_same_time_are_all_kept(idle):
    keevx = idle.adapters["keevx"]
    one_by_one = tuple(replace(capability, count_max=1) for capability in keevx.capabilities["V"])
    idle.adapters["keevx"] = replace(keevx, capabilities={"V": one_by_one})
    gateway = await idle.start()

    def change(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def changed(*args: Any) -> Any:
            await gateway.until(lambda: gateway.started("keevx") == 4 and gateway.traffic.waits_for["keevx"] == 0)
            for _ in range(50):  # both replies have arrived, and only the store is needed until the outputs have them
                await asyncio.sleep(0)
            return await call(*args)

        return changed

    for method in ("accept_expected", "accept"):
        gateway.replace_in_store(method, change)
    gateway.sandbox.fault("keevx", "submit", "extra_ids", times=None, n=1)
    made = await gateway.make(model=V, n=2, **IMAGE)
    assert (gateway.submits, gateway.paid) == ({"keevx": 2}, {"keevx": 4})
    assert [output["status"] for output in made["data"]] == ["completed"] * 4
    assert len({output["url"] for output in made["data"]}) == 4
    assert [output.get("extra", False) for output in made["data"]] == [False, False, True, True]


# --- failures of tasks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", BY_IMAGE)
@pytest.mark.parametrize(
    ("fate", "kind"),
    [("fail", "task_failed"), ("fail_content", "content_policy"), ("fail_image", "invalid_request")],
)
async def test_a_failed_task_fails_its_generation_with_the_failure_kind(gateway, provider: str, fate: str, kind: str):
    gateway.sandbox.fault(provider, "submit", fate)
    made = await gateway.make(model=BY_IMAGE[provider], **IMAGE)
    assert (made["status"], made["error"]["code"]) == ("failed", kind)
    assert made["data"][0]["error"]["code"] == kind
    assert failures(made) == [(provider, kind, "maybe")]
    assert gateway.paid == gateway.submits == {provider: 1}


@pytest.mark.parametrize("operation", ["task", "submit"])
@pytest.mark.parametrize("on_content_policy", ["stop", "fall_back"])
async def test_refused_content_stops_unless_the_model_says_otherwise(idle, operation: str, on_content_policy: str):
    idle.route(FOX_IMAGE, V, on_content_policy=on_content_policy)
    gateway = await idle.start()
    gateway.sandbox.fault("foxapi", "submit", "fail_content" if operation == "task" else "content_refusal")
    made = await gateway.make(model="m", **IMAGE)
    refused = ("foxapi", "content_policy", "maybe" if operation == "task" else "no")
    if on_content_policy == "stop":
        assert (made["status"], made["error"]["code"]) == ("failed", "content_policy")
        assert failures(made) == [refused]
        assert gateway.started("keevx") == 0
    else:
        assert made["status"] == "completed"
        assert failures(made) == [refused, ("keevx", None, "yes")]


async def test_no_other_route_is_tried_when_the_client_forbids_it(idle):
    idle.route(FOX_IMAGE, V)
    gateway = await idle.start()
    gateway.sandbox.fault("foxapi", "submit", "fail")
    made = await gateway.make(model="m", fallback=False, **IMAGE)
    assert (made["status"], made["error"]["code"]) == ("failed", "task_failed")
    assert gateway.started("keevx") == 0


async def test_falling_back_to_the_models_that_the_client_names(gateway):
    gateway.sandbox.fault("foxapi", "submit", "fail")
    made = await gateway.make(model=FOX_IMAGE, fallback=[V], **IMAGE)
    assert made["status"] == "completed"
    assert gateway.paid == {"foxapi": 1, "keevx": 1}


# --- refusals of submits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "fault", "kind"),
    [
        *((provider, "429", "rate_limited") for provider in BY_IMAGE),
        *((provider, "429_retry_after", "rate_limited") for provider in BY_IMAGE),
        *((provider, "429_retry_date", "rate_limited") for provider in BY_IMAGE),
        *((provider, "401", "credential_refused") for provider in BY_IMAGE),
        *((provider, "no_credit", "out_of_credit") for provider in BY_IMAGE),
        *((provider, "503_no_channel", "unavailable") for provider in BY_IMAGE),
        ("keevx", "no_credit_http200", "out_of_credit"),
        ("kling_relay", "401_quota_exhausted", "out_of_credit"),
        ("kling_relay", "403_model", "credential_refused"),
        ("kling_relay", "500_no_channel", "unavailable"),
        ("foxapi", "422_model_not_found", "credential_refused"),
        ("foxapi", "422_no_available_channel", "unavailable"),
        ("foxapi", "422_no_compatible_channel", "unavailable"),
    ],
)
async def test_a_refusal_costs_nothing_and_the_next_route_is_tried(idle, provider: str, fault: str, kind: str):
    idle.route(BY_IMAGE[provider], NEXT[provider])
    gateway = await idle.start()
    gateway.sandbox.fault(provider, "submit", fault)
    made = await gateway.make(model="m", **IMAGE)
    other = provider_of(NEXT[provider])
    assert made["status"] == "completed"
    assert failures(made) == [(provider, kind, "no"), (other, None, "yes")]
    assert made["attempts"][0]["status"] == "failed"
    assert made["attempts"][1]["started_at"] == made["created_at"]  # at once
    assert gateway.submits == {provider: 1, other: 1}
    assert gateway.paid == {other: 1}


@pytest.mark.parametrize(
    ("provider", "fault"), [("keevx", "100001"), ("kling_relay", "400_kling"), ("foxapi", "422_invalid_image_url")]
)
async def test_a_refused_input_is_refused_anywhere(idle, provider: str, fault: str):
    idle.route(BY_IMAGE[provider], NEXT[provider])
    gateway = await idle.start()
    gateway.sandbox.fault(provider, "submit", fault)
    made = await gateway.make(model="m", **IMAGE)
    assert (made["status"], made["error"]["code"]) == ("failed", "invalid_request")
    assert failures(made) == [(provider, "invalid_request", "no")]
    assert gateway.paid == {}


@pytest.mark.parametrize("form", ["retry_after", "retry_date"])
async def test_the_last_route_waits_as_long_as_the_provider_asks(gateway, form: str):
    gateway.sandbox.fault("keevx", "submit", "429", **{form: 47})
    made = await gateway.make(model=V, **IMAGE)
    assert made["status"] == "completed"
    assert failures(made) == [("keevx", "rate_limited", "no"), ("keevx", None, "yes")]
    first, second = made["attempts"]
    assert second["started_at"] - first["ended_at"] == 47
    assert gateway.paid == {"keevx": 1}


async def test_a_generation_shows_when_the_next_try_is_due(gateway):
    gateway.sandbox.fault("keevx", "submit", "429", retry_after=47)
    posted = await gateway.post(model=V, **IMAGE)
    await gateway.until_state(posted["id"], "refused")
    waiting = await gateway.get(posted["id"])
    assert waiting["next_try_at"] - waiting["attempts"][0]["ended_at"] == 47
    assert (await gateway.finish(posted["id"]))["next_try_at"] is None


async def test_without_retry_after_the_last_route_waits_as_documented(gateway):
    gateway.sandbox.fault("kling_relay", "submit", "429")
    made = await gateway.make(model=RELAY)
    first, second = made["attempts"]
    assert second["started_at"] - first["ended_at"] == 30
    assert gateway.paid == {"kling_relay": 1}


async def test_the_last_route_is_not_tried_for_ever(gateway):
    gateway.sandbox.fault("foxapi", "submit", "503", times=None)
    made = await gateway.make(model=FOX_TEXT)
    assert made["status"] in {"failed", "expired"}
    assert "cannot take the request now" in made["error"]["message"]
    assert gateway.submits == {"foxapi": len(made["attempts"])}
    assert 10 <= len(made["attempts"]) <= 60, "an hour has room for so many, each wait longer than the one before"
    starts = [attempt["started_at"] for attempt in made["attempts"]]
    waits = [later - sooner for sooner, later in pairwise(starts)]
    assert waits[-1] > waits[0]
    assert gateway.paid == {}


async def test_a_wait_beyond_the_deadline_is_not_waited(gateway):
    gateway.sandbox.fault("foxapi", "submit", "429", retry_after=600)
    made = await gateway.make(model=FOX_TEXT, deadline_seconds=120)
    assert (made["status"], made["error"]["code"]) == ("failed", "rate_limited")
    assert made["completed_at"] == made["created_at"]


async def test_a_provider_that_cannot_be_reached_has_not_been_paid(idle):
    idle.route(V, FOX_IMAGE)
    idle.providers["keevx"]["base_url"] = "http://127.0.0.1:1"
    gateway = await idle.start()
    made = await gateway.make(model="m", **IMAGE)
    assert failures(made) == [("keevx", "unavailable", "no"), ("foxapi", None, "yes")]


async def test_no_detail_of_the_account_reaches_the_client(gateway):
    gateway.sandbox.fault("kling_relay", "submit", "403_pre_consume")
    answer = await gateway.make(model=RELAY)
    assert answer["status"] == "failed"
    for secret in ("＄", "0.10", "sk-upstream", "127.0.0.1"):
        assert secret not in str(answer["error"]) + str(answer["attempts"])


# --- submits without a clear answer -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        "close_after_accept",
        "close_after_accept?reset=1",
        "hang_after_accept",
        "half_reply",
        "garbage",
        "truncated_json",
        "empty",
        "null",
        "empty_object",
        "html_200",
        "gzip_bomb?bytes=100000",
        "huge?bytes=9000000",
        "502_html?started=1",
        "error_after_accept?status=500",
    ],
)
async def test_a_submit_without_a_clear_answer_is_never_sent_again(idle, fault: str):
    idle.models = {name: ModelSettings(routes=(BY_IMAGE[name], NEXT[name])) for name in BY_IMAGE}
    idle.patience = dict.fromkeys(BY_IMAGE, 0.5) if fault == "hang_after_accept" else {}
    gateway = await idle.start()
    prompts = {name: f"[[sandbox:{name}:submit:{fault}]]" for name in BY_IMAGE}
    posted = [await gateway.post(model=name, prompt=prompts[name], **IMAGE) for name in BY_IMAGE]
    for provider, generation in zip(BY_IMAGE, posted, strict=True):
        made = await gateway.finish(generation["id"])
        assert made["status"] == "completed"
        assert failures(made) == [(provider, "ambiguous", "maybe"), (provider_of(NEXT[provider]), None, "yes")]
        assert made["attempts"][0]["status"] == "unknown"
    expected = {(provider, prompts[name]) for name in BY_IMAGE for provider in (name, provider_of(NEXT[name]))}
    assert gateway.sandbox.state.prompts_started == dict.fromkeys(expected, 1)
    assert gateway.submits == gateway.paid == {"keevx": 1, "kling_relay": 2, "foxapi": 3}


# Replies in undocumented forms whose meaning is obvious: the submit is understood, and nothing is paid for again.
UNDERSTOOD = [
    *(f"dirty_json?dirt={dirt}" for dirt in DIRT),
    *(f"other_envelope?code={code}" for code in ("200", "ok", "1")),
    "camel_case",
    "length_too_long",
    "encoded?header=gzip&pack=gzip",
    "encoded?header=deflate&pack=raw",
    "encoded?header=utf-8",
    "encoded?header=&pack=gzip",
]


@pytest.mark.parametrize("fault", UNDERSTOOD)
async def test_a_reply_in_another_form_is_understood_and_nothing_is_bought_again(idle, fault: str):
    idle.models = {name: ModelSettings(routes=(BY_IMAGE[name], NEXT[name])) for name in BY_IMAGE}
    gateway = await idle.start()
    prompts = {name: f"[[sandbox:{name}:submit:{fault}]][[sandbox:{name}:poll:{fault}]]" for name in BY_IMAGE}
    posted = [await gateway.post(model=name, prompt=prompts[name], **IMAGE) for name in BY_IMAGE]
    for provider, generation in zip(BY_IMAGE, posted, strict=True):
        made = await gateway.finish(generation["id"])
        assert made["status"] == "completed", made
        assert failures(made) == [(provider, None, "yes")]
    assert gateway.submits == gateway.paid == dict.fromkeys(BY_IMAGE, 1)


WORDS = {"keevx": ("SUCCEEDED", "FAILED"), "kling_relay": ("SUCCESS", "FAILURE"), "foxapi": ("completed", "failed")}


@pytest.mark.parametrize("word", ["Finished", "TASK_STATUS_SUCCEED", "成功", "nobody knows this word"])
async def test_a_file_beside_another_word_for_done_or_an_unknown_one_is_taken(idle, word: str):
    gateway = await idle.start()
    for provider in BY_IMAGE:
        gateway.sandbox.fault(provider, "poll", "other_word", times=None, word=word, of=WORDS[provider][0])
    posted = [await gateway.post(model=BY_IMAGE[name], **IMAGE) for name in BY_IMAGE]
    assert [(await gateway.finish(generation["id"]))["status"] for generation in posted] == ["completed"] * 3
    assert gateway.paid == dict.fromkeys(BY_IMAGE, 1)


@pytest.mark.parametrize("word", ["FAIL", "rejected", "失败", "TASK_STATUS_FAILED"])
async def test_another_word_for_failed_ends_the_task_at_once(idle, word: str):
    idle.models = {name: ModelSettings(routes=(BY_IMAGE[name],)) for name in BY_IMAGE}
    gateway = await idle.start()
    for provider in BY_IMAGE:
        gateway.sandbox.fault(provider, "task", "fail", times=None)
        gateway.sandbox.fault(provider, "poll", "other_word", times=None, word=word, of=WORDS[provider][1])
    posted = [await gateway.post(model=name, **IMAGE) for name in BY_IMAGE]
    for provider, generation in zip(BY_IMAGE, posted, strict=True):
        made = await gateway.finish(generation["id"])
        assert failures(made) == [(provider, "task_failed", "maybe")]


@pytest.mark.parametrize("fault", ["close_before_read", "close", "hang", "redirect"])
async def test_a_submit_that_may_have_been_received_counts_as_received(idle, fault: str):
    idle.route(FOX_IMAGE, V)
    idle.patience["foxapi"] = 0.2
    gateway = await idle.start()
    gateway.sandbox.fault("foxapi", "submit", fault, times=None)
    made = await gateway.make(model="m", **IMAGE)
    assert failures(made) == [("foxapi", "ambiguous", "maybe"), ("keevx", None, "yes")]
    assert gateway.submits == {"foxapi": 1, "keevx": 1}
    assert gateway.sandbox.state.trapped == []  # no redirect is followed


async def test_no_other_route_of_a_provider_is_tried_while_it_may_have_a_task(idle):
    idle.route(FOX_IMAGE, "foxapi/kling-o3-image-to-video", V)
    gateway = await idle.start()
    gateway.sandbox.fault("foxapi", "submit", "close_after_accept", times=None)
    made = await gateway.make(model="m", **IMAGE)
    assert failures(made) == [("foxapi", "ambiguous", "maybe"), ("keevx", None, "yes")]
    assert gateway.paid == {"foxapi": 1, "keevx": 1}


@pytest.mark.parametrize("provider", BY_IMAGE)
async def test_without_another_provider_the_submission_is_unknown(gateway, provider: str):
    gateway.sandbox.fault(provider, "submit", "close_after_accept", times=None)
    made = await gateway.make(model=BY_IMAGE[provider], **IMAGE)
    assert (made["status"], made["error"]["code"]) == ("failed", "submission_unknown")
    assert failures(made) == [(provider, "ambiguous", "maybe")]
    assert gateway.submits == gateway.paid == {provider: 1}


async def test_an_unclear_answer_is_stored_so_that_the_provider_can_be_asked(gateway):
    gateway.sandbox.fault("kling_relay", "submit", "500")
    made = await gateway.make(model=RELAY)
    said = made["attempts"][0]["upstream"]
    assert (made["error"]["code"], said["status"], len(said["request_id"])) == ("submission_unknown", 500, 32)
    assert f"kling_relay answered the submit with HTTP 500, request id {said['request_id']}" in made["error"]["message"]


async def test_the_charge_that_a_provider_reports_is_stored(gateway):
    gateway.sandbox.state.settings = gateway.sandbox.state.settings.changed({"foxapi_submit": "newer"})
    made = await gateway.make(model=FOX_TEXT)
    said = made["attempts"][0]["upstream"]
    assert (said["status"], said["charge"]) == (200, {"amount": 5.0, "unit": "credits"})


async def test_on_ambiguous_fail_uses_no_other_route(idle):
    idle.route(V, FOX_IMAGE, on_ambiguous="fail")
    gateway = await idle.start()
    gateway.sandbox.fault("keevx", "submit", "half_reply")
    made = await gateway.make(model="m", **IMAGE)
    assert (made["status"], made["error"]["code"]) == ("failed", "submission_unknown")
    assert gateway.paid == {"keevx": 1}


async def test_on_ambiguous_hold_waits_for_the_deadline(idle):
    idle.route(V, FOX_IMAGE, on_ambiguous="hold")
    gateway = await idle.start()
    gateway.sandbox.fault("keevx", "submit", "half_reply")
    held = await gateway.post(model="m", deadline_seconds=300, **IMAGE)
    await gateway.clock.run_for(290)
    assert (await gateway.get(held["id"]))["status"] == "queued"
    made = await gateway.finish(held["id"])
    assert (made["status"], made["error"]["code"]) == ("expired", "expired")
    assert gateway.submits == {"keevx": 1}


async def test_several_submits_of_which_one_is_unclear(idle):
    idle.route(FOX_IMAGE, V)
    gateway = await idle.start()
    gateway.sandbox.fault("foxapi", "submit", "close_after_accept")
    made = await gateway.make(model="m", n=2, **IMAGE)
    assert made["status"] == "completed"
    assert [output["status"] for output in made["data"]] == ["completed"] * 2
    assert gateway.paid == {"foxapi": 2, "keevx": 1}


# --- reading tasks ----------------------------------------------------------------------------------------------------

POLLS = {
    "garbage": {},
    "empty": {},
    "null": {},
    "empty_list": {},
    "deep_json": {},
    "html_200": {},
    "huge": {"bytes": 9_000_000},
    "half_reply": {},
    "close_after_accept": {},
    "hang": {},
    "502_html": {},
    "500": {},
    "401": {},
    "429": {},
    "429_retry_after": {"retry_after": 50},
    "400": {},
    "redirect": {},
}


@pytest.mark.parametrize("fault", POLLS)
async def test_a_poll_that_fails_says_nothing_about_the_task(idle, fault: str):
    idle.patience = dict.fromkeys(BY_IMAGE, 0.5) if fault == "hang" else {}
    gateway = await idle.start()
    times = 1 if fault == "hang" else 4
    ids = []
    for provider, route in BY_IMAGE.items():
        gateway.sandbox.fault(provider, "poll", fault, times=times, **POLLS[fault])
        ids.append((await gateway.post(model=route, **IMAGE))["id"])
    for generation_id, provider in zip(ids, BY_IMAGE, strict=True):
        made = await gateway.finish(generation_id)
        assert (made["status"], failures(made)) == ("completed", [(provider, None, "yes")])
    assert gateway.paid == dict.fromkeys(BY_IMAGE, 1)
    assert all(gateway.received(provider, "poll") == times + 1 for provider in BY_IMAGE)
    assert gateway.sandbox.state.trapped == []


@pytest.mark.parametrize("provider", BY_IMAGE)
async def test_a_task_is_lost_after_the_grace_and_three_readings(idle, provider: str):
    idle.route(BY_IMAGE[provider], NEXT[provider])
    idle.providers[provider]["grace_seconds"] = 100
    gateway = await idle.start()
    gateway.sandbox.fault(provider, "poll", "lost", times=None)
    made = await gateway.make(model="m", **IMAGE)
    lost = made["attempts"][0]
    assert (lost["failure"], lost["billed"]) == ("task_lost", "maybe")
    assert lost["ended_at"] - lost["started_at"] >= 100
    assert gateway.received(provider, "poll") >= 3
    assert made["status"] == "completed"
    assert gateway.paid == {provider: 1, provider_of(NEXT[provider]): 1}


async def test_two_polls_without_a_task_do_not_lose_an_old_task(gateway):
    gateway.sandbox.fault("foxapi", "submit", "stuck")
    made = await gateway.post(model=FOX_TEXT)
    for _ in range(2):
        await gateway.clock.run_for(300)
        lost = gateway.sandbox.fault("foxapi", "poll", "lost", times=2)
        await gateway.clock.run_for(60)
        assert lost.times == 0
        assert (await gateway.get(made["id"]))["attempts"][0]["status"] == "in_progress"


@pytest.mark.parametrize("sandbox_options", [{"relay_insert_seconds": 50.0}])
async def test_a_task_that_is_not_found_at_first_is_polled_until_it_is(gateway):
    made = await gateway.make(model=RELAY)
    assert (made["status"], gateway.paid) == ("completed", {"kling_relay": 1})


@pytest.mark.parametrize("provider", BY_IMAGE)
async def test_done_without_a_file_is_read_again(gateway, provider: str):
    gateway.sandbox.fault(provider, "submit", "no_url", polls=2)
    made = await gateway.make(model=BY_IMAGE[provider], **IMAGE)
    assert made["status"] == "completed"
    assert made["data"][0]["url"]
    assert gateway.received(provider, "poll") >= 3


async def test_done_without_a_file_makes_the_provider_look_again(gateway):
    gateway.sandbox.fault("foxapi", "submit", "no_url", until_sync=True)
    made = await gateway.make(model=FOX_TEXT)
    assert made["status"] == "completed"


@pytest.mark.parametrize("provider", BY_IMAGE)
async def test_done_without_a_file_is_a_missing_result_after_the_grace(idle, provider: str):
    idle.route(BY_IMAGE[provider], NEXT[provider])
    gateway = await idle.start()
    gateway.sandbox.fault(provider, "submit", "no_url")
    made = await gateway.make(model="m", **IMAGE)
    assert failures(made)[0] == (provider, "result_missing", "yes")
    missing = made["attempts"][0]
    assert missing["ended_at"] - missing["started_at"] >= 60
    assert made["status"] == "completed"
    assert gateway.paid == {provider: 1, provider_of(NEXT[provider]): 1}


@pytest.mark.parametrize("sandbox_options", [{"relay_query": "proxy_url"}, {"relay_query": "flat"}])
async def test_a_file_that_only_the_key_opens_goes_through_the_gateway(gateway):
    made = await gateway.make(model=RELAY)
    assert made["status"] == "completed"
    [output] = made["data"]
    path = f"/v1/videos/generations/{made['id']}/content?index=0"
    assert output["url"].startswith(f"https://gw.example{path}&token=")
    assert output["provider_url"] is None
    gateway.sandbox.fault("kling_relay", "result", "502_html")  # the gateway has fetched the file already
    answer = await gateway.client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.content[4:8] == b"ftyp"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert "sk-upstream" not in str(answer.headers) + str(made)
    async with gateway.client_of("vg_test-key-number-two") as stranger:
        assert (await stranger.get(path)).status_code == 404


@pytest.mark.parametrize("sandbox_options", [{"relay_query": "proxy_url"}])
@pytest.mark.parametrize("fault", ["429", "502_html", "close", "401", "403", "html_200"])
async def test_a_file_that_only_the_key_opens_is_fetched_again_after_a_failure(gateway, fault: str):
    gateway.sandbox.fault("kling_relay", "result", fault, times=2)
    made = await gateway.make(model=RELAY)
    assert (made["status"], len(made["attempts"])) == ("completed", 1)


async def test_a_client_is_redirected_to_a_file_that_anybody_may_fetch(gateway):
    made = await gateway.make(model=FOX_TEXT)
    answer = await gateway.client.get(f"/v1/videos/generations/{made['id']}/content")
    assert (answer.status_code, answer.headers["location"]) == (302, made["data"][0]["provider_url"])
    missing = await gateway.client.get(f"/v1/videos/generations/{made['id']}/content?index=7")
    assert missing.status_code == 404


@pytest.mark.parametrize("sandbox_options", [{"total_seconds": 300.0}])
@pytest.mark.parametrize("provider", BY_IMAGE)
async def test_an_unknown_status_is_in_progress_and_logged_once(gateway, events, provider: str):
    gateway.sandbox.fault(provider, "submit", "unknown_status", times=2, word="ARCHIVING")
    first, second = [await gateway.post(model=BY_IMAGE[provider], **IMAGE) for _ in range(2)]
    await gateway.clock.run_for(120)
    assert (await gateway.get(first["id"]))["status"] == "in_progress"
    assert gateway.received(provider, "poll") > 2
    for generation in (first, second):
        assert (await gateway.finish(generation["id"]))["status"] == "completed"
    lines = [event for event in events if event["event"] == "unknown_status"]
    assert [(event["provider"], event["raw_status"]) for event in lines] == [(provider, "ARCHIVING")]


@pytest.mark.parametrize("provider", BY_IMAGE)
async def test_a_task_that_never_ends_has_its_attempt_time_out(idle, provider: str):
    idle.route(BY_IMAGE[provider], NEXT[provider], attempt_timeout_seconds=200)
    gateway = await idle.start()
    gateway.sandbox.fault(provider, "submit", "stuck")
    made = await gateway.make(model="m", **IMAGE)
    first = made["attempts"][0]
    assert made["status"] == "completed"
    assert (first["status"], first["failure"], first["billed"]) == ("abandoned", "timed_out", "maybe")
    assert first["ended_at"] - first["started_at"] == 200
    assert gateway.paid == {provider: 1, provider_of(NEXT[provider]): 1}


async def test_the_deadline_ends_it(gateway):
    gateway.sandbox.fault("foxapi", "submit", "stuck")
    made = await gateway.make(model=FOX_TEXT, deadline_seconds=90)
    assert (made["status"], made["error"]["code"]) == ("expired", "expired")
    assert made["completed_at"] == made["expires_at"] == made["created_at"] + 90
    assert made["data"][0]["status"] == "expired"
    assert made["attempts"][0]["status"] == "abandoned"
    polls = gateway.received("foxapi", "poll")
    await gateway.clock.run_for(600)
    assert gateway.received("foxapi", "poll") == polls


async def test_polls_that_change_nothing_write_nothing(gateway):
    gateway.sandbox.fault("foxapi", "submit", "stuck")
    made = await gateway.post(model=FOX_TEXT)
    await gateway.clock.run_for(60)
    before = await gateway.stored(made["id"])
    events, writes = await gateway.app.store.events(made["id"]), gateway.writes.total()
    polls = gateway.received("foxapi", "poll")
    await gateway.clock.run_for(800)
    assert gateway.received("foxapi", "poll") >= polls + 50
    assert await gateway.stored(made["id"]) == before
    assert await gateway.app.store.events(made["id"]) == events
    assert gateway.writes.total() == writes


# --- the form of a submit ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sandbox_options", [{"relay_regime": "B-old"}])
async def test_a_refused_form_is_amended_once_and_remembered(gateway):
    first = await gateway.make(model=RELAY, duration=10)
    assert first["status"] == "completed"
    assert failures(first) == [("kling_relay", "invalid_request", "no"), ("kling_relay", None, "yes")]
    second = await gateway.make(model=RELAY, duration=10)
    assert failures(second) == [("kling_relay", None, "yes")]
    assert gateway.submits == {"kling_relay": 3}
    assert gateway.paid == {"kling_relay": 2}


async def test_a_form_is_amended_no_more_than_once(gateway):
    gateway.sandbox.fault("kling_relay", "submit", "400_duration_string", times=None)
    made = await gateway.make(model=RELAY, duration=10)
    assert (made["status"], made["error"]["code"]) == ("failed", "invalid_request")
    assert gateway.submits == {"kling_relay": 2}


@pytest.mark.parametrize("sandbox_options", [{"relay_regime": "B-old"}])
@pytest.mark.parametrize("form", ["number", "string"])
async def test_the_configuration_fixes_the_form(idle, form: str):
    idle.providers["kling_relay"]["form"] = form
    gateway = await idle.start()
    made = await gateway.make(model=RELAY, duration=10)
    assert made["status"] == ("completed" if form == "number" else "failed")
    assert gateway.submits == {"kling_relay": 1}


# --- cancel, delete ---------------------------------------------------------------------------------------------------


async def cancel(gateway, generation_id: str) -> dict[str, Any]:
    answer = await gateway.client.post(f"/v1/videos/generations/{generation_id}/cancel")
    assert answer.status_code == 200, answer.text
    return gateway.json(answer)


async def test_a_cancel_before_the_submit_costs_nothing(gateway):
    made = await gateway.post(model=V, **IMAGE)
    cancelled = await cancel(gateway, made["id"])
    assert cancelled["status"] == "cancelled"
    assert cancelled["cancellation"]["provider_started"] is False
    await gateway.clock.run_for(3600)
    assert gateway.submits == {}
    assert await gateway.get(made["id"]) == cancelled


async def test_a_cancel_while_waiting_for_the_last_route(gateway):
    gateway.sandbox.fault("keevx", "submit", "429", times=None)
    made = await gateway.post(model=V, **IMAGE)
    await gateway.until_state(made["id"], "refused")
    cancelled = await cancel(gateway, made["id"])
    assert cancelled["cancellation"]["provider_started"] is False
    await gateway.clock.run_for(3600)
    assert gateway.submits == {"keevx": 1}


async def test_a_cancel_while_queued_for_a_busy_provider_sends_nothing(gateway):
    await gateway.stop()
    gateway.providers["keevx"]["concurrency"] = 1
    await gateway.start()
    gateway.traffic.slow.add("keevx")
    gateway.sandbox.fault("keevx", "submit", "slow", seconds=0.2)
    first, second = [await gateway.post(model=V, **IMAGE) for _ in range(2)]
    await gateway.until_state(first["id"], "submitting")
    await cancel(gateway, second["id"])
    gateway.traffic.slow.clear()
    assert (await gateway.finish(first["id"]))["status"] == "completed"
    [attempt] = (await gateway.get(second["id"]))["attempts"]
    assert (attempt["status"], attempt["billed"]) == ("cancelled", "no")
    assert gateway.submits == {"keevx": 1}


async def test_a_reply_that_names_endless_tasks_is_followed_within_bounds(gateway):
    gateway.sandbox.fault("keevx", "submit", "extra_ids", n=500)
    made = await gateway.post(model=V, **IMAGE)
    stored = await gateway.until_state(made["id"], "accepted")
    assert len(stored.attempts[0].tasks) == TASKS_MAX
    await cancel(gateway, made["id"])


async def test_a_cancel_during_the_submit_keeps_the_task_it_brings(gateway):
    gateway.traffic.slow.add("keevx")
    gateway.sandbox.fault("keevx", "submit", "slow", seconds=0.2)
    made = await gateway.post(model=V, **IMAGE)
    await gateway.until_state(made["id"], "submitting")
    cancelled = await cancel(gateway, made["id"])
    assert cancelled["cancellation"]["provider_started"] is True
    gateway.traffic.slow.clear()
    await gateway.clock.run_for(3600)
    now = await gateway.get(made["id"])
    assert (now["status"], now["attempts"][0]["status"], now["attempts"][0]["billed"]) == (
        "cancelled",
        "cancelled",
        "maybe",
    )
    assert now["attempts"][0]["tasks"] == list(gateway.sandbox.state.tasks)
    assert gateway.received("keevx", "poll") == 0
    assert gateway.app.engine.driven == 0


async def test_a_cancel_of_a_running_task_stops_the_polls(gateway):
    gateway.sandbox.fault("foxapi", "submit", "stuck")
    made = await gateway.post(model=FOX_TEXT)
    await gateway.clock.run_for(60)
    cancelled = await cancel(gateway, made["id"])
    assert (cancelled["status"], cancelled["cancellation"]["provider_started"]) == ("cancelled", True)
    assert cancelled["data"][0]["status"] == "cancelled"
    assert cancelled["attempts"][0]["billed"] == "maybe"
    polls = gateway.received("foxapi", "poll")
    await gateway.clock.run_for(600)
    assert gateway.received("foxapi", "poll") == polls
    assert await cancel(gateway, made["id"]) == await gateway.get(made["id"])


async def test_only_what_is_open_is_cancelled_and_only_what_has_ended_is_deleted(gateway):
    made = await gateway.post(model=FOX_TEXT)
    path = f"/v1/videos/generations/{made['id']}"
    assert (await gateway.client.delete(path)).status_code == 409
    await gateway.finish(made["id"])
    assert (await gateway.client.post(path + "/cancel")).status_code == 409
    answer = await gateway.client.delete(path)
    assert answer.json() == {"id": made["id"], "object": "video.generation", "deleted": True}
    for gone in (await gateway.client.get(path), await gateway.client.delete(path)):
        assert (gone.status_code, gone.json()["error"]["code"]) == (404, "not_found")


# --- the trouble of one provider does not affect others ---------------------------------------------------------------


async def test_a_provider_that_hangs_delays_neither_a_post_nor_another_provider(idle):
    idle.providers["kling_relay"] |= {
        "concurrency": 2,
        "read_concurrency": 2,
        "first_poll_seconds": 1,
        "poll_seconds": 1,
    }
    gateway = await idle.start()
    running = [await gateway.post(model=RELAY) for _ in range(4)]
    for generation in running:
        await gateway.until_state(generation["id"], "accepted")
    gateway.traffic.slow.add("kling_relay")
    gateway.sandbox.fault("kling_relay", "any", "hang", times=None)
    await gateway.clock.run_for(2)
    assert gateway.traffic.waits_for["kling_relay"] == 2  # not more simultaneous calls than allowed
    await gateway.post(model=RELAY)
    good = await gateway.make(model=FOX_TEXT)
    assert (good["status"], failures(good)) == ("completed", [("foxapi", None, "yes")])
    assert good["completed_at"] - good["created_at"] <= 10
    for generation in running:
        assert (await gateway.get(generation["id"]))["status"] != "failed"
    await gateway.crash()


async def test_reads_do_not_wait_for_submits(idle):
    idle.providers["foxapi"] |= {"concurrency": 1}
    gateway = await idle.start()
    running = await gateway.post(model=FOX_TEXT)
    await gateway.until_state(running["id"], "accepted")
    gateway.traffic.slow.add("foxapi")
    gateway.sandbox.fault("foxapi", "submit", "hang")
    await gateway.post(model=FOX_TEXT)
    await gateway.clock.run_for(1)
    gateway.traffic.slow.clear()
    gateway.clock.move_on(5)
    await gateway.until(lambda: gateway.received("foxapi", "poll") > 0)
    await gateway.crash()


# --- waiting, replays, other API keys ---------------------------------------------------------------------------------


async def test_wait_answers_when_the_status_changes(gateway):
    made = await gateway.post(model=FOX_TEXT)
    path = f"/v1/videos/generations/{made['id']}"
    answers = []
    for _ in range(2):
        waiting = asyncio.create_task(gateway.client.get(path, params={"wait": 60}))

        async def answered(waiting: "asyncio.Task[Any]" = waiting) -> bool:
            return waiting.done()

        await gateway.clock.run_until(answered)
        answers.append((await waiting).json())
    assert answers[-1]["status"] == "completed"
    assert 5 < gateway.clock.now().timestamp() - made["created_at"] <= 10


async def test_wait_is_over_when_nothing_changes(gateway):
    gateway.sandbox.fault("foxapi", "submit", "stuck", phase="queued")
    made = await gateway.post(model=FOX_TEXT)
    await gateway.until_state(made["id"], "accepted")
    waiting = asyncio.create_task(gateway.client.get(f"/v1/videos/generations/{made['id']}?wait=7"))
    await gateway.clock.run_for(6)
    assert not waiting.done()
    await gateway.clock.run_for(1)
    assert (await waiting).json()["status"] == "queued"


async def test_an_idempotency_key_makes_one_generation(gateway):
    async def post(key: str, **body: Any) -> Any:
        body = {"model": FOX_TEXT, "prompt": "A beach.", **body}
        return await gateway.client.post("/v1/videos/generations", json=body, headers={"idempotency-key": key})

    first = await post("k-1")
    assert "idempotent-replayed" not in first.headers
    again = await post("k-1", duration=None)  # equal after decoding
    assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")
    assert again.json()["id"] == first.json()["id"]
    await gateway.finish(first.json()["id"])
    assert (await post("k-1")).json()["status"] == "completed"
    other = await post("k-1", prompt="A forest.")
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
    at_once = await asyncio.gather(*(post("k-2") for _ in range(5)))
    assert sorted(answer.status_code for answer in at_once) == [200, 409, 409, 409, 409]
    for answer in at_once:
        if answer.status_code == 409:
            assert answer.json()["error"]["code"] == "idempotency_key_in_use"
            assert answer.headers["retry-after"]
    refused = await post("k-3", model="nonesuch")
    assert refused.status_code == 404
    assert (await post("k-3")).status_code == 200  # a refused request is not stored
    async with gateway.client_of("vg_test-key-number-two") as stranger:
        body = {"model": FOX_TEXT, "prompt": "Another."}
        theirs = await stranger.post("/v1/videos/generations", json=body, headers={"idempotency-key": "k-1"})
        assert theirs.status_code == 200
        assert theirs.json()["id"] != first.json()["id"]
    assert gateway.json(first)["id"] != (await post("k-3")).json()["id"]


async def test_what_another_key_owns_does_not_exist(gateway):
    made = await gateway.post(model=FOX_TEXT)
    path = f"/v1/videos/generations/{made['id']}"
    async with gateway.client_of("vg_test-key-number-two") as stranger:
        answers = [
            await stranger.get(path),
            await stranger.get(path + "?wait=5"),
            await stranger.get(path + "/content"),
            await stranger.post(path + "/cancel"),
            await stranger.delete(path),
        ]
        assert [answer.status_code for answer in answers] == [404] * 5
        assert (await stranger.get("/v1/videos/generations")).json()["data"] == []
    assert (await gateway.finish(made["id"]))["status"] == "completed"
    async with gateway.client_of(None) as nobody:
        assert (await nobody.get(path)).status_code == 401


# --- health -----------------------------------------------------------------------------------------------------------


async def test_attempts_that_wait_for_a_provider_leave_it_when_its_circuit_opens(idle):
    idle.route(V, FOX_IMAGE)
    idle.providers["keevx"]["concurrency"] = 1
    gateway = await idle.start()
    gateway.sandbox.fault("keevx", "submit", "close", times=None)
    made = [await gateway.post(model="m", **IMAGE) for _ in range(30)]
    ended = [await gateway.finish(generation["id"]) for generation in made]
    assert {generation["status"] for generation in ended} == {"completed"}
    assert gateway.submits["keevx"] == FAILURES_MIN
    assert gateway.paid == {"foxapi": 30}
    passed_by = [generation["attempts"][0]["billed"] for generation in ended]
    assert passed_by.count("maybe") == FAILURES_MIN
    assert "no" in passed_by, "an attempt that was in the queue already was never sent"


async def test_a_provider_that_has_recovered_serves_all_generations_that_waited(gateway):
    fault = gateway.sandbox.fault("foxapi", "submit", "503", times=None)
    made = [await gateway.post(model=FOX_TEXT) for _ in range(100)]
    await gateway.clock.run_for(60)
    fault.times = 0
    ended = [await gateway.finish(generation["id"], steps=20_000) for generation in made]
    assert {generation["status"] for generation in ended} == {"completed"}
    assert max(generation["completed_at"] - generation["created_at"] for generation in ended) < 900
    assert gateway.paid == {"foxapi": 100}


async def test_an_image_that_cannot_be_read_does_not_keep_others_from_the_provider(idle):
    idle.providers["keevx"]["concurrency"] = 1
    gateway = await idle.start()

    async def unreadable(_digest: str, _client: str) -> bytes | None:
        raise StoreUnavailable("The image cannot be read now.", retry_after=5)

    gateway.app._inputs._blobs.get = unreadable
    held = await gateway.post(model=V, image=PHOTO)
    other = await gateway.make(model=V, **IMAGE)
    assert other["status"] == "completed"
    assert (await gateway.get(held["id"]))["status"] == "queued"
