"""What only the adapter of Keevx promises. The meaning of single replies is in its exchanges."""

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.adapter.contract import Callback, Capability, FilePart, HttpCall, HttpReply, ImageTransport
from gateway.domain.adapter.failure import FailureKind
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
from gateway.domain.errors import UnreadableReply, UnsupportedParameter
from providers.keevx import ADAPTER, PENDING
from providers.keevx.errors import CODES, CREATION_FAILED, TASK_NOT_FOUND, TWO_MEANINGS

from ..cases import every

SUBMIT = HttpCall(method="POST", path="/image_to_video", json={})
EXAMPLE = "https://example.com/"


def request(model: str, prompt: str, value: Input, *, count: int = 1, **fields: Any) -> UpstreamRequest:
    return UpstreamRequest(
        attempt_id="att_1",
        model=model,
        capability_name=model,
        prompt=prompt,
        input=value,
        settings=Settings(**fields),
        count=count,
    )


def reply(status: int, body: object, *, method: str = "POST") -> HttpReply:
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return HttpReply(status=status, body=content, method=method)


def kind_of(status: int, body: object, *, method: str = "POST") -> FailureKind | None:
    refusal = ADAPTER.classify(reply(status, body, method=method))
    return None if refusal is None else refusal.kind


# --- what is sent -----------------------------------------------------------------------------------------------------

# Each: a request, and the body of the example in the documentation.
DOCUMENTED = {
    "V, start frame": (
        request(
            "V",
            "Waves crashing on the beach at sunset",
            FramesInput(first_frame=EXAMPLE + "beach.jpg"),
            duration_seconds=6,
            resolution="1080p",
            aspect_ratio="16:9",
            generate_audio=True,
        ),
        {
            "model": "V",
            "prompt": "Waves crashing on the beach at sunset",
            "image_url": "https://example.com/beach.jpg",
            "aspect_ratio": "16:9",
            "aspect_resolution": "1080p",
            "duration": 6,
            "generate_audio": True,
        },
    ),
    "V, start and end frame": (
        request(
            "V",
            "The flower opens slowly",
            FramesInput(first_frame=EXAMPLE + "start_frame.jpg", last_frame=EXAMPLE + "end_frame.jpg"),
            duration_seconds=8,
            resolution="720p",
            aspect_ratio="16:9",
            generate_audio=False,
        ),
        {
            "model": "V",
            "prompt": "The flower opens slowly",
            "image_url": "https://example.com/start_frame.jpg",
            "end_image_url": "https://example.com/end_frame.jpg",
            "aspect_ratio": "16:9",
            "aspect_resolution": "720p",
            "duration": 8,
            "generate_audio": False,
            "generate_count": 1,
        },
    ),
    "V, references": (
        request(
            "V",
            "Product turning on a table",
            ReferencesInput(references=(EXAMPLE + "ref1.jpg", EXAMPLE + "ref2.jpg")),
            duration_seconds=8,
            resolution="1080p",
            aspect_ratio="9:16",
            generate_audio=False,
        ),
        {
            "model": "V",
            "prompt": "Product turning on a table",
            "reference_images": ["https://example.com/ref1.jpg", "https://example.com/ref2.jpg"],
            "aspect_ratio": "9:16",
            "aspect_resolution": "1080p",
            "duration": 8,
            "generate_audio": False,
            "generate_count": 1,
        },
    ),
    "KL, references, two outputs": (
        request(
            "KL",
            "City night timelapse, neon lights flickering",
            ReferencesInput(references=tuple(f"{EXAMPLE}city{n}.jpg" for n in (1, 2, 3))),
            count=2,
            duration_seconds=10,
            resolution="1080p",
            aspect_ratio="16:9",
        ),
        {
            "model": "KL",
            "prompt": "City night timelapse, neon lights flickering",
            "reference_images": [
                "https://example.com/city1.jpg",
                "https://example.com/city2.jpg",
                "https://example.com/city3.jpg",
            ],
            "aspect_ratio": "16:9",
            "aspect_resolution": "1080p",
            "duration": 10,
            "generate_count": 2,
        },
    ),
}


@pytest.mark.parametrize(("submit", "documented"), DOCUMENTED.values(), ids=list(DOCUMENTED))
def test_a_submit_is_the_documented_body(submit: UpstreamRequest, documented: dict[str, Any]) -> None:
    call = ADAPTER.to_upstream(submit)

    assert (call.method, call.path) == ("POST", "/image_to_video")
    # Two of the examples contain the default count. The adapter leaves it out.
    expected = {key: value for key, value in documented.items() if (key, value) != ("generate_count", 1)}
    assert call.json == expected
    assert list(call.json)[:2] == ["model", "prompt"]


