"""The API of Keevx: videos and images, with one task id for each output.

Source: Keevx's pages of `image_to_video` and `image_generate`, and the `curl` lines of its skills. A create answers
`{"code": 0, "msg": "ok", "data": {"task_ids": […]}}`. An error has another `code`, and an HTTP status that says the
same.
"""

from collections.abc import Mapping
from typing import Any, Literal

from litestar import route
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse
from msgspec import UNSET, Struct, UnsetType

from gateway.api.dialects.dialect import Call, Dialect, creator, with_names
from gateway.api.generations.creating import Fields, own_fields
from gateway.api.generations.file_urls import file_url
from gateway.api.generations.image_values import Image, Images, OneImage
from gateway.api.generations.public_ids import KEEVX_IMAGE, KEEVX_VIDEO, parse_id, sent_id
from gateway.api.web.answers import GET, json_answer
from gateway.api.web.context import context_of
from gateway.api.web.error_format import ErrorAnswer, ErrorFormat, ErrorInfo
from gateway.api.web.headers import cost_header, poll_headers
from gateway.api.web.links import Links
from gateway.api.web.operation import Operation
from gateway.api.web.query import Params
from gateway.api.web.small_body import INPUT_ERRORS
from gateway.domain.adapter.request import Kind
from gateway.domain.adapter.task import Status
from gateway.domain.errors import NotFound
from gateway.domain.generation.model import Generation
from gateway.domain.generation.summary import OutputSummary, summarize

TASK_TYPE: Mapping[Kind, Literal["image_to_video", "image_generate"]] = {
    "video": "image_to_video",
    "image": "image_generate",
}
_SENT = {"code": 0, "msg": "ok"}


class KeevxTaskIds(Struct, frozen=True):
    """The tasks of a create: one for each output."""

    task_ids: tuple[str, ...]  # one for each output


class KeevxStarted(Struct, frozen=True):
    """The answer to a create."""

    code: Literal[0]  # always 0: an error has another
    msg: str  # always `ok`
    data: KeevxTaskIds  # the tasks


class KeevxVideoTask(Struct, frozen=True, kw_only=True):
    """One video. A URL is an empty text until the task has succeeded."""

    task_id: str  # `i2v-…`
    status: Literal["PENDING", "PROCESSING", "SUCCEEDED", "FAILED"]  # the state in words of Keevx
    video_url: str  # of the file; it works without a key until the file expires
    thumbnail_url: str  # of a picture of the video
    error_message: str  # empty unless the task has failed
    duration: float | UnsetType = UNSET  # seconds; absent until it is measured
    width: int | UnsetType = UNSET  # pixels
    height: int | UnsetType = UNSET  # pixels


class KeevxVideoRead(Struct, frozen=True):
    """The answer to a read of a video."""

    code: Literal[0]  # always 0: an error has another
    msg: str  # always `ok`
    data: KeevxVideoTask  # the task


class KeevxImageTask(Struct, frozen=True, kw_only=True):
    """One image. The URL is an empty text until the task has succeeded."""

    task_id: str  # `i2is-…`
    status: Literal["GENERATING", "SUCCEEDED", "FAILED"]  # the state in words of Keevx
    image_url: str  # of the file; it works without a key until the file expires
    error_message: str  # empty unless the task has failed


class KeevxImageRead(Struct, frozen=True):
    """The answer to a read of an image."""

    code: Literal[0]  # always 0: an error has another
    msg: str  # always `ok`
    data: KeevxImageTask  # the task


class KeevxError(Struct, frozen=True):
    """Every error of this dialect. `error` and `param` are the gateway's own stable code and the field at fault."""

    code: int  # the code that Keevx has for such an error
    msg: str  # for people: what is wrong, and the remedy
    data: None  # always null
    error: str  # stable; the table of errors of requests has all codes
    param: str | None  # the field at fault; null: none
    request_id: str  # names this request in the gateway's log


class KeevxCreateVideo(Struct, frozen=True, kw_only=True):
    """The body of a create of videos. What is blank counts as absent."""

    model: str  # a name of a model, or `auto`
    prompt: str | None = None  # what the video shows
    image_url: OneImage | None = None  # the first frame
    end_image_url: OneImage | None = None  # the last frame
    reference_images: Images | None = None  # images whose subjects or style the video takes over
    aspect_ratio: str | None = None  # for example `16:9`
    aspect_resolution: str | None = None  # for example `720p`
    duration: int | None = None  # seconds
    generate_audio: bool | None = None  # with sound
    generate_count: int | None = None  # how many videos
    callback_url: str | None = None  # gets a POST when the generation has ended


