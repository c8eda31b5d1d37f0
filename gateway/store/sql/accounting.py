"""The one place that every change of a generation in the ledger passes: what is counted by generation follows here.

Something here is called once in each transaction that creates, changes or deletes a generation. Whatever it
stores is committed with the change or not at all, so a crash between the two cannot happen.
"""

from datetime import datetime

from gateway.domain.generation.model import Generation
from gateway.domain.money.account import account
from gateway.domain.usage.contribution import NOTHING, contribution, counts_alike
from gateway.store.sql import accounts, usage
from gateway.store.sql.database import Change, Transaction


async def follow(transaction: Transaction, before: Generation | None, after: Generation) -> None:
    """Count the change of a generation; `before` is None for a create."""
    await transaction.all_of(await following(transaction, before, after))


async def close(transaction: Transaction, generation: Generation, now: datetime) -> None:
    """Count the delete of a generation: what it was goes on to count."""
    await accounts.close(transaction, generation, now)
    await usage.close(transaction, generation)


async def following(transaction: Transaction, before: Generation | None, after: Generation) -> list[Change]:
    """The changes that count the change of a generation; `before` is None for a create.

    They are independent of what changes the generation itself, so both can be carried out together.
    Two changes are not reported, because nothing that is counted differs after them, and a read of the whole generation
    would be needed: a submit that begins, and a reply to it that names one running task for each of its outputs.
    Progress is reported, and costs no more than a comparison.
    """
    if before is None:
        new = account(after)
        return [*accounts.beginning(after, new), *usage.changes(after, NOTHING, contribution(after, new))]
    if counts_alike(before, after):
        return []
    old, new = account(before), account(after)
    settled = [] if new == old else await accounts.settling(transaction, after, new)
    return [*settled, *usage.changes(after, contribution(before, old), contribution(after, new))]
