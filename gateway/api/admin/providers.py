"""`/v1/admin/providers`: how the accounts of the configuration work, and what an operator does about them."""

from typing import Annotated, Any

from litestar import Controller, Request, post, route
from litestar.datastructures import State
from litestar.response.base import ASGIResponse
from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.api.admin.provider_views import AdminProvider, AdminProviderList, ProviderViews
from gateway.api.web.answers import GET, json_answer
from gateway.api.web.context import Context, admin_context_of
from gateway.api.web.operation import Operation
from gateway.api.web.query import Params, path_id
from gateway.api.web.small_body import BODY_ERRORS, Nothing, read_object
from gateway.domain.errors import InvalidParameter
from gateway.domain.health.hold import HOLDER_MAX, NOTE_MAX

Call = Request[Any, Any, State]
MODEL_MAX = 256  # characters of the name of a model


class HoldProvider(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a provider is taken out of new work. The words are shown to every operator, and never to clients."""

    by: Annotated[str, Meta(min_length=1, max_length=HOLDER_MAX)] | None = None  # who holds it
    note: Annotated[str, Meta(min_length=1, max_length=NOTE_MAX)] | None = None  # why it is held


class ResetProvider(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose circuits are closed: without a `model` those of the account and of all its models."""

    # the provider's own name of the only model to reset
    model: Annotated[str, Meta(min_length=1, max_length=MODEL_MAX)] | UnsetType = UNSET


class AdminProviderController(Controller):
    """Handlers of `/v1/admin/providers`."""

    path = "/v1/admin/providers"

    @route(
        http_method=GET,
        operation=Operation(
            id="listProviders",
            summary="List all accounts with their circuits, limits and holds; needs an admin key",
            answer=AdminProviderList,
            errors=(400,),
        ),
    )
    async def page(self, request: Call) -> ASGIResponse:
        """List all accounts of the configuration."""
        context = admin_context_of(request)
        Params.of(request).done()
        return json_answer(ProviderViews(context.control).all())

    @route(
        "/{name:str}",
        http_method=GET,
        operation=Operation(
            id="readProvider", summary="Read an account; needs an admin key", answer=AdminProvider, errors=(400, 404)
        ),
    )
    async def read(self, request: Call) -> ASGIResponse:
        """Read one account."""
        context = admin_context_of(request)
        Params.of(request).done()
        name = path_id(request, "name")
        context.control.check(name)
        return _answer(context, name)

    @post(
        "/{name:str}/reset",
        status_code=200,
        operation=Operation(
            id="resetProvider",
            summary="Close the circuits of an account, so that its routes get work at once; needs an admin key",
            body=ResetProvider,
            body_required=False,
            answer=AdminProvider,
            errors=(*BODY_ERRORS, 404),
        ),
    )
    async def reset(self, request: Call) -> ASGIResponse:
        """Close the circuits of one account."""
        context = admin_context_of(request)
        body = await read_object(request, context, ResetProvider, required=False)
        name = path_id(request, "name")
        context.control.reset(name, _text(body.get("model"), "model", MODEL_MAX))
        return _answer(context, name)

    @post(
        "/{name:str}/hold",
        status_code=200,
        operation=Operation(
            id="holdProvider",
            summary="Send no new work to an account until it is released; its tasks are still polled; needs an admin"
            " key",
            body=HoldProvider,
            body_required=False,
            answer=AdminProvider,
            errors=(*BODY_ERRORS, 404),
        ),
    )
    async def hold(self, request: Call) -> ASGIResponse:
        """Take one account out of new work."""
        context = admin_context_of(request)
        body = await read_object(request, context, HoldProvider, required=False)
        name = path_id(request, "name")
        held_by, note = _text(body.get("by"), "by", HOLDER_MAX), _text(body.get("note"), "note", NOTE_MAX)
        await context.control.hold(name, held_by=held_by, note=note)
        return _answer(context, name)

    @post(
        "/{name:str}/release",
        status_code=200,
        operation=Operation(
            id="releaseProvider",
            summary="Send new work to a held account again; needs an admin key",
            body=Nothing,
            body_required=False,
            answer=AdminProvider,
            errors=(*BODY_ERRORS, 404),
        ),
    )
    async def release(self, request: Call) -> ASGIResponse:
        """Give one account new work again."""
        context = admin_context_of(request)
        await read_object(request, context, Nothing, required=False)
        name = path_id(request, "name")
        await context.control.release(name)
        return _answer(context, name)


def _answer(context: Context, name: str) -> ASGIResponse:
    return json_answer(ProviderViews(context.control).of(name))


def _text(value: object, name: str, longest: int) -> str | None:
    """A text of one line; `InvalidParameter` says what it must be."""
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value.strip()) <= len(value) <= longest or not value.isprintable():
        raise InvalidParameter(f"`{name}` must be a text of 1 to {longest} printable characters.", param=name)
    return value
