"""`/v1/webhook_endpoints` and `/v1/webhook_deliveries`: who is told of what, and what was told."""

from datetime import datetime
from typing import Annotated, Any, Literal, NoReturn

from litestar import Controller, Request, delete, patch, post, route
from litestar.datastructures import State
from litestar.response.base import ASGIResponse
from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.api.generations.views import Deleted
from gateway.api.generations.webhook_url import WEBHOOK_URL_MAX, check_webhook_url, read_webhook_url
from gateway.api.web.answers import GET, json_answer
from gateway.api.web.context import Context, context_of
from gateway.api.web.lists import Listed
from gateway.api.web.query import Params
from gateway.api.web.small_body import Nothing, read_object
from gateway.domain.errors import InvalidParameter
from gateway.domain.webhooks import ALL_EVENTS, EVENTS, ROTATION_SECONDS, Delivery, DeliveryState, Endpoint, EventName
from gateway.store.webhooks import DeliveryQuery, is_delivery
from gateway.webhooks.endpoints import Changes

DESCRIPTION_MAX = 256
ROTATION_MAX = 7 * 86_400  # seconds
Url = Annotated[str, Meta(max_length=WEBHOOK_URL_MAX)]
Description = Annotated[str, Meta(max_length=DESCRIPTION_MAX)]
Events = Annotated[tuple[Literal["*", EventName], ...], Meta(min_length=1)]
Call = Request[Any, Any, State]


class CreateWebhookEndpoint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A URL to be told of the ends of this key's generations. `*` in `events` means all, those to come too."""

    url: Url
    events: Events = ("*",)
    description: Description | None = None


class ChangeWebhookEndpoint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be another than before. One that is disabled gets nothing, and what waited for it is given up."""

    url: Url | UnsetType = UNSET
    events: Events | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    disabled: bool | UnsetType = UNSET


class RotateWebhookSecret(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For how long the secret before signs beside the new one; 0: not at all."""

    expires_after_seconds: Annotated[int, Meta(ge=0, le=ROTATION_MAX)] = ROTATION_SECONDS


class WebhookEndpointView(Struct, frozen=True, kw_only=True):
    """An endpoint."""

    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    created_at: int
    url: str
    events: tuple[str, ...]
    description: str | None
    disabled: bool
    disabled_reason: Literal["requested", "gone"] | None  # gone: it answered 410
    secret: str | UnsetType = UNSET  # only in the answer to a create or a rotation


class WebhookEndpointList(Listed[WebhookEndpointView], frozen=True, kw_only=True):
    """All endpoints of a key, the oldest first."""


class TryView(Struct, frozen=True, kw_only=True):
    """One POST: the status that the receiver answered, or why there is none."""

    at: int
    status: int | None
    error: str | None
    duration_seconds: float


class WebhookDeliveryView(Struct, frozen=True, kw_only=True):
    """An event on its way to one receiver."""

    id: str
    object: Literal["webhook_delivery"] = "webhook_delivery"
    created_at: int
    event_id: str  # the `webhook-id` of every try
    type: str
    endpoint: str | None  # null: the generation's own `webhook_url`
    generation: str | None  # null: a test
    url: str
    state: Literal["pending", "succeeded", "dead"]
    next_try_at: int | None  # of one that is pending, unless the try under way ends it
    tries: tuple[TryView, ...]  # the newest 32


class WebhookDeliveryList(Listed[WebhookDeliveryView], frozen=True, kw_only=True):
    """A page of deliveries."""


class WebhookSecret(Struct, frozen=True, kw_only=True):
    """What the deliveries to a generation's own `webhook_url` are signed with."""

    object: Literal["webhook_secret"] = "webhook_secret"
    secret: str | None  # null: it is the operator's, `webhooks.secret` of the configuration


