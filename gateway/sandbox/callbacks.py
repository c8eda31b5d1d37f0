"""Callbacks: one POST for each task when it ends, by the sandbox's clock."""

import asyncio
import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from gateway.sandbox.state import State

Payload = Callable[[], dict[str, Any]]  # called when the callback is sent


@dataclass(slots=True)
class Callbacks:
    """Sends each callback at its time, and only once: the providers document no retries."""

    state: State
    client: httpx.AsyncClient
    _due: list[tuple[float, int, str, Payload]] = field(default_factory=list)
    _order: "itertools.count[int]" = field(default_factory=itertools.count)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _running: "asyncio.Task[None] | None" = None
    _sending: "set[asyncio.Task[None]]" = field(default_factory=set)

    def at(self, moment: float, url: str, payload: Payload) -> None:
        """Send the callback at this moment of the sandbox's clock."""
        heapq.heappush(self._due, (moment, next(self._order), url, payload))
        if self._running is None:
            self.state.clock.listeners.append(self._wake.set)
            self._running = asyncio.create_task(self._run())
        self._wake.set()

    async def send(self, url: str, payload: dict[str, Any]) -> None:
        """Send a callback now. The answer of the receiver is recorded and has no other effect."""
        try:
            reply = await self.client.post(url, json=payload)
            outcome: int | str = reply.status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            outcome = type(error).__name__
        self.state.callbacks.append({"url": url, "body": payload, "outcome": outcome})
        if self.state.journal is not None:
            about = {"task": payload["data"]["task_id"], "at": self.state.clock.now(), "outcome": outcome}
            self.state.journal.note("callback", about)

    async def close(self) -> None:
        """Stop: callbacks that wait are not sent."""
        tasks = [task for task in (self._running, *self._sending) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._running = None

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            now = self.state.clock.now()
            while self._due and self._due[0][0] <= now:
                _, _, url, payload = heapq.heappop(self._due)
                task = asyncio.create_task(self.send(url, payload()))
                self._sending.add(task)
                task.add_done_callback(self._sending.discard)
            wait = None if self.state.clock.frozen or not self._due else self._due[0][0] - now
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                continue
