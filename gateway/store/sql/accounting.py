"""The one place that every change of a generation in the ledger passes: what is counted by generation follows here.

`follow` is called once in each transaction that creates, changes or deletes a generation, after its writes. Whatever it
stores is committed with the change or not at all, so a crash between the two cannot happen.
"""

from datetime import datetime

from gateway.domain.generation.model import Generation
from gateway.domain.money.account import account
from gateway.domain.usage.contribution import NOTHING, contribution, counts_alike
from gateway.store.sql import accounts, usage
from gateway.store.sql.database import Transaction


async def follow(transaction: Transaction, before: Generation | None, after: Generation | None, now: datetime) -> None:
    """Count the change of a generation: `before` is None for a create, `after` is None for a delete.

    Two changes are not reported, because nothing that is counted differs after them, and a read of the whole generation
    would be needed: a submit that begins, and a reply to it that names one running task for each of its outputs.
    Progress is reported, and costs no more than a comparison.
    """
    if after is None:
        if before is not None:
            await accounts.close(transaction, before, now)
            await usage.close(transaction, before)
    elif before is None:
        new = account(after)
        await accounts.begin(transaction, after, new)
        await usage.follow(transaction, after, NOTHING, contribution(after, new))
    elif not counts_alike(before, after):
        old, new = account(before), account(after)
        if new != old:
            await accounts.settle(transaction, after, new)
        await usage.follow(transaction, after, contribution(before, old), contribution(after, new))
