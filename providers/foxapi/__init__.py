"""FoxAPI, Kling V3 and O3: translation only.

Source: docs.foxapi.cc (model pages, "Get task detail", "Error codes", file uploads), what clients of the sibling brand
AIHubMax have met, and the exchanges under tests/exchanges/foxapi/, which win where they disagree. Other ids of the
same endpoint (kling-v2-6-video, the legacy O1 models) are named in configuration, each with the row it follows.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

from msgspec import structs

from gateway.domain.adapter.contract import (
    Adapter,
    FilePart,
    HttpCall,
    HttpReply,
    Polling,
)
from gateway.domain.adapter.decoding import http_url, items, mapping, number, progress, read_json, text
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.refusals import classify
from gateway.domain.adapter.replies import (
    artifact,
    error_body,
    id_of,
    pending,
    unique_by_url,
    without_result,
)
from gateway.domain.adapter.request import ImageToVideo, ReferencesToVideo, TextToVideo, UpstreamRequest
from gateway.domain.adapter.task import Artifact, Completed, Status, TaskRef, TaskSnapshot
from gateway.domain.errors import UnreadableReply
from providers.foxapi.errors import REFUSALS, task_failure_kind
from providers.foxapi.models import CAPABILITIES

# Cloudflare answers a client library's own User-Agent with 403 "error code: 1010".
HEADERS = {"User-Agent": "Mozilla/5.0 (compatible; video-gateway/1.0)"}
POLLING = Polling(
    first_poll_seconds=5, poll_seconds=5, poll_max_seconds=15, attempt_timeout_seconds=1200, grace_seconds=120
)

FRAMES = {  # first, last: one family's name for the last frame is an unknown field, and a 422, in the other
    "kling-v3-image-to-video": ("image_url", "image_tail_url"),
    "kling-o3-image-to-video": ("image_url", "end_image_url"),
    "kling-o3-reference-to-video": ("start_image_url", "end_image_url"),
    "kling-v3-motion-control": ("image_url",),
    "kling-v2-6-motion-control": ("image_url",),
}

PENDING = {"pending": Status.QUEUED, "processing": Status.IN_PROGRESS}
CANCELLED = frozenset({"cancelled", "canceled"})


def to_upstream(request: UpstreamRequest) -> HttpCall:
    """The submit. Nothing that was not asked for: several models refuse a field they do not know."""
    asked = request.settings
    has_audio = CAPABILITIES[request.row][0].generate_audio
    body: dict[str, Any] = {
        "model": request.model,
        "prompt": request.prompt or None,
        "duration": asked.duration_seconds,
        "resolution": asked.resolution,
        "aspect_ratio": asked.aspect_ratio,
        # A client may ask for silence of a model that has no sound, and no field for it.
        "generate_audio": asked.generate_audio if has_audio or asked.generate_audio else None,
        "negative_prompt": asked.negative_prompt,
        "mode": asked.mode,
    }
    match request.input:
        case TextToVideo():
            pass
        case ImageToVideo(first_frame=first, last_frame=last):
            body |= _frames(request.row, first, last)
        case ReferencesToVideo(references=references, first_frame=first, last_frame=last):
            body |= {"image_urls": list(references), **_frames(request.row, first, last)}
    sent = {**request.options, **{name: value for name, value in body.items() if value is not None}}
    return HttpCall(method="POST", path="/v1/videos/generations", headers=HEADERS, json=sent)


def _frames(row: str, *frames: str | None) -> dict[str, str]:
    return {FRAMES[row][place]: frame for place, frame in enumerate(frames) if frame is not None}


def task_refs(call: HttpCall, reply: HttpReply) -> tuple[TaskRef, ...]:  # noqa: ARG001  # the reply says it all
    """The one task that a submit started."""
    task = mapping(read_json(reply))
    task_id = id_of(task.get("id"))
    if not task_id:
        raise UnreadableReply("foxapi: the reply to a submit names no task")
    estimate = number(mapping(task.get("task_info")).get("estimated_time"))
    first = None if estimate is None else max(POLLING.first_poll_seconds, estimate / 2)
    return (TaskRef(id=task_id, first_poll_seconds=first),)


def poll(ref: TaskRef) -> HttpCall:
    """The state that FoxAPI holds."""
    return HttpCall(method="GET", path=f"/v1/tasks/{quote(ref.id, safe='')}", headers=HEADERS)


def refresh(ref: TaskRef) -> HttpCall:
    """The same, after FoxAPI has looked at its own upstream."""
    return structs.replace(poll(ref), query={"sync_upstream": "true"})


def from_upstream(reply: HttpReply) -> TaskSnapshot:
    """What a poll's reply says; `status` alone decides, because `error` has been seen beside `completed`."""
    task = mapping(read_json(reply))
    raw_status = text(task.get("status")).strip()
    if not any(letter.isalpha() for letter in raw_status):  # no word at all
        raise UnreadableReply("foxapi: the reply to a poll has no status")
    known = raw_status.lower()
    done = progress(task.get("progress"))
    error = error_body({"error": task.get("error")})
    if known == "completed":
        artifacts = _artifacts(task)
        return Completed(artifacts) if artifacts else without_result(raw_status, done)
    if known == "failed":
        return failed(task_failure_kind(error), error.message, error.code)
    if known in CANCELLED:
        return failed(FailureKind.TASK_FAILED, error.message or "The provider cancelled the task.", "cancelled")
    return pending(raw_status, PENDING, done)


def _artifacts(task: Mapping[str, object]) -> tuple[Artifact, ...]:
    output = mapping(task.get("output"))
    named = [
        *((mapping(result).get("url", result), mapping(result)) for result in items(task.get("results"))),
        *((url, output) for url in (*items(output.get("urls")), output.get("url"))),
        (task.get("url"), {}),
    ]
    return unique_by_url(artifact(url, about) for url, about in named)


def upload(file: FilePart) -> HttpCall:
    """Kept for 72 hours. `auto_cleanup` makes room by dropping the oldest uploads; without it a full store is a 403."""
    return HttpCall(
        method="POST",
        path="/v1/files/upload/stream",
        headers=HEADERS,
        file=structs.replace(file, field="file"),
        fields={"file_name": file.filename, "auto_cleanup": "true"},
    )


def uploaded_url(reply: HttpReply) -> str:
    """Where the upload can be read."""
    url = http_url(mapping(read_json(reply)).get("url"))
    if url is None:
        raise UnreadableReply("foxapi: the reply to an upload names no URL")
    return url


ADAPTER = Adapter(
    name="foxapi",
    base_url="https://api.foxapi.cc",
    capabilities=CAPABILITIES,
    polling=POLLING,
    to_upstream=to_upstream,
    task_refs=task_refs,
    poll=poll,
    from_upstream=from_upstream,
    classify=partial(classify, refusals=REFUSALS),
    refresh=refresh,
    rate_limit_seconds=30,
    upload=upload,
    uploaded_url=uploaded_url,
    # Files live 72 h ("File uploads"), but a full store drops the oldest, and a task reads its input when it begins.
    upload_keep_seconds=24 * 3600,
)
