"""The video API of xAI, as `@ai-sdk/xai` 4 calls it: a create answers `{request_id}`, a read says `pending` or `done`.

Its create has the path of ours. There our own answer carries `request_id` too; under `/xai/v1` the answers are xAI's
alone.
"""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Annotated, Literal

from litestar import post
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse
from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.api.dialects.dialect import Call, Dialect, creator, links_of, problem_of, reader
from gateway.api.generations.create_request import Given
from gateway.api.generations.creating import Fields, Read
from gateway.api.generations.file_urls import file_url
from gateway.api.generations.image_values import Image, Images, OneImage
from gateway.api.generations.public_ids import XAI as PREFIX
from gateway.api.generations.views import GenerationView
from gateway.api.images import controller as images
from gateway.api.images.answer import TICKS_OF_USD, ImagesAnswer
from gateway.api.web.answers import json_answer
from gateway.api.web.context import context_of
from gateway.api.web.error_format import ErrorAnswer, ErrorInfo, named_message
from gateway.api.web.links import Links
from gateway.api.web.operation import Operation
from gateway.api.web.small_body import INPUT_ERRORS
from gateway.domain.adapter.task import Status
from gateway.domain.errors import BadRequest, InvalidParameter
from gateway.domain.generation.model import Generation
from gateway.domain.generation.summary import summarize
from gateway.domain.parameters.spellings import boolean, is_blank, is_empty

PATH = "/xai/v1"


class XaiStarted(Struct, frozen=True):
    """The answer to a create."""

    request_id: Annotated[str, Meta(description="Read it at `GET /xai/v1/videos/{request_id}`.")]


class XaiVideo(Struct, frozen=True):
    """The result."""

    url: str  # of the file; it needs no key
    duration: float | None  # seconds; null: not known
    respect_moderation: bool = True  # always true: a refused video has no result


class XaiUsage(Struct, frozen=True):
    """What the generation cost."""

    cost_in_usd_ticks: Annotated[int, Meta(description="10,000,000,000 of them are one USD.")]


class XaiError(Struct, frozen=True):
    """Every error of this dialect."""

    code: str  # stable; the tables of errors have all codes
    error: str  # for people


class XaiProblem(Struct, frozen=True):
    """Why a generation has no result."""

    code: str  # stable; the table of failures has all codes
    message: str  # for people


class XaiRead(Struct, frozen=True, kw_only=True):
    """The answer to a read: status 202 while it is pending, else 200."""

    status: Literal["pending", "done", "failed", "expired"]  # `pending` until it has ended
    progress: int  # percent
    model: str  # as the request named it
    video: XaiVideo | UnsetType = UNSET  # only with status `done`
    usage: XaiUsage | UnsetType = UNSET  # only with status `done`, and if every used route has a price
    error: XaiProblem | UnsetType = UNSET  # why it failed or expired


class XaiCreate(Struct, frozen=True, kw_only=True):
    """The body of a create. An image is `{"url": …}`. What is blank counts as absent."""

    model: str  # a name of a model, or `auto`
    prompt: str | None = None  # what the video shows
    image: OneImage | None = None  # the first frame
    last_frame: OneImage | None = None  # the last frame
    reference_images: Images | None = None  # images whose subjects or style the video takes over
    duration: int | None = None  # seconds
    aspect_ratio: str | None = None  # for example `16:9`
    resolution: str | None = None  # for example `720p`
    generate_audio: bool | None = None  # with sound


class XaiCreateImages(Struct, frozen=True, kw_only=True):
    """The body of a call that makes images. An image is `{"url": …}`. Fields of our own are accepted beside these.

    What is blank counts as absent. Without `model` any model that can do it is used.
    """

    prompt: str | None = None  # what the images show
    model: str | None = None  # a name of a model; `auto` if it is absent
    n: int | None = None  # how many images
    image: Images | Image | None = None  # a reference image, or several
    images: Images | Image | None = None  # reference images, or one
    aspect_ratio: str | None = None  # for example `16:9`
    resolution: str | None = None  # `1k` or `2k`: another name of `quality`
    quality: str | None = None  # the quality, by the names of the model
    response_format: Literal["url", "b64_json"] | None = None  # how the answer has the images
    output_format: str | None = None  # the format of the files, for example `png`
    user: str | None = None  # the end user for whom the client acts
    sync_mode: bool | int | str | None = None  # only true: the call waits for the images


MakeImages = Callable[[Call, Read], Awaitable[ASGIResponse]]
_REFUSED = {
    "keyframes": "no model takes images at moments of its own; `image` is the first frame and `last_frame` the last",
    "reference_audios": "no model takes sounds or voices as references",
    "storage_options": "the gateway keeps every file for as long as it is configured to",
    "video": "no model edits or continues a video",
}


def fields(body: Mapping[str, object]) -> Fields:
    """The fields of a create request: xAI's names are ours but for `last_frame`.

    Raises `InvalidParameter` that names a field of xAI's that no model has.
    """
    given: list[Given] = []
    for name, value in body.items():
        if name in _REFUSED:
            if not is_empty(value):
                raise InvalidParameter(f"`{name}` is not supported: {_REFUSED[name]}. Leave it out.", param=name)
        else:
            given.append(Given(name, value, "last_image" if name == "last_frame" else None))
    return given


