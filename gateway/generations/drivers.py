"""What the service of generations needs of an engine."""

from contextlib import AbstractContextManager
from typing import Protocol

from gateway.domain.generation.model import Generation


class Drivers(Protocol):
    """What this service needs of an engine."""

    @property
    def open_max(self) -> int:
        """How many generations may be open at once."""
        ...

    def admit(self, key: str) -> AbstractContextManager[None]:
        """Reserve capacity for one more generation. Raises an error for the client if it is full."""
        ...

    def begin(self, generation: Generation) -> None:
        """Start the driver of a generation that was just created."""
        ...

    def wake(self, generation_id: str) -> None:
        """Make the driver look again: the generation was changed."""
        ...


class FirstAttempts(Protocol):
    """What this service needs of an engine to store a generation together with its first attempts."""

    def reserve(self, generation: Generation) -> Generation:
        """The generation with its first attempts, or without any if none can begin now."""
        ...

    def stored(self, generation: Generation) -> None:
        """The generation was created with them."""
        ...

    def discard(self, generation: Generation) -> None:
        """It was not created."""
        ...
