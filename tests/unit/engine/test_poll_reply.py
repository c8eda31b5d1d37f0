"""The reply to a poll has a limit of its own, and one over it says nothing about the task."""

from types import SimpleNamespace
from typing import Any

import httpx

from gateway.clock import SystemClock
from gateway.domain.adapter.contract import Credential
from gateway.domain.adapter.task import TaskRef
from gateway.domain.generation.facts_and_effects import Poll
from gateway.engine.poll import Poller
from gateway.telemetry import Event, PollFinished, ReadOutcome
from gateway.upstream.client import POLL_REPLY_MAX, Upstream
from gateway.upstream.provider import Provider
from providers.keevx import ADAPTER


async def polled(body: bytes) -> tuple[str, str]:
    """What was learnt of the task, and what was reported about the poll."""
    events: list[Event] = []
    parts: dict[str, Any] = {
        "inputs": None,
        "health": SimpleNamespace(reads={"keevx": SimpleNamespace(record_success=lambda: None)}),
        "observer": SimpleNamespace(observe=events.append),
    }
    upstream = Upstream(httpx.MockTransport(lambda _: httpx.Response(200, content=body)))
    provider = Provider(
        name="keevx",
        adapter=ADAPTER,
        credential=Credential(api_key="key"),
        base_url=ADAPTER.base_url,
        models={},
    )
    poller = Poller(upstream=upstream, clock=SystemClock(), **parts)
    fact = await poller._read(Poll(attempt_id="att_1", index=0), provider, TaskRef(id="t1"), "video")
    (event,) = events
    assert isinstance(event, PollFinished)
    return type(fact).__name__, f"{event.outcome} {event.error or ''}".strip()


RUNNING = b'{"code":0,"data":{"task_id":"t1","status":"running"}}'


async def test_a_reply_over_the_limit_is_read_as_no_reply() -> None:
    assert await polled(RUNNING) == ("TaskRead", ReadOutcome.READ)
    largest = RUNNING + b" " * (POLL_REPLY_MAX - len(RUNNING))
    assert await polled(largest[: 200 * 1024]) == ("TaskRead", ReadOutcome.READ)
    what = f"{ReadOutcome.FAILED} HTTP 200: the reply is over {POLL_REPLY_MAX} bytes"
    assert await polled(largest + b" ") == ("TaskUnread", what)


async def test_a_reply_of_too_many_values_is_read_as_no_reply() -> None:
    what = f"{ReadOutcome.FAILED} HTTP 200: the body has more than 5,000 values"
    assert await polled(b'{"code":0,"data":{"status":"running","x":[' + b"1," * 5_000 + b"1]}}") == ("TaskUnread", what)
