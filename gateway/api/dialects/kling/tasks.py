"""Creates and finds tasks, for the handlers of Kling's paths and of new-api's."""

import asyncio
from collections.abc import Mapping
from hashlib import sha256

from litestar.response.base import ASGIResponse

from gateway.api.dialects.dialect import Call, links_of
from gateway.api.dialects.kling.requests import EXTERNAL_TASK_ID, Reader
from gateway.api.dialects.kling.views import NO_KEY, answer_of
from gateway.api.generations.create_request import Normalised
from gateway.api.generations.creating import create, created_headers, normalised
from gateway.api.generations.public_ids import KLING, parse_id, public_id
from gateway.api.web.answers import json_answer
from gateway.api.web.context import Context, context_of
from gateway.api.web.headers import header, only_header
from gateway.api.web.json_body import parse_json, read_body
from gateway.api.web.query import NAME_SHOWN, Params
from gateway.domain.adapter.request import InputKind
from gateway.domain.errors import IdempotencyKeyReused, InvalidParameter, NotFound, Unauthenticated
from gateway.domain.generation.model import Generation
from gateway.generations.repeats import Because
from gateway.generations.service import Created
from gateway.store.port import Query

PIECE = 50  # generations that are read at once: more would hold up every other request


async def caller(request: Call) -> tuple[Context, str]:
    """The services and the id of the caller's key. Kling has a code of its own for a request without a key."""
    try:
        return await context_of(request)
    except Unauthenticated as error:
        if not (header(request, "authorization") or "").strip():
            error.param = NO_KEY
        raise


def request_id_of(request: Call) -> str:
    """The id of the request, as the header `x-request-id` has it too."""
    request_id: str = request.scope["state"]["request_id"]
    return request_id


def answer_read(request: Call, generation: Generation, headers: Mapping[str, str]) -> ASGIResponse:
    """The answer to a read at any path that Kling shares."""
    return json_answer(answer_of(generation, links_of(request), request_id_of(request)), dict(headers))


async def create_task(request: Call, reader: Reader, location: str) -> tuple[Context, Generation, dict[str, str]]:
    """Create what the body asks for; return the generation and the headers of the answer.

    Within one account Kling takes each `external_task_id` once. Here a second create with the same one gets the same
    task if it asks for the same, and is refused otherwise: a client that lost an answer cannot buy twice. The
    external id is an idempotency key of its own, also beside a different `Idempotency-Key`, so two at the same time are
    one as well. At one process they wait for each other.
    """
    context, key = await caller(request)
    Params.of(request).done()
    raw = await read_body(request, context.max_body_bytes)
    body = parse_json(raw, header(request, "content-type"), header(request, "content-encoding"))
    normal = (await normalised(body, context, key, reader)).calling_back("kling")
    external = normal.request.metadata.get(EXTERNAL_TASK_ID)
    if external is None:
        created = await create(request, context, key, normal)
    else:
        async with context.generations.turn(key, f"{EXTERNAL_TASK_ID}:{external}"):
            created = await _create_once(request, context, key, normal, external)
    path = location.format(id=public_id(KLING, created.generation.id))
    return context, created.generation, created_headers(created, context, path)


async def _create_once(request: Call, context: Context, key: str, normal: Normalised, external: str) -> Created:
    """Create the task with this id of the client's, or return the earlier one that asks for the same."""
    earlier = await by_external_id(context, key, external)
    if earlier is not None:
        if earlier.request != normal.request:
            raise _taken(external)
        return Created(earlier, Because.KEY)
    digest = sha256(external.encode()).hexdigest()
    try:
        return await create(request, context, key, normal, instead_of_key=f"{EXTERNAL_TASK_ID}:{digest}")
    except IdempotencyKeyReused:
        if only_header(request, "idempotency-key") is not None and await by_external_id(context, key, external) is None:
            raise
        raise _taken(external) from None


def _taken(external: str) -> InvalidParameter:
    shown = external[:NAME_SHOWN]
    return InvalidParameter(
        f"`{EXTERNAL_TASK_ID}` {shown!r} belongs to an earlier task that asked for something else. Choose another one;"
        " GET the path of this call with it to read the earlier task.",
        param=EXTERNAL_TASK_ID,
    )


async def by_external_id(context: Context, key: str, external: str) -> Generation | None:
    """The newest generation of videos to which the client gave this id."""
    query = Query(key=key, kind="video", limit=1, metadata={EXTERNAL_TASK_ID: external})
    page = await context.generations.page(query)
    return page.data[0] if page.data else None


async def find_task(context: Context, key: str, name: str) -> Generation:
    """The generation with this id in any dialect, or with this id of the client's; raises `NotFound`."""
    public = parse_id(name)
    if public is None:
        generation = await by_external_id(context, key, name) if name and "\x00" not in name else None
    else:
        generation = await context.generations.read(public.generation_id, key)
    if generation is None or generation.kind != "video":
        raise NotFound(f"The task {name[:100]!r} does not exist.", param="id")
    return generation


async def page_of(
    context: Context, key: str, inputs: tuple[InputKind, ...], offset: int, size: int
) -> list[Generation]:
    """`size` generations after the first `offset` ones, the newest first. They are read in pieces."""
    tasks: list[Generation] = []
    while len(tasks) < size:
        limit = min(PIECE, size - len(tasks))
        after = tasks[-1].id if tasks else None
        query = Query(key=key, kind="video", inputs=inputs, limit=limit, after=after, offset=0 if tasks else offset)
        page = await context.generations.page(query)
        tasks += page.data
        if not page.has_more:
            break
        await asyncio.sleep(0)
    return tasks
