"""Requests of a client that several processes let through, each from small pieces of the client's limit. Pure.

The ledger has a bucket for each client, which fills evenly. A process takes a piece of it, lets so many requests
through without asking anybody, and then takes the next one. A piece that is not used soon is given back. So the
processes together never let more through than one process would, and a client may send all its requests to one of them.
"""

from msgspec import Struct
from msgspec.structs import replace

PIECES_PER_MINUTE = 600  # a client that uses its whole limit makes its processes ask about ten times a second
KEEP_SECONDS = 1.0  # how long a piece may be used
PAUSE_SECONDS = 0.1  # a process that got nothing asks again after this time at the earliest


def piece(per_minute: int) -> int:
    """How many requests a process takes at once, if no more are waiting."""
    return max(per_minute // PIECES_PER_MINUTE, 1)


def most(per_minute: int) -> float:
    """How many requests a full bucket has.

    A piece may be used a little later than it was taken, while the bucket fills again. What it can gain in that time is
    left out, so that no minute has more requests than one bucket would allow. A piece of one request is used at once.
    """
    return float(per_minute) if piece(per_minute) == 1 else per_minute * (1 - KEEP_SECONDS / 60)


class Lease(Struct, frozen=True, kw_only=True):
    """What a process has of a client's limit. Moments are seconds of a clock of the process."""

    left: int = 0  # requests that it may let through until `until`
    until: float = 0.0
    returned: int = 0  # requests that it has taken and did not use, for the next time that it asks
    unused: float = 0.0  # how many the bucket had left at `at`
    at: float = 0.0
    empty_until: float = 0.0  # the bucket had no request left, and has none before this moment


def spent(lease: Lease, now: float) -> Lease | None:
    """The lease after one more request; None if it has none left."""
    return replace(lease, left=lease.left - 1) if lease.left > 0 and now < lease.until else None


def given_back(lease: Lease) -> Lease:
    """The lease after a request that does not count after all."""
    return replace(lease, returned=lease.returned + 1)


def asking(lease: Lease) -> tuple[Lease, int]:
    """The lease while the process asks for the next piece, and how many requests it gives back with that."""
    return replace(lease, left=0, returned=0), lease.left + lease.returned


def renewed(lease: Lease, per_minute: int, *, spare: int, unused: float, is_empty: bool, asked_at: float) -> Lease:
    """The lease with what is left of a new piece after those that waited for it. `asked_at`: before it was taken.

    `is_empty`: the process got less than it wanted.
    """
    is_kept = piece(per_minute) > 1
    pause = max((1 - unused) * 60 / per_minute, PAUSE_SECONDS)
    return Lease(
        left=spare if is_kept else 0,
        until=asked_at + KEEP_SECONDS,
        returned=lease.returned + (0 if is_kept else spare),
        unused=unused,
        at=asked_at,
        empty_until=asked_at + pause if is_empty else 0.0,
    )


def remaining(lease: Lease, per_minute: int, now: float) -> float:
    """How many requests the client may send now, as far as this process knows."""
    left = lease.left if now < lease.until else 0
    filled = lease.unused + lease.returned + max(now - lease.at, 0.0) * per_minute / 60
    return min(filled + left, most(per_minute))
