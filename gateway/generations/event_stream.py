"""Follows one generation event by event, for any number of listeners at little cost each."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from msgspec import Struct

from gateway.clock import Clock, Timer
from gateway.domain.generation.event_names import ENDS, PUBLIC_EVENTS
from gateway.domain.generation.model import Generation
from gateway.generations.notifier import Listener, Notifier
from gateway.store.port import Event, Store

KEEP_ALIVE_SECONDS = 15  # proxies close a connection after 30 to 60 silent seconds


class EventBatch(Struct, frozen=True):
    """The public events after a position in the event log, with the generation as it is now."""

    events: tuple[Event, ...]
    generation: Generation
    ended: bool  # no further event can follow
    read_at: datetime
    rows: tuple[Event, ...] = ()  # every event after the position, also those that are not public


class KeepAlive:
    """Wakes every listener once in `KEEP_ALIVE_SECONDS`: one group of them each second, by a single timer.

    Groups keep the load even: all listeners at once would be a burst every 15 seconds.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._groups: list[set[Listener]] = [set() for _ in range(KEEP_ALIVE_SECONDS)]
        self._next_groups = itertools.cycle(self._groups)
        self._timer: Timer | None = None

    @contextmanager
    def joined(self, listener: Listener) -> Iterator[None]:
        """Set the listener regularly for the length of the `with` block."""
        group = min(self._groups, key=len)
        group.add(listener)
        if self._timer is None:
            self._timer = self._clock.call_later(1, self._beat)
        try:
            yield
        finally:
            group.discard(listener)
            self._stop_without_listeners()

    def _stop_without_listeners(self) -> None:
        if self._timer is not None and not any(self._groups):
            self._timer.cancel()
            self._timer = None

    def _beat(self) -> None:
        self._timer = self._clock.call_later(1, self._beat)
        for listener in next(self._next_groups):
            listener.set()


class EventStreamSource:
    """The source of event streams: wakes them, and reads what they send."""

    def __init__(self, store: Store, notifier: Notifier, clock: Clock) -> None:
        self._store = store
        self._notifier = notifier
        self._clock = clock
        self._keep_alive = KeepAlive(clock)

    @property
    def closed(self) -> bool:
        """Whether the gateway is stopping. Streams must end then, so that their clients reconnect elsewhere."""
        return self._notifier.closed

    @contextmanager
    def listen(self, generation_id: str, client: str) -> Iterator[Listener]:
        """A listener that is set at every change, and every `KEEP_ALIVE_SECONDS`.

        Raises `Overloaded` if too many streams are open. The listener is sent away when another client needs its place.
        """
        with (
            self._notifier.streams.place(client) as place,
            self._notifier.listen(generation_id, place) as listener,
            self._keep_alive.joined(listener),
        ):
            yield listener

    async def knows(self, generation_id: str, seq: int) -> bool:
        """Whether the generation has an event with this number."""
        return any(row.seq == seq for row in await self._store.events(generation_id, seq - 1))

    async def batch_after(self, generation_id: str, key: str, after: int) -> EventBatch | None:
        """The public events after the event number `after`; `None` if the generation does not exist.

        The event of the generation's end is the last one, although the ledger may have rows after it.
        """
        rows = await self._store.events(generation_id, after)
        generation = await self._store.get(generation_id, key)
        if generation is None:
            return None
        has_ended = generation.status.terminal
        if has_ended and not any(row.type in ENDS for row in rows):
            rows = await self._store.events(generation_id, after)  # it may have ended between the two reads
        end = next((position for position, row in enumerate(rows) if row.type in ENDS), None)
        if end is not None:
            visible = rows[: end + 1]
        elif has_ended:
            visible = []  # the client has the end already
        else:
            visible = rows
        public = tuple(row for row in visible if row.type in PUBLIC_EVENTS)
        return EventBatch(public, generation, has_ended, self._clock.now(), tuple(rows))

    async def history(self, generation_id: str) -> list[Event]:
        """All events of a generation from its first one on."""
        return await self._store.events(generation_id)
