"""FoxAPI, Kling V3 and O3: translation only.

`models.py` says what its models accept, `errors.py` why it refuses calls and fails tasks.

Sources: docs.foxapi.cc (model pages, "Get task detail", "Error codes", file uploads), and what clients of the sibling
brand AIHubMax report. tests/exchanges/foxapi/ has one file for each form, with its source. Other models of the same
endpoint (kling-v2-6-video, the legacy O1 models) can be configured, each with the row of `CAPABILITIES` it follows.
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
    KeyTest,
    Polling,
)
from gateway.domain.adapter.decoding import http_url, items, mapping, number, progress, read_json, text
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.key_test import by_missing_task
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
from gateway.domain.adapter.request import FramesInput, ReferencesInput, TextInput, UpstreamRequest
from gateway.domain.adapter.task import Artifact, Completed, Status, TaskRef, TaskSnapshot
from gateway.domain.errors import UnreadableReply
from providers.foxapi.errors import REFUSALS, task_failure_kind
from providers.foxapi.models import CAPABILITIES

# With the default User-Agent of a client library, Cloudflare answers 403 "error code: 1010"; see
# tests/exchanges/foxapi/refused-403-cloudflare-query.json.
HEADERS = {"User-Agent": "Mozilla/5.0 (compatible; video-gateway/1.0)"}
POLLING = Polling(
    first_poll_seconds=5, poll_seconds=5, poll_max_seconds=15, attempt_timeout_seconds=1200, grace_seconds=120
)

# The field names of the first and the last frame. They differ between the families: the wrong name is refused with 422.
FRAMES = {
    "kling-v3-image-to-video": ("image_url", "image_tail_url"),
    "kling-o3-image-to-video": ("image_url", "end_image_url"),
    "kling-o3-reference-to-video": ("start_image_url", "end_image_url"),
    "kling-v3-motion-control": ("image_url",),
    "kling-v2-6-motion-control": ("image_url",),
}

PENDING = {"pending": Status.QUEUED, "processing": Status.IN_PROGRESS}
CANCELLED = frozenset({"cancelled", "canceled"})


def to_upstream(request: UpstreamRequest) -> HttpCall:
    """The call that starts a task. It has only what the client asked for: several models refuse unknown fields."""
    settings = request.settings
    has_audio = CAPABILITIES[request.capability_name][0].generate_audio
    body: dict[str, Any] = {
        "model": request.model,
        "prompt": request.prompt or None,
        "duration": settings.duration_seconds,
        "resolution": settings.resolution,
        "aspect_ratio": settings.aspect_ratio,
        # A client may ask a model without sound for silence. Such a model has no field for it.
        "generate_audio": settings.generate_audio if has_audio or settings.generate_audio else None,
        "negative_prompt": settings.negative_prompt,
        "mode": settings.mode,
    }
    match request.input:
        case TextInput():
            pass
        case FramesInput(first_frame=first, last_frame=last):
            body |= _frames(request.capability_name, first, last)
        case ReferencesInput(references=references, first_frame=first, last_frame=last):
            body |= {"image_urls": list(references), **_frames(request.capability_name, first, last)}
    sent = {**request.options, **{name: value for name, value in body.items() if value is not None}}
    return HttpCall(method="POST", path="/v1/videos/generations", headers=HEADERS, json=sent)


def _frames(row: str, *frames: str | None) -> dict[str, str]:
    return {FRAMES[row][position]: frame for position, frame in enumerate(frames) if frame is not None}


def task_refs(call: HttpCall, reply: HttpReply) -> tuple[TaskRef, ...]:  # noqa: ARG001  # the reply says it all
    """The one task that a submit started; first polled after half of FoxAPI's own estimate, at least 5 seconds."""
    task = mapping(read_json(reply))
    task_id = id_of(task.get("id"))
    if not task_id:
        raise UnreadableReply("foxapi: the reply to a submit has no task id")
    estimate = number(mapping(task.get("task_info")).get("estimated_time"))
    first = None if estimate is None else max(POLLING.first_poll_seconds, estimate / 2)
    return (TaskRef(id=task_id, first_poll_seconds=first),)


def poll(ref: TaskRef) -> HttpCall:
    """The call that reads the state that FoxAPI has stored."""
    return HttpCall(method="GET", path=f"/v1/tasks/{quote(ref.id, safe='')}", headers=HEADERS)


def refresh(ref: TaskRef) -> HttpCall:
    """The same call, with FoxAPI reading its own upstream first."""
    return structs.replace(poll(ref), query={"sync_upstream": "true"})


def from_upstream(reply: HttpReply) -> TaskSnapshot:
    """The state of a task. Only `status` decides: the page's own example has a filled `error` beside `completed`."""
    task = mapping(read_json(reply))
    raw_status = text(task.get("status")).strip()
    if not any(letter.isalpha() for letter in raw_status):
        raise UnreadableReply("foxapi: the reply to a poll has no status")
    word = raw_status.lower()
    done = progress(task.get("progress"))
    error = error_body({"error": task.get("error")})
    if word == "completed":
        artifacts = _artifacts(task)
        return Completed(artifacts) if artifacts else without_result(raw_status, done)
    if word == "failed":
        return failed(task_failure_kind(error), error.message, error.code)
    if word in CANCELLED:
        return failed(FailureKind.TASK_FAILED, error.message or "The provider cancelled the task.", "cancelled")
    return pending(raw_status, PENDING, done)


def _artifacts(task: Mapping[str, object]) -> tuple[Artifact, ...]:
    """The files of a task: in `results`, in older replies in `output`, else in `url`."""
    output = mapping(task.get("output"))
    named = [
        *((mapping(result).get("url", result), mapping(result)) for result in items(task.get("results"))),
        *((url, output) for url in (*items(output.get("urls")), output.get("url"))),
        (task.get("url"), {}),
    ]
    return unique_by_url(artifact(url, about) for url, about in named)


def upload(file: FilePart) -> HttpCall:
    """The call that stores an image for 72 hours.

    With `auto_cleanup` a full store drops its oldest files; without it the upload is refused with 403.
    """
    return HttpCall(
        method="POST",
        path="/v1/files/upload/stream",
        headers=HEADERS,
        file=structs.replace(file, field="file"),
        fields={"file_name": file.filename, "auto_cleanup": "true"},
    )


def uploaded_url(reply: HttpReply) -> str:
    """The URL of a stored image. Raises `UnreadableReply`."""
    url = http_url(mapping(read_json(reply)).get("url"))
    if url is None:
        raise UnreadableReply("foxapi: the reply to an upload has no URL")
    return url


def probe() -> HttpCall:
    """The poll of a task that does not exist: 401 is documented for a wrong key, 404 `not_found` for the task."""
    return poll(TaskRef(id="task-unified-0000000000-keytest0"))


def read_probe(reply: HttpReply) -> KeyTest:
    """What the reply to `probe` proves. That the key is checked before the task is looked for is inferred."""
    return by_missing_task(reply, ADAPTER.classify(reply))


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
    # Files are kept for 72 h ("File uploads"). A third of that is used, because a full store drops the oldest files
    # earlier, and a task reads its input only when it begins.
    upload_keep_seconds=24 * 3600,
    probe=probe,
    read_probe=read_probe,
)
