"""The video API of OpenRouter: a create answers 202 with a `polling_url`, a read has the URLs of all outputs.

Source: the packages `openrouter` 1.3 for Python, `@openrouter/sdk` and `@openrouter/ai-sdk-provider` 3. Their base URL
ends in `/api/v1`; the same paths are below `/openrouter/v1`.
"""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Literal

from litestar import route
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse
from msgspec import UNSET, Struct, UnsetType

from gateway.api.dialects.dialect import Call, Dialect, creator, links_of, reader, with_names
from gateway.api.dialects.openai_videos import OPENROUTER_PATH as PATH
from gateway.api.dialects.openai_videos import require_ready, size_text
from gateway.api.generations.content import send_content
from gateway.api.generations.create_request import Given
from gateway.api.generations.creating import Fields
from gateway.api.generations.file_urls import own_url
from gateway.api.generations.public_ids import OPENROUTER as PREFIX
from gateway.api.web.answers import GET, json_answer
from gateway.api.web.context import Context
from gateway.api.web.error_format import ErrorAnswer, ErrorInfo
from gateway.api.web.links import Links
from gateway.api.web.moments import unix
from gateway.api.web.operation import INDEX, Operation
from gateway.api.web.query import Params
from gateway.api.web.small_body import INPUT_ERRORS
from gateway.domain.adapter.request import InputKind, Settings
from gateway.domain.adapter.task import Status
from gateway.domain.errors import InvalidParameter
from gateway.domain.generation.model import Generation
from gateway.domain.generation.summary import summarize
from gateway.domain.parameters.dimensions import short_side
from gateway.domain.parameters.spellings import is_empty
from gateway.generations.catalog import Model

BASES = {"openrouter": "/api/v1", "openrouterPrefixed": "/openrouter/v1"}  # by what their operation ids begin with
MARKS = frozenset({"frame_images", "input_references"})  # only bodies of this dialect have these fields
Word = Literal["pending", "in_progress", "completed", "failed", "cancelled", "expired"]


class OpenRouterUsage(Struct, frozen=True):
    """What the generation cost."""

    # USD, by the configured prices. Absent if a route that was used has no price: the AI SDK refuses a null.
    cost: float | UnsetType = UNSET
    is_byok: bool = False  # always false: the client brings no key of a provider


class OpenRouterVideo(Struct, frozen=True, kw_only=True):
    """A generation in OpenRouter's words. The answer to a create has the first members."""

    id: str  # `or_…`
    polling_url: str  # where to read it, with a key
    status: Word  # the state in words of OpenRouter
    generation_id: str | UnsetType = UNSET  # the gateway's own id of it, only in a read
    # Of the completed outputs: the gateway's own, with a token. A client that sends its key to them sends it to nobody
    # else, and one that sends none gets the file too.
    urls: tuple[str, ...] | UnsetType = UNSET
    unsigned_urls: tuple[str, ...] | UnsetType = UNSET  # the same URLs: some clients send no key to these either
    expires_at: int | UnsetType = UNSET  # Unix seconds: when the first of the files is deleted
    error: str | UnsetType = UNSET  # only if it failed or expired: the reason, for people
    usage: OpenRouterUsage | UnsetType = UNSET  # once it has ended


class OpenRouterModel(Struct, frozen=True, kw_only=True):
    """What a model can make by any of its routes. The package for Python needs every member, also as null."""

    id: str  # the name for `model` of a create
    name: str  # the same as `id`
    canonical_slug: str  # the same as `id`
    created: int  # Unix seconds of the start of the gateway
    supported_resolutions: tuple[str, ...]  # the smallest first
    supported_aspect_ratios: tuple[str, ...]  # width to height
    supported_sizes: tuple[str, ...]  # WIDTHxHEIGHT
    supported_durations: tuple[int, ...]  # seconds
    # the frames that an image can be given for
    supported_frame_images: tuple[Literal["first_frame", "last_frame"], ...]
    generate_audio: bool  # whether a create can choose sound
    seed: bool  # whether a create can choose a seed
    pricing_skus: dict[str, str] | None = None  # always null: prices need a key, at `GET /v1/models`
    allowed_passthrough_parameters: tuple[str, ...]  # names of the options in `provider.options`
    upscale_factor: None = None  # always null: no model scales videos up
    creativity: None = None  # always null: no model scales videos up


