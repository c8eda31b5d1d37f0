"""FoxAPI, Kling V3 and O3: translation only.

Source: docs.foxapi.cc (model pages, "Get task detail", "Error codes", file uploads), what clients of the sibling brand
AIHubMax have met, and the recordings under tests/recordings/foxapi/, which win where they disagree. Other ids of the
same endpoint (kling-v2-6-video, the legacy O1 models) are named in configuration, each with the row it follows.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from msgspec import structs

from gateway.domain.adapter.contract import (
    Adapter,
    Capability,
    FilePart,
    HttpCall,
    HttpReply,
    ImageForm,
    ImageLimits,
    Polling,
)
from gateway.domain.adapter.decoding import http_url, items, json_or_none, mapping, number, progress, read_json, text
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.replies import (
    REFUSED,
    Complaint,
    any_of,
    artifact,
    by_code,
    complaint,
    id_of,
    names_task,
    once,
    pending,
    succeeded,
    without_result,
)
from gateway.domain.adapter.request import ImageToVideo, InputKind, ReferencesToVideo, TextToVideo, UpstreamRequest
from gateway.domain.adapter.shown_value import shown
from gateway.domain.adapter.task import Artifact, Completed, Failed, Status, TaskRef, TaskSnapshot
from gateway.domain.errors import UnreadableReply

# Cloudflare answers a client library's own User-Agent with 403 "error code: 1010".
HEADERS = {"User-Agent": "Mozilla/5.0 (compatible; video-gateway/1.0)"}
POLLING = Polling(
    first_poll_seconds=5, poll_seconds=5, poll_max_seconds=15, attempt_timeout_seconds=1200, grace_seconds=120
)

DEFAULT_SECONDS = 5  # of every Kling model that takes a duration
VOICES_MAX = 2
REFERENCES_MAX = 4  # image_urls and elements together, wherever a video is among the inputs
UNSTATED_TEXT = 10_000  # characters where no page names a limit: generous, for the provider to judge
UNSTATED_IMAGES = 100


def _voices(request: UpstreamRequest) -> str | None:
    if "voice_ids" not in request.options:
        return None
    voices = request.options["voice_ids"]
    if not isinstance(voices, list) or len(voices) > VOICES_MAX:
        return f"voice_ids takes a list of at most {VOICES_MAX} voices"
    return "voice_ids needs generate_audio" if voices and request.settings.generate_audio is not True else None


def _shots(request: UpstreamRequest) -> str | None:
    if "multi_prompt" not in request.options:
        return None
    shots = [mapping(shot) for shot in items(request.options["multi_prompt"])]
    seconds = [number(shot.get("duration")) or 0.0 for shot in shots if text(shot.get("prompt"))]
    if not shots or len(seconds) != len(shots) or min(seconds) <= 0:
        return "multi_prompt takes a list of {prompt, duration}"
    asked = request.settings.duration_seconds
    wanted = DEFAULT_SECONDS if asked is None else asked
    total = sum(seconds)
    return None if total == wanted else f"the durations in multi_prompt add up to {total:g}, not to {wanted}"


def _video_url(request: UpstreamRequest) -> str | None:
    if "video_url" not in request.options:
        return "requires the option video_url, the http(s) URL of a video"
    video_url = request.options["video_url"]
    return None if http_url(video_url) else f"video_url must be an http(s) URL, got {shown(video_url)}"


def _some_reference(request: UpstreamRequest) -> str | None:
    elements = request.options.get("elements")
    if elements is not None and not isinstance(elements, list):
        return f"elements must be a list, got {shown(elements)}"
    return None if _references(request) else "the model needs reference images or elements"


def _few_references(request: UpstreamRequest) -> str | None:
    message = f"the model takes at most {REFERENCES_MAX} reference images and elements beside a video"
    return None if _references(request) <= REFERENCES_MAX else message


def _few_references_with_video(request: UpstreamRequest) -> str | None:
    elements = map(mapping, items(request.options.get("elements")))
    with_video = any("video" in name for element in elements for name in element)
    return _few_references(request) if with_video else None


def _references(request: UpstreamRequest) -> int:
    images = request.input.references if isinstance(request.input, ReferencesToVideo) else ()
    return len(images) + len(items(request.options.get("elements")))


TEXT, IMAGE = frozenset({InputKind.TEXT}), frozenset({InputKind.IMAGE})
RATIOS, NONE = frozenset({"16:9", "9:16", "1:1"}), frozenset[str]()
V3 = Capability(
    inputs=TEXT,
    durations=frozenset({5, 10}),
    resolutions=frozenset({"720p", "1080p", "4k"}),  # the pages' headline says 720p and 1080p, their tables have 4k
    aspect_ratios=RATIOS,
    prompt_max=2500,
    generate_audio=True,
    assumes={"resolution": "720p", "duration_seconds": DEFAULT_SECONDS, "generate_audio": False},
    negative_prompt_max=UNSTATED_TEXT,
    options=frozenset({"voice_ids", "multi_prompt"}),
    images=ImageLimits(max_bytes=10 * 1024 * 1024, min_side=300, max_ratio=2.5),  # Kling's own; unstated here
    image_forms=(ImageForm.UPLOAD, ImageForm.URL),
    rules=(_voices, _shots),
)
O3 = replace(
    V3,
    durations=frozenset(range(3, 16)),
    prompt_or="multi_prompt",
    negative_prompt_max=0,
    options=frozenset({"multi_prompt", "shot_type"}),
    rules=(_shots,),
)
O3_REFERENCE = replace(
    O3,
    inputs=frozenset(InputKind),  # elements alone are references enough
    last_frame=True,
    frames_with_references=True,
    references_max=UNSTATED_IMAGES,
    options=frozenset({"multi_prompt", "elements"}),
    rules=(_shots, _some_reference, _few_references_with_video),
)
EDIT = Capability(
    inputs=frozenset({InputKind.TEXT, InputKind.REFERENCES}),
    durations=frozenset(),
    resolutions=frozenset({"720p", "1080p"}),
    aspect_ratios=NONE,
    prompt_max=UNSTATED_TEXT,
    references_max=REFERENCES_MAX,
    options=frozenset({"video_url", "keep_audio", "elements"}),
    images=V3.images,
    image_forms=V3.image_forms,
    rules=(_video_url, _few_references),
)
MOTION = Capability(
    inputs=IMAGE,
    durations=frozenset(),
    resolutions=NONE,
    aspect_ratios=NONE,
    prompt_max=0,
    prompt_or="video_url",  # which is required: the model takes no prompt
    modes={"std": "720p", "pro": "1080p"},
    options=frozenset({"video_url", "character_orientation", "keep_original_sound"}),
    images=V3.images,
    image_forms=V3.image_forms,
    rules=(_video_url,),
)
CAPABILITIES = {
    "kling-v3-image-to-video": (replace(V3, inputs=IMAGE, aspect_ratios=NONE, last_frame=True),),
    "kling-v3-text-to-video": (V3,),
    "kling-o3-image-to-video": (replace(O3, inputs=IMAGE, aspect_ratios=NONE, last_frame=True),),
    "kling-o3-text-to-video": (O3,),
    "kling-o3-reference-to-video": (O3_REFERENCE,),
    "kling-o3-video-to-video-edit": (EDIT,),
    # Its fourth ratio, `auto`, is none that a client could be given the nearest of.
    "kling-o3-video-to-video-reference": (replace(EDIT, durations=O3.durations, aspect_ratios=RATIOS),),
    "kling-v3-motion-control": (MOTION,),
    "kling-v2-6-motion-control": (MOTION,),
}
FRAMES = {  # first, last: one family's name for the last frame is an unknown field, and a 422, in the other
    "kling-v3-image-to-video": ("image_url", "image_tail_url"),
    "kling-o3-image-to-video": ("image_url", "end_image_url"),
    "kling-o3-reference-to-video": ("start_image_url", "end_image_url"),
    "kling-v3-motion-control": ("image_url",),
    "kling-v2-6-motion-control": ("image_url",),
}

PENDING = {"pending": Status.QUEUED, "processing": Status.IN_PROGRESS}
CANCELLED = frozenset({"cancelled", "canceled"})
# "Error codes" and the sibling's clients, by `code` or `type`. `invalid_request_error` comes with every fault there is,
# and `server_error` with tasks that were started: there the status decides.
REFUSALS = by_code(
    {
        FailureKind.CREDENTIAL_REFUSED: "authentication_error "
        "model_not_found model_not_supported",  # missing, or not enabled for the key
        FailureKind.OUT_OF_CREDIT: "insufficient_quota quota_exceeded",
        FailureKind.RATE_LIMITED: "rate_limit_error",
        FailureKind.UNAVAILABLE: "no_compatible_channel no_available_model all_platforms_exhausted",
        FailureKind.INVALID_REQUEST: "unsupported_advanced_options invalid_image_url invalid_file_type invalid_param "
        "model_rule_violation file_too_large_error",
        FailureKind.CONTENT_POLICY: "content_policy_violation",
    }
)
OF_MODEL = frozenset({"model_not_found", "model_not_supported", "no_compatible_channel", "no_available_model"})
CLIENT_FAULTS = frozenset({"invalid_request_error", "validation_error"})
# To a submit a matter of configuration; to a read it may be any proxy's: only `not_found` tells of a lost task.
STATUSES = REFUSED | {404: FailureKind.UNAVAILABLE}
FAILURES = by_code(  # of a task; any other code is the provider's own trouble
    {
        FailureKind.CONTENT_POLICY: "content_policy_violation",
        FailureKind.INVALID_REQUEST: "invalid_parameters image_processing_error image_dimension_mismatch "
        "invalid_image_url",
        FailureKind.OUT_OF_CREDIT: "quota_exceeded",
    }
)
POLICY = any_of("policy|safety|sensitive|moderat|nsfw|prohibited", "审核|违规|敏感")
NO_CHANNEL = any_of(r"\bno (?:available|compatible) channel")
CLOUDFLARE = re.compile(r"\Aerror code: (\d+)\s*\Z")


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
    error = complaint({"error": task.get("error")})
    if known == "completed":
        artifacts = _artifacts(task)
        return Completed(artifacts) if artifacts else without_result(raw_status, done)
    if known == "failed":
        return failed(_failure(error), error.message, error.code)
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
    return once(artifact(url, about) for url, about in named)


def _failure(error: Complaint) -> FailureKind:
    # The one documented code says nothing: its own sample message is a refusal of the content.
    if error.code in {"", "generation_failed"} and POLICY.search(error.message):
        return FailureKind.CONTENT_POLICY
    return FAILURES.get(error.code, FailureKind.TASK_FAILED)


def classify(reply: HttpReply) -> Failed | None:
    """Why a call was refused, by `code`, then `type`, then the status: a 422 is not always the client's fault."""
    body = json_or_none(reply)
    fields = mapping(body)
    inner = fields.get("error") or mapping(fields.get("data")).get("error")
    error = complaint({**fields, "error": inner}) if isinstance(body, Mapping) else _plain(body, reply)
    kind = _kind(reply, fields, error)
    if kind is None:
        return None
    code = error.code or error.type or reply.status
    words = {error.code, error.type}
    elsewhere, of_model = "unsupported_advanced_options" in words, not words.isdisjoint(OF_MODEL)
    return failed(kind, error.message, code, elsewhere=elsewhere, of_model=of_model)


