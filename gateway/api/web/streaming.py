"""Bodies that go out piece by piece, as fast as their client takes them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import cast

import structlog
from litestar.response.streaming import ASGIStreamingResponse
from litestar.types import Message, Receive, Scope, Send

from gateway.api.web.context import Context
from gateway.api.web.timeouts import within
from gateway.clock import Clock

log = structlog.get_logger()
STALL_SECONDS = 60.0  # in which a client takes nothing
CUT = "cut"  # in the state of a request: ends its connection at once, with what is still to be sent


class Stalled(Exception):
    """The client takes nothing, and its connection has ended."""


class Streamed(ASGIStreamingResponse):
    """Sends a file, if there is room for one more download; a client that goes away or stalls lets go of it at once."""

    def __init__(
        self, context: Context, chunks: AsyncIterator[bytes], headers: Mapping[str, str], status_code: int = 200
    ) -> None:
        super().__init__(iterator=chunks, headers=dict(headers), status_code=status_code)
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; `Overloaded` before anything is sent."""
        async with aclosing(cast("AsyncGenerator[bytes]", self.iterator)):
            with self._context.downloads.place():
                try:
                    await super().__call__(scope, receive, patient(scope, send, self._context.clock))
                except* Stalled:
                    pass  # there is nobody to tell


def patient(scope: Scope, send: Send, clock: Clock) -> Send:
    """`send` for a stream; `Stalled` once the client has taken nothing for `STALL_SECONDS`."""

    async def sending(message: Message) -> None:
        try:
            async with within(clock, STALL_SECONDS):
                await send(message)
        except TimeoutError as error:
            log.info("client_stalled", request_id=scope["state"]["request_id"])
            if (cut := scope["state"].get(CUT)) is not None:
                cut()
                await asyncio.sleep(0)  # the server notices
            raise Stalled from error

    return sending
