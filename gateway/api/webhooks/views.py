"""What clients send and read about webhook endpoints and deliveries."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.api.generations.webhook_url import WEBHOOK_URL_MAX
from gateway.api.web.lists import Listed
from gateway.api.web.moments import unix
from gateway.domain.webhooks import ROTATION_SECONDS, Delivery, Endpoint, EventName, OpenAIEventName

DESCRIPTION_MAX = 256
ROTATION_MAX = 7 * 86_400  # seconds
Url = Annotated[str, Meta(max_length=WEBHOOK_URL_MAX)]
Description = Annotated[str, Meta(max_length=DESCRIPTION_MAX)]
Events = Annotated[tuple[Literal["*", EventName, OpenAIEventName], ...], Meta(min_length=1)]


class CreateWebhookEndpoint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A URL that gets the final events of this key's generations; `*` in `events` means all, also future ones.

    `*` does not mean OpenAI's `video.completed` and `video.failed`, which are the same ends in OpenAI's words.
    """

    url: Url  # the URL that gets the events
    events: Events | None = ("*",)  # names of events; `*`: all of the gateway's own
    event_types: Events | None = None  # OpenAI's name of `events`; null: as if it were absent
    description: Description | None = None  # your own words; null: none
    name: Description | None = None  # OpenAI's name of `description`


class ChangeWebhookEndpoint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields to change. A disabled endpoint gets nothing, and deliveries that wait for it are given up."""

    url: Url | UnsetType = UNSET  # the URL that gets the events
    events: Events | UnsetType = UNSET  # names of events; `*`: all of the gateway's own
    event_types: Events | UnsetType = UNSET  # OpenAI's name of `events`
    description: Description | UnsetType | None = UNSET  # your own words; null: none
    name: Description | UnsetType | None = UNSET  # OpenAI's name of `description`
    disabled: bool | UnsetType = UNSET  # true: the endpoint gets nothing


class RotateWebhookSecret(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the old secret still signs beside the new one; 0: the old one ends at once."""

    # for how long the old secret still signs
    expires_after_seconds: Annotated[int, Meta(ge=0, le=ROTATION_MAX)] = ROTATION_SECONDS
    # OpenAI's name for 86400 (true) or 0 (false) seconds; absent: `expires_after_seconds` counts
    keep_old_secret_active_for_24_hours: bool | UnsetType = UNSET


class TestWebhookEndpoint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to send as a test. Without `event_type` it is a `webhook.test`, and the answer does not wait for it."""

    __test__ = False  # not a class of tests, although its name begins like one

    event_type: OpenAIEventName | None = None  # OpenAI's: send a sample of it, and answer when it was received


class WebhookEndpointView(Struct, frozen=True, kw_only=True):
    """A webhook endpoint."""

    id: str  # names the endpoint
    object: Literal["webhook_endpoint"] = "webhook_endpoint"  # the kind of this object
    created_at: int  # Unix seconds
    url: str  # the URL that gets the events
    events: tuple[str, ...]  # names of events; `*`: all of the gateway's own
    event_types: tuple[str, ...]  # the same as `events`
    description: str | None  # your own words; null: none
    name: str | None  # the same as `description`
    disabled: bool  # true: the endpoint gets nothing
    disabled_reason: Literal["requested", "gone"] | None  # gone: it answered 410
    secret: str | UnsetType = UNSET  # only in the answer to a create or a rotation
    signing_secret: str | UnsetType = UNSET  # the same as `secret`


class WebhookEndpointList(Listed[WebhookEndpointView], frozen=True, kw_only=True):
    """All endpoints of a key; the oldest comes first."""


class WebhookEventTypes(Struct, frozen=True, kw_only=True):
    """The names of events that an endpoint can list."""

    object: Literal["list"] = "list"  # the kind of this object
    data: tuple[str, ...]  # first the gateway's own names, then OpenAI's


class WebhookTestResult(Struct, frozen=True, kw_only=True):
    """The receiver's answer to a sample of an event."""

    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"  # the kind of this object
    event_type: OpenAIEventName  # what was sent
    status_code: int  # the HTTP status of the receiver's answer
    success: Literal[True] = True  # always true: the receiver has answered; `status_code` says what
    webhook_endpoint_id: str  # the endpoint


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
    output: int | None  # the index of the output that it is about; null: it is about the generation
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
    secret = endpoint.secrets[0].value if with_secret else UNSET
    return WebhookEndpointView(
        id=endpoint.id,
        created_at=unix(endpoint.created_at),
        url=endpoint.url,
        events=endpoint.events,
        event_types=endpoint.events,
        description=endpoint.description,
        name=endpoint.description,
        disabled=endpoint.disabled is not None,
        disabled_reason=endpoint.disabled,
        secret=secret,
        signing_secret=secret,
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
        output=delivery.output,
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
