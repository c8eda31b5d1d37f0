"""`/v1/webhook_endpoints`: the URLs that get the events of a key, and the secrets that sign them."""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

from litestar import Controller, Request, delete, patch, post, route
from litestar.datastructures import State
from litestar.response.base import ASGIResponse
from msgspec import UNSET, UnsetType

from gateway.api.generations.views import Deleted
from gateway.api.generations.webhook_url import check_webhook_url, read_webhook_url
from gateway.api.web.answers import GET, json_answer
from gateway.api.web.context import Context, context_of
from gateway.api.web.operation import Operation, page_of
from gateway.api.web.query import NAME_SHOWN, Params, path_id
from gateway.api.web.small_body import BODY_ERRORS, read_object
from gateway.api.webhooks.views import (
    DESCRIPTION_MAX,
    ROTATION_MAX,
    ChangeWebhookEndpoint,
    CreateWebhookEndpoint,
    RotateWebhookSecret,
    TestWebhookEndpoint,
    WebhookDeliveryView,
    WebhookEndpointList,
    WebhookEndpointView,
    WebhookEventTypes,
    WebhookSecret,
    WebhookTestResult,
    delivery_view,
    endpoint_view,
)
from gateway.domain.errors import InvalidParameter
from gateway.domain.webhooks import ALL_EVENTS, ENDPOINTS_MAX, EVENTS, OPENAI_EVENTS, ROTATION_SECONDS
from gateway.store.pages import cut
from gateway.store.webhooks import is_endpoint
from gateway.webhooks.endpoints import EndpointChanges

Call = Request[Any, Any, State]
T = TypeVar("T")
# Fields with two names; the second is that of OpenAI's packages.
EVENT_NAMES, DESCRIPTION_NAMES = ("events", "event_types"), ("description", "name")
ROTATION_NAMES = ("expires_after_seconds", "keep_old_secret_active_for_24_hours")


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
        context, key = await context_of(request)
        body = await read_object(request, context, CreateWebhookEndpoint)
        if "url" not in body:
            raise InvalidParameter("`url` is required: the URL that gets the events.", param="url")
        given = {name: value for name, value in body.items() if name not in EVENT_NAMES or value is not None}
        events, description = _either(given, EVENT_NAMES, _events), _either(given, DESCRIPTION_NAMES, _description)
        endpoint = await context.webhooks.create(
            key=key,
            url=_url(body["url"], context),
            events=(ALL_EVENTS,) if events is UNSET else events,
            description=None if description is UNSET else description,
        )
        return json_answer(endpoint_view(endpoint, with_secret=True))

    @route(
        http_method=GET,
        operation=Operation(
            id="listWebhookEndpoints",
            summary="List your webhook endpoints, the oldest first",
            query={
                "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": ENDPOINTS_MAX},
                "after": page_of("whe_")["after"],
            },
            answer=WebhookEndpointList,
            errors=(400, 503),
        ),
    )
    async def page(self, request: Call) -> ASGIResponse:
        """List the endpoints of the caller's key; without `limit` all that it may have."""
        context, key = await context_of(request)
        params = Params.of(request)
        limit = params.limit(ENDPOINTS_MAX)
        after = params.cursor("after", is_endpoint, "a webhook endpoint") or ""
        params.done()
        # Ids sort by the time of creation, so the position of an endpoint that was deleted is still valid.
        endpoints = [endpoint for endpoint in await context.webhooks.endpoints(key) if endpoint.id > after]
        page, has_more = cut(endpoints, limit)
        return json_answer(WebhookEndpointList.of(map(endpoint_view, page), has_more=has_more))

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
        context, key = await context_of(request)
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
        return await _change(request)

    @post(
        "/{endpoint_id:str}",
        status_code=200,
        operation=Operation(
            id="updateWebhookEndpoint",
            summary="Change a webhook endpoint, as OpenAI's packages do it; the same as `PATCH`",
            body=ChangeWebhookEndpoint,
            answer=WebhookEndpointView,
            errors=(*BODY_ERRORS, 404),
        ),
    )
    async def update(self, request: Call) -> ASGIResponse:
        """Change the fields that the body has, and no others."""
        return await _change(request)

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
        context, key = await context_of(request)
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
        context, key = await context_of(request)
        body = await read_object(request, context, RotateWebhookSecret, required=False)
        seconds = _either(body, ROTATION_NAMES, _overlap)
        kept_for = ROTATION_SECONDS if seconds is UNSET else seconds
        endpoint = await context.webhooks.rotate(_id(request), key, kept_for)
        return json_answer(endpoint_view(endpoint, with_secret=True))

    @post(
        "/{endpoint_id:str}/test",
        status_code=200,
        operation=Operation(
            id="testWebhookEndpoint",
            summary="Send a `webhook.test`, or a sample of one of OpenAI's events, to an endpoint once; 409 while the"
            " previous test is running",
            body=TestWebhookEndpoint,
            body_required=False,
            answer=WebhookDeliveryView,
            other_answers=(WebhookTestResult,),
            errors=(*BODY_ERRORS, 404, 409, 502),
        ),
    )
    async def test(self, request: Call) -> ASGIResponse:
        """Send a `webhook.test` once, without retries; or one of OpenAI's events, and wait for the receiver."""
        context, key = await context_of(request)
        body = await read_object(request, context, TestWebhookEndpoint, required=False)
        if body.get("event_type") is None:
            return json_answer(delivery_view(await context.webhooks.test(_id(request), key)))
        event = next((name for name in OPENAI_EVENTS if name == body["event_type"]), None)
        if event is None:
            _refuse("event_type", f"{' or '.join(OPENAI_EVENTS)}; leave it out to send a `webhook.test`")
        sent = await context.webhooks.test_and_wait(_id(request), key, event)
        result = WebhookTestResult(event_type=event, status_code=sent.status or 0, webhook_endpoint_id=_id(request))
        return json_answer(result)


