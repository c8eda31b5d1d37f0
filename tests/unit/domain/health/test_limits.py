"""How many calls run at once, and how many repeats a provider is sent during an outage."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.domain.health.limits import (
    LOWER_SECONDS,
    RETRIES_PER_SECOND,
    RETRIES_SAVED,
    RETRY_RATIO,
    AdaptiveLimit,
    RetryBudget,
    earned,
    lowered,
    raised,
    refunded,
    retry_at,
    safe_share,
    share,
    spent,
    unearned,
)

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def full(ceiling: int = 32) -> AdaptiveLimit:
    return AdaptiveLimit(ceiling=ceiling, value=float(ceiling))


# The limit


def test_several_429_at_the_same_time_halve_the_limit_once() -> None:
    limit = full()
    for tenths in range(50):
        limit = lowered(limit, at(tenths / 10))
        assert limit.places == 16
    assert LOWER_SECONDS == 5
    assert lowered(limit, at(5)).places == 8


def test_limit_ends_at_one() -> None:
    limit = full()
    for number in range(20):
        limit = lowered(limit, at(number * LOWER_SECONDS))
    assert (limit.value, limit.places) == (1.0, 1)


def test_as_many_successes_as_the_limit_add_about_one() -> None:
    limit = lowered(full(), T0)
    for _ in range(16):
        limit = raised(limit)
    assert 16.9 < limit.value < 17
    assert limit.places == 16
    assert raised(limit).places == 17


def test_limit_does_not_exceed_its_ceiling() -> None:
    limit = lowered(full(4), T0)
    for _ in range(100):
        limit = raised(limit)
    assert limit.value == 4
    assert raised(full(4)) == full(4)


@given(
    ceiling=st.integers(1, 1000),
    events=st.lists(st.tuples(st.booleans(), st.floats(0, 20)), max_size=60),
)
def test_limit_stays_between_one_and_its_ceiling(ceiling: int, events: list[tuple[bool, float]]) -> None:
    limit, now, halved = full(ceiling), 0.0, []
    for well, gap in events:
        now += gap
        before = limit
        limit = raised(limit) if well else lowered(limit, at(now))
        if limit.lowered_at != before.lowered_at:
            halved.append(at(now))
        assert 1 <= limit.value <= ceiling
        assert 1 <= limit.places <= ceiling
        assert limit.value >= before.value / 2
    assert all(later - earlier >= timedelta(seconds=LOWER_SECONDS) for earlier, later in pairwise(halved))


@given(st.integers(1, 10_000), st.integers(1, 300))
def test_shares_use_the_whole_limit_and_those_that_nothing_else_limits_keep_to_it(limit: int, processes: int) -> None:
    assert limit <= share(limit, processes) * processes < limit + processes
    assert safe_share(limit, processes) * processes <= max(limit, processes)
    assert safe_share(limit, processes) >= 1
    assert share(limit, 1) == safe_share(limit, 1) == limit


# Repeats


def budget(saved: float = RETRIES_SAVED) -> RetryBudget:
    return RetryBudget(saved=saved, at=T0)


def test_saved_repeats_may_be_sent_at_once_and_then_no_more() -> None:
    balance, sent = budget(), 0
    while retry_at(balance, T0) == T0:
        balance, sent = spent(balance, T0), sent + 1
    assert sent == RETRIES_SAVED == 20
    assert retry_at(balance, T0) == at(1 / RETRIES_PER_SECOND)


def test_time_earns_repeats() -> None:
    assert RETRIES_PER_SECOND == 0.2
    assert retry_at(budget(0.0), T0) == at(5)
    assert retry_at(budget(0.0), at(2)) == at(5)
    assert retry_at(budget(0.0), at(5)) == at(5)
    assert retry_at(budget(0.0), at(9)) == at(9)


def test_first_submits_earn_repeats() -> None:
    balance = budget(0.0)
    for number in range(5):
        assert retry_at(balance, T0) == at(5 - number)
        balance = earned(balance, T0)
    assert RETRY_RATIO == 0.2
    assert retry_at(balance, T0) == T0


def test_nothing_is_saved_beyond_the_maximum() -> None:
    balance = budget()
    for number in range(100):
        balance = earned(balance, at(number * 100))
    assert balance.saved == RETRIES_SAVED
    assert spent(budget(), at(1_000_000)).saved == RETRIES_SAVED - 1


def test_many_repeats_at_once_do_not_make_an_endless_debt() -> None:
    balance = budget(1.0)
    for _ in range(1000):
        balance = spent(balance, T0)
    assert retry_at(balance, T0) == at(10)


def test_clock_that_does_not_advance_earns_nothing() -> None:
    assert earned(replace(budget(0.0), at=at(60)), T0).saved == pytest.approx(RETRY_RATIO)


def test_repeat_that_is_accepted_costs_nothing() -> None:
    balance = budget(1.0)
    for number in range(1000):  # the repeats that waited for the end of an outage
        assert retry_at(balance, at(number / 1000)) == at(number / 1000)
        balance = refunded(spent(balance, at(number / 1000)), at(number / 1000))


def test_accepted_submit_is_worth_one_repeat() -> None:
    assert refunded(budget(0.0), T0).saved == 1
    assert refunded(budget(0.0), at(5)).saved == 2, "time adds to the budget, too"
    assert refunded(budget(-1.0), T0).saved == 0
    assert retry_at(refunded(budget(-1.0), T0), T0) == at(5), "a debt is paid off first"
    assert refunded(budget(), T0).saved == RETRIES_SAVED


def test_first_submit_that_was_not_sent_earns_nothing() -> None:
    assert unearned(earned(budget(0.5), T0), T0).saved == pytest.approx(0.5)
    assert unearned(budget(-1.0), T0).saved == -1


CHANGES = {"first": earned, "none": unearned, "repeat": spent, "accepted": refunded}


@given(
    saved=st.floats(-1, RETRIES_SAVED),
    events=st.lists(st.tuples(st.sampled_from(sorted(CHANGES)), st.floats(0, 100)), max_size=60),
)
def test_budget_is_bounded_and_a_repeat_is_always_allowed_soon(saved: float, events: list[tuple[str, float]]) -> None:
    balance, now = budget(saved), 0.0
    for what, gap in events:
        now += gap
        balance = CHANGES[what](balance, at(now))
        assert -1 <= balance.saved <= RETRIES_SAVED
        allowed = retry_at(balance, at(now))
        assert at(now) <= allowed <= at(now + 10)
        assert retry_at(balance, allowed + timedelta(milliseconds=1)) == allowed + timedelta(milliseconds=1)
