"""The protocol for the providers that operators hold."""

from typing import Protocol

from gateway.domain.health.hold import Hold


class Holds(Protocol):
    """A hold counts from the moment when `put` returns: `Store.begin_submit` refuses every submit after that.

    Every method may raise `StoreUnavailable`.
    """

    async def now(self) -> list[Hold]:
        """All holds as they are stored, by the name of the provider."""
        ...

    async def put(self, hold: Hold) -> Hold:
        """Hold a provider. The first hold stays as it is: it is returned in place of a second one."""
        ...

    async def remove(self, provider: str) -> bool:
        """Release a provider; False if it was not held."""
        ...