class OpenRouterModels(Struct, frozen=True):
    """Every model that makes videos."""

    data: tuple[OpenRouterModel, ...]  # in the order of `GET /v1/models`


class OpenRouterErrorBody(Struct, frozen=True):
    """The member `error` of every error."""

    code: int  # the HTTP status
    message: str  # for people: what is wrong, and the remedy
    metadata: dict[str, str | None]  # our stable `code`, `param` and `request_id`


class OpenRouterErrorAnswer(Struct, frozen=True):
    """Every error of this dialect."""

    error: OpenRouterErrorBody  # what went wrong


class OpenRouterUrl(Struct, frozen=True, forbid_unknown_fields=True):
    """The URL of an image, nested in an object."""

    url: str  # a URL or a data URL


class OpenRouterImage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An image."""

    type: Literal["image_url"] | UnsetType = UNSET  # models take images alone
    image_url: OpenRouterUrl | str  # the image


class OpenRouterFrame(OpenRouterImage, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A frame of the video."""

    frame_type: Literal["first_frame", "last_frame"]  # which of the frames


class OpenRouterProvider(Struct, frozen=True, forbid_unknown_fields=True):
    """What is meant for one provider."""

    options: dict[str, Any] | UnsetType = UNSET  # options of one provider, by its name


class OpenRouterCreate(Struct, frozen=True, kw_only=True):
    """The body of a create. Fields of our own create request are accepted beside these."""

    model: str  # a name of a model, or `auto`
    prompt: str | None = None  # what the video shows
    duration: int | None = None  # seconds
    resolution: str | None = None  # for example `720p`
    aspect_ratio: str | None = None  # for example `16:9`
    size: str | None = None  # WIDTHxHEIGHT instead of `resolution` and `aspect_ratio`
    frame_images: list[OpenRouterFrame] | None = None  # the first frame, the last frame, or both
    input_references: list[OpenRouterImage] | None = None  # images whose subjects or style the video takes over
    generate_audio: bool | None = None  # whether the video has sound
    seed: int | None = None  # the start of the random numbers
    callback_url: str | None = None  # gets the event of the end
    session_id: str | None = None  # your own id; it is stored in `metadata`
    user: str | None = None  # your own name of the end user
    provider: OpenRouterProvider | None = None  # options of one provider


_FRAMES = {"first_frame": "image", "last_frame": "last_image"}
_REFUSED = {
    "creativity": "no model scales videos up",
    "upscale_factor": "no model scales videos up",
    "previous_job_id": "no model continues an earlier video",
    "trace": "the gateway sends no traces; put what you need to find the video again into `metadata`",
}
_STATUS: Mapping[Status, Word] = {
    Status.QUEUED: "pending",
    Status.IN_PROGRESS: "in_progress",
    Status.COMPLETED: "completed",
    Status.FAILED: "failed",
    Status.CANCELLED: "cancelled",
    Status.EXPIRED: "expired",
}


def fields(body: Mapping[str, object]) -> Fields:
    """The fields of a create request. Raises `InvalidParameter` that names the field in OpenRouter's words."""
    given = [given for name, value in body.items() for given in _read(name, value)]
    return with_names(given, {"image": "frame_images", "reference_images": "input_references"})


def _read(name: str, value: object) -> Iterator[Given]:
    match name:
        case "frame_images" | "input_references" | "provider" | "session_id" if value is None:
            return
        case "frame_images":
            yield from _frames(_items(name, value))
        case "input_references":
            images = [_image(item, f"{name}[{index}]") for index, item in enumerate(_items(name, value))]
            yield Given(name, images, "reference_images")
        case "provider":
            yield from _options(value)
        case "session_id":
            yield Given(name, {"session_id": value}, "metadata")
        case _ if name in _REFUSED and not is_empty(value):
            raise InvalidParameter(f"`{name}` is not supported: {_REFUSED[name]}. Leave it out.", param=name)
        case _ if name not in _REFUSED:
            yield Given(name, value)


def _items(name: str, value: object) -> list[object]:
    if not isinstance(value, list):
        raise InvalidParameter(f"`{name}` must be a list of images.", param=name)
    return value


