"""Paths that several dialects share: the id of the generation says whose words the answer has."""

from collections.abc import Mapping

from litestar import post, route
from litestar.response.base import ASGIResponse

from gateway.api.dialects import foxapi, kling, openai_videos, openrouter, xai
from gateway.api.dialects.dialect import Answer, Call, Dialect, links_of, read_generation
from gateway.api.generations.content import send_content
from gateway.api.generations.creating import create, created_headers, normalised
from gateway.api.generations.form import read_create
from gateway.api.generations.parameters import VIDEO_PARAMETERS, CreateVideo
from gateway.api.generations.public_ids import FOXAPI, KLING, OPENAI, OPENROUTER, XAI, parse_id
from gateway.api.generations.views import GenerationView, generation_view
from gateway.api.web.answers import GET, json_answer
from gateway.api.web.context import context_of
from gateway.api.web.error_format import use_format
from gateway.api.web.headers import COST_HEADER
from gateway.api.web.operation import INDEX, Operation, form_of
from gateway.api.web.query import Params, path_id
from gateway.api.web.small_body import INPUT_ERRORS
from gateway.domain.generation.model import Generation


def _own(request: Call, generation: Generation, headers: Mapping[str, str]) -> ASGIResponse:
    return json_answer(generation_view(generation, links_of(request)), dict(headers))


# Prefix of the id → the dialect, and its answer to a read. An id with another prefix gets our own answer.
_READERS: Mapping[str, tuple[Dialect, Answer]] = {
    OPENAI: (openai_videos.OPENAI, openai_videos.answer_read),
    OPENROUTER: (openrouter.OPENROUTER, openrouter.answer_read),
    XAI: (xai.XAI, xai.answer_read),
    FOXAPI: (foxapi.FOXAPI, foxapi.answer),
    KLING: (kling.KLING, kling.answer_read),
}
_OTHER_ERRORS = (openrouter.OpenRouterErrorAnswer, xai.XaiError, foxapi.FoxErrorAnswer, kling.KlingError)


@post(
    openai_videos.PATH,
    status_code=200,
    operation=Operation(
        id="openaiCreateVideo",
        summary="Create a video in OpenAI's shape; a body with `frame_images` or `input_references` is OpenRouter's",
        body=openai_videos.OpenAIVideoCreate,
        form=form_of(CreateVideo),
        answer=openai_videos.OpenAIVideoCreated,
        other_answers=(openrouter.OpenRouterVideo,),
        also={202: "OpenRouter's answer"},
        errors=(*INPUT_ERRORS, 404, 409, 422),
    ),
)
async def create_video(request: Call) -> ASGIResponse:
    """Create a generation."""
    context, key = await context_of(request)
    Params.of(request).done()
    body = await read_create(request, context.max_body_bytes, VIDEO_PARAMETERS)
    dialect, answer = openai_videos.OPENAI, openai_videos.answer_create
    if not openrouter.MARKS.isdisjoint(body):
        dialect, answer = openrouter.OPENROUTER, openrouter.answer_create
    use_format(request, dialect.error)
    normal = await normalised(body, context, key, dialect.read)
    created = await create(request, context, key, normal.calling_back(dialect.webhook))
    headers = created_headers(created, context, f"{openai_videos.PATH}/{dialect.id(created.generation)}")
    return answer(request, created.generation, headers)


@route(
    "/v1/videos/{generation_id:str}",
    http_method=GET,
    operation=Operation(
        id="readVideo",
        summary="Read a video in the words of its id, such as OpenAI's for `video_…` and xAI's for `xai_…`",
        answer=openai_videos.OpenAIVideo,
        other_answers=(GenerationView, openrouter.OpenRouterVideo, xai.XaiRead, foxapi.FoxTask, kling.KlingAnswer),
        other_errors=_OTHER_ERRORS,
        also={202: "xAI's answer while it has not ended"},
        errors=(400, 404, 503),
    ),
)
async def read_video(request: Call) -> ASGIResponse:
    """Read a generation."""
    answer = _reader_of(request)
    _, generation, headers = await read_generation(request, kind="video")
    return answer(request, generation, headers)


@route(
    "/v1/videos/{generation_id:str}/content",
    http_method=GET,
    operation=Operation(
        id="openaiReadVideoContent",
        summary="Get the file of a video",
        query={
            "variant": {"type": "string", "enum": ["video", "thumbnail"], "default": "video"},
            "index": INDEX,
        },
        answer_headers=COST_HEADER,
        other_errors=_OTHER_ERRORS,
        errors=(206, 302, 304, 400, 404, 409, 410, 416, 502, 503),
        token=True,
    ),
)
async def video_content(request: Call) -> ASGIResponse:
    """Send the file, as the content path of a generation does; 409 while it is not ready."""
    _reader_of(request)
    openai_videos.refuse_spritesheet(request)
    return await send_content(request, "video", openai_videos.require_ready)


def _reader_of(request: Call) -> Answer:
    """How the dialect of the id in the path answers a read. The errors of the request get its words as well."""
    public = parse_id(path_id(request, "generation_id"))
    dialect, answer = _READERS.get("" if public is None else public.prefix, (None, _own))
    if dialect is not None:
        use_format(request, dialect.error)
    return answer


HANDLERS = (create_video, read_video, video_content)
