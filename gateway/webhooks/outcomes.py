"""Lets a call wait for the result of a delivery that this process sends."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Outcomes:
    """The deliveries whose next try a caller waits for."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Event] = {}

    def tried(self, delivery_id: str) -> None:
        """Wake the caller that waits: a try of the delivery has been stored."""
        event = self._waiting.get(delivery_id)
        if event is not None:
            event.set()

    @contextmanager
    def expecting(self, delivery_id: str) -> Iterator[asyncio.Event]:
        """An event that is set when a try has been stored. One call at a time may wait for a delivery."""
        event = self._waiting[delivery_id] = asyncio.Event()
        try:
            yield event
        finally:
            del self._waiting[delivery_id]
