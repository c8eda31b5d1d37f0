"""The protocol for the removal of what has been stored long enough, a few rows in each call."""

from datetime import datetime
from typing import Protocol

from msgspec import Struct


class EndPlace(Struct, frozen=True):
    """A place among the ended generations, in the order of their ends."""

    ended_at: float  # Unix seconds
    generation_id: str


FIRST_END = EndPlace(0.0, "")


class Retention(Protocol):
    """Every method changes little in one short transaction, and may raise `StoreUnavailable`.

    Each goes through the rows from a place on, so that rows which cannot be removed yet are not looked at again and
    again within one round.
    """

    async def remove_generations(
        self, ended_before: datetime, now: datetime, limit: int, after: EndPlace = FIRST_END
    ) -> tuple[int, EndPlace | None]:
        """Look at `limit` ended generations after a place, and delete those that nobody needs any more.

        Returns how many were deleted, and the place to go on from; None if no more ended before that moment. What is
        deleted leaves the same as after a delete by the client: see `Store.delete`. A generation stays while a submit
        is under way, a task is followed, a file of it is stored or still to be archived, or a delivery is pending.
        """
        ...

    async def remove_events(self, before: datetime, limit: int, after: int = 0) -> tuple[int, int | None]:
        """Look at `limit` events after a number, and delete those of ended generations from before that moment.

        The event of the end of a generation stays with it: who follows it later still gets the end. Returns how many
        were deleted, and the number to go on from; None if the next one is younger, or of an open generation.
        """
        ...
