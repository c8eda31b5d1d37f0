"""In which order the routes that can are tried. Pure, and stable: what does not differ keeps its key."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from math import inf, log
from typing import Literal, TypeVar

from msgspec import Struct

from gateway.domain.health.circuit import CircuitState
from gateway.domain.health.route_health import RouteHealth

Order = Literal["priority", "weighted", "fastest", "cheapest"]


class RankKey(Struct, frozen=True, kw_only=True):
    """What decides about a route's key."""

    name: str  # provider/model
    group: int  # 0 for the model asked for, then a number for each model to fall back to
    order: Order  # of its group
    weight: float  # of `weighted`: twice the weight is first twice as often
    cost_usd: float | None
    health: RouteHealth


T = TypeVar("T")


def in_order(routes: Sequence[tuple[RankKey, T]], seed: str) -> list[T]:
    """The routes by circuit, group and the order of the group; `seed` decides where the order leaves it to chance."""

    def rank(entry: tuple[RankKey, T]) -> tuple[bool, int, float]:
        key = entry[0]
        return key.health.circuit is CircuitState.OPEN, key.group, _RANK[key.order](key, seed)

    return [route for _, route in sorted(routes, key=rank)]


def _chance(key: RankKey, seed: str) -> float:
    """Drawing without putting back: by an exponential variable whose rate is the weight (Efraimidis, Spirakis 2006)."""
    digest = sha256(f"{seed}:{key.name}".encode()).digest()
    drawn = (int.from_bytes(digest[:8], "big") + 1) / (2**64 + 1)
    return -log(drawn) / key.weight if key.weight > 0 else inf


_RANK: Mapping[Order, Callable[[RankKey, str], float]] = {
    "priority": lambda _place, _seed: 0.0,
    "weighted": _chance,
    # A route whose speed is to be found out comes first: only so it becomes known.
    "fastest": lambda key, _seed: -1.0 if key.health.seconds is None else key.health.seconds,
    "cheapest": lambda key, _seed: inf if key.cost_usd is None else key.cost_usd,
}
