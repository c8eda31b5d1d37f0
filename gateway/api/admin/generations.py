"""`/v1/admin/generations`: the generations of all clients, of both kinds."""

from collections.abc import Mapping
from typing import Any, get_args

from litestar import Controller, Request, post, route
from litestar.datastructures import State
from litestar.response.base import ASGIResponse
from msgspec.structs import replace

from gateway.api.admin.generation_views import (
    AdminEventList,
    AdminGeneration,
    AdminGenerationDetails,
    AdminGenerationList,
    admin_details,
    admin_view,
    event_view,
    submit_view,
)
from gateway.api.attempts.views import AdminAttemptList
from gateway.api.generations.controller import LIST_QUERY, check_filters, list_query
from gateway.api.generations.public_ids import changed_id, generation_id
from gateway.api.web.answers import GET, json_answer
from gateway.api.web.context import admin_context_of
from gateway.api.web.moments import LATEST_MOMENT
from gateway.api.web.operation import PAGE, Operation
from gateway.api.web.owners import owner_of
from gateway.api.web.query import Params
from gateway.api.web.small_body import BODY_ERRORS, Nothing, read_object
from gateway.domain.adapter.failure import PUBLIC_CODE, FailureKind
from gateway.domain.adapter.request import Kind
from gateway.domain.errors import InvalidParameter
from gateway.store.pages import cut
from gateway.store.port import Query
from gateway.store.webhooks import DeliveryQuery

Call = Request[Any, Any, State]
SHOWN_MAX = 100  # events and deliveries in the answer to a read
FAILURES = tuple(dict.fromkeys([*(kind.value for kind in FailureKind), *PUBLIC_CODE.values()]))
_LIST: Mapping[str, Mapping[str, Any]] = {
    **LIST_QUERY,
    "client": {"type": "string", "description": "the name of a client, or the id of a key as `client` shows it"},
    "kind": {"type": "string", "enum": list(get_args(Kind))},
    "failure_kind": {
        "type": "string",
        "enum": list(FAILURES),
        "description": "the kind of its failure, or the code that its client reads",
    },
    "fallback": {"type": "boolean", "enum": [True], "description": "only those for which several routes were tried"},
    "billed": {"type": "string", "enum": ["maybe"], "description": "only those with an attempt that may be billed"},
}


class AdminGenerationController(Controller):
    """Handlers of `/v1/admin/generations`."""

    path = "/v1/admin/generations"

    @route(
        http_method=GET,
        operation=Operation(
            id="listAllGenerations",
            summary="List the generations of all clients, the newest first; needs an admin key",
            query=_LIST,
            answer=AdminGenerationList,
            errors=(400, 503),
        ),
    )
    async def page(self, request: Call) -> ASGIResponse:
        """List the generations of all clients."""
        context = admin_context_of(request)
        query = _query(Params.of(request))
        page = await context.generations.page(query)
        links = context.operator_links(request)
        views = (admin_view(generation, links, context.health.of) for generation in page.data)
        return json_answer(AdminGenerationList.of(views, has_more=page.has_more))

    @route(
        "/{generation_id:str}",
        http_method=GET,
        operation=Operation(
            id="readAnyGeneration",
            summary="Read a generation of any client with everything that is stored of it; needs an admin key",
            answer=AdminGenerationDetails,
            errors=(400, 404, 503),
        ),
    )
    async def read(self, request: Call) -> ASGIResponse:
        """Read one generation of any client."""
        context = admin_context_of(request)
        Params.of(request).done()
        generation = await context.generations.any_one(generation_id(request))
        events = await context.generations.events(generation.id, limit=SHOWN_MAX)
        query = DeliveryQuery(key=None, limit=SHOWN_MAX, order="asc", generation_id=generation.id)
        deliveries = [delivery.id for delivery in (await context.webhooks.deliveries(query)).data]
        return json_answer(
            admin_details(generation, context.operator_links(request), context.health.of, events, deliveries)
        )

    @post(
        "/{generation_id:str}/cancel",
        status_code=200,
        operation=Operation(
            id="cancelAnyGeneration",
            summary="Cancel a generation of any client; needs an admin key",
            body=Nothing,
            body_required=False,
            answer=AdminGeneration,
            errors=(*BODY_ERRORS, 404, 409),
        ),
    )
    async def cancel(self, request: Call) -> ASGIResponse:
        """Cancel one generation of any client."""
        context = admin_context_of(request)
        await read_object(request, context, Nothing, required=False)
        cancelled = await context.generations.cancel(changed_id(request), None)
        return json_answer(admin_view(cancelled, context.operator_links(request), context.health.of))

    @route(
        "/{generation_id:str}/attempts",
        http_method=GET,
        operation=Operation(
            id="listAttemptsOfGeneration",
            summary="List the submits of a generation of any client, the oldest first; needs an admin key",
            answer=AdminAttemptList,
            errors=(400, 404, 503),
        ),
    )
    async def attempts(self, request: Call) -> ASGIResponse:
        """List the attempts of one generation, all of them: it has a limited number."""
        context = admin_context_of(request)
        Params.of(request).done()
        generation = await context.generations.any_one(generation_id(request))
        return json_answer(
            AdminAttemptList(data=tuple(map(submit_view(generation), generation.attempts)), has_more=False)
        )

    @route(
        "/{generation_id:str}/events",
        http_method=GET,
        operation=Operation(
            id="listEventsOfGeneration",
            summary="List what happened to a generation of any client, the oldest first; needs an admin key",
            query={
                "limit": PAGE["limit"],
                "after": {"type": "integer", "minimum": 0, "description": "the `id` of an event: gives those after it"},
            },
            answer=AdminEventList,
            errors=(400, 404, 503),
        ),
    )
    async def events(self, request: Call) -> ASGIResponse:
        """List the events of one generation."""
        context = admin_context_of(request)
        params = Params.of(request)
        limit = params.limit()
        after = params.whole("after", 0, LATEST_MOMENT, "the id of an event,") or 0
        params.done()
        generation = await context.generations.any_one(generation_id(request))
        page, has_more = cut(await context.generations.events(generation.id, after=after, limit=limit + 1), limit)
        return json_answer(AdminEventList(data=tuple(map(event_view, page)), has_more=has_more))


def _query(params: Params) -> Query:
    """The page that an operator asks for; raises `InvalidParameter` or `UnknownParameter`."""
    client = params.text("client")
    owner = None if client is None else owner_of(client)
    query = replace(
        list_query(params, owner, params.choice("kind", get_args(Kind))),
        failures=_failures(params.choice("failure_kind", FAILURES)),
        fell_back=_only(params, "fallback", "true", "those for which several routes were tried"),
        maybe_billed=_only(params, "billed", "maybe", "those with an attempt that may have been billed"),
    )
    params.done()
    if query.metadata and (query.key is None or query.kind is None):
        raise InvalidParameter(
            "`metadata[…]` is searched for one client and one kind: give `client` and `kind` too.", param="metadata"
        )
    check_filters(query)
    return query


def _failures(word: str | None) -> tuple[FailureKind, ...]:
    """The kinds of failure that a word names: itself, or those whose public code it is."""
    return tuple(kind for kind in FailureKind if word in {kind.value, PUBLIC_CODE[kind]})


def _only(params: Params, name: str, word: str, meaning: str) -> bool:
    value = params.text(name)
    if value not in {None, word}:
        raise InvalidParameter(f"`{name}` can only be `{word}`: {meaning}. Leave it out for all.", param=name)
    return value is not None
