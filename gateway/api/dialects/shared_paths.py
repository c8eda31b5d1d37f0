"""Paths that several dialects share: the id of the generation says whose words the answer has."""

from collections.abc import Callable, Mapping

from litestar import post, route
from litestar.response.base import ASGIResponse

from gateway.api.dialects import openai_videos, openrouter, xai
from gateway.api.dialects.dialect import Call, Dialect, read_generation
from gateway.api.generations.creating import create, created_headers, normalised
from gateway.api.generations.form import read_create
from gateway.api.generations.parameters import VIDEO_PARAMETERS, CreateVideo
from gateway.api.generations.public_ids import OPENAI, OPENROUTER, XAI, parse_id
from gateway.api.generations.views import GenerationView, generation_view
from gateway.api.web.answers import GET, json_answer
from gateway.api.web.context import context_of
from gateway.api.web.error_format import use_format
from gateway.api.web.links import Links
from gateway.api.web.operation import Operation, form_of
from gateway.api.web.query import Params, path_id
from gateway.api.web.small_body import BODY_ERRORS
from gateway.domain.generation.model import Generation

AnswerRead = Callable[[Generation, Links, Mapping[str, str]], ASGIResponse]


def _own(generation: Generation, links: Links, headers: Mapping[str, str]) -> ASGIResponse:
    return json_answer(generation_view(generation, links), dict(headers))


# Prefix of the id → the dialect, and its answer to a read. An id with another prefix gets our own answer.
_READERS: Mapping[str, tuple[Dialect, AnswerRead]] = {
    OPENAI: (openai_videos.OPENAI, openai_videos.answer_read),
    OPENROUTER: (openrouter.OPENROUTER, openrouter.answer_read),
    XAI: (xai.XAI, xai.answer_read),
}


@post(
    openai_videos.PATH,
    status_code=200,
    operation=Operation(
        id="openaiCreateVideo",
        summary="Create a video in OpenAI's shape; a body with `frame_images` or `input_references` is OpenRouter's",
        body=CreateVideo,
        form=form_of(CreateVideo),
        answer=openai_videos.OpenAIVideo,
        other_answers=(openrouter.OpenRouterVideo,),
        also={202: "OpenRouter's answer"},
        errors=(*BODY_ERRORS, 404, 409, 422),
    ),
)
async def create_video(request: Call) -> ASGIResponse:
    """Create a generation."""
    context, key = context_of(request)
    Params.of(request).done()
    body = await read_create(request, context.max_body_bytes, VIDEO_PARAMETERS)
    dialect, answer = openai_videos.OPENAI, openai_videos.answer_create
    if not openrouter.MARKS.isdisjoint(body):
        dialect, answer = openrouter.OPENROUTER, openrouter.answer_create
    use_format(request, dialect.error)
    created = await create(request, context, key, await normalised(body, context, key, dialect.read))
    headers = created_headers(created, context, f"{openai_videos.PATH}/{dialect.id(created.generation)}")
    return answer(created.generation, context.links(request), headers)


@route(
    "/v1/videos/{generation_id:str}",
    http_method=GET,
    operation=Operation(
        id="readVideo",
        summary="Read a video in the words of its id: `video_…` OpenAI's, `or_…` OpenRouter's, `xai_…` xAI's",
        answer=openai_videos.OpenAIVideo,
        other_answers=(GenerationView, openrouter.OpenRouterVideo, xai.XaiRead),
        other_errors=(openrouter.OpenRouterErrorAnswer, xai.XaiError),
        also={202: "xAI's answer while it has not ended"},
        errors=(400, 404, 503),
    ),
)
async def read_video(request: Call) -> ASGIResponse:
    """Read a generation."""
    public = parse_id(path_id(request, "generation_id"))
    dialect, answer = _READERS.get("" if public is None else public.prefix, (None, _own))
    if dialect is not None:
        use_format(request, dialect.error)
    context, generation, headers = await read_generation(request)
    return answer(generation, context.links(request), headers)


HANDLERS = (create_video, read_video)
