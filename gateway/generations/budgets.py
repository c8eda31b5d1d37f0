"""The budgets of clients, as they are configured."""

from collections.abc import Mapping, Sequence

from gateway.domain.money.budgets import EVERYONE, Budget, BudgetsOf, Period
from gateway.domain.usd import micros
from gateway.settings.load import BudgetSettings


def budgets_of(everyone: BudgetSettings, clients: Mapping[str, BudgetSettings]) -> BudgetsOf:
    """The budgets that a create must fit into, by the id of its owner: those of the client and those of all together.

    `clients` has the budgets of clients by their owner ids. A client without an entry has no budget of its own.
    """
    shared = _budgets(EVERYONE, everyone)
    own = {owner: (*_budgets(owner, configured), *shared) for owner, configured in clients.items()}
    return lambda owner: own.get(owner, shared)


def _budgets(owner: str, configured: BudgetSettings) -> Sequence[Budget]:
    limits = {Period.DAY: configured.day, Period.MONTH: configured.month, Period.TOTAL: configured.total}
    return tuple(Budget(owner, period, micros(limit)) for period, limit in limits.items() if limit is not None)
