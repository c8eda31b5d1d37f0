"""Writes all error bodies: `{"error": {"message", "type", "param", "code", …}, "request_id": …}`, or a dialect's."""

import math
import re
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

from gateway.api.web.context import Context
from gateway.api.web.error_format import ErrorFormat, ErrorInfo, format_of, openai_error
from gateway.api.web.keyless_guard import refusal_of
from gateway.api.web.near_path import near_path, paths_below
from gateway.api.web.query import with_sent_ids
from gateway.api.web.request_log import ERROR_CODE, log_location
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


def render(error: GatewayError, request_id: str, error_format: ErrorFormat = openai_error) -> Response[bytes]:
    """The answer for an error: its status, its headers, and its body in the given shape."""
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
        error_format=error_format,
    )


def refuse_all(error: GatewayError) -> ASGIApp:
    """An ASGI application that answers every request with this error and closes the connection."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"][ERROR_CODE] = error.code
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
    error_format: ErrorFormat = openai_error,
) -> Response[bytes]:
    body, status = error_format(
        ErrorInfo(
            status=status,
            message=_encodable(message),
            type=error_type,
            code=code,
            param=None if param is None else _encodable(param),
            members=members or {},
            request_id=request_id,
        )
    )
    headers = {**headers, "x-request-id": request_id}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    elif status == HTTPStatus.REQUEST_TIMEOUT:
        headers["Connection"] = "close"  # the rest of the body would be read as the next request
    return Response(msgspec.json.encode(body), status_code=status, headers=headers, media_type=MediaType.JSON)


def _encodable(text: str) -> str:
    """The text with `?` for half surrogate pairs: a path or query can contain them, and UTF-8 has no form for them."""
    return text.encode(errors="replace").decode()


def answer_to(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """The answer to a request that raised this error. A fault of the gateway is logged, and its text is not shown."""
    if isinstance(error, GatewayError):
        return _gateway_error(request, error)
    return _unexpected(request, error)


def _gateway_error(request: Request[Any, Any, Any], error: GatewayError) -> Response[bytes]:
    if type(error).status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return _unexpected(request, error)
    request.scope["state"][ERROR_CODE] = error.code
    error.detail = with_sent_ids(request, error.detail)
    return render(error, _request_id(request), _format(request))


_BY_STATUS: dict[int, type[GatewayError]] = {
    kind.status: kind
    for kind in (BadRequest, Unauthenticated, NotFound, MethodNotAllowed, Conflict, BodyTooLarge, UnsupportedMediaType)
}
_OWN_TITLE = frozenset({401, 405, 413, 415})  # where the framework's text says less than the title of our error


def _http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """A refusal by the framework, in the shape and the words of ours, unless the request is refused anyway."""
    if (refused := refusal_of(request.scope)) is not None:
        return _gateway_error(request, refused)
    status = error.status_code
    request_id = _request_id(request)
    if status == HTTPStatus.NOT_FOUND:
        request.scope["state"][ERROR_CODE] = NotFound.code
        return render(_no_path(request), request_id, _format(request))
    if not 400 <= status < 500:
        if status == HTTPStatus.INTERNAL_SERVER_ERROR or not 500 <= status < 600:
            return _unexpected(request, error)
        code = request.scope["state"][ERROR_CODE] = _code(status)
        return _response(
            status,
            f"{code.replace('_', ' ').capitalize()}.",
            "api_error",
            code,
            request_id=request_id,
            headers=error.headers or {},
            error_format=_format(request),
        )
    message, param = _message_and_param(error)
    kind = InvalidParameter if param is not None and status == HTTPStatus.BAD_REQUEST else _BY_STATUS.get(status)
    if kind is not None:
        message = kind.title if status in _OWN_TITLE else message
        if kind is MethodNotAllowed and (allowed := _allow(error.headers or {}).get("Allow")):
            message = f"This path does not have this HTTP method; it has {allowed}."
        error_type, code = kind.type, kind.code
    else:
        error_type = "rate_limit_error" if status == HTTPStatus.TOO_MANY_REQUESTS else "invalid_request_error"
        code = _code(status)
    request.scope["state"][ERROR_CODE] = code
    return _response(
        status,
        message,
        error_type,
        code,
        request_id=request_id,
        param=param,
        headers=_allow(error.headers or {}),
        error_format=_format(request),
    )


def _format(request: Request[Any, Any, Any]) -> ErrorFormat:
    return format_of(request, request.app.state.get("error_formats") or {})


def _no_path(request: Request[Any, Any, Any]) -> NotFound:
    """The error for a path that does not exist: it names the path that was probably meant.

    It names only paths that /openapi.json shows to everybody, and does not repeat the path that came: a client may have
    pasted a key into it. A key that is not known is mentioned as well, so that its owner does not look for it next.
    """
    templates = {_TYPE_OF_PARAMETER.sub("}", route.path) for route in request.app.routes}
    below = paths_below(request.scope["path"], templates)
    meant = near_path(request.scope["path"], below or templates)
    if meant is not None:
        hint = f"Did you mean `{meant}`?"
    elif below:
        listed = ", ".join(f"`{template}`" for template in below)
        hint = f"This API has {listed}. The gateway's own paths begin with `/v1`."
    else:
        hint = "`/docs` lists all paths, and so does `/openapi.json`."
    context: Context | None = request.app.state.get("context")
    is_unknown = context is not None and context.authenticator.is_unknown(request)
    return NotFound(f"This path does not exist. {hint}" + (" The API key is not known, either." if is_unknown else ""))


_TYPE_OF_PARAMETER = re.compile(r":\w+}")  # Litestar writes `{file_id:str}`


def _message_and_param(error: HTTPException) -> tuple[str, str | None]:
    """The message and the parameter of a refusal; the framework keeps those of a validation in `extra`."""
    first = error.extra[0] if isinstance(error.extra, list) and error.extra else None
    if not isinstance(first, Mapping) or not isinstance(first.get("message"), str):
        return error.detail, None
    key = first.get("key")
    if not isinstance(key, str) or not key:
        return first["message"], None
    return f"`{key}`: {first['message']}", key


def _code(status: int) -> str:
    """A code for a status that none of our errors has: the name of the status."""
    try:
        return HTTPStatus(status).name.lower()
    except ValueError:
        return "refused"


def _allow(headers: Mapping[str, str]) -> dict[str, str]:
    return {("Allow" if name.lower() == "allow" else name): value for name, value in headers.items()}


def _unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """A fault of the gateway. The log gets all of it; the client gets only the request id, to ask about."""
    request_id = _request_id(request)
    request.scope["state"][ERROR_CODE] = GatewayError.code
    log.error(
        "request_failed",
        request_id=request_id,
        method=request.scope["method"],
        **log_location(request.scope),
        error=type(error).__name__,
        exc_info=error,
    )
    return render(GatewayError(), request_id, _format(request))


def _request_id(request: Request[Any, Any, Any]) -> str:
    """The id of the request; where the middleware has set none, a new one that the request keeps."""
    state = request.scope["state"]
    request_id = state.get("request_id")
    if not isinstance(request_id, str):
        request_id = state["request_id"] = f"req_{uuid.uuid4().hex}"
    return request_id


EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    GatewayError: _gateway_error,
    HTTPException: _http_exception,
    Exception: _unexpected,
}
