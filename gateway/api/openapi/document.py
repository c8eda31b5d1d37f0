"""Makes the OpenAPI document from the operations of all handlers and the wire structures that they name."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.api.generations.quote import BudgetView, LeftOutRoute
from gateway.api.handlers import HANDLERS
from gateway.api.health import Health
from gateway.api.openapi.answers import kind_of, known_examples, moment_of
from gateway.api.openapi.bodies import body_example, form_example
from gateway.api.openapi.errors import error_info, example_of, tables
from gateway.api.openapi.samples import Samples
from gateway.api.openapi.schemas import component_schemas
from gateway.api.openapi.tags import EVENTS_TAG, tag_of, tags_of
from gateway.api.web.operation import BINARY, REF, Described, Operation, described
from gateway.api.webhooks.events import BODIES, WEBHOOKS

_ROUTES = "Only with 422 `unsupported_parameter`: every route of the model, and why it cannot do what was asked."
_BUDGET = "Only with 402 `budget_exceeded`: the budget that has too little left."
_RESERVES = "Only with 402 `budget_exceeded`: the most that the request can cost, in USD."
_ID = "Only of a call that waits for images, once there is a generation: its id, with which it can be read."


class ErrorBody(Struct, frozen=True, kw_only=True):
    """An error in OpenAI's shape."""

    message: str  # for people: what is wrong, and the remedy
    type: str  # the class of the error in OpenAI's vocabulary
    param: str | None  # the parameter at fault; null: none
    code: str  # stable; the table of errors of requests has all codes
    generation_id: Annotated[str | UnsetType, Meta(description=_ID)] = UNSET
    routes: Annotated[tuple[LeftOutRoute, ...] | UnsetType, Meta(description=_ROUTES)] = UNSET
    budget: Annotated[BudgetView | UnsetType, Meta(description=_BUDGET)] = UNSET
    reserves_usd: Annotated[float | UnsetType, Meta(description=_RESERVES)] = UNSET


class ErrorAnswer(Struct, frozen=True, kw_only=True):
    """The body of every error answer."""

    error: ErrorBody  # what went wrong
    request_id: str  # names this request in the gateway's log


_PLAIN = {
    204: "The client has all events; it need not reconnect",
    206: "The requested parts of the file",
    302: "The file is at this location",
    304: "Nothing has changed",
}
_WORDS = {
    400: "The request is not valid",
    401: "The API key is missing or not known, or the token is not valid for this file",
    403: "The key lacks the scope, or the client may not use or see this; or the gateway has no keys, and another"
    " machine or a web page has called it",
    404: "The resource does not exist",
    408: "The body did not arrive in time",
    409: "The resource does not allow this now",
    410: "The file has expired, or is lost",
    412: "The file does not match If-Match or If-Unmodified-Since",
    413: "The body is too large",
    415: "The media type of the body is not accepted here",
    416: "The file has none of the requested bytes",
    422: "No route of the model can do what was requested, the idempotency key was used with another body, or the"
    " configuration has faults",
    429: "The client has reached one of its limits; see Retry-After",
    502: "The provider did not deliver the file, or made none",
    503: "Not available now; see Retry-After",
    504: "The generation goes on, or its time has passed",
    507: "The disk of the gateway has no room for input images",
}
_ADMIN = "/v1/admin/"  # the beginning of the paths that need an admin key
_PATH_TEXT = {
    "name": "Any name of the model; it may contain a slash.",
    "token": "The token of the callback URL.",
    "client": "The name of the client.",
}
_QUERY_TEXT = {
    "limit": "How many objects a page has at most.",
    "order": "By the time of the creation: `desc` has the newest first.",
    "variant": "Which file of the output.",
}
_ABOUT = """One API in front of many providers of generated videos and images.

## Authentication

Send a key as `Authorization: Bearer KEY`. The operator sets the keys of clients in `server.api_keys`, and those of
operators, which the paths below `/v1/admin/` need, in `server.admin_keys`. The headers `x-api-key` and
`api-key` are read as well. A gateway without keys answers to `localhost` alone, and needs none.

The URLs of files in answers (`data[].url`, `thumbnail_url`) have a signed `token` in their query. A client with such
a URL can read this one file until it expires, without a key."""
_SECURITY = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key of a client: one of `server.api_keys`. A gateway without keys needs none on localhost."
        " The headers `x-api-key` and `api-key` are read as well; their value is the key alone."
        " A JWT that one of `server.kling_keys` has signed, as Kling's clients send it, is accepted in its place.",
    },
    "admin": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key of an operator: one of `server.admin_keys`.",
    },
    "token": {
        "type": "apiKey",
        "in": "query",
        "name": "token",
        "description": "A signed token for one file. It is a part of the URLs that the gateway makes.",
    },
}
_REQUEST_ID = {"x-request-id": {"$ref": "#/components/headers/request-id"}}


