"""Times in buckets: a quantile read from them is close to the exact one."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.usage.completion_times import BUCKETS, ERROR, SHORTEST_SECONDS, bucket_of, seconds_of
from gateway.store.port import KEY_LIFE

TWO_DAYS = timedelta(days=2).total_seconds()


@given(st.floats(SHORTEST_SECONDS, TWO_DAYS))
def test_a_time_is_read_with_a_small_error(seconds: float) -> None:
    assert ERROR < 0.03
    assert abs(seconds_of(bucket_of(seconds)) / seconds - 1) <= ERROR + 0.005  # rounded to milliseconds


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_buckets_are_bounded_and_in_order(left: float, right: float) -> None:
    buckets = [bucket_of(seconds) for seconds in sorted((left, right)) if seconds < 1e300]
    assert buckets == sorted(buckets)
    assert all(0 <= bucket < BUCKETS for bucket in buckets)


def test_the_longest_time_of_a_generation_is_not_in_the_last_bucket() -> None:
    assert bucket_of(KEY_LIFE.total_seconds()) < BUCKETS - 1
