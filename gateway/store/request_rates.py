"""The requests of clients with a limit, counted by the ledger for all processes that work on it together."""

from typing import Protocol

from msgspec import Struct


class Taken(Struct, frozen=True):
    """What the ledger answers to a process that wants to let requests of a client through."""

    requests: int  # how many the process may let through; 0: none at the moment
    unused: float  # how many are left for it and the others


class RequestRates(Protocol):
    """A bucket for each client, which fills evenly. Any method may raise `StoreUnavailable`."""

    async def take(self, owner: str, per_minute: int, *, most: float, wanted: int, returned: int) -> Taken:
        """Take `wanted` requests of a client, or as many as there are.

        `most` is how many a full bucket has. `returned` requests were taken earlier and not used.
        """
        ...
