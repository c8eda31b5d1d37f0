"""The OpenAPI document, from the tables of operations beside this file and the wire structures that they name."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.api.generations.quote import LeftOutRoute
from gateway.api.openapi import attempts, content, files, machines, models, purchases, videos, webhooks
from gateway.api.openapi.create import CREATE_FORM, create_body, create_form
from gateway.api.openapi.machines import Health
from gateway.api.openapi.operation import REF, Operation

RESOURCES = (videos, content, files, models, attempts, purchases, webhooks, machines)
OPERATIONS = [operation for resource in RESOURCES for operation in resource.OPERATIONS]


_ROUTES = "Only with 422 `unsupported_parameter`: every route of the model, and why it cannot do what was asked."


class ErrorBody(Struct, frozen=True, kw_only=True):
    """What went wrong, in OpenAI's shape."""

    message: str
    type: str
    param: str | None
    code: str
    routes: Annotated[tuple[LeftOutRoute, ...] | UnsetType, Meta(description=_ROUTES)] = UNSET


class ErrorAnswer(Struct, frozen=True, kw_only=True):
    """Every error, whatever its status."""

    error: ErrorBody
    request_id: str


_PLAIN = {
    204: "All events were told: do not come again",
    206: "Parts of the file",
    302: "The file is there",
    304: "Nothing changed",
}
_WORDS = {
    400: "The request is not valid",
    401: "The API key is missing or not known, or the token is not good for this",
    403: "The path needs an admin key, or the gateway has no keys and was called by a name not the machine's own",
    404: "There is no such resource",
    408: "The body did not arrive in time",
    409: "The resource does not allow this now",
    410: "The file is kept no longer, or is lost",
    412: "The file is not the one that is meant",
    413: "The body is too large",
    415: "The media type of the body is not one that is taken here",
    416: "The file has none of the bytes asked for",
    422: "No route of the model can do what was asked, or the idempotency key came with another body",
    502: "The provider did not hand over the file",
    503: "Not available now; see Retry-After",
}
_REQUEST_ID = {"x-request-id": {"$ref": "#/components/headers/request-id"}}


def document() -> dict[str, Any]:
    """OpenAPI 3.1, as plain values."""
    named = [kind for one in OPERATIONS for kind in (one.body, one.answer, one.stream) if kind is not None]
    _, schemas = msgspec.json.schema_components([*named, *webhooks.BODIES, ErrorAnswer], ref_template=REF)
    schemas["CreateVideo"] = create_body(schemas["CreateVideo"])
    schemas[CREATE_FORM] = create_form(schemas["CreateVideo"])
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    found = {
        "openapi": "3.1.0",
        "info": {
            "title": "video-gateway",
            "version": version("video-gateway"),
            "description": "One API in front of many video generation providers.",
        },
        "paths": paths,
        "webhooks": webhooks.WEBHOOKS,
        "components": {
            "schemas": schemas,
            "headers": {"request-id": _header("the same as `request_id` in an error, and in the gateway's log")},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "token": {"type": "apiKey", "in": "query", "name": "token"},  # in a URL that the gateway made
            },
        },
        "security": [{"bearer": []}],
    }
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(found))
    return plain


def _operation(operation: Operation) -> dict[str, Any]:
    names = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
    ]
    for name, schema in operation.query.items():
        style = {"style": "deepObject", "explode": True} if schema["type"] == "object" else {}
        parameters.append({"name": name, "in": "query", "required": False, "schema": dict(schema), **style})
    for name, text in operation.headers.items():
        parameters.append(
            {"name": name, "in": "header", "required": False, "description": text, "schema": {"type": "string"}}
        )
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "parameters": parameters,
        "responses": _responses(operation),
    }
    taken: dict[str, Any] = {"*/*": {}} if operation.any_body else {}
    if operation.body is not None:
        taken |= _json(operation.body)
    if operation.form is not None:
        taken["multipart/form-data"] = {"schema": operation.form}
    if taken:
        described["requestBody"] = {"required": operation.body_required and not operation.any_body, "content": taken}
    if operation.open or operation.token:
        described["security"] = [{"bearer": []}, {"token": []}] if operation.token else []
    return described


def _responses(operation: Operation) -> dict[str, Any]:
    if operation.stream is not None:
        events = {"contentMediaType": "application/json", "contentSchema": _ref(operation.stream)}
        content: dict[str, Any] = {"text/event-stream": {"schema": {"type": "string", **events}}}
    elif operation.answer is None:
        content = {media_type: {} for media_type in operation.media_types}
    else:
        content = _json(operation.answer)
    responses: dict[str, Any] = {
        "200": {"description": "Done", "headers": _headers(operation.answer_headers), "content": content}
    }
    for status in sorted({*operation.errors, *(() if operation.open else (401, 403))}):
        answer = responses[str(status)] = {
            "description": _PLAIN.get(status) or _WORDS[status],
            "headers": _headers(operation.other_headers.get(status, {})),
        }
        if status not in _PLAIN:
            answer["content"] = _json(Health if operation.answer is Health else ErrorAnswer)
        elif status == 206:
            answer["content"] = {**content, "multipart/byteranges": {}}
    responses["default"] = {"description": "Any other error", "headers": _REQUEST_ID, "content": _json(ErrorAnswer)}
    return responses


def _headers(named: Mapping[str, str]) -> dict[str, Any]:
    return {**{name: _header(text) for name, text in named.items()}, **_REQUEST_ID}


def _header(text: str) -> dict[str, Any]:
    return {"description": text, "schema": {"type": "string"}}


def _json(kind: type) -> dict[str, Any]:
    return {"application/json": {"schema": _ref(kind)}}


def _ref(kind: type) -> dict[str, str]:
    return {"$ref": REF.format(name=kind.__name__)}
