"""What the log says about each event."""

from typing import Any, get_args

from structlog.testing import capture_logs

from gateway.domain.adapter.failure import Billed, FailureKind
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.task import Failed, Status
from gateway.domain.adapter.upstream_answer import UpstreamAnswer
from gateway.domain.generation.model import AttemptState
from gateway.log_observer import LogObserver
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

from ..cases import every


def submit(**changes: Any) -> SubmitFinished:
    values = {
        "generation": "gen_1",
        "attempt": "att_1",
        "provider": "acme",
        "model": "one",
        "failure": None,
        "answer": None,
        "duration_seconds": 1.23456,
        "age_seconds": 2.0,
    }
    return SubmitFinished(**{**values, **changes})


def poll(outcome: ReadOutcome, **changes: Any) -> PollFinished:
    values = {"attempt": "att_1", "provider": "acme", "call": "poll", "outcome": outcome, "duration_seconds": 0.5}
    return PollFinished(**{**values, **changes})


def archive(**changes: Any) -> ArchiveFinished:
    return ArchiveFinished(
        **{"generation": "gen_1", "index": 0, "provider": "acme", "duration_seconds": 2.00049, **changes}
    )


def changed(status: Status, failure: Failed | None = None) -> GenerationStatusChanged:
    return GenerationStatusChanged(
        generation="gen_1", model="m", status=status, provider="acme", failure=failure, age_seconds=9
    )


def reserved(*, is_fallback: bool = False, is_retry: bool = False) -> AttemptReserved:
    kind = FailureKind.RATE_LIMITED if is_fallback or is_retry else None
    return AttemptReserved(
        generation="gen_1",
        attempt="att_1",
        provider="acme",
        model="one",
        is_fallback=is_fallback,
        is_retry=is_retry,
        kind=kind,
    )


