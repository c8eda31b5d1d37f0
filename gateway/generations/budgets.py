"""The budgets that a create must fit into, from the configured ones."""

from collections.abc import Callable

from gateway.domain.money.budgets import EVERYONE, Budget, BudgetsOf, Period
from gateway.domain.usd import micros
from gateway.settings.load import BudgetSettings

_NO_BUDGETS = BudgetSettings()


def budgets_of(own: Callable[[str], BudgetSettings], everyone: Callable[[], BudgetSettings]) -> BudgetsOf:
    """Look budgets up by the id of an owner: its own ones, and those of all owners together.

    They are read at each create, so that a changed configuration counts from the next create on.
    """
    return lambda owner: _budgets(owner, own(owner)) + _budgets(EVERYONE, everyone())


def _budgets(owner: str, configured: BudgetSettings) -> tuple[Budget, ...]:
    if configured == _NO_BUDGETS:  # as of most clients: this is asked for each create
        return ()
    limits = {Period.DAY: configured.day, Period.MONTH: configured.month, Period.TOTAL: configured.total}
    return tuple(Budget(owner, period, micros(limit)) for period, limit in limits.items() if limit is not None)
