"""`/v1/webhook_deliveries`: what was sent to webhook receivers, what is still to be sent, and sending it again."""

from collections.abc import Mapping
from typing import Any

from litestar import Controller, Request, post, route
from litestar.datastructures import State
from litestar.response.base import ASGIResponse

from gateway.api.web.answers import GET, json_answer
from gateway.api.web.context import context_of
from gateway.api.web.operation import Operation, page_of
from gateway.api.web.query import Params, path_id
from gateway.api.web.small_body import BODY_ERRORS, Nothing, read_object
from gateway.api.webhooks.views import WebhookDeliveryList, WebhookDeliveryView, delivery_view
from gateway.domain.webhooks import DeliveryState
from gateway.store.webhooks import DeliveryQuery, is_delivery

Call = Request[Any, Any, State]
LIST_QUERY: Mapping[str, Mapping[str, Any]] = {
    **page_of("dlv_"),
    "endpoint": {"type": "string", "description": "the id of an endpoint"},
    "generation": {"type": "string", "description": "the id of a generation"},
    "state": {"type": "string", "enum": [state.value for state in DeliveryState]},
}


def delivery_query(params: Params, key: str | None) -> DeliveryQuery:
    """The page that a request asks for; None as the key means all clients. Other parameters are refused."""
    state = params.choice("state", tuple(DeliveryState))
    paging = params.paging(is_delivery, "a webhook delivery")
    query = DeliveryQuery(
        key=key,
        limit=paging.limit,
        order=paging.order,
        after=paging.after,
        before=paging.before,
        endpoint_id=params.text("endpoint"),
        generation_id=params.text("generation"),
        state=state,
    )
    params.done()
    return query


class WebhookDeliveryController(Controller):
    """Handlers of `/v1/webhook_deliveries`."""

    path = "/v1/webhook_deliveries"

    @route(
        http_method=GET,
        operation=Operation(
            id="listWebhookDeliveries",
            summary="List deliveries, sent or waiting, the newest first; they are deleted with their generation, tests"
            " after 7 days",
            query=LIST_QUERY,
            answer=WebhookDeliveryList,
            errors=(400, 503),
        ),
    )
    async def page(self, request: Call) -> ASGIResponse:
        """List the deliveries of the caller's key."""
        context, key = await context_of(request)
        page = await context.webhooks.deliveries(delivery_query(Params.of(request), key))
        return json_answer(WebhookDeliveryList.of(map(delivery_view, page.data), has_more=page.has_more))

    @route(
        "/{delivery_id:str}",
        http_method=GET,
        operation=Operation(
            id="readWebhookDelivery",
            summary="Read a delivery with its tries",
            answer=WebhookDeliveryView,
            errors=(400, 404, 503),
        ),
    )
    async def read(self, request: Call) -> ASGIResponse:
        """Read one delivery with its tries."""
        context, key = await context_of(request)
        Params.of(request).done()
        return json_answer(delivery_view(await context.webhooks.delivery(path_id(request, "delivery_id"), key)))

    @post(
        "/{delivery_id:str}/redeliver",
        status_code=200,
        operation=Operation(
            id="redeliverWebhook",
            summary="Send a delivery now, also one that has succeeded or was given up, with the same `webhook-id`",
            body=Nothing,
            body_required=False,
            answer=WebhookDeliveryView,
            errors=(*BODY_ERRORS, 404, 409),
        ),
    )
    async def redeliver(self, request: Call) -> ASGIResponse:
        """Send one delivery now, also if it has succeeded or was given up."""
        context, key = await context_of(request)
        await read_object(request, context, Nothing, required=False)
        return json_answer(delivery_view(await context.webhooks.redeliver(path_id(request, "delivery_id"), key)))
