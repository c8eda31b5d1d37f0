"""What the gateway asks of a store about the purchases of generations that were deleted."""

from datetime import datetime
from typing import Protocol

from gateway.domain.generation.purchases import Purchase


class Purchases(Protocol):
    """They are written by `Store.delete`, in its transaction. Raises `StoreUnavailable`."""

    async def page(
        self, limit: int, after: tuple[str, str] | None = None, generation_id: str | None = None
    ) -> list[Purchase]:
        """At most `limit` after the ids of a generation and an attempt, oldest generation first; of one where named."""
        ...

    async def expire(self, before: datetime, limit: int) -> int:
        """Remove those whose generation was deleted before that moment, at most `limit`; returns how many."""
        ...
