"""Signals: what the processes that work on one ledger make each other aware of.

A signal only saves time. What it is about is in the ledger, and a process that misses a signal finds that a few seconds
later. The exceptions are messages (`Message`), which are about nothing that is stored: without `CalledBack` a task is
polled at its usual time, and without `CircuitsReset` a circuit closes after its own probe.
"""

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct


class GenerationChanged(Struct, frozen=True):
    """Another process has stored a change of this generation, or has deleted it. It may come once too often."""

    generation_id: str


class ClientsChanged(Struct, frozen=True):
    """This client or one of its keys was made, changed or deleted at run time; without a name, any of them may be."""

    name: str | None


class HoldsChanged(Struct, frozen=True):
    """A provider was held or released."""


class CalledBack(Struct, frozen=True, tag="called_back"):
    """A provider has called back about this attempt, at a process that does not drive its generation."""

    generation_id: str
    attempt_id: str


class CircuitsReset(Struct, frozen=True, tag="circuits_reset"):
    """An operator has closed the circuits of a provider, or that of one of its models."""

    provider: str
    model: str | None


Message = CalledBack | CircuitsReset  # what a process sends by itself
Signal = GenerationChanged | ClientsChanged | HoldsChanged | Message
Hear = Callable[[Signal], None]  # is called on the event loop; it must not take long


class Signals(Protocol):
    """Works between `start` and `stop`. No method raises because a database cannot be reached."""

    @property
    def trouble(self) -> str | None:
        """Why signals of other processes come late at present, for the operator; None if they come at once."""
        ...

    @property
    def losses(self) -> int:
        """How often the connection for signals was lost since the start."""
        ...

    def start(self, hear: Hear) -> None:
        """Call `hear` for every signal of another process from now on. Returns before the first can come.

        The changes of this process itself may come as well, except those of generations.
        """
        ...

    def send(self, message: Message) -> None:
        """Send a message to all other processes, without waiting for it. It may be lost."""
        ...

    async def stop(self) -> None:
        """Send and hear nothing more. It may be called without `start`, and again."""
        ...


class Alone:
    """Implements `Signals` for a ledger on which only one process can work: it is aware of everything itself."""

    trouble: str | None = None
    losses = 0

    def start(self, hear: Hear) -> None:
        """See `Signals`."""

    def send(self, message: Message) -> None:
        """See `Signals`."""

    async def stop(self) -> None:
        """See `Signals`."""
