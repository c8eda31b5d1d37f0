"""The task API of FoxAPI and its siblings (EvoLink): `GET /v1/tasks/{id}` reads what a create at our root has started.

Source: FoxAPI's pages of task management; what the client `evolink` for Node sends.
"""

from collections.abc import Mapping
from math import ceil
from typing import Literal

from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse
from msgspec import UNSET, Struct, UnsetType

from gateway.api.dialects.dialect import Call, Dialect, creator, problem_of, reader, with_names
from gateway.api.generations.creating import Fields
from gateway.api.generations.file_urls import file_url
from gateway.api.generations.foxapi_fields import PROVIDER, with_options
from gateway.api.generations.parameters import CreateVideo
from gateway.api.generations.public_ids import FOXAPI as PREFIX
from gateway.api.web.answers import json_answer
from gateway.api.web.context import Context
from gateway.api.web.error_format import ErrorAnswer, ErrorInfo
from gateway.api.web.links import Links
from gateway.api.web.moments import unix
from gateway.api.web.operation import Operation
from gateway.api.web.small_body import INPUT_ERRORS
from gateway.domain.adapter.task import Status
from gateway.domain.generation.model import Generation
from gateway.domain.generation.summary import summarize


class FoxTaskInfo(Struct, frozen=True):
    """What a client may do about a task."""

    can_cancel: bool  # by `POST /v1/videos/generations/{id}/cancel`
    estimated_time: int  # seconds that such a task takes as a rule, as measured at its route; else a guess


class FoxError(Struct, frozen=True):
    """Why a task failed."""

    code: str  # the code of the failure: see the table of errors of generations
    message: str  # for people
    type: str = "task_error"  # the same for every failure of a task


class FoxUsage(Struct, frozen=True):
    """What the task cost. The gateway counts no credits; the clients leave out a price of 0 credits."""

    # by the configured prices; null: a route that was used has no price; absent: the client may not see costs
    cost_usd: float | UnsetType | None = UNSET
    credits_reserved: int = 0  # always 0: see `cost_usd`
    user_group: str = "default"  # always `default`: all keys have the same prices
    billing_rule: str = "per_call"  # always `per_call`


class FoxResult(Struct, frozen=True):
    """One file."""

    url: str  # of the file; it needs no key
    width: int | None  # pixels; null: not known
    height: int | None  # pixels; null: not known
    content_type: str | None  # the media type; null: not known


class FoxTask(Struct, frozen=True, kw_only=True):
    """A generation in FoxAPI's words. An expired one is `failed`, with that word as the code of its error."""

    id: str  # read it at `GET /v1/tasks/{id}`
    object: Literal["video.generation.task", "image.generation.task"]  # the kind of this object
    type: Literal["video", "image"]  # the kind of the files
    model: str  # as the request named it
    status: Literal["pending", "processing", "completed", "failed", "cancelled"]  # the state in words of FoxAPI
    progress: int  # percent
    created: int  # Unix seconds
    task_info: FoxTaskInfo  # what a client may do about it
    usage: FoxUsage  # what it cost
    results: tuple[str, ...] | None  # the URLs of the files, once it is completed
    result_data: tuple[FoxResult, ...] | None  # the same files with what is known about them
    error: FoxError | None  # null: it has not failed


class FoxErrorBody(Struct, frozen=True):
    """The member `error` of every error."""

    message: str  # for people: what is wrong, and the remedy
    type: str  # the class of the error in words of FoxAPI
    code: str  # stable; the table of errors of requests has all codes
    param: str | None  # the parameter at fault; null: none


class FoxErrorAnswer(Struct, frozen=True):
    """Every error of this dialect."""

    error: FoxErrorBody  # what went wrong
    request_id: str  # names this request in the gateway's log


_STATUS: Mapping[Status, Literal["pending", "processing", "completed", "failed", "cancelled"]] = {
    Status.QUEUED: "pending",
    Status.IN_PROGRESS: "processing",
    Status.COMPLETED: "completed",
    Status.FAILED: "failed",
    Status.CANCELLED: "cancelled",
    Status.EXPIRED: "failed",
}
_ERROR_TYPES = {402: "insufficient_quota", 404: "not_found", 413: "file_too_large_error", 429: "rate_limit_error"}


