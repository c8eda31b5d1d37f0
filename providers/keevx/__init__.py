"""Keevx image-to-video, models V and KL: translation only.

Sources: the skill pages "image-to-video" and "image-generate" (whose codes are taken to hold here, too), the API
reference on docs.keevx.com and docs.keevx.cn, and the exchanges under tests/exchanges/keevx/, each of which names its
page. Where the pages disagree, a comment says what was chosen.
"""

from functools import partial
from typing import Any
from urllib.parse import quote

from msgspec import structs

from gateway.domain.adapter.contract import (
    Adapter,
    Callback,
    FilePart,
    HttpCall,
    HttpReply,
    Polling,
)
from gateway.domain.adapter.decoding import http_url, mapping, read_json, text
from gateway.domain.adapter.refusals import classify
from gateway.domain.adapter.replies import (
    artifact,
    message_text,
    pending,
    without_result,
)
from gateway.domain.adapter.request import ImageToVideo, ReferencesToVideo, UpstreamRequest
from gateway.domain.adapter.task import Completed, Status, TaskRef, TaskSnapshot
from gateway.domain.errors import UnreadableReply, UnsupportedParameter
from providers.keevx.errors import REFUSALS, message_of, task_failure, task_ids, task_of
from providers.keevx.models import CAPABILITIES

VIDEO = "/image_to_video"
UPLOAD = "/figure-resource/upload/file"
# The skill pages require it on every call; the API reference does not name it.
HEADERS = {"source": "skill"}

PENDING = {"pending": Status.QUEUED, "processing": Status.IN_PROGRESS, "generating": Status.IN_PROGRESS}


def to_upstream(request: UpstreamRequest) -> HttpCall:
    """The submit of one or more outputs; start frame and references never go together."""
    match request.input:
        case ImageToVideo(first_frame=first, last_frame=last):
            images: dict[str, Any] = {"image_url": first} | ({} if last is None else {"end_image_url": last})
        case ReferencesToVideo(references=references, first_frame=None, last_frame=None):
            images = {"reference_images": list(references)}
        case _:  # the capabilities keep it away; sent, it would be another video than the one asked for
            raise UnsupportedParameter("Keevx takes a first frame or reference images.", param="image")
    settings = request.settings
    has_audio = any(capability.generate_audio for capability in CAPABILITIES.get(request.row, ()))
    asked = {
        "aspect_ratio": settings.aspect_ratio,
        "aspect_resolution": settings.resolution,
        "duration": settings.duration_seconds,
        # Silence may be asked of KL, which has no sound and no field for it.
        "generate_audio": settings.generate_audio if has_audio or settings.generate_audio else None,
        "generate_count": request.count if request.count > 1 else None,  # 1 is the documented default
        "callback_url": request.callback_url,
    }
    body = {"model": request.model, "prompt": request.prompt, **images}
    body |= {name: value for name, value in asked.items() if value is not None}
    return HttpCall(method="POST", path=VIDEO, headers=HEADERS, json=body)


def task_refs(call: HttpCall, reply: HttpReply) -> tuple[TaskRef, ...]:  # noqa: ARG001  # the reply says it all
    """Every task that the reply names, also beyond the count asked for: each may have been paid for."""
    ids = task_ids(mapping(read_json(reply)))
    if not ids:
        raise UnreadableReply("keevx: the reply to a submit names no task")
    return tuple(TaskRef(id=found) for found in ids)


def poll(task: TaskRef) -> HttpCall:
    """The read of one task; each output is one."""
    return HttpCall(method="GET", path=f"{VIDEO}/{quote(task.id, safe='')}", headers=HEADERS)


def from_upstream(reply: HttpReply) -> TaskSnapshot:
    """What a task is at one reading."""
    envelope = mapping(read_json(reply))
    task = task_of(envelope)
    raw = text(task.get("status")).strip()
    match raw.lower():
        case "":
            raise UnreadableReply("keevx: the reply to a poll has no status")
        case "succeeded":
            file = artifact(task.get("video_url"), task)
            return without_result(raw) if file is None else Completed((file,))
        case "failed":
            return task_failure(message_text(task.get("error_message")) or message_of(envelope))
        case _:
            return pending(raw, PENDING)


def upload(part: FilePart) -> HttpCall:
    """The call that turns the bytes of an image into a URL."""
    return HttpCall(method="POST", path=UPLOAD, headers=HEADERS, file=structs.replace(part, field="file"))


def uploaded_url(reply: HttpReply) -> str:
    """The URL of an uploaded image."""
    url = http_url(mapping(mapping(read_json(reply)).get("result")).get("url"))
    if url is None:
        raise UnreadableReply("keevx: the reply to an upload has no URL")
    return url


def read_callback(body: bytes) -> Callback:
    """The task that a callback is about. Nothing else of it is believed: it is unsigned, and `code` 0 is no success."""
    ids = task_ids(mapping(read_json(HttpReply(status=200, method="POST", body=body))))
    if not ids:
        raise UnreadableReply("keevx: the callback names no task")
    return Callback(task_ids=ids)


ADAPTER = Adapter(
    name="keevx",
    base_url="https://api.keevx.com/v1",
    capabilities=CAPABILITIES,
    polling=Polling(
        first_poll_seconds=30,
        poll_seconds=30,
        poll_max_seconds=30,
        attempt_timeout_seconds=1200,
        grace_seconds=60,
        result_seconds=7 * 86400,
    ),
    to_upstream=to_upstream,
    task_refs=task_refs,
    poll=poll,
    from_upstream=from_upstream,
    classify=partial(classify, refusals=REFUSALS),
    rate_limit_seconds=30,
    unavailable_seconds=10,  # after a 500
    upload=upload,
    uploaded_url=uploaded_url,
    upload_keep_seconds=3600,  # no page tells how long an upload lives
    read_callback=read_callback,
)
