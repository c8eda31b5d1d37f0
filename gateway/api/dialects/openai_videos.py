"""The video API of OpenAI, as `client.videos.*` of its libraries calls it, with forms and with JSON.

Source: the libraries `openai` 3.57 for Python and 6 for JavaScript, and what LiteLLM sends. The service itself has
ended; gateways and model servers speak its shape.
"""

from collections.abc import Mapping
from typing import Literal

from litestar import delete, post, route
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse
from msgspec import Struct
from msgspec.structs import asdict

from gateway.api.dialects.dialect import Call, Dialect, links_of, problem_of, with_names
from gateway.api.generations.create_request import Given
from gateway.api.generations.creating import Fields
from gateway.api.generations.public_ids import ID_PATTERN, OPENROUTER, changed_id, public_id, stored_id
from gateway.api.generations.public_ids import OPENAI as PREFIX
from gateway.api.web.answers import GET, json_answer
from gateway.api.web.context import context_of
from gateway.api.web.error_format import openai_error
from gateway.api.web.links import Links
from gateway.api.web.lists import Listed
from gateway.api.web.moments import unix
from gateway.api.web.operation import PAGE, Operation
from gateway.api.web.query import Params
from gateway.domain.adapter.request import Settings
from gateway.domain.adapter.task import Status
from gateway.domain.errors import BadRequest, Conflict, InvalidParameter
from gateway.domain.generation.model import Generation
from gateway.domain.generation.summary import OutputSummary, Summary, summarize
from gateway.domain.parameters.dimensions import ratio_of, short_side
from gateway.domain.parameters.spellings import is_empty
from gateway.store.port import Query, is_cursor

PATH = "/v1/videos"
OPENROUTER_PATH = "/api/v1/videos"
DEFAULT_MODEL = "auto"  # OpenAI's create does not require a model
UNKNOWN = "auto"  # a `size` or `seconds` that only the provider decides; the field must be a string
LIMIT_MAX, LIMIT_DEFAULT = 100, 20


class OpenAIVideoError(Struct, frozen=True):
    """Why a video failed."""

    code: str  # the code of the failure: see the table of errors of generations
    message: str  # for people


class OpenAIVideo(Struct, frozen=True, kw_only=True):
    """A generation in OpenAI's words. A cancelled or expired one is `failed`, with that word as its code."""

    id: str  # `video_…`
    object: Literal["video"] = "video"  # the kind of this object
    model: str  # as the request named it
    status: Literal["queued", "in_progress", "completed", "failed"]  # the state in words of OpenAI
    progress: int  # percent
    created_at: int  # Unix seconds
    completed_at: int | None  # Unix seconds of the end; null until then
    expires_at: int | None  # Unix seconds: when the link to the file ends
    prompt: str | None  # null: the request had none
    size: str  # WIDTHxHEIGHT that the provider was asked for, else of the file; `auto` while nobody knows it
    seconds: str  # that the provider was asked for, else of the file; `auto` while nobody knows it
    remixed_from_video_id: None = None  # always null: no video is a remix
    error: OpenAIVideoError | None  # null: it has not failed


class OpenAIVideoCreated(OpenAIVideo, frozen=True, kw_only=True):
    """The answer to a create."""

    polling_url: str  # for clients of OpenRouter whose body does not tell whose they are: the read in its words


class OpenAIVideoCreate(Struct, frozen=True, kw_only=True):
    """The body of a create in OpenAI's fields. Those of our own create request are accepted beside them."""

    prompt: str | None = None  # what the video shows; most models require it
    model: str | None = None  # `auto` if it is absent: any model that can do it
    seconds: str | int | None = None  # the duration
    size: str | None = None  # WIDTHxHEIGHT
    input_reference: str | dict[str, str] | None = None  # a URL, or an object with `image_url` or `file_id`


class OpenAIVideoList(Listed[OpenAIVideo], frozen=True, kw_only=True):
    """A page of videos."""


