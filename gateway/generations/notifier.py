"""Who waits for a change of which generation, inside this process."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.domain.errors import Overloaded

LONG_POLLS_MAX = 5000
LISTENERS_MAX = 10_000
TOLD_AT_ONCE = 200  # listeners; what they do about it holds up the event loop for some milliseconds
FULL_SECONDS = 5.0  # until a client should ask again whether there is room


class Listener(asyncio.Event):
    """Set at every change; `change` is the number of the last one, the same for all who were told of it."""

    change = 0


class Room:
    """So many may wait in one way at once."""

    def __init__(self, places: int, waiting: str) -> None:
        self._places = places
        self._waiting = waiting  # what a client is told of those who do
        self._taken = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place, for as long as it is held; `Overloaded` when there is none."""
        if self._taken >= self._places:
            raise Overloaded(f"{self._places:,} {self._waiting} already.", retry_after=FULL_SECONDS)
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1


class Signals:
    """`changed(id)` sets the event of everybody who listens to `id`."""

    def __init__(self, long_polls_max: int = LONG_POLLS_MAX, listeners_max: int = LISTENERS_MAX) -> None:
        self.long_polls = Room(long_polls_max, "calls are waiting")
        self.streams = Room(listeners_max, "event streams are open")
        self._listeners: dict[str, set[Listener]] = {}
        self._changes = 0
        self.closed = False

    def changed(self, generation_id: str) -> None:
        """A generation has a new version."""
        self._changes += 1
        self._tell(list(self._listeners.get(generation_id, ())), self._changes)

    def _tell(self, listeners: list[Listener], change: int) -> None:
        for listener in listeners[:TOLD_AT_ONCE]:
            listener.change = max(listener.change, change)  # it may have been told of a later one
            listener.set()
        if len(listeners) > TOLD_AT_ONCE:  # others have their turn in between
            asyncio.get_running_loop().call_soon(self._tell, listeners[TOLD_AT_ONCE:], change)

    def close(self) -> None:
        """Nobody is to wait any more: the gateway is stopping."""
        self.closed = True
        for generation_id in self._listeners:
            self.changed(generation_id)

    @contextmanager
    def listen(self, generation_id: str, room: Room | None = None) -> Iterator[Listener]:
        """An event that is set at every change from now on; listen first, then look, and no change is missed.

        `Overloaded` when the room, that of the long polls unless another is named, is full.
        """
        with (room or self.long_polls).place():
            listener = Listener()
            listeners = self._listeners.setdefault(generation_id, set())
            listeners.add(listener)
            try:
                yield listener
            finally:
                listeners.discard(listener)
                if not listeners:
                    self._listeners.pop(generation_id, None)
