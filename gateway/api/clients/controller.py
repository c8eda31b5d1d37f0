"""`/v1/admin/clients`: the clients, and below each of them the keys that were made at run time."""

from typing import Any

from litestar import Controller, Request, delete, patch, post, route
from litestar.datastructures import State
from litestar.response.base import ASGIResponse

from gateway.api.clients.views import (
    ChangeClient,
    ClientKeyList,
    ClientKeyView,
    ClientList,
    ClientView,
    CreateClient,
    CreateClientKey,
    changed,
    client_view,
    key_view,
    moment_of,
    read_body,
)
from gateway.api.generations.views import Deleted
from gateway.api.web.answers import GET, json_answer
from gateway.api.web.context import admin_context_of
from gateway.api.web.operation import PAGE, Operation
from gateway.api.web.query import Params, path_id
from gateway.api.web.small_body import BODY_ERRORS, read_object
from gateway.domain.clients import NAME, NO_LIMITS
from gateway.store.pages import cut

Call = Request[Any, Any, State]
_AFTER = {**PAGE["after"], "description": "the `name` of the last client of a page: gives the page after it"}


class ClientController(Controller):
    """Handlers of `/v1/admin/clients`."""

    path = "/v1/admin/clients"

    @route(
        http_method=GET,
        operation=Operation(
            id="listClients",
            summary="List the clients of the configuration and those made at run time, by name; needs an admin key",
            query={"limit": PAGE["limit"], "after": {**_AFTER, "pattern": f"^{NAME.pattern}$"}},
            answer=ClientList,
            errors=(400, 503),
        ),
    )
    async def page(self, request: Call) -> ASGIResponse:
        """List every client with a name."""
        context = admin_context_of(request)
        params = Params.of(request)
        limit = params.limit()
        after = params.cursor("after", lambda text: NAME.fullmatch(text) is not None, "a client (its name)") or ""
        params.done()
        clients = [client for client in context.administration.clients() if (client.name or "") > after]
        page, has_more = cut(clients, limit)
        return json_answer(ClientList(data=tuple(map(client_view, page)), has_more=has_more))

    @post(
        status_code=200,
        operation=Operation(
            id="createClient",
            summary="Make a client; needs an admin key",
            body=CreateClient,
            answer=ClientView,
            errors=(*BODY_ERRORS, 409),
        ),
    )
    async def create(self, request: Call) -> ASGIResponse:
        """Make a client. It can do nothing before it has a key."""
        context = admin_context_of(request)
        body = read_body(await read_object(request, context, CreateClient), CreateClient)
        return json_answer(client_view(await context.administration.create(body.name, changed(NO_LIMITS, body))))

    @route(
        "/{client:str}",
        http_method=GET,
        operation=Operation(
            id="readClient", summary="Read a client; needs an admin key", answer=ClientView, errors=(400, 404, 503)
        ),
    )
    async def read(self, request: Call) -> ASGIResponse:
        """Read one client."""
        context = admin_context_of(request)
        Params.of(request).done()
        return json_answer(client_view(context.administration.client(path_id(request, "client"))))

    @patch(
        "/{client:str}",
        status_code=200,
        operation=Operation(
            id="changeClient",
            summary="Change the limits of a client that was made at run time; needs an admin key",
            body=ChangeClient,
            answer=ClientView,
            errors=(*BODY_ERRORS, 404, 409),
        ),
    )
    async def change(self, request: Call) -> ASGIResponse:
        """Change the limits that the body has, and no others."""
        context = admin_context_of(request)
        body = read_body(await read_object(request, context, ChangeClient), ChangeClient)
        name = path_id(request, "client")
        client = await context.administration.change(name, lambda limits: changed(limits, body))
        return json_answer(client_view(client))

    @delete(
        "/{client:str}",
        status_code=200,
        operation=Operation(
            id="deleteClient",
            summary="Delete a client and its keys, when it has no open generations; needs an admin key",
            answer=Deleted,
            errors=(400, 404, 409, 503),
        ),
    )
    async def remove(self, request: Call) -> ASGIResponse:
        """Delete one client with its keys. What it owns stays."""
        context = admin_context_of(request)
        Params.of(request).done()
        name = path_id(request, "client")
        await context.administration.delete(name)
        return json_answer(Deleted(id=name, object="client"))

    @route(
        "/{client:str}/keys",
        http_method=GET,
        operation=Operation(
            id="listClientKeys",
            summary="List the keys of a client that were made at run time; needs an admin key",
            answer=ClientKeyList,
            errors=(400, 404, 503),
        ),
    )
    async def keys(self, request: Call) -> ASGIResponse:
        """List the keys of one client, also those that have ended or were revoked."""
        context = admin_context_of(request)
        Params.of(request).done()
        keys = await context.administration.keys(path_id(request, "client"))
        now = context.clock.now()
        return json_answer(ClientKeyList(data=tuple(key_view(key, now) for key in keys)))

    @post(
        "/{client:str}/keys",
        status_code=200,
        operation=Operation(
            id="createClientKey",
            summary="Make a key, which only this answer has; needs an admin key",
            body=CreateClientKey,
            body_required=False,
            answer=ClientKeyView,
            errors=(*BODY_ERRORS, 404, 409),
        ),
    )
    async def create_key(self, request: Call) -> ASGIResponse:
        """Make a key; only this answer has it."""
        context = admin_context_of(request)
        body = read_body(await read_object(request, context, CreateClientKey, required=False), CreateClientKey)
        now = context.clock.now()
        key, text = await context.administration.create_key(
            path_id(request, "client"),
            label=body.label,
            scopes=tuple(dict.fromkeys(body.scopes)),
            expires_at=moment_of(body.expires_at, now),
        )
        return json_answer(key_view(key, now, text))

    @delete(
        "/{client:str}/keys/{key_id:str}",
        status_code=200,
        operation=Operation(
            id="revokeClientKey",
            summary="Revoke a key, which is refused from now on; needs an admin key",
            answer=ClientKeyView,
            errors=(400, 404, 503),
        ),
    )
    async def revoke(self, request: Call) -> ASGIResponse:
        """Revoke one key. It stays in the list."""
        context = admin_context_of(request)
        Params.of(request).done()
        key = await context.administration.revoke(path_id(request, "client"), path_id(request, "key_id"))
        return json_answer(key_view(key, context.clock.now()))
