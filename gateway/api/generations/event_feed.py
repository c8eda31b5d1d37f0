"""The events of a generation as they go over the wire, read and rendered once for everybody who waits for the same."""

import asyncio
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.api.generations.views import GenerationView, generation_view
from gateway.api.web.links import Links
from gateway.domain.generation.event_names import PROGRESS, PUBLIC_EVENTS
from gateway.domain.health.route_health import HealthOf
from gateway.generations.event_stream import News, Watching

SHARED_MAX = 64  # changes whose events are at hand for further listeners
_encode = msgspec.json.Encoder().encode
_NAMES = [f"video.{name}" for name in (*PUBLIC_EVENTS.values(), PROGRESS)]


class EventView(Struct, frozen=True, kw_only=True):
    """The data of one event."""

    type: Annotated[str, Meta(extra_json_schema={"enum": _NAMES})]
    created_at: int
    index: int | UnsetType = UNSET  # of the output that it is about
    data: GenerationView  # as it is when this is sent, which may be further on than the event


class Told(Struct, frozen=True):
    """What a listener at one place is sent after a change."""

    body: bytes  # the events or, without one, how far the generation is
    has_events: bool
    after: int  # the number of the last event, with these
    progress: int
    ended: bool


class Feed:
    """Reads and renders a change once for all who listen at the same place."""

    def __init__(self, watching: Watching, health: HealthOf) -> None:
        self.watching = watching
        self._health = health
        self._shared: dict[tuple[str, str, int, int], asyncio.Task[Told | None]] = {}

    async def told(self, generation_id: str, key: str, after: int, *, change: int, links: Links) -> Told | None:
        """What follows an event, at this change or a later one; `None` when the generation does not exist.

        `change` is 0 for who was told of none yet.
        """
        if change == 0:
            return await self._read(generation_id, key, after, links)
        place = (generation_id, links.base, after, change)
        task = self._shared.get(place)
        if task is None:
            task = self._shared[place] = asyncio.create_task(self._read(generation_id, key, after, links))
            if len(self._shared) > SHARED_MAX:
                del self._shared[next(iter(self._shared))]
        return await asyncio.shield(task)

    async def _read(self, generation_id: str, key: str, after: int, links: Links) -> Told | None:
        news = await self.watching.news(generation_id, key, after)
        if news is None:
            return None
        view = generation_view(news.generation, links, self._health)
        return Told(
            body=b"".join(_frames(news, view)),
            has_events=bool(news.events),
            after=news.events[-1].seq if news.events else after,
            progress=view.progress,
            ended=news.ended,
        )


def _frames(news: News, view: GenerationView) -> list[bytes]:
    kind = news.generation.kind
    frames = []
    for row in news.events:
        name = f"{kind}.{PUBLIC_EVENTS[row.type]}"
        index = row.data.get("index")
        told = EventView(
            type=name,
            created_at=int(row.at.timestamp()),
            index=index if isinstance(index, int) else UNSET,
            data=view,
        )
        frames.append(b"id: %d\nevent: %s\ndata: %s\n\n" % (row.seq, name.encode(), _encode(told)))
    if not frames:
        name = f"{kind}.{PROGRESS}"
        told = EventView(type=name, created_at=int(news.read_at.timestamp()), data=view)
        frames.append(b"event: %s\ndata: %s\n\n" % (name.encode(), _encode(told)))
    return frames
