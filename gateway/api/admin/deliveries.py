"""`/v1/admin/webhook_deliveries`: what was sent to the webhook receivers of all clients, and sending it again."""

from typing import Any

from litestar import Controller, Request, post, route
from litestar.datastructures import State
from litestar.response.base import ASGIResponse

from gateway.api.admin.shown import without_secrets
from gateway.api.web.answers import GET, json_answer
from gateway.api.web.context import admin_context_of
from gateway.api.web.lists import Listed
from gateway.api.web.operation import Operation
from gateway.api.web.owners import client_shown, owner_of
from gateway.api.web.query import Params, path_id
from gateway.api.web.small_body import BODY_ERRORS, Nothing, read_object
from gateway.api.webhooks.deliveries import LIST_QUERY, delivery_query
from gateway.api.webhooks.views import WebhookDeliveryView, delivery_view
from gateway.domain.webhooks import Delivery

Call = Request[Any, Any, State]


class AdminDelivery(WebhookDeliveryView, frozen=True, kw_only=True):
    """A delivery as an operator sees it. Its `url` is shown without its query, which may be a secret."""

    client: str  # who owns it: the name of the client, or the id of a key


class AdminDeliveryList(Listed[AdminDelivery], frozen=True, kw_only=True):
    """A page of the deliveries of all clients."""


class AdminDeliveryController(Controller):
    """Handlers of `/v1/admin/webhook_deliveries`."""

    path = "/v1/admin/webhook_deliveries"

    @route(
        http_method=GET,
        operation=Operation(
            id="listAllWebhookDeliveries",
            summary="List the webhook deliveries of all clients, the newest first; needs an admin key",
            query={
                **LIST_QUERY,
                "client": {
                    "type": "string",
                    "description": "the name of a client, or the id of a key as `client` shows it",
                },
            },
            answer=AdminDeliveryList,
            errors=(400, 503),
        ),
    )
    async def page(self, request: Call) -> ASGIResponse:
        """List the deliveries of all clients."""
        context = admin_context_of(request)
        params = Params.of(request)
        client = params.text("client")
        query = delivery_query(params, None if client is None else owner_of(client))
        page = await context.webhooks.deliveries(query)
        return json_answer(AdminDeliveryList.of(map(admin_delivery, page.data), has_more=page.has_more))

    @route(
        "/{delivery_id:str}",
        http_method=GET,
        operation=Operation(
            id="readAnyWebhookDelivery",
            summary="Read a delivery of any client with its tries; needs an admin key",
            answer=AdminDelivery,
            errors=(400, 404, 503),
        ),
    )
    async def read(self, request: Call) -> ASGIResponse:
        """Read one delivery with its tries."""
        context = admin_context_of(request)
        Params.of(request).done()
        return json_answer(admin_delivery(await context.webhooks.delivery(path_id(request, "delivery_id"), None)))

    @post(
        "/{delivery_id:str}/redeliver",
        status_code=200,
        operation=Operation(
            id="redeliverAnyWebhook",
            summary="Send a delivery of any client now, in any state, with the same `webhook-id`; needs an admin key",
            body=Nothing,
            body_required=False,
            answer=AdminDelivery,
            errors=(*BODY_ERRORS, 404, 409),
        ),
    )
    async def redeliver(self, request: Call) -> ASGIResponse:
        """Send one delivery now, also if it has succeeded or was given up."""
        context = admin_context_of(request)
        await read_object(request, context, Nothing, required=False)
        return json_answer(admin_delivery(await context.webhooks.redeliver(path_id(request, "delivery_id"), None)))


def admin_delivery(delivery: Delivery) -> AdminDelivery:
    """A delivery as an operator sees it."""
    view = delivery_view(delivery)
    fields: dict[str, Any] = {name: getattr(view, name) for name in WebhookDeliveryView.__struct_fields__}
    return AdminDelivery(**fields | {"url": without_secrets(view.url), "client": client_shown(delivery.key)})
