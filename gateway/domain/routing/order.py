"""In which order the routes that can are tried. Pure, and stable: what does not differ keeps its place."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from math import inf, log
from typing import Literal, TypeVar

from msgspec import Struct

from gateway.domain.health.circuit import CircuitState
from gateway.domain.health.route_health import RouteHealth

Order = Literal["priority", "weighted", "fastest", "cheapest"]


class Place(Struct, frozen=True, kw_only=True):
    """What decides about a route's place."""

    name: str  # provider/model
    group: int  # 0 for the model asked for, then a number for each model to fall back to
    order: Order  # of its group
    weight: float  # of `weighted`: twice the weight is first twice as often
    cost_usd: float | None
    health: RouteHealth


T = TypeVar("T")


def in_order(routes: Sequence[tuple[Place, T]], seed: str) -> list[T]:
    """The routes by circuit, group and the order of the group; `seed` decides where the order leaves it to chance."""

    def rank(entry: tuple[Place, T]) -> tuple[bool, int, float]:
        place = entry[0]
        return place.health.circuit is CircuitState.OPEN, place.group, _RANK[place.order](place, seed)

    return [route for _, route in sorted(routes, key=rank)]


def _chance(place: Place, seed: str) -> float:
    """Drawing without putting back: by an exponential variable whose rate is the weight (Efraimidis, Spirakis 2006)."""
    digest = sha256(f"{seed}:{place.name}".encode()).digest()
    drawn = (int.from_bytes(digest[:8], "big") + 1) / (2**64 + 1)
    return -log(drawn) / place.weight if place.weight > 0 else inf


_RANK: Mapping[Order, Callable[[Place, str], float]] = {
    "priority": lambda _place, _seed: 0.0,
    "weighted": _chance,
    # A route whose speed is to be found out comes first: only so it becomes known.
    "fastest": lambda place, _seed: -1.0 if place.health.seconds is None else place.health.seconds,
    "cheapest": lambda place, _seed: inf if place.cost_usd is None else place.cost_usd,
}
