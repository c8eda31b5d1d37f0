"""Keevx: image-to-video (models V and KL) and image generation (model image), translation only.

`models.py` says what its models accept, `errors.py` why it refuses calls and fails tasks. Videos and images have paths
of their own, and ids of tasks are valid only on the path of their kind: `TaskRef.path` has it for images. It is empty
for videos, because stored references of videos are older than image generations.

Sources: the skill pages "image-to-video" and "image-generate" (whose codes are assumed to hold for videos too), and the
API reference on docs.keevx.com and docs.keevx.cn. tests/exchanges/keevx/ has one file for each form, with its page.
Where the pages disagree, a comment says what was chosen.
"""

from dataclasses import replace
from typing import Any
from urllib.parse import quote

from msgspec import structs

from gateway.domain.adapter.contract import (
    Adapter,
    Callback,
    FilePart,
    HttpCall,
    HttpReply,
    KeyTest,
    Polling,
)
from gateway.domain.adapter.decoding import http_url, mapping, read_json, text
from gateway.domain.adapter.key_test import by_missing_task
from gateway.domain.adapter.refusals import classify as classify_with
from gateway.domain.adapter.replies import (
    artifact,
    message_text,
    pending,
    without_result,
)
from gateway.domain.adapter.request import FramesInput, ReferencesInput, TextInput, UpstreamRequest
from gateway.domain.adapter.task import Completed, Failed, Status, TaskRef, TaskSnapshot
from gateway.domain.errors import UnreadableReply, UnsupportedParameter
from providers.keevx.errors import IMAGE_REFUSALS, REFUSALS, message_of, task_failure, task_ids, task_of
from providers.keevx.models import CAPABILITIES, IMAGE, IMAGE_MODEL

VIDEO_PATH = "/image_to_video"
IMAGE_PATH = "/image_generate"
UPLOAD = "/figure-resource/upload/file"
# The skill pages require this header on every call; the API reference does not mention it.
HEADERS = {"source": "skill"}

PENDING = {"pending": Status.QUEUED, "processing": Status.IN_PROGRESS, "generating": Status.IN_PROGRESS}


def to_upstream(request: UpstreamRequest) -> HttpCall:
    """The call that starts the tasks of one or more outputs. Each output is a task."""
    return _image_call(request) if request.kind == "image" else _video_call(request)


def _video_call(request: UpstreamRequest) -> HttpCall:
    """The submit of videos.

    No page says which image field wins if both are sent, so a first frame and references are never sent together.
    """
    match request.input:
        case FramesInput(first_frame=first, last_frame=last):
            images: dict[str, Any] = {"image_url": first} | ({} if last is None else {"end_image_url": last})
        case ReferencesInput(references=references, first_frame=None, last_frame=None):
            images = {"reference_images": list(references)}
        case _:  # excluded by the capabilities: it would buy a video that the client did not ask for
            raise UnsupportedParameter("Keevx takes a first frame or reference images.", param="image")
    settings = request.settings
    has_audio = any(capability.generate_audio for capability in CAPABILITIES.get(request.capability_name, ()))
    fields = {
        "aspect_ratio": settings.aspect_ratio,
        "aspect_resolution": settings.resolution,
        "duration": settings.duration_seconds,
        # A client may ask KL for silence. KL has no sound, and no field for it.
        "generate_audio": settings.generate_audio if has_audio or settings.generate_audio else None,
        "generate_count": request.count if request.count > 1 else None,  # 1 is the documented default
        "callback_url": request.callback_url,
    }
    body = {"model": request.model, "prompt": request.prompt, **images}
    body |= {name: value for name, value in fields.items() if value is not None}
    return HttpCall(method="POST", path=VIDEO_PATH, headers=HEADERS, json=body)


def _image_call(request: UpstreamRequest) -> HttpCall:
    """The submit of images."""
    match request.input:
        case TextInput():
            references: tuple[str, ...] = ()
        case ReferencesInput(references=references, first_frame=None, last_frame=None):
            pass
        case _:  # excluded by the capabilities: Keevx would make an image without these inputs
            raise UnsupportedParameter("Keevx takes reference images for an image, not frames.", param="image")
    if len(references) > IMAGE.references_max:  # excluded by the capabilities too: Keevx would drop the rest silently
        message = f"Keevx takes at most {IMAGE.references_max} reference images, not {len(references)}."
        raise UnsupportedParameter(message, param="reference_images")
    fields = {
        "reference_images": list(references) or None,
        "module": request.settings.mode,
        "generate_count": request.count if request.count > 1 else None,  # 1 is the documented default
        "image_quality": request.settings.quality,
        "image_ratio": request.settings.aspect_ratio,
        "callback_url": request.callback_url,
    }
    body = {"prompt": request.prompt} | {name: value for name, value in fields.items() if value is not None}
    return HttpCall(method="POST", path=IMAGE_PATH, headers=HEADERS, json=body)


