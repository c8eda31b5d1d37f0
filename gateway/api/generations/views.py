"""What a client reads: wire structures and how they are made from domain values."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from gateway.api.generations.request_echo import SettingsView, request_view, settings_view
from gateway.api.generations.upstream_answer import UpstreamAnswerView, upstream_view
from gateway.api.web.links import Links
from gateway.api.web.lists import Listed
from gateway.domain.adapter.failure import PUBLIC_CODE, FailureKind
from gateway.domain.adapter.request import Settings
from gateway.domain.adapter.task import Failed, Status
from gateway.domain.adapter.upstream_answer import UpstreamAnswer
from gateway.domain.generation.cost_limit import cost_of, maybe_of, purchase_count
from gateway.domain.generation.model import Attempt, AttemptState, Generation, Output, Route
from gateway.domain.generation.next_attempt import next_try_at
from gateway.domain.health.route_health import HealthOf, unknown_health


class ErrorView(Struct, frozen=True):
    """Why a generation, an output or an attempt failed."""

    code: str
    message: str


class OutputView(Struct, frozen=True, kw_only=True):
    """One result. `url` needs the client's key where it is the gateway's own and has no token."""

    index: int
    status: Status
    url: str | None
    provider_url: str | None
    thumbnail_url: str | None
    duration: float | None
    width: int | None
    height: int | None
    bytes: int | None
    sha256: str | None
    content_type: str | None
    expires_at: int | None
    error: ErrorView | None
    extra: bool | UnsetType = UNSET  # beyond the number asked for
    late: bool | UnsetType = UNSET  # it came when another result, or the end, had been there first


class AttemptView(Struct, frozen=True, kw_only=True):
    """One submit to one provider."""

    number: int
    provider: str
    provider_model: str
    settings: SettingsView
    status: str
    failure: str | None
    message: str | None
    upstream_code: str | None
    started_at: int
    ended_at: int | None
    billed: str | None
    cost_usd: float | None  # what it cost or may have cost, counted per task; null: the route has no price
    tasks: tuple[str, ...]
    upstream: UpstreamAnswerView | None  # what the provider's answer to the submit said


class WarningView(Struct, frozen=True, kw_only=True):
    """Something that is not quite as it was asked for."""

    type: Literal["adapted", "defaulted", "not_kept", "not_tried"]
    param: str
    from_: Any = msgspec.field(name="from", default=UNSET)
    to: Any = UNSET  # null: known only to the provider
    provider: str | UnsetType = UNSET
    message: str | UnsetType = UNSET


class UsageView(Struct, frozen=True, kw_only=True):
    """What all attempts cost or may have cost by the configured prices: the sum of `attempts[].cost_usd`."""

    cost_usd: float | None  # null: a route that was used has no price
    maybe_usd: float | None  # the part of it of which no provider has said whether it was billed
    estimated: bool = True


class CancellationView(Struct, frozen=True, kw_only=True):
    """What a cancel came to."""

    provider_started: bool  # no provider can be told to stop: it may bill
    message: str


class GenerationView(Struct, frozen=True, kw_only=True):
    """A generation."""

    id: str
    object: Literal["video.generation", "image.generation"]
    created_at: int
    model: str
    status: Status
    progress: int
    provider: str | None
    provider_model: str | None
    data: tuple[OutputView, ...]
    error: ErrorView | None
    warnings: tuple[WarningView, ...]
    attempts: tuple[AttemptView, ...]
    usage: UsageView
    expires_at: int
    completed_at: int | None
    next_try_at: int | None  # while every route asked to wait: when the next one is tried again at the earliest
    request: Mapping[str, Any]
    metadata: Mapping[str, str]
    user: str | None
    cancellation: CancellationView | UnsetType = UNSET  # only of a cancelled generation


class GenerationList(Listed[GenerationView], frozen=True, kw_only=True):
    """A page of generations."""


class Deleted(Struct, frozen=True, kw_only=True):
    """What was deleted."""

    id: str
    object: str
    deleted: bool = True


_ATTEMPT_STATUS = {
    AttemptState.RESERVED: "queued",
    AttemptState.SUBMITTING: "queued",
    AttemptState.ACCEPTED: "queued",  # `in_progress` once one of its tasks is
    AttemptState.NOT_SENT: "failed",
    AttemptState.REFUSED: "failed",
    AttemptState.UNKNOWN: "unknown",
    AttemptState.COMPLETED: "completed",
    AttemptState.FAILED: "failed",
    AttemptState.ABANDONED: "abandoned",
}


def generation_view(generation: Generation, links: Links, health: HealthOf = unknown_health) -> GenerationView:
    """The public object. With the health of the routes it says more exactly when the next try is due."""
    kind: Literal["video.generation", "image.generation"] = (
        "video.generation" if generation.kind == "video" else "image.generation"
    )
    request = generation.request
    return GenerationView(
        id=generation.id,
        object=kind,
        created_at=int(generation.created_at.timestamp()),
        model=request.model,
        status=generation.status,
        progress=round(generation.progress * 100),
        provider=generation.provider,
        provider_model=generation.provider_model,
        data=tuple(_output_view(generation, output, links) for output in generation.outputs),
        error=_error_of(generation),
        warnings=_warnings(generation),
        attempts=tuple(_attempt_view(generation, attempt) for attempt in generation.attempts),
        usage=_usage_view(generation),
        expires_at=int(generation.deadline_at.timestamp()),
        completed_at=_seconds(generation.completed_at),
        next_try_at=_seconds(next_try_at(generation, health)),
        request=request_view(request),
        metadata=request.metadata,
        user=request.user,
        cancellation=_cancellation(generation) if generation.status is Status.CANCELLED else UNSET,
    )


def _cancellation(generation: Generation) -> CancellationView:
    sent = {AttemptState.SUBMITTING, AttemptState.ACCEPTED, AttemptState.UNKNOWN, AttemptState.ABANDONED}
    started = any(attempt.state in sent or attempt.accepted_at is not None for attempt in generation.attempts)
    message = "A provider had started; it cannot be stopped and may bill." if started else "No provider had started."
    return CancellationView(provider_started=started, message=message)


def _output_view(generation: Generation, output: Output, links: Links) -> OutputView:
    ended = output.status.terminal
    artifact, kept = (output.artifact, output.kept) if ended else (None, None)
    told = kept or artifact
    provider_url = artifact.url if artifact is not None and not artifact.needs_credential else None
    url, thumbnail_url = provider_url, artifact.thumbnail_url if artifact is not None else None
    if kept is not None:
        url = links.opened(generation, output.index, "video", kept.kept_until)
        if kept.thumbnail is not None:
            thumbnail_url = links.opened(generation, output.index, "thumbnail", kept.kept_until)
    elif artifact is not None and artifact.needs_credential:
        url = links.content(generation, output.index)
    return OutputView(
        index=output.index,
        status=output.status if ended else _running_status(generation, output),
        url=url,
        provider_url=provider_url,
        thumbnail_url=thumbnail_url,
        duration=told.duration_seconds if told is not None else None,
        width=told.width if told is not None else None,
        height=told.height if told is not None else None,
        bytes=kept.bytes if kept is not None else None,
        sha256=kept.sha256 if kept is not None else None,
        content_type=told.content_type if told is not None else None,
        expires_at=_seconds(kept.kept_until if kept is not None else output.expires_at if ended else None),
        error=_error_view(output.failure, output.status),
        extra=True if output.extra else UNSET,
        late=True if output.late else UNSET,
    )


def _running_status(generation: Generation, output: Output) -> Status:
    if output.artifact is not None:
        return Status.IN_PROGRESS  # its file is on its way into the artifact store
    followed = (one for one in generation.attempts if one.state in {AttemptState.ACCEPTED, AttemptState.ABANDONED})
    tasks = [task for attempt in followed for task in attempt.tasks if task.slot == output.index]
    return tasks[-1].status if tasks and not tasks[-1].status.terminal else Status.QUEUED


def _attempt_view(generation: Generation, attempt: Attempt) -> AttemptView:
    route = generation.route(attempt)
    status = _ATTEMPT_STATUS[attempt.state]
    if attempt.state is AttemptState.ACCEPTED and any(task.status is not Status.QUEUED for task in attempt.tasks):
        status = "in_progress"
    elif attempt.state in {AttemptState.ABANDONED, AttemptState.NOT_SENT} and attempt.failure is None:
        status = "cancelled"
    failure = attempt.failure
    return AttemptView(
        number=attempt.number,
        provider=route.provider,
        provider_model=route.model,
        settings=SettingsView(**settings_view(route.settings)),
        status=status,
        failure=failure.kind if failure else None,
        message=failure.message if failure else None,
        upstream_code=failure.upstream_code if failure else None,
        started_at=int((attempt.sent_at or attempt.reserved_at).timestamp()),
        ended_at=_seconds(attempt.ended_at),
        billed=attempt.billed,
        cost_usd=cost_of(generation, attempt),
        tasks=tuple(task.ref.id for task in attempt.tasks),
        upstream=upstream_view(attempt.upstream),
    )


def _usage_view(generation: Generation) -> UsageView:
    costs = [cost_of(generation, attempt) for attempt in generation.attempts if purchase_count(attempt)]
    maybes = [maybe_of(generation, attempt) for attempt in generation.attempts if purchase_count(attempt)]
    has_prices = any(route.cost_usd is not None for route in generation.plan.routes)
    if not has_prices or None in costs:
        return UsageView(cost_usd=None, maybe_usd=None)
    return UsageView(cost_usd=round(sum(filter(None, costs)), 6), maybe_usd=round(sum(filter(None, maybes)), 6))


def _error_of(generation: Generation) -> ErrorView | None:
    """Why it failed; also that something may have been paid for, and what the provider's unclear answer said."""
    view = _error_view(generation.failure, generation.status)
    unclear = [attempt for attempt in generation.attempts if attempt.state is AttemptState.UNKNOWN]
    if view is None or not unclear:
        return view
    message = view.message
    if view.code != PUBLIC_CODE[FailureKind.AMBIGUOUS]:
        message = f"{message} An earlier submit got no clear answer and may be billed."
    return ErrorView(view.code, message + _answer_text(generation.route(unclear[-1]).provider, unclear[-1].upstream))


