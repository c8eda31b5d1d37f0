"""Following one generation event by event, for any number of listeners at little cost."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from msgspec import Struct

from gateway.clock import Clock, Timer
from gateway.domain.generation.event_names import ENDS, PUBLIC_EVENTS
from gateway.domain.generation.model import Generation
from gateway.generations.notifier import Listener, Signals
from gateway.store.port import Event, Store

KEEP_ALIVE_SECONDS = 15  # proxies take a connection for dead after 30 to 60 silent seconds


class News(Struct, frozen=True):
    """The public events behind a place, the generation as it is now, and whether anything can follow them."""

    events: tuple[Event, ...]
    generation: Generation
    ended: bool
    read_at: datetime
    rows: tuple[Event, ...] = ()  # all events of that time, also those that are not public


class Pulse:
    """Sets the event of everybody who joins, a fifteenth of them each second: one timer, and no burst."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._groups: list[set[Listener]] = [set() for _ in range(KEEP_ALIVE_SECONDS)]
        self._turns = itertools.cycle(self._groups)
        self._timer: Timer | None = None

    @contextmanager
    def joined(self, listener: Listener) -> Iterator[None]:
        """For as long as it is held, the event is set at least so often."""
        group = min(self._groups, key=len)
        group.add(listener)
        if self._timer is None:
            self._timer = self._clock.call_later(1, self._beat)
        try:
            yield
        finally:
            group.discard(listener)
            self._rest()

    def _rest(self) -> None:
        if self._timer is not None and not any(self._groups):
            self._timer.cancel()
            self._timer = None

    def _beat(self) -> None:
        self._timer = self._clock.call_later(1, self._beat)
        for listener in next(self._turns):
            listener.set()


class Watching:
    """What streams of events are made of."""

    def __init__(self, store: Store, signals: Signals, clock: Clock) -> None:
        self._store = store
        self._signals = signals
        self._clock = clock
        self._pulse = Pulse(clock)

    @property
    def closed(self) -> bool:
        """Whether the gateway is stopping: streams are to end, and clients to come again elsewhere."""
        return self._signals.closed

    @contextmanager
    def listen(self, generation_id: str) -> Iterator[Listener]:
        """An event that is set at every change, and every `KEEP_ALIVE_SECONDS`; `Overloaded` when too many listen."""
        with self._signals.listen(generation_id, self._signals.streams) as listener, self._pulse.joined(listener):
            yield listener

    async def knows(self, generation_id: str, seq: int) -> bool:
        """Whether this is the number of an event of the generation."""
        return any(row.seq == seq for row in await self._store.events(generation_id, seq - 1))

    async def news(self, generation_id: str, key: str, after: int) -> News | None:
        """What there is to tell behind an event; `None` when the generation does not exist.

        Nothing is told behind the end, though rows may follow it.
        """
        rows = await self._store.events(generation_id, after)
        generation = await self._store.get(generation_id, key)
        if generation is None:
            return None
        ended = generation.status.terminal
        if ended and not any(row.type in ENDS for row in rows):
            rows = await self._store.events(generation_id, after)  # it may have ended between the two readings
        end = next((place for place, row in enumerate(rows) if row.type in ENDS), None)
        told = rows[: end + 1] if end is not None else () if ended else rows
        public = tuple(row for row in told if row.type in PUBLIC_EVENTS)
        return News(public, generation, ended, self._clock.now(), tuple(rows))

    async def history(self, generation_id: str) -> list[Event]:
        """All events of a generation from its first one on."""
        return await self._store.events(generation_id)
