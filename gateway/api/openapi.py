"""The OpenAPI document: one table of operations, schemas from the wire structures themselves."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from gateway.api import openapi_content, openapi_files
from gateway.api.attempts import STATES, AdminAttempt, AdminAttemptList, AttachTask
from gateway.api.create import ALIASES, CreateVideo
from gateway.api.events import EVENTS
from gateway.api.feed import EventView
from gateway.api.fields import SIZES
from gateway.api.files import FileList, FileView
from gateway.api.model_views import ModelList, ModelView
from gateway.api.objects import Nothing
from gateway.api.openapi_files import CREATE_FORM, create_form
from gateway.api.operation import PAGE, Operation
from gateway.api.quotes import QuoteView
from gateway.api.views import Deleted, GenerationList, GenerationView
from gateway.api.webhook_operations import OPERATIONS as WEBHOOK_OPERATIONS
from gateway.api.webhook_operations import WEBHOOKS, WebhookEvent, WebhookTest
from gateway.domain.generation import GenerationRequest
from gateway.domain.request import TextToVideo


class ErrorBody(Struct, frozen=True, kw_only=True):
    """What went wrong, in OpenAI's shape."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorAnswer(Struct, frozen=True, kw_only=True):
    """Every error, whatever its status."""

    error: ErrorBody
    request_id: str


class Health(Struct, frozen=True, kw_only=True):
    """`ok`, or why not."""

    status: str
    reason: str | UnsetType = UNSET


