"""`/v1/webhook_endpoints`: the URLs that get the events of a key, and the secrets that sign them."""

from typing import Any, NoReturn

from litestar import Controller, Request, delete, patch, post, route
from litestar.datastructures import State
from litestar.response.base import ASGIResponse
from msgspec import UNSET

from gateway.api.generations.views import Deleted
from gateway.api.generations.webhook_url import check_webhook_url, read_webhook_url
from gateway.api.web.answers import GET, json_answer
from gateway.api.web.context import Context, context_of
from gateway.api.web.operation import Operation
from gateway.api.web.query import NAME_SHOWN, Params, path_id
from gateway.api.web.small_body import BODY_ERRORS, Nothing, read_object
from gateway.api.webhooks.views import (
    DESCRIPTION_MAX,
    ROTATION_MAX,
    ChangeWebhookEndpoint,
    CreateWebhookEndpoint,
    RotateWebhookSecret,
    WebhookDeliveryView,
    WebhookEndpointList,
    WebhookEndpointView,
    WebhookSecret,
    delivery_view,
    endpoint_view,
)
from gateway.domain.errors import InvalidParameter
from gateway.domain.webhooks import ALL_EVENTS, EVENTS, ROTATION_SECONDS
from gateway.webhooks.endpoints import EndpointChanges

Call = Request[Any, Any, State]


