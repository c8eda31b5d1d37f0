"""What the OpenAPI document tells of webhooks: the operations, and what a receiver gets."""

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

from gateway.api.generations.views import Deleted, GenerationView
from gateway.api.openapi.operation import PAGE, REF, Operation
from gateway.api.web.small_body import Nothing
from gateway.api.webhooks import (
    ChangeWebhookEndpoint,
    CreateWebhookEndpoint,
    RotateWebhookSecret,
    WebhookDeliveryList,
    WebhookDeliveryView,
    WebhookEndpointList,
    WebhookEndpointView,
    WebhookSecret,
)
from gateway.domain.webhooks import DeliveryState, EventName


class WebhookEvent(Struct, frozen=True, kw_only=True):
    """The body of a webhook. `data` is the generation as it is at this try."""

    type: EventName
    timestamp: str  # when it happened, ISO 8601
    data: GenerationView


class TestedEndpoint(Struct, frozen=True, kw_only=True):
    """The endpoint that is being tested."""

    id: str
    object: Literal["webhook_endpoint"]


class WebhookTest(Struct, frozen=True, kw_only=True):
    """The body of a test."""

    type: Literal["webhook.test"]
    timestamp: str  # when it was asked for, ISO 8601
    data: TestedEndpoint


_ENDPOINTS = "/v1/webhook_endpoints"
_ONE = _ENDPOINTS + "/{endpoint_id}"
_DELIVERIES = "/v1/webhook_deliveries"
_WITH_BODY = (400, 408, 413, 415, 503)
OPERATIONS = (
    Operation(
        method="post",
        path=_ENDPOINTS,
        id="createWebhookEndpoint",
        summary="Add a URL that is told of the ends of this key's generations; the answer has its secret, once",
        body=CreateWebhookEndpoint,
        answer=WebhookEndpointView,
        errors=(*_WITH_BODY, 409),
    ),
    Operation(
        method="get",
        path=_ENDPOINTS,
        id="listWebhookEndpoints",
        summary="List your webhook endpoints, oldest first",
        answer=WebhookEndpointList,
        errors=(400, 503),
    ),
    Operation(
        method="get",
        path=_ONE,
        id="readWebhookEndpoint",
        summary="Read a webhook endpoint",
        answer=WebhookEndpointView,
        errors=(400, 404, 503),
    ),
    Operation(
        method="patch",
        path=_ONE,
        id="changeWebhookEndpoint",
        summary="Change a webhook endpoint; what waits to be sent follows it to its URL",
        body=ChangeWebhookEndpoint,
        answer=WebhookEndpointView,
        errors=(*_WITH_BODY, 404),
    ),
    Operation(
        method="delete",
        path=_ONE,
        id="deleteWebhookEndpoint",
        summary="Delete a webhook endpoint with its deliveries",
        answer=Deleted,
        errors=(400, 404, 503),
    ),
    Operation(
        method="post",
        path=_ONE + "/rotate_secret",
        id="rotateWebhookSecret",
        summary="Make a new secret, which the answer has once; the one before signs beside it for a while",
        body=RotateWebhookSecret,
        body_required=False,
        answer=WebhookEndpointView,
        errors=(*_WITH_BODY, 404),
    ),
    Operation(
        method="post",
        path=_ONE + "/test",
        id="testWebhookEndpoint",
        summary="Send a `webhook.test` to an endpoint, once; not while the test before is under way",
        body=Nothing,
        body_required=False,
        answer=WebhookDeliveryView,
        errors=(*_WITH_BODY, 404, 409),
    ),
    Operation(
        method="get",
        path=_DELIVERIES,
        id="listWebhookDeliveries",
        summary="List what was sent, or is to be, newest first; it goes with its generation, a test after 7 days",
        query={
            **PAGE,
            "endpoint": {"type": "string", "description": "the id of an endpoint"},
            "generation": {"type": "string", "description": "the id of a generation"},
            "state": {"type": "string", "enum": [state.value for state in DeliveryState]},
        },
        answer=WebhookDeliveryList,
        errors=(400, 503),
    ),
    Operation(
        method="get",
        path=_DELIVERIES + "/{delivery_id}",
        id="readWebhookDelivery",
        summary="Read a delivery with its tries",
        answer=WebhookDeliveryView,
        errors=(400, 404, 503),
    ),
    Operation(
        method="post",
        path=_DELIVERIES + "/{delivery_id}/redeliver",
        id="redeliverWebhook",
        summary="Send a delivery now, whatever became of it, under the same `webhook-id`",
        body=Nothing,
        body_required=False,
        answer=WebhookDeliveryView,
        errors=(*_WITH_BODY, 404, 409),
    ),
    Operation(
        method="get",
        path="/v1/webhook_secret",
        id="readWebhookSecret",
        summary="Read what signs the deliveries to a generation's own `webhook_url`",
        answer=WebhookSecret,
        errors=(400, 503),
    ),
)
_TOLD = (
    "Sent when a generation has ended, to its own `webhook_url` and to every enabled endpoint of its API key that wants"
    " the event. Signed by Standard Webhooks: verify it with a library of theirs.\n\n"
    "At least once: the same event may come again, with the same `webhook-id`, so remember the ids that you have seen."
    " A generation has one event, its end; the events of several generations come in any order.\n\n"
    "An answer of 2xx in time, within 15 seconds unless configured otherwise, is success. Everything else, a redirect"
    " included, is tried again after 5 seconds, 5 minutes, 30 minutes, 2, 5, 10 and 10 hours, and then given up;"
    " `Retry-After` on 429 and 503 is heeded up to 10 hours. An endpoint that answers 410 is disabled."
)
_TESTED = (
    "Sent when it is asked for, whatever events the endpoint wants: once, signed like every other event. An answer of"
    " 2xx in time is success, and nothing else is tried again."
)
_HEADERS = {
    "webhook-id": "the id of the event, the same over all tries and receivers",
    "webhook-timestamp": "when this try was made, Unix seconds",
    "webhook-signature": "`v1,` and base64; two with a space between while a secret is being rotated",
}


def _sent(name: str, summary: str, description: str, body: type) -> dict[str, Any]:
    parameters = [
        {"name": header, "in": "header", "required": True, "description": text, "schema": {"type": "string"}}
        for header, text in _HEADERS.items()
    ]
    content = {"application/json": {"schema": {"$ref": REF.format(name=body.__name__)}}}
    return {
        "post": {
            "operationId": name,
            "summary": summary,
            "description": description,
            "parameters": parameters,
            "requestBody": {"required": True, "content": content},
            "responses": {"200": {"description": "Received"}},
            "security": [],
        }
    }


BODIES = (WebhookEvent, WebhookTest)
WEBHOOKS: Mapping[str, Any] = {
    "generationEnded": _sent("generationEnded", "A generation has ended", _TOLD, WebhookEvent),
    "webhookTest": _sent("webhookTest", "A test of an endpoint", _TESTED, WebhookTest),
}
