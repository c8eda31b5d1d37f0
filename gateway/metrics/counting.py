"""Counts the events of `gateway/telemetry.py`."""

from gateway.domain.adapter.failure import Billed
from gateway.domain.adapter.task import Status
from gateway.domain.generation.model import AttemptState
from gateway.metrics.labels import NONE, OTHER, Labels, method
from gateway.metrics.series import Series
from gateway.telemetry import (
    ArchiveFinished,
    AttemptFinished,
    AttemptReserved,
    BatchCommitted,
    CircuitOpened,
    CreateRefused,
    DeliveryTried,
    Event,
    GenerationCancelled,
    GenerationCreated,
    GenerationRepeated,
    GenerationStatusChanged,
    PollFinished,
    RequestFinished,
    SubmitFinished,
    ThumbnailDropped,
    UnknownStatusRead,
)


class CountingObserver:
    """Implements `Observer`."""

    def __init__(self, series: Series, labels: Labels) -> None:
        self._series = series
        self._labels = labels

    def observe(self, event: Event) -> None:  # one arm for each kind of event; the most frequent come first
        """See `Observer`."""
        series, labels = self._series, self._labels
        match event:
            case PollFinished():
                provider = labels.provider(event.provider)
                outcome = "lost" if event.lost else event.outcome.value
                series.polls[provider, event.call, outcome].inc()
                series.poll_seconds[provider,].observe(event.duration_seconds)
            case BatchCommitted():
                self._batch(event)
            case RequestFinished():
                self._request(event)
            case GenerationCreated():
                series.creates[labels.model(event.model), "created"].inc()
            case GenerationRepeated():
                series.creates[labels.model(event.model), "repeated"].inc()
            case CreateRefused():
                series.creates[labels.model(event.model), event.code].inc()
            case GenerationStatusChanged() if event.status.terminal:
                kind = NONE if event.failure is None else event.failure.kind.value
                self._ended(event.model, event.provider, event.status, kind, event.age_seconds)
            case GenerationCancelled():
                self._ended(event.model, event.provider, Status.CANCELLED, NONE, event.age_seconds)
            case AttemptReserved() if event.is_fallback or event.is_retry:
                counted = series.fallbacks if event.is_fallback else series.retries
                counted[*labels.route(event.provider, event.model), event.kind or NONE].inc()
            case SubmitFinished():
                self._submit(event)
            case AttemptFinished():
                self._attempt(event)
            case UnknownStatusRead():
                series.unknown_words[labels.provider(event.provider),].inc()
            case ArchiveFinished():
                self._archive(event)
            case ThumbnailDropped():
                series.thumbnails_dropped[()].inc()
            case DeliveryTried():
                series.deliveries[event.state or "deleted",].inc()
                series.delivery_seconds[()].observe(event.duration_seconds)
                if event.state == "succeeded":
                    series.told_seconds[()].observe(event.age_seconds)
            case CircuitOpened():
                series.circuits_opened[labels.provider(event.provider), event.kind or NONE].inc()
            case _:
                pass

    def _batch(self, event: BatchCommitted) -> None:
        self._series.store_batches["committed" if event.succeeded else "failed",].inc()
        self._series.store_jobs[()].observe(event.jobs)
        self._series.store_commit[()].observe(event.commit_seconds)
        self._series.store_wait[()].observe(event.oldest_seconds)

    def _request(self, event: RequestFinished) -> None:
        verb, path = method(event.method), event.location["path"] or OTHER
        self._series.requests[verb, path, str(event.status), event.error_code or NONE].inc()
        self._series.request_seconds[verb, path].observe(event.duration_seconds)
        self._series.response_bytes[path,].inc(event.bytes)

    def _ended(self, model: str, provider: str | None, status: Status, kind: str, seconds: float) -> None:
        at = self._labels.provider(provider)
        self._series.ended[self._labels.model(model), at, status.value, kind].inc()
        self._series.ended_seconds[at, status.value].observe(seconds)

    def _submit(self, event: SubmitFinished) -> None:
        provider, model = self._labels.route(event.provider, event.model)
        outcome = "accepted" if event.failure is None else event.failure.kind.value
        self._series.submits[provider, model, outcome].inc()
        self._series.submit_seconds[provider,].observe(event.duration_seconds)
        if event.failure is None:
            self._series.accept_seconds[provider,].observe(event.age_seconds)

    def _attempt(self, event: AttemptFinished) -> None:
        route = self._labels.route(event.provider, event.model)
        self._series.attempts[*route, event.state.value, event.kind or NONE].inc()
        if event.state is AttemptState.COMPLETED:
            self._series.completed_seconds[route].observe(event.duration_seconds)
        if event.cost_usd and event.billed is not Billed.NO:
            self._series.cost[*route, event.billed.value].inc(event.cost_usd)

    def _archive(self, event: ArchiveFinished) -> None:
        provider = self._labels.provider(event.provider)
        given_up = "given_up" if event.final or event.missing else "failed"
        self._series.archived[provider, given_up if event.bytes is None else "archived"].inc()
        self._series.archive_seconds[provider,].observe(event.duration_seconds)
        if event.bytes is not None:
            self._series.archived_bytes[provider,].inc(event.bytes)