def _frames(items: list[object]) -> Iterator[Given]:
    seen: set[str] = set()
    for index, item in enumerate(items):
        name = f"frame_images[{index}]"
        frame = item.get("frame_type") if isinstance(item, Mapping) else None
        if not isinstance(frame, str) or frame not in _FRAMES:
            message = f"`{name}.frame_type` must be `first_frame` or `last_frame`."
            raise InvalidParameter(message, param=f"{name}.frame_type")
        if frame in seen:
            raise InvalidParameter(f"`{name}` is a second image for `{frame}`; send one.", param=name)
        seen.add(frame)
        yield Given(f"{name}.image_url", _image(item, name, {"frame_type"}), _FRAMES[frame])


def _image(item: object, name: str, others: frozenset[str] | set[str] = frozenset()) -> object:
    """The image of `{"type": "image_url", "image_url": {"url": …}}`; `others` are further members that it may have."""
    if not isinstance(item, Mapping) or "image_url" not in item or item.get("type", "image_url") != "image_url":
        raise InvalidParameter(
            f'`{name}` must be `{{"type": "image_url", "image_url": {{"url": …}}}}`: models take images alone.',
            param=name,
        )
    unknown = sorted(map(str, item.keys() - {"type", "image_url"} - others))
    if unknown:
        raise InvalidParameter(f"`{name}.{unknown[0]}` is not known; leave it out.", param=f"{name}.{unknown[0]}")
    return item["image_url"]


def _options(provider: object) -> Iterator[Given]:
    if not isinstance(provider, Mapping):
        message = "`provider` must be an object with the member `options`."
        raise InvalidParameter(message, param="provider")
    for name, value in provider.items():
        if name == "options":
            yield Given("provider.options", value, "provider_options")
        elif not is_empty(value):
            message = f"`provider.{name}` is not supported: the routes of the model decide. Leave it out."
            raise InvalidParameter(message, param=f"provider.{name}")


def started_view(generation: Generation, links: Links) -> OpenRouterVideo:
    """The answer to a create."""
    public = OPENROUTER.id(generation)
    status = _STATUS[summarize(generation).status]
    return OpenRouterVideo(id=public, polling_url=f"{links.base}{PATH}/{public}", status=status)


def read_view(generation: Generation, links: Links) -> OpenRouterVideo:
    """A generation in OpenRouter's words."""
    started, summary = started_view(generation, links), summarize(generation)
    outputs = [output for output in summary.outputs if output.status is Status.COMPLETED]
    urls = tuple(url for output in outputs if (url := own_url(generation, output, links)) is not None)
    ends = [moment for output in outputs if (moment := unix(output.expires_at)) is not None]
    ended = summary.status.terminal
    cost = summary.usage.cost_usd if links.shows(generation, "costs") else None
    return OpenRouterVideo(
        id=started.id,
        polling_url=started.polling_url,
        status=started.status,
        generation_id=generation.id,
        urls=urls if ended else UNSET,
        unsigned_urls=urls if ended else UNSET,
        expires_at=min(ends) if ended and ends else UNSET,
        error=UNSET if summary.error is None else summary.error.message,
        usage=OpenRouterUsage(UNSET if cost is None else cost) if ended else UNSET,
    )


def model_view(model: Model, created: int) -> OpenRouterModel | None:
    """What a model can make; None for a model that makes no videos."""
    able = [can for candidate in model.candidates for can in candidate.capabilities if can.kind == "video"]
    if not able:
        return None
    resolutions = sorted({name for can in able for name in can.resolutions}, key=lambda name: short_side(name) or 0)
    ratios = sorted({name for can in able for name in can.aspect_ratios})
    sizes = [size_text(Settings(resolution=name, aspect_ratio=ratio)) for name in resolutions for ratio in ratios]
    has_first = any(InputKind.IMAGE in can.inputs for can in able)
    has_last = any(can.last_frame or can.frames_with_references for can in able)
    frames: tuple[Literal["first_frame", "last_frame"], ...] = ("first_frame",) if has_first else ()
    return OpenRouterModel(
        id=model.name,
        name=model.name,
        canonical_slug=model.name,
        created=created,
        supported_resolutions=tuple(resolutions),
        supported_aspect_ratios=tuple(ratios),
        supported_sizes=tuple(dict.fromkeys(size for size in sizes if size is not None)),
        supported_durations=tuple(sorted({seconds for can in able for seconds in can.durations})),
        supported_frame_images=(*frames, "last_frame") if has_last else frames,
        generate_audio=any(can.generate_audio for can in able),
        seed=any(can.seed for can in able),
        allowed_passthrough_parameters=tuple(sorted({name for can in able for name in can.options})),
    )