class OpenAIVideoDeleted(Struct, frozen=True, kw_only=True):
    """The answer to a delete."""

    id: str  # of the video
    object: Literal["video.deleted"] = "video.deleted"  # the kind of this object
    deleted: bool = True  # always true: else the answer is an error


_STATUS: Mapping[Status, Literal["queued", "in_progress", "completed", "failed"]] = {
    Status.QUEUED: "queued",
    Status.IN_PROGRESS: "in_progress",
    Status.COMPLETED: "completed",
    Status.FAILED: "failed",
    Status.CANCELLED: "failed",
    Status.EXPIRED: "failed",
}


def fields(body: Mapping[str, object]) -> Fields:
    """The fields of a create request. OpenAI's names are ours. A body without a model takes any that can do it."""
    model = [Given("model", DEFAULT_MODEL)] if is_empty(body.get("model")) else []
    given = [*(Given(name, value) for name, value in body.items() if name != "model" or not model), *model]
    return with_names(given, {"image": "input_reference"})


def video_view(generation: Generation) -> OpenAIVideo:
    """A generation in OpenAI's words."""
    summary = summarize(generation)
    output = next((output for output in summary.outputs if output.status is Status.COMPLETED), None)
    settings, problem = _settings(generation, summary, output), problem_of(summary)
    size = size_text(settings)
    if size is None and output is not None and output.width and output.height:
        size = f"{output.width}x{output.height}"
    seconds: float | None = settings.duration_seconds
    if seconds is None and output is not None and output.duration_seconds is not None:
        seconds = round(output.duration_seconds)
    return OpenAIVideo(
        id=public_id(PREFIX, generation.id),
        model=generation.request.model,
        status=_STATUS[summary.status],
        progress=summary.progress_percent,
        created_at=unix(generation.created_at),
        completed_at=unix(generation.completed_at),
        expires_at=None if output is None else unix(output.expires_at),
        prompt=generation.request.prompt or None,
        size=size or UNKNOWN,
        seconds=UNKNOWN if seconds is None else f"{seconds:g}",
        error=None if problem is None else OpenAIVideoError(problem.code, problem.message),
    )


def _settings(generation: Generation, summary: Summary, output: OutputSummary | None) -> Settings:
    """What the provider was asked for that made this output, else the one that was tried last, else the first one.

    These are the requested settings after `adapt`. The shape has no place for warnings, so the change shows here.
    """
    made_by = None if output is None else generation.output(output.index).attempt_id
    routes = [attempt.route for attempt in summary.attempts if made_by in {None, attempt.attempt.id}]
    route = routes[-1] if routes else generation.plan.routes[0]
    return route.settings


def size_text(settings: Settings) -> str | None:
    """The size that a resolution and a ratio mean, with even sides; None if one of them is not known."""
    side, ratio = short_side(settings.resolution or ""), ratio_of(settings.aspect_ratio or "")
    if side is None or ratio is None:
        return None
    longer = round(side * max(ratio, 1 / ratio) / 2) * 2
    return f"{longer}x{side}" if ratio >= 1 else f"{side}x{longer}"


OPENAI = Dialect(id_prefix=PREFIX, error=openai_error, read=fields)


def created_view(generation: Generation, links: Links) -> OpenAIVideoCreated:
    """The answer to a create: the object, and where a client of OpenRouter reads it."""
    view = video_view(generation)
    return OpenAIVideoCreated(
        **asdict(view),
        polling_url=f"{links.base}{OPENROUTER_PATH}/{public_id(OPENROUTER, generation.id)}",
    )


def answer_create(request: Call, generation: Generation, headers: Mapping[str, str]) -> ASGIResponse:
    """The answer to a create at any path that OpenAI shares."""
    return json_answer(created_view(generation, links_of(request)), dict(headers))


