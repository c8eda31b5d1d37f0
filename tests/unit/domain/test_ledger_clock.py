"""Whether a start may trust the system clock, compared with the newest time in the ledger."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.domain.errors import ConfigurationError
from gateway.domain.ledger_clock import SWEEP_HOLD, LedgerTime, clock_trouble, sweep_hold

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
YEARS = 3653 * DAY


@pytest.mark.parametrize("has_open", [True, False])
@pytest.mark.parametrize("ahead", [DAY + 2 * SECOND, 2 * DAY, YEARS, 100 * YEARS])
def test_a_ledger_more_than_a_day_ahead_stops_the_start(ahead: timedelta, has_open: bool) -> None:
    trouble = clock_trouble(NOW, LedgerTime(newest=NOW + ahead, has_open=has_open))
    assert trouble is not None
    assert isinstance(trouble, ConfigurationError)
    assert (trouble.clock, trouble.ledger, trouble.problem) == (NOW, NOW + ahead, "behind")
    for words in ("2026-03-02 12:00:00 UTC", f"{NOW + ahead:%Y-%m-%d %H:%M:%S} UTC", "serve --accept-clock"):
        assert words in str(trouble)


@pytest.mark.parametrize("behind", [30 * DAY + SECOND, 31 * DAY, YEARS])
def test_a_clock_more_than_thirty_days_ahead_of_open_generations_stops_the_start(behind: timedelta) -> None:
    trouble = clock_trouble(NOW, LedgerTime(newest=NOW - behind, has_open=True))
    assert trouble is not None
    assert (trouble.clock, trouble.ledger, trouble.problem) == (NOW, NOW - behind, "ahead")
    for words in ("2026-03-02 12:00:00 UTC", f"{NOW - behind:%Y-%m-%d %H:%M:%S} UTC", "serve --accept-clock"):
        assert words in str(trouble)


@pytest.mark.parametrize(
    ("ahead", "has_open"),
    [(timedelta(0), True), (DAY, True), (-DAY, True), (-30 * DAY, True), (-31 * DAY, False), (-YEARS, False)],
)
def test_every_other_clock_may_start(ahead: timedelta, has_open: bool) -> None:
    assert clock_trouble(NOW, LedgerTime(newest=NOW + ahead, has_open=has_open)) is None


def test_a_new_ledger_takes_any_clock() -> None:
    ledger = LedgerTime(newest=None, has_open=False)
    assert clock_trouble(NOW, ledger) is None
    assert sweep_hold(NOW, ledger) is None


def test_after_a_start_far_ahead_the_ledgers_own_time_decides_for_a_day_what_is_removed() -> None:
    ledger = NOW - 31 * DAY
    hold = sweep_hold(NOW, LedgerTime(newest=ledger, has_open=False))
    assert hold is not None
    assert hold.moment(NOW) == ledger
    assert hold.moment(NOW + timedelta(hours=5)) == ledger + timedelta(hours=5)
    assert hold.moment(NOW + SWEEP_HOLD) == NOW + SWEEP_HOLD
    assert sweep_hold(NOW, LedgerTime(newest=NOW - 30 * DAY, has_open=False)) is None
