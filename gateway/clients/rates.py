"""How many requests the clients have sent: a bucket of tokens for each client that has a limit.

One process has the buckets in memory, because a restart that fills them again harms nobody. Several processes have them
in the ledger that they share; see `shared_rates.py`.
"""

import math
from collections.abc import Mapping
from typing import Protocol

from gateway.clock import Clock
from gateway.domain.clients import Bucket
from gateway.domain.errors import RequestsPerMinuteReached


class Rates(Protocol):
    """Counts requests by owner id."""

    async def take(self, owner: str, per_minute: int) -> None:
        """Count a request. Raises `RequestsPerMinuteReached` if the client has sent as many as it may.

        Raises `StoreUnavailable` if the requests are counted in a database that does not answer.
        """
        ...

    def give_back(self, owner: str) -> None:
        """Uncount a request, because it has only repeated an earlier one."""
        ...

    def headers(self, owner: str, per_minute: int) -> Mapping[str, str]:
        """What an answer says about the limit, in OpenAI's words."""
        ...


class OwnRates:
    """Implements `Rates` for a process that has the ledger for itself."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}

    async def take(self, owner: str, per_minute: int) -> None:
        """See `Rates`."""
        bucket = self._bucket(owner, per_minute)
        if bucket.left < 1:
            raise reached(per_minute, bucket.seconds_until(1, per_minute))
        self._buckets[owner] = Bucket(bucket.left - 1, bucket.at)

    def give_back(self, owner: str) -> None:
        """See `Rates`."""
        bucket = self._buckets.get(owner)
        if bucket is not None:
            self._buckets[owner] = Bucket(bucket.left + 1, bucket.at)

    def headers(self, owner: str, per_minute: int) -> Mapping[str, str]:
        """See `Rates`."""
        bucket = self._bucket(owner, per_minute)
        return headers_of(per_minute, bucket.left, bucket.seconds_until(per_minute, per_minute))

    def _bucket(self, owner: str, per_minute: int) -> Bucket:
        now = self._clock.now()
        return self._buckets.get(owner, Bucket(float(per_minute), now)).now(now, per_minute)


def reached(per_minute: int, seconds: float) -> RequestsPerMinuteReached:
    """The refusal of a client that may send its next request after so many seconds."""
    return RequestsPerMinuteReached(
        f"Your client may send {per_minute:,} requests per minute (`requests_per_minute`).", retry_after=seconds
    )


def headers_of(per_minute: int, left: float, reset_seconds: float) -> Mapping[str, str]:
    """The headers of a limit; `reset_seconds`: until all its requests may be sent again."""
    return {
        "x-ratelimit-limit-requests": str(per_minute),
        "x-ratelimit-remaining-requests": str(int(left)),
        "x-ratelimit-reset-requests": duration(reset_seconds),
    }


def duration(seconds: float) -> str:
    """A duration as OpenAI writes it: `120ms`, `7s`, `1m0s`."""
    if 0 < seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