def task_refs(call: HttpCall, reply: HttpReply) -> tuple[TaskRef, ...]:
    """Every task in the reply, even if there are more than the client asked for: each may have been paid for."""
    ids = task_ids(mapping(read_json(reply)))
    if not ids:
        raise UnreadableReply("keevx: the reply to a submit has no task id")
    return tuple(_task_ref(task_id, is_image=call.path == IMAGE_PATH) for task_id in ids)


def known_task(request: UpstreamRequest, task_id: str) -> TaskRef:
    """The task of an id that a callback or an operator reported."""
    return _task_ref(task_id, is_image=request.kind == "image")


def _task_ref(task_id: str, *, is_image: bool) -> TaskRef:
    return TaskRef(id=task_id, path=IMAGE_PATH if is_image else "")


def poll(task: TaskRef) -> HttpCall:
    """The call that reads one task. Each output of a submit is a task of its own."""
    path = IMAGE_PATH if task.path == IMAGE_PATH else VIDEO_PATH
    return HttpCall(method="GET", path=f"{path}/{quote(task.id, safe='')}", headers=HEADERS)


def classify(reply: HttpReply) -> Failed | None:
    """Why a call was refused, or None if it was not: some codes mean something else on the path of images."""
    return classify_with(reply, IMAGE_REFUSALS if _is_about_image(reply) else REFUSALS)


def _is_about_image(reply: HttpReply) -> bool:
    return reply.path == IMAGE_PATH or reply.path.startswith(f"{IMAGE_PATH}/")


def from_upstream(reply: HttpReply) -> TaskSnapshot:
    """The state of one task."""
    envelope = mapping(read_json(reply))
    task = task_of(envelope)
    raw = text(task.get("status")).strip()
    match raw.lower():
        case "":
            raise UnreadableReply("keevx: the reply to a poll has no status")
        case "succeeded":
            file = artifact(task.get("image_url" if _is_about_image(reply) else "video_url"), task)
            return without_result(raw) if file is None else Completed((file,))
        case "failed":
            return task_failure(message_text(task.get("error_message")) or message_of(envelope))
        case _:
            return pending(raw, PENDING)


def upload(part: FilePart) -> HttpCall:
    """The call that turns the bytes of an image into a URL."""
    return HttpCall(method="POST", path=UPLOAD, headers=HEADERS, file=structs.replace(part, field="file"))


def uploaded_url(reply: HttpReply) -> str:
    """The URL of an uploaded image. Raises `UnreadableReply`."""
    url = http_url(mapping(mapping(read_json(reply)).get("result")).get("url"))
    if url is None:
        raise UnreadableReply("keevx: the reply to an upload has no URL")
    return url


def read_callback(body: bytes) -> Callback:
    """The tasks that a callback is about. Raises `UnreadableReply`.

    Nothing else in it is trusted. It is not signed, and its `code` 0 means that it was sent, not that the task has
    succeeded. Its `task_type` is not read: the enum of the API reference for images has only "image_to_video", while
    the example on the same page says "image_generate".
    """
    ids = task_ids(mapping(read_json(HttpReply(status=200, method="POST", body=body))))
    if not ids:
        raise UnreadableReply("keevx: the callback has no task id")
    return Callback(task_ids=ids)


def probe() -> HttpCall:
    """The poll of a task that does not exist: 401 and code 100002 for a wrong key, code 100003 for the task.

    Keevx documents no list of models, no balance and no other read.
    """
    return poll(TaskRef(id=f"i2v-{'0' * 32}"))


def read_probe(reply: HttpReply) -> KeyTest:
    """What the reply to `probe` proves. That the key is checked before the task is looked for is inferred."""
    return by_missing_task(reply, classify(reply))


POLLING = Polling(
    first_poll_seconds=30,
    poll_seconds=30,
    poll_max_seconds=30,
    attempt_timeout_seconds=1200,
    grace_seconds=60,
    result_seconds=7 * 86400,
)
# Skill page "image-generate": every 10 seconds, at most 60 times.
IMAGE_POLLING = replace(
    POLLING, first_poll_seconds=10, poll_seconds=10, poll_max_seconds=10, attempt_timeout_seconds=600
)
ADAPTER = Adapter(
    name="keevx",
    base_url="https://api.keevx.com/v1",
    capabilities=CAPABILITIES,
    polling=POLLING,
    polling_by_model={IMAGE_MODEL: IMAGE_POLLING},
    to_upstream=to_upstream,
    task_refs=task_refs,
    poll=poll,
    from_upstream=from_upstream,
    classify=classify,
    rate_limit_seconds=30,
    unavailable_seconds=10,  # the documented wait after a 500
    upload=upload,
    uploaded_url=uploaded_url,
    upload_keep_seconds=3600,  # no page says how long an upload is kept
    read_callback=read_callback,
    known_task=known_task,
    probe=probe,
    read_probe=read_probe,
)
