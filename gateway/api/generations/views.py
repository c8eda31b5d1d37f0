"""The JSON of a generation, and how it is copied from a `Summary`. All rules are in `domain/generation/summary.py`."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.api.generations.file_urls import file_url
from gateway.api.generations.request_echo import SettingsView, request_view, settings_view
from gateway.api.generations.upstream_answer import UpstreamAnswerView, upstream_view
from gateway.api.web.links import Links
from gateway.api.web.lists import Listed
from gateway.domain.adapter.request import Settings
from gateway.domain.adapter.task import Status
from gateway.domain.generation.model import Generation, Route
from gateway.domain.generation.summary import (
    AttemptSummary,
    Cancellation,
    Deviation,
    OutputSummary,
    Problem,
    deviations,
    summarize,
)
from gateway.domain.health.route_health import HealthOf, unknown_health

_DEADLINE = (
    "Unix seconds. A generation that has no result by then ends as `expired`. The end of a file's link is"
    " `data[].expires_at`."
)
_EXPIRES = "The same value as `deadline_at`, which replaces this field. It is not the end of a file's link."


class ErrorView(Struct, frozen=True):
    """Why a generation, an output or an attempt failed."""

    code: str  # stable; the table of errors of generations has all codes
    message: str  # for people


class OutputView(Struct, frozen=True, kw_only=True):
    """One result. Its URLs need no API key."""

    index: int  # the number of the output, from 0
    status: Status  # of this output
    url: str | None  # where the file is; null until there is one
    provider_url: str | UnsetType | None = UNSET  # the provider's own link, which may expire
    thumbnail_url: str | None  # an image of the video; null without one
    duration: float | None  # seconds
    width: int | None  # pixels
    height: int | None  # pixels
    bytes: int | None  # the size of the file; null unless the gateway has stored it
    sha256: str | None  # the hash of the file in hexadecimal digits
    content_type: str | None  # the media type of the file
    expires_at: int | None  # Unix seconds: until then `url` works
    error: ErrorView | None  # why the output failed; null unless it did
    extra: bool | UnsetType = UNSET  # beyond the number of outputs that the client asked for
    late: bool | UnsetType = UNSET  # arrived after another result had filled its output, or after the generation ended


class AttemptView(Struct, frozen=True, kw_only=True):
    """One submit to one provider."""

    number: int  # from 1
    provider: str | UnsetType = UNSET  # the name of the provider
    provider_model: str | UnsetType = UNSET  # the provider's own name of the model
    settings: SettingsView  # what the provider was sent
    status: str  # how far the attempt is
    failure: str | None  # the kind of the failure; null without one
    message: str | None  # what went wrong, for people
    upstream_code: str | UnsetType | None = UNSET  # the provider's own code of the failure
    started_at: int  # Unix seconds
    ended_at: int | None  # Unix seconds; null while it runs
    billed: str | UnsetType | None = (
        UNSET  # whether the provider charged for it: `no`, `maybe`, `yes`; null: not yet known
    )
    cost_usd: float | UnsetType | None = (
        UNSET  # what it cost or may have cost, counted per task; null: the route has no price
    )
    tasks: tuple[str, ...] | UnsetType = UNSET  # the provider's ids of the tasks
    upstream: UpstreamAnswerView | UnsetType | None = (
        UNSET  # facts from the provider's answer to the submit, for its support
    )


class WarningView(Struct, frozen=True, kw_only=True):
    """Something that differs from what the client asked for."""

    type: Literal["adapted", "defaulted", "not_kept", "not_tried"]  # what was changed or not done
    param: str  # the parameter that it is about
    from_: Any = msgspec.field(name="from", default=UNSET)  # the requested value
    to: Any = UNSET  # null: only the provider knows the value
    provider: str | UnsetType = UNSET  # the provider that it is about
    message: str | UnsetType = UNSET  # for people


class UsageView(Struct, frozen=True, kw_only=True):
    """What all attempts cost or may have cost by the configured prices: the sum of `attempts[].cost_usd`."""

    cost_usd: float | None  # null: a route that was used has no price
    maybe_usd: float | None  # the part of it of which no provider has said whether it was billed
    estimated: bool = True  # true: computed from configured prices, not from a bill


class CancellationView(Struct, frozen=True, kw_only=True):
    """What a cancel achieved."""

    provider_started: bool  # True: a provider had started or may have; it cannot be stopped and may bill
    message: str  # for people


class GenerationView(Struct, frozen=True, kw_only=True):
    """A generation.

    A client that may not see providers, attempts or costs gets no field that has them: an operator decides that.
    """

    id: str  # names the generation in every call
    object: Literal["video.generation", "image.generation"]  # the kind of this object
    created_at: int  # Unix seconds
    model: str  # the model as the request named it
    status: Status  # of the whole generation
    progress: int  # percent
    provider: str | UnsetType | None = UNSET  # the provider of the result; null until there is one
    provider_model: str | UnsetType | None = UNSET  # the provider's own name of the model
    data: tuple[OutputView, ...]  # the outputs; an entry for each that was asked for
    error: ErrorView | None  # why it failed; null unless it did
    warnings: tuple[WarningView, ...]  # what differs from the request
    attempts: tuple[AttemptView, ...] | UnsetType = UNSET  # every submit to a provider, the oldest first
    usage: UsageView | UnsetType = UNSET  # what it costs
    deadline_at: Annotated[int, Meta(description=_DEADLINE)]
    expires_at: Annotated[int, Meta(description=_EXPIRES, extra_json_schema={"deprecated": True})]
    completed_at: int | None  # Unix seconds of the end; null until then
    next_try_at: int | None  # while every route asked to wait: the earliest time of the next try
    request: Mapping[str, Any]  # what was asked for, under the API's own names
    metadata: Mapping[str, str]  # the pairs of the request
    user: str | None  # the `user` of the request
    cancellation: CancellationView | UnsetType = UNSET  # only in a cancelled generation


class GenerationList(Listed[GenerationView], frozen=True, kw_only=True):
    """A page of generations."""


class Deleted(Struct, frozen=True, kw_only=True):
    """The answer to a delete."""

    id: str  # of the object that was deleted
    object: str  # the kind of the object that was deleted
    deleted: bool = True  # always true


def generation_view(generation: Generation, links: Links, health: HealthOf = unknown_health) -> GenerationView:
    """The public object. With the health of its routes, `next_try_at` is more exact."""
    summary = summarize(generation, health)
    kind: Literal["video.generation", "image.generation"] = (
        "video.generation" if generation.kind == "video" else "image.generation"
    )
    shows_provider, shows_costs = links.shows(generation, "provider"), links.shows(generation, "costs")
    request, deadline = generation.request, int(generation.deadline_at.timestamp())
    return GenerationView(
        id=generation.id,
        object=kind,
        created_at=int(generation.created_at.timestamp()),
        model=request.model,
        status=summary.status,
        progress=summary.progress_percent,
        provider=generation.provider if shows_provider else UNSET,
        provider_model=generation.provider_model if shows_provider else UNSET,
        data=tuple(
            _output_view(generation, output, links, shows_provider=shows_provider) for output in summary.outputs
        ),
        error=_error_view(summary.error),
        warnings=tuple(_warning_view(warning, shows_provider=shows_provider) for warning in summary.warnings),
        attempts=tuple(
            _attempt_view(attempt, shows_provider=shows_provider, shows_costs=shows_costs)
            for attempt in summary.attempts
        )
        if links.shows(generation, "attempts")
        else UNSET,
        usage=UsageView(
            cost_usd=summary.usage.cost_usd, maybe_usd=summary.usage.maybe_usd, estimated=summary.usage.estimated
        )
        if shows_costs
        else UNSET,
        deadline_at=deadline,
        expires_at=deadline,
        completed_at=_seconds(generation.completed_at),
        next_try_at=_seconds(summary.next_try_at),
        request=request_view(request),
        metadata=request.metadata,
        user=request.user,
        cancellation=_cancellation_view(summary.cancellation),
    )


def _output_view(generation: Generation, output: OutputSummary, links: Links, *, shows_provider: bool) -> OutputView:
    archived, thumbnail_url = output.archived, output.thumbnail_url if shows_provider else None
    if archived is not None and archived.thumbnail is not None:
        thumbnail_url = links.opened(generation, output.index, "thumbnail", archived.kept_until)
    return OutputView(
        index=output.index,
        status=output.status,
        url=file_url(generation, output, links),
        provider_url=output.provider_url if shows_provider else UNSET,
        thumbnail_url=thumbnail_url,
        duration=output.duration_seconds,
        width=output.width,
        height=output.height,
        bytes=archived.bytes if archived is not None else None,
        sha256=archived.sha256 if archived is not None else None,
        content_type=output.content_type,
        expires_at=_seconds(output.expires_at),
        error=_error_view(output.error),
        extra=True if output.extra else UNSET,
        late=True if output.late else UNSET,
    )


def _attempt_view(summary: AttemptSummary, *, shows_provider: bool, shows_costs: bool) -> AttemptView:
    attempt, failure = summary.attempt, summary.attempt.failure
    return AttemptView(
        number=attempt.number,
        provider=summary.route.provider if shows_provider else UNSET,
        provider_model=summary.route.model if shows_provider else UNSET,
        settings=SettingsView(**settings_view(summary.route.settings)),
        status=summary.status.value,
        failure=failure.kind if failure else None,
        message=failure.message if failure else None,
        upstream_code=(failure.upstream_code if failure else None) if shows_provider else UNSET,
        started_at=int(summary.started_at.timestamp()),
        ended_at=_seconds(attempt.ended_at),
        billed=attempt.billed if shows_costs else UNSET,
        cost_usd=summary.cost_usd if shows_costs else UNSET,
        tasks=tuple(task.ref.id for task in attempt.tasks) if shows_provider else UNSET,
        upstream=upstream_view(attempt.upstream) if shows_provider else UNSET,
    )


def _error_view(problem: Problem | None) -> ErrorView | None:
    return None if problem is None else ErrorView(problem.code, problem.message)


def _cancellation_view(cancellation: Cancellation | None) -> CancellationView | UnsetType:
    if cancellation is None:
        return UNSET
    return CancellationView(provider_started=cancellation.provider_started, message=cancellation.message)


def _warning_view(deviation: Deviation, *, shows_provider: bool = True) -> WarningView:
    return WarningView(
        type=deviation.type,
        param=deviation.param,
        from_=deviation.requested,
        to=deviation.used,
        provider=deviation.provider if shows_provider else UNSET,
        message=deviation.message,
    )


def route_warnings(requested: Settings, route: Route, *, shows_provider: bool = True) -> Iterator[WarningView]:
    """How the settings of a route differ from the requested ones, as warnings."""
    return (_warning_view(deviation, shows_provider=shows_provider) for deviation in deviations(requested, route))


def _seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
