"""What the ledger says about its lineage: whether it was an older copy when it was opened, and how far it is."""

from typing import Literal, Protocol

from gateway.domain.lineage import Copy, Marker

Said = Literal["restored", "moved"]  # what an operator may say about the ledger at a start


class LedgerLineage(Protocol):
    """See `gateway/domain/lineage.py`."""

    @property
    def marker(self) -> Marker:
        """What a marker in another place should say now: everything up to here is durable in the ledger."""
        ...

    async def newest(self) -> Marker:
        """The marker as the ledger has it now, with what other processes have stored. Raises `StoreUnavailable`."""
        ...

    @property
    def copy(self) -> Copy | None:
        """Why this start has treated the ledger as an older copy; `None` if it has not."""
        ...

    @property
    def held(self) -> tuple[str, ...]:
        """The generations that this start has begun to hold, the oldest first."""
        ...
