"""The time as the SQLite ledger knows it, and how moments in the future are brought back to the present."""

from datetime import UTC, datetime, timedelta
from typing import IO

import apsw
import msgspec
import structlog
from msgspec.structs import replace

from gateway.domain.generation.model import Kept
from gateway.domain.ledger_clock import LedgerTime
from gateway.domain.webhooks import RETRY_AFTER_MAX, ROTATION_SECONDS, SigningSecret
from gateway.store.sqlite.file import keep_time, kept_time
from gateway.store.sqlite.rows import to_json

log = structlog.get_logger()
_NEWEST = (  # each by itself: a ledger that is still to be migrated may not have the table
    "select at from events order by seq desc limit 1",
    "select created_at from generations order by id desc limit 1",  # ids order as they were made
    "select max(created_at) from idempotency_keys",
    "select max(created_at) from deleted_generations",
    "select max(deleted_at) from purchases",
    "select max(applied_at) from schema_migrations",
)
_HAS_OPEN = "select 1 from generations where status in ('queued', 'in_progress') limit 1"
_LINK_DAYS = 31  # no provider's link to a result is good for longer
_ROTATION_MAX_SECONDS = 7 * 86_400  # how long a client may let the previous signing secret go on, at most
_DUE_SECONDS = RETRY_AFTER_MAX + 3600  # no try of a delivery is further away
# Moments at which something happened: they cannot be later than now.
_HAPPENED = (
    ("attempts", ("reserved_at", "sent_at", "accepted_at", "ended_at")),
    ("events", ("at",)),
    ("idempotency_keys", ("created_at",)),
    ("deleted_generations", ("created_at",)),
    ("purchases", ("created_at", "sent_at", "ended_at", "deleted_at")),
    ("schema_migrations", ("applied_at",)),
    ("callbacks", ("at",)),
    ("files", ("created_at",)),
    ("webhook_endpoints", ("created_at",)),
    ("deliveries", ("created_at",)),
)
# Moments that are still to come, by when they were set; `:now` is the present.
_TO_COME = (
    "update generations set deadline_at = :now + (deadline_at - created_at) where created_at > :now",
    "update generations set created_at = :now, version = version + 1 where created_at > :now",
    "update generations set completed_at = :now, version = version + 1 where completed_at > :now",
    "update files set expires_at = :now + (expires_at - created_at) where created_at > :now",
    "delete from uploads where expires_at > :now",  # uploaded again when they are needed
    "update deliveries set next_at = :now where next_at > :now + :due",
    "update outputs set expires_at = :now + :link where expires_at > :now + :link",
    "update outputs set unkept_until = :now + :link where unkept_until > :now + :link",
)
_kept = msgspec.json.Decoder(Kept)
_secrets = msgspec.json.Decoder(tuple[SigningSecret, ...])


def ledger_time(connection: apsw.Connection, lock: IO[bytes] | None) -> LedgerTime:
    """What the ledger knows of the time; its schema may be an older one, or none."""
    moments = [_moment(at) for at in (_first(connection, sql) for sql in _NEWEST) if at is not None]
    seen = None if lock is None else kept_time(lock)
    return LedgerTime(
        newest=max([*moments, *([] if seen is None else [seen])], default=None),
        has_open=_first(connection, _HAS_OPEN) is not None,
    )


def bring_back(connection: apsw.Connection, lock: IO[bytes], now: datetime, keep: timedelta) -> None:
    """Let no moment in the ledger be later than `now`, and nothing last longer than if it had been made now.

    All or nothing. `keep` is how long results are kept. Ids stay, although they hold the moment they were made at.
    """
    at = now.timestamp()
    values = {"now": at, "due": _DUE_SECONDS, "link": _LINK_DAYS * 86_400}
    before = connection.total_changes()
    connection.execute("begin immediate")
    try:
        for sql in _TO_COME:
            connection.execute(sql, values)
        _shorten_results(connection, now + keep)
        _shorten_secrets(connection, now)
        for table, columns in _HAPPENED:
            for column in columns:
                connection.execute(f"update {table} set {column} = ?1 where {column} > ?1", (at,))
        connection.execute("commit")
    except BaseException:
        if connection.in_transaction:
            connection.execute("rollback")
        raise
    keep_time(lock, now)
    log.warning(
        "ledger_brought_back", to=now.isoformat(timespec="seconds"), changes=connection.total_changes() - before
    )


def _shorten_results(connection: apsw.Connection, until: datetime) -> None:
    """Results that would be kept longer than from now on; output and file must say the same."""
    longer = "select distinct generation_id from artifacts where kept_until > ?"
    owners = [row[0] for row in connection.execute(longer, (until.timestamp(),))]
    for owner in owners:
        rows = connection.execute(
            "select number, kept from outputs where generation_id = ? and kept is not null", (owner,)
        ).fetchall()
        for number, text in rows:
            kept = _kept.decode(str(text))
            if kept.kept_until > until:
                shorter = to_json(replace(kept, kept_until=until))
                connection.execute(
                    "update outputs set kept = ? where generation_id = ? and number = ?", (shorter, owner, number)
                )
    connection.execute("update artifacts set kept_until = ?1 where kept_until > ?1", (until.timestamp(),))


def _shorten_secrets(connection: apsw.Connection, now: datetime) -> None:
    """Signing secrets that were replaced, and would go on for longer than a client can ask for."""
    last = now + timedelta(seconds=_ROTATION_MAX_SECONDS)
    usual = now + timedelta(seconds=ROTATION_SECONDS)
    for endpoint, text in connection.execute("select id, secrets from webhook_endpoints").fetchall():
        secrets = _secrets.decode(str(text))
        shorter = tuple(
            replace(one, expires_at=usual) if one.expires_at is not None and one.expires_at > last else one
            for one in secrets
        )
        if shorter != secrets:
            connection.execute("update webhook_endpoints set secrets = ? where id = ?", (to_json(shorter), endpoint))


def _first(connection: apsw.Connection, sql: str) -> float | None:
    try:
        found: float | None = connection.execute(sql).get
    except apsw.SQLError:  # the table is not there yet
        return None
    return found


def _moment(at: float) -> datetime:
    try:
        return datetime.fromtimestamp(at, UTC)
    except (OverflowError, ValueError, OSError):  # beyond any calendar
        return datetime.max.replace(tzinfo=UTC)
