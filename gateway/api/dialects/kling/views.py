"""What a client of Kling's API, of a relay or of new-api reads: answers made of a generation, and errors. Pure."""

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.api.dialects.kling.requests import EXTERNAL_TASK_ID
from gateway.api.generations.file_urls import file_url
from gateway.api.generations.public_ids import KLING, public_id
from gateway.api.web.error_format import ErrorAnswer, ErrorInfo, named_message
from gateway.api.web.links import Links
from gateway.domain.adapter.task import Status
from gateway.domain.generation.model import Generation
from gateway.domain.generation.summary import OutputSummary, Summary, summarize

Milliseconds = Annotated[int, Meta(description="Unix time in milliseconds.")]
_SUCCEED = "SUCCEED"


class KlingVideo(Struct, frozen=True, kw_only=True):
    """One result."""

    id: str  # of this result
    url: str  # of the file; it works without a key until the file expires
    duration: Annotated[str | UnsetType, Meta(description="Seconds, as text.")] = UNSET


class KlingResult(Struct, frozen=True):
    """All results of a task."""

    videos: tuple[KlingVideo, ...]  # those that are done


class KlingTaskInfo(Struct, frozen=True):
    """What the client said about the task."""

    external_task_id: str | None  # as the create has it; null: it had none


class KlingTask(Struct, frozen=True, kw_only=True):
    """A generation as a task of Kling's. A generation that was cancelled or has expired has `failed`."""

    task_id: str  # `task_…`
    task_status: Literal["submitted", "processing", "succeed", "failed"]  # the state in words of Kling
    task_status_msg: Annotated[str, Meta(description="Why it failed; else empty.")]
    task_info: KlingTaskInfo  # what the client said about the task
    task_result: KlingResult | UnsetType = UNSET  # only with `task_status` `succeed`
    created_at: Milliseconds  # when it was created
    updated_at: Milliseconds  # when it last changed


class RelayMetadata(Struct, frozen=True, kw_only=True):
    """The measures of the first result, as far as they were measured."""

    duration: float | UnsetType = UNSET  # seconds
    width: int | UnsetType = UNSET  # pixels
    height: int | UnsetType = UNSET  # pixels


class RelayError(Struct, frozen=True):
    """Why the task failed."""

    code: int  # Kling's service code
    message: str  # for people


class KlingAnswer(Struct, frozen=True, kw_only=True):
    """The answer to a create and to a read: Kling's envelope; the fields after `data` are those of a relay's page."""

    code: Literal[0] = 0  # always 0: an error has another
    message: str = _SUCCEED  # always `SUCCEED`
    request_id: str  # names this request in the gateway's log
    data: KlingTask  # the task in Kling's words
    task_id: str  # the id of the task once more
    status: Literal["queued", "in_progress", "completed", "failed"]  # the state in words of the relay
    url: str | UnsetType = UNSET  # of the first result
    format: str | UnsetType = UNSET  # of the first result, for example `mp4`
    metadata: RelayMetadata | UnsetType = UNSET  # the measures of the first result
    error: RelayError | UnsetType = UNSET  # why it failed


class KlingTasks(Struct, frozen=True, kw_only=True):
    """A page of tasks, the newest first."""

    code: Literal[0] = 0  # always 0: an error has another
    message: str = _SUCCEED  # always `SUCCEED`
    request_id: str  # names this request in the gateway's log
    data: tuple[KlingTask, ...]  # the tasks of this page


class KlingPacks(Struct, frozen=True, kw_only=True):
    """The resource packs of an account. The gateway sells none, so the list is always empty."""

    code: Literal[0] = 0  # always 0
    msg: str = ""  # always empty
    resource_pack_subscribe_infos: tuple[str, ...] = ()  # always empty


class KlingCosts(Struct, frozen=True, kw_only=True):
    """The answer to the query of resource packs."""

    code: Literal[0] = 0  # always 0: an error has another
    message: str = _SUCCEED  # always `SUCCEED`
    request_id: str  # names this request in the gateway's log
    data: KlingPacks = KlingPacks()  # the resource packs


class KlingError(Struct, frozen=True):
    """Every error of this dialect."""

    code: Annotated[int, Meta(description="Kling's service code: 1000 to 1303, 5000 to 5002.")]
    message: str  # for people: what is wrong, and the remedy
    request_id: str  # names this request in the gateway's log


TASK_STATUS: Mapping[Status, Literal["submitted", "processing", "succeed", "failed"]] = {
    Status.QUEUED: "submitted",
    Status.IN_PROGRESS: "processing",
    Status.COMPLETED: "succeed",
    Status.FAILED: "failed",
    Status.CANCELLED: "failed",
    Status.EXPIRED: "failed",
}
_RELAY_STATUS: Mapping[str, Literal["queued", "in_progress", "completed", "failed"]] = {
    "submitted": "queued",
    "processing": "in_progress",
    "succeed": "completed",
    "failed": "failed",
}
_OF_FAILURE = {"content_policy": 1301, "invalid_request": 1201}  # public code of a failure → Kling's; others: 5000