def test_only_what_was_asked_for_is_sent() -> None:
    call = ADAPTER.to_upstream(request("V", "x", FramesInput(first_frame="https://a.example/1.png")))
    assert call.json == {"model": "V", "prompt": "x", "image_url": "https://a.example/1.png"}


def test_every_call_names_its_source() -> None:
    assert ADAPTER.upload is not None
    calls = [
        ADAPTER.to_upstream(request("KL", "x", ReferencesInput(references=("https://a.example/1.png",)))),
        ADAPTER.poll(TaskRef(id="i2v-1")),
        ADAPTER.upload(FilePart(field="", filename="a.png", content_type="image/png", content=b"x")),
    ]
    assert [call.headers["source"] for call in calls] == ["skill"] * 3


@pytest.mark.parametrize("generate_audio", [None, False])
def test_silence_is_never_sent_to_kl(generate_audio: bool | None) -> None:
    submit = request("KL", "x", ReferencesInput(references=("https://a.example/1.png",)), generate_audio=generate_audio)
    assert "generate_audio" not in ADAPTER.to_upstream(submit).json


def test_sound_is_never_dropped() -> None:
    """KL has no sound, so no route to it accepts this, unless the configuration says that the model has sound."""
    submit = request("KL", "x", ReferencesInput(references=("https://a.example/1.png",)), generate_audio=True)
    assert ADAPTER.to_upstream(submit).json["generate_audio"] is True


@pytest.mark.parametrize("generate_audio", [True, False])
def test_sound_is_sent_to_v_as_asked(generate_audio: bool) -> None:
    submit = request("V", "x", FramesInput(first_frame="https://a.example/1.png"), generate_audio=generate_audio)
    assert ADAPTER.to_upstream(submit).json["generate_audio"] is generate_audio


def test_a_configured_model_follows_the_row_it_names() -> None:
    submit = request("V", "x", FramesInput(first_frame="https://a.example/1.png"), generate_audio=True)
    call = ADAPTER.to_upstream(msgspec.structs.replace(submit, model="V-next"))
    assert call.json["model"] == "V-next"
    assert call.json["generate_audio"] is True


@pytest.mark.parametrize(
    "value",
    [
        TextInput(),
        ReferencesInput(references=("https://a.example/1.png",), first_frame="https://a.example/2.png"),
        ReferencesInput(references=("https://a.example/1.png",), last_frame="https://a.example/2.png"),
    ],
)
def test_input_of_an_undocumented_mode_is_not_sent(value: Input) -> None:
    """No page says which of the two image fields wins if both are sent."""
    with pytest.raises(UnsupportedParameter):
        ADAPTER.to_upstream(request("V", "x", value))


def test_a_callback_is_asked_for_only_with_an_address() -> None:
    submit = request("V", "x", FramesInput(first_frame="https://a.example/1.png"))
    assert "callback_url" not in ADAPTER.to_upstream(submit).json

    submit = msgspec.structs.replace(submit, callback_url="https://gateway.example.com/c/1?token=t")
    assert ADAPTER.to_upstream(submit).json["callback_url"] == "https://gateway.example.com/c/1?token=t"


def test_an_upload_is_one_part_named_file() -> None:
    assert ADAPTER.upload is not None
    call = ADAPTER.upload(FilePart(field="image", filename="a.webp", content_type="image/webp", content=b"\x00\xff"))

    assert (call.method, call.path, call.json, call.fields) == ("POST", "/figure-resource/upload/file", None, {})
    assert call.file == FilePart(field="file", filename="a.webp", content_type="image/webp", content=b"\x00\xff")


def test_every_task_is_read_alone() -> None:
    started = reply(200, {"code": 0, "data": {"task_ids": ["i2v-1", "i2v-2"]}})

    calls = [ADAPTER.poll(ref) for ref in ADAPTER.task_refs(SUBMIT, started)]

    assert [call.path for call in calls] == ["/image_to_video/i2v-1", "/image_to_video/i2v-2"]


# --- what can be asked for --------------------------------------------------------------------------------------------


def row(model: str, kind: InputKind) -> Capability:
    (match,) = [capability for capability in ADAPTER.capabilities[model] if kind in capability.inputs]
    return match


