"""The rules of equal replicas: who may buy, who has more generations than its share, and who may take some.

A replica is a process that works on a database together with others. It drives the generations that were created
through it, and a part of those whose replica has died or stopped. It says every few seconds that it lives. Whether it
does is decided by the database alone, by its clock. A replica that could not say so for a shorter time stops buying by
itself, by the time since the start of its machine, in which suspensions count.
"""

from collections.abc import Sequence

from msgspec import Struct

BEAT_SECONDS = 5.0  # between two heartbeats
SURE_SECONDS = 10.0  # after the last heartbeat that succeeded a replica is not sure to live, and buys nothing
DEAD_SECONDS = 20.0  # after this time without a heartbeat the database says that a replica is dead; see its migrations
JOB_SIZE = 20  # generations that are handed over together
HAND_OVER_MAX = 200  # generations that a replica hands over at one heartbeat, so that the others can keep up
_SLACK_PERCENT = 10  # a replica may have more than its share by so much, so that nothing goes to and fro


class Load(Struct, frozen=True, kw_only=True):
    """How many generations wait for a replica, and how many each replica drives that is alive and does not stop."""

    own: int
    others: Sequence[int] = ()
    waiting: int = 0

    @property
    def share(self) -> int:
        """How many each of them would have if all had the same number."""
        total = self.own + sum(self.others) + self.waiting
        return -(-total // (1 + len(self.others)))

    @property
    def most(self) -> int:
        """With more than this a replica hands some over. It is at least one job more than the share."""
        return self.share + self.share * _SLACK_PERCENT // 100 + JOB_SIZE

    @property
    def surplus(self) -> int:
        """How many generations this replica hands over now."""
        return min(self.own - self.share, HAND_OVER_MAX) if self.own > self.most else 0

    def has_room(self, count: int) -> bool:
        """Whether this replica takes so many more. At most `JOB_SIZE` always fit in with the replica that has least."""
        return self.own + count <= self.most


def is_sure(sent_at: float | None, now: float) -> bool:
    """Whether a replica whose last successful heartbeat was sent at `sent_at` may buy something at `now`, in seconds.

    The database got the heartbeat after it was sent. So a replica stops buying long before another one may take over.
    """
    return sent_at is not None and 0 <= now - sent_at < SURE_SECONDS


class Sight(Struct, frozen=True, kw_only=True):
    """What one heartbeat has seen of the ledger.

    It does not have the last number of the sequence of events, because a crash of the server sets that back, if the
    transaction that got the number was not committed.
    """

    lineage: str  # the newest lineage; see `lineage.py`
    newest: int  # the largest number of an event that was committed, also if the event was deleted since


def lost_commits(before: Sight, now: Sight) -> str | None:
    """Why the ledger must be an older state than a replica has seen, which went on working; None if it may be newer.

    This is so after a fail-over to a standby that was behind, or when a backup was restored under running gateways.
    What was bought meanwhile is not in the ledger, and would be bought again. A fail-over that has lost less than what
    was committed since the last heartbeat is not noticed.
    """
    if now.lineage != before.lineage:
        return "the ledger was restored from an older state since this gateway was started"
    if now.newest < before.newest:
        return f"the newest event is {now.newest}, and this gateway has seen event {before.newest}"
    return None
