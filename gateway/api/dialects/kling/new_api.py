"""new-api's universal route: `POST /v1/video/generations` and the read beside it.

Sources: new-api `router/video-router.go`, `relay/relay_task.go`, `dto/task.go`, and its generic document.
"""

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Literal

from litestar import post, route
from litestar.response.base import ASGIResponse
from msgspec import Meta, Struct

from gateway.api.dialects.dialect import Call, Dialect
from gateway.api.dialects.kling.paths import KlingCreate
from gateway.api.dialects.kling.requests import UNIVERSAL
from gateway.api.dialects.kling.tasks import caller, create_task, find_task, request_id_of
from gateway.api.dialects.kling.views import KlingAnswer, answer_of, changed_at, failure_message
from gateway.api.generations.file_urls import file_url
from gateway.api.generations.public_ids import KLING as PREFIX
from gateway.api.generations.public_ids import public_id, sent_id
from gateway.api.web.answers import GET, json_answer
from gateway.api.web.error_format import ErrorAnswer, ErrorInfo, named_message
from gateway.api.web.headers import cost_header, poll_headers
from gateway.api.web.links import Links
from gateway.api.web.moments import unix
from gateway.api.web.operation import Operation
from gateway.api.web.query import Params
from gateway.api.web.small_body import INPUT_ERRORS
from gateway.domain.adapter.request import TextInput
from gateway.domain.adapter.task import Status
from gateway.domain.generation.model import Generation
from gateway.domain.generation.summary import summarize

TaskStatus = Literal["NOT_START", "SUBMITTED", "QUEUED", "IN_PROGRESS", "SUCCESS", "FAILURE"]
Seconds = Annotated[int, Meta(description="Unix seconds; 0 if it has not happened.")]


class NewApiStarted(Struct, frozen=True, kw_only=True):
    """The answer to a create: `{task_id, status}` of new-api's page, and what its code adds since October 2025."""

    id: str  # `task_…`
    task_id: str  # the same id
    object: Literal["video"] = "video"  # the kind of this object
    model: str  # as the request named it
    status: Literal["queued"] = "queued"  # always `queued`: a read has the true state
    progress: int = 0  # always 0
    created_at: int  # Unix seconds


class NewApiTask(Struct, frozen=True, kw_only=True):
    """A generation as a task of new-api's. A generation that was cancelled or has expired has `FAILURE`."""

    task_id: str  # `task_…`
    action: Literal["generate", "textGenerate"]  # `generate` if the request has an image
    status: TaskStatus  # the state in words of new-api
    fail_reason: str  # why it failed; else empty
    result_url: Annotated[str, Meta(description="Of the first result; empty before it is there.")]
    progress: Annotated[str, Meta(description="Such as `30%`.")]
    created_at: int  # Unix seconds
    updated_at: int  # Unix seconds
    submit_time: Seconds
    start_time: Seconds
    finish_time: Seconds
    data: Annotated[KlingAnswer, Meta(description="The same task in Kling's shape, with all results.")]


class NewApiRead(Struct, frozen=True, kw_only=True):
    """The answer to a read."""

    code: Literal["success"] = "success"  # always `success`: an error has another
    message: str = ""  # always empty
    data: NewApiTask  # the task


class NewApiErrorBody(Struct, frozen=True):
    """The error as new-api's own checks report it, in OpenAI's shape."""

    message: str  # for people: what is wrong, and the remedy
    type: str  # the class of the error
    code: str  # stable; the table of errors of requests has all codes


class NewApiError(Struct, frozen=True, kw_only=True):
    """Every error of this dialect: the shape of errors about tasks, and as `error` that of errors about keys."""

    code: str  # the code that new-api has for such an error
    message: str  # for people: what is wrong, and the remedy
    data: None = None  # always null
    error: NewApiErrorBody  # the same error in the shape of OpenAI


