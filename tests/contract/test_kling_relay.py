"""What only the adapter of the Kling relay promises; `test_adapters.py` has what every adapter promises."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from gateway.domain.adapter.contract import HttpCall, HttpReply
from gateway.domain.adapter.failure import REMEDY, FailureKind, Remedy
from gateway.domain.adapter.request import FramesInput, Settings, TextInput, UpstreamRequest
from gateway.domain.adapter.task import Completed, Failed, Pending, Status, TaskRef
from gateway.domain.errors import UnreadableReply
from gateway.domain.generation.model import GenerationRequest
from gateway.domain.routing.plan import Candidate, Planned, plan
from gateway.domain.routing.price import Price
from providers import kling_relay
from providers.kling_relay import ADAPTER
from providers.kling_relay.errors import CODES, KLING

from ..cases import every

EXCHANGES = sorted((Path(__file__).parent.parent / "exchanges" / "kling_relay").glob("*.json"))
REPLIES = [json.loads(path.read_text())["reply"] for path in EXCHANGES]
TEXT, IMAGE = TextInput(), FramesInput(first_frame="https://example.com/image.jpg")
SUBMIT = HttpCall(method="POST", path="/kling/v1/videos/image2video", json={})
KNOWN = {**ADAPTER.capabilities, **ADAPTER.configurable}


def request(
    source: Any = TEXT, *, form: str = "", options: dict[str, Any] | None = None, **fields: Any
) -> UpstreamRequest:
    return UpstreamRequest(
        attempt_id="att_1",
        model="kling-v1-6",
        capability_name="kling-v1-6",
        prompt="a cat",
        input=source,
        settings=Settings(**fields),
        variant=form,
        options=options or {},
    )


def body(*args: Any, **fields: Any) -> dict[str, Any]:
    return ADAPTER.to_upstream(request(*args, **fields)).json


def reply(value: Any, *, status: int = 200, method: str = "GET") -> HttpReply:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return HttpReply(status=status, body=content, method=method)


def error(code: str, message: str = "") -> dict[str, Any]:
    return {"code": code, "message": message, "data": None}


def task(status: str, data: Any = None, **more: Any) -> dict[str, Any]:
    return {"code": "success", "message": "", "data": {"task_id": "t", "status": status, **more, "data": data}}


# --- the body of a submit


def test_only_required_fields_are_sent_by_default() -> None:
    assert body() == {"model": "kling-v1-6", "model_name": "kling-v1-6", "prompt": "a cat"}


def test_every_setting_is_sent_for_all_versions() -> None:
    source = FramesInput(first_frame="iVBORw0KGgo=", last_frame="https://example.com/last.jpg")

    actual = body(
        source, duration_seconds=10, resolution="1080p", aspect_ratio="9:16", negative_prompt="blur", cfg_scale=0.0
    )

    named = {
        "aspect_ratio": "9:16",
        "image_tail": "https://example.com/last.jpg",
        "negative_prompt": "blur",
        "cfg_scale": 0.0,
        "duration": "10",
    }
    assert actual == {
        "model": "kling-v1-6",
        "model_name": "kling-v1-6",
        "prompt": "a cat",
        "image": "iVBORw0KGgo=",
        "mode": "pro",
        "size": "1080x1920",
        **named,
        "metadata": named,
    }


def test_five_seconds_are_not_sent_because_no_type_suits_every_version() -> None:
    said = body(duration_seconds=5, aspect_ratio="16:9")

    assert "duration" not in said
    assert "duration" not in said["metadata"]


@pytest.mark.parametrize(("generate_audio", "sound"), [(True, "on"), (False, None), (None, None)])
def test_sound_is_asked_for_where_the_configuration_says_that_a_model_has_it(
    generate_audio: bool | None, sound: str | None
) -> None:
    said = body(generate_audio=generate_audio)

    assert (said.get("sound"), said.get("metadata", {}).get("sound")) == (sound, sound)
    assert not any(row.generate_audio for rows in KNOWN.values() for row in rows)


@pytest.mark.parametrize(("form", "top"), [("", "10"), ("string", "10"), ("number", 10)])
def test_form_changes_the_top_level_duration_alone(form: str, top: object) -> None:
    said = body(duration_seconds=10, form=form)

    assert said["duration"] == top
    assert said["metadata"]["duration"] == "10"


@pytest.mark.parametrize(
    ("fields", "mode", "size"),
    [
        ({"aspect_ratio": "16:9"}, None, "1280x720"),
        ({"aspect_ratio": "16:9", "resolution": "1080p"}, "pro", "1920x1080"),
        ({"aspect_ratio": "9:16", "resolution": "720p"}, "std", "720x1280"),
        ({"aspect_ratio": "9:16", "mode": "pro"}, "pro", "1080x1920"),
        ({"aspect_ratio": "1:1"}, None, "720x720"),
        ({"resolution": "1080p"}, "pro", None),
    ],
)
def test_resolution_becomes_mode_and_ratio_becomes_size(
    fields: dict[str, Any], mode: str | None, size: str | None
) -> None:
    said = body(**fields)

    assert (said.get("mode"), said.get("size")) == (mode, size)


def test_options_are_sent_for_all_versions() -> None:
    said = body(options={"camera_control": {"type": "simple"}, "external_task_id": "order-1"})

    assert said["camera_control"] == said["metadata"]["camera_control"] == {"type": "simple"}
    assert said["external_task_id"] == said["metadata"]["external_task_id"] == "order-1"


def test_no_callback_can_be_asked_for() -> None:
    for capabilities in ADAPTER.capabilities.values():
        assert all("callback_url" not in capability.options for capability in capabilities)


@pytest.mark.parametrize(("source", "path"), [(TEXT, "text2video"), (IMAGE, "image2video")])
def test_path_follows_the_input_up_to_the_poll(source: Any, path: str) -> None:
    call = ADAPTER.to_upstream(request(source))
    (ref,) = ADAPTER.task_refs(call, reply({"task_id": "task/../1"}, method="POST"))

    assert call.path == f"/kling/v1/videos/{path}"
    assert ADAPTER.poll(ref).path == f"/kling/v1/videos/{path}/task%2F..%2F1"


def test_content_is_asked_of_our_own_base() -> None:
    assert ADAPTER.content is not None
    assert ADAPTER.content(TaskRef(id="a?b#c")).path == "/v1/videos/a%3Fb%23c/content"


def test_refresh_asks_for_the_relays_own_status() -> None:
    assert ADAPTER.refresh is not None
    assert ADAPTER.refresh(TaskRef(id="a?b#c", path="text2video")).path == "/v1/videos/a%3Fb%23c"


def test_every_call_asks_for_english_and_a_read_has_no_body() -> None:
    assert ADAPTER.content is not None
    reads = [ADAPTER.poll(TaskRef(id="1", path="text2video")), ADAPTER.content(TaskRef(id="1"))]

    assert all(call.headers == {"Accept-Language": "en"} for call in [*reads, ADAPTER.to_upstream(request())])
    assert all(call.method == "GET" and call.json is None for call in reads)


# --- rules across fields


def refusals(submit: UpstreamRequest) -> list[str]:
    return [why for rule in ADAPTER.capabilities[submit.capability_name][0].rules if (why := rule(submit)) is not None]


@pytest.mark.parametrize("option", ["camera_control", "static_mask", "dynamic_masks"])
def test_last_frame_excludes_masks_and_camera(option: str) -> None:
    both = FramesInput(first_frame="a", last_frame="b")

    assert refusals(request(both, options={option: "x"}))
    assert not refusals(request(IMAGE, options={option: "x"}))
    assert not refusals(request(both, options={"external_task_id": "x"}))


def test_masks_need_an_image() -> None:
    assert refusals(request(options={"static_mask": "x"}))
    assert not refusals(request(options={"camera_control": {}}))


def test_mode_that_contradicts_the_resolution_is_refused() -> None:
    assert refusals(request(mode="pro", resolution="720p"))
    assert refusals(request(resolution="4k"))
    assert not refusals(request(resolution="720p"))
    assert not refusals(request(mode="pro", resolution="1080p"))
    assert not refusals(request(mode="pro"))


def test_guidance_is_for_the_first_generation_alone() -> None:
    ranges = {name: {row.cfg_scale for row in rows} for name, rows in KNOWN.items()}

    assert {name for name, values in ranges.items() if values == {(0, 1)}} == {"kling-v1", "kling-v1-6"}
    assert all(values == {None} for name, values in ranges.items() if not name.startswith("kling-v1"))
    assert ADAPTER.default_capability_name == "kling-v2-master"


# --- Kling's own rules, as they appear in a plan


def planned(model: str, source: Any = TEXT, *, adapt: Any = "none", sound: bool = False, **fields: Any) -> Planned:
    rows = tuple(replace(row, generate_audio=sound) for row in KNOWN[model])
    wanted = GenerationRequest(model="m", prompt="a cat", input=source, settings=Settings(**fields), adapt=adapt)
    prices = (Price(resolution="1080p", per_clip=2.0), Price(per_clip=1.0))
    candidate = Candidate(provider="kling_relay", model=model, capability_name=model, capabilities=rows, prices=prices)
    return plan(wanted, (candidate,))


def sent(outcome: Planned, model: str, source: Any = TEXT) -> tuple[str | None, float | None, list[str]]:
    """The mode that goes to the relay, the price, and the settings that nobody gave."""
    (route,) = outcome.routes
    submit = request(source)
    call = ADAPTER.to_upstream(structs.replace(submit, model=model, capability_name=model, settings=route.settings))
    return call.json.get("mode"), route.cost_usd, [name for name in ("mode",) if route.settings.mode is not None]


def reasons(outcome: Planned) -> list[tuple[str, str]]:
    (left_out,) = outcome.left_out
    return [(reason.param, reason.message.partition(";")[0]) for reason in left_out.reasons]


BOTH = FramesInput(first_frame="https://example.com/1.jpg", last_frame="https://example.com/2.jpg")
STD_TOO = ("kling-v1", "kling-v1-6", "kling-v2-1", "kling-v2-6")
PRO_ONLY = ("kling-v2-master", "kling-v2-1-master", "kling-v2-5", "kling-v2-5-turbo")


@pytest.mark.parametrize("model", [*STD_TOO, *PRO_ONLY])
def test_last_frame_is_made_in_mode_pro(model: str) -> None:
    assert sent(planned(model, BOTH), model, BOTH) == ("pro", 2.0, ["mode"])
    assert sent(planned(model, BOTH, resolution="1080p"), model, BOTH)[:2] == ("pro", 2.0)
    assert sent(planned(model, BOTH, mode="pro"), model, BOTH)[:2] == ("pro", 2.0)
    nearest = planned(model, BOTH, adapt="nearest", resolution="720p")
    assert sent(nearest, model, BOTH)[:2] == ("pro", 2.0)
    assert [(change.param, change.asked, change.given) for change in nearest.routes[0].adaptations] == [
        ("resolution", "720p", "1080p")
    ]


@pytest.mark.parametrize("model", STD_TOO)
def test_last_frame_in_another_mode_leaves_the_route_out_with_a_reason(model: str) -> None:
    assert reasons(planned(model, BOTH, resolution="720p")) == [
        ("resolution", "with a last image: takes 1080p, not 720p")
    ]
    assert reasons(planned(model, BOTH, mode="std")) == [("mode", "with a last image: takes pro, not std")]
    assert planned(model, BOTH, adapt="nearest", mode="std").left_out, "a mode is never exchanged"


@pytest.mark.parametrize("source", [TEXT, IMAGE])
@pytest.mark.parametrize("model", STD_TOO)
def test_without_a_last_frame_no_mode_is_filled_in(model: str, source: Any) -> None:
    assert sent(planned(model, source), model, source) == (None, 1.0, [])
    assert sent(planned(model, source, resolution="720p"), model, source)[:2] == ("std", 1.0)
    assert sent(planned(model, source, mode="pro"), model, source)[:2] == ("pro", 2.0)


@every("source", [TEXT, IMAGE, BOTH])
@every("model", PRO_ONLY)
def test_model_of_one_mode_is_asked_for_in_it(model: str, source: Any) -> None:
    assert sent(planned(model, source), model, source) == ("pro", 2.0, ["mode"])
    assert reasons(planned(model, source, mode="std")) == [("mode", "takes pro, not std")]
    assert reasons(planned(model, source, resolution="720p")) == [("resolution", "takes 1080p, not 720p")]


@pytest.mark.parametrize("source", [TEXT, IMAGE, BOTH])
def test_sound_is_made_in_mode_pro(source: Any) -> None:
    for fields in ({}, {"mode": "pro"}, {"resolution": "1080p"}):
        outcome = planned("kling-v2-6", source, sound=True, generate_audio=True, **fields)
        assert sent(outcome, "kling-v2-6", source)[:2] == ("pro", 2.0)
    for fields in ({"mode": "std"}, {"resolution": "720p"}):
        assert planned("kling-v2-6", source, sound=True, generate_audio=True, **fields).left_out
    silent = planned("kling-v2-6", TEXT, sound=True, generate_audio=False)
    assert sent(silent, "kling-v2-6") == (None, 1.0, [])


def test_third_generation_has_its_own_lengths_and_last_frames_in_either_mode() -> None:
    outcome = planned("kling-v3", BOTH, duration_seconds=15, mode="std")

    assert sent(outcome, "kling-v3", BOTH)[:2] == ("std", 1.0)
    assert reasons(planned("kling-v3", duration_seconds=2)) == [("duration", "takes 3 to 15, not 2")]


# --- the other form


NUMBER_REFUSED = error(
    "build_request_failed", "json: cannot unmarshal number into Go struct field X.duration of type string"
)
STRING_REFUSED = error("invalid_request", "json: cannot unmarshal string into Go struct field X.duration of type int")


@every(
    ("form", "status", "refusal", "other"),
    [
        ("number", 500, NUMBER_REFUSED, "string"),
        ("string", 400, STRING_REFUSED, "number"),
        ("string", 500, error("build_request_failed", "unexpected end of JSON input"), None),
        ("string", 400, error("invalid_request", "prompt is required"), None),
        ("string", 400, error("invalid_seconds", "duration must be between 1 and 3600"), None),
        ("string", 500, error("do_request_failed", "duration"), None),
        ("string", 500, STRING_REFUSED, None),
        ("string", 400, NUMBER_REFUSED, None),
        ("string", 200, STRING_REFUSED, None),
        ("string", 502, b"<html>duration</html>", None),
        ("string", 400, {"code": ["invalid_request"], "message": "duration"}, None),
        ("string", 400, {"code": "invalid_request", "message": '{"code":1201,"message":"duration is invalid"}'}, None),
    ],
)
def test_other_form_only_where_nothing_was_sent(form: str, status: int, refusal: Any, other: str | None) -> None:
    assert ADAPTER.next_variant is not None
    call = ADAPTER.to_upstream(request(duration_seconds=10, form=form))

    assert ADAPTER.next_variant(call, reply(refusal, status=status, method="POST")) == other


def test_no_other_form_without_a_duration() -> None:
    assert ADAPTER.next_variant is not None
    call = ADAPTER.to_upstream(request(duration_seconds=5))

    assert ADAPTER.next_variant(call, reply(STRING_REFUSED, status=400, method="POST")) is None


# --- refusals


@every("code", sorted(KLING))
def test_every_kling_code_is_recorded(code: str) -> None:
    named = re.compile(rf"code\W+{code}\b")
    assert any(named.search(path.read_text()) for path in EXCHANGES if path.name.startswith("refused-"))


@every("code", sorted(CODES))
def test_every_word_of_the_relay_is_recorded(code: str) -> None:
    assert any(f'"{code}"' in path.read_text() for path in EXCHANGES if path.name.startswith("refused-"))


@every("status", [500, 502, 503, 504, 520, 524])
@every("content", [b"", b"<html></html>", b"null", b"[]", b'{"code":"new","message":"x","data":null}'])
def test_server_error_to_a_submit_is_ambiguous_and_to_a_read_transient(status: int, content: bytes) -> None:
    to_submit = ADAPTER.classify(reply(content, status=status, method="POST"))
    to_read = ADAPTER.classify(reply(content, status=status))

    assert to_submit is not None
    assert to_submit.kind is FailureKind.AMBIGUOUS
    assert to_read is not None
    assert to_read.kind is FailureKind.UNAVAILABLE


@every(
    "message",
    [
        "",
        "kling submit failed",
        "missing task_id",
        "server internal error",
        "TypeError: cannot read property of undefined, image is required",
        "invalid JSON: the image is invalid",
        "the response is invalid",
        "quota of the reply is exhausted",
    ],
)
@every("status", [400, 403, 502])
def test_words_that_prove_no_refusal_leave_the_plug_ins_reply_ambiguous(message: str, status: int) -> None:
    body = {"code": "plugin_submit_response_failed", "message": message}
    refused = ADAPTER.classify(reply(body, status=status, method="POST"))

    assert refused is not None
    assert refused.kind is FailureKind.AMBIGUOUS


@every("code", ["do_request_failed", "plugin_submit_response_invalid", "task_timeout", "server_error"])
@every("status", [500, 502, 504])
def test_kling_s_words_beside_another_code_prove_nothing(code: str, status: int) -> None:
    refused = ADAPTER.classify(reply(error(code, "Image pixel is invalid"), status=status, method="POST"))

    assert refused is not None
    assert refused.kind is FailureKind.AMBIGUOUS


@pytest.mark.parametrize("code", [1, 200, 500, "ok", "fail", True, 1.5, ["success"]])
def test_only_the_documented_codes_are_success(code: object) -> None:
    refused = ADAPTER.classify(reply({"code": code, "message": "x", "data": None}, method="POST"))

    assert refused is not None
    assert REMEDY[refused.kind] is Remedy.RECONCILE


@every("status", [200, 400, 401, 403, 404, 413, 429, 500, 503])
@every("code", [*KLING, *CODES, "task_failed", "fail_to_fetch_task"])
def test_refusal_with_a_task_id_is_ambiguous(code: str, status: int) -> None:
    data = {"task_id": "1", "task_status": "submitted"}
    refusal_body = {"code": code, "message": "too many requests, no available channel", "data": data}
    bodies = [
        refusal_body,
        {**refusal_body, "data": "1"},
        {**refusal_body, "data": json.dumps(data)},
        error("fail", json.dumps(refusal_body)),
    ]
    bodies.append({"task_id": "1", "error": {"code": code, "message": "rate limit"}, "code": "fail"})
    for refusal in bodies:
        refused = ADAPTER.classify(reply(refusal, status=status, method="POST"))
        assert refused is not None
        assert refused.kind is FailureKind.AMBIGUOUS


@pytest.mark.parametrize("code", [0, "0", "success", "SUCCESS", None])
def test_documented_codes_are_success(code: object) -> None:
    assert ADAPTER.classify(reply({"code": code, "message": "", "data": {"task_id": "1"}}, method="POST")) is None


def test_message_of_a_refusal_does_not_show_the_account() -> None:
    secrets = "group: vip, channel ID: 12, 剩余额度: 3.50, key sk-abc123def456, host 10.1.2.3, https://inner.example/x"
    for code in ("task_failed", "fail_to_fetch_task", "invalid_request", "build_request_failed", "unheard_of", ""):
        for status in (200, 400, 401, 403, 404, 413, 422, 429, 500, 503):
            refused = ADAPTER.classify(reply(error(code, f"bad value, {secrets}"), status=status, method="POST"))
            message = refused.message if refused else ""
            assert not [word for word in ("vip", "12", "3.50", "sk-", "10.1", "inner") if word in message], message


def test_message_of_a_failed_task_does_not_show_the_account() -> None:
    snapshot = ADAPTER.from_upstream(reply(task("FAILURE", fail_reason="broken at channel #12 under group vip")))

    assert isinstance(snapshot, Failed)
    assert "12" not in snapshot.message
    assert "vip" not in snapshot.message


# --- readings


@pytest.mark.parametrize("word", ["SUCCESS", "success", "Succeed", "succeeded", "completed", "COMPLETED"])
def test_words_are_compared_without_case(word: str) -> None:
    assert isinstance(ADAPTER.from_upstream(reply(task(word, result_url="https://files.example/a.mp4"))), Completed)


@every("host", ["https://api.xiexus.cn", "http://localhost:3000", "https://other.example/base"])
@every("field", ["result_url", "fail_reason", "url"])
@every("path", ["videos/task_1/content", "tasks/task_1/artifacts/video/content"])
def test_printed_content_address_is_never_used(host: str, field: str, path: str) -> None:
    snapshot = ADAPTER.from_upstream(reply(task("SUCCESS", **{field: f"{host}/v1/{path}?access=1"})))

    assert isinstance(snapshot, Pending)
    assert snapshot.result_missing


def test_url_order_is_nested_then_result_url_then_fail_reason() -> None:
    urls = {name: f"https://files.example/{name}.mp4" for name in ("video", "inner", "outer", "reason")}
    videos = {"code": 0, "data": {"task_status": "succeed", "task_result": {"videos": [{"url": urls["video"]}]}}}
    outer = {"result_url": urls["outer"], "fail_reason": urls["reason"]}
    readings = {
        "video": task("SUCCESS", task("SUCCESS", videos, result_url=urls["inner"]), **outer),
        "inner": task("SUCCESS", task("SUCCESS", result_url=urls["inner"]), **outer),
        "outer": task("SUCCESS", {}, **outer),
        "reason": task("SUCCESS", None, fail_reason=urls["reason"]),
    }

    for name, reading in readings.items():
        snapshot = ADAPTER.from_upstream(reply(reading))
        assert isinstance(snapshot, Completed)
        assert [artifact.url for artifact in snapshot.artifacts] == [urls[name]]


@pytest.mark.parametrize("word", ["error", "maintenance", "unknown", ""])
def test_status_word_without_a_task_is_unreadable(word: str) -> None:
    with pytest.raises(UnreadableReply):
        ADAPTER.from_upstream(reply({"status": word, "message": "down for maintenance"}))


def test_word_of_an_envelope_is_not_the_status_of_its_task() -> None:
    snapshot = ADAPTER.from_upstream(reply({"status": "success", "data": {"task_id": "t", "status": "IN_PROGRESS"}}))

    assert snapshot == Pending(status=Status.IN_PROGRESS, raw_status="IN_PROGRESS")


def test_failure_never_yields_a_video() -> None:
    snapshot = ADAPTER.from_upstream(reply(task("FAILURE", result_url="https://files.example/a.mp4", fail_reason="")))

    assert isinstance(snapshot, Failed)
    assert "files.example" not in snapshot.message


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("The prompt violates the rules", FailureKind.CONTENT_POLICY),
        ("触发敏感内容", FailureKind.CONTENT_POLICY),
        ("an asterisk in the reply", FailureKind.TASK_FAILED),
        ("Image pixel is invalid", FailureKind.INVALID_REQUEST),
        ("图片尺寸过小", FailureKind.INVALID_REQUEST),
        ("no information from the model", FailureKind.TASK_FAILED),
        ("upstream returned unrecognized message", FailureKind.TASK_FAILED),
        ("任务超时（1440分钟）", FailureKind.TASK_FAILED),
        ("", FailureKind.TASK_FAILED),
    ],
)
def test_reason_of_a_failed_task_decides_its_kind(reason: str, kind: FailureKind) -> None:
    snapshot = ADAPTER.from_upstream(reply(task("FAILURE", fail_reason=reason)))

    assert isinstance(snapshot, Failed)
    assert snapshot.kind is kind


def test_polling_follows_the_page() -> None:
    polling = ADAPTER.polling

    assert (polling.first_poll_seconds, polling.poll_seconds, polling.poll_max_seconds) == (15, 15, 30)
    assert (polling.attempt_timeout_seconds, polling.grace_seconds, polling.submit_timeout_seconds) == (1500, 60, 120)
    assert (polling.result_seconds, ADAPTER.rate_limit_seconds) == (86400, 30)


# --- any reply reads as a value or raises `UnreadableReply`


def reads_cleanly(answer: HttpReply) -> None:
    refused = ADAPTER.classify(answer)
    assert refused is None or isinstance(refused, Failed)
    assert ADAPTER.next_variant is not None
    assert ADAPTER.next_variant(ADAPTER.to_upstream(request(duration_seconds=10)), answer) in {None, "number", "string"}
    try:
        snapshot = ADAPTER.from_upstream(answer)
    except UnreadableReply:
        pass
    else:
        assert isinstance(snapshot, Completed | Pending | Failed)
        assert not isinstance(snapshot, Completed) or snapshot.artifacts
        msgspec.json.encode(snapshot)
    try:
        refs = ADAPTER.task_refs(SUBMIT, answer)
    except UnreadableReply:
        return
    assert len(refs) == 1
    assert ADAPTER.poll(refs[0]).path.count("/") == 5
    assert msgspec.json.decode(msgspec.json.encode(refs[0]), type=TaskRef) == refs[0]


KEYS = st.sampled_from(
    ["code", "message", "data", "error", "type", "task_id", "id", "status", "progress"]
) | st.sampled_from(
    [
        "task_status",
        "task_status_msg",
        "fail_reason",
        "result_url",
        "url",
        "metadata",
        "task_result",
        "videos",
        "duration",
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(
        ["SUCCESS", "FAILURE", "failed", "success", "https://a.example/v.mp4", "http://[", "30%", '{"code":1101}']
    ),
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=5), inner, max_size=6)
)
STATUSES = st.sampled_from([200, 201, 204, 302, 400, 401, 403, 404, 408, 413, 422, 429, 500, 502, 503, 504])
METHODS = st.sampled_from(["GET", "POST"])


@given(JSON, STATUSES, METHODS)
def test_any_json_is_a_value_or_unreadable(value: Any, status: int, method: str) -> None:
    reads_cleanly(reply(value, status=status, method=method))


@given(st.binary(max_size=200), STATUSES, METHODS)
def test_any_bytes_are_a_value_or_unreadable(content: bytes, status: int, method: str) -> None:
    reads_cleanly(reply(content, status=status, method=method))


@given(st.data(), METHODS)
def test_any_altered_exchange_is_a_value_or_unreadable(data: st.DataObject, method: str) -> None:
    recorded = data.draw(st.sampled_from([entry for entry in REPLIES if isinstance(entry.get("json"), dict)]))
    value = json.loads(json.dumps(recorded["json"]))
    for _ in range(data.draw(st.integers(1, 3))):
        node = value
        while isinstance(node, dict) and node:
            key = data.draw(st.sampled_from(sorted(node)))
            if not isinstance(node[key], dict) or data.draw(st.booleans()):
                if data.draw(st.booleans()):
                    del node[key]
                else:
                    node[key] = data.draw(JSON)
                break
            node = node[key]
    reads_cleanly(reply(value, status=recorded["status"], method=method))


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"data":' * 100_000, b'"\\ud800"', b"\xff\xfe", b"1" * 5000])
def test_hostile_json_is_unreadable(content: bytes) -> None:
    for read in (ADAPTER.from_upstream, lambda answer: ADAPTER.task_refs(SUBMIT, answer)):
        with pytest.raises(UnreadableReply):
            read(reply(content))


def test_half_a_surrogate_pair_is_replaced_and_not_handed_on() -> None:
    cut = b'{"task_id": "t", "status": "SUCCESS", "result_url": "https://files.example/\\ud83d.mp4"}'
    failure = b'{"task_id": "t", "status": "FAILURE", "fail_reason": "a cut emoji \\ud83d"}'

    for content in (cut, failure, failure.replace(b"FAILURE", b"\\ud83d")):
        assert msgspec.json.encode(ADAPTER.from_upstream(reply(content)))


def test_long_messages_are_read_fast() -> None:
    refused = ADAPTER.classify(reply(error("task_failed", "a." * 500_000), status=400, method="POST"))

    assert refused is not None
    assert len(refused.message) <= 300


def test_module_names_one_adapter() -> None:
    assert kling_relay.ADAPTER is ADAPTER
    assert (ADAPTER.name, ADAPTER.base_url) == ("kling_relay", "https://api.xiexus.cn")
