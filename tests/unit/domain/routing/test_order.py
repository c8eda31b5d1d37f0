"""The order in which the routes of a plan are tried."""

from collections import Counter
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.health.circuit import CircuitState
from gateway.domain.health.route_health import RouteHealth
from gateway.domain.routing.order import Order, RankKey, in_order

from ....cases import every

ORDERS: tuple[Order, ...] = ("priority", "weighted", "fastest", "cheapest")
SEEDS = 4000


def place(
    name: str,
    order: Order = "priority",
    *,
    group: int = 0,
    weight: float = 1.0,
    cost: float | None = None,
    seconds: float | None = None,
    circuit: CircuitState = CircuitState.CLOSED,
) -> RankKey:
    health = RouteHealth(circuit=circuit, seconds=seconds)
    return RankKey(name=name, group=group, order=order, weight=weight, cost_usd=cost, health=health)


def names(*places: RankKey, seed: str = "gen_1") -> list[str]:
    return in_order([(key, key.name) for key in places], seed)


def test_priority_is_the_order_of_the_configuration() -> None:
    dear = place("dear", cost=9, seconds=900)
    assert names(dear, place("b"), place("a", cost=0.1, seconds=1), place("c", weight=99)) == ["dear", "b", "a", "c"]


def test_cheapest_is_by_price_and_unpriced_last() -> None:
    routes = [place("none", "cheapest"), place("two", "cheapest", cost=2), place("free", "cheapest", cost=0)]
    assert names(*routes, place("one", "cheapest", cost=1)) == ["free", "one", "two", "none"]
    assert names(*(place(letter, "cheapest", cost=1) for letter in "cab")) == ["c", "a", "b"]


def test_fastest_is_by_the_median_and_unknown_first() -> None:
    routes = [place("slow", "fastest", seconds=90), place("at once", "fastest", seconds=0), place("new", "fastest")]
    assert names(*routes, place("quick", "fastest", seconds=9)) == ["new", "at once", "quick", "slow"]


# Weights


def firsts(*places: RankKey) -> dict[str, float]:
    """The share of seeds for which each route is first."""
    counted = Counter(names(*places, seed=f"gen_{number}")[0] for number in range(SEEDS))
    return {name: count / SEEDS for name, count in counted.items()}


@pytest.mark.parametrize("upside_down", [False, True])
def test_three_times_the_weight_is_first_three_times_as_often(upside_down: bool) -> None:
    routes = [place("acme/one", "weighted", weight=3), place("bolt/two", "weighted", weight=1)]
    assert firsts(*(reversed(routes) if upside_down else routes))["acme/one"] == pytest.approx(0.75, abs=0.03)


def test_weights_are_shares_of_their_sum() -> None:
    shares = firsts(*(place(f"acme/{weight}", "weighted", weight=weight) for weight in (100, 300, 600)))
    assert shares["acme/100"] == pytest.approx(0.1, abs=0.03)
    assert shares["acme/300"] == pytest.approx(0.3, abs=0.03)
    assert shares["acme/600"] == pytest.approx(0.6, abs=0.03)


def test_second_is_drawn_by_weight_from_what_is_left() -> None:
    routes = [place("zero", "weighted", weight=0)]
    routes += [place(f"acme/{weight}", "weighted", weight=weight) for weight in (1, 3, 4)]
    drawn = [names(*routes, seed=f"gen_{number}") for number in range(SEEDS)]
    seconds = [order[1] for order in drawn if order[0] == "acme/4"]
    assert seconds.count("acme/3") / len(seconds) == pytest.approx(0.75, abs=0.04)
    assert {order[3] for order in drawn} == {"zero"}, "a route without weight is last"


def test_routes_without_weight_keep_their_order() -> None:
    routes = [place(letter, "weighted", weight=0) for letter in "cab"]
    assert names(*routes, place("d", "weighted", weight=0.001)) == ["d", "c", "a", "b"]


def test_one_seed_has_one_order() -> None:
    routes = [place(letter, "weighted") for letter in "abcdef"]
    assert names(*routes) == names(*routes) == names(*reversed(routes))
    assert len({tuple(names(*routes, seed=str(seed))) for seed in range(50)}) > 40


# Circuits and groups


@pytest.mark.parametrize("order", ORDERS)
def test_open_circuit_is_last_and_a_half_open_one_has_its_normal_position(order: Order) -> None:
    best = {"weight": 1e6, "cost": 0.0, "seconds": 0.0}
    worse = {"weight": 1e-6, "cost": 5.0, "seconds": 5.0}
    for circuit, expected in ((CircuitState.OPEN, ["b", "a"]), (CircuitState.HALF_OPEN, ["a", "b"])):
        assert names(place("a", order, circuit=circuit, **best), place("b", order, **worse)) == expected


@every(("first", "second"), list(product(ORDERS, ORDERS)))
def test_models_to_fall_back_to_come_later_however_good_they_are(first: Order, second: Order) -> None:
    main = [place(letter, first, weight=0, seconds=99, cost=99) for letter in "ab"]
    other = [place(letter, second, group=1, weight=9, seconds=1, cost=1) for letter in "cd"]
    ordered = names(*main, *other)
    assert set(ordered[:2]) == {"a", "b"}
    assert names(*other, *main)[:2] == ordered[:2]


def test_open_circuit_comes_after_every_group() -> None:
    routes = [
        place("a", circuit=CircuitState.OPEN),
        place("b", "cheapest", group=1, cost=2),
        place("c", "cheapest", group=1, cost=1),
        place("d", group=2, circuit=CircuitState.OPEN),
        place("e", group=3),
    ]
    assert names(*routes) == ["c", "b", "e", "a", "d"]


PLACES = st.lists(
    st.builds(
        RankKey,
        name=st.uuids().map(str),
        group=st.integers(0, 2),
        order=st.sampled_from(ORDERS),
        weight=st.sampled_from([0.0, 1.0, 3.0]),
        cost_usd=st.none() | st.sampled_from([0.0, 0.5, 2.0]),
        health=st.builds(
            RouteHealth,
            circuit=st.sampled_from(CircuitState),
            seconds=st.none() | st.sampled_from([0.0, 30.0, 60.0]),
        ),
    ),
    max_size=8,
    unique_by=lambda key: key.name,
)


@given(places=PLACES, left_away=st.integers(0, 7), seed=st.text(max_size=3))
def test_order_is_complete_repeatable_and_independent_of_other_routes(
    places: list[RankKey], left_away: int, seed: str
) -> None:
    ordered = names(*places, seed=seed)
    assert sorted(ordered) == sorted(key.name for key in places)
    assert ordered == names(*places, seed=seed)
    by_name = {key.name: key for key in places}
    ranks = [(by_name[name].health.circuit is CircuitState.OPEN, by_name[name].group) for name in ordered]
    assert ranks == sorted(ranks)
    fewer = [*places[:left_away], *places[left_away + 1 :]]
    remaining = {key.name for key in fewer}
    assert names(*fewer, seed=seed) == [name for name in ordered if name in remaining]