class KeevxCreateImage(Struct, frozen=True, kw_only=True):
    """The body of a create of images. What is blank counts as absent.

    Without `model` any model that can do it is used.
    """

    prompt: str | None = None  # what the images show
    model: str | None = None  # a name of a model; `auto` if it is absent
    reference_images: Images | Image | None = None  # at most five images, or one
    module: str | None = None  # `std` or `pro`
    generate_count: int | None = None  # how many images
    image_quality: str | None = None  # `1K`, `2K` or `4K`
    image_ratio: str | None = None  # for example `16:9`
    callback_url: str | None = None  # gets a POST when the generation has ended


def video_fields(body: Mapping[str, object]) -> Fields:
    """The fields of a create of videos: Keevx's names are among ours."""
    return with_names(body, {"image": "image_url", "last_image": "end_image_url"})


_VIDEO_STATUS: Mapping[Status, Literal["PENDING", "PROCESSING", "SUCCEEDED", "FAILED"]] = {
    Status.QUEUED: "PENDING",
    Status.IN_PROGRESS: "PROCESSING",
    Status.COMPLETED: "SUCCEEDED",
    Status.FAILED: "FAILED",
    Status.CANCELLED: "FAILED",
    Status.EXPIRED: "FAILED",
}
_IMAGE_STATUS: Mapping[Status, Literal["GENERATING", "SUCCEEDED", "FAILED"]] = {
    Status.QUEUED: "GENERATING",
    Status.IN_PROGRESS: "GENERATING",
    Status.COMPLETED: "SUCCEEDED",
    Status.FAILED: "FAILED",
    Status.CANCELLED: "FAILED",
    Status.EXPIRED: "FAILED",
}


def task_view(generation: Generation, index: int, links: Links) -> KeevxVideoTask | KeevxImageTask:
    """One output of a generation in Keevx's words. A cancelled or expired one is `FAILED`, and its message says so."""
    output = summarize(generation).outputs[index]
    url, message = _url(generation, output, links), _message(output)
    if generation.kind == "image":
        return KeevxImageTask(
            task_id=KEEVX_IMAGES.id(generation, index),
            status=_IMAGE_STATUS[output.status],
            image_url=url,
            error_message=message,
        )
    return KeevxVideoTask(
        task_id=KEEVX.id(generation, index),
        status=_VIDEO_STATUS[output.status],
        video_url=url,
        thumbnail_url=_thumbnail(generation, output, links),
        error_message=message,
        duration=UNSET if output.duration_seconds is None else output.duration_seconds,
        width=UNSET if output.width is None else output.width,
        height=UNSET if output.height is None else output.height,
    )


def read_view(generation: Generation, index: int, links: Links) -> KeevxVideoRead | KeevxImageRead:
    """The answer to a read of one output."""
    task = task_view(generation, index, links)
    return KeevxVideoRead(0, "ok", task) if isinstance(task, KeevxVideoTask) else KeevxImageRead(0, "ok", task)


def callback_body(generation: Generation, index: int, links: Links) -> Mapping[str, Any]:
    """What Keevx posts to `callback_url` when one task has ended.

    `code` is 0 also for a task that has failed: it says that the callback was sent. A client reads `data.status`.
    """
    task = task_view(generation, index, links)
    measured = {"duration", "width", "height"}  # a read has them, a callback has not
    data = {name: getattr(task, name) for name in task.__struct_fields__ if name not in measured}
    return {**_SENT, "task_type": TASK_TYPE[generation.kind], "data": data}


def _url(generation: Generation, output: OutputSummary, links: Links) -> str:
    if output.status is not Status.COMPLETED:
        return ""
    return file_url(generation, output, links) or ""


def _thumbnail(generation: Generation, output: OutputSummary, links: Links) -> str:
    if output.status is not Status.COMPLETED:
        return ""
    archived = output.archived
    if archived is not None and archived.thumbnail is not None:
        return links.opened(generation, output.index, "thumbnail", archived.kept_until)
    return output.thumbnail_url or ""


def _message(output: OutputSummary) -> str:
    if output.error is not None:
        return output.error.message
    return "The generation was cancelled." if output.status is Status.CANCELLED else ""


