"""In which shape a client gets an error. Dialects have shapes of their own, and the rest of the API has OpenAI's."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

from litestar import Request

_STATE = "error_format"  # of the scope's state: set by a handler that serves several dialects
OPT = "error_format"  # of a route handler that always answers in one dialect


class ErrorInfo(NamedTuple):
    """An error before it has a shape."""

    status: int
    message: str
    type: str  # the class of the error in OpenAI's vocabulary
    code: str  # stable; docs/errors.md lists them
    param: str | None
    members: Mapping[str, object]  # additional members of our error object
    request_id: str


class ErrorAnswer(NamedTuple):
    """An error in the shape of a dialect."""

    body: object  # is encoded as JSON
    status: int


ErrorFormat = Callable[[ErrorInfo], ErrorAnswer]


def openai_error(error: ErrorInfo) -> ErrorAnswer:
    """The shape of every error outside of the dialects: OpenAI's, with the request id beside it."""
    content = {
        "message": error.message,
        "type": error.type,
        "param": error.param,
        "code": error.code,
        **error.members,
    }
    return ErrorAnswer({"error": content, "request_id": error.request_id}, error.status)


def named_message(info: ErrorInfo) -> str:
    """The message with the client's name of the field at fault before it, unless it has that name already.

    Our own error has the name as `param`, which the errors of some dialects lack.
    """
    is_about_field = info.param is not None and info.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY}
    return (
        f"`{info.param}`: {info.message}" if is_about_field and f"`{info.param}" not in info.message else info.message
    )


def use_format(request: Request[Any, Any, Any], error_format: ErrorFormat) -> None:
    """Give the errors of this request another shape: the handler serves several dialects, and knows which it is."""
    request.scope["state"][_STATE] = error_format


def format_of(request: Request[Any, Any, Any], by_prefix: Mapping[str, ErrorFormat]) -> ErrorFormat:
    """The shape of the errors of a request: what its handler decided, else that of its handler, else of its path.

    `by_prefix` has the shapes for paths that have no handler, by what the path begins with.
    """
    chosen: ErrorFormat | None = request.scope["state"].get(_STATE)
    if chosen is not None:
        return chosen
    handler: Any = request.scope.get("route_handler")
    if handler is not None and (declared := handler.opt.get(OPT)) is not None:
        of_handler: ErrorFormat = declared
        return of_handler
    path = request.scope["path"]
    return next((form for prefix, form in by_prefix.items() if path.startswith(prefix)), openai_error)
