"""What the public may know about a generation: statuses, files, costs, errors and warnings, as one value. Pure.

`summarize(generation) → Summary` has every rule by which stored data becomes a public answer. The views of each API
dialect, the webhook payload and the event stream copy fields from a `Summary` and decide nothing themselves, so that
two dialects cannot show different statuses or costs for the same generation.
"""

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from gateway.domain.adapter.failure import PUBLIC_CODE, Billed, FailureKind
from gateway.domain.adapter.request import Settings
from gateway.domain.adapter.task import Artifact, Failed, Status
from gateway.domain.adapter.upstream_answer import UpstreamAnswer
from gateway.domain.generation.cost_limit import billed_of, cost_of, maybe_of
from gateway.domain.generation.model import ArchivedFile, Attempt, AttemptState, Generation, Output, Route
from gateway.domain.generation.next_attempt import wait_of
from gateway.domain.health.route_health import HealthOf, unknown_health
from gateway.domain.parameters.dimensions import PLAIN_QUALITIES


class AttemptStatus(StrEnum):
    """The public status of an attempt. It has fewer values than `AttemptState`, which is for operators."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    UNKNOWN = "unknown"  # sent without a clear answer: a task may exist and may be billed
    ABANDONED = "abandoned"  # no longer waited for because of a failure, while a task may still run
    CANCELLED = "cancelled"  # no longer wanted, without a failure


_ATTEMPT_STATUS = {
    AttemptState.RESERVED: AttemptStatus.QUEUED,
    AttemptState.SUBMITTING: AttemptStatus.QUEUED,
    AttemptState.ACCEPTED: AttemptStatus.QUEUED,
    AttemptState.NOT_SENT: AttemptStatus.FAILED,
    AttemptState.REFUSED: AttemptStatus.FAILED,
    AttemptState.UNKNOWN: AttemptStatus.UNKNOWN,
    AttemptState.COMPLETED: AttemptStatus.COMPLETED,
    AttemptState.FAILED: AttemptStatus.FAILED,
    AttemptState.ABANDONED: AttemptStatus.ABANDONED,
}
# In these states a submit has left the gateway, or may have. An ended attempt left it if `accepted_at` is set.
_MAY_HAVE_STARTED = frozenset(
    {AttemptState.SUBMITTING, AttemptState.ACCEPTED, AttemptState.UNKNOWN, AttemptState.ABANDONED}
)
_POLLED = frozenset({AttemptState.ACCEPTED, AttemptState.ABANDONED})
_PARAMS = {"duration_seconds": "duration"}  # fields of `Settings` whose public name is another one
_RATIO_OF_IMAGE = "The parameter is left out: the model takes none, its video has the aspect ratio of the image."


class Problem(Struct, frozen=True):
    """Why a generation or an output failed: a stable code for programs and a sentence for people."""

    code: str
    message: str


class FileSource(StrEnum):
    """Where a client gets the file of an output."""

    ARCHIVE = "archive"  # the gateway's own copy, until `expires_at`
    PASS_THROUGH = "pass_through"  # noqa: S105 - not a password. Only the gateway can fetch it: it streams the file.
    PROVIDER = "provider"  # the provider's own URL


class OutputSummary(Struct, frozen=True, kw_only=True):
    """The public state of one output. An output that is still open shows no file."""

    index: int
    status: Status
    source: FileSource | None  # None: the client gets no file
    artifact: Artifact | None  # the file at the provider
    archived: ArchivedFile | None  # the gateway's own copy
    provider_url: str | None  # None also where the URL needs the provider's key
    thumbnail_url: str | None  # the provider's own picture; an archived thumbnail is in `archived`
    duration_seconds: float | None
    width: int | None
    height: int | None
    content_type: str | None
    expires_at: datetime | None  # when the link ends: of the archived file, else of the provider's file
    error: Problem | None
    extra: bool  # beyond the number of outputs that the client asked for
    late: bool  # it arrived after another result had filled its output, or after the generation had ended


class AttemptSummary(Struct, frozen=True, kw_only=True):
    """The public state of one submit to one provider."""

    attempt: Attempt
    route: Route
    status: AttemptStatus
    started_at: datetime  # when it was sent; when it was reserved, if it was never sent
    cost_usd: float | None  # what it cost or may have cost; None: the route has no price


class Usage(Struct, frozen=True, kw_only=True):
    """What all attempts cost or may have cost, by the prices in the configuration."""

    cost_usd: float | None  # None: a route that was used has no price
    maybe_usd: float | None  # the part of it of which no provider has said whether it was billed
    estimated: bool = True  # no provider reports what it charged, so it is always computed


class Deviation(Struct, frozen=True, kw_only=True):
    """A warning: something that differs from what the client asked for."""

    type: Literal["adapted", "defaulted", "not_kept", "not_tried"]
    param: str
    requested: Any = UNSET
    used: Any = UNSET  # None: only the provider knows the value
    provider: str | UnsetType = UNSET
    message: str | UnsetType = UNSET


class Cancellation(Struct, frozen=True, kw_only=True):
    """What a cancel achieved."""

    provider_started: bool  # True: a provider had started or may have; it cannot be stopped and may bill
    message: str


class Summary(Struct, frozen=True, kw_only=True):
    """Everything that an API dialect shows of a generation besides the request itself."""

    generation: Generation  # for its stored fields: id, times, request
    status: Status
    progress_percent: int  # 0 to 100
    outputs: tuple[OutputSummary, ...]
    attempts: tuple[AttemptSummary, ...]
    error: Problem | None
    warnings: tuple[Deviation, ...]
    usage: Usage
    next_try_at: datetime | None  # while every route asked to wait: the earliest time of the next try
    cancellation: Cancellation | None  # only for a cancelled generation


def summarize(generation: Generation, health: HealthOf = unknown_health) -> Summary:
    """The public state of a generation. With the health of its routes, it says what the generation waits for."""
    wait = wait_of(generation, health)
    return Summary(
        generation=generation,
        status=generation.status,
        progress_percent=round(generation.progress * 100),
        outputs=tuple(summarize_output(generation, output) for output in generation.outputs),
        attempts=tuple(summarize_attempt(generation, attempt) for attempt in generation.attempts),
        error=error_of(generation),
        warnings=(*warnings_of(generation), *_held(wait.held_provider)),
        usage=usage_of(generation),
        next_try_at=wait.next_try_at,
        cancellation=cancellation_of(generation),
    )


def summarize_output(generation: Generation, output: Output) -> OutputSummary:
    """The public state of one output."""
    has_ended = output.status.terminal
    artifact, archived = (output.artifact, output.kept) if has_ended else (None, None)
    described = archived or artifact  # the archived copy was measured, so its values are preferred
    return OutputSummary(
        index=output.index,
        status=output.status if has_ended else _open_status(generation, output),
        source=_source(artifact, archived),
        artifact=artifact,
        archived=archived,
        provider_url=None if artifact is None or artifact.needs_credential else artifact.url,
        thumbnail_url=None if artifact is None else artifact.thumbnail_url,
        duration_seconds=None if described is None else described.duration_seconds,
        width=None if described is None else described.width,
        height=None if described is None else described.height,
        content_type=None if described is None else described.content_type,
        expires_at=archived.kept_until if archived is not None else output.expires_at if has_ended else None,
        error=_problem(output.failure, output.status),
        extra=output.extra,
        late=output.late,
    )


def _source(artifact: Artifact | None, archived: ArchivedFile | None) -> FileSource | None:
    if archived is not None:
        return FileSource.ARCHIVE
    if artifact is None:
        return None
    return FileSource.PASS_THROUGH if artifact.needs_credential else FileSource.PROVIDER


def _open_status(generation: Generation, output: Output) -> Status:
    """The status of an output that has not ended: that of its newest task that is still polled."""
    if output.artifact is not None:
        return Status.IN_PROGRESS  # the provider made its file, which is being archived
    polled = (attempt for attempt in generation.attempts if attempt.state in _POLLED)
    tasks = [task for attempt in polled for task in attempt.tasks if task.slot == output.index]
    return tasks[-1].status if tasks and not tasks[-1].status.terminal else Status.QUEUED


def summarize_attempt(generation: Generation, attempt: Attempt) -> AttemptSummary:
    """The public state of one attempt of this generation."""
    return AttemptSummary(
        attempt=attempt,
        route=generation.route(attempt),
        status=attempt_status(attempt),
        started_at=attempt.sent_at or attempt.reserved_at,
        cost_usd=cost_of(generation, attempt),
    )


def attempt_status(attempt: Attempt) -> AttemptStatus:
    """The public status of an attempt.

    An accepted attempt is in progress as soon as one of its tasks is. An attempt that was abandoned, or not sent,
    without a failure was simply no longer wanted: it is shown as cancelled.
    """
    match attempt.state:
        case AttemptState.ACCEPTED if any(task.status is not Status.QUEUED for task in attempt.tasks):
            return AttemptStatus.IN_PROGRESS
        case AttemptState.ABANDONED | AttemptState.NOT_SENT if attempt.failure is None:
            return AttemptStatus.CANCELLED
        case state:
            return _ATTEMPT_STATUS[state]


def usage_of(generation: Generation) -> Usage:
    """The cost of all attempts that were billed or may have been, in USD."""
    billed = [
        attempt for attempt in generation.attempts if billed_of(generation.route(attempt), attempt) is not Billed.NO
    ]
    costs = [cost_of(generation, attempt) for attempt in billed]
    maybes = [maybe_of(generation, attempt) for attempt in billed]
    has_prices = any(route.cost_usd is not None for route in generation.plan.routes)
    if not has_prices or None in costs:
        return Usage(cost_usd=None, maybe_usd=None)
    return Usage(cost_usd=round(sum(filter(None, costs)), 6), maybe_usd=round(sum(filter(None, maybes)), 6))


def cancellation_of(generation: Generation) -> Cancellation | None:
    """Whether a provider had started, or may have, before the cancel; `None` if the generation was not cancelled."""
    if generation.status is not Status.CANCELLED:
        return None
    attempts = generation.attempts
    if any(attempt.state is AttemptState.ACCEPTED or attempt.accepted_at is not None for attempt in attempts):
        message = "A provider had accepted the work; it cannot be stopped and may bill."
        return Cancellation(provider_started=True, message=message)
    if any(attempt.state in _MAY_HAVE_STARTED for attempt in attempts):
        message = "A submit was on its way: the provider may have started, cannot be stopped and may bill."
        return Cancellation(provider_started=True, message=message)
    return Cancellation(provider_started=False, message="No provider had started.")


def error_of(generation: Generation) -> Problem | None:
    """Why the generation failed or expired; `None` if it did not.

    If a submit got no clear answer, the message also says that it may be billed, and what the provider answered.
    """
    problem = _problem(generation.failure, generation.status)
    unclear = [attempt for attempt in generation.attempts if attempt.state is AttemptState.UNKNOWN]
    if problem is None or not unclear:
        return problem
    message = problem.message
    if problem.code != PUBLIC_CODE[FailureKind.AMBIGUOUS]:
        message = f"{message} An earlier submit got no clear answer and may be billed."
    newest = unclear[-1]
    return Problem(problem.code, message + _answer_text(generation.route(newest).provider, newest.upstream))


def _answer_text(provider: str, answer: UpstreamAnswer | None) -> str:
    """The unclear answer in words, so that an operator can ask the provider's support about it."""
    if answer is None or (answer.status is None and answer.message is None):
        return ""
    reply = f"HTTP {answer.status}" if answer.status is not None else "no complete reply"
    request_id = f", request id {answer.request_id}" if answer.request_id is not None else ""
    words = f": {answer.message}" if answer.message is not None else ""
    return f" {provider} answered the submit with {reply}{request_id}{words}"


