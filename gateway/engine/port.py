"""The port of the engine. An engine decides which process drives which generation, and wakes the drivers.

Whether a submit may be sent is decided by the ledger alone, never by an engine.
"""

from contextlib import AbstractContextManager
from typing import Literal, Protocol

from msgspec import Struct, field

from gateway.domain.generation.model import Generation

Cause = Literal["dead_replica", "orphan", "surplus", "stop"]  # why generations were handed over


class Standing(Struct, kw_only=True):
    """This process among the replicas of the ledger, for metrics. The counts are since its start."""

    replicas: int = 1  # that live and do not stop, with this one
    heartbeat_age: float = 0.0  # seconds since the last heartbeat was sent that succeeded
    heartbeats_failed: int = 0
    declared_dead: int = 0  # how often this process was
    # Generations by cause. A dead replica is handed over by another one, which counts it.
    handed_over: dict[Cause, int] = field(
        default_factory=lambda: {"dead_replica": 0, "orphan": 0, "surplus": 0, "stop": 0}
    )


class Engine(Protocol):
    """Wakes drivers at least once. It may wake one too often, or start two: the guards of the ledger allow for that."""

    @property
    def driven(self) -> int:
        """How many generations have a driver now, ended ones included."""
        ...

    @property
    def untaken(self) -> int:
        """How many generations that were open at the start have no driver yet."""
        ...

    @property
    def standing(self) -> Standing:
        """This process among the replicas."""
        ...

    @property
    def halted(self) -> str | None:
        """Why this process accepts and submits nothing until it is started again, and what to do; None otherwise."""
        ...

    async def start(self) -> None:
        """Begin to start a driver for every open generation. This returns before they run."""
        ...

    async def taken_over(self) -> None:
        """Wait until every generation that was open at the start has a driver."""
        ...

    @property
    def open_max(self) -> int:
        """How many generations may be open at once, in all processes on the ledger together."""
        ...

    def admit(self, key: str) -> AbstractContextManager[None]:
        """Reserve capacity for a generation that an API key is about to create, for the length of the `with` block.

        It counts what this process drives; the store counts again if there are others. Raises `Overloaded` if too many
        generations are open, or too many of this key; `ShuttingDown` after `drain`.
        """
        ...

    def begin(self, generation: Generation) -> None:
        """Drive a generation that this process has just created, so that it has the fence already."""
        ...

    def wake(self, generation_id: str) -> None:
        """Make the driver read the generation again now: the API or an operator has changed it."""
        ...

    def look_again(self, generation_id: str) -> bool:
        """The same for a change of another process, which may drive the generation itself: no driver is started.

        False if this process neither has a driver of it nor is starting one.
        """
        ...

    def reconsider(self) -> None:
        """Make every driver decide again, in portions: an operator has held or released a provider, or reset it."""
        ...

    def nudge(self, generation_id: str, attempt_id: str) -> None:
        """Make the driver poll the tasks of this attempt now: the provider has called back about them."""
        ...

    def poll_now(self, generation_id: str, attempt_id: str) -> bool:
        """The same, if this process drives the generation; False if it does not, and nothing is started."""
        ...

    def drain(self) -> None:
        """Accept and start nothing new from now on. This is the first half of `stop`."""
        ...

    async def stop(self, drain_seconds: float) -> None:
        """Start nothing new; return when the submits in flight have ended and are stored, or the time is over."""
        ...
