"""What the rules need to know of a route's health: a value, taken at one moment."""

from collections.abc import Callable
from datetime import datetime

from msgspec import Struct

from gateway.domain.health.circuit import CircuitState


class RouteHealth(Struct, frozen=True, kw_only=True):
    """A route as its provider has been lately."""

    circuit: CircuitState = CircuitState.CLOSED
    retry_at: datetime | None = None  # when a repeat of a submit may go at the earliest; None: at once
    seconds: float | None = None  # from acceptance to the result, the median; None: to be found out


class Completion(Struct, frozen=True, kw_only=True):
    """An attempt that brought its result."""

    provider: str
    model: str
    ended_at: datetime
    seconds: float  # from acceptance


HealthOf = Callable[[str, str], RouteHealth]  # by provider and upstream model


def unknown_health(_provider: str, _model: str) -> RouteHealth:
    """The health of a route that nothing is known of: as good as any."""
    return RouteHealth()
