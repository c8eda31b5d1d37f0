"""The accounts of generations and the sums of them, in the ledger.

A sum is changed by the difference between an account as it should be and its row, in the transaction that changes the
generation. So each amount is counted exactly once, and a generation from before accounts existed is counted in full
when it is met first.
"""

from collections.abc import Sequence
from datetime import datetime

from gateway.domain.generation.model import Generation
from gateway.domain.money.account import NOTHING, Account, account
from gateway.domain.money.budgets import Budget, Exceeded, Period, exceeded, name_of, states
from gateway.store.sql.database import Change, Transaction

# What an owner and all owners have reserved and settled in the day, the month and in total.
SPENT = "select key, period, reserved + settled from spending where key in (?1, '') and period in (?2, ?3, ?4)"
_ROW = "select day, reserved, settled, maybe from accounts where generation_id = ?"
_SAVE = (
    "insert into accounts (generation_id, key, day, reserved, settled, maybe) values (?, ?, ?, ?, ?, ?)"
    " on conflict (generation_id) do update set reserved = excluded.reserved, settled = excluded.settled,"
    " maybe = excluded.maybe"
)
_DELETED = "update accounts set deleted_at = ? where generation_id = ?"
# Six sums: of the client and of all clients together, each for the day, for the month and in total.
_ADD = (
    "insert into spending (key, period, reserved, settled, maybe) values"
    " (?1, ?2, ?4, ?5, ?6), (?1, ?3, ?4, ?5, ?6), (?1, 'total', ?4, ?5, ?6),"
    " ('', ?2, ?4, ?5, ?6), ('', ?3, ?4, ?5, ?6), ('', 'total', ?4, ?5, ?6)"
    " on conflict (key, period) do update set reserved = spending.reserved + excluded.reserved,"
    " settled = spending.settled + excluded.settled, maybe = spending.maybe + excluded.maybe"
)


def beginning(generation: Generation, new: Account) -> list[Change]:
    """The changes that count the account of a generation that is being created."""
    return _changes(generation, name_of(Period.DAY, generation.created_at), NOTHING, new)


async def settling(transaction: Transaction, generation: Generation, new: Account) -> list[Change]:
    """The changes that bring the stored account of a generation and the sums up to date, whatever it was before."""
    row = await transaction.first(_ROW, (generation.id,))
    day, old = (name_of(Period.DAY, generation.created_at), NOTHING) if row is None else (row[0], Account(*row[1:]))
    return _changes(generation, day, old, new)


async def settle(transaction: Transaction, generation: Generation) -> None:
    """Carry out the changes of `settling` for a generation as it is."""
    await transaction.all_of(await settling(transaction, generation, account(generation)))


async def close(transaction: Transaction, generation: Generation, now: datetime) -> None:
    """Mark the account of a generation that is being deleted: what it has cost stays."""
    await settle(transaction, generation)
    await transaction.run(_DELETED, (now.timestamp(), generation.id))


def _changes(generation: Generation, day: str, old: Account, new: Account) -> list[Change]:
    if new == old:
        return []
    difference = (new.reserved - old.reserved, new.settled - old.settled, new.maybe - old.maybe)
    return [
        (_SAVE, (generation.id, generation.owner, day, new.reserved, new.settled, new.maybe)),
        (_ADD, (generation.owner, day, day[:7], *difference)),
    ]


async def refusal(transaction: Transaction, generation: Generation, budgets: Sequence[Budget]) -> Exceeded | None:
    """The budget that a new generation does not fit into; None if it fits into all of them.

    The transaction of the create has the ledger's only write lock, so no other create can reserve the same money.
    """
    moment = generation.created_at
    names = [name_of(period, moment) for period in Period]
    spent = {(row[0], row[1]): row[2] for row in await transaction.all(SPENT, (generation.owner, *names))}
    return exceeded(account(generation).reserved, states(budgets, spent, moment))
