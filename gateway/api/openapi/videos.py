"""What the OpenAPI document tells of generations and their events."""

from collections.abc import Mapping
from typing import Any

from gateway.api.generations.event_feed import EventView
from gateway.api.generations.parameters import CreateVideo
from gateway.api.generations.quote import QuoteView
from gateway.api.generations.views import Deleted, GenerationList, GenerationView
from gateway.api.openapi.create import CREATE_FORM
from gateway.api.openapi.operation import PAGE, REF, Operation

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
_FORM: Mapping[str, Any] = {"$ref": REF.format(name=CREATE_FORM)}
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
    Operation(
        method="get",
        path=_VIDEOS + "/{generation_id}/events",
        id="streamVideoEvents",
        summary="Follow a generation, from its beginning until its end: `video.generation.` `queued`, `in_progress`,"
        " `completed`, `failed`, `cancelled`, `expired`, `output.completed` and `output.failed`, each under an id to"
        " resume from, and `progress`, which has none",
        stream=EventView,
        query={
            "last_event_id": {
                "type": "integer",
                "minimum": 1,
                "description": "the same as the header, which wins, for who cannot set one",
            }
        },
        headers={"Last-Event-ID": "the id of the last event that the client has: those behind it are told"},
        errors=(204, 400, 404, 503),
    ),
)
