"""Spans: which ones are made of events, how they hang together, and how they reach a collector."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from gateway.clock import SystemClock
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.task import Failed, Status
from gateway.domain.generation.model import AttemptState
from gateway.domain.trace_context import TraceContext
from gateway.ids import new_id
from gateway.telemetry import (
    ArchiveFinished,
    AttemptFinished,
    DeliveryTried,
    Event,
    GenerationCancelled,
    GenerationStatusChanged,
    PollFinished,
    ReadOutcome,
    RequestFinished,
    SubmitFinished,
)
from gateway.tracing import TraceObserver, span_id_of, trace_id_of, trace_observer

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GENERATION = new_id("gen_", NOW)
ATTEMPT = GENERATION.replace("gen_", "att_") + "_1"
CLIENT = TraceContext(trace_id="4bf92f3577b34da6a3ce929d0e0e4736", span_id="00f067aa0ba902b7", sampled=True)


class AMinuteLater(SystemClock):
    def now(self) -> datetime:
        return datetime(2026, 1, 1, 0, 1, tzinfo=UTC)


class Spans:
    def __init__(self, ratio: float = 1.0) -> None:
        self._exporter = InMemorySpanExporter()
        self.observer = TraceObserver(self._exporter, AMinuteLater(), sample_ratio=ratio, service_name="test")

    def of(self, *events: Event) -> list[ReadableSpan]:
        for event in events:
            self.observer.observe(event)
        self.observer._provider.force_flush()
        return list(self._exporter.get_finished_spans())


@pytest.fixture
def spans() -> Iterator[Spans]:
    spans = Spans()
    with closing(spans.observer):
        yield spans


def ended(status: Status = Status.COMPLETED, trace: TraceContext | None = None) -> GenerationStatusChanged:
    return GenerationStatusChanged(generation=GENERATION, status=status, provider="acme", age_seconds=60, trace=trace)


def attempt(kind: FailureKind | None = None) -> AttemptFinished:
    return AttemptFinished(
        generation=GENERATION,
        attempt=ATTEMPT,
        provider="acme",
        model="m",
        state=AttemptState.COMPLETED if kind is None else AttemptState.REFUSED,
        kind=kind,
        duration_seconds=20,
    )


def submit(failure: Failed | None = None) -> SubmitFinished:
    return SubmitFinished(
        generation=GENERATION,
        attempt=ATTEMPT,
        provider="acme",
        model="m",
        failure=failure,
        answer=None,
        duration_seconds=2,
    )


def poll(outcome: ReadOutcome) -> PollFinished:
    return PollFinished(attempt=ATTEMPT, provider="acme", call="poll", outcome=outcome, duration_seconds=1)


def archive(size: int | None) -> ArchiveFinished:
    return ArchiveFinished(generation=GENERATION, index=0, provider="acme", duration_seconds=3, bytes=size)


def delivery(trace: TraceContext | None) -> DeliveryTried:
    return DeliveryTried(
        delivery="whd_1",
        generation=GENERATION,
        type="video.completed",
        receiver="hooks.example:443",
        status=503,
        error=None,
        state="pending",
        duration_seconds=0.5,
        trace=trace,
        sent_span_id=None if trace is None else "00000000000000aa",
    )


def request(status: int, trace: TraceContext | None = None) -> RequestFinished:
    return RequestFinished(
        request_id="req_1",
        method="POST",
        location={"path": "/v1/videos/generations"},
        status=status,
        error_code="internal_error" if status >= 500 else None,
        duration_seconds=0.01,
        trace=trace,
    )


def by_name(spans: list[ReadableSpan]) -> dict[str, ReadableSpan]:
    return {span.name: span for span in spans}


def test_a_generation_is_one_trace_whose_id_is_in_its_own(spans: Spans) -> None:
    made = by_name(spans.of(submit(), attempt(), archive(10), poll(ReadOutcome.READ), ended(trace=CLIENT)))

    assert set(made) == {"submit acme", "attempt acme", "archive acme", "generation"}, "a reading makes no span"
    root = made["generation"]
    assert {span.context.trace_id for span in made.values()} == {trace_id_of(GENERATION)}
    assert (root.parent, root.context.span_id) == (None, span_id_of(GENERATION))
    assert made["attempt acme"].parent.span_id == made["archive acme"].parent.span_id == root.context.span_id
    assert made["submit acme"].parent.span_id == made["attempt acme"].context.span_id == span_id_of(ATTEMPT)
    assert [f"{link.context.trace_id:032x}" for link in root.links] == [CLIENT.trace_id]
    assert (root.end_time - root.start_time) / 1e9 == pytest.approx(60, abs=0.01), "since its create"
    assert made["submit acme"].attributes == {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.provider.name": "acme",
        "gen_ai.request.model": "m",
        "video_gateway.attempt.id": ATTEMPT,
    }


def test_another_process_continues_the_same_trace(spans: Spans) -> None:
    before, after = Spans(), spans
    with closing(before.observer):
        (first,) = before.of(attempt(FailureKind.UNAVAILABLE))
    second = by_name(after.of(attempt(), GenerationCancelled(generation=GENERATION)))["generation"]
    assert (first.context.trace_id, first.parent.span_id) == (second.context.trace_id, second.context.span_id)


def test_failures_have_a_code(spans: Spans) -> None:
    refused = Failed(kind=FailureKind.RATE_LIMITED, message="slow down", upstream_code="1302")
    made = spans.of(
        *(submit(refused), attempt(FailureKind.RATE_LIMITED), poll(ReadOutcome.FAILED), archive(None)),
        *(delivery(None), request(500), request(404), ended(Status.EXPIRED)),
    )
    codes = [(span.attributes.get("error.type"), span.status.is_ok) for span in made]
    assert codes == [
        *(("rate_limited", False), ("rate_limited", False), ("failed", False), ("not_archived", False)),
        *(("503", False), ("internal_error", False), (None, True), ("expired", False)),
    ]
    assert made[0].attributes["video_gateway.upstream.code"] == "1302"
    assert "slow down" not in str([dict(span.attributes) for span in made])


def test_requests_and_webhooks_are_in_the_trace_of_the_client(spans: Spans) -> None:
    received, sent = spans.of(request(200, CLIENT), delivery(CLIENT))
    for span in (received, sent):
        assert f"{span.context.trace_id:032x}" == CLIENT.trace_id
        assert f"{span.parent.span_id:016x}" == CLIENT.span_id
    assert sent.context.span_id == 0xAA, "the span that the receiver was sent"
    assert [link.context.trace_id for link in sent.links] == [trace_id_of(GENERATION)]
    assert (received.kind, sent.kind) == (SpanKind.SERVER, SpanKind.CLIENT)


def test_a_client_that_does_not_record_its_trace_gets_no_spans_in_it(spans: Spans) -> None:
    quiet = TraceContext(trace_id=CLIENT.trace_id, span_id=CLIENT.span_id)
    assert spans.of(request(200, quiet), delivery(quiet)) == []


def test_all_spans_of_a_generation_are_sampled_or_none() -> None:
    for ratio in (0.0, 0.3, 0.7):
        spans = Spans(ratio)
        with closing(spans.observer):
            assert len(spans.of(submit(), attempt(), archive(1), ended())) in {0, 4}
    with closing(Spans(0.0).observer) as observer:
        observer.observe(ended())
        assert observer._ids.trace_id is None, "the next span does not get the id of one that was not made"


def test_spans_reach_a_collector_over_http() -> None:
    bodies: list[tuple[str, str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            bodies.append((self.path, self.headers["x-team"], body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Collector)
    Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}/v1/traces"
    observer = trace_observer(endpoint, {"x-team": "video"}, SystemClock(), sample_ratio=1.0, service_name="gateway-1")
    observer.observe(ended())
    observer.close()
    server.shutdown()
    server.server_close()

    ((path, team, body),) = bodies
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    assert (path, team) == ("/v1/traces", "video")
    assert "gateway-1" in str(resource.resource)
    (span,) = resource.scope_spans[0].spans
    assert (span.name, int.from_bytes(span.trace_id)) == ("generation", trace_id_of(GENERATION))
