"""How bodies of Kling, relays and new-api are read, and how a generation in any state is shown."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.api.dialects.kling.new_api import NewApiError, NewApiRead, new_api_error, read_view
from gateway.api.dialects.kling.requests import UNIVERSAL, Reader, fields_of
from gateway.api.dialects.kling.views import KlingAnswer, KlingError, answer_of, callback_body, kling_error, task_of
from gateway.api.generations.create_request import normalise
from gateway.api.web.error_format import ErrorInfo
from gateway.api.web.links import Links
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.request import FramesInput, TextInput, UpstreamRequest
from gateway.domain.adapter.task import Artifact, Status
from gateway.domain.errors import BadRequest
from gateway.domain.generation.model import ArchivedFile, Generation, GenerationRequest, Output
from gateway.tokens import Signer
from providers.kling_relay import ADAPTER

from ...builders import generation

TEXT, IMAGE = fields_of("text2video"), fields_of("image2video")
LINKS = Links("https://gw.example", Signer(b"x" * 32))
AT = datetime(2026, 3, 2, 12, tzinfo=UTC)
URL = st.sampled_from(["https://example.com/a.png", "https://example.com/b.png"])


def read(body: dict[str, Any], reader: Reader = TEXT) -> GenerationRequest:
    return normalise(reader(body), lambda _: "file_x").request


# --- requests

_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_NAMES = [
    *(
        "model",
        "model_name",
        "prompt",
        "image",
        "image_tail",
        "images",
        "negative_prompt",
        "cfg_scale",
        "mode",
        "sound",
    ),
    *("aspect_ratio", "duration", "callback_url", "external_task_id", "camera_control", "static_mask", "dynamic_masks"),
    *("voice_list", "watermark_info", "multi_shot", "shot_type", "multi_prompt", "element_list", "width", "height"),
    *("fps", "seed", "n", "response_format", "user", "size", "provider_options", "zzz"),
]
_FIELDS = st.dictionaries(st.sampled_from(_NAMES), _VALUES, max_size=6)


@given(_FIELDS, st.none() | _FIELDS | _VALUES, st.sampled_from([TEXT, IMAGE, UNIVERSAL]))
def test_any_body_is_a_request_or_a_refusal(body: dict[str, Any], metadata: Any, reader: Reader) -> None:
    try:
        request = read({**body, "metadata": metadata}, reader)
    except BadRequest as error:
        refusal = kling_error(info(error.status, error.code, error.detail)).body
    else:
        refusal = None
        assert request.model
        if reader is TEXT:
            assert request.input == TextInput()
        if reader is IMAGE:
            assert request.input != TextInput()
    assert refusal is None or (isinstance(refusal, KlingError) and refusal.code == 1201 and refusal.message != "")


_SETTINGS = st.fixed_dictionaries(
    {"model_name": st.sampled_from(["kling-v1", "kling-v1-6"]), "prompt": st.text("abc é", min_size=1)},
    optional={
        "negative_prompt": st.text("abc é", min_size=1).filter(str.strip),
        "cfg_scale": st.sampled_from([0, 0.25, 0.7, 1]),
        "mode": st.sampled_from(["std", "pro"]),
        "aspect_ratio": st.sampled_from(["16:9", "9:16", "1:1"]),
        "duration": st.sampled_from(["5", "10"]),
        "sound": st.sampled_from(["on", "off"]),
    },
)


@given(_SETTINGS, st.none() | URL, st.none() | URL)
def test_what_a_client_says_reaches_kling_unchanged(body: dict[str, Any], first: str | None, last: str | None) -> None:
    body |= {} if first is None else {"image": first} | ({} if last is None else {"image_tail": last})
    request = read(body, TEXT if first is None else IMAGE)

    call = ADAPTER.to_upstream(
        UpstreamRequest(
            attempt_id="att_1",
            model=request.model,
            capability_name=request.model,
            prompt=request.prompt,
            input=request.input,
            settings=request.settings,
        )
    )

    assert call.path.endswith("text2video" if first is None else "image2video")
    sent: dict[str, Any] = dict(call.json)
    # Left out, `duration` is 5 and `sound` is off for every version of the relay.
    expected = {
        name: value for name, value in body.items() if (name, value) not in {("duration", "5"), ("sound", "off")}
    }
    assert {name: sent.get(name) for name in expected} == expected
    # What the relay's adapter sends is read again as the same request: a gateway can be the provider of another.
    assert read(sent, TEXT if first is None else IMAGE) == replace_sound(request)


def replace_sound(request: GenerationRequest) -> GenerationRequest:
    """Without what the adapter does not send, because every version does it anyway."""
    settings = request.settings
    changed = replace(
        settings,
        generate_audio=settings.generate_audio or None,
        duration_seconds=None if settings.duration_seconds == 5 else settings.duration_seconds,
    )
    if settings.aspect_ratio is not None:  # the adapter sends a size as well, which says a resolution
        resolution = {None: "", "std": "720p", "pro": "1080p"}[settings.mode] or "720p"
        changed = replace(changed, resolution=resolution)
    return replace(request, settings=changed)


@pytest.mark.parametrize(
    ("body", "same"),
    [
        ({"model": "m", "prompt": "p"}, {"model_name": "m", "prompt": "p"}),
        ({"model": "m", "prompt": "p"}, {"model_name": "m", "model": "m", "prompt": "p"}),
        (
            {"model": "m", "prompt": "p"},
            {"model": "m", "prompt": "p", "cfg_scale": "0.5", "metadata": {"cfg_scale": 0.5}},
        ),
        ({"model": "m", "prompt": "p", "mode": "pro"}, {"model": "m", "prompt": "p", "metadata": {"mode": "pro"}}),
        ({"model": "m", "prompt": "p", "duration": 10}, {"model": "m", "prompt": "p", "metadata": {"duration": "10"}}),
        ({"prompt": "p"}, {"prompt": "p", "model_name": "kling-v1"}),
        ({"prompt": "p"}, {"prompt": "p", "model_name": ""}),
        (
            {"prompt": "p", "metadata": {"external_task_id": "1"}},
            {"prompt": "p", "external_task_id": "1", "metadata": {"external_task_id": "1"}},
        ),
    ],
)
def test_bodies_that_mean_the_same_are_equal_requests(body: dict[str, Any], same: dict[str, Any]) -> None:
    assert read(body) == read(same)


def test_two_external_ids_are_refused() -> None:
    with pytest.raises(BadRequest, match=r"`metadata\.external_task_id` is given twice"):
        read({"prompt": "p", "external_task_id": "1", "metadata": {"external_task_id": "2"}})


def test_an_image_in_metadata_counts() -> None:
    request = read({"prompt": "p", "metadata": {"image": "https://example.com/a.png"}}, UNIVERSAL)
    assert request.input == FramesInput(first_frame="https://example.com/a.png")


# --- answers


def ended(status: Status, *, url: str | None = "https://cdn.example/1.mp4", credential: bool = False) -> Generation:
    artifact = None if url is None else Artifact(url=url, needs_credential=credential)
    failure = failed(FailureKind.CONTENT_POLICY, "No.") if status in {Status.FAILED, Status.EXPIRED} else None
    outputs = (
        Output(index=0, status=status, artifact=artifact if status is Status.COMPLETED else None, failure=failure),
    )
    at = AT if status.terminal else None
    return replace(generation(), status=status, outputs=outputs, failure=failure, completed_at=at)


@pytest.mark.parametrize("status", list(Status))
def test_every_status_is_shown_in_both_shapes(status: Status) -> None:
    value = ended(status)
    answer = msgspec.json.decode(msgspec.json.encode(answer_of(value, LINKS, "req_1")), type=KlingAnswer)
    universal = msgspec.json.decode(msgspec.json.encode(read_view(value, LINKS, "req_1")), type=NewApiRead)

    words = {
        Status.QUEUED: ("submitted", "queued", "QUEUED"),
        Status.IN_PROGRESS: ("processing", "in_progress", "IN_PROGRESS"),
        Status.COMPLETED: ("succeed", "completed", "SUCCESS"),
    }
    expected = words.get(status, ("failed", "failed", "FAILURE"))
    assert (answer.data.task_status, answer.status, universal.data.status) == expected
    has_failed = expected[0] == "failed"
    assert bool(answer.data.task_status_msg) == bool(universal.data.fail_reason) == has_failed
    assert bool(universal.data.result_url) == (status is Status.COMPLETED)
    assert (answer.data.task_result is not msgspec.UNSET) == (status is Status.COMPLETED)


def test_a_refused_content_has_kling_s_code() -> None:
    error = answer_of(ended(Status.FAILED), LINKS, "req_1").error
    assert error is not msgspec.UNSET
    assert error.code == 1301


def test_a_file_that_needs_the_provider_s_key_has_a_url_of_the_gateway() -> None:
    result = task_of(ended(Status.COMPLETED, url="https://relay.example/content", credential=True), LINKS).task_result
    assert result is not msgspec.UNSET
    assert result.videos[0].url.startswith("https://gw.example/v1/videos/generations/gen_")
    assert "&token=" in result.videos[0].url


def test_a_callback_has_the_task_without_an_envelope() -> None:
    value = ended(Status.COMPLETED)
    archived = ArchivedFile(
        name="f",
        bytes=1,
        sha256="0",
        content_type="video/mp4",
        kept_until=AT + timedelta(days=1),
        duration_seconds=5.04,
    )
    value = replace(value, outputs=(replace(value.outputs[0], kept=archived),))
    body = msgspec.to_builtins(callback_body(value, LINKS))

    assert body == msgspec.to_builtins(task_of(value, LINKS))
    [video] = body["task_result"]["videos"]
    assert (video["duration"], body["task_status"]) == ("5.04", "succeed")


# --- errors


def info(status: int, code: str, message: str = "It is wrong.", param: str | None = None) -> ErrorInfo:
    return ErrorInfo(status, message, "invalid_request_error", code, param, {}, "req_1")


@given(st.integers(400, 599), st.text(max_size=20), st.none() | st.sampled_from(["Authorization", "fps"]))
def test_every_error_has_an_integer_code_that_is_not_0(status: int, code: str, param: str | None) -> None:
    error = kling_error(info(status, code, param=param))
    assert isinstance(error.body, KlingError)
    assert 1000 <= error.body.code <= 5002
    assert error.status == (400 if status == 422 else status)
    universal = new_api_error(info(status, code, param=param)).body
    assert isinstance(universal, NewApiError)
    assert universal.data is None


def test_a_message_names_the_field() -> None:
    error = kling_error(info(422, "unsupported_parameter", "It cannot make sound.", "sound")).body
    assert isinstance(error, KlingError)
    assert error.message == "`sound`: It cannot make sound."
