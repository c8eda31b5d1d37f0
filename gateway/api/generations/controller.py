"""The paths of generations: each handler reads the request, calls one service, and encodes what it returns.

`generation_controller` makes the handlers of one kind: those of images and of videos differ in the create alone.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from litestar import Controller, Request, delete, post, route
from litestar.datastructures import State
from litestar.response.base import ASGIResponse
from msgspec import Struct

from gateway.api.generations.created_view import CreatedView, created_view
from gateway.api.generations.creating import Read, create, created_headers, own_fields, wanted
from gateway.api.generations.foxapi_fields import with_options
from gateway.api.generations.parameters import CreateVideo
from gateway.api.generations.public_ids import changed_id, generation_id
from gateway.api.generations.quote import QuoteView, quote_view
from gateway.api.generations.views import Deleted, GenerationList, GenerationView, generation_view
from gateway.api.web.answers import GET, json_answer
from gateway.api.web.context import Context, context_of
from gateway.api.web.headers import COST_HEADER, cost_header, header, poll_headers
from gateway.api.web.operation import Operation, form_of, page_of
from gateway.api.web.query import Params
from gateway.api.web.small_body import BODY_ERRORS, INPUT_ERRORS
from gateway.domain.adapter.request import Kind
from gateway.domain.adapter.task import Status
from gateway.domain.errors import InvalidParameter, NotShown
from gateway.domain.generation.model import Generation
from gateway.generations.kind import ROOT
from gateway.generations.repeats import Because
from gateway.generations.service import Created
from gateway.store.port import FILTERS_MAX, Query, is_cursor

Call = Request[Any, Any, State]
CreateHandler = Callable[[Call], Awaitable[ASGIResponse]]
WAIT_MAX = 60  # seconds
_VERSION = re.compile(r'"([0-9]{1,18})"')  # of a generation, as an ETag
_UNIX: Mapping[str, Any] = {"type": "integer", "minimum": 0, "description": "Unix seconds"}
_POLL_HEADERS: Mapping[str, str] = {
    "Retry-After": "only of an open generation: after how many seconds to read it again, judged by its route",
    "openai-poll-after-ms": "the same in milliseconds, at most 5,000, because OpenAI's `poll()` keeps the first value",
}
LIST_QUERY: Mapping[str, Mapping[str, Any]] = {
    **page_of("gen_"),
    "status": {"type": "string", "enum": [status.value for status in Status]},
    "model": {"type": "string"},
    "provider": {"type": "string"},
    "created_after": _UNIX,
    "created_before": _UNIX,
    "metadata": {
        "type": "object",
        "additionalProperties": {"type": "string"},
        "maxProperties": FILTERS_MAX,
        "description": "`metadata[key]=value`, once for each pair; with `status`, `model` and `provider` at most"
        f" {FILTERS_MAX} filters",
    },
}
CREATE_HEADERS: Mapping[str, str] = {
    "Idempotency-Key": "for 24 hours the same key and body return the same generation",
    "X-Stainless-Retry-Count": "1 or more, without an Idempotency-Key: an equal request of the last 30 minutes"
    " returns its generation again; client libraries send this header by themselves",
}
CREATED_HEADERS: Mapping[str, str] = {
    "Location": "the path of the generation",
    "Idempotent-Replayed": "`true` when an earlier equal request made this generation",
    "Idempotent-Replayed-Because": "then only, by what the request was recognised as a repeat: "
    + ", ".join(f"`{because}`" for because in Because),
    **_POLL_HEADERS,
}
_CREATE = Operation(
    id="createVideoGeneration",
    summary="Create a generation; it is durable when this answers, and is started soon after",
    body=CreateVideo,
    form=form_of(CreateVideo),
    answer=CreatedView,
    headers=CREATE_HEADERS,
    answer_headers=CREATED_HEADERS,
    errors=(*INPUT_ERRORS, 404, 409, 422),
)


async def _create_video(request: Call) -> ASGIResponse:
    context, key = await context_of(request)
    created = await create(request, context, key, await wanted(request, context, key, with_options))
    generation = created.generation
    headers = created_headers(created, context, f"{ROOT['video']}/{generation.id}")
    links = context.links(request if created.replayed else None)
    usual_seconds = context.poll_advisor.usual_seconds(generation)
    return json_answer(created_view(generation, links, usual_seconds, context.health.of), headers)


def created_answer(
    created: Created, context: Context, request: Call, headers: Mapping[str, str] | None = None
) -> ASGIResponse:
    """The generation that a create has made, or that it repeats, with the headers of every create and these."""
    generation = created.generation
    location = f"{ROOT[generation.kind]}/{generation.id}"
    all_headers = {**created_headers(created, context, location), **(headers or {})}
    return _answer(generation, context, all_headers, request if created.replayed else None)


def generation_controller(
    kind: Kind, body: type[Struct], create_operation: Operation, create_handler: CreateHandler
) -> type[Controller]:
    """The handlers of one kind of generation, whose create requests have this body."""
    name = kind.title()
    read_operation = Operation(
        id=f"read{name}Generation",
        summary="Read a generation",
        query={
            "wait": {
                "type": "integer",
                "minimum": 0,
                "maximum": WAIT_MAX,
                "description": "the longest delay in seconds: the answer waits until the status changes, or with"
                " If-None-Match until anything changes",
            }
        },
        headers={"If-None-Match": "an ETag; 304 while nothing has changed"},
        answer=GenerationView,
        answer_headers={"ETag": "changes when the generation does", **_POLL_HEADERS, **COST_HEADER},
        errors=(304, 400, 404, 503),
    )

    class GenerationController(Controller):
        path = ROOT[kind]

        @post(status_code=200, operation=create_operation)  # not 201 or 202: what clients of this API family check for
        async def create(self, request: Call) -> ASGIResponse:
            """Create a generation."""
            return await create_handler(request)

        @post(
            "/quote",
            status_code=200,
            operation=Operation(
                id=f"quote{name}Generation",
                summary="Show what a create would do: routes, reasons, prices; nothing is stored or started",
                body=body,
                form=form_of(body),
                answer=QuoteView,
                errors=(*BODY_ERRORS, 404),
            ),
        )
        async def quote(self, request: Call) -> ASGIResponse:
            """Say what a create with the same body would do; nothing is stored or started."""
            context, key = await context_of(request, "read")
            read: Read = with_options if kind == "video" else own_fields  # as the create of this kind reads its body
            normalised = await wanted(request, context, key, read, kind)
            with normalised.named():
                quote = await context.generations.quote(
                    normalised.request, key=key, catalog=context.catalog, files=normalised.files
                )
            return json_answer(quote_view(quote, context.health, context.clients.limits_of(key).sees))

        @route(
            http_method=GET,
            operation=Operation(
                id=f"list{name}Generations",
                summary="List your own generations, the newest first",
                query=LIST_QUERY,
                answer=GenerationList,
                errors=(400, 503),
            ),
        )
        async def page(self, request: Call) -> ASGIResponse:
            """List the generations of the caller's key."""
            return await _page(request, kind)

        @route("/{generation_id:str}", http_method=GET, operation=read_operation)
        async def read(self, request: Call) -> ASGIResponse:
            """Read one generation."""
            return await _read(request, kind)

        @post(
            "/{generation_id:str}/cancel",
            status_code=200,
            operation=Operation(
                id=f"cancel{name}Generation",
                summary="Cancel a generation; `cancellation` says whether a provider had started",
                answer=GenerationView,
                errors=(400, 404, 409, 503),
            ),
        )
        async def cancel(self, request: Call) -> ASGIResponse:
            """Cancel a generation; the answer says whether a provider had started."""
            context, key = await context_of(request)
            Params.of(request).done()
            cancelled = await context.generations.cancel(changed_id(request), key, kind=kind)
            return _answer(cancelled, context, {}, request)

        @delete(
            "/{generation_id:str}",
            status_code=200,
            operation=Operation(
                id=f"delete{name}Generation",
                summary="Delete a generation that has ended",
                answer=Deleted,
                errors=(400, 404, 409, 503),
            ),
        )
        async def remove(self, request: Call) -> ASGIResponse:
            """Delete a generation that has ended."""
            context, key = await context_of(request)
            Params.of(request).done()
            deleted = changed_id(request)
            await context.generations.delete(deleted, key, kind=kind)
            return json_answer(Deleted(id=deleted, object=f"{kind}.generation"))

    GenerationController.__name__ = GenerationController.__qualname__ = f"{name}GenerationController"
    GenerationController.__doc__ = f"Handlers of `{ROOT[kind]}`."
    return GenerationController


