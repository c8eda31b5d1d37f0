"""The order in which the routes of a plan are tried. Pure and stable: routes of equal rank keep their given order."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from math import inf, log
from typing import Literal, TypeVar

from msgspec import Struct

from gateway.domain.health.circuit import CircuitState
from gateway.domain.health.route_health import RouteHealth

Order = Literal["priority", "weighted", "fastest", "cheapest"]


class RankKey(Struct, frozen=True, kw_only=True):
    """Everything that the position of a route depends on."""

    name: str  # provider/model
    group: int  # 0 for the requested model, then one number for each model to fall back to
    order: Order  # of its group
    weight: float  # for `weighted`: a route with twice the weight is first twice as often
    cost_usd: float | None  # of one output; None ranks last in `cheapest`
    health: RouteHealth


T = TypeVar("T")


def in_order(routes: Sequence[tuple[RankKey, T]], seed: str) -> list[T]:
    """The routes by circuit (open ones, then held ones last), then by group, then by the order of the group.

    `seed` decides the random part of `weighted`: the same seed gives the same order.
    """

    def rank(entry: tuple[RankKey, T]) -> tuple[bool, bool, int, float]:
        key, health = entry[0], entry[0].health
        return health.held, health.circuit is CircuitState.OPEN, key.group, _RANK[key.order](key, seed)

    return [route for _, route in sorted(routes, key=rank)]


def _chance(key: RankKey, seed: str) -> float:
    """A weighted random order: exponential variables whose rate is the weight (Efraimidis, Spirakis 2006)."""
    digest = sha256(f"{seed}:{key.name}".encode()).digest()
    drawn = (int.from_bytes(digest[:8], "big") + 1) / (2**64 + 1)
    return -log(drawn) / key.weight if key.weight > 0 else inf


_RANK: Mapping[Order, Callable[[RankKey, str], float]] = {
    "priority": lambda _place, _seed: 0.0,
    "weighted": _chance,
    # A route whose speed was never measured comes first, so that it gets measured.
    "fastest": lambda key, _seed: -1.0 if key.health.seconds is None else key.health.seconds,
    "cheapest": lambda key, _seed: inf if key.cost_usd is None else key.cost_usd,
}
