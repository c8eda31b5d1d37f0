"""The price of an output by the rows of the configuration."""

from dataclasses import replace as with_values
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.domain.adapter.contract import Capability
from gateway.domain.adapter.request import InputKind, Settings
from gateway.domain.routing.price import Price, cost_usd

from ....cases import every

PER_SECOND = Price(per_second=0.1)
BARE = Capability(  # it has no settings, so nothing is assumed for those that are not sent
    inputs=frozenset({InputKind.TEXT}),
    durations=frozenset(),
    resolutions=frozenset(),
    aspect_ratios=frozenset(),
    prompt_max=20,
)
RICH = with_values(BARE, durations=frozenset({5, 10}), resolutions=frozenset({"720p", "1080p"}), generate_audio=True)
MODES = with_values(
    BARE,
    durations=frozenset({5, 10}),
    resolutions=frozenset({"720p", "1080p"}),
    modes={"std": "720p", "pro": "1080p"},
)


def test_no_price_table_has_no_price() -> None:
    assert cost_usd((), Settings(duration_seconds=5), BARE) is None


@pytest.mark.parametrize(
    ("price", "seconds", "cost"),
    [
        (Price(per_clip=0.42), 5, 0.42),
        (Price(per_clip=0.42), None, 0.42),
        (Price(per_second=0.1), 5, 0.5),
        (Price(per_second=0.07), 3, 0.21),  # 0.21000000000000002 in floating point
        (Price(per_second=0.00125), 5, 0.00625),
        (Price(per_clip=1, per_second=0.1), 10, 2.0),
        (Price(per_second=0.1), None, None),
        (Price(per_clip=1, per_second=0.1), None, None),
    ],
)
def test_price_of_a_length(price: Price, seconds: int | None, cost: float | None) -> None:
    assert cost_usd((price,), Settings(duration_seconds=seconds), BARE) == cost


@every(
    ("price", "settings", "applies"),
    [
        (Price(per_clip=1, resolution="720p"), Settings(resolution="720p"), True),
        (Price(per_clip=1, resolution="720p"), Settings(resolution="1080p"), False),
        (Price(per_clip=1, resolution="720p"), Settings(), False),
        (Price(per_clip=1, mode="pro"), Settings(mode="pro"), True),
        (Price(per_clip=1, mode="pro"), Settings(mode="std"), False),
        (Price(per_clip=1, mode="pro"), Settings(), False),
        (Price(per_clip=1, generate_audio=True), Settings(generate_audio=True), True),
        (Price(per_clip=1, generate_audio=True), Settings(generate_audio=False), False),
        (Price(per_clip=1, generate_audio=True), Settings(), False),
        (Price(per_clip=1, generate_audio=False), Settings(), True),
        (Price(per_clip=1, generate_audio=False), Settings(generate_audio=False), True),
        (Price(per_clip=1, generate_audio=False), Settings(generate_audio=True), False),
        (
            Price(per_clip=1, resolution="720p", mode="std", generate_audio=True),
            Settings(resolution="720p", mode="std", generate_audio=True),
            True,
        ),
        (
            Price(per_clip=1, resolution="720p", mode="std", generate_audio=True),
            Settings(resolution="720p", mode="std"),
            False,
        ),
    ],
)
def test_row_applies_if_every_condition_matches(price: Price, settings: Settings, applies: bool) -> None:
    assert cost_usd((price,), settings, BARE) == (1 if applies else None)


def test_first_row_that_applies_counts() -> None:
    table = (
        Price(per_second=0.2, resolution="1080p", generate_audio=True),
        Price(per_second=0.1, resolution="1080p"),
        Price(per_second=0.05),
        Price(per_second=9),
    )
    assert cost_usd(table, Settings(duration_seconds=10, resolution="1080p", generate_audio=True), BARE) == 2
    assert cost_usd(table, Settings(duration_seconds=10, resolution="1080p"), BARE) == 1
    assert cost_usd(table, Settings(duration_seconds=10), BARE) == 0.5


def test_unknown_length_is_not_priced_by_a_later_row() -> None:
    assert cost_usd((PER_SECOND, Price(per_clip=0.01)), Settings(), BARE) is None


# Settings that are not sent


@pytest.mark.parametrize(
    ("assumes", "cost"),
    [({"duration_seconds": 5}, 0.5), ({"duration_seconds": 10}, 1.0), ({}, 1.0)],
)
def test_length_that_is_not_sent_is_the_provider_s_default_or_the_longest(assumes: dict[str, Any], cost: float) -> None:
    assert cost_usd((PER_SECOND,), Settings(), with_values(RICH, assumes=assumes)) == cost
    assert cost_usd((PER_SECOND,), Settings(duration_seconds=5), with_values(RICH, assumes=assumes)) == 0.5


BY_LOOK = (Price(per_clip=3, resolution="720p"), Price(per_clip=2, resolution="1080p"), Price(per_clip=9))


