"""Notifies clients that wait inside this process that a generation has changed, and limits how many may wait."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.sharing.room import Place, Room

LONG_POLLS_MAX = 5000
LISTENERS_MAX = 10_000
WAKE_BATCH = 200  # listeners that are woken at a time: what they do then blocks the event loop for some milliseconds


class Listener(asyncio.Event):
    """An event that is set at every change. `change` is the number of the newest one, the same for all listeners."""

    change = 0
    is_sent_away = False  # another client needs its place: it must stop listening

    def send_away(self) -> None:
        """Wake the listener for the last time."""
        self.is_sent_away = True
        self.set()


class Notifier:
    """`changed(id)` wakes every listener of that generation."""

    def __init__(self, long_polls_max: int = LONG_POLLS_MAX, listeners_max: int = LISTENERS_MAX) -> None:
        self.long_polls = Room(long_polls_max, f"{long_polls_max:,} calls are waiting already.")
        self.streams = Room(listeners_max, f"{listeners_max:,} event streams are open already.")
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
    def listen(self, generation_id: str, place: Place) -> Iterator[Listener]:
        """A listener that is set at every change from now on. Listen first and read then, so that no change is missed.

        It is sent away when `place`, which the caller holds in one of the rooms, is needed for another client.
        """
        listener = Listener()
        place.when_lost = listener.send_away
        listeners = self._listeners.setdefault(generation_id, set())
        listeners.add(listener)
        try:
            yield listener
        finally:
            place.when_lost = None
            listeners.discard(listener)
            if not listeners:
                self._listeners.pop(generation_id, None)
