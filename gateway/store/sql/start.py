"""Reads what a start needs to know of the ledger."""

from datetime import datetime

from gateway.store.sql import artifacts, clients, holds
from gateway.store.sql.database import Transaction
from gateway.store.start import SECRETS, Start


async def read_start(transaction: Transaction, newest: datetime | None) -> Start:
    """What the services are built of. The first start makes the secrets, which must be durable before they are used."""
    return Start(
        newest=newest,
        adopted=tuple(await clients.adopted(transaction)),
        secrets={name: await artifacts.secret(transaction, name) for name in SECRETS},
        holds=tuple(holds.holds_of(await transaction.all(holds.ALL))),
    )