def test_the_rows_are_those_of_the_parameter_tables() -> None:
    frames, references, kl = (
        row("V", InputKind.IMAGE),
        row("V", InputKind.REFERENCES),
        row("KL", InputKind.REFERENCES),
    )
    videos = [capability for rows in ADAPTER.capabilities.values() for capability in rows if capability.kind == "video"]
    assert set(ADAPTER.capabilities) == {"V", "KL", "image"}
    assert not any(InputKind.TEXT in capability.inputs for capability in videos)
    assert not any(InputKind.IMAGE in capability.inputs for capability in ADAPTER.capabilities["KL"])
    assert (frames.durations, references.durations, kl.durations) == ({4, 6, 8}, {8}, {5, 10})
    assert (frames.references_max, references.references_max, kl.references_max) == (0, 3, 7)
    assert (frames.last_frame, references.last_frame, kl.last_frame) == (True, False, False)
    assert (frames.generate_audio, references.generate_audio, kl.generate_audio) == (True, True, False)
    assert frames.resolutions == references.resolutions == {"720p", "1080p", "4k"}
    assert kl.resolutions == {"720p", "1080p"}
    for capability in (frames, references, kl):
        assert capability.aspect_ratios == {"16:9", "9:16"}
        assert (capability.prompt_max, capability.count_max) == (1000, 4)
        assert not capability.frames_with_references
        assert capability.defaults == {"resolution": "720p", "duration_seconds": min(capability.durations)}
        assert capability.image_transports[0] is ImageTransport.UPLOAD
        assert ImageTransport.URL in capability.image_transports
        assert capability.images.formats == {"image/jpeg", "image/png", "image/webp"}
        assert capability.images.max_bytes == 20 * 2**20


def test_tasks_are_read_every_thirty_seconds_for_twenty_minutes() -> None:
    polling = ADAPTER.polling
    assert (polling.first_poll_seconds, polling.poll_seconds, polling.poll_max_seconds) == (30, 30, 30)
    assert (polling.attempt_timeout_seconds, polling.grace_seconds, polling.result_seconds) == (1200, 60, 604800)
    assert ADAPTER.rate_limit_seconds == 30


# --- refusals ---------------------------------------------------------------------------------------------------------

STATUSES = [200, 201, 400, 401, 402, 403, 404, 413, 422, 429, 500, 502, 503]


@every("method", ["GET", "POST"])
@every("status", STATUSES)
@every("code", CODES)
def test_a_known_code_goes_before_the_http_status(code: int, status: int, method: str) -> None:
    for written in (int(code), code, f" {code} ", float(code)):
        refusal = ADAPTER.classify(reply(status, {"code": written, "msg": "reason"}, method=method))
        assert refusal is not None
        assert (refusal.kind, refusal.upstream_code) == (CODES[code], code)


@every("status", STATUSES)
@every("code", sorted(TASK_NOT_FOUND))
def test_a_lost_task_is_one_that_was_read(code: int, status: int) -> None:
    body = {"code": code, "msg": "Task not found", "data": None}
    assert kind_of(status, body, method="GET") is FailureKind.TASK_LOST
    assert kind_of(status, body, method="POST") is not FailureKind.TASK_LOST


@every("status", STATUSES)
def test_failed_task_creation_is_never_a_refusal_of_a_submit(status: int) -> None:
    """The page of images says "retry the request". For a video that could buy it twice."""
    body = {"code": CREATION_FAILED, "msg": "Task creation failed, retry the request"}
    assert kind_of(status, body) is FailureKind.AMBIGUOUS
    assert kind_of(status, body, method="GET") is FailureKind.UNAVAILABLE


@pytest.mark.parametrize("body", [b"", b"<html>404</html>", {"code": 0, "msg": "ok"}, {"code": 404, "msg": "x"}, []])
def test_404_without_a_documented_code_is_unavailable_to_a_read_and_to_a_submit(body: object) -> None:
    assert kind_of(404, body, method="GET") is FailureKind.UNAVAILABLE
    assert kind_of(404, body, method="POST") is FailureKind.UNAVAILABLE


CREDENTIAL, CREDIT, CLIENT = FailureKind.CREDENTIAL_REFUSED, FailureKind.OUT_OF_CREDIT, FailureKind.INVALID_REQUEST