VideoGenerationController = generation_controller("video", CreateVideo, _CREATE, _create_video)


async def _page(request: Call, kind: Kind) -> ASGIResponse:
    context, key = await context_of(request)
    params = Params.of(request)
    if params.text("provider") is not None and not context.clients.sees(key, "provider"):
        raise NotShown("Your client may not see providers, so that no list can be by `provider`.", param="provider")
    query = list_query(params, key, kind)
    params.done()
    check_filters(query)
    page = await context.generations.page(query)
    links = context.links(request)
    views = (generation_view(generation, links, context.health.of) for generation in page.data)
    return json_answer(GenerationList.of(views, has_more=page.has_more))


def list_query(params: Params, key: str | None, kind: Kind | None) -> Query:
    """The page and the filters that every list of generations has. A `key` or `kind` of None means all of them."""
    paging = params.paging(is_cursor, "a generation")
    return Query(
        key=key,
        kind=kind,
        limit=paging.limit,
        order=paging.order,
        after=paging.after,
        before=paging.before,
        status=params.status(),
        model=params.text("model"),
        provider=params.text("provider"),
        created_after=params.moment("created_after"),
        created_before=params.moment("created_before"),
        metadata=params.metadata(),
    )


def check_filters(query: Query) -> None:
    """Raise `InvalidParameter` if a query has more filters than one search goes through."""
    named = [name for name in ("status", "model", "provider") if getattr(query, name) is not None]
    count = len(named) + len(query.metadata) + bool(query.failures) + query.fell_back + query.maybe_billed
    if count > FILTERS_MAX:
        raise InvalidParameter(
            f"A list takes at most {FILTERS_MAX} filters; this request has {count}: `status`, `model`, `provider` and"
            " each `metadata[…]` are filters. Leave some out.",
            param="metadata",
        )


async def _read(request: Call, kind: Kind) -> ASGIResponse:
    """One generation.

    `wait` delays the answer until the status changes. A client that sends the version that it has (`If-None-Match`)
    waits for any change.
    """
    context, key = await context_of(request)
    params = Params.of(request)
    wait = params.whole("wait", 0, WAIT_MAX) or 0
    params.done()
    tags = header(request, "if-none-match") or ""
    versions = {int(version) for version in _VERSION.findall(tags)}
    generation = await context.generations.read(generation_id(request), key, wait, versions, kind=kind)
    headers = {"etag": f'"{generation.version}"', **cost_header(generation, context.clients.sees)}
    if not wait:  # a client that waits may ask again at once
        headers |= poll_headers(generation, context.poll_advisor)
    if generation.version in versions or tags.strip() == "*":
        return ASGIResponse(status_code=304, headers=headers)
    return _answer(generation, context, headers, request)


def _answer(
    generation: Generation, context: Context, headers: dict[str, str], request: Call | None = None
) -> ASGIResponse:
    return json_answer(generation_view(generation, context.links(request), context.health.of), headers)
