"""What the SQLite ledger knows of the time, and the repair of moments that lie in the future.

Danger: with a clock that was ahead for a while, moments in the future are stored. Once the clock is right again, tasks
would not be polled and files not removed for as long as the clock was wrong.
"""

from datetime import UTC, datetime, timedelta
from typing import IO

import apsw
import msgspec
import structlog
from msgspec.structs import replace

from gateway.domain.clients import day_of
from gateway.domain.generation.model import ArchivedFile
from gateway.domain.ledger_clock import LedgerTime
from gateway.domain.money.budgets import Period, name_of
from gateway.domain.webhooks import RETRY_AFTER_MAX, ROTATION_SECONDS, SigningSecret
from gateway.store.sql.clients import recount
from gateway.store.sql.columns import to_json
from gateway.store.sqlite.file import keep_time, kept_time
from gateway.store.sqlite.jobs import SqliteTransaction, drive
from gateway.store.sqlite.transaction import transaction

log = structlog.get_logger()
_NEWEST = (  # one statement each, because a ledger that is not migrated yet may lack a table
    "select at from events order by seq desc limit 1",
    "select created_at from generations order by id desc limit 1",  # ids are in the order of creation
    "select max(created_at) from idempotency_keys",
    "select max(created_at) from deleted_generations",
    "select max(deleted_at) from purchases",
    "select max(applied_at) from schema_migrations",
)
_HAS_OPEN = "select 1 from generations where status in ('queued', 'in_progress') limit 1"
_LINK_DAYS = 31  # no provider's link to a result is valid for longer
_ROTATION_MAX_SECONDS = 7 * 86_400  # the longest time that a client may let a replaced signing secret go on signing
_DUE_SECONDS = RETRY_AFTER_MAX + 3600  # the next try of a delivery is never later than this from now
# Columns with moments at which something happened: none can be later than now.
_HAPPENED = (
    ("generations", ("restored_at",)),
    ("lineages", ("began_at",)),
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
    ("clients", ("created_at",)),
    ("client_keys", ("created_at", "revoked_at")),
    ("adopted_owners", ("adopted_at",)),
    ("accounts", ("deleted_at",)),
    ("provider_holds", ("held_at",)),
)
# Moments that are still to come are counted from `:now` again if they were set at a moment after it.
_TO_COME = (
    "update generations set deadline_at = :now + (deadline_at - created_at) where created_at > :now",
    "update generations set created_at = :now, version = version + 1 where created_at > :now",
    "update generations set completed_at = :now, version = version + 1 where completed_at > :now",
    "update files set expires_at = :now + (expires_at - created_at) where created_at > :now",
    "delete from uploads where expires_at > :now",  # an input is uploaded again when it is needed
    "update deliveries set next_at = :now where next_at > :now + :due",
    "update outputs set expires_at = :now + :link where expires_at > :now + :link",
    "update outputs set unkept_until = :now + :link where unkept_until > :now + :link",
)
# What limits count for days and months that are still to come. It is counted for the present one instead: it was bought
# or created already, and otherwise the limit of the present day would be free for as much again.
_COUNTED = (
    ("spending", "period", "reserved, settled, maybe"),
    ("closed_accounts", "day", "settled, maybe"),
    ("client_days", "day", "outputs"),
)
_archived_file = msgspec.json.Decoder(ArchivedFile)
_secrets = msgspec.json.Decoder(tuple[SigningSecret, ...])


def ledger_time(connection: apsw.Connection, lock: IO[bytes] | None) -> LedgerTime:
    """The newest moment in the ledger or in the lock's file. The schema may be an older one or missing."""
    moments = [_moment(at) for at in (_first(connection, sql) for sql in _NEWEST) if at is not None]
    noted = None if lock is None else kept_time(lock)
    return LedgerTime(
        newest=max([*moments, *([] if noted is None else [noted])], default=None),
        has_open=_first(connection, _HAS_OPEN) is not None,
    )


