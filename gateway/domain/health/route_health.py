"""What the rules need to know about the health of a route: a value as of one moment. Pure."""

from collections.abc import Callable
from datetime import datetime

from msgspec import Struct

from gateway.domain.health.circuit import CircuitState


class RouteHealth(Struct, frozen=True, kw_only=True):
    """How well a route has worked recently."""

    circuit: CircuitState = CircuitState.CLOSED
    held: bool = False  # an operator has taken the provider out of new work: nothing may be sent
    retry_at: datetime | None = None  # the earliest time for the repeat of a submit; None: now
    seconds: float | None = None  # the median from acceptance to the result; None: it was never measured


class Completion(Struct, frozen=True, kw_only=True):
    """An attempt that delivered its result, for the measurement of its route."""

    provider: str
    model: str
    ended_at: datetime
    seconds: float  # from acceptance


HealthOf = Callable[[str, str], RouteHealth]  # (provider, the provider's model) → health


def unknown_health(_provider: str, _model: str) -> RouteHealth:
    """The health of a route about which nothing is known: no reason to rank it last."""
    return RouteHealth()