def _problem(failure: Failed | None, status: Status) -> Problem | None:
    if status is Status.EXPIRED:
        reason = "" if failure is None or failure.kind is FailureKind.TIMED_OUT else f" {failure.message}"
        return Problem("expired", f"The deadline passed before a result was there.{reason}")
    return Problem(PUBLIC_CODE[failure.kind], failure.message) if failure is not None else None


def warnings_of(generation: Generation) -> tuple[Deviation, ...]:
    """What differs from the request: on the routes that accepted work, routes left out, files not archived."""
    used = {attempt.route for attempt in generation.attempts if attempt.accepted_at is not None}
    of_routes = [
        deviation
        for index in sorted(used)
        for deviation in deviations(generation.request.settings, generation.plan.routes[index])
    ]
    return (*_of_size(generation), *of_routes, *_routes_over_limit(generation), *_not_archived(generation))


def _held(provider: str | None) -> Iterator[Deviation]:
    """The provider that an operator has taken out of new work, while the generation waits for it."""
    if provider is not None:
        message = (
            "The operator has taken this provider out of new work. The generation waits for its release until its"
            " deadline, because no other route is left."
        )
        yield Deviation(type="not_tried", param="model", provider=provider, message=message)


def _of_size(generation: Generation) -> Iterator[Deviation]:
    """How an image differs from the size that was asked for: models have a few qualities and ratios, not every size."""
    request = generation.request
    quality = request.settings.quality
    if request.plain_quality is not None and quality not in {None, PLAIN_QUALITIES[request.plain_quality]}:
        message = "The size says the number of pixels. No model has another quality than that."
        yield Deviation(type="adapted", param="quality", requested=request.plain_quality, used=quality, message=message)
    if request.size is None:
        return
    for size in dict.fromkeys(map(_size_of, generation.outputs)):
        if size is not None and size != request.size:
            message = "The model makes images of this size for the quality and the ratio that come next to `size`."
            yield Deviation(type="adapted", param="size", requested=request.size, used=size, message=message)