def task_of(generation: Generation, links: Links) -> KlingTask:
    """A generation as a task of Kling's."""
    return _task(summarize(generation), links)


def callback_body(generation: Generation, links: Links) -> KlingTask:
    """What Kling posts to a `callback_url` (its page "Callback Protocol"): the task itself, without an envelope."""
    return task_of(generation, links)


def answer_of(generation: Generation, links: Links, request_id: str) -> KlingAnswer:
    """The answer to a create or a read."""
    summary = summarize(generation)
    task = _task(summary, links)
    first = next((output for output in summary.outputs if file_url(generation, output, links) is not None), None)
    done = first if task.task_status == "succeed" else None
    return KlingAnswer(
        request_id=request_id,
        data=task,
        task_id=task.task_id,
        status=_RELAY_STATUS[task.task_status],
        url=(None if done is None else file_url(generation, done, links)) or UNSET,
        format=UNSET if done is None else _format(done),
        metadata=UNSET if done is None else _measures(done),
        error=RelayError(_code_of(summary), task.task_status_msg) if task.task_status == "failed" else UNSET,
    )


def _task(summary: Summary, links: Links) -> KlingTask:
    generation = summary.generation
    status = TASK_STATUS[summary.status]
    return KlingTask(
        task_id=public_id(KLING, generation.id),
        task_status=status,
        task_status_msg=failure_message(summary) if status == "failed" else "",
        task_info=KlingTaskInfo(generation.request.metadata.get(EXTERNAL_TASK_ID)),
        task_result=KlingResult(_videos(summary, links)) if status == "succeed" else UNSET,
        created_at=_milliseconds(generation.created_at),
        updated_at=_milliseconds(changed_at(generation)),
    )


def failure_message(summary: Summary) -> str:
    """Why a generation has no result, in words; also for one that was cancelled."""
    if summary.error is not None:
        return summary.error.message
    cancelled = summary.cancellation
    return "The generation failed." if cancelled is None else f"It was cancelled. {cancelled.message}"


def _code_of(summary: Summary) -> int:
    return 5000 if summary.error is None else _OF_FAILURE.get(summary.error.code, 5000)


def _videos(summary: Summary, links: Links) -> tuple[KlingVideo, ...]:
    generation = summary.generation
    given = [(output, file_url(generation, output, links)) for output in summary.outputs]
    return tuple(
        KlingVideo(id=public_id(KLING, generation.id, output.index), url=url, duration=_seconds(output))
        for output, url in given
        if url is not None
    )


def _seconds(output: OutputSummary) -> str | UnsetType:
    return UNSET if output.duration_seconds is None else f"{output.duration_seconds:g}"


def _format(output: OutputSummary) -> str | UnsetType:
    kind, _, name = (output.content_type or "").partition(";")[0].partition("/")
    return name if kind == "video" and name else UNSET


def _measures(output: OutputSummary) -> RelayMetadata:
    return RelayMetadata(
        duration=UNSET if output.duration_seconds is None else output.duration_seconds,
        width=UNSET if output.width is None else output.width,
        height=UNSET if output.height is None else output.height,
    )


def changed_at(generation: Generation) -> datetime:
    """When the generation changed last, as far as the ledger says."""
    moments = [generation.created_at, generation.completed_at]
    for attempt in generation.attempts:
        moments += [attempt.reserved_at, attempt.sent_at, attempt.accepted_at]
    if generation.completed_at is not None:  # an attempt that goes on after the end changes nothing for the client
        return generation.completed_at
    return max(moment for moment in moments if moment is not None)


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


# --- errors: Kling, "General Information", "Error Code" ---

_CODES = {  # our code → Kling's
    "invalid_jwt": 1000,
    "invalid_api_key": 1002,
    "jwt_not_yet_valid": 1003,
    "jwt_expired": 1004,
    "forbidden_host": 1103,
    "forbidden_origin": 1103,
    "forbidden_proxy": 1103,
    "invalid_parameter": 1201,
    "unknown_parameter": 1201,
    "invalid_image": 1201,
    "unsupported_parameter": 1201,
    "idempotency_key_reused": 1201,
    "method_not_allowed": 1202,
    "not_found": 1203,
    "model_not_found": 1203,
}
_OF_STATUS = {429: 1302, 500: 5000, 502: 5001, 503: 5001, 504: 5002}  # every other one: an invalid request
NO_KEY = "Authorization"  # the `param` of an error about a request without a key


def kling_error(info: ErrorInfo) -> ErrorAnswer:
    """`{code, message, request_id}`. A 422 is a 400 here: Kling has no other status for a parameter."""
    code = _CODES.get(info.code) or _OF_STATUS.get(info.status) or (1200 if info.status < 500 else 5000)
    if info.status == HTTPStatus.UNAUTHORIZED and info.param == NO_KEY:
        code = 1001
    status = HTTPStatus.BAD_REQUEST if info.status == HTTPStatus.UNPROCESSABLE_ENTITY else info.status
    return ErrorAnswer(KlingError(code, named_message(info), info.request_id), status)
