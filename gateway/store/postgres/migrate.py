"""Brings the schema of a PostgreSQL ledger up to date."""

from datetime import datetime

import structlog

from gateway.store import migrations
from gateway.store.postgres.server import Connection

log = structlog.get_logger()
LOCK = 0x76696465_6F677763  # the advisory lock of a start that changes the schema
WAIT_SECONDS = 600  # how long a start waits for the migrations of another gateway, which starts at the same time


async def migrate(connection: Connection, now: datetime) -> None:
    """Apply the missing migrations in one transaction: a start that is killed in between leaves the ledger as it was.

    Of several gateways that start at the same time one applies them, and the others wait for it. Raises
    `ConfigurationError` if the schema is newer than this program or an applied migration was changed.
    """
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(
            f"set local statement_timeout = '{WAIT_SECONDS}s'; select pg_advisory_xact_lock({LOCK});"
            " set local statement_timeout = 0"
        )
        await connection.execute(
            "create table if not exists schema_migrations (number bigint primary key, name text not null,"
            " checksum text not null, applied_at double precision not null)"
        )
        applied = dict(await connection.fetch("select number, checksum from schema_migrations"))
        for migration in migrations.pending(migrations.load("postgres"), applied):
            log.info("ledger_migrating", migration=migration.name)
            await connection.execute(migration.sql)
            await connection.execute(
                "insert into schema_migrations values ($1, $2, $3, $4)",
                migration.number,
                migration.name,
                migration.checksum,
                now.timestamp(),
            )