_STATUS: Mapping[Status, TaskStatus] = {
    Status.QUEUED: "QUEUED",
    Status.IN_PROGRESS: "IN_PROGRESS",
    Status.COMPLETED: "SUCCESS",
    Status.FAILED: "FAILURE",
    Status.CANCELLED: "FAILURE",
    Status.EXPIRED: "FAILURE",
}
_CODES = {
    "invalid_parameter": "invalid_request",
    "unknown_parameter": "invalid_request",
    "unsupported_parameter": "invalid_request",
    "invalid_image": "invalid_request",
    "invalid_json": "invalid_request",
    "bad_request": "invalid_request",
    "body_too_large": "read_request_body_failed",
    "not_found": "task_not_exist",
}


def read_view(generation: Generation, links: Links, request_id: str) -> NewApiRead:
    """A generation in new-api's words."""
    summary = summarize(generation)
    status = _STATUS[summary.status]
    urls = (file_url(generation, output, links) for output in summary.outputs)
    url = next((url for url in urls if url is not None), "") if status == "SUCCESS" else ""
    begun = [attempt.accepted_at for attempt in generation.attempts if attempt.accepted_at is not None]
    return NewApiRead(
        data=NewApiTask(
            task_id=public_id(PREFIX, generation.id),
            action="textGenerate" if isinstance(generation.request.input, TextInput) else "generate",
            status=status,
            fail_reason=failure_message(summary) if status == "FAILURE" else "",
            result_url=url,
            progress="100%" if summary.status.terminal else f"{summary.progress_percent}%",
            created_at=unix(generation.created_at),
            updated_at=unix(changed_at(generation)),
            submit_time=unix(generation.created_at),
            start_time=_seconds(min(begun, default=None)),
            finish_time=_seconds(generation.completed_at),
            data=answer_of(generation, links, request_id),
        )
    )


def _seconds(moment: datetime | None) -> int:
    return unix(moment) or 0


def new_api_error(info: ErrorInfo) -> ErrorAnswer:
    """`{code, message, data: null, error}`. A task that does not exist is a 400 for new-api, and so is a 422."""
    code = _CODES.get(info.code, info.code)
    status = info.status
    if status == HTTPStatus.UNPROCESSABLE_ENTITY or code == "task_not_exist":
        status = HTTPStatus.BAD_REQUEST
    message = named_message(info)
    error = NewApiErrorBody(message, "new_api_error", code)
    return ErrorAnswer(NewApiError(code=code, message=message, error=error), status)


NEW_API = Dialect(id_prefix=PREFIX, own_paths=("/v1/video/",), error=new_api_error, read=UNIVERSAL)


@post(
    "/v1/video/generations",
    status_code=200,
    error_format=new_api_error,
    operation=Operation(
        id="newApiCreateVideo",
        summary="Create a generation in new-api's shape",
        body=KlingCreate,
        answer=NewApiStarted,
        error_body=NewApiError,
        errors=(*INPUT_ERRORS, 404, 409),
    ),
)
async def create_video(request: Call) -> ASGIResponse:
    """Create a generation."""
    _, generation, headers = await create_task(request, UNIVERSAL, "/v1/video/generations/{id}")
    task_id = public_id(PREFIX, generation.id)
    created_at = unix(generation.created_at)
    view = NewApiStarted(id=task_id, task_id=task_id, model=generation.request.model, created_at=created_at)
    return json_answer(view, headers)


@route(
    "/v1/video/generations/{generation_id:str}",
    http_method=GET,
    error_format=new_api_error,
    operation=Operation(
        id="newApiReadVideo",
        summary="Read a generation in new-api's shape",
        answer=NewApiRead,
        error_body=NewApiError,
        errors=(400, 503),
    ),
)
async def read_video(request: Call) -> ASGIResponse:
    """Read a generation."""
    context, key = await caller(request)
    Params.of(request).done()
    generation = await find_task(context, key, sent_id(request))
    view = read_view(generation, context.links(request), request_id_of(request))
    return json_answer(
        view, poll_headers(generation, context.poll_advisor) | cost_header(generation, context.clients.sees)
    )


HANDLERS = (create_video, read_video)
