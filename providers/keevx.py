"""Keevx image-to-video, models V and KL: translation only.

Sources: the skill pages "image-to-video" and "image-generate", the API reference on docs.keevx.com and docs.keevx.cn,
and the recordings under tests/recordings/keevx/, each of which names its page. Where the pages disagree, a comment says
what was chosen.
"""

import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import msgspec

from gateway.domain.adapter import (
    Adapter,
    Callback,
    Capability,
    FilePart,
    HttpCall,
    HttpReply,
    ImageForm,
    ImageLimits,
    Polling,
)
from gateway.domain.errors import UnreadableReply, UnsupportedParameter
from gateway.domain.reading import (
    failed,
    first_text,
    http_url,
    items,
    json_or_none,
    mapping,
    number,
    read_json,
    text,
    whole,
)
from gateway.domain.request import ImageToVideo, InputKind, ReferencesToVideo, UpstreamRequest
from gateway.domain.task import Artifact, Completed, Failed, FailureKind, Pending, Status, TaskRef, TaskSnapshot

VIDEO = "/image_to_video"
IMAGE = "/image_generate"
UPLOAD = "/figure-resource/upload/file"
# The skill pages require it on every call; the API reference does not name it.
HEADERS = {"source": "skill"}

_IMAGES = ImageLimits(formats=frozenset({"image/jpeg", "image/png", "image/webp"}), max_bytes=20 * 1024 * 1024)
_V_RESOLUTIONS = frozenset({"720p", "1080p", "4k"})
_RATIOS = frozenset({"16:9", "9:16"})
_PROMPT_MAX = 1000
_COUNT_MAX = 4
_FORMS = (ImageForm.UPLOAD, ImageForm.URL)  # a URL goes as it is; bytes are uploaded first

CAPABILITIES = {
    "V": (
        Capability(
            inputs=frozenset({InputKind.IMAGE}),
            durations=frozenset({4, 6, 8}),
            resolutions=_V_RESOLUTIONS,
            aspect_ratios=_RATIOS,
            prompt_max=_PROMPT_MAX,
            last_frame=True,
            generate_audio=True,
            count_max=_COUNT_MAX,
            defaults={"resolution": "720p", "duration_seconds": 4},  # both are required
            images=_IMAGES,
            image_forms=_FORMS,
        ),
        Capability(
            inputs=frozenset({InputKind.REFERENCES}),
            durations=frozenset({8}),
            resolutions=_V_RESOLUTIONS,
            aspect_ratios=_RATIOS,
            prompt_max=_PROMPT_MAX,
            references_max=3,
            generate_audio=True,
            count_max=_COUNT_MAX,
            defaults={"resolution": "720p", "duration_seconds": 8},
            images=_IMAGES,
            image_forms=_FORMS,
        ),
    ),
    "KL": (
        Capability(
            inputs=frozenset({InputKind.REFERENCES}),
            durations=frozenset({5, 10}),
            resolutions=frozenset({"720p", "1080p"}),
            aspect_ratios=_RATIOS,
            prompt_max=_PROMPT_MAX,
            references_max=7,  # both tables; the schema of the .cn page alone says 5
            count_max=_COUNT_MAX,
            defaults={"resolution": "720p", "duration_seconds": 5},
            images=_IMAGES,
            image_forms=_FORMS,
        ),
    ),
}

PENDING = {"PENDING": Status.QUEUED, "PROCESSING": Status.IN_PROGRESS, "GENERATING": Status.IN_PROGRESS}

PROMPT_TOO_LONG = 100005
TOKEN_OR_VALIDATION = 100002  # "invalid token" on the video page, "validation failed" on the image page
CODES = {
    100001: FailureKind.INVALID_REQUEST,  # parameter error
    100004: FailureKind.INVALID_REQUEST,  # image over 20 MB
    PROMPT_TOO_LONG: FailureKind.INVALID_REQUEST,
    100006: FailureKind.INVALID_REQUEST,  # image URL inaccessible
    100007: FailureKind.INVALID_REQUEST,  # image format
    530002: FailureKind.INVALID_REQUEST,  # image processing: URL, format or size
    530003: FailureKind.UNAVAILABLE,  # task creation failed: documented as "not accepted", whatever the HTTP status
}
TASK_NOT_FOUND = frozenset({100003, 110002})

_SUCCESS, _CLIENT, _SERVER = range(200, 300), range(400, 500), range(500, 600)
_ACCOUNT = frozenset({401, 402, 403})
_WRONG_ADDRESS = frozenset({301, 302, 307, 308, 404, 405})  # nothing there can have taken the call

