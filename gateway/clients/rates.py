"""How many requests the clients have sent: a bucket of tokens for each client that has a limit.

The buckets are in memory, because a restart that fills them again harms nobody.
"""

import math
from collections.abc import Mapping

from gateway.clock import Clock
from gateway.domain.clients import Bucket
from gateway.domain.errors import RequestsPerMinuteReached


class Rates:
    """Counts requests by owner id."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}

    def take(self, owner: str, per_minute: int) -> None:
        """Count a request. Raises `RequestsPerMinuteReached` if the client has sent as many as it may."""
        bucket = self._bucket(owner, per_minute)
        if bucket.left < 1:
            raise RequestsPerMinuteReached(
                f"Your client may send {per_minute:,} requests per minute (`requests_per_minute`).",
                retry_after=bucket.seconds_until(1, per_minute),
            )
        self._buckets[owner] = Bucket(bucket.left - 1, bucket.at)

    def give_back(self, owner: str) -> None:
        """Uncount a request, because it has only repeated an earlier one."""
        bucket = self._buckets.get(owner)
        if bucket is not None:
            self._buckets[owner] = Bucket(bucket.left + 1, bucket.at)

    def headers(self, owner: str, per_minute: int) -> Mapping[str, str]:
        """What an answer says about the limit, in OpenAI's words."""
        bucket = self._bucket(owner, per_minute)
        return {
            "x-ratelimit-limit-requests": str(per_minute),
            "x-ratelimit-remaining-requests": str(int(bucket.left)),
            "x-ratelimit-reset-requests": duration(bucket.seconds_until(per_minute, per_minute)),
        }

    def _bucket(self, owner: str, per_minute: int) -> Bucket:
        now = self._clock.now()
        return self._buckets.get(owner, Bucket(float(per_minute), now)).now(now, per_minute)


def duration(seconds: float) -> str:
    """A duration as OpenAI writes it: `120ms`, `7s`, `1m0s`."""
    if 0 < seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