@pytest.mark.parametrize(
    ("assumes", "cost"),
    [({"resolution": "720p"}, 3), ({"resolution": "1080p"}, 2), ({}, 3)],
)
def test_resolution_that_is_not_sent_is_the_provider_s_default_or_the_most_expensive(
    assumes: dict[str, Any], cost: float
) -> None:
    assert cost_usd(BY_LOOK, Settings(), with_values(RICH, assumes=assumes)) == cost, (
        "the most expensive resolution is not the largest one"
    )
    assert cost_usd(BY_LOOK, Settings(resolution="1080p"), with_values(RICH, assumes=assumes)) == 2


def test_settings_that_the_model_does_not_have_are_not_assumed() -> None:
    assert cost_usd(BY_LOOK, Settings(), BARE) == 9


def test_possible_outcome_without_a_price_leaves_the_route_without_one() -> None:
    prices = (Price(per_clip=1, resolution="720p"),)
    assert cost_usd(prices, Settings(), RICH) is None
    assert cost_usd(prices, Settings(), with_values(RICH, assumes={"resolution": "720p"})) == 1
    assert cost_usd(prices, Settings(), with_values(RICH, resolutions=frozenset({"720p"}))) == 1


BY_SOUND = (Price(per_clip=2, generate_audio=True), Price(per_clip=1))


@pytest.mark.parametrize(
    ("can", "assumed", "alike", "cost"),
    [
        (True, None, False, 2),  # its video may have sound
        (True, False, False, 1),
        (True, True, False, 2),
        (True, False, True, 2),  # known for the model that it follows, but not for this model
        (True, True, True, 2),
        (False, None, False, 1),
        (False, None, True, 1),
        (False, False, True, 1),
    ],
)
def test_sound_that_is_not_sent_is_the_provider_s_default(
    *, can: bool, assumed: bool | None, alike: bool, cost: float
) -> None:
    assumes = {} if assumed is None else {"generate_audio": assumed}
    capability = with_values(BARE, generate_audio=can, assumes=assumes)
    assert cost_usd(BY_SOUND, Settings(), capability, alike=alike) == cost
    assert cost_usd(BY_SOUND, Settings(generate_audio=False), capability, alike=alike) == 1, (
        "a requested value is certain"
    )


def test_video_without_sound_may_be_the_more_expensive_one() -> None:
    prices = (Price(per_clip=1, generate_audio=True), Price(per_clip=5))
    assert cost_usd(prices, Settings(), with_values(RICH, assumes={"generate_audio": False}), alike=True) == 5


def test_model_that_follows_another_has_its_length_and_resolution() -> None:
    capability = with_values(RICH, assumes={"duration_seconds": 5, "resolution": "720p", "generate_audio": False})
    prices = (Price(per_second=0.1, resolution="720p"), Price(per_second=9))
    assert cost_usd(prices, Settings(), capability, alike=True) == 0.5


def test_length_resolution_and_sound_are_combined() -> None:
    prices = (
        Price(per_second=0.3, resolution="1080p", generate_audio=True),
        Price(per_second=0.2, generate_audio=True),
        Price(per_clip=0.1),
    )
    assert cost_usd(prices, Settings(), RICH) == 3.0
    assert cost_usd(prices, Settings(resolution="720p"), RICH) == 2.0
    assert cost_usd(prices, Settings(duration_seconds=5), RICH) == 1.5
    assert cost_usd(prices, Settings(generate_audio=False), RICH) == 0.1


# Mode and resolution


@every(
    "prices",
    [
        (Price(per_clip=1, resolution="720p"), Price(per_clip=2, resolution="1080p")),
        (Price(per_clip=1, mode="std"), Price(per_clip=2, mode="pro")),
    ],
    ids=["by resolution", "by mode"],
)
@every(
    ("requested", "assumes", "cost"),
    [
        (Settings(mode="std"), {}, 1),
        (Settings(mode="pro"), {}, 2),
        (Settings(mode="pro"), {"mode": "std"}, 2),
        (Settings(resolution="720p"), {}, 1),
        (Settings(resolution="1080p"), {}, 2),
        (Settings(resolution="1080p"), {"mode": "std"}, 2),  # a requested value wins over an assumed one
        (Settings(mode="std", resolution="720p"), {}, 1),
        (Settings(), {"mode": "std"}, 1),
        (Settings(), {"mode": "pro"}, 2),
        (Settings(), {"resolution": "720p"}, 1),
        (Settings(), {}, 2),
    ],
)
def test_mode_means_its_resolution_and_resolution_its_mode(
    prices: tuple[Price, ...], requested: Settings, assumes: dict[str, Any], cost: float
) -> None:
    assert cost_usd(prices, requested, with_values(MODES, assumes=assumes)) == cost


def test_two_modes_of_one_resolution_cost_the_more_expensive_one() -> None:
    capability = with_values(MODES, modes={"std": "720p", "fast": "720p", "pro": "1080p"})
    prices = (Price(per_clip=1, mode="std"), Price(per_clip=2, mode="fast"), Price(per_clip=9))
    assert cost_usd(prices, Settings(resolution="720p"), capability) == 2
    assert cost_usd(prices, Settings(resolution="720p", mode="std"), capability) == 1


