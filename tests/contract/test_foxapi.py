"""What only the adapter of FoxAPI promises. The meaning of single replies is in its exchanges."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from gateway.domain.adapter.contract import Capability, Credential, FilePart, HttpCall, HttpReply, ImageTransport
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.replies import KIND_BY_STATUS
from gateway.domain.adapter.request import (
    FramesInput,
    Input,
    InputKind,
    ReferencesInput,
    Settings,
    TextInput,
    UpstreamRequest,
)
from gateway.domain.adapter.task import Completed, Failed, Pending, TaskRef
from gateway.domain.errors import UnreadableReply
from providers.foxapi import ADAPTER, FRAMES
from providers.foxapi.errors import CODES, TASK_CODES
from providers.foxapi.models import CAPABILITIES

from ..cases import every

A, B = "https://example.com/a.jpg", "https://example.com/b.jpg"
VIDEO = "https://example.com/motion.mp4"
TEXT, IMAGE, BOTH = TextInput(), FramesInput(first_frame=A), FramesInput(first_frame=A, last_frame=B)
SUBMIT = HttpCall(method="POST", path="/v1/videos/generations", json={})


def request(
    model: str, prompt: str, value: Input, options: dict[str, Any] | None = None, **fields: Any
) -> UpstreamRequest:
    return UpstreamRequest(
        attempt_id="att_1",
        model=model,
        capability_name=model,
        prompt=prompt,
        input=value,
        settings=Settings(**fields),
        options=options or {},
    )


def body_of(submit: UpstreamRequest) -> dict[str, Any]:
    body: dict[str, Any] = ADAPTER.to_upstream(submit).json
    return body


def reply(status: int, body: object, *, method: str = "POST") -> HttpReply:
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return HttpReply(status=status, body=content, method=method)


def kind_of(status: int, body: object, *, method: str = "POST") -> FailureKind | None:
    refusal = ADAPTER.classify(reply(status, body, method=method))
    return None if refusal is None else refusal.kind


def envelope(**error: object) -> dict[str, object]:
    return {"error": {"message": "no", **error}}


# --- what is sent -----------------------------------------------------------------------------------------------------

# The fields in each model's column of the documentation, without `model` and `prompt`.
V3_COLUMN = {"resolution", "duration", "generate_audio", "negative_prompt", "voice_ids", "multi_prompt"}
O3_COLUMN = {"resolution", "duration", "generate_audio", "multi_prompt"}
EDIT_COLUMN = {"video_url", "keep_audio", "image_urls", "elements", "resolution"}
MOTION_COLUMN = {"image_url", "video_url", "mode", "character_orientation", "keep_original_sound"}
COLUMNS = {
    "kling-v3-image-to-video": V3_COLUMN | {"image_url", "image_tail_url"},
    "kling-v3-text-to-video": V3_COLUMN | {"aspect_ratio"},
    "kling-o3-image-to-video": O3_COLUMN | {"image_url", "end_image_url", "shot_type"},
    "kling-o3-text-to-video": O3_COLUMN | {"aspect_ratio", "shot_type"},
    "kling-o3-reference-to-video": O3_COLUMN
    | {"aspect_ratio", "start_image_url", "end_image_url", "image_urls", "elements"},
    "kling-o3-video-to-video-edit": EDIT_COLUMN,
    "kling-o3-video-to-video-reference": EDIT_COLUMN | {"aspect_ratio", "duration"},
    "kling-v3-motion-control": MOTION_COLUMN,
    "kling-v2-6-motion-control": MOTION_COLUMN,
}


def everything(model: str) -> list[UpstreamRequest]:
    """For each kind of input, a request with everything that a row allows."""
    (row,) = CAPABILITIES[model]
    inputs: dict[InputKind, Input] = {
        InputKind.TEXT: TEXT,
        InputKind.IMAGE: BOTH if row.last_frame else IMAGE,
        InputKind.REFERENCES: ReferencesInput(
            references=(A, B),
            first_frame=A if row.frames_with_references else None,
            last_frame=B if row.frames_with_references else None,
        ),
    }
    settings = Settings(
        duration_seconds=max(row.durations, default=None),
        resolution=max(row.resolutions, default=None),
        aspect_ratio=max(row.aspect_ratios, default=None),
        generate_audio=row.generate_audio,  # a client may ask a model without sound for silence
        negative_prompt="blur" if row.negative_prompt_max else None,
        mode=max(row.modes, default=None),
    )
    return [
        structs.replace(
            request(model, "" if row.prompt_max == 0 else "a kite", inputs[kind], dict.fromkeys(row.options, "x")),
            settings=settings,
        )
        for kind in sorted(row.inputs)
    ]


def test_every_row_has_its_column() -> None:
    assert set(COLUMNS) == set(CAPABILITIES)
    assert set(FRAMES) == {name for name, (row,) in CAPABILITIES.items() if InputKind.IMAGE in row.inputs}


@pytest.mark.parametrize("model", COLUMNS)
def test_all_of_a_models_column_is_sent_and_nothing_else(model: str) -> None:
    """FoxAPI refuses an unknown field with 422."""
    sent: set[str] = set()
    for submit in everything(model):
        sent |= set(body_of(submit))

    assert sent - {"model", "prompt"} == COLUMNS[model]


@pytest.mark.parametrize(
    ("model", "value", "frames"),
    [
        ("kling-v3-image-to-video", BOTH, {"image_url": A, "image_tail_url": B}),
        ("kling-o3-image-to-video", BOTH, {"image_url": A, "end_image_url": B}),
        ("kling-v3-image-to-video", IMAGE, {"image_url": A}),
        ("kling-o3-reference-to-video", BOTH, {"start_image_url": A, "end_image_url": B}),
        (
            "kling-o3-reference-to-video",
            ReferencesInput(references=(B,), last_frame=A),
            {"image_urls": [B], "end_image_url": A},
        ),
        ("kling-o3-reference-to-video", ReferencesInput(references=(B, A)), {"image_urls": [B, A]}),
    ],
)
def test_each_family_has_its_own_names_for_the_frames(model: str, value: Input, frames: dict[str, Any]) -> None:
    assert body_of(request(model, "a kite", value)) == {"model": model, "prompt": "a kite", **frames}


def test_only_requested_fields_are_sent() -> None:
    assert body_of(request("kling-o3-text-to-video", "", TEXT)) == {"model": "kling-o3-text-to-video"}


def test_false_and_the_empty_text_are_values() -> None:
    body = body_of(request("kling-v3-text-to-video", "a", TEXT, generate_audio=False, negative_prompt=""))

    assert body["generate_audio"] is False
    assert body["negative_prompt"] == ""


def test_silence_is_not_sent_to_a_model_without_sound() -> None:
    edit = request("kling-o3-video-to-video-edit", "a", TEXT, {"video_url": VIDEO}, generate_audio=False)

    assert "generate_audio" not in body_of(edit)


def test_a_configured_model_follows_its_row() -> None:
    submit = structs.replace(request("kling-v3-image-to-video", "a", BOTH), model="kling-next-image-to-video")

    assert body_of(submit) == {
        "model": "kling-next-image-to-video",
        "prompt": "a",
        "image_url": A,
        "image_tail_url": B,
    }


def test_an_option_never_replaces_what_the_gateway_sends() -> None:
    assert (
        body_of(request("kling-v3-text-to-video", "a", TEXT, {"model": "dearer"}))["model"] == "kling-v3-text-to-video"
    )


def test_the_callback_address_and_the_count_are_not_sent() -> None:
    submit = structs.replace(request("kling-v3-text-to-video", "a", TEXT), callback_url="https://gateway.example/c")

    assert set(body_of(submit)) == {"model", "prompt"}
    assert ADAPTER.read_callback is None
    assert all(row.count_max == 1 for rows in CAPABILITIES.values() for row in rows)


def test_every_call_has_an_ordinary_user_agent() -> None:
    """Cloudflare refuses the default User-Agent of a client library."""
    ref = TaskRef(id="task-unified-1")
    assert ADAPTER.refresh is not None
    assert ADAPTER.upload is not None
    picture = FilePart(field="f", filename="a.png", content_type="image/png", content=b"x")
    calls = [SUBMIT, ADAPTER.poll(ref), ADAPTER.refresh(ref), ADAPTER.upload(picture)]
    calls[0] = ADAPTER.to_upstream(request("kling-v3-text-to-video", "a", TEXT))
    for call in calls:
        authorized = ADAPTER.authorize(call, Credential(api_key="k"), datetime(2026, 1, 1, tzinfo=UTC))
        assert authorized.headers["User-Agent"].startswith("Mozilla/5.0 ")
        assert authorized.headers["Authorization"] == "Bearer k"


def test_a_refresh_is_the_poll_that_makes_foxapi_look_again() -> None:
    assert ADAPTER.refresh is not None
    poll, refresh = ADAPTER.poll(TaskRef(id="task/1")), ADAPTER.refresh(TaskRef(id="task/1"))

    assert (poll.method, poll.path, dict(poll.query)) == ("GET", "/v1/tasks/task%2F1", {})
    assert refresh == structs.replace(poll, query={"sync_upstream": "true"})


def test_an_upload_makes_room_for_itself() -> None:
    """Without `auto_cleanup` a full store refuses uploads with 403."""
    assert ADAPTER.upload is not None
    call = ADAPTER.upload(FilePart(field="?", filename="a.png", content_type="image/png", content=b"\x89PNG"))

    assert (call.method, call.path) == ("POST", "/v1/files/upload/stream")
    assert call.file == FilePart(field="file", filename="a.png", content_type="image/png", content=b"\x89PNG")
    assert call.fields == {"file_name": "a.png", "auto_cleanup": "true"}


# --- what a model takes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "durations", "resolutions", "ratios"),
    [
        ("kling-v3-image-to-video", {5, 10}, {"720p", "1080p", "4k"}, set()),
        ("kling-v3-text-to-video", {5, 10}, {"720p", "1080p", "4k"}, {"16:9", "9:16", "1:1"}),
        ("kling-o3-image-to-video", set(range(3, 16)), {"720p", "1080p", "4k"}, set()),
        ("kling-o3-text-to-video", set(range(3, 16)), {"720p", "1080p", "4k"}, {"16:9", "9:16", "1:1"}),
        ("kling-o3-reference-to-video", set(range(3, 16)), {"720p", "1080p", "4k"}, {"16:9", "9:16", "1:1"}),
        ("kling-o3-video-to-video-edit", set(), {"720p", "1080p"}, set()),
        ("kling-o3-video-to-video-reference", set(range(3, 16)), {"720p", "1080p"}, {"16:9", "9:16", "1:1"}),
        ("kling-v3-motion-control", set(), set(), set()),
    ],
)
def test_capabilities_are_the_documented_ones(
    model: str, durations: set[int], resolutions: set[str], ratios: set[str]
) -> None:
    (row,) = CAPABILITIES[model]

    assert (row.durations, row.resolutions, row.aspect_ratios) == (durations, resolutions, ratios)
    assert not row.seed
    assert not row.fps
    assert row.cfg_scale is None
    assert row.images.formats == {"image/jpeg", "image/png"}
    assert row.image_transports[0] is ImageTransport.UPLOAD


def test_only_o3_accepts_several_prompts_instead_of_one() -> None:
    replaced = {model for model, (row,) in CAPABILITIES.items() if row.prompt_or == "multi_prompt"}

    assert replaced == {"kling-o3-image-to-video", "kling-o3-text-to-video", "kling-o3-reference-to-video"}


def why_not(submit: UpstreamRequest) -> str | None:
    (row,) = CAPABILITIES[submit.capability_name]
    return next((why for rule in row.rules if (why := rule(submit)) is not None), None)


SHOTS = [{"prompt": "a", "duration": 3}, {"prompt": "b", "duration": 2}]
ELEMENT = {"frontal_image_url": A, "reference_image_urls": [B]}
MOVING = {"video_url": VIDEO}
REFERENCE, EDIT, MOTION = "kling-o3-reference-to-video", "kling-o3-video-to-video-edit", "kling-v3-motion-control"
V3 = "kling-v3-text-to-video"
FOUR = ReferencesInput(references=(A,) * 4)


@every(
    "submit",
    [
        request(V3, "a", TEXT),
        request(V3, "a", TEXT, {"voice_ids": ["v1", "v2"]}, generate_audio=True),
        request(V3, "a", TEXT, {"voice_ids": []}),
        request(V3, "a", TEXT, {"multi_prompt": SHOTS}),
        request(V3, "a", TEXT, {"multi_prompt": [*SHOTS, {"prompt": "c", "duration": 5}]}, duration_seconds=10),
        request("kling-o3-text-to-video", "", TEXT, {"multi_prompt": SHOTS}, duration_seconds=5),
        request(REFERENCE, "a", TEXT, {"elements": [ELEMENT]}),
        request(REFERENCE, "a", IMAGE, {"elements": [ELEMENT]}),
        request(REFERENCE, "a", ReferencesInput(references=(A,) * 9), {"elements": [ELEMENT] * 5}),
        request(REFERENCE, "a", ReferencesInput(references=(A,) * 3), {"elements": [MOVING]}),
        request(EDIT, "a", TEXT, {"video_url": VIDEO}),
        request(EDIT, "a", FOUR, {"video_url": VIDEO}),
        request(MOTION, "", IMAGE, {"video_url": VIDEO}),
    ],
)
def test_rules_accept(submit: UpstreamRequest) -> None:
    assert why_not(submit) is None


@every(
    ("submit", "word"),
    [
        (request(V3, "a", TEXT, {"voice_ids": ["v1", "v2", "v3"]}, generate_audio=True), "at most 2"),
        (request(V3, "a", TEXT, {"voice_ids": "v1"}, generate_audio=True), "list"),
        (request(V3, "a", TEXT, {"voice_ids": None}), "list"),
        (request(V3, "a", TEXT, {"voice_ids": ["v1"]}), "generate_audio"),
        (request(V3, "a", TEXT, {"voice_ids": ["v1"]}, generate_audio=False), "generate_audio"),
        (request(V3, "a", TEXT, {"multi_prompt": SHOTS}, duration_seconds=10), "add up to 5, not to 10"),
        (request(V3, "a", TEXT, {"multi_prompt": SHOTS[:1]}), "add up to 3, not to 5"),
        (request(V3, "a", TEXT, {"multi_prompt": []}), "list"),
        (request(V3, "a", TEXT, {"multi_prompt": None}), "list"),
        (request(V3, "a", TEXT, {"multi_prompt": ["a"]}), "list"),
        (request(V3, "a", TEXT, {"multi_prompt": [{"prompt": "a", "duration": 10}, {"duration": -5}]}), "list"),
        (request(V3, "a", TEXT, {"multi_prompt": [{"prompt": "a", "duration": 10}, {"prompt": "b"}]}), "list"),
        (request(REFERENCE, "a", TEXT), "requires `reference_images` or the option elements"),
        (request(REFERENCE, "a", IMAGE, {"elements": []}), "reference"),
        (request(REFERENCE, "a", TEXT, {"elements": "all"}), 'elements must be a list, got "all"'),
        (request(REFERENCE, "a", FOUR, {"elements": [MOVING]}), "at most 4"),
        (request(REFERENCE, "a", TEXT, {"elements": [MOVING] * 5}), "at most 4"),
        (request(EDIT, "a", TEXT), "requires the option video_url"),
        (request(EDIT, "a", TEXT, {"video_url": "beach.mp4"}), 'video_url must be an http(s) URL, got "beach.mp4"'),
        (request(EDIT, "a", TEXT, {"video_url": 5}), "video_url must be an http(s) URL, got 5"),
        (request(EDIT, "a", FOUR, {"video_url": VIDEO, "elements": [ELEMENT]}), "at most 4"),
        (request(MOTION, "", IMAGE), "video_url"),
    ],
)
def test_rules_refuse_with_a_reason(submit: UpstreamRequest, word: str) -> None:
    assert word in (why_not(submit) or "")


def test_polling_is_the_documented_one() -> None:
    polling = ADAPTER.polling

    assert (polling.first_poll_seconds, polling.poll_seconds, polling.poll_max_seconds) == (5, 5, 15)
    assert (polling.attempt_timeout_seconds, polling.grace_seconds, polling.submit_timeout_seconds) == (1200, 120, 60)
    assert polling.result_seconds == 86400
    assert ADAPTER.rate_limit_seconds == 30


# --- what a refusal means ---------------------------------------------------------------------------------------------


@every("status", [400, 403, 404, 422, 429, 503])
@every("word", CODES)
def test_a_known_code_decides_before_type_and_status(word: str, status: int) -> None:
    assert kind_of(status, envelope(code=word, type="invalid_request_error")) is CODES[word]
    assert kind_of(status, envelope(code="new_word", type=word)) is CODES[word]
    assert kind_of(status, {"code": word, "message": "no", "data": {"error": None}}) is CODES[word]


@every("status", KIND_BY_STATUS)
@every("body", [b"", b"<html>no</html>", {}, envelope(type="invalid_request_error"), {"error": "no"}])
def test_without_a_known_word_the_status_decides(status: int, body: object) -> None:
    assert kind_of(status, body) is KIND_BY_STATUS[status]
    assert kind_of(status, body, method="GET") is KIND_BY_STATUS[status]


@every("status", [301, 405, 408, 409, 500, 501, 502, 504, 520, 522, 524, 599])
@every("body", [b"", b"error code: 524", envelope(type="server_error"), envelope(type="internal_error")])
def test_status_that_proves_nothing_is_ambiguous(status: int, body: object) -> None:
    assert kind_of(status, body) is FailureKind.AMBIGUOUS


@every("word", CODES)
def test_no_word_makes_an_undocumented_server_error_safe_to_repeat(word: str) -> None:
    assert kind_of(500, envelope(code=word)) is FailureKind.AMBIGUOUS


@pytest.mark.parametrize("body", [envelope(type="not_found"), envelope(code="not_found", type="task_error")])
def test_not_found_is_a_lost_task_to_a_read_and_configuration_to_a_submit(body: object) -> None:
    assert kind_of(404, body, method="GET") is FailureKind.TASK_LOST
    assert kind_of(404, body, method="POST") is FailureKind.UNAVAILABLE


@pytest.mark.parametrize("body", [b"", b"404 page not found", envelope(type="invalid_request_error"), envelope()])
def test_404_without_a_reason_does_not_lose_a_task(body: object) -> None:
    assert kind_of(404, body, method="GET") is FailureKind.UNAVAILABLE
    assert kind_of(404, body, method="POST") is FailureKind.UNAVAILABLE


@every("status", [400, 401, 402, 403, 404, 413, 422, 429, 503])
@every("word", [*CODES, "not_found", "service_unavailable_error", "new_word"])
def test_refusal_with_a_task_id_is_ambiguous(word: str, status: int) -> None:
    assert kind_of(status, {"id": "task-1", **envelope(code=word)}) is FailureKind.AMBIGUOUS
    assert kind_of(status, {"code": word, "message": "no", "data": {"id": "task-1"}}) is FailureKind.AMBIGUOUS


def test_only_what_other_providers_may_take_is_tried_elsewhere() -> None:
    elsewhere = {
        word
        for word in CODES
        if (refusal := ADAPTER.classify(reply(422, envelope(code=word)))) is not None and refusal.elsewhere
    }

    assert elsewhere == {"unsupported_advanced_options"}


def test_a_page_of_html_is_not_shown() -> None:
    refusal = ADAPTER.classify(reply(413, b"<html><title>413</title></html>"))

    assert refusal is not None
    assert "html" not in refusal.message


def test_an_unknown_task_failure_is_not_guessed_at() -> None:
    task = {"status": "failed", "error": {"code": "sensitive_mood", "message": "sensitive"}}

    snapshot = ADAPTER.from_upstream(reply(200, task, method="GET"))

    assert snapshot == Failed(kind=FailureKind.TASK_FAILED, message="sensitive", upstream_code="sensitive_mood")


@pytest.mark.parametrize("code", TASK_CODES)
def test_a_known_task_failure_has_its_kind_whatever_its_message(code: str) -> None:
    task = {"status": "failed", "error": {"code": code, "message": "a policy of ours"}}
    snapshot = ADAPTER.from_upstream(reply(200, task, method="GET"))

    assert isinstance(snapshot, Failed)
    assert snapshot.kind is TASK_CODES[code]


@pytest.mark.parametrize(
    ("estimate", "first"), [(45, 22.5), (10, 5), (0, 5), (-3, 5), ("90", 45), (None, None), ([], None), (True, None)]
)
def test_the_first_poll_is_at_half_the_estimate(estimate: object, first: float | None) -> None:
    answer = reply(200, {"id": "task-1", "task_info": {"estimated_time": estimate}})

    assert ADAPTER.task_refs(SUBMIT, answer) == (TaskRef(id="task-1", first_poll_seconds=first),)


# --- replies that no page describes -----------------------------------------------------------------------------------

WORDS = [
    "pending",
    "completed",
    "failed",
    "canceled",
    "https://a.example/v.mp4",
    "http://[::1",
    "service_unavailable_x",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
NAMES = ["id", "status", "results", "output", "url", "urls", "error", "code", "type", "message", "data", "progress"]
NEAR = st.dictionaries(
    st.sampled_from([*NAMES, "task_info", "estimated_time"]),
    st.deferred(lambda: JSON | NEAR | st.lists(NEAR, max_size=3)),
    max_size=6,
)


def as_body(value: Any) -> bytes:
    """JSON as a careless server writes it, with NaN, infinities and halves of surrogate pairs."""
    return json.dumps(value).encode()


@settings(max_examples=150)
@given(
    body=st.binary(max_size=64) | (JSON | NEAR).map(as_body),
    status=st.sampled_from([200, 201, 404, 422, 500, 503]) | st.integers(0, 999),
    method=st.sampled_from(["GET", "POST"]),
)
def test_any_reply_reads_or_is_unreadable(body: bytes, status: int, method: str) -> None:
    answer = HttpReply(status=status, body=body, method=method)

    refusal = ADAPTER.classify(answer)

    assert refusal is None or isinstance(refusal, Failed)
    assert refusal is not None or 200 <= status < 300
    msgspec.json.encode(refusal)
    with suppress(UnreadableReply):
        snapshot = ADAPTER.from_upstream(answer)
        assert isinstance(snapshot, Pending | Completed | Failed)
        msgspec.json.encode(snapshot)
    with suppress(UnreadableReply):
        (ref,) = ADAPTER.task_refs(SUBMIT, answer)
        assert ADAPTER.poll(ref).path.count("/") == 3
        msgspec.json.encode(ref)
    assert ADAPTER.uploaded_url is not None
    with suppress(UnreadableReply):
        assert ADAPTER.uploaded_url(answer).lower().startswith(("http://", "https://"))


OPTIONS = st.dictionaries(
    st.sampled_from(["voice_ids", "multi_prompt", "elements", "video_url", "shot_type"]),
    JSON | st.lists(st.dictionaries(st.sampled_from(["prompt", "duration", "video_url"]), JSON), max_size=5),
)


@settings(max_examples=100)
@given(model=st.sampled_from(sorted(CAPABILITIES)), options=OPTIONS, seconds=st.none() | st.integers(3, 15))
def test_a_rule_has_a_reason_or_none_for_any_options(model: str, options: dict[str, Any], seconds: int | None) -> None:
    row: Capability = CAPABILITIES[model][0]
    submit = request(model, "a", FOUR, options, duration_seconds=seconds)

    assert all(why is None or why for why in (rule(submit) for rule in row.rules))
