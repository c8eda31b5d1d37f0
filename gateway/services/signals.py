"""Who waits for a change of which generation, inside this process."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.domain.errors import Overloaded

LISTENERS_MAX = 5000
FULL_SECONDS = 5.0  # until a client should ask again whether there is room


class Signals:
    """`changed(id)` sets the event of everybody who listens to `id`."""

    def __init__(self, listeners_max: int = LISTENERS_MAX) -> None:
        self._listeners_max = listeners_max
        self._listeners = 0
        self._events: dict[str, set[asyncio.Event]] = {}
        self.closed = False

    def changed(self, generation_id: str) -> None:
        """A generation has a new version."""
        for event in self._events.get(generation_id, ()):
            event.set()

    def close(self) -> None:
        """Nobody is to wait any more: the gateway is stopping."""
        self.closed = True
        for generation_id in self._events:
            self.changed(generation_id)

    @contextmanager
    def listen(self, generation_id: str) -> Iterator[asyncio.Event]:
        """An event that is set at every change from now on; listen first, then look, and no change is missed.

        `Overloaded` when too many listen.
        """
        if self._listeners >= self._listeners_max:
            raise Overloaded(f"{self._listeners_max:,} calls are waiting already.", retry_after=FULL_SECONDS)
        self._listeners += 1
        event = asyncio.Event()
        events = self._events.setdefault(generation_id, set())
        events.add(event)
        try:
            yield event
        finally:
            self._listeners -= 1
            events.discard(event)
            if not events:
                self._events.pop(generation_id, None)
