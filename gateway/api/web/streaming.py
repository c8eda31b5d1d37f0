"""Answers that are sent piece by piece, as fast as the client reads them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import cast

import structlog
from litestar.response.streaming import ASGIStreamingResponse
from litestar.types import Message, Receive, Scope, Send

from gateway.api.web.client import client_of, part_of
from gateway.api.web.context import Context
from gateway.api.web.timeouts import timeout
from gateway.clock import Clock

log = structlog.get_logger()
STALL_SECONDS = 60.0  # a client that reads nothing for so long is disconnected
CUT = "cut"  # key in the state of a request: a function that closes the connection at once and discards unsent data


class Stalled(Exception):
    """The client has read nothing for `STALL_SECONDS`, and its connection was closed."""


class Streamed(ASGIStreamingResponse):
    """Sends a file as one of a limited number of downloads; the place is free again when the client leaves or stalls.

    When another client needs the place, the connection is closed; the client can go on with a `Range`. `when_over` is
    awaited at last, and gets whether the answer was sent to its end.
    """

    when_over: Callable[[bool], Awaitable[None]] | None = None

    def __init__(
        self, context: Context, chunks: AsyncIterator[bytes], headers: Mapping[str, str], status_code: int = 200
    ) -> None:
        super().__init__(iterator=chunks, headers=dict(headers), status_code=status_code)
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file; raises `Overloaded` before anything is sent when this client gets no place."""
        is_whole = False

        async def send_noted(message: Message) -> None:
            nonlocal is_whole
            await send(message)
            is_whole = message["type"] == "http.response.body" and not message.get("more_body", False)

        try:
            await self._send_in_place(scope, receive, send_noted)
        finally:
            if self.when_over is not None:
                await self.when_over(is_whole)

    async def _send_in_place(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(cast("AsyncGenerator[bytes]", self.iterator)):
            try:
                async with asyncio.timeout(None) as until_lost:
                    when_lost = partial(until_lost.reschedule, 0)
                    with self._context.downloads.place(client_of(scope), when_lost, part=part_of(scope)):
                        await self._send(scope, receive, send)
            except TimeoutError:
                if not until_lost.expired():
                    raise
                log.info("download_place_lost", request_id=scope["state"]["request_id"])
                await cut_off(scope)

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, patient(scope, send, self._context.clock))
        except* Stalled:
            pass  # the client has gone, so nobody can be answered


def patient(scope: Scope, send: Send, clock: Clock) -> Send:
    """A `send` that raises `Stalled` when the client has read nothing for `STALL_SECONDS`."""

    async def send_in_time(message: Message) -> None:
        try:
            async with timeout(clock, STALL_SECONDS):
                await send(message)
        except TimeoutError as error:
            log.info("client_stalled", request_id=scope["state"]["request_id"])
            await cut_off(scope)
            raise Stalled from error

    return send_in_time


async def cut_off(scope: Scope) -> None:
    """Close the connection of a request at once, so that its client sees that the answer is not complete."""
    if (cut := scope["state"].get(CUT)) is not None:
        cut()
        await asyncio.sleep(0)  # lets the server notice it
