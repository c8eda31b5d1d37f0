"""`/v1/videos/generations`: decode, call one service, encode."""

import asyncio
import re
from functools import partial
from typing import Any

from litestar import Controller, Request, delete, post, route
from litestar.datastructures import State
from litestar.response.base import ASGIResponse

from gateway.api.generations.create_request import Normalised, normalise
from gateway.api.generations.form import read_create
from gateway.api.generations.quote import quote_view
from gateway.api.generations.views import Deleted, GenerationList, generation_view
from gateway.api.web.answers import GET, json_answer
from gateway.api.web.context import Context, context_of
from gateway.api.web.headers import header, is_retry, only_header, poll_headers
from gateway.api.web.query import Params
from gateway.domain.errors import InvalidParameter
from gateway.domain.generation.model import Generation
from gateway.inputs.prepare import file_name
from gateway.media.image_header import LARGE
from gateway.store.port import Query, is_cursor

Call = Request[Any, Any, State]
IDEMPOTENCY_KEY_MAX = 255
WAIT_MAX = 60
_VERSION = re.compile(r'"([0-9]{1,18})"')


class VideoGenerationController(Controller):
    """Create, read, list, cancel and delete."""

    path = "/v1/videos/generations"

    @post(status_code=200)  # 200, not 201 or 202: what clients of this API family check for
    async def create(self, request: Call) -> ASGIResponse:
        """Accept a generation: durable when this answers, started soon after."""
        context, key = context_of(request)
        wanted = await _wanted(request, context, key)
        with wanted.named():
            created = await context.generations.create(
                wanted.request,
                key=key,
                files=wanted.files,
                idempotency_key=_idempotency_key(request),
                retry=is_retry(request),
            )
        headers = {"location": f"{self.path}/{created.generation.id}"} | poll_headers(created.generation, context.hints)
        if created.replayed:
            headers["idempotent-replayed"] = "true"
        return _answer(created.generation, context, headers, request if created.replayed else None)

    @post("/quote", status_code=200)
    async def quote(self, request: Call) -> ASGIResponse:
        """Tell what would be done with the same body; nothing is stored or started."""
        context, key = context_of(request)
        wanted = await _wanted(request, context, key)
        with wanted.named():
            quote = await context.generations.quote(wanted.request, key=key, files=wanted.files)
        return json_answer(quote_view(quote, context.health))

    @route(http_method=GET)
    async def page(self, request: Call) -> ASGIResponse:
        """List the key's own generations."""
        context, key = context_of(request)
        params = Params.of(request)
        query = Query(
            key=key,
            kind="video",
            limit=params.whole("limit", 1, 100) or 20,
            order=params.order(),
            after=params.cursor("after", is_cursor, "a generation"),
            before=params.cursor("before", is_cursor, "a generation"),
            status=params.status(),
            model=params.text("model"),
            provider=params.text("provider"),
            created_after=params.moment("created_after"),
            created_before=params.moment("created_before"),
            metadata=params.metadata(),
        )
        params.done()
        params.not_both("after", "before")
        page = await context.generations.page(query)
        links = context.links(request)
        found = (generation_view(generation, links, context.health.of) for generation in page.data)
        return json_answer(GenerationList.of(found, has_more=page.has_more))

    @route("/{generation_id:str}", http_method=GET)
    async def read(self, request: Call) -> ASGIResponse:
        """Read one; `wait` holds the answer until its status changes, or anything of it for who knows a version."""
        context, key = context_of(request)
        params = Params.of(request)
        wait = params.whole("wait", 0, WAIT_MAX) or 0
        params.done()
        tags = header(request, "if-none-match") or ""
        known = {int(version) for version in _VERSION.findall(tags)}
        generation = await context.generations.read(_id(request), key, wait, known)
        headers = {"etag": f'"{generation.version}"'}
        if not wait:  # who waits may ask again at once
            headers |= poll_headers(generation, context.hints)
        if generation.version in known or tags.strip() == "*":
            return ASGIResponse(status_code=304, headers=headers)
        return _answer(generation, context, headers, request)

    @post("/{generation_id:str}/cancel", status_code=200)
    async def cancel(self, request: Call) -> ASGIResponse:
        """Cancel; the answer says whether a provider had started."""
        context, key = context_of(request)
        Params.of(request).done()
        return _answer(await context.generations.cancel(_id(request), key), context, {}, request)

    @delete("/{generation_id:str}", status_code=200)
    async def remove(self, request: Call) -> ASGIResponse:
        """Delete an ended generation."""
        context, key = context_of(request)
        Params.of(request).done()
        await context.generations.delete(_id(request), key)
        return json_answer(Deleted(id=_id(request), object="video.generation"))


async def _wanted(request: Call, context: Context, key: str) -> Normalised:
    """What the body of a create or a quote asks for."""
    Params.of(request).done()
    body = await read_create(request, context.max_body_bytes)
    read = partial(normalise, body, lambda content: file_name(key, content), context.fetch_allow)
    return read() if _weight(body) <= LARGE else await asyncio.to_thread(read)


def _weight(value: object) -> int:
    """The characters and bytes of a body: where they are many, images are decoded and looked at in a thread."""
    match value:
        case str() | bytes():
            return len(value)
        case list():
            return sum(map(_weight, value))
        case dict():
            return sum(map(_weight, value.values()))
        case _:
            return 0


def _answer(
    generation: Generation, context: Context, headers: dict[str, str], request: Call | None = None
) -> ASGIResponse:
    return json_answer(generation_view(generation, context.links(request), context.health.of), headers)


def _id(request: Call) -> str:
    found: str = request.path_params["generation_id"]
    return found


def _idempotency_key(request: Call) -> str | None:
    """The key without the blanks and tabs around it; a client's retry may have lost or gained some."""
    value = only_header(request, "idempotency-key")
    if value is None:
        return None
    value = value.strip(" \t")
    if any(character < " " or character == "\x7f" for character in value):
        raise InvalidParameter(
            "`Idempotency-Key` has a control character in it; send printable characters.", param="Idempotency-Key"
        )
    if not 0 < len(value) <= IDEMPOTENCY_KEY_MAX:
        raise InvalidParameter(
            f"`Idempotency-Key` must be 1 to {IDEMPOTENCY_KEY_MAX} characters, not {len(value)}.",
            param="Idempotency-Key",
        )
    return value
