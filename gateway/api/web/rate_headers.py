"""The headers that say how many requests a client may still send. They are on every answer of a client with a limit."""

from collections.abc import Callable, Mapping

from litestar.types import Scope

from gateway.clients.rates import Rates

_STATE = "rate_headers"  # in the state of a request
NAMES = ("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests")


async def count(scope: Scope, rates: Rates, owner: str, per_minute: int | None) -> None:
    """Count a request of a client, once for each request. Raises `RequestsPerMinuteReached`."""
    if per_minute is None or _STATE in scope["state"]:
        return
    scope["state"][_STATE] = lambda: rates.headers(owner, per_minute)
    await rates.take(owner, per_minute)


def rate_headers(scope: Scope) -> list[tuple[bytes, bytes]]:
    """The headers for the answer to a request, as they are at this moment; none without a limit."""
    headers: Callable[[], Mapping[str, str]] = scope["state"].get(_STATE, dict)
    return [(name.encode(), value.encode()) for name, value in headers().items()]