@every(
    ("status", "message", "kind"),
    [
        (401, "Validation failed", CREDENTIAL),
        (401, "", CREDENTIAL),
        (403, "Validation failed", CREDENTIAL),
        (402, "Validation failed", CREDIT),
        (200, "invalid TOKEN", CREDENTIAL),
        (400, "Authorization missing", CREDENTIAL),
        (200, "鉴权失败", CREDENTIAL),
        (200, "余额不足", CREDIT),
        (200, "Validation failed", CLIENT),
        (400, "Validation failed: prompt is over 1000 tokens", CLIENT),
        (400, "Validation failed: unexpected token", CLIENT),
        (500, "Validation failed", CLIENT),
        (429, "slow down", FailureKind.RATE_LIMITED),
    ],
)
def test_code_with_two_meanings_is_decided_by_status_then_by_words(
    status: int, message: str, kind: FailureKind
) -> None:
    assert kind_of(status, {"code": TWO_MEANINGS, "msg": message}) is kind


def test_only_the_length_of_a_prompt_is_this_providers_own_limit() -> None:
    refusals = {code: ADAPTER.classify(reply(400, {"code": code, "msg": "x"})) for code in CODES}
    assert {code for code, refusal in refusals.items() if refusal and refusal.elsewhere} == {"100005"}


@every("status", [500, 501, 502, 503, 504, 520, 599])
@every("body", [b"", b"<html>", {"message": "unauthorized: no credit"}, {"code": 0}, {"code": 7}])
def test_a_5xx_without_a_documented_not_accepted_is_ambiguous(status: int, body: object) -> None:
    assert kind_of(status, body) is FailureKind.AMBIGUOUS


@every("code", [None, True, "", "OK", "success", [], {}, 1.5, "NaN", "Infinity", "-inf", "0", 0, 0.0])
def test_value_that_is_not_a_code_refuses_nothing(code: object) -> None:
    assert kind_of(200, {"code": code, "data": {"task_ids": ["i2v-1"]}}) is None


@every("message", ["busy", "并发任务数超限", "too many requests", ""])
@every("code", [-1, 1, "1", 99, 10**18, 10**30, "100009", 100009.0, *TASK_NOT_FOUND])
def test_an_unknown_code_under_http_200_is_never_sent_again(code: object, message: str) -> None:
    body = {"code": code, "msg": message, "data": None}
    assert kind_of(200, body) is FailureKind.AMBIGUOUS
    assert kind_of(400, body) in {FailureKind.INVALID_REQUEST, FailureKind.RATE_LIMITED}


def test_failed_upload_without_a_code_is_ambiguous() -> None:
    refused = {"code": 0, "success": False, "message": {"global": "upload failed"}, "result": None}
    assert kind_of(200, refused) is FailureKind.AMBIGUOUS


@every("status", STATUSES)
@every("code", [*CODES, *TASK_NOT_FOUND, TWO_MEANINGS, 7])
def test_refusal_with_task_ids_is_ambiguous(code: int, status: int) -> None:
    for data in ({"task_ids": ["i2v-1"]}, [{"task_id": "i2v-1"}]):
        for message in ("x", "Insufficient balance", "too many requests", "content policy"):
            assert kind_of(status, {"code": code, "msg": message, "data": data}) is FailureKind.AMBIGUOUS


def test_a_failed_task_under_a_known_code_stays_what_the_code_says() -> None:
    data = {"status": "FAILED", "error_message": "x"}
    assert kind_of(200, {"code": 530003, "data": data}, method="GET") is FailureKind.UNAVAILABLE
    assert kind_of(200, {"code": 7, "data": data}, method="GET") is None
    assert kind_of(200, {"code": 7, "data": data}, method="POST") is FailureKind.AMBIGUOUS
    assert kind_of(500, {"code": 7, "data": data}, method="GET") is FailureKind.AMBIGUOUS


@pytest.mark.parametrize(
    "message",
    [
        "Key sk-live-0123456789abcdef refused by https://internal.example:8080/x?key=1",
        {"global": "Key sk-live-0123456789abcdef refused by https://internal.example:8080/x?key=1"},
        {"detail": "Key sk-live-0123456789abcdef refused by https://internal.example:8080/x?key=1", "n": 1},
    ],
)
def test_a_message_shows_no_key_and_no_host(message: object) -> None:
    for name in ("msg", "message"):
        refusal = ADAPTER.classify(reply(400, {"code": 100001, name: message}))
        assert refusal is not None
        assert refusal.message == "Key … refused by …"


# --- replies that no page describes -----------------------------------------------------------------------------------

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from([10**30, -(10**300), 10**400])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=6,
)
URLS = ["https://a.example/v.mp4", "http://[::1", "//a.example/x", "data:,", "javascript:alert(1)", "https://", " ", ""]
NUMBERS = ["NaN", "Infinity", "-1", "1e999", "6", "30%", 0, -5, 8.5, 1e308, 10**400]
IDS = [
    "i2v-1",
    "i2v-1",
    "i2v-2",
    "",
    " ",
    ".",
    "..",
    "../x",
    "a/b?c#d",
    "\x00",
    "鍵🔑",
    7,
    10**400,
    None,
    True,
    1.5,
    {},
]