def error(info: ErrorInfo) -> ErrorAnswer:
    """`{"error": {code, message, metadata}}`: the package for Python fails on a code that is not an integer."""
    metadata = {"code": info.code, "param": info.param, "request_id": info.request_id}
    return ErrorAnswer(OpenRouterErrorAnswer(OpenRouterErrorBody(info.status, info.message, metadata)), info.status)


OPENROUTER = Dialect(
    id_prefix=PREFIX, own_paths=("/openrouter/", "/api/"), error=error, read=fields, webhook="openrouter"
)


def answer_create(request: Call, generation: Generation, headers: Mapping[str, str]) -> ASGIResponse:
    """The answer to a create at any path that OpenRouter shares."""
    answer = json_answer(started_view(generation, links_of(request)), dict(headers))
    answer.status_code = HTTPStatus.ACCEPTED
    return answer


def answer_read(request: Call, generation: Generation, headers: Mapping[str, str]) -> ASGIResponse:
    """The answer to a read at any path that OpenRouter shares."""
    return json_answer(read_view(generation, links_of(request)), dict(headers))


def _creator(name: str, base: str) -> HTTPRouteHandler:
    operation = Operation(
        id=f"{name}CreateVideo",
        summary="Create a generation in OpenRouter's shape",
        body=OpenRouterCreate,
        answer=OpenRouterVideo,
        status=202,
        error_body=OpenRouterErrorAnswer,
        errors=(*INPUT_ERRORS, 404, 409, 422),
    )
    return creator(OPENROUTER, f"{base}/videos", f"{base}/videos/{{id}}", operation, answer_create)


def _reader(name: str, base: str) -> HTTPRouteHandler:
    operation = Operation(
        id=f"{name}ReadVideo",
        summary="Read a generation in OpenRouter's shape, by any of its ids",
        answer=OpenRouterVideo,
        error_body=OpenRouterErrorAnswer,
        errors=(400, 404, 503),
    )
    return reader(OPENROUTER, f"{base}/videos/{{generation_id:str}}", operation, answer_read, kind="video")


def _content(name: str, base: str) -> HTTPRouteHandler:
    @route(
        f"{base}/videos/{{generation_id:str}}/content",
        http_method=GET,
        error_format=error,
        operation=Operation(
            id=f"{name}ReadVideoContent",
            summary="Get the file of a video",
            query={
                "index": INDEX,
                "variant": {"type": "string", "enum": ["video", "thumbnail"], "default": "video"},
            },
            media_types=("video/*", "image/*", "application/octet-stream"),
            error_body=OpenRouterErrorAnswer,
            errors=(206, 302, 304, 400, 404, 409, 410, 416, 502, 503),
            token=True,
        ),
    )
    async def video_content(request: Call) -> ASGIResponse:
        """Send the file, as the content path of a generation does; 409 while it is not ready."""
        return await send_content(request, "video", require_ready)

    return video_content


def _models(name: str, base: str) -> HTTPRouteHandler:
    @route(
        f"{base}/videos/models",
        http_method=GET,
        error_format=error,
        operation=Operation(
            id=f"{name}ListVideoModels",
            summary="List the models that make videos, in OpenRouter's shape; no key is needed",
            answer=OpenRouterModels,
            error_body=OpenRouterErrorAnswer,
            errors=(400,),
            open=True,
        ),
    )
    async def list_models(request: Call) -> ASGIResponse:
        """List every model that makes videos."""
        context: Context = request.app.state.context
        Params.of(request).done()
        views = (model_view(model, context.started_at) for model in context.catalog.listed())
        return json_answer(OpenRouterModels(tuple(view for view in views if view is not None)))

    return list_models


HANDLERS = (
    *(make(name, base) for name, base in BASES.items() for make in (_creator, _models, _reader, _content)),
    _models("shared", "/v1"),
)