PARAMETER_ERROR, NOT_AUTHENTICATED = 100001, 100002
_TASK_NOT_FOUND: Mapping[Kind, int] = {"video": 100003, "image": 110002}
_TOO_LARGE: Mapping[Kind, int] = {"video": 100004, "image": 530002}
_BAD_IMAGE: Mapping[Kind, int] = {"video": 100007, "image": 530002}
PROMPT_TOO_LONG = 100005  # only for videos
NOT_CREATED = 530003  # only for images: "task creation failed, retry the request"
# Errors that come before anything is stored. After any other 5xx there may be a task: a repeat could buy it again.
_BEFORE_CREATION = frozenset({"overloaded", "shutting_down"})


def code_of(info: ErrorInfo, kind: Kind) -> int:
    """Keevx's code of an error. Where its pages have none for it, the code is the HTTP status."""
    if info.status in {401, 403}:
        return NOT_AUTHENTICATED
    if info.status == 413:
        return _TOO_LARGE[kind]
    if info.code == "invalid_image":
        return _BAD_IMAGE[kind]
    if info.code == "not_found" and info.param in {"id", None}:
        return _TASK_NOT_FOUND[kind]
    # A route refuses a prompt for its length alone.
    if kind == "video" and (info.code, info.param) == ("unsupported_parameter", "prompt"):
        return PROMPT_TOO_LONG
    if info.param is not None or info.status in {400, 422}:
        return PARAMETER_ERROR
    return NOT_CREATED if kind == "image" and info.code in _BEFORE_CREATION else info.status


def _format(kind: Kind) -> ErrorFormat:
    def error(info: ErrorInfo) -> ErrorAnswer:
        """`{code, msg, data: null}`. Keevx has no status 422: a value that no route takes is 400 there."""
        body = KeevxError(code_of(info, kind), info.message, None, info.code, info.param, info.request_id)
        return ErrorAnswer(body, 400 if info.status == 422 else info.status)

    return error


video_error, image_error = _format("video"), _format("image")
KEEVX = Dialect(id_prefix=KEEVX_VIDEO, own_paths=("/keevx/",), error=video_error, read=video_fields, webhook="keevx")
KEEVX_IMAGES = Dialect(
    id_prefix=KEEVX_IMAGE,
    own_paths=("/keevx/v1/image_generate",),
    error=image_error,
    read=own_fields,  # Keevx's names are ours too, and an absent model is `auto`
    webhook="keevx",
)
_ERRORS = (*INPUT_ERRORS, 404, 409)


def _creator(dialect: Dialect, kind: Kind, body: type[Struct]) -> HTTPRouteHandler:
    path = f"/keevx/v1/{TASK_TYPE[kind]}"
    operation = Operation(
        id=f"keevxCreate{kind.capitalize()}",
        summary=f"Create {kind}s in Keevx's shape: one task for each",
        body=body,
        answer=KeevxStarted,
        error_body=KeevxError,
        errors=_ERRORS,
    )

    def answer(_: Call, generation: Generation, headers: Mapping[str, str]) -> ASGIResponse:
        ids = tuple(dialect.id(generation, index) for index in range(generation.request.count))
        return json_answer(KeevxStarted(0, "ok", KeevxTaskIds(ids)), dict(headers))

    return creator(dialect, path, f"{path}/{{id}}", operation, answer, kind=kind)


def _reader(dialect: Dialect, kind: Kind, answer: type[Struct]) -> HTTPRouteHandler:
    @route(
        f"/keevx/v1/{TASK_TYPE[kind]}/{{generation_id:str}}",
        http_method=GET,
        error_format=dialect.error,
        operation=Operation(
            id=f"keevxRead{kind.capitalize()}",
            summary=f"Read one {kind} in Keevx's shape",
            answer=answer,
            error_body=KeevxError,
            errors=(400, 404, 503),
        ),
    )
    async def read_task(request: Call) -> ASGIResponse:
        """Read one output of a generation."""
        context, key = await context_of(request)
        Params.of(request).done()
        text = sent_id(request)
        public = parse_id(text)
        if public is None:
            raise _no_task(text)
        generation = await context.generations.read(public.generation_id, key, kind=kind)
        if public.output >= len(generation.outputs):
            raise _no_task(text)
        headers = poll_headers(generation, context.poll_advisor) | cost_header(generation, context.clients.sees)
        return json_answer(read_view(generation, public.output, context.links(request)), headers)

    return read_task


def _no_task(task_id: str) -> NotFound:
    return NotFound(f"The task {task_id[:100]!r} does not exist.", param="id")


HANDLERS = (
    _creator(KEEVX, "video", KeevxCreateVideo),
    _reader(KEEVX, "video", KeevxVideoRead),
    _creator(KEEVX_IMAGES, "image", KeevxCreateImage),
    _reader(KEEVX_IMAGES, "image", KeevxImageRead),
)
