"""The protocol for the accounts of generations and their sums."""

from datetime import datetime
from typing import Protocol

from gateway.domain.money.budgets import Spent


class Money(Protocol):
    """Accounts are written by the transactions that change generations. Every method may raise `StoreUnavailable`."""

    async def spent(self, owner: str, moment: datetime) -> Spent:
        """What an owner, and all owners together, have reserved and settled in the periods of this moment."""
        ...

    async def fill(self, limit: int) -> int:
        """Count at most `limit` generations from before accounts existed, the newest first; returns how many.

        0 means that nothing is left to do. Open generations are counted when the ledger is opened.
        """
        ...

    async def expire(self, before: datetime, limit: int) -> int:
        """Close at most `limit` accounts whose generation was deleted before that moment; returns how many.

        The sums stay: what was spent counts in the budget of its period however long records are kept.
        """
        ...