def fields(body: Mapping[str, object]) -> Fields:
    """The fields of a create request: FoxAPI's names are among ours, and its options belong to its models."""
    return with_names(with_options(body), {"image": "image_url", "reference_images": "image_urls"})


def task_view(generation: Generation, links: Links, usual_seconds: int = 0) -> FoxTask:
    """A generation in FoxAPI's words.

    `usual_seconds` is the time that it takes as a rule. That of an ended generation is the time that it took.
    """
    summary = summarize(generation)
    files = [
        FoxResult(url, output.width, output.height, output.content_type)
        for output in summary.outputs
        if output.status is Status.COMPLETED and (url := file_url(generation, output, links)) is not None
    ]
    if generation.completed_at is not None:
        usual_seconds = max(ceil((generation.completed_at - generation.created_at).total_seconds()), 1)
    is_done, problem = summary.status is Status.COMPLETED, problem_of(summary)
    return FoxTask(
        id=FOXAPI.id(generation),
        object="video.generation.task" if generation.kind == "video" else "image.generation.task",
        type=generation.kind,
        model=generation.request.model,
        status=_STATUS[summary.status],
        progress=summary.progress_percent,
        created=unix(generation.created_at),
        task_info=FoxTaskInfo(can_cancel=not summary.status.terminal, estimated_time=usual_seconds),
        usage=FoxUsage(summary.usage.cost_usd if links.shows(generation, "costs") else UNSET),
        results=tuple(file.url for file in files) if is_done else None,
        result_data=tuple(files) if is_done else None,
        error=None if problem is None else FoxError(problem.code, problem.message),
    )


def callback_body(generation: Generation, links: Links) -> FoxTask:
    """What is posted to a `callback_url`: the ended task, with the time that it took as `estimated_time`."""
    ended_at = generation.completed_at or generation.created_at
    return task_view(generation, links, max(round((ended_at - generation.created_at).total_seconds()), 1))


def error(info: ErrorInfo) -> ErrorAnswer:
    """`{"error": {message, type, code, param}}`, with FoxAPI's types, and its own names of its options."""
    error_type = _ERROR_TYPES.get(info.status, info.type if info.status < 500 else "server_error")
    param = None if info.param is None else info.param.removeprefix(f"provider_options.{PROVIDER}.")
    return ErrorAnswer(
        FoxErrorAnswer(FoxErrorBody(info.message, error_type, info.code, param), info.request_id), info.status
    )


FOXAPI = Dialect(id_prefix=PREFIX, own_paths=("/foxapi/",), error=error, read=fields, webhook="foxapi")


def answer(request: Call, generation: Generation, headers: Mapping[str, str]) -> ASGIResponse:
    """The answer to a create, and to a read at any path that FoxAPI shares."""
    context: Context = request.app.state.context  # the key was checked before the generation was read
    usual_seconds = context.poll_advisor.usual_seconds(generation)
    return json_answer(task_view(generation, context.links(request), usual_seconds), dict(headers))


create_task = creator(
    FOXAPI,
    "/foxapi/v1/videos/generations",
    "/foxapi/v1/tasks/{id}",
    Operation(
        id="foxapiCreateVideo",
        summary="Create a generation in FoxAPI's shape",
        body=CreateVideo,
        answer=FoxTask,
        error_body=FoxErrorAnswer,
        errors=(*INPUT_ERRORS, 404, 409, 422),
    ),
    answer,
)


def _reader(path: str, operation_id: str) -> HTTPRouteHandler:
    operation = Operation(
        id=operation_id,
        summary="Read a generation in FoxAPI's shape, by any of its ids",
        answer=FoxTask,
        error_body=FoxErrorAnswer,
        errors=(400, 404, 503),
    )
    return reader(FOXAPI, path, operation, answer, ignored={"sync_upstream"})


HANDLERS = (
    create_task,
    _reader("/foxapi/v1/tasks/{generation_id:str}", "foxapiReadTask"),
    _reader("/v1/tasks/{generation_id:str}", "readTask"),
)
