"""What the ledger knows about replicas: the processes that work on it together, and which of them drives what."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct


class Beat(Struct, frozen=True, kw_only=True):
    """What a heartbeat learns about the other replicas."""

    others: tuple[int, ...]  # how many generations each one drives that is alive and does not stop
    has_dead: bool  # one is dead whose generations may not have been handed over
    waiting: int  # generations that were handed over and that no replica has taken yet, about


class Duties(Protocol):
    """What a replica does when the queue of the ledger says so."""

    async def take(self, ids: Sequence[str]) -> bool:
        """Drive these generations, of which some may be driven already. False: another replica should take them."""
        ...

    async def look_after_all(self) -> None:
        """Look for generations that nobody drives. Every few seconds one of all replicas is called."""
        ...

    async def sweep(self) -> None:
        """Begin to remove what has expired. Every hour one of all replicas is called."""
        ...


class Replicas(Protocol):
    """The replicas of a ledger, seen from this one. Every method may raise `StoreUnavailable`.

    A generation is handed over when the ledger names no replica for it any more and it is in a job of the queue. A
    replica that takes the job raises the fence; that succeeds only while the ledger names no other replica that lives.
    """

    @property
    def lost(self) -> str | None:
        """Why the ledger must be an older state than this process has seen; None while nothing says so. It stays."""
        ...

    async def join(self) -> None:
        """Become a replica with a new id. What is created or taken over from now on is driven by it."""
        ...

    async def beat(self, driven: int, *, draining: bool) -> Beat | None:
        """Say that this replica lives and how many generations it drives. None: it is dead and has to join again."""
        ...

    async def own_open(self) -> list[str]:
        """The open generations that the ledger says this replica drives."""
        ...

    async def hand_over(self, ids: Sequence[str]) -> list[str]:
        """Hand over those generations that this replica drives, without those with a submit in flight."""
        ...

    async def hand_over_all(self, now: datetime) -> int:
        """The same for all that this replica drives; returns how many generations that were."""
        ...

    async def hand_over_dead(self, now: datetime) -> int:
        """Hand over what dead replicas drove, submits in flight included; returns how many generations that were."""
        ...

    async def hand_over_orphans(self, now: datetime) -> int:
        """The same, and also hand over what was handed over before, if its job is lost."""
        ...

    async def waiting(self) -> int:
        """How many jobs wait for a replica or are being carried out."""
        ...

    async def leave(self) -> None:
        """Be a replica no longer. What it has not handed over is an orphan."""
        ...

    async def work(self, duties: Duties) -> None:
        """Carry out jobs and schedules until `stop_work`; after a failure it goes on with a new connection."""
        ...

    async def stop_work(self) -> None:
        """Take no further jobs, and return when those under way have ended."""
        ...
