"""The one place that every change of a generation in the ledger passes: what is counted by generation follows here.

`follow` is called once in each transaction that creates, changes or deletes a generation, after its writes. Whatever it
stores is committed with the change or not at all, so a crash between the two cannot happen.
"""

from datetime import datetime

from gateway.domain.generation.model import Generation
from gateway.store.sql import accounts, usage
from gateway.store.sql.database import Transaction


async def follow(transaction: Transaction, before: Generation | None, after: Generation | None, now: datetime) -> None:
    """Count the change of a generation: `before` is None for a create, `after` is None for a delete.

    Two changes are not reported, because nothing that is counted differs after them, and a read of the whole generation
    would be needed: a submit that begins, and a reply to it that names one running task for each of its outputs.
    """
    await accounts.follow(transaction, before, after, now)
    await usage.follow(transaction, before, after)
