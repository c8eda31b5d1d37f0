"""Writes the log lines about the work of the gateway: one observer of the events of `gateway/telemetry.py`."""

import logging

import structlog

from gateway.domain.adapter.task import Status
from gateway.domain.adapter.upstream_answer import UpstreamAnswer
from gateway.telemetry import (
    ArchiveFinished,
    AttemptFinished,
    AttemptReserved,
    BatchCommitted,
    CircuitClosed,
    CircuitOpened,
    CreateRefused,
    DeliveryTried,
    Event,
    GenerationCancelled,
    GenerationCreated,
    GenerationDeleted,
    GenerationRepeated,
    GenerationStatusChanged,
    PollFinished,
    ReadOutcome,
    RequestFinished,
    SubmitFinished,
    ThumbnailDropped,
    UnknownStatusRead,
)

log = structlog.get_logger()


class LogObserver:
    """Writes a log line for each event that an operator wants to read. Successful polls are not logged."""

    def observe(self, event: Event) -> None:  # one arm for each kind of event
        """See `Observer`."""
        match event:
            case GenerationCreated():
                log.info("generation_created", generation=event.generation, model=event.model, routes=event.routes)
            case GenerationRepeated():
                log.info("generation_repeated", generation=event.generation, model=event.model)
            case GenerationStatusChanged():
                _log_status(event)
            case GenerationCancelled():
                log.info("generation_cancelled", generation=event.generation)
            case GenerationDeleted():
                log.info("generation_deleted", generation=event.generation)
            case SubmitFinished():
                _log_submit(event)
            case PollFinished():
                _log_poll(event)
            case UnknownStatusRead():
                log.warning("unknown_status", provider=event.provider, raw_status=event.raw_status[:100])
            case ArchiveFinished():
                _log_archive(event)
            case ThumbnailDropped():
                log.warning(
                    "thumbnail_dropped", generation=event.generation, index=event.index, dropped_since_start=event.count
                )
            case DeliveryTried():
                _log_delivery(event)
            case RequestFinished():
                _log_request(event)
            case CircuitOpened():
                write = log.error if event.needs_operator else log.warning
                write(
                    "circuit_opened",
                    provider=event.provider,
                    model=event.model,
                    kind=event.kind,
                    seconds=event.seconds,
                )
            case CircuitClosed():
                log.info("circuit_closed", provider=event.provider, model=event.model)
            case AttemptReserved() if event.is_fallback or event.is_retry:
                _log_next_attempt(event)
            # `submit_finished`, `generation_status_changed` and `request_finished` say it in the log.
            case AttemptReserved() | AttemptFinished() | CreateRefused() | BatchCommitted():
                pass


def _log_status(event: GenerationStatusChanged) -> None:
    """A failure is a warning, because somebody asks about it sooner or later."""
    failure = event.failure if event.status is Status.FAILED else None
    log.log(
        logging.INFO if failure is None else logging.WARNING,
        "generation_status_changed",
        generation=event.generation,
        status=event.status,
        provider=event.provider,
        **({} if failure is None else {"kind": failure.kind, "message": failure.message}),
    )


def _log_next_attempt(event: AttemptReserved) -> None:
    log.info(
        "fallback_begun" if event.is_fallback else "retry_begun",
        generation=event.generation,
        attempt=event.attempt,
        provider=event.provider,
        model=event.model,
        kind=event.kind,
    )


def _log_request(event: RequestFinished) -> None:
    log.info(
        "request_finished",
        request_id=event.request_id,
        **({"client": event.client} if event.client else {}),
        method=event.method,
        **event.location,
        status=event.status,
        **({} if event.error_code is None else {"code": event.error_code}),
        duration_seconds=event.duration_seconds,
    )


def _log_submit(event: SubmitFinished) -> None:
    log.info(
        "submit_finished",
        generation=event.generation,
        attempt=event.attempt,
        provider=event.provider,
        model=event.model,
        kind=event.failure.kind if event.failure is not None else None,
        upstream_code=event.failure.upstream_code if event.failure is not None else None,
        **answer_fields(event.answer),
        duration_seconds=round(event.duration_seconds, 3),
    )


def _log_poll(event: PollFinished) -> None:
    about = {"attempt": event.attempt, "provider": event.provider}
    match event.outcome, event.call:
        case ReadOutcome.REFUSED, "poll":
            log.info("poll_refused", **about, status=event.status, lost=event.lost)
        case ReadOutcome.FAILED, "poll":
            log.info("poll_failed", **about, error=str(event.error))
        case ReadOutcome.BROKEN, "poll":
            log.error("poll_not_understood", **about, exc_info=event.error)
        case ReadOutcome.FAILED, "content":
            log.info("content_failed", **about, error=str(event.error))
        case ReadOutcome.BROKEN, "content":
            log.error("content_not_understood", **about, exc_info=event.error)
        case _:
            pass


def _log_archive(event: ArchiveFinished) -> None:
    about = {"generation": event.generation, "index": event.index, "provider": event.provider}
    if event.bytes is not None:
        log.info("result_archived", **about, bytes=event.bytes, duration_seconds=round(event.duration_seconds, 3))
    elif isinstance(event.error, Exception):
        log.error("archive_failed", **about, exc_info=event.error)
    else:
        log.warning("result_not_archived", **about, final=event.final, missing=event.missing, error=event.error)


def _log_delivery(event: DeliveryTried) -> None:
    log.info(
        "webhook_sent",
        delivery=event.delivery,
        generation=event.generation,
        type=event.type,
        receiver=event.receiver,
        status=event.status,
        error=event.error,
        state=event.state,
        duration_seconds=round(event.duration_seconds, 3),
    )


def answer_fields(answer: UpstreamAnswer | None) -> dict[str, object]:
    """The fields of a log line about a provider's answer to a submit; empty without an answer."""
    if answer is None:
        return {}
    charge = answer.charge
    return {
        "status": answer.status,
        "upstream_request_id": answer.request_id,
        "message": answer.message,
        **({"charge": charge.amount, "charge_unit": charge.unit} if charge is not None else {}),
    }