def odd(*likely: object) -> st.SearchStrategy[Any]:
    """Mostly one of the likely values, sometimes any value."""
    return st.sampled_from(likely) | JSON


IDENTITY = odd(*IDS)
TASK = st.fixed_dictionaries(
    {},
    optional={
        "task_id": IDENTITY,
        "task_ids": st.lists(IDENTITY | st.fixed_dictionaries({"task_id": IDENTITY}), max_size=5) | IDENTITY,
        "status": odd(*PENDING, "SUCCEEDED", "succeeded", "FAILED", "Failed ", "DONE", "ﬀ", "x" * 5000),
        "video_url": odd(*URLS),
        "thumbnail_url": odd(*URLS),
        "error_message": odd("", None, "content policy", "bad image", "余额不足", "a." * 3000, {"global": "x"}),
        "duration": odd(*NUMBERS),
        "width": odd(*NUMBERS),
        "height": odd(*NUMBERS),
    },
)
ENVELOPE = st.fixed_dictionaries(
    {},
    optional={
        "code": odd(
            0, "0", 0, *map(int, CODES), *map(int, TASK_NOT_FOUND), int(TWO_MEANINGS), *CODES, 999, "999", *NUMBERS
        ),
        "msg": odd("ok", "Invalid token", "余额不足", {"global": "success"}),
        "message": odd("ok", {"global": "success"}),
        "success": odd(True, False),
        "data": TASK | st.lists(TASK, max_size=3) | JSON,
        "result": st.fixed_dictionaries({"url": odd(*URLS)}) | JSON,
        "task_id": IDENTITY,
    },
)
BODIES = (
    st.binary()
    | st.sampled_from(
        [b"[" * 100_000, b'{"data":' * 100_000, b'{"code":' + b"9" * 5000 + b"}", b'{"code":0,"msg":"\\ud800"}', b"NaN"]
    )
    | JSON.map(msgspec.json.encode)
    | ENVELOPE.map(msgspec.json.encode)
)


def check_refs(refs: tuple[TaskRef, ...]) -> None:
    ids = [ref.id for ref in refs]
    assert ids
    assert len(set(ids)) == len(ids)
    for ref in refs:
        prefix, _, last = ADAPTER.poll(ref).path.rpartition("/")
        assert prefix == "/image_to_video"
        assert last not in {"", ".", ".."}
        assert not set("?#\\ \r\n\x00") & set(last)


@settings(max_examples=150)
@given(body=BODIES, status=st.sampled_from(STATUSES) | st.integers(0, 999), method=st.sampled_from(["GET", "POST"]))
def test_any_reply_is_a_value_or_unreadable(body: bytes, status: int, method: str) -> None:
    answer = reply(status, body, method=method)
    refusal = ADAPTER.classify(answer)
    assert refusal is None or isinstance(refusal, Failed)
    assert 200 <= status < 300 or refusal is not None
    with suppress(UnreadableReply):
        assert isinstance(ADAPTER.from_upstream(answer), Pending | Completed | Failed)
    with suppress(UnreadableReply):
        check_refs(ADAPTER.task_refs(SUBMIT, answer))


@settings(max_examples=100)
@given(body=BODIES)
def test_any_upload_or_callback_is_a_value_or_unreadable(body: bytes) -> None:
    assert ADAPTER.uploaded_url is not None
    assert ADAPTER.read_callback is not None
    with suppress(UnreadableReply):
        assert ADAPTER.uploaded_url(reply(200, body)).lower().startswith(("http://", "https://"))
    with suppress(UnreadableReply):
        callback = ADAPTER.read_callback(body)
        assert isinstance(callback, Callback)
        check_refs(tuple(TaskRef(id=task_id) for task_id in callback.task_ids))


@settings(max_examples=100)
@given(task=TASK)
def test_only_the_two_words_of_an_end_end_a_task(task: dict[str, Any]) -> None:
    answer = reply(200, {"code": 0, "msg": "ok", "data": task}, method="GET")
    try:
        snapshot = ADAPTER.from_upstream(answer)
    except UnreadableReply:
        return
    word = str(task["status"]).strip().upper()
    assert isinstance(snapshot, Pending) or word == {Completed: "SUCCEEDED", Failed: "FAILED"}[type(snapshot)]
