"""Traces for OpenTelemetry: an observer that makes spans of the events of `gateway/telemetry.py`.

**Each generation is a trace.** Its id is the ULID of the generation, and its root span has an id that is computed from
the generation's. So every process that works on a generation, before and after a restart, adds spans to the same trace,
and an operator finds it by the id without a search. The root span is sent when the generation has ended. It links to
the client's own span, if the client has sent one; requests and webhooks are spans of the client's trace.

A span is made when what it describes is over, from the duration in the event, so nothing is open in memory for
minutes. Names of attributes are those of OpenTelemetry's conventions for generative AI where they have one; the others
begin with `video_gateway.`. Nothing that a client sent is in a span, except the name of the model in a generation.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from msgspec import Struct
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from gateway.clock import Clock
from gateway.domain.adapter import task
from gateway.domain.trace_context import TraceContext
from gateway.ids import number_of
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

EXPORT_SECONDS = 10.0  # for one POST to the collector, on a thread of its own
QUEUE_MAX = 4096  # spans that wait for the collector; when there are more, the newest are dropped
_ATTRIBUTE_MAX = 512  # characters
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_NANOSECONDS = 1_000_000_000
Attributes = Mapping[str, str | int | float | bool | None]


def trace_id_of(generation_id: str) -> int:
    """The trace of a generation (`gen_…`) or of an attempt of it (`att_…_1`): the 128 bits of the ULID in the id.

    Raises `ValueError` for another text.
    """
    prefix, _, rest = generation_id.partition("_")
    ulid = rest.partition("_")[0]
    if prefix not in {"gen", "att"} or len(ulid) != 26:
        raise ValueError(f"not the id of a generation: {generation_id[:100]!r}")
    return number_of(ulid) % 2**128


def span_id_of(name: str) -> int:
    """The span of a generation or an attempt by its id: the same in every process, and never zero."""
    return int.from_bytes(sha256(name.encode()).digest()[:8]) or 1


class _Ids(IdGenerator):
    """Random ids, except for a span whose ids were set just before it is made."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()
        self.trace_id: int | None = None
        self.span_id: int | None = None

    def generate_trace_id(self) -> int:
        """The id of a trace that begins."""
        number, self.trace_id = self.trace_id, None
        return self._random.generate_trace_id() if number is None else number

    def generate_span_id(self) -> int:
        """The id of a span."""
        number, self.span_id = self.span_id, None
        return self._random.generate_span_id() if number is None else number


class _Span(Struct, frozen=True, kw_only=True):
    """What is sent of a span, apart from the trace that it belongs to."""

    name: str
    kind: SpanKind
    duration_seconds: float
    attributes: Attributes
    error: str | None = None  # why it failed: a code
    span_id: int | None = None  # None: a random one


