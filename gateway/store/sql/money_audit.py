"""Reads everything about money from a ledger and compares it: for tests and for an operator's doubts."""

from gateway.domain.money.account import Account
from gateway.domain.money.audit import StoredAccount, contradictions
from gateway.store.sql.database import Transaction
from gateway.store.sql.rows import SELECT, generation_of

_ACCOUNTS = "select generation_id, key, day, reserved, settled, maybe, deleted_at is not null from accounts"
_CLOSED = "select key, day, 0, settled, maybe from closed_accounts"
_SUMS = "select key, period, reserved, settled, maybe from spending"


async def audit_money(transaction: Transaction) -> list[str]:
    """Each contradiction in words. Reads the whole ledger, so a gateway must not wait for it."""
    stored = [
        StoredAccount(row[0], row[1], row[2], Account(*row[3:6]), deleted=bool(row[6]))
        for row in await transaction.all(_ACCOUNTS)
    ]
    closed = {(row[0], row[1]): Account(*row[2:]) for row in await transaction.all(_CLOSED)}
    sums = {(row[0], row[1]): Account(*row[2:]) for row in await transaction.all(_SUMS)}
    return list(contradictions(map(generation_of, await transaction.all(SELECT)), stored, closed, sums))
