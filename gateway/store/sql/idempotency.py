"""Recognises repeated requests in the ledger: by idempotency key, or, for a client library's retry, by digest.

Danger: a repeat that is not recognised buys a second video.
"""

from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from gateway.domain.errors import GenerationDeleted, IdempotencyKeyReused
from gateway.domain.generation.model import Generation
from gateway.store.port import KEY_LIFE, RETRY_LIFE, Idempotency, Sender
from gateway.store.sql.columns import insert
from gateway.store.sql.database import Processes, Transaction

KEY_PARAM = "Idempotency-Key"
# So long after its retry a request may come of which nothing says that its client has left. The end of a connection
# follows the last bytes at once, or within this time if a packet was lost.
OVERTAKEN_WITHIN = timedelta(seconds=1)
# Also of the keys that the owner has adopted: see `MOVES` in `adoption.py`.
_OF_KEY = (
    "select i.key, i.digest, i.generation_id, i.created_at, g.status from idempotency_keys as i"
    " left join generations as g on g.id = i.generation_id where i.idempotency_key = ?2"
    " and i.key in (select ?1 union all select owner from adopted_owners where client = ?1)"
)
_DELETE_KEY = "delete from idempotency_keys where key = ? and idempotency_key = ?"
_ADD_KEY = insert("idempotency_keys", "key", "idempotency_key", "digest", "generation_id", "created_at")
# The index `generations_of_request` has the minute before the digest, for the reason that its migration gives. So the
# statement names every minute of `RETRY_LIFE`, with the same expression as the index.
_MINUTES = int(RETRY_LIFE.total_seconds() // 60) + 2  # the first and the last minute count in part, hence two more
# What the retry of a request without a key has made, under a name that no client can send: it begins with a space.
_OF_RETRY = " retry of {}"
_RETRY = "select generation_id, created_at from idempotency_keys where key = ? and idempotency_key = ?"
_PUT_RETRY = (
    f"{_ADD_KEY} on conflict (key, idempotency_key)"
    " do update set generation_id = excluded.generation_id, created_at = excluded.created_at"
)
_EQUAL = (
    "select id, created_at from generations where key = ?"
    f" and cast(created_at / 60 as integer) in ({', '.join('?' * _MINUTES)}) and digest = ? and created_at >= ?"
)
_NEWEST_EQUAL = (
    f"select id from ({_EQUAL}"
    " union all select generation_id, created_at from deleted_generations"
    " where key = ? and digest = ? and created_at >= ?) as equal"
    " order by created_at desc, id desc limit 1"
)
_ADD_DELETED = (
    "insert into deleted_generations (generation_id, key, digest, created_at)"
    " select id, key, digest, created_at from generations where id = ? and digest is not null"
)
# Whether `forget` may find something, so that otherwise it needs no write. It takes the values of `past_lives`.
FORGETTABLE = (
    "select 1 from (select created_at from idempotency_keys where created_at < ? order by created_at limit 1) as oldest"
    " union all select 1 from (select created_at from deleted_generations where created_at < ?"
    " order by created_at limit 1) as oldest_deleted limit 1"
)
# A key of an open generation stays, however old it is.
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


async def earlier(transaction: Transaction, key: str, idempotency: Idempotency, now: datetime) -> str | None:
    """The id of the generation that an earlier request of the API key `key` made, if this one repeats it.

    The generation may be deleted by now. Raises `IdempotencyKeyReused` if the idempotency key came with another body.
    """
    digests = (idempotency.digest, *idempotency.others)
    for name in idempotency.keys:
        made = await _of_key(transaction, key, name, digests, now)
        if made is not None:
            return made
    if idempotency.key is not None:
        return None
    return await _of_retry(transaction, key, digests, now) if idempotency.retry else None


async def _of_key(
    transaction: Transaction, key: str, name: str, digests: tuple[bytes, ...], now: datetime
) -> str | None:
    is_used = False
    for owner, digest, generation_id, created_at, status in await transaction.all(_OF_KEY, (key, name)):
        if created_at < (now - KEY_LIFE).timestamp() and status not in {"queued", "in_progress"}:
            await transaction.run(_DELETE_KEY, (owner, name))
        elif digest in digests:
            return str(generation_id)
        else:
            is_used = True
    if is_used:
        raise IdempotencyKeyReused(
            "This Idempotency-Key was used with another body. Send the same body, or a new key.", param=KEY_PARAM
        )
    return None


async def _of_retry(transaction: Transaction, key: str, digests: tuple[bytes, ...], now: datetime) -> str | None:
    """The newest generation of an equal request, because a client library repeats what it sent last."""
    for digest in digests:
        values = _equal_values(key, digest, now)
        newest: str | None = await transaction.value(_NEWEST_EQUAL, (*values, key, *values[-2:]))
        if newest is not None:
            return newest
    return None


def is_overtaken(came: float, retry_made: float, *, has_left: bool) -> bool:
    """Whether an unmarked request is the first one of a retry which has made its generation at the moment `retry_made`.

    Otherwise it is a new wish. `came`: the moment at which the unmarked request came. A library sends a retry after it
    has given the first request up: so that one came before, or nobody waits for its answer any more (`has_left`).
    """
    return has_left or came <= retry_made + OVERTAKEN_WITHIN.total_seconds()


async def overtaken(
    transaction: Transaction, processes: Processes, generation: Generation, idempotency: Idempotency
) -> str | None:
    """The id of the generation that the retry of this request has made at another process meanwhile.

    A client sends a retry when it has given the request up, for example because its process was suspended. The request
    may go on after that. It counts for one request: an equal one after it is a request of its own.
    """
    sender = idempotency.sender
    if idempotency.key is not None or idempotency.retry or not sender.library:
        return None
    for digest in (idempotency.digest, *idempotency.others):
        name = _retry_name(digest, sender)
        row = await transaction.first(_RETRY, (generation.owner, name))
        if row is None:
            continue
        now = await processes.now(transaction, generation.created_at)
        if is_overtaken(now - sender.age().total_seconds(), row[1], has_left=sender.has_left()):
            await transaction.run(_DELETE_KEY, (generation.owner, name))
            return str(row[0])
    return None


async def put_retry(
    transaction: Transaction, processes: Processes, generation: Generation, idempotency: Idempotency
) -> None:
    """Store that a retry has made this generation before its request has made one, for `overtaken`."""
    name, digest = _retry_name(idempotency.digest, idempotency.sender), idempotency.digest
    now = await processes.now(transaction, generation.created_at)
    await transaction.run(_PUT_RETRY, (generation.owner, name, digest, generation.id, now))


def _retry_name(digest: bytes, sender: Sender) -> str:
    return _OF_RETRY.format(sha256(digest + sender.library).hexdigest())


def _equal_values(key: str, digest: bytes, now: datetime) -> tuple[Any, ...]:
    since = (now - RETRY_LIFE).timestamp()
    first = int(since // 60)
    minutes = range(first, first + _MINUTES)  # one minute after now: a later request may have been stored before this
    return key, *minutes, digest, since


def deleted(idempotency: Idempotency) -> GenerationDeleted:
    """The error for a repeat of a request whose generation was deleted."""
    if idempotency.key is not None:
        return GenerationDeleted(
            "The generation that this Idempotency-Key made was deleted. To make another, send a new key.",
            param=KEY_PARAM,
        )
    return GenerationDeleted(
        "This is a retry of a request whose generation was deleted. To make another, send it as a new request."
    )


async def add_key(transaction: Transaction, generation: Generation, name: str, digest: bytes) -> None:
    """Store that the idempotency key `name` has made this generation."""
    created_at = generation.created_at.timestamp()
    await transaction.run(_ADD_KEY, (generation.owner, name, digest, generation.id, created_at))


async def add_deleted(transaction: Transaction, generation_id: str) -> None:
    """Store the digest of a generation that is about to be deleted, so that a retry of its request buys nothing."""
    await transaction.run(_ADD_DELETED, (generation_id,))


def past_lives(now: datetime) -> tuple[float, float]:
    """Two moments in Unix seconds: keys, and deleted generations, from before them are no longer needed."""
    return (now - KEY_LIFE).timestamp(), (now - RETRY_LIFE).timestamp()


async def forget(transaction: Transaction, now: datetime, limit: int) -> int:
    """See `Store.forget`."""
    count = 0
    for sql, before in zip((_FORGET_KEYS, _FORGET_DELETED), past_lives(now), strict=True):
        count += await transaction.run(sql, (before, limit))
    return count
