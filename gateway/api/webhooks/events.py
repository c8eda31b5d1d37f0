"""What a receiver of webhooks gets: the section `webhooks` of the OpenAPI document."""

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

from gateway.api.generations.views import GenerationView
from gateway.api.web.operation import REF
from gateway.domain.webhooks import EventName


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


_ENDED = (
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
    "generationEnded": _sent("generationEnded", "A generation has ended", _ENDED, WebhookEvent),
    "webhookTest": _sent("webhookTest", "A test of an endpoint", _TESTED, WebhookTest),
}
