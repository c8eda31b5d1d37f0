"""Recognises repeated requests in the ledger: by idempotency key, or, for a client library's retry, by digest.

Danger: a repeat that is not recognised buys a second video.
"""

from datetime import datetime, timedelta
from typing import Any

from gateway.domain.errors import GenerationDeleted, IdempotencyKeyReused
from gateway.domain.generation.model import Generation
from gateway.store.port import KEY_LIFE, RETRY_LIFE, Idempotency
from gateway.store.sql.columns import insert
from gateway.store.sql.database import Transaction

EQUAL_MAX = 100  # generations of equal requests that are looked at
KEY_PARAM = "Idempotency-Key"
OVERTAKEN_WITHIN = timedelta(seconds=10)  # by so much a retry may be older than its request, as clocks say
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
_OF_DIGEST = " retry of {}"
_TAKE_RETRY = (
    "delete from idempotency_keys where key = ? and idempotency_key = ? and created_at >= ? returning generation_id"
)
_PUT_RETRY = (
    f"{_ADD_KEY} on conflict (key, idempotency_key)"
    " do update set generation_id = excluded.generation_id, created_at = excluded.created_at"
)
_EQUAL = (
    "select id, created_at from generations where key = ?"
    f" and cast(created_at / 60 as integer) in ({', '.join('?' * _MINUTES)}) and digest = ? and created_at >= ?"
)
_OLDEST_EQUAL = f"{_EQUAL} order by created_at, id limit {EQUAL_MAX}"
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


async def overtaken(transaction: Transaction, owner: str, idempotency: Idempotency, now: datetime) -> str | None:
    """The id of the generation that the retry of this request has made at another process meanwhile.

    A client sends a retry when it has given the request up, for example because its process was suspended. The request
    may go on after that. It counts for one request: an equal one after it is a request of its own.
    """
    if idempotency.key is not None or idempotency.retry:
        return None
    since = (now - OVERTAKEN_WITHIN).timestamp()
    for digest in (idempotency.digest, *idempotency.others):
        made: str | None = await transaction.value(_TAKE_RETRY, (owner, _OF_DIGEST.format(digest.hex()), since))
        if made is not None:
            return made
    return None


async def put_retry(transaction: Transaction, generation: Generation, digest: bytes) -> None:
    """Store that a retry has made this generation before its request has made one, for `overtaken`."""
    name, created_at = _OF_DIGEST.format(digest.hex()), generation.created_at.timestamp()
    await transaction.run(_PUT_RETRY, (generation.owner, name, digest, generation.id, created_at))


async def equal_ones(transaction: Transaction, key: str, digest: bytes, now: datetime) -> list[str]:
    """The ids of the oldest generations of equal requests, at most `EQUAL_MAX`. See `Store.equal_ones`."""
    return [str(row[0]) for row in await transaction.all(_OLDEST_EQUAL, _equal_values(key, digest, now))]


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
