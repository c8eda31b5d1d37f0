"""The port: who drives which generation. The ledger decides what may be done; an engine only wakes."""

from contextlib import AbstractContextManager
from typing import Protocol

from gateway.domain.generation.model import Generation


class Engine(Protocol):
    """At-least-once: it may wake a driver too often or twice, the ledger's guards make that harmless."""

    async def start(self) -> None:
        """Drive every open generation again, spread over time."""
        ...

    def room(self) -> AbstractContextManager[None]:
        """Hold a place for a generation that is about to be created.

        `Overloaded` when there is none, `ShuttingDown` once it drains.
        """
        ...

    def begin(self, generation: Generation) -> None:
        """Drive a generation that this process has just created and holds the fence of."""
        ...

    def wake(self, generation_id: str) -> None:
        """Something changed from outside: its driver is to look again now."""
        ...

    def hint(self, generation_id: str, attempt_id: str) -> None:
        """A provider says that something happened to an attempt's tasks: they are to be read now."""
        ...

    def drain(self) -> None:
        """Take and start nothing new from now on: the first half of `stop`."""
        ...

    async def stop(self, drain_seconds: float) -> None:
        """Start nothing new, let submits in flight finish and be stored, then return."""
        ...