def document(server: str = "/") -> dict[str, Any]:
    """The document, OpenAPI 3.1, as plain JSON values. `server` is the URL where the gateway is reached.

    A relative URL counts from the place of the document.
    """
    operations = list(described(HANDLERS))
    structures = [
        structure
        for operation in (route.operation for route in operations)
        for structure in (
            operation.body,
            operation.answer,
            *operation.other_answers,
            operation.stream,
            operation.error_body,
            *operation.other_errors,
        )
        if structure is not None
    ]
    schemas = component_schemas([*structures, *BODIES, ErrorAnswer])
    paths: dict[str, dict[str, Any]] = {}
    for route in operations:
        paths.setdefault(route.path, {})[route.method] = _operation(route, schemas)
    content = {
        "openapi": "3.1.0",
        "info": {
            "title": "video-gateway",
            "version": version("video-gateway"),
            "description": f"{_ABOUT}\n\n{tables()}",
            "license": {"name": "Proprietary", "identifier": "LicenseRef-Proprietary"},
        },
        "servers": [{"url": server, "description": "This gateway."}],
        "tags": tags_of([*map(tag_of, operations), EVENTS_TAG]),
        "paths": paths,
        "webhooks": _with_examples(WEBHOOKS, schemas),
        "components": {
            "schemas": schemas,
            "headers": {"request-id": _header("the same id as `request_id` in an error and in the gateway's log")},
            "securitySchemes": _SECURITY,
        },
        "security": [{"bearer": []}],
    }
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(content))
    return plain


def _with_examples(webhooks: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, Any]:
    """Return the webhooks with a tag, and with an example of each body."""
    samples = Samples(schemas, known_examples("video", "completed"))
    shown: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(webhooks))
    for methods in shown.values():
        methods["post"]["tags"] = [EVENTS_TAG]
        body = methods["post"]["requestBody"]["content"]["application/json"]
        body["example"] = samples.of(body["schema"])
    return shown


def _operation(route: Described, schemas: Mapping[str, Any]) -> dict[str, Any]:
    path, operation, tag = route.path, route.operation, tag_of(route)
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "description": _path_text(name), "schema": {"type": "string"}}
        for name in names
    ]
    for name, schema in operation.query.items():
        text = schema.get("description") or _QUERY_TEXT.get(name, f"Only those with this {name}.")
        style = {"style": "deepObject", "explode": True} if schema["type"] == "object" else {}
        parameters.append(
            {"name": name, "in": "query", "required": False, "description": text, "schema": dict(schema), **style}
        )
    for name, said in operation.headers.items():
        schema = {"type": "string"} if isinstance(said, str) else {**said}
        text = said if isinstance(said, str) else schema.pop("description")
        parameters.append({"name": name, "in": "header", "required": False, "description": text, "schema": schema})
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "description": f"{operation.summary}.",
        "tags": [] if tag is None else [tag],
        "parameters": parameters,
        "responses": _responses(route, schemas),
    }
    accepted: dict[str, Any] = {"*/*": {"schema": BINARY}} if operation.any_body else {}
    if operation.body is not None:
        accepted |= _json(operation.body, body_example(route, operation.body.__name__))
    if operation.form is not None:
        example = form_example(route) or Samples(schemas, {}).of(operation.form)
        accepted["multipart/form-data"] = {"schema": operation.form, "example": example}
    if accepted:
        described["requestBody"] = {"required": operation.body_required and not operation.any_body, "content": accepted}
    if operation.open or operation.token:
        described["security"] = [{"bearer": []}, {"token": []}] if operation.token else []
    elif path.startswith(_ADMIN):
        described["security"] = [{"admin": []}]
    return described


