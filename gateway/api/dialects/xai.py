"""The video API of xAI, as `@ai-sdk/xai` 4 calls it: a create answers `{request_id}`, a read says `pending` or `done`.

Its create has the path of ours. There our own answer carries `request_id` too; under `/xai/v1` the answers are xAI's
alone.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Literal

from litestar import post, route
from litestar.response.base import ASGIResponse
from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.api.dialects.dialect import Call, Dialect, create_in, file_url, read_generation, url_member
from gateway.api.generations.create_request import Given
from gateway.api.generations.creating import Fields
from gateway.api.generations.public_ids import XAI as PREFIX
from gateway.api.web.answers import GET, json_answer
from gateway.api.web.error_format import ErrorAnswer, ErrorInfo
from gateway.api.web.links import Links
from gateway.api.web.operation import Operation
from gateway.api.web.small_body import BODY_ERRORS
from gateway.domain.adapter.task import Status
from gateway.domain.generation.model import Generation
from gateway.domain.generation.summary import summarize

TICKS_OF_USD = 10_000_000_000  # `cost_in_usd_ticks` counts in these


class XaiStarted(Struct, frozen=True):
    """The answer to a create."""

    request_id: Annotated[str, Meta(description="Read it at `GET /xai/v1/videos/{request_id}`.")]


class XaiVideo(Struct, frozen=True):
    """The result."""

    url: str
    duration: float | None
    respect_moderation: bool = True


class XaiUsage(Struct, frozen=True):
    """What the generation cost."""

    cost_in_usd_ticks: Annotated[int, Meta(description="10,000,000,000 of them are one USD.")]


class XaiError(Struct, frozen=True):
    """Every error of this dialect, and the reason of a failed generation."""

    code: str
    error: str


class XaiRead(Struct, frozen=True, kw_only=True):
    """The answer to a read: status 202 while it is pending, else 200."""

    status: Literal["pending", "done", "failed", "expired"]
    progress: int
    model: str
    video: XaiVideo | UnsetType = UNSET
    usage: XaiUsage | UnsetType = UNSET
    error: XaiError | UnsetType = UNSET


class XaiCreate(Struct, frozen=True, kw_only=True):
    """The body of a create. An image is `{"url": …}`."""

    model: str
    prompt: str
    image: dict[str, str] | None = None
    reference_images: list[dict[str, str]] | None = None
    duration: int | None = None
    aspect_ratio: str | None = None
    resolution: str | None = None


def fields(body: Mapping[str, object]) -> Fields:
    """The fields of a create request: xAI's names are ours, and its images are objects with a `url`."""
    given: list[Given] = []
    for name, value in body.items():
        match value:
            case list() if name == "reference_images":
                images = [url_member(image, f"{name}[{index}]") for index, image in enumerate(value)]
                given.append(Given(name, images))
            case Mapping() if name == "image":
                given.append(Given(name, url_member(value, name)))
            case _:
                given.append(Given(name, value))
    return given


def read_view(generation: Generation, links: Links) -> XaiRead:
    """A generation in xAI's words. The first completed output is the video; a cancelled generation has `failed`."""
    summary = summarize(generation)
    status = _STATUS[summary.status]
    output = next((output for output in summary.outputs if output.status is Status.COMPLETED), None)
    url = None if output is None else file_url(generation, output, links)
    cost, problem = summary.usage.cost_usd, summary.error
    return XaiRead(
        status=status,
        progress=summary.progress_percent,
        model=generation.request.model,
        video=XaiVideo(url, output.duration_seconds) if output is not None and url is not None else UNSET,
        usage=XaiUsage(round(cost * TICKS_OF_USD)) if cost is not None and status == "done" else UNSET,
        error=UNSET if problem is None else XaiError(problem.code, problem.message),
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
    return ErrorAnswer(XaiError(info.code, info.message), info.status)


XAI = Dialect(name="xai", id_prefix=PREFIX, own_path="/xai/", error=error, read=fields)


def answer_read(generation: Generation, links: Links, headers: Mapping[str, str]) -> ASGIResponse:
    """The answer to a read at any path that xAI shares."""
    view = read_view(generation, links)
    answer = json_answer(view, dict(headers))
    if view.status == "pending":
        answer.status_code = HTTPStatus.ACCEPTED
    return answer


@post(
    "/xai/v1/videos/generations",
    status_code=200,
    error_format=error,
    operation=Operation(
        id="xaiCreateVideo",
        summary="Create a generation in xAI's shape",
        body=XaiCreate,
        answer=XaiStarted,
        error_body=XaiError,
        errors=(*BODY_ERRORS, 404, 409, 422),
    ),
)
async def create_video(request: Call) -> ASGIResponse:
    """Create a generation."""
    _, generation, headers = await create_in(XAI, request, "/xai/v1/videos/{id}")
    return json_answer(XaiStarted(XAI.id(generation)), headers)


@route(
    "/xai/v1/videos/{generation_id:str}",
    http_method=GET,
    error_format=error,
    operation=Operation(
        id="xaiReadVideo",
        summary="Read a generation in xAI's shape",
        answer=XaiRead,
        error_body=XaiError,
        also={202: "It has not ended"},
        errors=(400, 404, 503),
    ),
)
async def read_video(request: Call) -> ASGIResponse:
    """Read a generation."""
    context, generation, headers = await read_generation(request)
    return answer_read(generation, context.links(request), headers)


HANDLERS = (create_video, read_video)