# No code is documented for credit, content policy or a limit of rate: there the text decides.
_CREDIT = re.compile(
    r"balance|credit|quota|insufficient(?!\s+(?:permission|privilege|scope|right|access))|余额|积分|欠费|额度",
    re.IGNORECASE,
)
_AUTH = re.compile(r"auth|(?<!unexpected )token(?!s\b)|鉴权|认证|授权|令牌|密钥", re.IGNORECASE)
_RATE = re.compile(r"too many requests|too frequent|rate.?limit|concurren|频繁|限流|并发", re.IGNORECASE)
_POLICY = re.compile(r"policy|safety|sensitive|moderat|violat|内容策略|审核|违规|敏感", re.IGNORECASE)
_INPUT = re.compile(r"image|(?<![a-z])(?:url|format|size)|图片|图像|格式|尺寸|大小|链接", re.IGNORECASE)
# "Image generation failed" names the work, and an internal error the provider, not the input.
_WORK = re.compile(r"image[ _-]?(?:(?:to|2)[ _-]?video|generat\w*)|图[片像]生成|图生视频", re.IGNORECASE)
_INTERNAL = re.compile(r"internal|内部", re.IGNORECASE)
_TEXT_MAX = 1000  # characters read of a text: a client sees 300 at most


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
        "generate_audio": settings.generate_audio if has_audio else None,  # without the field KL is silent anyway
        "generate_count": request.count if request.count > 1 else None,  # 1 is the documented default
        "callback_url": request.callback_url,
    }
    body = {"model": request.model, "prompt": request.prompt, **images}
    body |= {name: value for name, value in asked.items() if value is not None}
    return HttpCall(method="POST", path=VIDEO, headers=HEADERS, json=body)


def task_refs(call: HttpCall, reply: HttpReply) -> tuple[TaskRef, ...]:
    """Every task that the reply names, also beyond the count asked for: each may have been paid for."""
    ids = _task_ids(mapping(read_json(reply)))
    if not ids:
        raise UnreadableReply("keevx: the reply to a submit names no task")
    path = IMAGE if call.path.endswith(IMAGE) else ""
    return tuple(TaskRef(id=found, path=path) for found in ids)


def poll(task: TaskRef) -> HttpCall:
    """The read of one task; each output is one."""
    return HttpCall(method="GET", path=f"{task.path or VIDEO}/{quote(task.id, safe='')}", headers=HEADERS)


def from_upstream(reply: HttpReply) -> TaskSnapshot:
    """What a task is, for video and image alike."""
    envelope = mapping(read_json(reply))
    task = _task(envelope)
    raw = text(task.get("status")).strip()
    match raw.upper():
        case "":
            raise UnreadableReply("keevx: the reply to a poll has no status")
        case "SUCCEEDED":
            url = http_url(task.get("video_url")) or http_url(task.get("image_url"))
            if url is None:
                return Pending(status=Status.IN_PROGRESS, raw_status=raw, result_missing=True)
            return Completed((_artifact(url, task),))
        case "FAILED":
            return _task_failure(_said(task.get("error_message")) or _message(envelope))
        case known if known in PENDING:
            return Pending(status=PENDING[known], raw_status=raw)
        case _:
            return Pending(status=Status.IN_PROGRESS, raw_status=raw[:100], unknown_status=True)


def classify(reply: HttpReply) -> Failed | None:
    """Why a call was refused: the business code first, which may come with HTTP 200, then the HTTP status."""
    envelope = mapping(json_or_none(reply))
    code = _code(envelope)
    refused = bool(code) or envelope.get("success") is False  # `success` is in the envelope of an upload
    if reply.status in _SUCCESS and (not refused or _tells_of_failed_task(reply, code, envelope)):
        return None
    message = _message(envelope)
    kind = _kind(reply, code, message, refused=refused, names_tasks=bool(_task_ids(envelope)))
    return failed(
        kind,
        message or f"The provider answered with HTTP status {reply.status}.",
        code or None,
        elsewhere=code == PROMPT_TOO_LONG,  # other providers take more than these 1000 characters
    )


def upload(part: FilePart) -> HttpCall:
    """The call that turns the bytes of an image into a URL."""
    return HttpCall(method="POST", path=UPLOAD, headers=HEADERS, file=msgspec.structs.replace(part, field="file"))


def uploaded_url(reply: HttpReply) -> str:
    """The URL of an uploaded image."""
    url = http_url(mapping(mapping(read_json(reply)).get("result")).get("url"))
    if url is None:
        raise UnreadableReply("keevx: the reply to an upload has no URL")
    return url


def read_callback(body: bytes) -> Callback:
    """The task that a callback is about. Nothing else of it is believed: it is unsigned, and `code` 0 is no success."""
    ids = _task_ids(mapping(read_json(HttpReply(status=200, method="POST", body=body))))
    if not ids:
        raise UnreadableReply("keevx: the callback names no task")
    return Callback(task_ids=ids)


def _artifact(url: str, task: Mapping[str, object]) -> Artifact:
    seconds = number(task.get("duration"))
    return Artifact(
        url=url,
        thumbnail_url=http_url(task.get("thumbnail_url")),
        duration_seconds=seconds if seconds is not None and seconds > 0 else None,
        width=whole(task.get("width")),
        height=whole(task.get("height")),
    )


