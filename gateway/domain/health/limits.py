"""How hard a provider may be loaded: how many calls run at once, and how many submits are repeats. Pure."""

from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

LOWER_SECONDS = 5.0  # all 429 within this time lower the limit only once: they have the same cause
RETRY_RATIO = 0.2  # repeats that each first submit adds to the budget
RETRIES_PER_SECOND = 0.2  # repeats that time adds to the budget, however few first submits there are
RETRIES_SAVED = 20.0  # the most repeats that a budget can have


def share(limit: int, processes: int) -> int:
    """How much of a limit one of several processes may use, at least 1.

    It is rounded up, so that no place stays empty: something else must keep the sum within the limit.
    """
    return -(-limit // processes)


def safe_share(limit: int, processes: int) -> int:
    """The same where nothing else keeps the sum: it is within the limit, or 1 for each process if that is more."""
    return max(limit // processes, 1)


class AdaptiveLimit(Struct, frozen=True, kw_only=True):
    """How many calls may run at once: one more after as many successes as the limit allows calls, half after a 429.

    This is additive increase and multiplicative decrease (AIMD), as in the congestion control of TCP.
    """

    ceiling: int  # as configured
    value: float
    lowered_at: datetime | None = None

    @property
    def places(self) -> int:
        """The limit as a whole number, at least 1."""
        return max(int(self.value), 1)


def scaled(limit: AdaptiveLimit, ceiling: int) -> AdaptiveLimit:
    """The limit of a process whose share of the account has changed: what was learnt below the share changes with it.

    The value may become less than 1, so that nothing is forgotten while the share is small.
    """
    return replace(limit, ceiling=ceiling, value=limit.value * ceiling / limit.ceiling)


def raised(limit: AdaptiveLimit) -> AdaptiveLimit:
    """The limit after a successful call."""
    if limit.value >= limit.ceiling:
        return limit
    return replace(limit, value=min(limit.value + 1 / max(limit.value, 1.0), float(limit.ceiling)))


def lowered(limit: AdaptiveLimit, now: datetime) -> AdaptiveLimit:
    """The limit after a 429."""
    if limit.lowered_at is not None and now < limit.lowered_at + timedelta(seconds=LOWER_SECONDS):
        return limit
    return replace(limit, value=max(limit.value / 2, 1.0), lowered_at=now)


class RetryBudget(Struct, frozen=True, kw_only=True):
    """How many repeats of submits a provider may be sent: too many would make its outage worse."""

    saved: float = RETRIES_SAVED  # repeats that may be sent, at the moment `at`
    at: datetime


def earned(budget: RetryBudget, now: datetime) -> RetryBudget:
    """The budget after a first submit, which is not a repeat."""
    return _filled(budget, now, RETRY_RATIO)


def unearned(budget: RetryBudget, now: datetime) -> RetryBudget:
    """Undo `earned`: the attempt could not be stored, so nothing was sent."""
    return _filled(budget, now, -RETRY_RATIO)


def refunded(budget: RetryBudget, now: datetime) -> RetryBudget:
    """The budget after an accepted submit: the outage is over, so each success lets one waiting repeat follow."""
    return _filled(budget, now, 1.0)


def spent(budget: RetryBudget, now: datetime) -> RetryBudget:
    """The budget after a repeat."""
    return _filled(budget, now, -1.0)


def retry_at(budget: RetryBudget, now: datetime) -> datetime:
    """When the next repeat may be sent: `now` if the budget has one."""
    if budget.saved >= 1:  # time adds to it, so that nothing need be computed
        return now
    saved = _filled(budget, now, 0.0).saved
    return now if saved >= 1 else now + timedelta(seconds=(1 - saved) / RETRIES_PER_SECOND)


def _filled(budget: RetryBudget, now: datetime, change: float) -> RetryBudget:
    since = max((now - budget.at).total_seconds(), 0.0)
    saved = min(budget.saved + since * RETRIES_PER_SECOND, RETRIES_SAVED) + change
    return RetryBudget(saved=min(max(saved, -1.0), RETRIES_SAVED), at=now)