def read_view(generation: Generation, links: Links) -> XaiRead:
    """A generation in xAI's words. The first completed output is the video; a cancelled generation has `failed`."""
    summary = summarize(generation)
    status = _STATUS[summary.status]
    output = next((output for output in summary.outputs if output.status is Status.COMPLETED), None)
    url = None if output is None else file_url(generation, output, links)
    cost = summary.usage.cost_usd if links.shows(generation, "costs") else None
    problem = problem_of(summary)
    return XaiRead(
        status=status,
        progress=summary.progress_percent,
        model=generation.request.model,
        video=XaiVideo(url, output.duration_seconds) if output is not None and url is not None else UNSET,
        usage=XaiUsage(round(cost * TICKS_OF_USD)) if cost is not None and status == "done" else UNSET,
        error=UNSET if problem is None else XaiProblem(problem.code, problem.message),
    )


_STATUS: Mapping[Status, Literal["pending", "done", "failed", "expired"]] = {
    Status.QUEUED: "pending",
    Status.IN_PROGRESS: "pending",
    Status.COMPLETED: "done",
    Status.FAILED: "failed",
    Status.CANCELLED: "failed",
    Status.EXPIRED: "expired",
}


def error(info: ErrorInfo) -> ErrorAnswer:
    """`{code, error}`."""
    return ErrorAnswer(XaiError(info.code, named_message(info)), info.status)


XAI = Dialect(id_prefix=PREFIX, own_paths=("/xai/",), error=error, read=fields)


def answer_read(request: Call, generation: Generation, headers: Mapping[str, str]) -> ASGIResponse:
    """The answer to a read at any path that xAI shares."""
    view = read_view(generation, links_of(request))
    answer = json_answer(view, dict(headers))
    if view.status == "pending":
        answer.status_code = HTTPStatus.ACCEPTED
    return answer


def answer_create(request: Call, generation: Generation, headers: Mapping[str, str]) -> ASGIResponse:  # noqa: ARG001  # as in every dialect
    """The answer to a create below xAI's own paths."""
    return json_answer(XaiStarted(XAI.id(generation)), dict(headers))


create_video = creator(
    XAI,
    f"{PATH}/videos/generations",
    f"{PATH}/videos/{{id}}",
    Operation(
        id="xaiCreateVideo",
        summary="Create a generation in xAI's shape",
        body=XaiCreate,
        answer=XaiStarted,
        error_body=XaiError,
        errors=(*INPUT_ERRORS, 404, 409, 422),
    ),
    answer_create,
)
read_video = reader(
    XAI,
    f"{PATH}/videos/{{generation_id:str}}",
    Operation(
        id="xaiReadVideo",
        summary="Read a generation in xAI's shape",
        answer=XaiRead,
        error_body=XaiError,
        also={202: "It has not ended"},
        errors=(400, 404, 503),
    ),
    answer_read,
    kind="video",
)


def _refused(path: str, operation_id: str, what: str) -> HTTPRouteHandler:
    @post(
        f"{PATH}/videos/{path}",
        status_code=200,
        error_format=error,
        operation=Operation(
            id=operation_id,
            summary=f"Refused: no model can {what} a video",
            any_body=True,
            answer=XaiStarted,
            error_body=XaiError,
            errors=(400,),
        ),
    )
    async def refuse(request: Call) -> ASGIResponse:
        """Refuse the call: no provider can do it."""
        await context_of(request)
        raise BadRequest(
            f"No model can {what} a video. POST {PATH}/videos/generations makes a new one from a prompt and images."
        )

    return refuse


def image_fields(body: Mapping[str, object]) -> Fields:
    """The fields of a create request for images: xAI's `resolution`, `1k` or `2k`, is our `quality`."""
    given: list[Given] = []
    for name, value in body.items():
        if name == "sync_mode":
            if not is_blank(value) and boolean(value) is not True:
                raise InvalidParameter("`sync_mode` can only be true: the call waits for the images.", param=name)
        elif name == "resolution":
            given.append(Given(name, value, "quality"))
        else:
            given.append(Given(name, value))
    return given


def _images(path: str, operation_id: str, summary: str, make: MakeImages) -> HTTPRouteHandler:
    @post(
        f"{PATH}/images/{path}",
        status_code=200,
        error_format=error,
        operation=Operation(
            id=operation_id,
            summary=summary,
            body=XaiCreateImages,
            query=images.ASYNC,
            answer=ImagesAnswer,
            other_answers=(GenerationView,),
            error_body=XaiError,
            errors=(*INPUT_ERRORS, 404, 409, 422, 502, 504),
        ),
    )
    async def make_images(request: Call) -> ASGIResponse:
        """Make images, and wait for them."""
        return await make(request, image_fields)

    return make_images


HANDLERS = (
    create_video,
    read_video,
    _refused("edits", "xaiEditVideo", "edit"),
    _refused("extensions", "xaiExtendVideo", "extend"),
    _images("generations", "xaiCreateImages", "Make images in xAI's shape", images.generate),
    _images("edits", "xaiEditImages", "Make images from other images in xAI's shape", images.edit),
)
