"""The one place that writes error bodies: `{"error": {"message", "type", "param", "code", …}, "request_id": …}`."""

import math
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.enums import MediaType
from litestar.exceptions import HTTPException
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp, ExceptionHandlersMap, Receive, Scope, Send

from gateway.api.web.request_log import place
from gateway.domain.errors import (
    BadRequest,
    BodyTooLarge,
    Conflict,
    GatewayError,
    InvalidParameter,
    MethodNotAllowed,
    NotFound,
    Unauthenticated,
    UnsupportedMediaType,
)

log = structlog.get_logger()


def render(error: GatewayError, request_id: str) -> Response[bytes]:
    """The answer that tells a client of an error."""
    headers = dict(error.headers)
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(0, math.ceil(error.retry_after)))
    return _response(
        error.status,
        error.detail,
        error.type,
        error.code,
        request_id=request_id,
        param=error.param,
        headers=headers,
        members=error.members,
    )


def refuse_all(error: GatewayError) -> ASGIApp:
    """An application that answers every request with one error and ends its connection."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        response = render(error, scope["state"]["request_id"])
        answer = ASGIResponse(
            body=response.content,
            status_code=error.status,
            headers={**response.headers, "connection": "close"},
            media_type=MediaType.JSON,
        )
        await answer(scope, receive, send)

    return refuse


def _response(
    status: int,
    message: str,
    error_type: str,
    code: str,
    *,
    request_id: str,
    param: str | None = None,
    headers: Mapping[str, str],
    members: Mapping[str, object] | None = None,
) -> Response[bytes]:
    body = {
        "error": {
            "message": _encodable(message),
            "type": error_type,
            "param": None if param is None else _encodable(param),
            "code": code,
            **(members or {}),
        },
        "request_id": request_id,
    }
    headers = {**headers, "x-request-id": request_id}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    elif status == HTTPStatus.REQUEST_TIMEOUT:
        headers["Connection"] = "close"  # what is still to come of the body would be read as nothing else
    return Response(msgspec.json.encode(body), status_code=status, headers=headers, media_type=MediaType.JSON)


def _encodable(text: str) -> str:
    """Half a surrogate pair, which may have come in with a path or a query, has no UTF-8."""
    return text.encode(errors="replace").decode()


def _gateway_error(request: Request[Any, Any, Any], error: GatewayError) -> Response[bytes]:
    if type(error).status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return _unexpected(request, error)
    return render(error, _request_id(request))


_BY_STATUS: dict[int, type[GatewayError]] = {
    one.status: one
    for one in (BadRequest, Unauthenticated, NotFound, MethodNotAllowed, Conflict, BodyTooLarge, UnsupportedMediaType)
}
_OWN_TITLE = frozenset({401, 404, 405, 413, 415})  # the framework's detail says nothing more


def _http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """The framework's own refusals in our words."""
    status = error.status_code
    request_id = _request_id(request)
    if not 400 <= status < 500:
        if status == HTTPStatus.INTERNAL_SERVER_ERROR or not 500 <= status < 600:
            return _unexpected(request, error)
        code = _code(status)
        return _response(
            status,
            f"{code.replace('_', ' ').capitalize()}.",
            "api_error",
            code,
            request_id=request_id,
            headers=error.headers or {},
        )
    message, param = _told(error)
    known = InvalidParameter if param is not None and status == HTTPStatus.BAD_REQUEST else _BY_STATUS.get(status)
    if known is not None:
        message = known.title if status in _OWN_TITLE else message
        error_type, code = known.type, known.code
    else:
        error_type = "rate_limit_error" if status == HTTPStatus.TOO_MANY_REQUESTS else "invalid_request_error"
        code = _code(status)
    return _response(
        status, message, error_type, code, request_id=request_id, param=param, headers=_allow(error.headers or {})
    )


def _told(error: HTTPException) -> tuple[str, str | None]:
    """The message and the parameter of a refusal; the framework keeps those of a validation beside its detail."""
    first = error.extra[0] if isinstance(error.extra, list) and error.extra else None
    if not isinstance(first, Mapping) or not isinstance(first.get("message"), str):
        return error.detail, None
    key = first.get("key")
    if not isinstance(key, str) or not key:
        return first["message"], None
    return f"`{key}`: {first['message']}", key


def _code(status: int) -> str:
    """The name of a status that no error of ours has, as a code."""
    try:
        return HTTPStatus(status).name.lower()
    except ValueError:
        return "refused"


def _allow(headers: Mapping[str, str]) -> dict[str, str]:
    return {("Allow" if name.lower() == "allow" else name): value for name, value in headers.items()}


def _unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """A fault of the gateway's: the log has all of it, the client nothing but the request id to ask about."""
    request_id = _request_id(request)
    log.error(
        "request_failed",
        request_id=request_id,
        method=request.scope["method"],
        **place(request.scope),
        error=type(error).__name__,
        exc_info=error,
    )
    return render(GatewayError(), request_id)


def _request_id(request: Request[Any, Any, Any]) -> str:
    """The id that the request was given, or a fresh one that it keeps."""
    state = request.scope["state"]
    found = state.get("request_id")
    if not isinstance(found, str):
        found = state["request_id"] = f"req_{uuid.uuid4().hex}"
    return found


EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    GatewayError: _gateway_error,
    HTTPException: _http_exception,
    Exception: _unexpected,
}