def bring_back(connection: apsw.Connection, lock: IO[bytes], now: datetime, keep: timedelta) -> None:
    """Change every stored moment after `now`: past ones become `now`, expiries are counted from `now`.

    One transaction changes all or nothing. `keep` is the time for which results are kept. Ids stay the same, although
    the moment of their creation is part of them.
    """
    at = now.timestamp()
    values = {"now": at, "due": _DUE_SECONDS, "link": _LINK_DAYS * 86_400}
    before = connection.total_changes()
    with transaction(connection):
        for sql in _TO_COME:
            connection.execute(sql, values)
        _count_today(connection, now)
        _shorten_results(connection, now + keep)
        _shorten_secrets(connection, now)
        for table, columns in _HAPPENED:
            for column in columns:
                connection.execute(f"update {table} set {column} = ?1 where {column} > ?1", (at,))
    keep_time(lock, now)
    log.warning(
        "ledger_brought_back", to=now.isoformat(timespec="seconds"), changes=connection.total_changes() - before
    )


def _count_today(connection: apsw.Connection, now: datetime) -> None:
    connection.execute("update accounts set day = ?1 where day > ?1", (day_of(now),))
    for present in (day_of(now), name_of(Period.MONTH, now)):
        values = {"present": present, "length": len(present)}
        for table, column, sums in _COUNTED:
            later = f"{column} > :present and length({column}) = :length"
            totals = ", ".join(f"sum({name})" for name in sums.split(", "))
            added = ", ".join(f"{name} = {name} + excluded.{name}" for name in sums.split(", "))
            connection.execute(
                f"insert into {table} (key, {column}, {sums}) select key, :present, {totals} from {table}"
                f" where {later} group by key on conflict (key, {column}) do update set {added}",
                values,
            )
            connection.execute(f"delete from {table} where {later}", values)
    drive(recount(SqliteTransaction(connection), now))


def _shorten_results(connection: apsw.Connection, until: datetime) -> None:
    """Shorten the expiry of archived files to `until`, in the row of the file and in the output, which must agree."""
    longer = "select distinct generation_id from artifacts where kept_until > ?"
    owners = [row[0] for row in connection.execute(longer, (until.timestamp(),))]
    for owner in owners:
        rows = connection.execute(
            "select number, kept from outputs where generation_id = ? and kept is not null", (owner,)
        ).fetchall()
        for number, text in rows:
            file = _archived_file.decode(str(text))
            if file.kept_until > until:
                shorter = to_json(replace(file, kept_until=until))
                connection.execute(
                    "update outputs set kept = ? where generation_id = ? and number = ?", (shorter, owner, number)
                )
    connection.execute("update artifacts set kept_until = ?1 where kept_until > ?1", (until.timestamp(),))


def _shorten_secrets(connection: apsw.Connection, now: datetime) -> None:
    """Shorten the time of replaced signing secrets that would sign for longer than a client can ask for."""
    latest = now + timedelta(seconds=_ROTATION_MAX_SECONDS)
    usual = now + timedelta(seconds=ROTATION_SECONDS)
    for endpoint, text in connection.execute("select id, secrets from webhook_endpoints").fetchall():
        secrets = _secrets.decode(str(text))
        shorter = tuple(
            replace(secret, expires_at=usual)
            if secret.expires_at is not None and secret.expires_at > latest
            else secret
            for secret in secrets
        )
        if shorter != secrets:
            connection.execute("update webhook_endpoints set secrets = ? where id = ?", (to_json(shorter), endpoint))


def _first(connection: apsw.Connection, sql: str) -> float | None:
    try:
        value: float | None = connection.execute(sql).get
    except apsw.SQLError:  # the table does not exist yet
        return None
    return value


def _moment(at: float) -> datetime:
    try:
        return datetime.fromtimestamp(at, UTC)
    except (OverflowError, ValueError, OSError):  # later than any date that Python has
        return datetime.max.replace(tzinfo=UTC)
