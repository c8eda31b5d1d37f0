"""Paths that several dialects share: the id of the generation says whose words the answer has."""

from collections.abc import Callable, Mapping

from litestar import route
from litestar.response.base import ASGIResponse

from gateway.api.dialects import openai_videos, xai
from gateway.api.dialects.dialect import Call, Dialect, read_generation
from gateway.api.generations.public_ids import OPENAI, XAI, parse_id
from gateway.api.generations.views import GenerationView, generation_view
from gateway.api.web.answers import GET, json_answer
from gateway.api.web.error_format import use_format
from gateway.api.web.links import Links
from gateway.api.web.operation import Operation
from gateway.api.web.query import path_id
from gateway.domain.generation.model import Generation

AnswerRead = Callable[[Generation, Links, Mapping[str, str]], ASGIResponse]


def _own(generation: Generation, links: Links, headers: Mapping[str, str]) -> ASGIResponse:
    return json_answer(generation_view(generation, links), dict(headers))


# Prefix of the id → the dialect, and its answer to a read. An id with another prefix gets our own answer.
_READERS: Mapping[str, tuple[Dialect, AnswerRead]] = {
    OPENAI: (openai_videos.OPENAI, openai_videos.answer_read),
    XAI: (xai.XAI, xai.answer_read),
}


@route(
    "/v1/videos/{generation_id:str}",
    http_method=GET,
    operation=Operation(
        id="readVideo",
        summary="Read a video in the words of its id: `video_…` OpenAI's, `xai_…` xAI's, any other ours",
        answer=openai_videos.OpenAIVideo,
        other_answers=(GenerationView, xai.XaiRead),
        other_errors=(xai.XaiError,),
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


HANDLERS = (read_video,)