def _task_failure(message: str) -> Failed:
    """A task's end by its text: no code comes with it."""
    if _POLICY.search(message):
        return failed(FailureKind.CONTENT_POLICY, message)
    if _INPUT.search(_WORK.sub("", message)) and not _INTERNAL.search(message):
        return failed(FailureKind.INVALID_REQUEST, message)
    return failed(FailureKind.OUT_OF_CREDIT if _CREDIT.search(message) else FailureKind.TASK_FAILED, message)


def _kind(reply: HttpReply, code: int | None, message: str, *, refused: bool, names_tasks: bool) -> FailureKind:
    status, polling = reply.status, reply.method.upper() == "GET"
    if code in CODES:
        return CODES[code]
    if code in TASK_NOT_FOUND and polling:
        return FailureKind.TASK_LOST
    if status in _ACCOUNT:
        no_credit = status == HTTPStatus.PAYMENT_REQUIRED or _CREDIT.search(message or _plain(reply))
        return FailureKind.OUT_OF_CREDIT if no_credit else FailureKind.CREDENTIAL_REFUSED
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return FailureKind.OUT_OF_CREDIT if code and _CREDIT.search(message) else FailureKind.RATE_LIMITED
    if code == TOKEN_OR_VALIDATION:
        return _account_failure(message) or FailureKind.INVALID_REQUEST
    if told := _by_text(message, status, refused=refused):
        return told
    if status == HTTPStatus.NOT_FOUND and polling:
        return FailureKind.TASK_LOST
    if status in _WRONG_ADDRESS:
        return FailureKind.UNAVAILABLE
    if status in _CLIENT and status != HTTPStatus.REQUEST_TIMEOUT:  # a proxy's, which may have handed the call on
        return FailureKind.INVALID_REQUEST
    if status in _SUCCESS and (polling or not names_tasks):
        return FailureKind.UNAVAILABLE  # an unknown code: "a business-level error" in place of a task
    return FailureKind.AMBIGUOUS


def _by_text(message: str, status: int, *, refused: bool) -> FailureKind | None:
    """What the text of an unknown refusal says. A 5xx without a business code is no refusal, whatever it says."""
    if refused or status not in _SERVER:
        account = _account_failure(message)
        if account or status in _SERVER:
            return account
        if _POLICY.search(message):
            return FailureKind.CONTENT_POLICY
        if _RATE.search(message):
            return FailureKind.RATE_LIMITED
    return None


def _account_failure(message: str) -> FailureKind | None:
    if _CREDIT.search(message):
        return FailureKind.OUT_OF_CREDIT
    return FailureKind.CREDENTIAL_REFUSED if _AUTH.search(message) else None


def _tells_of_failed_task(reply: HttpReply, code: int | None, envelope: Mapping[str, object]) -> bool:
    """True when a poll reads a failed task under a code of no table: which code goes with one is not documented."""
    unknown = code not in CODES and code not in TASK_NOT_FOUND and code != TOKEN_OR_VALIDATION
    failed_task = text(_task(envelope).get("status")).strip().upper() == "FAILED"
    return reply.method.upper() == "GET" and unknown and failed_task


def _code(envelope: Mapping[str, object]) -> int | None:
    """The business code, an integer or its digits; `None` when there is none."""
    found = number(envelope.get("code"))
    return int(found) if found is not None and found.is_integer() else None


def _message(envelope: Mapping[str, object]) -> str:
    said = _said(envelope.get("msg")) or _said(envelope.get("message"))
    return "" if said.strip().lower() in {"ok", "success"} else said


def _said(value: object) -> str:
    """The words of a message, which may be an object: `{"global": "success"}`."""
    if isinstance(value, Mapping):
        return first_text(value.get("global"), *value.values())[:_TEXT_MAX]
    return first_text(value)[:_TEXT_MAX]


def _plain(reply: HttpReply) -> str:
    return reply.body[:_TEXT_MAX].decode("utf-8", "replace")


def _task(envelope: Mapping[str, object]) -> Mapping[str, object]:
    """The one task of a reply: `data`, or the only object of an array."""
    data = envelope.get("data")
    tasks = [mapping(entry) for entry in (items(data) or [data])]
    return tasks[0] if len(tasks) == 1 else {}


def _task_ids(envelope: Mapping[str, object]) -> tuple[str, ...]:
    """Every task id that a reply names, in its order, each once."""
    data = envelope.get("data")
    named = (text(value).strip() for entry in (*(items(data) or [data]), envelope) for value in _id_values(entry))
    # "." and ".." would be another path to an HTTP client
    return tuple(dict.fromkeys(found for found in named if found not in {"", ".", ".."}))


def _id_values(entry: object) -> Iterator[object]:
    """What may be an id in an object: the members of `task_ids`, and `task_id`."""
    several = mapping(entry).get("task_ids")
    for value in (*(items(several) or [several]), mapping(entry).get("task_id")):
        yield value.get("task_id") if isinstance(value, Mapping) else value


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
    classify=classify,
    rate_limit_seconds=30,
    upload=upload,
    uploaded_url=uploaded_url,
    read_callback=read_callback,
)
