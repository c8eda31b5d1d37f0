"""Gives everything that a key has owned as a client by itself to a client with a name, at a start of the gateway.

All of it happens in one transaction before anything is served, so that nobody sees a half of it, and a start that is
killed leaves the ledger as it was. `MOVES` has an entry for each table with a column `key`; a test compares it with the
schema.
"""

from collections.abc import Mapping
from datetime import datetime

import structlog

from gateway.domain.usage.contribution import NAMES as COUNTS
from gateway.store.sqlite.progress import migration_progress

log = structlog.get_logger()


def _owned(table: str) -> tuple[str, ...]:
    """The statement for a table whose primary key is unique without the owner."""
    return (f"update {table} set key = :new where key = :old",)


def _sum(table: str, names: str, sums: str) -> tuple[str, ...]:
    """The statements for a table of sums: those of the two owners are added."""
    columns = f"{names}, {sums}" if names else sums
    added = ", ".join(f"{name} = {name} + excluded.{name}" for name in sums.split(", "))
    key = f"key, {names}" if names else "key"
    return (
        (
            f"insert into {table} (key, {columns}) select :new, {columns} from {table} where key = :old"
            f" on conflict ({key}) do update set {added}"
        ),
        f"delete from {table} where key = :old",
    )


MOVES: Mapping[str, tuple[str, ...]] = {
    "generations": _owned("generations"),
    "generation_metadata": _owned("generation_metadata"),
    "files": _owned("files"),
    "generation_files": _owned("generation_files"),
    "inline_bytes": _sum("inline_bytes", "", "bytes"),
    # Two owners may have used one idempotency key. Then the row of the old owner stays, and is found as one of an
    # adopted owner.
    "idempotency_keys": ("update or ignore idempotency_keys set key = :new where key = :old",),
    "deleted_generations": _owned("deleted_generations"),
    "webhook_endpoints": _owned("webhook_endpoints"),
    "deliveries": _owned("deliveries"),
    "receivers": (
        (
            "insert into receivers (key, name, next_at) select :new, name, next_at from receivers where key = :old"
            " on conflict (key, name) do update set next_at = excluded.next_at where excluded.next_at < next_at"
        ),
        "delete from receivers where key = :old",
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
_NOTE = "insert into adopted_owners (owner, client, adopted_at) values (:old, :new, :at) on conflict (owner) do nothing"


async def adopt(transaction: Transaction, owners: Mapping[str, str], now: datetime) -> None:
    """Move the things of each owner id to another one: `owners` maps the old id to the new one.

    A second time it moves what the old owner has got since, which is usually nothing.
    """
    if not owners:
        return
    await transaction.run("begin immediate")
    try:
        await transaction.run("pragma defer_foreign_keys = on")  # uses of files are moved after the files
        for old, new in owners.items():
            values = {"old": old, "new": new, "at": now.timestamp()}
            moved = {}
            for table, statements in MOVES.items():
                with await migration_progress(transaction, f"adoption of {table}"):
                    await transaction.run(statements[0], values)
                    if count := transaction.changes():
                        moved[table] = count
                    for statement in statements[1:]:
                        await transaction.run(statement, values)
            await transaction.run(_NOTE, values)
            if moved:
                log.info("owner_adopted", owner=old, client=new, rows=moved)
        with await migration_progress(transaction, "commit"):
            await transaction.run("commit")
    except BaseException:  # also Ctrl-C: the things of an owner must not be divided
        if transaction.in_transaction:
            await transaction.run("rollback")
        raise