def _size_of(output: Output) -> str | None:
    """WIDTHxHEIGHT of the image of an output; None before it is completed, or if its size is not known."""
    file = output.kept or output.artifact
    if output.status is not Status.COMPLETED or file is None or file.width is None or file.height is None:
        return None
    return f"{file.width}x{file.height}"


def _routes_over_limit(generation: Generation) -> Iterator[Deviation]:
    """The routes that a failed output was not sent to because of `max_cost`."""
    limit = generation.request.max_cost
    if limit is None or not any(output.status is Status.FAILED and not output.extra for output in generation.outputs):
        return
    tried = {attempt.route for attempt in generation.attempts}
    refusing = {generation.route(attempt).provider for attempt in generation.attempts if attempt.accepted_at is None}
    for index, route in enumerate(generation.plan.routes):
        if index not in tried and route.provider not in refusing:
            message = f"With what may have been paid already it could cost more than {limit:g} USD."
            yield Deviation(type="not_tried", param="max_cost", provider=route.provider, message=message)


def _not_archived(generation: Generation) -> Iterator[Deviation]:
    """The completed outputs whose file is only at the provider and ends with the provider's link."""
    for output in generation.outputs:
        if output.status is Status.COMPLETED and output.artifact is not None and output.kept is None:
            message = (
                f"The gateway does not keep the file of output {output.index}: fetch it before the provider's link"
                " expires. The log says why: result_not_archived."
            )
            yield Deviation(type="not_kept", param="url", message=message)


def deviations(requested: Settings, route: Route) -> Iterator[Deviation]:
    """How the settings of a route differ from the requested ones.

    `adapted`: the route changed a value. `defaulted`: the client gave no value and the model requires one.
    """
    for adaptation in route.adaptations:
        is_left_out = adaptation.param == "aspect_ratio" and route.settings.aspect_ratio is None
        yield Deviation(
            type="adapted",
            param=adaptation.param,
            requested=adaptation.asked,
            used=adaptation.given,
            provider=route.provider,
            message=_RATIO_OF_IMAGE if is_left_out else UNSET,
        )
    adapted = {adaptation.param for adaptation in route.adaptations}
    for field in Settings.__struct_fields__:
        param, value = _PARAMS.get(field, field), getattr(route.settings, field)
        if value is not None and getattr(requested, field) is None and param not in adapted:
            yield Deviation(type="defaulted", param=param, used=value, provider=route.provider)
