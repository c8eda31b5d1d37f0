"""Periods of budgets, and which budget refuses a create."""

from datetime import UTC, datetime, timedelta, timezone

from gateway.domain.money.budgets import EVERYONE, Budget, Period, end_of, exceeded, name_of, states
from gateway.generations.budgets import budgets_of
from gateway.settings.load import BudgetSettings

from ....cases import every

LAST = datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


@every(
    ("period", "moment", "name", "end"),
    [
        (Period.DAY, LAST, "2026-12-31", datetime(2027, 1, 1, tzinfo=UTC)),
        (Period.MONTH, LAST, "2026-12", datetime(2027, 1, 1, tzinfo=UTC)),
        (Period.TOTAL, LAST, "total", None),
        (Period.MONTH, datetime(2028, 2, 1, tzinfo=UTC), "2028-02", datetime(2028, 3, 1, tzinfo=UTC)),
        (Period.DAY, datetime(2028, 2, 29, tzinfo=UTC), "2028-02-29", datetime(2028, 3, 1, tzinfo=UTC)),
        # A moment in another zone belongs to the day of UTC.
        (
            Period.DAY,
            datetime(2026, 5, 2, 1, tzinfo=timezone(timedelta(hours=2))),
            "2026-05-01",
            datetime(2026, 5, 2, tzinfo=UTC),
        ),
    ],
)
def test_periods(period: Period, moment: datetime, name: str, end: datetime | None) -> None:
    assert (name_of(period, moment), end_of(period, moment)) == (name, end)


DAY, MONTH, TOTAL = (
    Budget("shop", Period.DAY, 10),
    Budget("shop", Period.MONTH, 100),
    Budget(EVERYONE, Period.TOTAL, 50),
)


@every(
    ("needed", "day", "month", "total", "refuses"),
    [
        (10, 0, 0, 0, None),
        (1, 9, 99, 49, None),
        (11, 0, 0, 0, DAY),
        (1, 10, 0, 0, DAY),
        (1, 10, 100, 0, MONTH),
        (1, 10, 100, 50, TOTAL),
        (20, 0, 90, 0, DAY),  # it will never fit into a day, but into a later month
        (0, 99, 999, 999, None),  # what costs nothing always fits
    ],
)
def test_the_budget_where_waiting_helps_last_refuses(
    needed: int, day: int, month: int, total: int, refuses: Budget | None
) -> None:
    spent = {("shop", "2026-12-31"): day, ("shop", "2026-12"): month, (EVERYONE, "total"): total}
    refusal = exceeded(needed, states((DAY, MONTH, TOTAL), spent, LAST))
    assert (None if refusal is None else refusal.state.budget) == refuses


def test_budgets_are_those_of_the_client_and_of_all() -> None:
    configured = {"client_shop": BudgetSettings(day=0.5, total=3)}
    lookup = budgets_of(lambda owner: configured.get(owner, BudgetSettings()), lambda: BudgetSettings(month=0))
    everyone = (Budget(EVERYONE, Period.MONTH, 0),)
    assert lookup("key_other") == everyone
    own = (Budget("client_shop", Period.DAY, 500_000), Budget("client_shop", Period.TOTAL, 3_000_000))
    assert lookup("client_shop") == (*own, *everyone)
