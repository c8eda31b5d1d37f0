"""The ids of a generation. Each dialect has a prefix of its own before the same 26 characters.

A path that several dialects share can so answer in the words of the dialect in which the generation was created, and
every read accepts every id of a generation.
"""

import re
from typing import Any, NamedTuple

from litestar import Request

from gateway.api.web.query import path_id, show_as_sent
from gateway.domain.errors import InvalidParameter

OWN = "gen_"
OPENAI, XAI, OPENROUTER, KLING, FOXAPI = "video_", "xai_", "or_", "task_", "task-unified-"
KEEVX_VIDEO, KEEVX_IMAGE = "i2v-", "i2is-"  # one id for each output: `-1`, `-2` … follow for the second and later ones
PREFIXES = (OWN, OPENAI, XAI, OPENROUTER, FOXAPI, KLING, KEEVX_VIDEO, KEEVX_IMAGE)
_ID = re.compile(rf"({'|'.join(map(re.escape, PREFIXES))})([0-9A-HJKMNP-TV-Z]{{26}})(?:-([1-9][0-9]{{0,2}}))?")
ID_PATTERN = rf"^(?:{'|'.join(PREFIXES)})[0-9A-HJKMNP-TV-Z]{{26}}$"  # for the OpenAPI document


class PublicId(NamedTuple):
    """What an id that a client sent says."""

    prefix: str
    generation_id: str  # as it is stored: `gen_…`
    output: int = 0  # the index of the output


def public_id(prefix: str, generation_id: str, index: int = 0) -> str:
    """Return the id of a generation, or of one of its outputs, in the dialect with this prefix."""
    output = f"-{index}" if index else ""
    return f"{prefix}{generation_id.removeprefix(OWN)}{output}"


def parse_id(text: str) -> PublicId | None:
    """Return what an id says; None for text that cannot be the id of a generation."""
    match = _ID.fullmatch(text)
    if match is None or (match[3] is not None and match[1] not in {KEEVX_VIDEO, KEEVX_IMAGE}):
        return None
    return PublicId(match[1], f"{OWN}{match[2]}", int(match[3] or 0))


def stored_id(text: str) -> str:
    """Return the id of a generation as it is stored; other text stays as it is, because nothing has that id."""
    public = parse_id(text)
    return text if public is None else public.generation_id


def sent_id(request: Request[Any, Any, Any]) -> str:
    """Return the id of the generation in the path as the client has sent it. Errors of the request name it so too."""
    sent = path_id(request, "generation_id")
    if (stored := stored_id(sent)) != sent:
        show_as_sent(request, stored, sent)
    return sent


def generation_id(request: Request[Any, Any, Any]) -> str:
    """Return the stored id of the generation that the path names, in whatever dialect the path says it."""
    return stored_id(sent_id(request))


def changed_id(request: Request[Any, Any, Any]) -> str:
    """Return the stored id for a call that changes the whole generation.

    Raises `InvalidParameter` for an id of one further output: its client does not speak of the others.
    """
    return whole_id(sent_id(request))


def whole_id(text: str) -> str:
    """Return what `stored_id` does; raise `InvalidParameter` for an id that names a further output."""
    public = parse_id(text)
    if public is not None and public.output:
        first = text.rpartition("-")[0]
        raise InvalidParameter(
            f"`{text}` names one output, and this call is for the whole generation with all of its outputs: send"
            f" `{first}`.",
            param="id",
        )
    return stored_id(text)