NEXT = {"generation": "gen_1", "attempt": "att_1", "provider": "acme", "model": "one", "kind": "rate_limited"}
CREATED = GenerationCreated(generation="gen_1", model="m", routes=2)
ERROR = ValueError("no")
ABOUT = {"attempt": "att_1", "provider": "acme"}
FILE = {"generation": "gen_1", "index": 0, "provider": "acme"}
SENT = {"generation": "gen_1", "attempt": "att_1", "provider": "acme", "model": "one", "duration_seconds": 1.235}
ANSWER = UpstreamAnswer(status=429, request_id="r-1", message="slow down")
LINES: list[tuple[Event, dict[str, Any] | None]] = [
    (CREATED, {"event": "generation_created", "generation": "gen_1", "model": "m", "routes": 2}),
    (
        changed(Status.COMPLETED),
        {"event": "generation_status_changed", "generation": "gen_1", "status": "completed", "provider": "acme"},
    ),
    (
        changed(Status.FAILED, failure=Failed(kind=FailureKind.TASK_FAILED, message="The provider's own words.")),
        {
            "event": "generation_status_changed",
            "log_level": "warning",
            "generation": "gen_1",
            "status": "failed",
            "provider": "acme",
            "kind": "task_failed",
            "message": "The provider's own words.",
        },
    ),
    (
        GenerationRepeated(generation="gen_1", model="m"),
        {"event": "generation_repeated", "generation": "gen_1", "model": "m"},
    ),
    (CreateRefused(model="m", code="model_not_found"), None),
    (BatchCommitted(jobs=3, commit_seconds=0.1, oldest_seconds=0.2, succeeded=True), None),
    (
        GenerationCancelled(generation="gen_1", model="m", provider=None, age_seconds=9),
        {"event": "generation_cancelled", "generation": "gen_1"},
    ),
    (reserved(), None),
    (reserved(is_fallback=True), {"event": "fallback_begun", **NEXT}),
    (reserved(is_retry=True), {"event": "retry_begun", **NEXT}),
    (GenerationDeleted(generation="gen_1"), {"event": "generation_deleted", "generation": "gen_1"}),
    (submit(), {"event": "submit_finished", **SENT, "kind": None, "upstream_code": None}),
    (
        submit(failure=failed(FailureKind.RATE_LIMITED, code="429x"), answer=ANSWER),
        {
            "event": "submit_finished",
            **SENT,
            "kind": "rate_limited",
            "upstream_code": "429x",
            "status": 429,
            "upstream_request_id": "r-1",
            "message": "slow down",
        },
    ),
    (
        AttemptFinished(
            generation="gen_1",
            attempt="att_1",
            provider="acme",
            model="one",
            state=AttemptState.FAILED,
            kind=FailureKind.TASK_FAILED,
            billed=Billed.MAYBE,
            cost_usd=None,
            duration_seconds=5,
        ),
        None,
    ),
    (poll(ReadOutcome.READ), None),
    (poll(ReadOutcome.REFUSED, status=404, lost=True), {"event": "poll_refused", **ABOUT, "status": 404, "lost": True}),
    (poll(ReadOutcome.FAILED, error=ERROR), {"event": "poll_failed", **ABOUT, "error": "no"}),
    (
        poll(ReadOutcome.BROKEN, error=ERROR),
        {"event": "poll_not_understood", "log_level": "error", **ABOUT, "exc_info": ERROR},
    ),
    (poll(ReadOutcome.READ, call="content"), None),
    (poll(ReadOutcome.REFUSED, call="content"), None),
    (poll(ReadOutcome.FAILED, call="content", error=ERROR), {"event": "content_failed", **ABOUT, "error": "no"}),
    (
        poll(ReadOutcome.BROKEN, call="content", error=ERROR),
        {"event": "content_not_understood", "log_level": "error", **ABOUT, "exc_info": ERROR},
    ),
    (
        UnknownStatusRead(provider="acme", raw_status="x" * 200),
        {"event": "unknown_status", "log_level": "warning", "provider": "acme", "raw_status": "x" * 100},
    ),
    (archive(bytes=7), {"event": "result_archived", **FILE, "bytes": 7, "duration_seconds": 2.0}),
    (
        archive(error="gone", missing=True),
        {
            "event": "result_not_archived",
            "log_level": "warning",
            **FILE,
            "final": False,
            "missing": True,
            "error": "gone",
        },
    ),
    (archive(error=ERROR), {"event": "archive_failed", "log_level": "error", **FILE, "exc_info": ERROR}),
    (
        DeliveryTried(
            delivery="dlv_1",
            generation=None,
            type="webhook.test",
            receiver="https://a.example",
            status=204,
            error=None,
            state="delivered",
            duration_seconds=0.12345,
            age_seconds=1.0,
        ),
        {
            "event": "webhook_sent",
            "delivery": "dlv_1",
            "generation": None,
            "type": "webhook.test",
            "receiver": "https://a.example",
            "status": 204,
            "error": None,
            "state": "delivered",
            "duration_seconds": 0.123,
        },
    ),
    (
        RequestFinished(
            request_id="req_1",
            client="key_1",
            method="GET",
            location={"path": "/v1/models"},
            status=503,
            error_code="overloaded",
            duration_seconds=0.00123,
            bytes=7,
        ),
        {
            "event": "request_finished",
            "request_id": "req_1",
            "client": "key_1",
            "method": "GET",
            "path": "/v1/models",
            "status": 503,
            "code": "overloaded",
            "duration_seconds": 0.00123,
        },
    ),
    (
        CircuitOpened(provider="acme", model=None, kind=FailureKind.OUT_OF_CREDIT, seconds=30.0, needs_operator=True),
        {
            "event": "circuit_opened",
            "log_level": "error",
            "provider": "acme",
            "model": None,
            "kind": "out_of_credit",
            "seconds": 30.0,
        },
    ),
    (
        CircuitOpened(provider="acme", model="one", kind=FailureKind.UNAVAILABLE, seconds=30.0, needs_operator=False),
        {
            "event": "circuit_opened",
            "log_level": "warning",
            "provider": "acme",
            "model": "one",
            "kind": "unavailable",
            "seconds": 30.0,
        },
    ),
    (
        ThumbnailDropped(generation="gen_1", index=0, count=7),
        {
            "event": "thumbnail_dropped",
            "log_level": "warning",
            "generation": "gen_1",
            "index": 0,
            "dropped_since_start": 7,
        },
    ),
    (CircuitClosed(provider="acme", model="one"), {"event": "circuit_closed", "provider": "acme", "model": "one"}),
]


@every(("event", "line"), LINES, ids=lambda value: type(value).__name__)
def test_the_log_says_what_was_observed(event: Event, line: dict[str, Any] | None) -> None:
    with capture_logs() as logged:
        LogObserver().observe(event)
    assert logged == ([] if line is None else [{"log_level": "info", **line}])


def test_every_kind_of_event_is_in_the_table() -> None:
    assert {type(event) for event, _ in LINES} == set(get_args(Event))