class WebhookEndpointController(Controller):
    """Handlers of `/v1/webhook_endpoints`."""

    path = "/v1/webhook_endpoints"

    @post(
        status_code=200,
        operation=Operation(
            id="createWebhookEndpoint",
            summary="Add a URL that gets the final events of this key's generations; only this answer has its secret",
            body=CreateWebhookEndpoint,
            answer=WebhookEndpointView,
            errors=(*BODY_ERRORS, 409),
        ),
    )
    async def create(self, request: Call) -> ASGIResponse:
        """Add an endpoint; only this answer has its secret."""
        context, key = context_of(request)
        body = await read_object(request, context, CreateWebhookEndpoint)
        if "url" not in body:
            raise InvalidParameter("`url` is required: the URL that gets the events.", param="url")
        endpoint = await context.webhooks.create(
            key=key,
            url=_url(body["url"], context),
            events=_events(body["events"]) if body.get("events") is not None else (ALL_EVENTS,),
            description=_description(body.get("description")),
        )
        return json_answer(endpoint_view(endpoint, with_secret=True))

    @route(
        http_method=GET,
        operation=Operation(
            id="listWebhookEndpoints",
            summary="List your webhook endpoints, the oldest first",
            answer=WebhookEndpointList,
            errors=(400, 503),
        ),
    )
    async def page(self, request: Call) -> ASGIResponse:
        """List all endpoints of the caller's key."""
        context, key = context_of(request)
        Params.of(request).done()
        endpoints = await context.webhooks.endpoints(key)
        return json_answer(WebhookEndpointList.of(map(endpoint_view, endpoints), has_more=False))

    @route(
        "/{endpoint_id:str}",
        http_method=GET,
        operation=Operation(
            id="readWebhookEndpoint",
            summary="Read a webhook endpoint",
            answer=WebhookEndpointView,
            errors=(400, 404, 503),
        ),
    )
    async def read(self, request: Call) -> ASGIResponse:
        """Read one endpoint, without its secret."""
        context, key = context_of(request)
        Params.of(request).done()
        return json_answer(endpoint_view(await context.webhooks.read(_id(request), key)))

    @patch(
        "/{endpoint_id:str}",
        status_code=200,
        operation=Operation(
            id="changeWebhookEndpoint",
            summary="Change a webhook endpoint; deliveries that wait are sent to its new URL",
            body=ChangeWebhookEndpoint,
            answer=WebhookEndpointView,
            errors=(*BODY_ERRORS, 404),
        ),
    )
    async def change(self, request: Call) -> ASGIResponse:
        """Change the fields that the body has, and no others."""
        context, key = context_of(request)
        body = await read_object(request, context, ChangeWebhookEndpoint)
        changes = EndpointChanges(
            url=_url(body["url"], context) if "url" in body else UNSET,
            events=_events(body["events"]) if "events" in body else UNSET,
            description=_description(body["description"]) if "description" in body else UNSET,
            disabled=_flag(body["disabled"], "disabled") if "disabled" in body else UNSET,
        )
        return json_answer(endpoint_view(await context.webhooks.change(_id(request), key, changes)))

    @delete(
        "/{endpoint_id:str}",
        status_code=200,
        operation=Operation(
            id="deleteWebhookEndpoint",
            summary="Delete a webhook endpoint with its deliveries",
            answer=Deleted,
            errors=(400, 404, 503),
        ),
    )
    async def remove(self, request: Call) -> ASGIResponse:
        """Delete one endpoint with its deliveries."""
        context, key = context_of(request)
        Params.of(request).done()
        await context.webhooks.remove(_id(request), key)
        return json_answer(Deleted(id=_id(request), object="webhook_endpoint"))

    @post(
        "/{endpoint_id:str}/rotate_secret",
        status_code=200,
        operation=Operation(
            id="rotateWebhookSecret",
            summary="Make a new secret, which only this answer has; the old one still signs for a while",
            body=RotateWebhookSecret,
            body_required=False,
            answer=WebhookEndpointView,
            errors=(*BODY_ERRORS, 404),
        ),
    )
    async def rotate(self, request: Call) -> ASGIResponse:
        """Make a new secret; only this answer has it."""
        context, key = context_of(request)
        body = await read_object(request, context, RotateWebhookSecret, required=False)
        seconds = body.get("expires_after_seconds", ROTATION_SECONDS)
        if not isinstance(seconds, int) or isinstance(seconds, bool) or not 0 <= seconds <= ROTATION_MAX:
            _refuse("expires_after_seconds", f"a whole number from 0 to {ROTATION_MAX}")
        endpoint = await context.webhooks.rotate(_id(request), key, seconds)
        return json_answer(endpoint_view(endpoint, with_secret=True))

    @post(
        "/{endpoint_id:str}/test",
        status_code=200,
        operation=Operation(
            id="testWebhookEndpoint",
            summary="Send a `webhook.test` to an endpoint once; 409 while the previous test is running",
            body=Nothing,
            body_required=False,
            answer=WebhookDeliveryView,
            errors=(*BODY_ERRORS, 404, 409),
        ),
    )
    async def test(self, request: Call) -> ASGIResponse:
        """Send a `webhook.test` once, without retries."""
        context, key = context_of(request)
        await read_object(request, context, Nothing, required=False)
        return json_answer(delivery_view(await context.webhooks.test(_id(request), key)))


@route(
    "/v1/webhook_secret",
    http_method=GET,
    operation=Operation(
        id="readWebhookSecret",
        summary="Read the secret that signs deliveries to the `webhook_url` of a generation",
        answer=WebhookSecret,
        errors=(400, 503),
    ),
)
async def webhook_secret(request: Call) -> ASGIResponse:
    """Read the secret that signs the deliveries to the `webhook_url` of a generation."""
    context, key = context_of(request)
    Params.of(request).done()
    return json_answer(WebhookSecret(secret=context.webhooks.secret(key)))


def _id(request: Call) -> str:
    return path_id(request, "endpoint_id")


def _url(value: object, context: Context) -> str:
    url = read_webhook_url(value, "url")
    check_webhook_url(url, "url", context.fetch_allow)
    return url


def _events(value: object) -> tuple[str, ...]:
    names = (ALL_EVENTS, *EVENTS)
    if not isinstance(value, list) or not value:
        _refuse("events", "a list of events")
    for name in value:
        if name not in names:
            shown = name[:NAME_SHOWN] if isinstance(name, str) else type(name).__name__
            raise InvalidParameter(
                f"`events` has {shown!r}, which is not an event; send any of {', '.join(names)}.", param="events"
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