class TraceObserver:
    """Sends spans to a collector. `observe` only puts them into a queue; a thread sends them in batches."""

    def __init__(self, exporter: SpanExporter, clock: Clock, *, sample_ratio: float, service_name: str) -> None:
        """`sample_ratio`: the part of the generations that is traced, from 0 to 1, and the same in every process."""
        self._clock = clock
        self._ids = _Ids()
        self._bound = TraceIdRatioBased.get_bound_for_rate(sample_ratio)
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(sample_ratio)),
            resource=Resource.create({"service.name": service_name}),
            id_generator=self._ids,
            span_limits=SpanLimits(max_span_attribute_length=_ATTRIBUTE_MAX),
            shutdown_on_exit=False,  # `close` does it in its place, before the event loop ends
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, max_queue_size=QUEUE_MAX, max_export_batch_size=512)
        )
        self._tracer = self._provider.get_tracer("video_gateway")

    def close(self) -> None:
        """Send what waits, and stop. It blocks for `EXPORT_SECONDS` at most for each batch."""
        self._provider.shutdown()

    def observe(self, event: Event) -> None:
        """See `gateway.telemetry.Observer`."""
        match event:
            case GenerationStatusChanged(status=status) if status.terminal:
                self._generation(event.generation, status, event.trace, event.provider)
            case GenerationCancelled():
                self._generation(event.generation, task.Status.CANCELLED, event.trace, None)
            case AttemptFinished():
                self._attempt(event)
            case SubmitFinished():
                self._submit(event)
            case PollFinished() if event.outcome is not ReadOutcome.READ:
                self._poll(event)
            case ArchiveFinished():
                self._archive(event)
            case DeliveryTried():
                self._delivery(event)
            case RequestFinished():
                self._request(event)
            case _:
                pass

    def _generation(
        self, generation_id: str, status: task.Status, client: TraceContext | None, provider: str | None
    ) -> None:
        """The root span of a generation, from its create to its end."""
        trace_id = trace_id_of(generation_id)
        now = self._clock.now().timestamp()
        self._ids.trace_id = trace_id
        span = _Span(
            name="generation",
            kind=SpanKind.INTERNAL,
            duration_seconds=max(now - (trace_id >> 80) / 1000, 0.0),  # a ULID begins with its milliseconds
            attributes={
                "gen_ai.operation.name": "generate_content",
                "gen_ai.provider.name": provider,
                "video_gateway.generation.id": generation_id,
                "video_gateway.generation.status": status.value,
            },
            error=None if status is task.Status.COMPLETED else status.value,
            span_id=span_id_of(generation_id),
        )
        self._send(span, None, [] if client is None else [Link(_context_of(client))])

    def _attempt(self, event: AttemptFinished) -> None:
        span = _Span(
            name=f"attempt {event.provider}",
            kind=SpanKind.INTERNAL,
            duration_seconds=event.duration_seconds,
            attributes=_of_attempt(event.attempt, event.provider, event.model)
            | {"video_gateway.attempt.state": event.state.value},
            error=None if event.kind is None else event.kind.value,
            span_id=span_id_of(event.attempt),
        )
        self._send(span, self._inside(event.generation, event.generation))

    def _submit(self, event: SubmitFinished) -> None:
        answer, failure = event.answer, event.failure
        span = _Span(
            name=f"submit {event.provider}",
            kind=SpanKind.CLIENT,
            duration_seconds=event.duration_seconds,
            attributes=_of_attempt(event.attempt, event.provider, event.model)
            | {
                "http.response.status_code": None if answer is None else answer.status,
                "video_gateway.upstream.request_id": None if answer is None else answer.request_id,
                "video_gateway.upstream.code": None if failure is None else failure.upstream_code,
            },
            error=None if failure is None else failure.kind.value,
        )
        self._send(span, self._inside(event.generation, event.attempt))

    def _poll(self, event: PollFinished) -> None:
        """A poll that brought no reading. The others are too many, and say nothing that the attempt does not say."""
        span = _Span(
            name=f"{event.call} {event.provider}",
            kind=SpanKind.CLIENT,
            duration_seconds=event.duration_seconds,
            attributes={
                "gen_ai.provider.name": event.provider,
                "http.response.status_code": event.status,
                "video_gateway.attempt.id": event.attempt,
            },
            error=event.outcome.value,
        )
        self._send(span, self._inside(event.attempt, event.attempt))

    def _archive(self, event: ArchiveFinished) -> None:
        span = _Span(
            name=f"archive {event.provider}",
            kind=SpanKind.CLIENT,
            duration_seconds=event.duration_seconds,
            attributes={
                "gen_ai.provider.name": event.provider,
                "video_gateway.output.index": event.index,
                "video_gateway.output.bytes": event.bytes,
            },
            error=None if event.bytes is not None else "missing" if event.missing else "not_archived",
        )
        self._send(span, self._inside(event.generation, event.generation))

    def _delivery(self, event: DeliveryTried) -> None:
        """A webhook: in the client's trace, as its receiver sees it, else in that of the generation."""
        failed = event.status is None or not 200 <= event.status < 300
        sent_span_id = None if event.sent_span_id is None else int(event.sent_span_id, 16)
        span = _Span(
            name=f"webhook {event.type}",
            kind=SpanKind.CLIENT,
            duration_seconds=event.duration_seconds,
            attributes={
                "http.response.status_code": event.status,
                "server.address": event.receiver,
                "video_gateway.delivery.id": event.delivery,
                "video_gateway.generation.id": event.generation,
            },
            error=None if not failed else "no_answer" if event.status is None else str(event.status),
            span_id=sent_span_id,
        )
        if event.trace is not None:
            links = [] if event.generation is None else [Link(self._inside(event.generation, event.generation))]
            self._send(span, _context_of(event.trace), links)
        elif event.generation is not None:
            self._send(span, self._inside(event.generation, event.generation))

    def _request(self, event: RequestFinished) -> None:
        path = event.location.get("path", "")
        span = _Span(
            name=f"{event.method} {path}".strip(),
            kind=SpanKind.SERVER,
            duration_seconds=event.duration_seconds,
            attributes={
                "http.request.method": event.method,
                "http.route": path or None,
                "http.response.status_code": event.status or None,
                "video_gateway.request.id": event.request_id,
                "video_gateway.generation.id": event.location.get("generation"),
            },
            error=event.error_code if event.status >= 500 or event.status == 0 else None,
        )
        self._send(span, None if event.trace is None else _context_of(event.trace))

    def _inside(self, id_: str, parent: str) -> SpanContext:
        """The span of `parent`, a generation or an attempt, in the trace of the generation that `id_` belongs to."""
        trace_id = trace_id_of(id_)
        return _span_context(trace_id, span_id_of(parent), is_sampled=trace_id % 2**64 < self._bound)

    def _send(self, span: _Span, parent: SpanContext | None, links: list[Link] | None = None) -> None:
        """Hand a span to the thread that sends it, unless its trace is not recorded."""
        if parent is not None and not parent.trace_flags.sampled:
            return
        self._ids.span_id = span.span_id
        end = int(self._clock.now().timestamp() * _NANOSECONDS)
        attributes: dict[str, Any] = {name: value for name, value in span.attributes.items() if value is not None}
        if span.error is not None:
            attributes["error.type"] = span.error
        made = self._tracer.start_span(
            span.name,
            context=None if parent is None else set_span_in_context(NonRecordingSpan(parent)),
            kind=span.kind,
            attributes=attributes,
            links=links or (),
            start_time=end - int(span.duration_seconds * _NANOSECONDS),
        )
        if span.error is not None:
            made.set_status(Status(StatusCode.ERROR, span.error))
        made.end(end)


def trace_observer(
    endpoint: str, headers: Mapping[str, str], clock: Clock, *, sample_ratio: float, service_name: str
) -> TraceObserver:
    """The observer that sends to the collector at this URL, by OTLP over HTTP."""
    exporter = OTLPSpanExporter(endpoint=endpoint, headers=dict(headers), timeout=EXPORT_SECONDS)
    return TraceObserver(exporter, clock, sample_ratio=sample_ratio, service_name=service_name)


def _of_attempt(attempt: str, provider: str, model: str) -> dict[str, str | int | float | bool | None]:
    return {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": model,
        "video_gateway.attempt.id": attempt,
    }


def _context_of(client: TraceContext) -> SpanContext:
    return _span_context(int(client.trace_id, 16), int(client.span_id, 16), is_sampled=client.sampled)


def _span_context(trace_id: int, span_id: int, *, is_sampled: bool) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=_SAMPLED if is_sampled else TraceFlags(0))
