"""The protocol for the purchases of deleted generations."""

from datetime import datetime
from typing import Protocol

from gateway.domain.generation.purchases import Purchase


class Purchases(Protocol):
    """Purchases are written by `Store.delete`, in its transaction. Every method may raise `StoreUnavailable`."""

    async def page(
        self, limit: int, after: tuple[str, str] | None = None, generation_id: str | None = None
    ) -> list[Purchase]:
        """At most `limit` purchases, oldest generation first.

        `after` is a place: the ids of a generation and an attempt. `generation_id` limits the list to one generation.
        """
        ...

    async def expire(self, before: datetime, limit: int) -> int:
        """Delete at most `limit` purchases whose generation was deleted before that moment; returns how many."""
        ...
