"""What the adapter of Keevx promises for images alone. The meaning of single replies is in its exchanges."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import msgspec
import pytest
from msgspec import structs

from gateway.domain.adapter.contract import HttpCall, HttpReply, ImageTransport, Polling
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
from gateway.domain.adapter.task import Completed, Failed, TaskRef
from gateway.domain.adapter.task_reading import read_poll, read_submit
from gateway.domain.errors import UnsupportedParameter
from providers.keevx import ADAPTER, IMAGE_PATH
from providers.keevx.errors import CODES, CREATION_FAILED, TASK_NOT_FOUND, TWO_MEANINGS, task_failure

from ..cases import every

SUBMIT = HttpCall(method="POST", path=IMAGE_PATH, json={})
VIDEO_SUBMIT = HttpCall(method="POST", path="/image_to_video", json={})
STATUSES = [200, 400, 404, 422, 500, 502, 503]


def request(value: Input | None = None, *, count: int = 1, **settings: Any) -> UpstreamRequest:
    return UpstreamRequest(
        attempt_id="att_1",
        model="image",
        capability_name="image",
        prompt="a lake",
        input=value or TextInput(),
        settings=Settings(**settings),
        kind="image",
        count=count,
    )


def references(number: int) -> ReferencesInput:
    return ReferencesInput(references=tuple(f"https://a.example/{n}.png" for n in range(number)))


def reply(status: int, body: object, *, method: str = "POST", path: str = IMAGE_PATH) -> HttpReply:
    path = f"{path}/i2is-1" if method == "GET" else path
    return HttpReply(status=status, body=msgspec.json.encode(body), method=method, path=path)


def kind_of(status: int, body: object, **call: Any) -> FailureKind | None:
    refusal = ADAPTER.classify(reply(status, body, **call))
    return None if refusal is None else refusal.kind


# --- what is sent -----------------------------------------------------------------------------------------------------


def test_only_what_was_asked_for_is_sent() -> None:
    call = ADAPTER.to_upstream(request())
    assert (call.method, call.path, call.headers) == ("POST", "/image_generate", {"source": "skill"})
    assert call.json == {"prompt": "a lake"}


def test_every_parameter_has_its_name_at_keevx() -> None:
    submit = request(references(5), count=8, quality="4K", aspect_ratio="21:9", mode="pro")
    submit = structs.replace(submit, callback_url="https://gateway.example/callbacks/1?token=t")
    assert ADAPTER.to_upstream(submit).json == {
        "prompt": "a lake",
        "reference_images": [f"https://a.example/{n}.png" for n in range(5)],
        "module": "pro",
        "generate_count": 8,
        "image_quality": "4K",
        "image_ratio": "21:9",
        "callback_url": "https://gateway.example/callbacks/1?token=t",
    }


def test_a_sixth_reference_is_refused_and_never_cut() -> None:
    """Keevx would make the image from the first five and say nothing."""
    with pytest.raises(UnsupportedParameter, match="at most 5 reference images, not 6") as error:
        ADAPTER.to_upstream(request(references(6)))
    assert error.value.param == "reference_images"


@pytest.mark.parametrize(
    "value",
    [
        FramesInput(first_frame="https://a.example/1.png"),
        ReferencesInput(references=("https://a.example/1.png",), first_frame="https://a.example/2.png"),
    ],
)
def test_a_frame_is_never_dropped(value: Input) -> None:
    with pytest.raises(UnsupportedParameter):
        ADAPTER.to_upstream(request(value))


def test_the_capability_is_the_parameter_table() -> None:
    (image,) = ADAPTER.capabilities["image"]
    assert (image.kind, image.inputs) == ("image", {InputKind.TEXT, InputKind.REFERENCES})
    assert (image.prompt_max, image.references_max, image.count_max) == (1000, 5, 8)
    assert image.qualities == {"1K", "2K", "4K"}
    assert image.aspect_ratios == {"1:1", "3:2", "2:3", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"}
    assert image.modes == {"std": None, "pro": None}
    assert image.assumes == {"quality": "2K", "mode": "std", "aspect_ratio": "9:16"}
    assert image.images.formats == {f"image/{name}" for name in ("jpeg", "png", "webp", "bmp", "gif")}
    assert image.images.max_bytes == 20 * 2**20
    assert image.image_transports == (ImageTransport.UPLOAD, ImageTransport.URL)
    assert (image.durations, image.resolutions, image.output_formats, image.defaults) == (set(), set(), set(), {})


def test_images_are_read_every_ten_seconds_for_ten_minutes() -> None:
    polling = ADAPTER.polling_by_model["image"]
    assert (polling.first_poll_seconds, polling.poll_seconds, polling.poll_max_seconds) == (10, 10, 10)
    assert (polling.attempt_timeout_seconds, polling.result_seconds) == (600, 604800)
    differ = {
        field.name for field in fields(Polling) if getattr(polling, field.name) != getattr(ADAPTER.polling, field.name)
    }
    assert differ == {"first_poll_seconds", "poll_seconds", "poll_max_seconds", "attempt_timeout_seconds"}


# --- the path of a task -----------------------------------------------------------------------------------------------


def test_a_task_is_read_at_the_path_of_its_kind() -> None:
    started = {"code": 0, "data": {"task_ids": ["i2is-1", "i2is-2"]}}
    images = read_submit(ADAPTER, SUBMIT, reply(200, started))
    videos = read_submit(ADAPTER, VIDEO_SUBMIT, reply(200, started, path="/image_to_video"))
    assert not isinstance(images, Failed)
    assert not isinstance(videos, Failed)
    assert [ADAPTER.poll(ref).path for ref in images] == ["/image_generate/i2is-1", "/image_generate/i2is-2"]
    assert [ADAPTER.poll(ref).path for ref in videos] == ["/image_to_video/i2is-1", "/image_to_video/i2is-2"]


def test_a_stored_reference_of_an_older_video_is_read_as_before() -> None:
    stored = msgspec.json.decode(b'{"id": "i2v-1"}', type=TaskRef)
    assert ADAPTER.poll(stored).path == "/image_to_video/i2v-1"


def test_a_path_that_is_not_our_own_is_never_called() -> None:
    assert ADAPTER.poll(TaskRef(id="x", path="/figure-resource")).path == "/image_to_video/x"


@pytest.mark.parametrize("task_id", ["i2is-1", "i2v-1", "1"])
def test_a_task_that_somebody_reports_is_read_at_the_path_of_its_generation(task_id: str) -> None:
    assert ADAPTER.known_task is not None
    image = ADAPTER.known_task(request(), task_id)
    video = ADAPTER.known_task(structs.replace(request(), kind="video"), task_id)
    assert ADAPTER.poll(image).path == f"/image_generate/{task_id}"
    assert (ADAPTER.poll(video).path, video) == (f"/image_to_video/{task_id}", TaskRef(id=task_id))


def test_a_reported_task_is_the_one_that_the_reply_would_have_named() -> None:
    assert ADAPTER.known_task is not None
    (named,) = ADAPTER.task_refs(SUBMIT, reply(200, {"code": 0, "data": {"task_ids": ["i2is-1"]}}))
    assert ADAPTER.known_task(request(), "i2is-1") == named


def test_a_submit_in_a_form_of_a_relay_still_gives_tasks_of_images() -> None:
    wrapped = {"code": 200, "message": "success", "data": {"taskId": "i2is-1"}}
    assert read_submit(ADAPTER, SUBMIT, reply(200, wrapped)) == (TaskRef(id="i2is-1", path=IMAGE_PATH),)


def test_the_result_is_the_image_and_not_another_link() -> None:
    task = {
        "status": "SUCCEEDED",
        "video_url": "https://a.example/v.mp4",
        "image_url": "https://a.example/i.png",
        "thumbnail_url": "https://a.example/t.webp",
    }
    snapshot = read_poll(ADAPTER, reply(200, {"code": 0, "data": task}, method="GET"), ADAPTER.base_url, "image")
    assert isinstance(snapshot, Completed)
    assert [(file.url, file.thumbnail_url) for file in snapshot.artifacts] == [
        ("https://a.example/i.png", "https://a.example/t.webp")
    ]


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", STATUSES)
def test_failed_creation_is_sent_again_for_an_image_and_never_for_a_video(status: int) -> None:
    """The page of images says "retry the request"; the page of videos does not have the code."""
    body = {"code": int(CREATION_FAILED), "msg": "Task creation failed"}
    assert kind_of(status, body) is FailureKind.UNAVAILABLE
    assert kind_of(status, body, path="/image_to_video") is FailureKind.AMBIGUOUS
    assert kind_of(status, body, path="") is FailureKind.AMBIGUOUS
    assert kind_of(status, body, method="GET") is FailureKind.UNAVAILABLE


@every("data", [{"task_ids": ["i2is-1"]}, [{"task_id": "i2is-1"}]])
@every("code", [*CODES, *TASK_NOT_FOUND, TWO_MEANINGS, CREATION_FAILED, "7"])
def test_a_refusal_that_names_a_task_is_never_sent_again(code: str, data: object) -> None:
    assert kind_of(400, {"code": code, "msg": "x", "data": data}) is FailureKind.AMBIGUOUS


CREDENTIAL, CREDIT, CLIENT = FailureKind.CREDENTIAL_REFUSED, FailureKind.OUT_OF_CREDIT, FailureKind.INVALID_REQUEST


@every(
    ("status", "message", "of_image", "of_video"),
    [
        (400, "Validation failed", CLIENT, CLIENT),
        (200, "Validation failed", CLIENT, CLIENT),
        (500, "Validation failed", CLIENT, CLIENT),
        (401, "Validation failed", CREDENTIAL, CREDENTIAL),
        (200, "Invalid token", CREDENTIAL, CREDENTIAL),
        (400, "Validation failed: the API key is invalid", CREDENTIAL, CLIENT),
        (400, "Authorization missing", CREDENTIAL, CREDENTIAL),
        (400, "鉴权失败", CREDENTIAL, CREDENTIAL),
        (200, "余额不足", CREDIT, CREDIT),
        (400, "Validation failed: not an authentic photo", CLIENT, CREDENTIAL),
        (400, "参数校验失败: token", CLIENT, CREDENTIAL),
        (429, "Validation failed", FailureKind.RATE_LIMITED, FailureKind.RATE_LIMITED),
    ],
)
def test_the_code_with_two_meanings_is_a_validation_for_images(
    status: int, message: str, of_image: FailureKind, of_video: FailureKind
) -> None:
    body = {"code": int(TWO_MEANINGS), "msg": message}
    assert kind_of(status, body) is of_image
    assert kind_of(status, body, path="/image_to_video") is of_video


@pytest.mark.parametrize("path", ["/image_generated", "/image_to_video/image_generate", "/v2/image_generate"])
def test_only_the_path_of_images_itself_has_their_meanings(path: str) -> None:
    assert kind_of(500, {"code": 530003, "msg": "x"}, path=path) is FailureKind.AMBIGUOUS


# --- why a task failed ------------------------------------------------------------------------------------------------

FAILED: Mapping[str, FailureKind] = {
    "Image generation failed due to content policy": FailureKind.CONTENT_POLICY,
    "图像生成因内容策略失败": FailureKind.CONTENT_POLICY,
    "图片包含敏感内容": FailureKind.CONTENT_POLICY,
    "Image generation failed": FailureKind.TASK_FAILED,
    "图像生成失败": FailureKind.TASK_FAILED,
    "生成图像失败,请重试": FailureKind.TASK_FAILED,
    "Failed to create an image": FailureKind.TASK_FAILED,
    "The image could not be generated": FailureKind.TASK_FAILED,
    "text_to_image task failed": FailureKind.TASK_FAILED,
    "could not store the generated images": FailureKind.TASK_FAILED,
    "no output image": FailureKind.TASK_FAILED,
    "Image generation failed: unsupported image format": FailureKind.INVALID_REQUEST,
    "Please make your reference image accessible": FailureKind.INVALID_REQUEST,
    "Failed to generate image from the given URL": FailureKind.INVALID_REQUEST,
    "参考图片大小超过限制": FailureKind.INVALID_REQUEST,
    "积分不足": FailureKind.OUT_OF_CREDIT,
}


@every(("message", "kind"), FAILED.items())
def test_a_failed_image_is_judged_by_its_text(message: str, kind: FailureKind) -> None:
    assert task_failure(message).kind is kind
