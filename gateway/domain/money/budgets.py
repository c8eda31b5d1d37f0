"""Budgets: how much one client, or all clients together, may spend in a day, in a month, or in all. Pure.

What counts is what is settled and what is reserved. A create whose reservation does not fit into every budget is
refused, so open generations can never exceed a budget. Days and months are those of UTC, and a generation belongs to
the day of its create, however long it takes.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Literal

from msgspec import Struct

from gateway.domain.errors import GatewayError
from gateway.domain.usd import usd

EVERYONE = ""  # the owner of the sums of all clients together


class Period(StrEnum):
    """The time for which a budget holds."""

    DAY = "day"
    MONTH = "month"
    TOTAL = "total"


class Budget(Struct, frozen=True):
    """A limit, in millionths of a US dollar."""

    owner: str  # the client; `EVERYONE`: all clients together
    period: Period
    limit: int

    @property
    def scope(self) -> Literal["client", "all"]:
        """Whose budget it is, as clients read it."""
        return "all" if self.owner == EVERYONE else "client"


BudgetsOf = Callable[[str], Sequence[Budget]]  # the budgets that a create of this owner must fit into
Spent = Mapping[tuple[str, str], int]  # what is reserved and settled, by the owner and the name of the period


class BudgetState(Struct, frozen=True):
    """A budget at a moment."""

    budget: Budget
    spent: int  # reserved and settled
    ends_at: datetime | None  # when a new period begins; None: never

    @property
    def left(self) -> int:
        """What a create may still reserve."""
        return max(0, self.budget.limit - self.spent)


class Exceeded(Struct, frozen=True):
    """Why a create is refused: the budget that it does not fit into, and what it would reserve."""

    state: BudgetState
    needed: int

    @property
    def helps_at(self) -> datetime | None:
        """When the same create will fit if nothing else is bought; None if no moment is certain."""
        return self.state.ends_at if self.needed <= self.state.budget.limit else None


def name_of(period: Period, moment: datetime) -> str:
    """The name of the period that has this moment, as sums are stored: 2026-05-17, 2026-05 or total."""
    if period is Period.TOTAL:
        return "total"
    day = moment.astimezone(UTC).isoformat()[:10]  # a tenth of the time that `strftime` takes, for each create
    return day if period is Period.DAY else day[:7]


def end_of(period: Period, moment: datetime) -> datetime | None:
    """When the period that has this moment ends; None for `total`."""
    midnight = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    match period:
        case Period.DAY:
            return midnight + timedelta(days=1)
        case Period.MONTH:
            return (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)
        case Period.TOTAL:
            return None


def states(budgets: Sequence[Budget], spent: Spent, moment: datetime) -> list[BudgetState]:
    """Each of the budgets as it is at this moment."""
    return [
        BudgetState(
            budget=budget,
            spent=spent.get((budget.owner, name_of(budget.period, moment)), 0),
            ends_at=end_of(budget.period, moment),
        )
        for budget in budgets
    ]


def exceeded(needed: int, every: Sequence[BudgetState]) -> Exceeded | None:
    """The budget that has not `needed` left; of several, the one where waiting helps last.

    A request that costs nothing fits into every budget.
    """
    short = [Exceeded(state, needed) for state in every if needed > 0 and state.spent + needed > state.budget.limit]
    lengths = list(Period)
    return max(
        short,
        key=lambda refusal: (refusal.helps_at is None, lengths.index(refusal.state.budget.period)),
        default=None,
    )


class BudgetExceeded(GatewayError):
    """The most that the request can cost is more than a budget of the client, or of all clients, has left."""

    code, status, type, title = "budget_exceeded", 402, "insufficient_quota", "A budget has too little left."
    remedy = (
        "Send a lower `max_cost`, ask for fewer outputs, or wait for `Retry-After`. Without that header the budget"
        " never renews, or is too small for the request: ask the operator to raise it."
    )

    def __init__(self, refusal: Exceeded, now: datetime, *, shows_amounts: bool = True) -> None:
        """The message has the budget, what is left of it, what the request would reserve, and when it helps to wait.

        `shows_amounts` is false for a client that may not see costs.
        """
        self._refusal, self._now = refusal, now
        state, helps_at = refusal.state, refusal.helps_at
        reason = (
            f"This request may cost up to {shown(refusal.needed)} USD, and {in_words(state.budget)} has"
            f" {shown(state.left)} USD left."
            if shows_amounts
            else f"This request may cost more than {_name(state.budget)} has left."
        )
        super().__init__(
            f"{reason} {_remedy(refusal)}",
            param="max_cost",
            retry_after=None if helps_at is None else (helps_at - now).total_seconds(),
        )
        if shows_amounts:
            self.members = {
                "budget": {
                    "scope": state.budget.scope,
                    "period": state.budget.period.value,
                    "limit_usd": usd(state.budget.limit),
                    "left_usd": usd(state.left),
                    "ends_at": None if state.ends_at is None else int(state.ends_at.timestamp()),
                },
                "reserves_usd": usd(refusal.needed),
            }

    def without_amounts(self) -> "BudgetExceeded":
        """The same error for a client that may not see costs."""
        return BudgetExceeded(self._refusal, self._now, shows_amounts=False)


def _remedy(refusal: Exceeded) -> str:
    if refusal.needed > refusal.state.budget.limit:
        return "It can never fit: lower `max_cost`, or ask for fewer outputs or a cheaper model."
    if refusal.helps_at is None:
        return "Lower `max_cost`, or ask for fewer outputs. This budget never renews: only the operator can raise it."
    return (
        f"Lower `max_cost`, ask for fewer outputs, or wait: the next {refusal.state.budget.period} begins at"
        f" {refusal.helps_at:%Y-%m-%dT%H:%M:%SZ}."
    )


def in_words(budget: Budget) -> str:
    """A budget in words, for example `your budget of 50 USD a day`."""
    of = "your budget" if budget.scope == "client" else "the budget of all clients together"
    length = {Period.DAY: "a day", Period.MONTH: "a month", Period.TOTAL: "in all"}[budget.period]
    return f"{of} of {shown(budget.limit)} USD {length}"


def _name(budget: Budget) -> str:
    """A budget without its size, for example `your budget for a day`."""
    of = "your budget" if budget.scope == "client" else "the budget of all clients together"
    length = {Period.DAY: "for a day", Period.MONTH: "for a month", Period.TOTAL: "in all"}[budget.period]
    return f"{of} {length}"


def shown(amount: int) -> str:
    """An amount in USD without an exponent and without zeros at its end."""
    return f"{usd(amount):.6f}".rstrip("0").rstrip(".")
