"""`GET …/events`: the events of a generation as a stream (server-sent events) that a client can resume.

The id of an event is its number in the ledger. A client that reconnects sends the last id that it has.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import structlog
from litestar import Request, route
from litestar.datastructures import State
from litestar.enums import HttpMethod
from litestar.response.base import ASGIResponse
from litestar.types import HTTPResponseBodyEvent, Receive, Scope, Send
from msgspec import Struct
from msgspec.structs import replace

from gateway.api.generations.event_feed import EventFrames, EventView, Feed
from gateway.api.generations.public_ids import sent_id, stored_id
from gateway.api.web.answers import GET
from gateway.api.web.client import client_of
from gateway.api.web.context import context_of
from gateway.api.web.operation import Operation
from gateway.api.web.query import Params
from gateway.api.web.streaming import Stalled, patient
from gateway.clock import Clock
from gateway.domain.adapter.request import Kind
from gateway.domain.backoff import spread
from gateway.domain.errors import GatewayError, InvalidParameter, NotFound
from gateway.generations.event_stream import EventStreamSource
from gateway.generations.kind import ROOT, of_kind
from gateway.generations.notifier import Listener

log = structlog.get_logger()
KEEP_ALIVE = b":\n\n"  # a comment, which clients ignore
RETRY_MS = 2000  # a client reconnects after this time or up to twice as long, so that not all come at once after a stop


class StreamPosition(Struct, frozen=True):
    """How far one listener is."""

    after: int  # the number of the last event that was sent
    progress: int  # percent, as last sent; -1 before that
    change: int  # the last change that was looked at
    ended: bool = False


class EventStream(ASGIResponse):
    """Sends the past events, then new ones, until the generation ends or the client leaves.

    The gateway ends a stream also when it stops, and when another client needs the place.

    A slow client holds back only its own stream: at most one message waits for it, and the next one is read after that.
    """

    _should_set_content_length = False

    def __init__(
        self,
        event_source: EventStreamSource,
        generation_id: str,
        frames_after: Callable[[int, int], Awaitable[EventFrames | None]],
        *,
        after: int,
        retry_ms: int,
        clock: Clock,
        is_head: bool,
    ) -> None:
        """`frames_after(event, change)` reads what follows an event, because of a change."""
        super().__init__(
            headers={
                "content-type": "text/event-stream; charset=utf-8",
                "x-accel-buffering": "no",  # nginx would hold back events until its buffer is full
            },
            is_head_response=is_head,
        )
        self._event_source = event_source
        self._generation_id = generation_id
        self._frames_after = frames_after
        self._after = after
        self._retry_ms = retry_ms
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request; 204 when the client has the last event already, so that it does not reconnect."""
        client = client_of(scope)
        with self._event_source.listen(self._generation_id, client) as listener:  # before reading: no change is missed
            first = await self._frames_after(self._after, 0)
            if first is None:
                raise NotFound(f"The generation {self._generation_id[:100]!r} does not exist.", param="id")
            if first.ended and not first.has_events:
                await ASGIResponse(status_code=204)(scope, receive, send)
                return
            await self.start_response(send)
            if self.is_head_response:
                await send(_body(b"", more=False))
                return
            streaming = asyncio.create_task(self._stream(listener, first, patient(scope, send, self._clock)))
            del first  # otherwise thousands of streams, which wait here for hours, would keep these bytes in memory
            try:
                while (await receive())["type"] != "http.disconnect":
                    pass  # the server reports the end of the answer as a disconnect as well
            finally:
                streaming.cancel()
                await asyncio.wait([streaming])

    async def _stream(self, listener: Listener, first: EventFrames, send: Send) -> None:
        try:
            await send(_body(b"retry: %d\n\n" % self._retry_ms))
            position = await self._sent(first, StreamPosition(self._after, -1, 0), send)
            del first
            while not (position.ended or self._event_source.closed or listener.is_sent_away):
                await listener.wait()
                listener.clear()
                position = await self._send_next(position, listener.change, send)
        except Stalled:
            return
        except GatewayError as error:
            log.warning("event_stream_broken", generation=self._generation_id, error=error.detail)
        except Exception:  # the stream must end in any case, so that the client reconnects instead of waiting
            log.exception("event_stream_broken", generation=self._generation_id)
        with suppress(Stalled):
            await send(_body(b"", more=False))

    async def _send_next(self, position: StreamPosition, change: int, send: Send) -> StreamPosition:
        """Send the events of a change; a comment if nothing has changed that a client can see."""
        if change == position.change:
            await send(_body(KEEP_ALIVE))
            return position
        frames = await self._frames_after(position.after, change)
        if frames is None:  # the generation was deleted
            return replace(position, ended=True)
        return await self._sent(frames, replace(position, change=change), send)

    @staticmethod
    async def _sent(frames: EventFrames, position: StreamPosition, send: Send) -> StreamPosition:
        has_changed = frames.has_events or frames.progress != position.progress
        await send(_body(frames.body if has_changed else KEEP_ALIVE))
        return StreamPosition(frames.after, frames.progress, position.change, frames.ended)


def _body(content: bytes, *, more: bool = True) -> HTTPResponseBodyEvent:
    return {"type": "http.response.body", "body": content, "more_body": more}


def _operation(kind: Kind) -> Operation:
    return Operation(
        id=f"stream{kind.title()}Events",
        summary=f"Follow a generation from its beginning to its end. The events are `{kind}.generation.` with `queued`,"
        " `in_progress`, `completed`, `failed`, `cancelled`, `expired`, `output.completed` and `output.failed`, each"
        " with an id from which a stream can be resumed, and `progress`, which has no id",
        stream=EventView,
        query={
            "last_event_id": {
                "type": "integer",
                "minimum": 1,
                "description": "the same as the header, which has precedence, for clients that cannot set headers",
            }
        },
        headers={
            "Last-Event-ID": {
                "type": "string",
                "pattern": "^[1-9][0-9]{0,17}$",
                "description": "the id of the last event that the client has; the stream begins after it",
            }
        },
        errors=(204, 400, 404, 503),
    )


@route(f"{ROOT['video']}/{{generation_id:str}}/events", http_method=GET, operation=_operation("video"))
async def video_events(request: Request[Any, Any, State]) -> ASGIResponse:
    """Stream the events of one generation of videos."""
    return await _events(request, "video")


@route(f"{ROOT['image']}/{{generation_id:str}}/events", http_method=GET, operation=_operation("image"))
async def image_events(request: Request[Any, Any, State]) -> ASGIResponse:
    """Stream the events of one generation of images."""
    return await _events(request, "image")


async def _events(request: Request[Any, Any, State], kind: Kind) -> ASGIResponse:
    context, key = await context_of(request)
    generation_id = stored_id(sent_id(request))
    params = Params.of(request)
    last_event_id = params.last_event_id(request)
    params.done()
    feed: Feed = request.app.state.feed
    of_kind(await context.generations.read(generation_id, key), kind, "/events")
    if last_event_id is not None and not await feed.event_source.knows(generation_id, last_event_id):
        raise InvalidParameter(
            f"The generation has no event {last_event_id}; send the `id` of the last event that you have, or none.",
            param="last_event_id",
        )
    links = context.links(request)

    def frames_after(event: int, change: int) -> Awaitable[EventFrames | None]:
        return feed.frames(generation_id, key, event, change=change, links=links)

    return EventStream(
        feed.event_source,
        generation_id,
        frames_after,
        after=last_event_id or 0,
        retry_ms=round(RETRY_MS * (1 + spread(request.scope["state"]["request_id"]))),
        clock=context.clock,
        is_head=request.method == HttpMethod.HEAD,
    )