def test_modes_count_if_the_model_has_no_resolutions() -> None:
    capability = with_values(MODES, resolutions=frozenset())
    assert cost_usd((Price(per_clip=2, resolution="1080p"), Price(per_clip=1)), Settings(), capability) == 2


def test_resolution_that_no_mode_makes_has_its_own_price() -> None:
    capability = with_values(MODES, resolutions=frozenset({"720p", "1080p", "4k"}))
    prices = (Price(per_clip=5, resolution="4k"), Price(per_clip=1))
    assert cost_usd(prices, Settings(resolution="4k"), capability) == 5


# Rows that make later rows unusable


@pytest.mark.parametrize(
    ("before", "behind", "covers"),
    [
        ({}, {}, True),
        ({}, {"resolution": "720p", "mode": "std", "generate_audio": False}, True),
        ({"resolution": "720p"}, {"resolution": "720p", "mode": "std"}, True),
        ({"resolution": "720p"}, {"resolution": "1080p"}, False),
        ({"resolution": "720p"}, {}, False),
        ({"mode": "std"}, {"mode": "pro"}, False),
        ({"mode": "std"}, {"resolution": "720p"}, False),
        ({"generate_audio": True}, {"generate_audio": False}, False),
        ({"generate_audio": False}, {}, False),
        ({"generate_audio": False}, {"generate_audio": False, "mode": "pro"}, True),
        ({"resolution": "720p", "mode": "std"}, {"resolution": "720p"}, False),
    ],
)
def test_row_covers_another_that_never_applies_without_it(
    *, before: dict[str, Any], behind: dict[str, Any], covers: bool
) -> None:
    assert Price(per_clip=1, **before).covers(Price(per_second=2, **behind)) is covers


# Any table


ROWS = st.builds(
    Price,
    per_clip=st.sampled_from([0.0, 0.5]),
    per_second=st.sampled_from([0.0, 0.1]),
    resolution=st.none() | st.sampled_from(["720p", "1080p"]),
    mode=st.none() | st.sampled_from(["std", "pro"]),
    generate_audio=st.none() | st.booleans(),
)
TABLES = st.lists(ROWS, max_size=5)
CAPABILITIES = st.builds(
    with_values,
    st.sampled_from([BARE, RICH, MODES]),
    generate_audio=st.booleans(),
    assumes=st.sampled_from([{}, {"duration_seconds": 5}, {"generate_audio": False}, {"resolution": "720p"}]),
)
ASKED = st.builds(
    Settings,
    duration_seconds=st.sampled_from([None, 5, 10]),
    resolution=st.sampled_from([None, "720p", "1080p"]),
    generate_audio=st.none() | st.booleans(),
)


@given(rows=TABLES, place=st.integers(0, 5), audio=st.none() | st.booleans())
def test_row_that_does_not_apply_changes_nothing(rows: list[Price], place: int, audio: bool | None) -> None:
    settings = Settings(duration_seconds=5, resolution="720p", mode="std", generate_audio=audio)
    useless = Price(per_clip=99, resolution="4k")
    assert cost_usd([*rows[:place], useless, *rows[place:]], settings, RICH) == cost_usd(rows, settings, RICH)


@given(rows=TABLES, row=ROWS, requested=ASKED, capability=CAPABILITIES, alike=st.booleans())
def test_row_after_one_that_covers_it_changes_nothing(
    *, rows: list[Price], row: Price, requested: Settings, capability: Capability, alike: bool
) -> None:
    if any(earlier.covers(row) for earlier in rows):
        assert cost_usd([*rows, row], requested, capability, alike=alike) == cost_usd(
            rows, requested, capability, alike=alike
        )


@given(
    rows=TABLES,
    base=st.sampled_from([RICH, MODES]),
    length=st.sampled_from([5, 10]),
    resolution=st.sampled_from(["720p", "1080p"]),
    sound=st.booleans(),
    unsaid=st.sets(st.sampled_from(["duration_seconds", "resolution", "generate_audio"])),
)
def test_announced_price_of_an_open_setting_is_never_exceeded(
    *, rows: list[Price], base: Capability, length: int, resolution: str, sound: bool, unsaid: set[str]
) -> None:
    capability = with_values(base, generate_audio=True)
    made = Settings(duration_seconds=length, resolution=resolution, generate_audio=sound)
    announced = cost_usd(rows, replace(made, **dict.fromkeys(unsaid)), capability)
    cost = cost_usd(rows, made, capability)
    assert announced is None or (cost is not None and cost <= announced)


@given(rows=TABLES, requested=ASKED, capability=CAPABILITIES)
def test_model_that_follows_another_takes_all_its_defaults_but_sound(
    rows: list[Price], requested: Settings, capability: Capability
) -> None:
    believed = {name: value for name, value in capability.assumes.items() if name != "generate_audio"}
    alike = cost_usd(rows, requested, capability, alike=True)
    assert alike == cost_usd(rows, requested, with_values(capability, assumes=believed))
