"""How fast a provider is asked: how many calls at once, and how many repeats. Pure."""

from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

LOWER_SECONDS = 5.0  # the refusals of one crowded moment lower the limit once
RETRY_RATIO = 0.2  # repeats that a first submit earns
RETRIES_PER_SECOND = 0.2  # repeats that are allowed however few first submits there are
RETRIES_SAVED = 20.0  # repeats that can be saved up


class Limit(Struct, frozen=True, kw_only=True):
    """How many calls may run at once: one more for every full round that goes well, half as many after a 429."""

    ceiling: int  # as configured
    value: float
    lowered_at: datetime | None = None

    @property
    def places(self) -> int:
        """The limit as a whole number, at least 1."""
        return max(int(self.value), 1)


def raised(limit: Limit) -> Limit:
    """After a call that went well."""
    if limit.value >= limit.ceiling:
        return limit
    return replace(limit, value=min(limit.value + 1 / limit.value, float(limit.ceiling)))


def lowered(limit: Limit, now: datetime) -> Limit:
    """After a 429."""
    if limit.lowered_at is not None and now < limit.lowered_at + timedelta(seconds=LOWER_SECONDS):
        return limit
    return replace(limit, value=max(limit.value / 2, 1.0), lowered_at=now)


class Budget(Struct, frozen=True, kw_only=True):
    """How many repeats a provider may be sent, so that an outage is not made worse by those who wait for its end."""

    saved: float = RETRIES_SAVED
    at: datetime


def earned(budget: Budget, now: datetime) -> Budget:
    """After a first submit."""
    return _filled(budget, now, RETRY_RATIO)


def unearned(budget: Budget, now: datetime) -> Budget:
    """After a first submit that was none."""
    return _filled(budget, now, -RETRY_RATIO)


def refunded(budget: Budget, now: datetime) -> Budget:
    """After a submit that was accepted: the outage is over, so whoever waits may go as fast as it is taken."""
    return _filled(budget, now, 1.0)


def spent(budget: Budget, now: datetime) -> Budget:
    """After a repeat."""
    return _filled(budget, now, -1.0)


def retry_at(budget: Budget, now: datetime) -> datetime:
    """When the next repeat may go: `now` where one is saved."""
    saved = _filled(budget, now, 0.0).saved
    return now if saved >= 1 else now + timedelta(seconds=(1 - saved) / RETRIES_PER_SECOND)


def _filled(budget: Budget, now: datetime, change: float) -> Budget:
    since = max((now - budget.at).total_seconds(), 0.0)
    saved = min(budget.saved + since * RETRIES_PER_SECOND, RETRIES_SAVED) + change
    return Budget(saved=min(max(saved, -1.0), RETRIES_SAVED), at=now)
