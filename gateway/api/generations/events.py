"""`GET …/events`: a generation's events as a stream, each under its number in the ledger, so that it can be resumed."""

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

from gateway.api.generations.event_feed import EventView, Feed, Told
from gateway.api.web.answers import GET
from gateway.api.web.context import context_of
from gateway.api.web.operation import Operation
from gateway.api.web.query import Params
from gateway.api.web.streaming import Stalled, patient
from gateway.clock import Clock
from gateway.domain.backoff import spread
from gateway.domain.errors import GatewayError, InvalidParameter, NotFound
from gateway.generations.event_stream import Watching
from gateway.generations.notifier import Listener

log = structlog.get_logger()
KEEP_ALIVE = b":\n\n"  # a comment
RETRY_MS = 2000  # until a client comes again, and up to twice as long: not all of them at once after a stop


class Place(Struct, frozen=True):
    """How far one listener is."""

    after: int
    progress: int
    change: int  # the last one that was looked at
    ended: bool = False


class EventStream(ASGIResponse):
    """Sends what there is, then what comes, until the end of the generation, of the client, or of the gateway.

    A client that reads slowly is waited for with at most one sending in hand; what follows is read when it is out.
    """

    _should_set_content_length = False

    def __init__(
        self,
        watching: Watching,
        generation_id: str,
        tell: Callable[[int, int], Awaitable[Told | None]],
        *,
        after: int,
        retry_ms: int,
        clock: Clock,
        is_head: bool,
    ) -> None:
        """`tell` gives what follows an event, looked at because of a change."""
        super().__init__(
            headers={
                "content-type": "text/event-stream; charset=utf-8",
                "x-accel-buffering": "no",  # nginx would keep events until it has a buffer full of them
            },
            is_head_response=is_head,
        )
        self._watching = watching
        self._generation_id = generation_id
        self._tell = tell
        self._after = after
        self._retry_ms = retry_ms
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 204 when everything is told already: a client must not come again then."""
        with self._watching.listen(self._generation_id) as listener:  # first listen, then look
            first = await self._tell(self._after, 0)
            if first is None:
                raise NotFound(f"There is no generation {self._generation_id[:100]!r}.", param="id")
            if first.ended and not first.has_events:
                await ASGIResponse(status_code=204)(scope, receive, send)
                return
            await self.start_response(send)
            if self.is_head_response:
                await send(_body(b"", more=False))
                return
            streaming = asyncio.create_task(self._stream(listener, first, patient(scope, send, self._clock)))
            del first  # thousands of these wait here for hours
            try:
                while (await receive())["type"] != "http.disconnect":
                    pass  # also the end of the answer comes as this
            finally:
                streaming.cancel()
                await asyncio.wait([streaming])

    async def _stream(self, listener: Listener, first: Told, send: Send) -> None:
        try:
            await send(_body(b"retry: %d\n\n" % self._retry_ms))
            place = await self._sent(first, Place(self._after, -1, 0), send)
            del first
            while not (place.ended or self._watching.closed):
                await listener.wait()
                listener.clear()
                place = await self._looked(place, listener.change, send)
        except Stalled:
            return
        except GatewayError as error:
            log.warning("event_stream_broken", generation=self._generation_id, error=error.detail)
        except Exception:  # whatever it was, the client is to come again, not to wait here
            log.exception("event_stream_broken", generation=self._generation_id)
        with suppress(Stalled):
            await send(_body(b"", more=False))

    async def _looked(self, place: Place, change: int, send: Send) -> Place:
        """Tell what a change brought; if only the time has passed, or nothing that shows has changed, a comment."""
        if change == place.change:
            await send(_body(KEEP_ALIVE))
            return place
        told = await self._tell(place.after, change)
        if told is None:  # deleted
            return replace(place, ended=True)
        return await self._sent(told, replace(place, change=change), send)

    @staticmethod
    async def _sent(told: Told, place: Place, send: Send) -> Place:
        is_news = told.has_events or told.progress != place.progress
        await send(_body(told.body if is_news else KEEP_ALIVE))
        return Place(told.after, told.progress, place.change, told.ended)


def _body(content: bytes, *, more: bool = True) -> HTTPResponseBodyEvent:
    return {"type": "http.response.body", "body": content, "more_body": more}


@route(
    "/v1/videos/generations/{generation_id:str}/events",
    http_method=GET,
    operation=Operation(
        id="streamVideoEvents",
        summary="Follow a generation, from its beginning until its end: `video.generation.` `queued`, `in_progress`,"
        " `completed`, `failed`, `cancelled`, `expired`, `output.completed` and `output.failed`, each under an id to"
        " resume from, and `progress`, which has none",
        stream=EventView,
        query={
            "last_event_id": {
                "type": "integer",
                "minimum": 1,
                "description": "the same as the header, which wins, for who cannot set one",
            }
        },
        headers={"Last-Event-ID": "the id of the last event that the client has: those behind it are told"},
        errors=(204, 400, 404, 503),
    ),
)
async def video_events(request: Request[Any, Any, State]) -> ASGIResponse:
    """Stream the events of one generation."""
    context, key = context_of(request)
    generation_id: str = request.path_params["generation_id"]
    params = Params.of(request)
    told = params.last_event_id(request)
    params.done()
    feed: Feed = request.app.state.feed
    await context.generations.read(generation_id, key)
    if told is not None and not await feed.watching.knows(generation_id, told):
        raise InvalidParameter(
            f"The generation has no event {told}; send the `id` of its last that you know, or none.",
            param="last_event_id",
        )
    links = context.links(request)

    def tell(after: int, change: int) -> Awaitable[Told | None]:
        return feed.told(generation_id, key, after, change=change, links=links)

    return EventStream(
        feed.watching,
        generation_id,
        tell,
        after=told or 0,
        retry_ms=round(RETRY_MS * (1 + spread(request.scope["state"]["request_id"]))),
        clock=context.clock,
        is_head=request.method == HttpMethod.HEAD,
    )
