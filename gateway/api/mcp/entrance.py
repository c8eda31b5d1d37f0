"""Admits a request to `/mcp`, or refuses it: first the key, then the size of the body, then what is in it."""

from collections.abc import Mapping
from typing import Any, cast

import msgspec
from litestar import Request
from litestar.enums import HttpMethod, MediaType, ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp, Message, Receive, ReceiveMessage, Scope, Send
from litestar_mcp.core.jsonrpc import INTERNAL_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, PARSE_ERROR
from litestar_mcp.mcp.routes import MCP_OWNER_ID_SCOPE_KEY

from gateway.api.mcp import handshake
from gateway.api.web.context import Context, any_scope
from gateway.api.web.error_format import ErrorAnswer, ErrorInfo
from gateway.api.web.headers import header
from gateway.api.web.json_body import parse_json, read_body
from gateway.domain.errors import InvalidJson

# The library would hold a stream open for each of these calls, and the gateway has nothing to say on it.
_REFUSED = frozenset({"subscriptions/listen"})

_OF_A_RESPONSE = frozenset({"result", "error"})  # clients may answer a server, although this one asks nothing


class Entrance(ASGIMiddleware):
    """Comes before the handler of `litestar-mcp`, which reads a body of any size and knows no keys."""

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass a request on with its body and its owner, or answer it."""
        _admit_origin(scope)
        if scope["type"] != ScopeType.HTTP or scope["method"] != HttpMethod.POST:
            await next_app(scope, receive, send)
            return
        request: Request[Any, Any, Any] = Request(scope, receive, send)
        context, key = await any_scope(request)
        raw = await read_body(request, context.max_body_bytes)
        message = parse_json(raw, header(request, "content-type"), header(request, "content-encoding"))
        cast("dict[str, Any]", scope)[MCP_OWNER_ID_SCOPE_KEY] = key
        method = message.get("method")
        if not isinstance(method, str | None):
            body = _error(None, INVALID_REQUEST, "The `method` of a request must be a string, such as `tools/list`.")
            await _answer(body, 400)(scope, receive, send)
            return
        if method is None and message.keys().isdisjoint(_OF_A_RESPONSE):
            body = _error(None, INVALID_REQUEST, "The body must be a request of JSON-RPC 2.0 with `method`.")
            await _answer(body, 400)(scope, receive, send)
            return
        if method in _REFUSED:
            body = _error(message.get("id"), METHOD_NOT_FOUND, "The gateway sends no notifications: poll tasks/get.")
            await _answer(body, 404)(scope, receive, send)
            return
        if not handshake.is_older(message, header(request, "mcp-protocol-version")):
            await next_app(scope, _replaying(raw, receive), send)
            return
        if "id" not in message:  # a notification, such as `notifications/initialized`
            await ASGIResponse(status_code=202)(scope, receive, send)
            return
        if not isinstance(message["id"], str | int) or isinstance(message["id"], bool):
            body = _error(None, INVALID_REQUEST, "The `id` of a request must be a string or an integer.")
            await _answer(body, 400)(scope, receive, send)
            return
        if (result := handshake.answer_of(message)) is not None:
            await _answer({"jsonrpc": "2.0", "id": message["id"], "result": result})(scope, receive, send)
            return
        renewed, headers = handshake.renewed(message)
        others = [(name, value) for name, value in scope["headers"] if name not in headers]
        scope["headers"] = [*others, *headers.items()]
        await next_app(scope, _replaying(msgspec.json.encode(renewed), receive), _as_ok(send))


def _admit_origin(scope: Scope) -> None:
    """Take the header `Origin` away if it names a page that may call: the library refuses every other one by itself.

    The library has its own list only from the start on, and the configuration may change.
    """
    context: Context = scope["litestar_app"].state.context
    trusted = {origin.encode() for origin in context.trusted_origins}
    scope["headers"] = [line for line in scope["headers"] if line[0] != b"origin" or line[1] not in trusted]


def _replaying(raw: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read, and then what the connection gives: that the client has left."""
    messages: list[ReceiveMessage] = [{"type": "http.request", "body": raw, "more_body": False}]

    async def replay() -> ReceiveMessage:
        return messages.pop() if messages else await receive()

    return replay


def _as_ok(send: Send) -> Send:
    """A `send` for older clients, which read an error of JSON-RPC only in an answer with status 200."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] in {400, 404}:
            message["status"] = 200
        await send(message)

    return sent


def json_rpc_error(info: ErrorInfo) -> ErrorAnswer:
    """The error of the HTTP API with its status, as an error of JSON-RPC that has ours in `data`."""
    code = INVALID_REQUEST if info.status < 500 else INTERNAL_ERROR
    if info.code == InvalidJson.code:
        code = PARSE_ERROR
    ours = {"type": info.type, "param": info.param, "code": info.code, **info.members, "request_id": info.request_id}
    return ErrorAnswer(_error(None, code, info.message, ours), info.status)


def _error(request_id: object, code: int, message: str, data: object = None) -> dict[str, Any]:
    error = {"code": code, "message": message}
    return {"jsonrpc": "2.0", "id": request_id, "error": error if data is None else {**error, "data": data}}


def _answer(body: Mapping[str, Any], status: int = 200) -> ASGIApp:
    return ASGIResponse(body=msgspec.json.encode(body), status_code=status, media_type=MediaType.JSON)
