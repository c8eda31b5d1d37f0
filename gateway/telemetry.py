"""What the gateway reports about its own work: one observer, which gets an event for everything that a metric counts.

The engine, the archiver, the webhook deliverer, the health of routes and the API call `Observer.observe`. `LogObserver`
writes the log lines. Another observer, for example one that counts for `/metrics`, is passed to `Application` and
gets the same events. Log lines that nobody would count (a start, a retry of the store, an operator's decision) are
written where they happen. So is `submission_receipt`: it is the last copy of a task id that is not stored yet.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Literal, Protocol

import structlog
from msgspec import Struct

from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.task import Failed, Status
from gateway.domain.adapter.upstream_answer import UpstreamAnswer
from gateway.domain.generation.model import AttemptState
from gateway.domain.trace_context import TraceContext

log = structlog.get_logger()


class GenerationCreated(Struct, frozen=True, kw_only=True):
    """A new generation is stored. A repeated request that got an earlier generation is not reported."""

    generation: str
    model: str  # the public name that the client asked for
    routes: int  # in the plan


class GenerationStatusChanged(Struct, frozen=True, kw_only=True):
    """The driver stored another status of a generation."""

    generation: str
    status: Status
    provider: str | None  # of the first completed output, else of the newest accepted attempt
    age_seconds: float  # since the create
    trace: TraceContext | None = None  # the client's span that created it


class GenerationCancelled(Struct, frozen=True, kw_only=True):
    """A client cancelled a generation."""

    generation: str
    trace: TraceContext | None = None  # the client's span that created it


class GenerationDeleted(Struct, frozen=True, kw_only=True):
    """A client deleted a generation."""

    generation: str


class SubmitFinished(Struct, frozen=True, kw_only=True):
    """A submit has ended: the provider answered it, or it failed on the way."""

    generation: str
    attempt: str
    provider: str
    model: str
    failure: Failed | None  # None: the provider accepted it
    # What is stored of a refusal or an unclear answer. None: the submit was accepted, nothing was sent, or the gateway
    # itself failed.
    answer: UpstreamAnswer | None
    duration_seconds: float


class AttemptFinished(Struct, frozen=True, kw_only=True):
    """The driver stored the end of an attempt: completed, failed, refused, not sent, unknown or abandoned.

    A client's cancel ends attempts as well. It is reported only as `GenerationCancelled`.
    """

    generation: str
    attempt: str
    provider: str
    model: str
    state: AttemptState
    kind: FailureKind | None
    duration_seconds: float  # since it was reserved


class ReadOutcome(StrEnum):
    """How one reading of a task ended."""

    READ = "read"
    REFUSED = "refused"  # the provider answered without a reading
    FAILED = "failed"  # the provider could not be reached, or its reply could not be read
    BROKEN = "broken"  # the adapter raised


class PollFinished(Struct, frozen=True, kw_only=True):
    """A task was polled, or its file was asked for by the provider's content call."""

    attempt: str
    provider: str
    call: Literal["poll", "content"]
    outcome: ReadOutcome
    duration_seconds: float
    status: int | None = None  # the HTTP status of a refusal
    lost: bool = False  # the refusal says that the provider does not know the task
    error: Exception | None = None


class UnknownStatusRead(Struct, frozen=True, kw_only=True):
    """A provider used a status word that no table has. Reported once for each word."""

    provider: str
    raw_status: str


class ArchiveFinished(Struct, frozen=True, kw_only=True):
    """One try to archive the file of an output has ended."""

    generation: str
    index: int
    provider: str
    duration_seconds: float
    bytes: int | None = None  # of the archived file; None: it could not be archived this time
    final: bool = False  # another try cannot succeed
    missing: bool = False  # the link leads to nothing, or to something that is not a video
    error: str | Exception | None = None  # an exception is a fault of the gateway or of an adapter


class ThumbnailDropped(Struct, frozen=True, kw_only=True):
    """A result gets no thumbnail, because too many newer ones waited for theirs."""

    generation: str
    index: int
    count: int  # of the thumbnails dropped since the start, this one included


class DeliveryTried(Struct, frozen=True, kw_only=True):
    """A webhook was sent once, and the try is stored."""

    delivery: str
    generation: str | None  # None: a test of an endpoint
    type: str
    receiver: str  # host and port
    status: int | None
    error: str | None
    state: str | None  # of the delivery after the try; None: the delivery was deleted
    duration_seconds: float
    trace: TraceContext | None = None  # the client's span that created the generation
    sent_span_id: str | None = None  # of this try in the client's trace, as the receiver saw it; None: no `trace`


class RequestFinished(Struct, frozen=True, kw_only=True):
    """A request of a client was answered, or the client left. Requests for health and metrics are not reported."""

    request_id: str
    method: str
    location: dict[str, str]  # the path without what a client put into it, as the log shows it
    status: int  # 499: the client left; 0: nothing was answered
    error_code: str | None  # of the error body; "overloaded" and "shutting_down" are requests that were shed
    duration_seconds: float
    trace: TraceContext | None = None  # the client's span


class CircuitOpened(Struct, frozen=True, kw_only=True):
    """The routes of a circuit come last from now on, except for a probe. Without a `model`: those of the account."""

    provider: str
    model: str | None
    kind: FailureKind | None
    seconds: float  # until the first probe
    needs_operator: bool  # the failure does not go away by itself, for example a refused key


class CircuitClosed(Struct, frozen=True, kw_only=True):
    """The routes of a circuit have their normal position again. Without a `model`: those of the account."""

    provider: str
    model: str | None


Event = (
    GenerationCreated
    | GenerationStatusChanged
    | GenerationCancelled
    | GenerationDeleted
    | SubmitFinished
    | AttemptFinished
    | PollFinished
    | UnknownStatusRead
    | ArchiveFinished
    | ThumbnailDropped
    | DeliveryTried
    | RequestFinished
    | CircuitOpened
    | CircuitClosed
)


class Observer(Protocol):
    """Gets every event, on the event loop, right after it happened."""

    def observe(self, event: Event) -> None:
        """Take note of the event. This must return at once, without I/O that waits."""
        ...


class Observers:
    """Several observers as one. An observer that raises harms neither the work nor the other observers."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)

    def observe(self, event: Event) -> None:
        """See `Observer`. The failure of an observer is logged."""
        for observer in self._observers:
            try:
                observer.observe(event)
            except Exception:
                log.exception("observer_failed", observer=type(observer).__name__, observed=type(event).__name__)


class LogObserver:
    """Writes a log line for each event that an operator wants to read. Successful polls are not logged."""

    def observe(self, event: Event) -> None:  # one arm for each kind of event
        """See `Observer`."""
        match event:
            case GenerationCreated():
                log.info("generation_created", generation=event.generation, model=event.model, routes=event.routes)
            case GenerationStatusChanged():
                log.info(
                    "generation_status_changed",
                    generation=event.generation,
                    status=event.status,
                    provider=event.provider,
                )
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
                log.info(
                    "request_finished",
                    request_id=event.request_id,
                    method=event.method,
                    **event.location,
                    status=event.status,
                    duration_seconds=event.duration_seconds,
                )
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
            case AttemptFinished():
                pass  # `submit_finished` and `generation_status_changed` say it in the log


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
