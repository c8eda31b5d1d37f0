"""Compares the accounts and sums of a ledger with what its generations say. Pure.

Every sum is the sum of the accounts, every account is that of its stored generation, and what an ended and deleted
generation has cost stays. A difference is a defect of the gateway: an amount was lost or was counted twice.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from gateway.domain.generation.model import Generation
from gateway.domain.money.account import NOTHING, Account, account
from gateway.domain.money.budgets import EVERYONE, Period

Sums = Mapping[tuple[str, str], Account]  # by the owner and the name of the period


class StoredAccount(Struct, frozen=True):
    """An account as it is in the ledger."""

    generation_id: str
    owner: str
    day: str  # of the create, in UTC
    account: Account
    deleted: bool  # its generation was deleted


def contradictions(
    generations: Iterable[Generation], stored: Iterable[StoredAccount], closed: Sums, sums: Sums
) -> Iterator[str]:
    """Each contradiction between these parts of one ledger, in words.

    `closed` are the accounts of a day that were added up, because their generations were deleted long ago.
    """
    rows = {row.generation_id: row for row in stored}
    seen: set[str] = set()
    for generation in generations:
        seen.add(generation.id)
        row, expected = rows.get(generation.id), account(generation)
        if (NOTHING if row is None else row.account) != expected:
            yield f"{generation.id}: the account is {None if row is None else row.account}, it should be {expected}"
        if row is not None and row.owner != generation.owner:
            yield f"{generation.id}: the account belongs to {row.owner!r}, the generation to {generation.owner!r}"
        if row is not None and row.deleted:
            yield f"{generation.id}: the account is marked as deleted, and the generation exists"
    for row in rows.values():
        if row.generation_id not in seen and not row.deleted:
            yield f"{row.generation_id}: the account has no generation and is not marked as deleted"
        if row.deleted and row.account.reserved:
            yield f"{row.generation_id}: deleted, and {row.account.reserved} are reserved"
    expected_sums = _sums(rows.values(), closed)
    for place in sorted({*expected_sums, *sums}):
        if sums.get(place, NOTHING) != expected_sums.get(place, NOTHING):
            yield f"the sum of {place}: {sums.get(place)}, its accounts are {expected_sums.get(place)}"


def _sums(rows: Iterable[StoredAccount], closed: Sums) -> dict[tuple[str, str], Account]:
    """What the sums must be."""
    parts = [(row.owner, row.day, row.account) for row in rows]
    parts += [(owner, day, amount) for (owner, day), amount in closed.items()]
    totals: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for owner, day, amount in parts:
        for key in (owner, EVERYONE):
            for period in (day, day[:7], Period.TOTAL.value):
                total = totals[key, period]
                total["reserved"] += amount.reserved
                total["settled"] += amount.settled
                total["maybe"] += amount.maybe
    return {place: Account(total["reserved"], total["settled"], total["maybe"]) for place, total in totals.items()}
