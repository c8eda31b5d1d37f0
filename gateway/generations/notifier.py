"""Notifies clients that wait inside this process that a generation has changed, and limits how many may wait."""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from gateway.domain.errors import Overloaded

LONG_POLLS_MAX = 5000
LISTENERS_MAX = 10_000
WAKE_BATCH = 200  # listeners that are woken at a time: what they do then blocks the event loop for some milliseconds
FULL_SECONDS = 5.0  # `Retry-After` while too many clients wait


class Listener(asyncio.Event):
    """An event that is set at every change. `change` is the number of the newest one, the same for all listeners."""

    change = 0


class Capacity:
    """Caps how many clients may wait in one way at the same time."""

    def __init__(self, places: int, waiting: str) -> None:
        """`places`: the cap. `waiting`: what the clients do, for the error message, such as "calls are waiting"."""
        self._places = places
        self._waiting = waiting
        self._taken = 0

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Take a place for the length of the `with` block. Raises `Overloaded` if all are taken."""
        if self._taken >= self._places:
            raise Overloaded(f"{self._places:,} {self._waiting} already.", retry_after=FULL_SECONDS)
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1


class Notifier:
    """`changed(id)` wakes every listener of that generation."""

    def __init__(self, long_polls_max: int = LONG_POLLS_MAX, listeners_max: int = LISTENERS_MAX) -> None:
        self.long_polls = Capacity(long_polls_max, "calls are waiting")
        self.streams = Capacity(listeners_max, "event streams are open")
        self._listeners: dict[str, set[Listener]] = {}
        self._changes = 0
        self.closed = False

    def changed(self, generation_id: str) -> None:
        """Wake the listeners: the generation has a new version."""
        self._changes += 1
        self._wake(list(self._listeners.get(generation_id, ())), self._changes)

    def _wake(self, listeners: list[Listener], change: int) -> None:
        for listener in listeners[:WAKE_BATCH]:
            listener.change = max(listener.change, change)  # a later change may have woken it already
            listener.set()
        if len(listeners) > WAKE_BATCH:  # other work runs between two batches
            asyncio.get_running_loop().call_soon(self._wake, listeners[WAKE_BATCH:], change)

    def close(self) -> None:
        """Wake every listener: the gateway is stopping, so no client may wait any longer."""
        self.closed = True
        for generation_id in self._listeners:
            self.changed(generation_id)

    @contextmanager
    def listen(
        self, generation_id: str, capacity: Capacity | None = None, *, has_place: bool = False
    ) -> Iterator[Listener]:
        """A listener that is set at every change from now on. Listen first and read then, so that no change is missed.

        Raises `Overloaded` if `capacity` is full, which is by default that of the long polls. `has_place`: the caller
        has taken its place already.
        """
        place: AbstractContextManager[None] = nullcontext() if has_place else (capacity or self.long_polls).admit()
        with place:
            listener = Listener()
            listeners = self._listeners.setdefault(generation_id, set())
            listeners.add(listener)
            try:
                yield listener
            finally:
                listeners.discard(listener)
                if not listeners:
                    self._listeners.pop(generation_id, None)
