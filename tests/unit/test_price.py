"""What an output costs by the configured rows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.price import Price, cost_usd
from gateway.domain.request import Settings

PER_SECOND = Price(per_second=0.1)


def test_nothing_costs_nothing_known() -> None:
    assert cost_usd((), Settings(duration_seconds=5)) is None


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
    assert cost_usd((price,), Settings(duration_seconds=seconds)) == cost


@pytest.mark.parametrize(
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
def test_row_applies_where_everything_that_it_names_is_so(price: Price, settings: Settings, applies: bool) -> None:
    assert cost_usd((price,), settings) == (1 if applies else None)


def test_first_row_that_applies_counts() -> None:
    table = (
        Price(per_second=0.2, resolution="1080p", generate_audio=True),
        Price(per_second=0.1, resolution="1080p"),
        Price(per_second=0.05),
        Price(per_second=9),
    )
    assert cost_usd(table, Settings(duration_seconds=10, resolution="1080p", generate_audio=True)) == 2
    assert cost_usd(table, Settings(duration_seconds=10, resolution="1080p")) == 1
    assert cost_usd(table, Settings(duration_seconds=10)) == 0.5


def test_a_later_row_is_no_way_around_an_unknown_length() -> None:
    assert cost_usd((PER_SECOND, Price(per_clip=0.01)), Settings()) is None


ROWS = st.builds(
    Price,
    per_clip=st.sampled_from([0.0, 0.5]),
    per_second=st.sampled_from([0.0, 0.1]),
    resolution=st.none() | st.sampled_from(["720p", "1080p"]),
    mode=st.none() | st.sampled_from(["std", "pro"]),
    generate_audio=st.none() | st.booleans(),
)


@given(rows=st.lists(ROWS, max_size=5), place=st.integers(0, 5), audio=st.none() | st.booleans())
def test_row_that_does_not_apply_changes_nothing(rows: list[Price], place: int, audio: bool | None) -> None:
    settings = Settings(duration_seconds=5, resolution="720p", mode="std", generate_audio=audio)
    useless = Price(per_clip=99, resolution="4k")
    assert cost_usd([*rows[:place], useless, *rows[place:]], settings) == cost_usd(rows, settings)
