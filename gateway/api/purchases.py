"""`/v1/admin/purchases`: attempts of deleted generations that may have been billed, for comparing with bills."""

from typing import Any, Literal

from litestar import Controller, Request, route
from litestar.datastructures import State
from litestar.response.base import ASGIResponse
from msgspec import Struct

from gateway.api.web.answers import GET, json_answer
from gateway.api.web.context import admin_context_of
from gateway.api.web.moments import unix
from gateway.api.web.operation import ATTEMPT_CURSOR, PAGE, Operation, page_of
from gateway.api.web.owners import client_shown
from gateway.api.web.query import Params
from gateway.domain.adapter.request import Kind
from gateway.domain.generation.purchases import Purchase
from gateway.store.pages import cut
from gateway.store.port import attempt_cursor, is_cursor


class AdminPurchase(Struct, frozen=True, kw_only=True):
    """An attempt of a deleted generation that may have been billed. It contains nothing that the client sent."""

    id: str  # of the attempt
    generation: str  # the id of the deleted generation
    client: str  # who owns it: the name of the client, or the id of a key
    kind: Kind  # what it made
    model: str  # the model as the request named it
    provider: str  # the name of the provider
    provider_model: str  # the provider's own name of the model
    tasks: tuple[str, ...]  # the provider's ids of the tasks
    billed: str  # whether the provider charged for it
    cost_usd: float | None  # null: the route had no price
    created_at: int  # of the generation
    sent_at: int | None  # Unix seconds; null: it was not sent
    ended_at: int | None  # Unix seconds; null: it had not ended
    deleted_at: int  # Unix seconds
    object: Literal["purchase"] = "purchase"  # the kind of this object


class AdminPurchaseList(Struct, frozen=True, kw_only=True):
    """Purchases; those of the oldest generation come first."""

    data: tuple[AdminPurchase, ...]  # the purchases of this page
    has_more: bool  # whether there are purchases after this page
    object: Literal["list"] = "list"  # the kind of this object


class PurchaseController(Controller):
    """Handlers of `/v1/admin/purchases`."""

    path = "/v1/admin/purchases"

    @route(
        http_method=GET,
        operation=Operation(
            id="listPurchases",
            summary="List the attempts of deleted generations that may have been billed, for all keys; needs an"
            " admin key",
            query={
                "generation": {**page_of("gen_")["after"], "description": "the id of one deleted generation"},
                "limit": PAGE["limit"],
                "after": ATTEMPT_CURSOR,
            },
            answer=AdminPurchaseList,
            errors=(400, 503),
        ),
    )
    async def page(self, request: Request[Any, Any, State]) -> ASGIResponse:
        """List the purchases of all keys, or those of one deleted generation."""
        context = admin_context_of(request)
        params = Params.of(request)
        limit = params.limit()
        generation = params.cursor("generation", is_cursor, "a generation")
        after = params.cursor("after", lambda text: attempt_cursor(text) is not None, "an attempt")
        params.done()
        cursor = None if after is None else attempt_cursor(after)
        position = None if cursor is None else (cursor.generation_id, cursor.attempt_id)
        page, has_more = cut(await context.purchases.page(limit + 1, position, generation), limit)
        return json_answer(AdminPurchaseList(data=tuple(map(purchase_view, page)), has_more=has_more))


def purchase_view(purchase: Purchase) -> AdminPurchase:
    """A purchase as an operator sees it."""
    return AdminPurchase(
        id=purchase.attempt_id,
        generation=purchase.generation_id,
        client=client_shown(purchase.key),
        kind=purchase.kind,
        model=purchase.model,
        provider=purchase.provider,
        provider_model=purchase.provider_model,
        tasks=purchase.tasks,
        billed=purchase.billed.value,
        cost_usd=purchase.cost_usd,
        created_at=unix(purchase.created_at),
        sent_at=unix(purchase.sent_at),
        ended_at=unix(purchase.ended_at),
        deleted_at=unix(purchase.deleted_at),
    )