def _responses(route: Described, schemas: Mapping[str, Any]) -> dict[str, Any]:
    operation = route.operation
    responses: dict[str, Any] = {}
    for status, description in {operation.status: "Done", **operation.also}.items():
        samples = Samples(schemas, known_examples(kind_of(route.path), moment_of(route.method, route.path, status)))
        content = _content(operation, samples)
        headers = _headers(operation.answer_headers)
        responses[str(status)] = {"description": description, "headers": headers, "content": content}
    for status in sorted({*operation.errors, *_of_keys(route)}):
        answer = responses[str(status)] = {
            "description": _PLAIN.get(status) or _WORDS.get(status) or HTTPStatus(status).phrase,
            "headers": _headers(operation.other_headers.get(status, {})),
        }
        if status not in _PLAIN:
            answer["content"] = _error_content(route, status, schemas)
        elif status == 206:
            files = responses[str(operation.status)]["content"]
            answer["content"] = {**files, "multipart/byteranges": {"schema": BINARY}}
    other = _json(ErrorAnswer, example_of(500))
    responses["default"] = {"description": "Any other error", "headers": _REQUEST_ID, "content": other}
    return responses


def _of_keys(route: Described) -> tuple[int, ...]:
    """Return the statuses that a key can cause, whatever the operation does."""
    if route.operation.open:
        return ()
    return (401, 403) if route.path.startswith(_ADMIN) else (401, 403, 429)


def _content(operation: Operation, samples: Samples) -> dict[str, Any]:
    """Return the content of a success."""
    if operation.stream is not None:
        events = {"contentMediaType": "application/json", "contentSchema": _ref(operation.stream)}
        data = samples.of(_ref(operation.stream))
        frame = f"id: 4\nevent: {data['type']}\ndata: {msgspec.json.encode(data).decode()}\n\n"
        return {"text/event-stream": {"schema": {"type": "string", **events}, "example": frame}}
    if operation.answer is None:
        return {media_type: {"schema": BINARY} for media_type in operation.media_types}
    content = _one_of((operation.answer, *operation.other_answers), samples.of(_ref(operation.answer)))
    return {**content, "text/csv": {"schema": {"type": "string"}}} if operation.has_csv else content


def _error_content(route: Described, status: int, schemas: Mapping[str, Any]) -> dict[str, Any]:
    operation = route.operation
    own = operation.error_body or ErrorAnswer
    info = error_info(status)
    if own is Health:
        return _one_of((own,), {"status": "unavailable", "reason": "The gateway is stopping."})
    if info is None or route.error_format is None:
        example = example_of(status) if own is ErrorAnswer else Samples(schemas, {}).of(_ref(own))
    else:
        example = msgspec.to_builtins(route.error_format(info).body)
    return _one_of((own, *operation.other_errors), example)


def _one_of(kinds: Sequence[type], example: Any) -> dict[str, Any]:
    """Return the content of a body that has one of these structures. The example is one of the first."""
    content = _json(kinds[0], example)
    if len(kinds) > 1:
        content["application/json"]["schema"] = {"anyOf": [_ref(kind) for kind in kinds]}
    return content


def _headers(texts: Mapping[str, str]) -> dict[str, Any]:
    return {**{name: _header(text) for name, text in texts.items()}, **_REQUEST_ID}


def _header(text: str) -> dict[str, Any]:
    return {"description": text, "schema": {"type": "string"}}


def _json(kind: type, example: Any) -> dict[str, Any]:
    return {"application/json": {"schema": _ref(kind), "example": example}}


def _path_text(name: str) -> str:
    """Return the description of a part of a path."""
    return _PATH_TEXT.get(name, f"The {name.replace('_', ' ')}.")


def _ref(kind: type) -> dict[str, str]:
    return {"$ref": REF.format(name=kind.__name__)}
