"""`Operation`: how the OpenAPI document describes one handler. It is written beside the handler that it describes.

A route decorator takes it as `operation=`; method and path are those of the handler. A handler whose answer to `HEAD`
is documented separately has a `head_operation=` as well. Both end up in the `opt` of the handler, where
`gateway.api.openapi.document` reads them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from litestar import Controller
from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from gateway.api.web.error_format import OPT, ErrorFormat


class Operation(Struct, frozen=True, kw_only=True):
    """What a client can send to one handler, and what it can get back."""

    id: str  # unique; client generators name a method after it
    summary: str
    tag: str | None = None  # its group in the reference; None: that of its path in `gateway.api.openapi.tags`
    answer: type | None = None  # the wire structure of a success; None: the bytes of a file
    other_answers: Sequence[type] = ()  # what the client can ask for instead of `answer`
    status: int = 200  # of a success
    also: Mapping[int, str] = {}  # other statuses with the same wire structure → when they are sent
    stream: type | None = None  # instead of `answer`: the data of each event, for a handler that sends a stream
    has_csv: bool = False  # the client can ask for the same numbers as a table of comma-separated values
    media_types: Sequence[str] = ("video/*", "application/octet-stream")  # of the bytes of a file
    body: type | None = None
    any_body: bool = False  # instead of `body`: the request may have any body, or none
    form: Mapping[str, Any] | None = None  # the schema of the body as a form, accepted besides `body`
    query: Mapping[str, Mapping[str, Any]] = {}
    headers: Mapping[str, str | Mapping[str, str]] = {}  # request headers: name → description, or schema with it
    answer_headers: Mapping[str, str] = {}  # of a 200: name → description
    other_headers: Mapping[int, Mapping[str, str]] = {}  # of an answer with another status: name → description
    errors: Sequence[int] = ()  # besides 401 and 403, which every operation that needs a key can answer
    error_body: type | None = None  # the wire structure of an error, where it is not that of all others
    other_errors: Sequence[type] = ()  # further wire structures of an error, where several dialects share the path
    open: bool = False  # needs no key
    token: bool = False  # accepts a signed token in the query instead of a key
    body_required: bool = True


REF = "#/components/schemas/{name}"


def form_of(body: type[Struct]) -> Mapping[str, Any]:
    """The schema of a create request as a form, which `gateway.api.openapi.create` makes of its JSON body."""
    return {"$ref": REF.format(name=f"{body.__name__}Form")}


BINARY: Mapping[str, Any] = {"type": "string", "format": "binary"}
INDEX: Mapping[str, Any] = {  # the query of a file
    "type": "integer",
    "minimum": 0,
    "maximum": 10_000,
    "default": 0,
    "description": "of the output",
}
PAGE: Mapping[str, Mapping[str, Any]] = {  # the query of every list
    "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
    "after": {"type": "string", "description": "the `last_id` of a page: gives the page after it"},
    "before": {"type": "string", "description": "the `first_id` of a page: gives the page before it"},
    "order": {"type": "string", "enum": ["asc", "desc"], "default": "desc"},
}


# The query of a list of attempts, whose ids are those of their generations with a number.
ATTEMPT_CURSOR: Mapping[str, Any] = {**PAGE["after"], "pattern": "^att_[0-9A-HJKMNP-TV-Z]{26}_[1-9][0-9]{0,5}$"}


def page_of(prefix: str) -> Mapping[str, Mapping[str, Any]]:
    """Return the query of a list of objects whose ids begin with `prefix`, for example `file_`."""
    cursor = {"pattern": rf"^{prefix}[0-9A-HJKMNP-TV-Z]{{26}}$"}
    return {**PAGE, "after": {**PAGE["after"], **cursor}, "before": {**PAGE["before"], **cursor}}


Handlers = Sequence[type[Controller] | HTTPRouteHandler]


class Described(NamedTuple):
    """An operation, and the route that it describes."""

    method: str  # in lower case
    path: str  # as OpenAPI writes it: `/v1/files/{file_id}`
    operation: Operation
    error_format: ErrorFormat | None = None  # of a handler that always answers in one dialect


def described(handlers: Handlers) -> Iterator[Described]:
    """The operations of these handlers, each with its route, in the order in which the source has them.

    Raises `LookupError` for a handler without `operation=`: every public route is in the OpenAPI document.
    """
    for handler in handlers:
        if isinstance(handler, HTTPRouteHandler):
            yield from _of_handler(handler, "")
        else:
            prefix = handler.path  # type: ignore[misc]  # Litestar names it in `__slots__` as well
            for member in vars(handler).values():
                if isinstance(member, HTTPRouteHandler):
                    yield from _of_handler(member, prefix)


def _of_handler(handler: HTTPRouteHandler, prefix: str) -> Iterator[Described]:
    (path,) = handler.paths
    path = prefix + _TYPE_OF_PARAMETER.sub("}", path.rstrip("/"))
    method = next(HttpMethod(method).value.lower() for method in handler.http_methods if method != HttpMethod.HEAD)
    if "operation" not in handler.opt:
        raise LookupError(f"The handler of {method} {path} has no `operation=`.")
    yield Described(method, path, handler.opt["operation"], handler.opt.get(OPT))
    if "head_operation" in handler.opt:
        yield Described("head", path, handler.opt["head_operation"])


_TYPE_OF_PARAMETER = re.compile(r":\w+}")  # Litestar writes `{file_id:str}`
