"""Which unmarked request is the first one of a retry, and which is a new wish."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from gateway.store.sql.idempotency import OVERTAKEN_WITHIN, is_overtaken

MOMENTS = st.floats(min_value=0, max_value=2e9)
SECONDS = st.floats(min_value=0, max_value=86_400)


@given(MOMENTS, SECONDS, st.booleans())
def test_what_came_before_its_retry_was_overtaken_however_long_ago(made: float, before: float, has_left: bool) -> None:
    assert is_overtaken(made - before, made, has_left=has_left)


@given(MOMENTS, SECONDS)
def test_what_came_later_is_a_new_wish_while_its_client_waits(made: float, after: float) -> None:
    came = made + OVERTAKEN_WITHIN.total_seconds() + 0.001 + after
    assert not is_overtaken(came, made, has_left=False)
    assert is_overtaken(came, made, has_left=True), "nobody would see what was bought"


def test_the_doubtful_time_is_short() -> None:
    assert timedelta() < OVERTAKEN_WITHIN <= timedelta(seconds=1)