class WebhookEndpointController(Controller):
    """Create, list, read, change and delete endpoints; rotate their secrets; try them out."""

    path = "/v1/webhook_endpoints"

    @post(status_code=200)
    async def create(self, request: Call) -> ASGIResponse:
        """Add an endpoint; the answer has its secret."""
        context, key = context_of(request)
        body = await read_object(request, context, CreateWebhookEndpoint)
        if "url" not in body:
            raise InvalidParameter("`url` is missing.", param="url")
        endpoint = await context.webhooks.create(
            key=key,
            url=_url(body["url"], context),
            events=_events(body["events"]) if body.get("events") is not None else (ALL_EVENTS,),
            description=_description(body.get("description")),
        )
        return json_answer(endpoint_view(endpoint, shown=True))

    @route(http_method=GET)
    async def page(self, request: Call) -> ASGIResponse:
        """List all of the key's own."""
        context, key = context_of(request)
        Params.of(request).done()
        endpoints = await context.webhooks.endpoints(key)
        return json_answer(WebhookEndpointList.of(map(endpoint_view, endpoints), has_more=False))

    @route("/{endpoint_id:str}", http_method=GET)
    async def read(self, request: Call) -> ASGIResponse:
        """Read one."""
        context, key = context_of(request)
        Params.of(request).done()
        return json_answer(endpoint_view(await context.webhooks.read(_id(request, "endpoint_id"), key)))

    @patch("/{endpoint_id:str}", status_code=200)
    async def change(self, request: Call) -> ASGIResponse:
        """Change what is named."""
        context, key = context_of(request)
        body = await read_object(request, context, ChangeWebhookEndpoint)
        changes = Changes(
            url=_url(body["url"], context) if "url" in body else UNSET,
            events=_events(body["events"]) if "events" in body else UNSET,
            description=_description(body["description"]) if "description" in body else UNSET,
            disabled=_flag(body["disabled"], "disabled") if "disabled" in body else UNSET,
        )
        return json_answer(endpoint_view(await context.webhooks.change(_id(request, "endpoint_id"), key, changes)))

    @delete("/{endpoint_id:str}", status_code=200)
    async def remove(self, request: Call) -> ASGIResponse:
        """Delete one with its deliveries."""
        context, key = context_of(request)
        Params.of(request).done()
        await context.webhooks.remove(_id(request, "endpoint_id"), key)
        return json_answer(Deleted(id=_id(request, "endpoint_id"), object="webhook_endpoint"))

    @post("/{endpoint_id:str}/rotate_secret", status_code=200)
    async def rotate(self, request: Call) -> ASGIResponse:
        """Make a new secret, which the answer has."""
        context, key = context_of(request)
        body = await read_object(request, context, RotateWebhookSecret, required=False)
        seconds = body.get("expires_after_seconds", ROTATION_SECONDS)
        if not isinstance(seconds, int) or isinstance(seconds, bool) or not 0 <= seconds <= ROTATION_MAX:
            _refuse("expires_after_seconds", f"a whole number from 0 to {ROTATION_MAX}")
        endpoint = await context.webhooks.rotate(_id(request, "endpoint_id"), key, seconds)
        return json_answer(endpoint_view(endpoint, shown=True))

    @post("/{endpoint_id:str}/test", status_code=200)
    async def test(self, request: Call) -> ASGIResponse:
        """Send a `webhook.test`, once."""
        context, key = context_of(request)
        await read_object(request, context, Nothing, required=False)
        return json_answer(delivery_view(await context.webhooks.test(_id(request, "endpoint_id"), key)))


