"""The protocol for usage: what was made and bought, added up by day, client, model and provider."""

from collections.abc import Sequence
from datetime import date
from typing import Literal, Protocol, get_args

from msgspec import Struct

from gateway.domain.usage.contribution import Counts

Group = Literal["day", "client", "model", "provider"]
GROUPS: tuple[Group, ...] = get_args(Group)


class UsageQuery(Struct, frozen=True, kw_only=True):
    """Which rows are added up, and by what they are grouped. The days are in UTC, and both belong to the range."""

    first_day: date
    last_day: date
    owner: str | None = None  # None: all clients
    model: str | None = None
    provider: str | None = None
    group_by: Sequence[Group] = ()  # empty: one row for all
    reader: str = ""  # the client whose turn the read takes


class UsageRow(Struct, frozen=True, kw_only=True):
    """The sums of one group. What it is not grouped by is None; a provider that is not known is an empty text."""

    counts: Counts
    median_bucket: int | None = None  # of the times to completion; None: nothing was completed
    slow_bucket: int | None = None  # that of the 95th percentile
    day: str | None = None  # such as 2026-05-17
    client: str | None = None  # the id of the owner
    model: str | None = None
    provider: str | None = None


class Usage(Protocol):
    """Rows of usage are written by the transactions that change generations. All methods may raise `StoreUnavailable`.

    A ledger from before usage was counted is counted in the background, by `count_history`.
    """

    async def rows(self, query: UsageQuery, limit: int) -> list[UsageRow]:
        """At most `limit` groups, in the order of their names. A group in which everything is 0 is left out.

        Raises `SearchTooLong` if the read takes too long, `Overloaded` if too many reads wait, and `UsageNotReady`
        while the history is being counted.
        """
        ...

    async def count_history(self, limit: int) -> int:
        """Count at most `limit` generations from before usage was counted, the oldest first; returns how many."""
        ...

    async def expire(self, before: date, limit: int) -> int:
        """Delete at most `limit` rows of days before this one; returns how many."""
        ...