def _answer_text(provider: str, answer: UpstreamAnswer | None) -> str:
    """The unclear answer in words, so that an operator can ask the provider about it."""
    if answer is None or (answer.status is None and answer.message is None):
        return ""
    said = f"HTTP {answer.status}" if answer.status is not None else "no complete reply"
    named = f", request id {answer.request_id}" if answer.request_id is not None else ""
    words = f": {answer.message}" if answer.message is not None else ""
    return f" {provider} answered the submit with {said}{named}{words}"


def _error_view(failure: Failed | None, status: Status) -> ErrorView | None:
    if status is Status.EXPIRED:
        met = "" if failure is None or failure.kind is FailureKind.TIMED_OUT else f" {failure.message}"
        return ErrorView("expired", f"The deadline passed before a result was there.{met}")
    return ErrorView(PUBLIC_CODE[failure.kind], failure.message) if failure is not None else None


def _warnings(generation: Generation) -> tuple[WarningView, ...]:
    used = {attempt.route for attempt in generation.attempts if attempt.accepted_at is not None}
    told = [
        warning
        for index in sorted(used)
        for warning in route_warnings(generation.request.settings, generation.plan.routes[index])
    ]
    return (*told, *_not_tried(generation), *_not_kept(generation))


def _not_tried(generation: Generation) -> Iterator[WarningView]:
    """The routes that a failed output was not sent to because of `max_cost`."""
    limit = generation.request.max_cost
    if limit is None or not any(one.status is Status.FAILED and not one.extra for one in generation.outputs):
        return
    tried = {attempt.route for attempt in generation.attempts}
    refusing = {generation.route(one).provider for one in generation.attempts if one.accepted_at is None}
    for index, route in enumerate(generation.plan.routes):
        if index not in tried and route.provider not in refusing:
            message = f"With what may have been paid already it could cost more than {limit:g} USD."
            yield WarningView(type="not_tried", param="max_cost", provider=route.provider, message=message)


def _not_kept(generation: Generation) -> Iterator[WarningView]:
    """The results that last as long as the provider's link."""
    for output in generation.outputs:
        if output.status is Status.COMPLETED and output.artifact is not None and output.kept is None:
            message = (
                f"The gateway does not keep the file of output {output.index}: fetch it before the provider's link"
            )
            yield WarningView(
                type="not_kept", param="url", message=f"{message} expires. The log says why: result_not_kept."
            )


_OF_THE_IMAGE = "The parameter is left out: the model takes none, its video has the aspect ratio of the image."


def route_warnings(asked: Settings, route: Route) -> Iterator[WarningView]:
    """What a route made of the settings: values it changed, and values that nobody gave and its model requires."""
    for one in route.adaptations:
        message = _OF_THE_IMAGE if one.param == "aspect_ratio" and route.settings.aspect_ratio is None else UNSET
        yield WarningView(
            type="adapted", param=one.param, from_=one.asked, to=one.given, provider=route.provider, message=message
        )
    known = {*settings_view(asked), *(one.param for one in route.adaptations)}
    for param, value in settings_view(route.settings).items():
        if param not in known:
            yield WarningView(type="defaulted", param=param, to=value, provider=route.provider)


def _seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
