"""Makes the OpenAPI document from the operations of all handlers and the wire structures that they name."""

from collections.abc import Mapping
from importlib.metadata import version
from inspect import cleandoc
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.api.generations.image_parameters import IMAGE_PARAMETERS, CreateImage
from gateway.api.generations.parameter import Parameters
from gateway.api.generations.parameters import VIDEO_PARAMETERS, CreateVideo
from gateway.api.generations.quote import LeftOutRoute
from gateway.api.handlers import HANDLERS
from gateway.api.openapi.create import create_body, create_form
from gateway.api.web.operation import REF, Operation, described
from gateway.api.webhooks.events import BODIES, WEBHOOKS

_ROUTES = "Only with 422 `unsupported_parameter`: every route of the model, and why it cannot do what was asked."
_ID = "Only of a call that waits for images, once there is a generation: its id, with which it can be read."


class ErrorBody(Struct, frozen=True, kw_only=True):
    """An error in OpenAI's shape."""

    message: str
    type: str
    param: str | None
    code: str
    generation_id: Annotated[str | UnsetType, Meta(description=_ID)] = UNSET
    routes: Annotated[tuple[LeftOutRoute, ...] | UnsetType, Meta(description=_ROUTES)] = UNSET


class ErrorAnswer(Struct, frozen=True, kw_only=True):
    """The body of every error answer."""

    error: ErrorBody
    request_id: str


_PLAIN = {
    204: "The client has all events; it need not reconnect",
    206: "The requested parts of the file",
    302: "The file is at this location",
    304: "Nothing has changed",
}
_WORDS = {
    400: "The request is not valid",
    401: "The API key is missing or not known, or the token is not valid for this file",
    403: "The path needs an admin key, or the gateway has no keys and was called by another name than localhost",
    404: "The resource does not exist",
    408: "The body did not arrive in time",
    409: "The resource does not allow this now",
    410: "The file has expired, or is lost",
    412: "The file does not match If-Match or If-Unmodified-Since",
    413: "The body is too large",
    415: "The media type of the body is not accepted here",
    416: "The file has none of the requested bytes",
    422: "No route of the model can do what was requested, or the idempotency key was used with another body",
    502: "The provider did not deliver the file, or made none",
    503: "Not available now; see Retry-After",
    504: "The generation goes on, or its time has passed",
}
# The name of a form is that of its body and `Form`.
_CREATES: Mapping[type[Struct], Parameters] = {CreateVideo: VIDEO_PARAMETERS, CreateImage: IMAGE_PARAMETERS}
_REQUEST_ID = {"x-request-id": {"$ref": "#/components/headers/request-id"}}


def document() -> dict[str, Any]:
    """The document, OpenAPI 3.1, as plain JSON values."""
    operations = list(described(HANDLERS))
    structures = [
        structure
        for _, _, operation in operations
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
    _, schemas = msgspec.json.schema_components([*structures, *BODIES, *_CREATES, ErrorAnswer], ref_template=REF)
    for body, table in _CREATES.items():
        schemas[body.__name__] = create_body(schemas[body.__name__], table)
    for schema in schemas.values():  # Python before 3.13 keeps the indentation of a docstring
        if "description" in schema:
            schema["description"] = cleandoc(schema["description"])
    for body, table in _CREATES.items():
        form = f"{body.__name__}Form"
        schemas[form] = create_form(schemas[body.__name__], table, form)
    paths: dict[str, dict[str, Any]] = {}
    for method, path, operation in operations:
        paths.setdefault(path, {})[method] = _operation(path, operation)
    content = {
        "openapi": "3.1.0",
        "info": {
            "title": "video-gateway",
            "version": version("video-gateway"),
            "description": "One API in front of many video generation providers.",
        },
        "paths": paths,
        "webhooks": WEBHOOKS,
        "components": {
            "schemas": schemas,
            "headers": {"request-id": _header("the same id as `request_id` in an error and in the gateway's log")},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "token": {"type": "apiKey", "in": "query", "name": "token"},  # part of URLs that the gateway makes
            },
        },
        "security": [{"bearer": []}],
    }
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(content))
    return plain


def _operation(path: str, operation: Operation) -> dict[str, Any]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
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
    accepted: dict[str, Any] = {"*/*": {}} if operation.any_body else {}
    if operation.body is not None:
        accepted |= _json(operation.body)
    if operation.form is not None:
        accepted["multipart/form-data"] = {"schema": operation.form}
    if accepted:
        described["requestBody"] = {"required": operation.body_required and not operation.any_body, "content": accepted}
    if operation.open or operation.token:
        described["security"] = [{"bearer": []}, {"token": []}] if operation.token else []
    return described


def _responses(operation: Operation) -> dict[str, Any]:
    if operation.stream is not None:
        events = {"contentMediaType": "application/json", "contentSchema": _ref(operation.stream)}
        content: dict[str, Any] = {"text/event-stream": {"schema": {"type": "string", **events}}}
    elif operation.answer is None:
        content = {media_type: {} for media_type in operation.media_types}
    elif operation.other_answers:
        schema = {"oneOf": [_ref(structure) for structure in (operation.answer, *operation.other_answers)]}
        content = {"application/json": {"schema": schema}}
    else:
        content = _json(operation.answer)
    responses: dict[str, Any] = {
        str(status): {"description": description, "headers": _headers(operation.answer_headers), "content": content}
        for status, description in {operation.status: "Done", **operation.also}.items()
    }
    for status in sorted({*operation.errors, *(() if operation.open else (401, 403))}):
        answer = responses[str(status)] = {
            "description": _PLAIN.get(status) or _WORDS[status],
            "headers": _headers(operation.other_headers.get(status, {})),
        }
        if status not in _PLAIN:
            answer["content"] = _error_content(operation)
        elif status == 206:
            answer["content"] = {**content, "multipart/byteranges": {}}
    responses["default"] = {"description": "Any other error", "headers": _REQUEST_ID, "content": _json(ErrorAnswer)}
    return responses


def _error_content(operation: Operation) -> dict[str, Any]:
    own = operation.error_body or ErrorAnswer
    if not operation.other_errors:
        return _json(own)
    return {"application/json": {"schema": {"oneOf": [_ref(kind) for kind in (own, *operation.other_errors)]}}}


def _headers(texts: Mapping[str, str]) -> dict[str, Any]:
    return {**{name: _header(text) for name, text in texts.items()}, **_REQUEST_ID}


def _header(text: str) -> dict[str, Any]:
    return {"description": text, "schema": {"type": "string"}}


def _json(kind: type) -> dict[str, Any]:
    return {"application/json": {"schema": _ref(kind)}}


def _ref(kind: type) -> dict[str, str]:
    return {"$ref": REF.format(name=kind.__name__)}