def answer_read(request: Call, generation: Generation, headers: Mapping[str, str]) -> ASGIResponse:  # noqa: ARG001  # as in every dialect
    """The answer to a read at any path that OpenAI shares."""
    return json_answer(video_view(generation), dict(headers))


@route(
    PATH,
    http_method=GET,
    operation=Operation(
        id="openaiListVideos",
        summary="List your own videos in OpenAI's shape",
        query={
            "limit": {"type": "integer", "minimum": 0, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
            "after": {**PAGE["after"], "pattern": ID_PATTERN},
            "order": {"type": "string", "enum": ["asc", "desc"], "default": "desc"},
        },
        answer=OpenAIVideoList,
        errors=(400, 503),
    ),
)
async def list_videos(request: Call) -> ASGIResponse:
    """List the caller's generations of videos, however they were created."""
    context, key = await context_of(request)
    params = Params.of(request)
    limit = params.whole("limit", 0, LIMIT_MAX)
    after = params.cursor("after", lambda text: is_cursor(stored_id(text)), "a video")
    order = params.order()
    params.done()
    query = Query(
        key=key,
        kind="video",
        limit=LIMIT_DEFAULT if limit is None else limit or 1,
        order=order,
        after=None if after is None else stored_id(after),
    )
    page = await context.generations.page(query)
    if limit == 0:
        return json_answer(OpenAIVideoList.of((), has_more=bool(page.data)))
    return json_answer(OpenAIVideoList.of(map(video_view, page.data), has_more=page.has_more))


@delete(
    f"{PATH}/{{generation_id:str}}",
    status_code=200,
    operation=Operation(
        id="openaiDeleteVideo",
        summary="Delete a video that has ended",
        answer=OpenAIVideoDeleted,
        errors=(400, 404, 409, 503),
    ),
)
async def delete_video(request: Call) -> ASGIResponse:
    """Delete a generation that has ended."""
    context, key = await context_of(request)
    Params.of(request).done()
    deleted = changed_id(request)
    await context.generations.delete(deleted, key, kind="video")
    return json_answer(OpenAIVideoDeleted(id=public_id(PREFIX, deleted)))


def refuse_spritesheet(request: Call) -> None:
    """Raise `InvalidParameter` for the variant of OpenAI's that the gateway does not make."""
    if Params.of(request).text("variant") == "spritesheet":
        raise InvalidParameter(
            "The gateway makes no spritesheets. `variant` can be `video`, or `thumbnail` for one picture.",
            param="variant",
        )


def require_ready(generation: Generation) -> None:
    """Raise `Conflict` while the generation is open: these clients take a 404 for a video that does not exist."""
    if not generation.status.terminal:
        raise Conflict(f"The video is {generation.status} and not ready; read it until its status is `completed`.")


def _refused(path: str, operation_id: str, what: str) -> HTTPRouteHandler:
    @post(
        path,
        status_code=200,
        operation=Operation(
            id=operation_id,
            summary=f"Refused: no model {what}",
            any_body=True,
            answer=OpenAIVideo,
            errors=(400,),
        ),
    )
    async def refuse(request: Call) -> ASGIResponse:
        """Refuse the call: no provider can do it, and a video that nobody has asked for would be paid."""
        await context_of(request)
        raise BadRequest(f"No model {what}. POST {PATH} makes a new video from a prompt and images.")

    return refuse


remix_video = _refused(f"{PATH}/{{generation_id:str}}/remix", "openaiRemixVideo", "can remix a video")
edit_video = _refused(f"{PATH}/edits", "openaiEditVideo", "can edit a video")
extend_video = _refused(f"{PATH}/extensions", "openaiExtendVideo", "can extend a video")
create_character = _refused(f"{PATH}/characters", "openaiCreateVideoCharacter", "has characters that are stored")
HANDLERS = (
    list_videos,
    delete_video,
    remix_video,
    edit_video,
    extend_video,
    create_character,
)
