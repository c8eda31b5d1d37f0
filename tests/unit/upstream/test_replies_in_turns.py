"""Replies that arrive together are read in portions, so that a provider that hung does not hold the event loop."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx

from gateway.domain.adapter.contract import HttpCall
from gateway.sharing.turns import PORTION
from gateway.upstream.client import NoAnswer, Upstream

CALLS = 10 * PORTION


class AllAtOnce(httpx.AsyncBaseTransport):
    """A provider that answers every call at the same moment, or breaks every call off."""

    def __init__(self, *, broken: bool) -> None:
        self.moment = asyncio.Event()
        self.unclosed = 0
        self._broken = broken

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await self.moment.wait()
        if self._broken:
            raise httpx.ReadError("reset", request=request)
        self.unclosed += 1
        return httpx.Response(200, stream=Reply(self))


class Reply(httpx.AsyncByteStream):
    def __init__(self, transport: AllAtOnce) -> None:
        self._transport = transport

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"{}"

    async def aclose(self) -> None:
        self._transport.unclosed -= 1


async def call(upstream: Upstream, *, fresh: bool = False) -> None:
    task = HttpCall(method="GET", path="/t")
    with suppress(NoAnswer):
        await upstream.send(task, base_url="http://provider.test", timeout_seconds=9, fresh=fresh)


async def ended_in_each_round(transport: AllAtOnce, *, fresh: bool = False) -> list[int]:
    """How many of `CALLS` calls ended in each round of the event loop in which some did."""
    upstream, round_number, ends = Upstream(transport), 0, Counter[int]()
    tasks = [asyncio.create_task(call(upstream, fresh=fresh)) for _ in range(CALLS)]
    for task in tasks:
        task.add_done_callback(lambda _: ends.update([round_number]))
    await asyncio.sleep(0)
    transport.moment.set()
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        round_number += 1
    await asyncio.sleep(0)
    return list(ends.values())


async def test_replies_and_failures_of_polls_are_read_in_portions_and_those_of_submits_at_once() -> None:
    portions = [PORTION] * (CALLS // PORTION)
    assert await ended_in_each_round(AllAtOnce(broken=False)) == portions
    assert await ended_in_each_round(AllAtOnce(broken=True)) == portions
    assert await ended_in_each_round(AllAtOnce(broken=False), fresh=True) == [CALLS]


async def test_a_poll_that_is_cancelled_while_its_reply_waits_closes_the_reply() -> None:
    transport = AllAtOnce(broken=False)
    upstream = Upstream(transport)
    tasks = [asyncio.create_task(call(upstream)) for _ in range(CALLS)]
    await asyncio.sleep(0)
    transport.moment.set()
    await asyncio.sleep(0)
    assert transport.unclosed == CALLS - PORTION  # the first have been read
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert transport.unclosed == 0