@route(
    "/v1/webhook_secret",
    http_method=GET,
    operation=Operation(
        id="readWebhookSecret",
        summary="Read the secret that signs deliveries to a `webhook_url`; needs the scope `generate`",
        answer=WebhookSecret,
        errors=(400, 503),
    ),
)
async def webhook_secret(request: Call) -> ASGIResponse:
    """Read the secret that signs the deliveries to the `webhook_url` of a generation.

    A client that has it can forge deliveries, so a key that may only read does not get it.
    """
    context, key = await context_of(request, "generate")
    Params.of(request).done()
    return json_answer(WebhookSecret(secret=context.webhooks.secret(key)))


@route(
    "/v1/webhook_event_types",
    http_method=GET,
    operation=Operation(
        id="listWebhookEventTypes",
        summary="List the names of events that an endpoint can list in `events`",
        answer=WebhookEventTypes,
        errors=(400,),
    ),
)
async def webhook_event_types(request: Call) -> ASGIResponse:
    """List the names of events."""
    await context_of(request)
    Params.of(request).done()
    return json_answer(WebhookEventTypes(data=(*EVENTS, *OPENAI_EVENTS)))


async def _change(request: Call) -> ASGIResponse:
    context, key = await context_of(request)
    body = await read_object(request, context, ChangeWebhookEndpoint)
    changes = EndpointChanges(
        url=_url(body["url"], context) if "url" in body else UNSET,
        events=_either(body, EVENT_NAMES, _events),
        description=_either(body, DESCRIPTION_NAMES, _description),
        disabled=_flag(body["disabled"], "disabled") if "disabled" in body else UNSET,
    )
    return json_answer(endpoint_view(await context.webhooks.change(_id(request), key, changes)))


def _either(body: Mapping[str, object], names: tuple[str, ...], read: Callable[[object, str], T]) -> T | UnsetType:
    """The value of a field that has two names; both may be given, with one value. Unset without either."""
    value: T | UnsetType = UNSET
    for name in names:
        if name in body:
            other = read(body[name], name)
            if value is not UNSET and value != other:
                message = f"`{names[0]}` and `{name}` are two names of one field and have different values; send one."
                raise InvalidParameter(message, param=name)
            value = other
    return value


def _overlap(value: object, name: str) -> int:
    """For how many seconds the old secret signs beside the new one."""
    if name != "expires_after_seconds":
        return ROTATION_SECONDS if _flag(value, name) else 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= ROTATION_MAX:
        _refuse(name, f"a whole number from 0 to {ROTATION_MAX}")
    return value


def _id(request: Call) -> str:
    return path_id(request, "endpoint_id")


def _url(value: object, context: Context) -> str:
    url = read_webhook_url(value, "url")
    check_webhook_url(url, "url", context.fetch_allow)
    return url


def _events(value: object, field: str) -> tuple[str, ...]:
    """The events of a filter, each once. Beside `*` the names of the gateway's own say nothing and are left out."""
    names = (ALL_EVENTS, *EVENTS, *OPENAI_EVENTS)
    if not isinstance(value, list) or not value:
        _refuse(field, "a list of events")
    for name in value:
        if name not in names:
            shown = name[:NAME_SHOWN] if isinstance(name, str) else type(name).__name__
            raise InvalidParameter(
                f"`{field}` has {shown!r}, which is not an event; send any of {', '.join(names)}.", param=field
            )
    return tuple(dict.fromkeys(name for name in value if name not in EVENTS or ALL_EVENTS not in value))


def _description(value: object, field: str) -> str | None:
    if value is not None and (not isinstance(value, str) or len(value) > DESCRIPTION_MAX):
        _refuse(field, f"a string of at most {DESCRIPTION_MAX} characters, or null")
    return value


def _flag(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        _refuse(name, "true or false")
    return value


def _refuse(name: str, accepted: str) -> NoReturn:
    raise InvalidParameter(f"`{name}` must be {accepted}.", param=name)
