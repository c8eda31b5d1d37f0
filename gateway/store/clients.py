"""The protocol for clients and keys that are made at run time, and for what their limits count."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from gateway.domain.clients import ClientKey, Limits

CLIENTS_MAX = 10_000
KEYS_MAX = 100  # of one client that are stored, with those that have ended or were revoked


class StoredClient(Struct, frozen=True, kw_only=True):
    """A client that was made at run time."""

    name: str
    limits: Limits
    created_at: datetime


class Adopted(Struct, frozen=True, kw_only=True):
    """A key that was a client by itself, and the client that owns its things since a start of the gateway."""

    owner: str  # the owner id of the key
    client: str  # the owner id of the client
    adopted_at: datetime


class ClientRows(Protocol):
    """A method that writes returns after the change is on the disk. Every method may raise `StoreUnavailable`."""

    async def all(self) -> tuple[list[StoredClient], list[ClientKey]]:
        """Every client, by name, and every key, in the order in which they were made."""
        ...

    async def named(self, name: str) -> StoredClient | None:
        """The client with this name, or None."""
        ...

    async def add(self, client: StoredClient) -> None:
        """Insert a client. Raises `Conflict` if there is one of this name, or as many as there may be."""
        ...

    async def change(self, name: str, change: Callable[[Limits], Limits]) -> StoredClient | None:
        """Replace the limits by what `change` returns for them; None if there is no such client."""
        ...

    async def remove(self, name: str, owner: str) -> bool:
        """Delete a client with its keys; False if there is no such client.

        What it owns stays. Raises `Conflict` if a generation of `owner`, its owner id, is open.
        """
        ...

    async def keys_of(self, client: str) -> list[ClientKey]:
        """The keys of a client, the oldest first."""
        ...

    async def add_key(self, key: ClientKey, *, stored_client: bool) -> None:
        """Insert a key. Raises `Conflict` if its client has as many as it may have.

        If it is a `stored_client` and was deleted meanwhile, raises `NotFound`.
        """
        ...

    async def revoke(self, key_id: str, client: str, now: datetime) -> ClientKey | None:
        """Revoke a key of a client, and return it; a second time changes nothing. None if there is no such key."""
        ...


AdoptedBy = Callable[[str], Sequence[Adopted]]  # the owner id of a client → the keys whose things it owns now
