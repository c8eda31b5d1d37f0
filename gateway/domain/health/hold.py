"""A hold: an operator has taken a provider out of new work. Pure.

A held provider gets no submit, also none of a generation that is open already. Its open tasks are polled to their end.
An output that has no other route left waits for the release, until the deadline of its generation.
"""

from datetime import datetime

from msgspec import Struct

HOLDER_MAX = 64  # characters of `held_by`
NOTE_MAX = 500  # characters of `note`


class Hold(Struct, frozen=True, kw_only=True):
    """A provider that takes no new work, since when, and what the operator has written about it."""

    provider: str
    held_at: datetime
    held_by: str | None = None  # who, in the operator's own words
    note: str | None = None  # why, in the operator's own words
