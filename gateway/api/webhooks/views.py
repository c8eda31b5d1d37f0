"""What clients send and read about webhook endpoints and deliveries."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.api.generations.webhook_url import WEBHOOK_URL_MAX
from gateway.api.web.answers import unix
from gateway.api.web.lists import Listed
from gateway.domain.webhooks import ROTATION_SECONDS, Delivery, Endpoint, EventName

DESCRIPTION_MAX = 256
ROTATION_MAX = 7 * 86_400  # seconds
Url = Annotated[str, Meta(max_length=WEBHOOK_URL_MAX)]
Description = Annotated[str, Meta(max_length=DESCRIPTION_MAX)]
Events = Annotated[tuple[Literal["*", EventName], ...], Meta(min_length=1)]


class CreateWebhookEndpoint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A URL that gets the final events of this key's generations; `*` in `events` means all, also future ones."""

    url: Url  # the URL that gets the events
    events: Events | None = ("*",)  # names of events; `*`: all
    description: Description | None = None  # your own words; null: none


class ChangeWebhookEndpoint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields to change. A disabled endpoint gets nothing, and deliveries that wait for it are given up."""

    url: Url | UnsetType = UNSET  # the URL that gets the events
    events: Events | UnsetType = UNSET  # names of events; `*`: all
    description: Description | UnsetType | None = UNSET  # your own words; null: none
    disabled: bool | UnsetType = UNSET  # true: the endpoint gets nothing


class RotateWebhookSecret(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the old secret still signs beside the new one; 0: the old one ends at once."""

    # for how long the old secret still signs
    expires_after_seconds: Annotated[int, Meta(ge=0, le=ROTATION_MAX)] = ROTATION_SECONDS


class WebhookEndpointView(Struct, frozen=True, kw_only=True):
    """A webhook endpoint."""

    id: str  # names the endpoint
    object: Literal["webhook_endpoint"] = "webhook_endpoint"  # the kind of this object
    created_at: int  # Unix seconds
    url: str  # the URL that gets the events
    events: tuple[str, ...]  # names of events; `*`: all
    description: str | None  # your own words; null: none
    disabled: bool  # true: the endpoint gets nothing
    disabled_reason: Literal["requested", "gone"] | None  # gone: it answered 410
    secret: str | UnsetType = UNSET  # only in the answer to a create or a rotation


class WebhookEndpointList(Listed[WebhookEndpointView], frozen=True, kw_only=True):
    """All endpoints of a key; the oldest comes first."""


class TryView(Struct, frozen=True, kw_only=True):
    """One POST to the receiver: the status of its answer, or why none came."""

    at: int  # Unix seconds
    status: int | None  # the HTTP status; null: no answer came
    error: str | None  # why no answer came; null: one came
    duration_seconds: float  # from the start of the try to its end


class WebhookDeliveryView(Struct, frozen=True, kw_only=True):
    """One event for one receiver, with the tries to deliver it."""

    id: str  # names the delivery
    object: Literal["webhook_delivery"] = "webhook_delivery"  # the kind of this object
    created_at: int  # Unix seconds
    event_id: str  # the `webhook-id` of every try
    type: str  # the name of the event
    endpoint: str | None  # null: the generation's own `webhook_url`
    generation: str | None  # null: a test
    url: str  # where it is sent
    state: Literal["pending", "succeeded", "dead"]  # `dead`: it was given up
    next_try_at: int | None  # null unless it is pending; a try that is running may still succeed
    tries: tuple[TryView, ...]  # the newest 32


class WebhookDeliveryList(Listed[WebhookDeliveryView], frozen=True, kw_only=True):
    """A page of deliveries."""


class WebhookSecret(Struct, frozen=True, kw_only=True):
    """The secret that signs deliveries to the `webhook_url` of a generation."""

    object: Literal["webhook_secret"] = "webhook_secret"  # the kind of this object
    secret: str | None  # null: the operator has set `webhooks.secret` in the configuration


def endpoint_view(endpoint: Endpoint, *, with_secret: bool = False) -> WebhookEndpointView:
    """The public object of an endpoint. `with_secret` adds its newest secret, for a create or a rotation only."""
    return WebhookEndpointView(
        id=endpoint.id,
        created_at=unix(endpoint.created_at),
        url=endpoint.url,
        events=endpoint.events,
        description=endpoint.description,
        disabled=endpoint.disabled is not None,
        disabled_reason=endpoint.disabled,
        secret=endpoint.secrets[0].value if with_secret else UNSET,
    )


def delivery_view(delivery: Delivery) -> WebhookDeliveryView:
    """The public object of a delivery with its tries."""
    return WebhookDeliveryView(
        id=delivery.id,
        created_at=unix(delivery.created_at),
        event_id=delivery.event_id,
        type=delivery.type,
        endpoint=delivery.endpoint_id,
        generation=delivery.generation_id,
        url=delivery.url,
        state=delivery.state.value,
        next_try_at=unix(delivery.next_at),
        tries=tuple(
            TryView(
                at=unix(attempt.at),
                status=attempt.status,
                error=attempt.error,
                duration_seconds=round(attempt.duration_seconds, 3),
            )
            for attempt in delivery.tries
        ),
    )