class WebhookDeliveryController(Controller):
    """List and read deliveries; send one again."""

    path = "/v1/webhook_deliveries"

    @route(http_method=GET)
    async def page(self, request: Call) -> ASGIResponse:
        """List the key's own."""
        context, key = context_of(request)
        params = Params.of(request)
        state = params.choice("state", tuple(DeliveryState))
        query = DeliveryQuery(
            key=key,
            limit=params.whole("limit", 1, 100) or 20,
            order=params.order(),
            after=params.cursor("after", is_delivery, "a webhook delivery"),
            before=params.cursor("before", is_delivery, "a webhook delivery"),
            endpoint_id=params.text("endpoint"),
            generation_id=params.text("generation"),
            state=state,
        )
        params.done()
        params.not_both("after", "before")
        page = await context.webhooks.deliveries(query)
        return json_answer(WebhookDeliveryList.of(map(delivery_view, page.data), has_more=page.has_more))

    @route("/{delivery_id:str}", http_method=GET)
    async def read(self, request: Call) -> ASGIResponse:
        """Read one with its tries."""
        context, key = context_of(request)
        Params.of(request).done()
        return json_answer(delivery_view(await context.webhooks.delivery(_id(request, "delivery_id"), key)))

    @post("/{delivery_id:str}/redeliver", status_code=200)
    async def redeliver(self, request: Call) -> ASGIResponse:
        """Send one now, whatever became of it."""
        context, key = context_of(request)
        await read_object(request, context, Nothing, required=False)
        return json_answer(delivery_view(await context.webhooks.redeliver(_id(request, "delivery_id"), key)))


@route("/v1/webhook_secret", http_method=GET)
async def webhook_secret(request: Call) -> ASGIResponse:
    """Read what signs the deliveries to a generation's own `webhook_url`."""
    context, key = context_of(request)
    Params.of(request).done()
    return json_answer(WebhookSecret(secret=context.webhooks.secret(key)))


def endpoint_view(endpoint: Endpoint, *, shown: bool = False) -> WebhookEndpointView:
    """The public object; with its newest secret where that is to be `shown`."""
    return WebhookEndpointView(
        id=endpoint.id,
        created_at=int(endpoint.created_at.timestamp()),
        url=endpoint.url,
        events=endpoint.events,
        description=endpoint.description,
        disabled=endpoint.disabled is not None,
        disabled_reason=endpoint.disabled,
        secret=endpoint.secrets[0].value if shown else UNSET,
    )


def delivery_view(delivery: Delivery) -> WebhookDeliveryView:
    """The public object."""
    return WebhookDeliveryView(
        id=delivery.id,
        created_at=int(delivery.created_at.timestamp()),
        event_id=delivery.event_id,
        type=delivery.type,
        endpoint=delivery.endpoint_id,
        generation=delivery.generation_id,
        url=delivery.url,
        state=delivery.state.value,
        next_try_at=_unix(delivery.next_at),
        tries=tuple(
            TryView(
                at=int(one.at.timestamp()),
                status=one.status,
                error=one.error,
                duration_seconds=round(one.duration_seconds, 3),
            )
            for one in delivery.tries
        ),
    )


def _url(value: object, context: Context) -> str:
    url = read_webhook_url(value, "url")
    check_webhook_url(url, "url", context.fetch_allow)
    return url


def _events(value: object) -> tuple[str, ...]:
    known = (ALL_EVENTS, *EVENTS)
    if not isinstance(value, list) or not value:
        _refuse("events", "a list of events")
    for one in value:
        if one not in known:
            shown = one[:64] if isinstance(one, str) else type(one).__name__
            raise InvalidParameter(
                f"`events` has {shown!r}, which is no event; known are {', '.join(known)}.", param="events"
            )
    return (ALL_EVENTS,) if ALL_EVENTS in value else tuple(dict.fromkeys(value))


def _description(value: object) -> str | None:
    if value is not None and (not isinstance(value, str) or len(value) > DESCRIPTION_MAX):
        _refuse("description", f"a string of at most {DESCRIPTION_MAX} characters, or null")
    return value


def _flag(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        _refuse(name, "true or false")
    return value


def _refuse(name: str, accepted: str) -> NoReturn:
    raise InvalidParameter(f"`{name}` must be {accepted}.", param=name)


def _id(request: Call, name: str) -> str:
    found: str = request.path_params[name]
    return found


def _unix(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
