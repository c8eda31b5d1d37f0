"""A trace through a restart, and the client's context in webhooks and nowhere else."""

from contextlib import closing
from ipaddress import ip_network
from typing import Any

import httpx
import msgspec
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gateway.tracing import TraceObserver, trace_id_of

from .conftest import IMAGE_URL, CountingTransport, Gateway
from .receiver import receiving

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


async def test_a_trace_goes_on_after_a_crash_and_webhooks_carry_the_context_of_the_client(
    idle: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = InMemorySpanExporter()
    observer = TraceObserver(exporter, idle.clock, sample_ratio=1.0, service_name="test")
    idle.observers = (observer,)
    idle.route("foxapi/kling-v3-image-to-video")
    idle.fetch_allow = (ip_network("127.0.0.0/8"),)
    sent: list[httpx.Request] = []
    handle = CountingTransport.handle_async_request

    async def recorded(transport: CountingTransport, request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return await handle(transport, request)

    monkeypatch.setattr(CountingTransport, "handle_async_request", recorded)
    async with receiving(idle.clock.now) as receiver:
        gateway = await idle.start()
        gateway.client.headers["traceparent"] = f"00-{TRACE}-{SPAN}-01"
        gateway.client.headers["tracestate"] = "shop=42"
        made = await gateway.post(model="m", image=IMAGE_URL, webhook_url=receiver.url)
        await gateway.until_state(made["id"], "accepted")
        await gateway.crash()
        await gateway.restart()
        await gateway.finish(made["id"])
        await gateway.until(lambda: bool(receiver.requests))
        (webhook,) = receiver.requests
    with closing(observer):
        observer._provider.force_flush()

    spans: dict[str, Any] = {span.name: span for span in exporter.get_finished_spans()}
    trace = {name for name, span in spans.items() if span.context.trace_id == trace_id_of(made["id"])}
    assert trace == {"generation", "attempt foxapi", "submit foxapi", "archive foxapi"}
    assert f"{spans['generation'].links[0].context.span_id:016x}" == SPAN
    version, trace_id, span_id, flags = webhook.headers["traceparent"].split("-")
    assert (version, trace_id, flags, webhook.headers["tracestate"]) == ("00", TRACE, "01", "shop=42")
    kind = msgspec.json.decode(webhook.body)["type"]
    assert int(span_id, 16) == spans[f"webhook {kind}"].context.span_id != int(SPAN, 16)
    assert sent
    assert not [request for request in sent if {"traceparent", "tracestate"} & set(request.headers)]
