"""Gives everything that a key has owned as a client by itself to a client with a name, at a start of the gateway.

All of it happens in one transaction before anything is served, so that nobody sees a half of it, and a start that is
killed leaves the ledger as it was. `MOVES` has an entry for each table with a column `key`; a test compares it with the
schema.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime

import structlog
from msgspec import Struct

from gateway.domain.usage.contribution import NAMES as COUNTS
from gateway.store.sql.database import Transaction

log = structlog.get_logger()


class Move(Struct, frozen=True):
    """How the rows of a table change their owner."""

    move: str  # takes the new owner and the old one
    delete: str | None = None  # takes the old owner


def _owned(table: str) -> Move:
    """For a table whose primary key is unique without the owner."""
    return Move(f"update {table} set key = ? where key = ?")


def _sum(table: str, names: str, sums: str) -> Move:
    """For a table of sums: those of the two owners are added."""
    columns = f"{names}, {sums}" if names else sums
    added = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in sums.split(", "))
    key = f"key, {names}" if names else "key"
    return Move(
        f"insert into {table} (key, {columns}) select ?, {columns} from {table} where key = ?"
        f" on conflict ({key}) do update set {added}",
        f"delete from {table} where key = ?",
    )


MOVES: Mapping[str, Move] = {
    # With a new version, so that other gateways on the ledger read the owner of what they drive again.
    "generations": Move("update generations set key = ?, version = version + 1 where key = ?"),
    "generation_metadata": _owned("generation_metadata"),
    "files": _owned("files"),
    "generation_files": _owned("generation_files"),
    "inline_bytes": _sum("inline_bytes", "", "bytes"),
    # Two owners may have used one idempotency key. Then the row of the old owner stays, and is found as one of an
    # adopted owner.
    "idempotency_keys": Move(
        "update idempotency_keys set key = ?1 where key = ?2 and not exists (select 1 from idempotency_keys as i"
        " where i.key = ?1 and i.idempotency_key = idempotency_keys.idempotency_key)"
    ),
    "deleted_generations": _owned("deleted_generations"),
    "webhook_endpoints": _owned("webhook_endpoints"),
    "deliveries": _owned("deliveries"),
    "receivers": Move(
        "insert into receivers (key, name, next_at) select ?, name, next_at from receivers where key = ?"
        " on conflict (key, name) do update set next_at = excluded.next_at"
        " where excluded.next_at < receivers.next_at",
        "delete from receivers where key = ?",
    ),
    "purchases": _owned("purchases"),
    "client_days": _sum("client_days", "day", "outputs"),
    "accounts": _owned("accounts"),
    "closed_accounts": _sum("closed_accounts", "day", "settled, maybe"),
    "usage": _sum("usage", "day, model, provider", ", ".join(COUNTS)),
    "usage_times": _sum("usage_times", "day, model, provider, bucket", "number"),
    "spending": _sum("spending", "period", "reserved, settled, maybe"),
}
# What was adopted stays with the client that had it first: nothing of the key is left for another one.
_NOTE = "insert into adopted_owners (owner, client, adopted_at) values (?, ?, ?) on conflict (owner) do nothing"
Progress = Callable[[str], AbstractContextManager[None]]  # says in the log how far a step is that takes long


def _silently(_: str) -> AbstractContextManager[None]:
    return nullcontext()


async def adopt(
    transaction: Transaction, owners: Mapping[str, str], now: datetime, progress: Progress = _silently
) -> None:
    """Move the things of each owner id to another one: `owners` maps the old id to the new one.

    A second time it moves what the old owner has got since, which is usually nothing. The caller lets foreign keys be
    checked at the commit: uses of files are moved after the files.
    """
    for old, new in owners.items():
        moved = {}
        for table, move in MOVES.items():
            with progress(f"adoption of {table}"):
                if count := await transaction.run(move.move, (new, old)):
                    moved[table] = count
                if move.delete is not None:
                    await transaction.run(move.delete, (old,))
        await transaction.run(_NOTE, (old, new, now.timestamp()))
        if moved:
            log.info("owner_adopted", owner=old, client=new, rows=moved)
