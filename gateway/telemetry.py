"""What the gateway reports about its own work: one observer, which gets an event for everything that a metric counts.

The engine, the archiver, the webhook deliverer, the health of routes, the store and the API call `Observer.observe`.
`gateway/log_observer.py` writes the log lines, `gateway/metrics/` counts for `/metrics`, and another observer that is
passed to `Application` gets the same events. Log lines that nobody would count (a start, a retry of the store, an
operator's decision) are written where they happen. So is `submission_receipt`: it is the last copy of a task id that is
not stored yet.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Literal, Protocol

import structlog
from msgspec import Struct

from gateway.domain.adapter.failure import Billed, FailureKind
from gateway.domain.adapter.task import Failed, Status
from gateway.domain.adapter.upstream_answer import UpstreamAnswer
from gateway.domain.generation.model import AttemptState
from gateway.domain.trace_context import TraceContext

log = structlog.get_logger()


class GenerationCreated(Struct, frozen=True, kw_only=True):
    """A new generation is stored."""

    generation: str
    model: str  # the public name that the client asked for
    routes: int  # in the plan


class GenerationRepeated(Struct, frozen=True, kw_only=True):
    """A create repeats an earlier one and got its generation."""

    generation: str  # the earlier one
    model: str  # the public name that the client asked for


class CreateRefused(Struct, frozen=True, kw_only=True):
    """A create that could be read was refused. The log has its code in the line of the request."""

    model: str  # the public name that the client asked for, whether it exists or not
    code: str  # of the error


class GenerationStatusChanged(Struct, frozen=True, kw_only=True):
    """The driver stored another status of a generation."""

    generation: str
    model: str  # the public name that the client asked for
    status: Status
    provider: str | None  # of the first completed output, else of the newest accepted attempt
    failure: Failed | None  # why it failed, in words without secrets
    age_seconds: float  # since the create
    trace: TraceContext | None = None  # the client's span that created it


class GenerationCancelled(Struct, frozen=True, kw_only=True):
    """A client cancelled a generation."""

    generation: str
    model: str  # the public name that the client asked for
    provider: str | None  # of the newest accepted attempt
    age_seconds: float  # since the create
    trace: TraceContext | None = None  # the client's span that created it


class GenerationDeleted(Struct, frozen=True, kw_only=True):
    """A client deleted a generation."""

    generation: str


class AttemptReserved(Struct, frozen=True, kw_only=True):
    """The driver stored a new attempt. Nothing is sent yet."""

    generation: str
    attempt: str
    provider: str
    model: str
    is_fallback: bool  # an earlier attempt for the same output was made on another route
    is_retry: bool  # the same route was tried before for the same output
    kind: FailureKind | None  # the failure of that earlier attempt


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
    age_seconds: float  # since the create of the generation


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
    billed: Billed
    cost_usd: float | None  # what it cost or may have cost; None: the route has no price
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
    age_seconds: float  # since the event happened
    trace: TraceContext | None = None  # the client's span that created the generation
    sent_span_id: str | None = None  # of this try in the client's trace, as the receiver saw it; None: no `trace`


class RequestFinished(Struct, frozen=True, kw_only=True):
    """A request of a client was answered, or the client left. Requests for health and metrics are not reported."""

    request_id: str
    client: str  # the owner id of the key; empty for a request that did not prove who it is from
    method: str
    location: dict[str, str]  # the path without what a client put into it, as the log shows it
    status: int  # 499: the client left; 0: nothing was answered
    error_code: str | None  # of the error body; "overloaded" and "shutting_down" are requests that were shed
    duration_seconds: float
    bytes: int  # of the body of the answer, as far as it was sent
    trace: TraceContext | None = None  # the client's span


class BatchCommitted(Struct, frozen=True, kw_only=True):
    """The store has ended one transaction, or could not. It is not logged: the store logs when it begins to fail."""

    jobs: int  # writes that the transaction has
    commit_seconds: float  # from the begin of its statements to the end of the commit
    oldest_seconds: float  # how long the write that came first has waited for its result
    succeeded: bool


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
    | GenerationRepeated
    | CreateRefused
    | GenerationStatusChanged
    | GenerationCancelled
    | GenerationDeleted
    | AttemptReserved
    | SubmitFinished
    | AttemptFinished
    | PollFinished
    | UnknownStatusRead
    | ArchiveFinished
    | ThumbnailDropped
    | DeliveryTried
    | RequestFinished
    | BatchCommitted
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


NOBODY = Observers(())  # an observer for work that nobody watches
