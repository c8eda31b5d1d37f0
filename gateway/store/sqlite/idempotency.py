"""How the SQLite ledger knows a repeated request: by the client's key, or by its digest when it is a client's retry."""

from datetime import datetime

import apsw

from gateway.domain.errors import GenerationDeleted, IdempotencyKeyReused
from gateway.domain.generation.model import Generation
from gateway.store.port import KEY_LIFE, RETRY_LIFE, Idempotency

KEY_PARAM = "Idempotency-Key"
_OF_KEY = (
    "select i.digest, i.generation_id, i.created_at, g.status from idempotency_keys as i"
    " left join generations as g on g.id = i.generation_id where i.key = ? and i.idempotency_key = ?"
)
_DROP_KEY = "delete from idempotency_keys where key = ? and idempotency_key = ?"
_KEEP_KEY = (
    "insert into idempotency_keys (key, idempotency_key, digest, generation_id, created_at) values (?, ?, ?, ?, ?)"
)
# The index has the minute before the digest (see the migration that made it), so every minute of `RETRY_LIFE` is looked
# up by itself. The expression must be the index's own.
_MINUTES = int(RETRY_LIFE.total_seconds() // 60) + 2  # the first and the last are not whole, and one minute more
_NEWEST_EQUAL = (
    "select id from"
    " (select id, created_at from generations where key = ?"
    f" and cast(created_at / 60 as integer) in ({', '.join('?' * _MINUTES)}) and digest = ? and created_at >= ?"
    " union all select generation_id, created_at from deleted_generations"
    " where key = ? and digest = ? and created_at >= ?)"
    " order by created_at desc, id desc limit 1"
)
_KEEP_DELETED = (
    "insert into deleted_generations (generation_id, key, digest, created_at)"
    " select id, key, digest, created_at from generations where id = ? and digest is not null"
)
FORGETTABLE = (  # by `past_lives`: whether it is worth a write to `forget`
    "select 1 from idempotency_keys where created_at < ?"
    " union all select 1 from deleted_generations where created_at < ? limit 1"
)
_FORGET_KEYS = (
    "delete from idempotency_keys where (key, idempotency_key) in (select key, idempotency_key"
    " from idempotency_keys as i where created_at < ? and not exists"
    " (select 1 from generations where id = i.generation_id and status in ('queued', 'in_progress'))"
    " order by created_at limit ?)"
)
_FORGET_DELETED = (
    "delete from deleted_generations where generation_id in"
    " (select generation_id from deleted_generations where created_at < ? order by created_at limit ?)"
)


def known(connection: apsw.Connection, key: str, idempotency: Idempotency, now: datetime) -> str | None:
    """The generation that the request has made already, which may be deleted by now. `IdempotencyKeyReused`, too."""
    if idempotency.key is not None:
        return _of_key(connection, key, idempotency.key, idempotency.digest, now)
    return _of_retry(connection, key, idempotency.digest, now) if idempotency.retry else None


def _of_key(connection: apsw.Connection, key: str, name: str, digest: bytes, now: datetime) -> str | None:
    row = connection.execute(_OF_KEY, (key, name)).fetchone()
    if row is None:
        return None
    first_digest, generation_id, created_at, status = row
    if created_at < (now - KEY_LIFE).timestamp() and status not in {"queued", "in_progress"}:
        connection.execute(_DROP_KEY, (key, name))
        return None
    if first_digest != digest:
        raise IdempotencyKeyReused(
            "This Idempotency-Key was used with another body. Send the same body, or a new key.", param=KEY_PARAM
        )
    found: str = generation_id
    return found


def _of_retry(connection: apsw.Connection, key: str, digest: bytes, now: datetime) -> str | None:
    """The newest generation of an equal request: a client repeats what it sent last."""
    since = (now - RETRY_LIFE).timestamp()
    first = int(since // 60)
    minutes = range(first, first + _MINUTES)  # one minute beyond now: a request that came after this one may be stored
    found: str | None = connection.execute(_NEWEST_EQUAL, (key, *minutes, digest, since, key, digest, since)).get
    return found


def deleted(idempotency: Idempotency) -> GenerationDeleted:
    """What a repeat is told whose generation is there no more."""
    if idempotency.key is not None:
        return GenerationDeleted(
            "The generation that this Idempotency-Key made was deleted. To make another, send a new key.",
            param=KEY_PARAM,
        )
    return GenerationDeleted(
        "This is a retry of a request whose generation was deleted. To make another, send it as a new request."
    )


def keep_key(connection: apsw.Connection, generation: Generation, name: str, digest: bytes) -> None:
    """Let the key stand for its generation from now on."""
    created_at = generation.created_at.timestamp()
    connection.execute(_KEEP_KEY, (generation.key, name, digest, generation.id, created_at))


def keep_deleted(connection: apsw.Connection, generation_id: str) -> None:
    """Let a retry still be known by a generation that is about to be deleted."""
    connection.execute(_KEEP_DELETED, (generation_id,))


def past_lives(now: datetime) -> tuple[float, float]:
    """A key, and a deleted generation, that was created before is past its life."""
    return (now - KEY_LIFE).timestamp(), (now - RETRY_LIFE).timestamp()


def forget(connection: apsw.Connection, now: datetime, limit: int) -> int:
    """See `Store.forget`."""
    count = 0
    for sql, before in zip((_FORGET_KEYS, _FORGET_DELETED), past_lives(now), strict=True):
        connection.execute(sql, (before, limit))
        count += connection.changes()
    return count
