"""The generations that wait for an operator, because the ledger was restored."""

from datetime import datetime
from functools import reduce

from gateway.domain.generation.restored import hold
from gateway.domain.generation.transitions import apply
from gateway.store.sql.accounting import follow
from gateway.store.sql.database import Transaction
from gateway.store.sql.generations import carry_out
from gateway.store.sql.rows import OPEN, read

_HELD = f"from generations indexed by generations_restored where restored_at is not null and status in {OPEN}"
COUNT_HELD = f"select count(*) {_HELD}"
HELD_IDS = f"select id {_HELD} and id > ? order by id limit ?"
_RAISE_VERSION = "update generations set version = version + 1 where id = ?"  # another gateway may be driving it
_OPEN_IDS = f"select id from generations where status in {OPEN} and restored_at is null order by id"


async def hold_open(transaction: Transaction, now: datetime) -> list[str]:
    """Hold every open generation that is not held yet; returns their ids, the oldest first."""
    ids = [str(row[0]) for row in await transaction.all(_OPEN_IDS)]
    for generation_id in ids:
        generation = await read(transaction, generation_id)
        writes = hold(generation, now)
        await carry_out(transaction, generation_id, writes, now)
        await transaction.run(_RAISE_VERSION, (generation_id,))
        await follow(transaction, generation, reduce(apply, writes, generation))
    return ids
