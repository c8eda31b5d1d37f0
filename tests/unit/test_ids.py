"""Ids sort by their time and are never the same."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from gateway.ids import new_id
from gateway.store.port import is_cursor

MOMENTS = st.datetimes(datetime(1971, 1, 1), datetime(2500, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # bounds are naive


@given(MOMENTS, st.integers(1, 10**9))
def test_a_later_millisecond_gives_a_greater_id(moment: datetime, milliseconds: int) -> None:
    earlier = new_id("gen_", moment.replace(microsecond=0))
    later = new_id("gen_", moment.replace(microsecond=0) + timedelta(milliseconds=milliseconds, microseconds=500))

    assert earlier < later


def test_ids_of_one_moment_are_all_different() -> None:
    now = datetime(2026, 3, 2, tzinfo=UTC)

    assert len({new_id("gen_", now) for _ in range(20_000)}) == 20_000


@given(MOMENTS)
def test_an_id_has_its_prefix_and_a_ulid_of_its_moment(moment: datetime) -> None:
    made = new_id("gen_", moment)

    assert is_cursor(made)
    value = 0
    for character in made.removeprefix("gen_"):
        value = value * 32 + "0123456789ABCDEFGHJKMNPQRSTVWXYZ".index(character)
    assert abs((value >> 80) / 1000 - moment.timestamp()) <= 0.0011