def _plain(body: object, reply: HttpReply) -> Complaint:
    """A text, such as Cloudflare's; a page of HTML tells nothing."""
    told = body if isinstance(body, str) else reply.body.decode(errors="replace").strip()
    number_of = CLOUDFLARE.match(told)
    return Complaint(number_of[1] if number_of else "", "", "" if told[:1] in "<[" else told)


def _kind(reply: HttpReply, body: Mapping[str, object], error: Complaint) -> FailureKind | None:
    reading = reply.method == "GET"
    if succeeded(reply) and any(body.get(name) for name in (("status",) if reading else ("id", "url"))):
        return None
    if not reading and names_task(body, body.get("data")):
        return FailureKind.AMBIGUOUS  # what names a task is no proof that none was started
    if reply.status >= 500 and reply.status != 503:  # only 503 is documented with "not accepted"
        return FailureKind.AMBIGUOUS
    for word in (error.code, error.type):
        if word in REFUSALS:
            return REFUSALS[word]
        if word.startswith("service_unavailable"):
            return FailureKind.UNAVAILABLE
        if word == "not_found":
            return FailureKind.TASK_LOST if reading else FailureKind.UNAVAILABLE
    if succeeded(reply):  # an error envelope under 200; one that nobody can read is left to the readers of success
        return FailureKind.INVALID_REQUEST if error.type in CLIENT_FAULTS else None
    if reply.status == 503 and NO_CHANNEL.search(error.message):
        return FailureKind.UNAVAILABLE
    return STATUSES.get(reply.status, FailureKind.AMBIGUOUS)  # any other says nothing of what became of a submit


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
    classify=classify,
    refresh=refresh,
    rate_limit_seconds=30,
    upload=upload,
    uploaded_url=uploaded_url,
    # Files live 72 h ("File uploads"), but a full store drops the oldest, and a task reads its input when it begins.
    upload_keep_seconds=24 * 3600,
)