_ETAG: Mapping[str, str] = {"ETag": "changes when the generation does"}
_HINTS: Mapping[str, str] = {
    "Retry-After": "only while it is open: seconds until it is worth reading again, by how long its route takes",
    "openai-poll-after-ms": "the same in milliseconds, at most 5,000: OpenAI's `poll()` keeps the first value",
}
_TEXT: Mapping[str, Any] = {"type": "string"}
_UNIX: Mapping[str, Any] = {"type": "integer", "minimum": 0, "description": "Unix seconds"}
_LIST: Mapping[str, Mapping[str, Any]] = {
    **PAGE,
    "status": {"type": "string", "enum": ["queued", "in_progress", "completed", "failed", "cancelled", "expired"]},
    "model": _TEXT,
    "provider": _TEXT,
    "created_after": _UNIX,
    "created_before": _UNIX,
    "metadata": {
        "type": "object",
        "additionalProperties": {"type": "string"},
        "description": "`metadata[key]=value`, as often as needed",
    },
}
_WAIT: Mapping[str, Any] = {
    "type": "integer",
    "minimum": 0,
    "maximum": 60,
    "description": "hold the answer until the status changes, with If-None-Match until anything does, at most so many"
    " seconds",
}
_VIDEOS = "/v1/videos/generations"
_ATTEMPTS = "/v1/admin/attempts"
_REF = "#/components/schemas/{name}"
_FORM: Mapping[str, Any] = {"$ref": _REF.format(name=CREATE_FORM)}
OPERATIONS = (
    Operation(
        method="post",
        path=_VIDEOS,
        id="createVideoGeneration",
        summary="Create a generation: durable when this answers, started soon after",
        body=CreateVideo,
        form=_FORM,
        answer=GenerationView,
        headers={
            "Idempotency-Key": "the same key and body give the first answer again for 24 hours",
            "X-Stainless-Retry-Count": "1 or more, without a key: the generation that an equal request made within the"
            " last 60 seconds is the answer; client libraries send it by themselves",
        },
        answer_headers={
            "Location": "the path of the generation",
            "Idempotent-Replayed": "`true` when this is the answer to an earlier request that this one repeats",
            **_HINTS,
        },
        errors=(400, 404, 408, 409, 413, 415, 422, 503),
    ),
    Operation(
        method="post",
        path=_VIDEOS + "/quote",
        id="quoteVideoGeneration",
        summary="Tell what would be done with a request: routes, reasons, prices; stores and starts nothing",
        body=CreateVideo,
        form=_FORM,
        answer=QuoteView,
        errors=(400, 404, 408, 413, 415, 503),
    ),
    Operation(
        method="get",
        path=_VIDEOS,
        id="listVideoGenerations",
        summary="List your own generations, newest first",
        query=_LIST,
        answer=GenerationList,
        errors=(400, 503),
    ),
    Operation(
        method="get",
        path=_VIDEOS + "/{generation_id}",
        id="readVideoGeneration",
        summary="Read a generation",
        query={"wait": _WAIT},
        headers={"If-None-Match": "an ETag; 304 while nothing changed"},
        answer=GenerationView,
        answer_headers={**_ETAG, **_HINTS},
        errors=(304, 400, 404, 503),
    ),
    Operation(
        method="post",
        path=_VIDEOS + "/{generation_id}/cancel",
        id="cancelVideoGeneration",
        summary="Cancel a generation; `cancellation` says whether a provider had started",
        answer=GenerationView,
        errors=(400, 404, 409, 503),
    ),
    Operation(
        method="delete",
        path=_VIDEOS + "/{generation_id}",
        id="deleteVideoGeneration",
        summary="Delete an ended generation",
        answer=Deleted,
        errors=(400, 404, 409, 503),
    ),
    *openapi_content.OPERATIONS,
    EVENTS,
    *openapi_files.OPERATIONS,
    Operation(
        method="get", path="/v1/models", id="listModels", summary="List the models", answer=ModelList, errors=(400,)
    ),
    Operation(
        method="get",
        path="/v1/models/{name}",
        id="readModel",
        summary="Read a model, by any of its names; a name may contain a slash",
        answer=ModelView,
        errors=(400, 404),
    ),
    Operation(
        method="get",
        path=_ATTEMPTS,
        id="listAttempts",
        summary="List submits of all keys that got no clear answer, oldest first; needs an admin key",
        query={
            "state": {
                "type": "string",
                "enum": list(STATES),
                "default": STATES[0],
                "description": "`held`: those that an operator is to decide about",
            },
            "limit": _LIST["limit"],
            "after": _LIST["after"],
        },
        answer=AdminAttemptList,
        errors=(400, 503),
    ),
    Operation(
        method="get",
        path=_ATTEMPTS + "/{attempt_id}",
        id="readAttempt",
        summary="Read an attempt; needs an admin key",
        answer=AdminAttempt,
        errors=(400, 404, 503),
    ),
    Operation(
        method="post",
        path=_ATTEMPTS + "/{attempt_id}/attach",
        id="attachTask",
        summary="Attach the task that an unknown attempt did start; needs an admin key",
        body=AttachTask,
        answer=AdminAttempt,
        errors=(400, 404, 408, 409, 413, 415, 503),
    ),
    *(
        Operation(
            method="post",
            path=f"{_ATTEMPTS}/{{attempt_id}}/{name}",
            id=f"{name}Attempt",
            summary=summary,
            body=Nothing,
            body_required=False,
            answer=AdminAttempt,
            errors=(400, 404, 408, 409, 413, 415, 503),
        )
        for name, summary in (
            ("fail", "Let a held attempt fail; needs an admin key"),
            ("resubmit", "Send a held attempt once more, after its quarantine; needs an admin key"),
        )
    ),
    Operation(
        method="post",
        path="/callbacks/{provider}/{token}",
        id="callBack",
        summary="For providers alone, at the URL that came with a submit: something happened, a reason to look",
        any_body=True,
        answer=Nothing,
        errors=(404, 408, 503),
        open=True,
    ),
    *WEBHOOK_OPERATIONS,
    Operation(method="get", path="/health/live", id="live", summary="Is it alive", answer=Health, open=True),
    Operation(
        method="get",
        path="/health/ready",
        id="ready",
        summary="Should it get traffic",
        answer=Health,
        errors=(503,),
        open=True,
    ),
)
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
    types: list[type] = [CreateVideo, QuoteView, GenerationView, GenerationList, Deleted, ModelList, ModelView]
    types += [EventView, FileList, FileView, AdminAttempt, AdminAttemptList, AttachTask, Nothing, ErrorAnswer, Health]
    types += [WebhookEvent, WebhookTest]
    types += [one for told in WEBHOOK_OPERATIONS for one in (told.answer, told.body) if one]
    _, schemas = msgspec.json.schema_components(types, ref_template=_REF)
    schemas["CreateVideo"] = _as_read(schemas["CreateVideo"])
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
        "webhooks": WEBHOOKS,
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


def _as_read(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a create request with all that is taken besides the names and types it is documented under."""
    properties = dict(schema["properties"])
    defaults = GenerationRequest(model="", input=TextToVideo())
    for name, value in (
        ("n", defaults.count),
        ("fallback", defaults.fallback),
        ("deadline_seconds", defaults.deadline_seconds),
    ):
        properties[name] = {**properties[name], "default": value}
    properties["adapt"] = {**properties["adapt"], "description": "Absent: as the model is configured, else `none`."}
    properties["size"] = {
        "description": "WIDTHxHEIGHT: resolution and aspect ratio in one.",
        "anyOf": [{"type": "string", "enum": list(SIZES)}, {"type": "null"}],
        "default": None,
    }
    digits = {"description": "The same as digits.", "type": "string", "pattern": "^[1-9][0-9]{0,3}$"}
    properties["duration"] = {**properties["duration"], "anyOf": [*properties["duration"]["anyOf"], digits]}
    for alias, name in ALIASES.items():
        properties[alias] = {**properties[name], "description": f"Another name of `{name}`."}
    side = {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 99_999}, {"type": "null"}], "default": None}
    properties["width"] = {**side, "description": "Together with `height`: another form of `size`."}
    properties["height"] = {**side, "description": "Together with `width`: another form of `size`."}
    return {**schema, "properties": properties}


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
    return {"$ref": _REF.format(name=kind.__name__)}
