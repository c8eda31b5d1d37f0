"""Webhook endpoints and deliveries in the ledger.

Four triggers keep the table `receivers`: for each API key and receiver with a pending delivery, when the first is due.
The deliverer looks there which keys and receivers have something due, without reading all pending deliveries.
"""

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from gateway.domain.adapter.task import Status
from gateway.domain.errors import Conflict
from gateway.domain.generation.model import Generation
from gateway.domain.webhooks import (
    ENDPOINTS_MAX,
    TEST,
    Delivery,
    DeliveryState,
    DeliveryTry,
    Endpoint,
    Notice,
    SigningSecret,
    again,
    noted,
    notices_to_endpoint,
    notices_to_own_url,
    receiver,
    tried,
)
from gateway.ids import RANDOM_BYTES, ulid
from gateway.store.pages import cut
from gateway.store.sql.columns import Columns, assignments, insert, moment, seconds, to_json
from gateway.store.sql.database import Reader, Row, Transaction, Work, Writer
from gateway.store.webhooks import TEST_LIFE, Claim, DeliveryPage, DeliveryQuery

_ENDPOINT = Columns(Endpoint)
_DELIVERY = Columns(Delivery)
_events = msgspec.json.Decoder(tuple[str, ...])
_secrets = msgspec.json.Decoder(tuple[SigningSecret, ...])

_COUNT_ENDPOINTS = "select count(*) from webhook_endpoints where key = ?"
_INSERT_ENDPOINT = insert("webhook_endpoints", _ENDPOINT)
_ENDPOINTS_OF_KEY = f"select {_ENDPOINT} from webhook_endpoints where key = ? order by id"
_ENDPOINT_OF_KEY = f"select {_ENDPOINT} from webhook_endpoints where id = ? and key = ?"
_UPDATE_ENDPOINT = f"update webhook_endpoints set {assignments(_ENDPOINT)} where id = ?"
_DELETE_ENDPOINT = "delete from webhook_endpoints where id = ? and key = ?"
_DISABLE_GONE = "update webhook_endpoints set disabled = 'gone' where id = ? and disabled is null"
_ENABLED = "select id, url, events from webhook_endpoints where key = ? and disabled is null order by id"

_INSERT = insert("deliveries", _DELIVERY, "receiver")
_BY_ID = f"select {_DELIVERY} from deliveries where id = ?"
_OF_OWNER = f"{_BY_ID} and key = coalesce(?, key)"  # null: of any owner
_UPDATE = "update deliveries set url = ?, state = ?, next_at = ?, retries = ?, tries = ?, receiver = ? where id = ?"
# An endpoint may have any number of deliveries, so they are changed and deleted in batches, each a transaction.
_BATCH = 200  # deliveries: the event loop needs some milliseconds for them, because each changes several indexes
_PENDING = "select id from deliveries where endpoint_id = ? and state = 'pending' and id > ? order by id limit ?"
_REDIRECT = "update deliveries set url = ?, receiver = ? where id = ? and state = 'pending'"
_GIVE_UP = "update deliveries set state = 'dead', next_at = null where id = ? and state = 'pending'"
_DELETE_BATCH = (
    "delete from deliveries where id in (select id from deliveries indexed by deliveries_of_endpoint"
    " where endpoint_id = ? order by id limit ?)"
)
_DISABLE = "update webhook_endpoints set disabled = 'requested' where id = ? and key = ?"
_PENDING_TEST = (
    "select id from deliveries indexed by deliveries_of_tests"
    " where generation_id is null and endpoint_id = ? and state = 'pending' limit 1"
)
# Each key with the time of its first due delivery. The recursion steps from one key to the next along the index, so the
# cost is by the number of keys and not by the number of their receivers.
_KEYS = (
    "with recursive k (key) as (select min(key) from receivers union all"
    " select (select min(key) from receivers where key > k.key) from k where k.key is not null)"
    " select key, (select min(next_at) from receivers where key = k.key) from k where key is not null"
)
_RECEIVERS = "select name, next_at from receivers where key = ? and next_at <= ? order by next_at, name limit ?"
_NEXT_DUE = "select min(next_at) from receivers where next_at > ?"
_DUE = (
    f"select {', '.join(f'd.{name}' for name in _DELIVERY.names)}, e.secrets, e.url, e.disabled from deliveries as d"
    " left join webhook_endpoints as e on e.id = d.endpoint_id"
    " where d.state = 'pending' and d.key = ? and d.receiver = ? and d.next_at <= ? order by d.next_at, d.id limit ?"
)
_CLAIM = "update deliveries set next_at = ? where id = ?"
_EXPIRED = "generation_id is null and id < ? and state <> 'pending'"  # tests that have ended; ids begin with the time
_IN_ORDER = "order by generation_id, id"  # of the index `deliveries_of_generation`, not of all deliveries
_HAS_EXPIRED = f"select 1 from deliveries where {_EXPIRED} {_IN_ORDER} limit 1"
_EXPIRE = f"delete from deliveries where id in (select id from deliveries where {_EXPIRED} {_IN_ORDER} limit ?)"
# Ended ones of any kind; few of those before them are pending, because no schedule lasts longer than two days.
_OLD = "id < ? and state <> 'pending'"
_HAS_OLD = f"select 1 from deliveries where {_OLD} order by id limit 1"
_REMOVE_OLD = f"delete from deliveries where id in (select id from deliveries where {_OLD} order by id limit ?)"


async def add(transaction: Transaction, generation: Generation, status: Status, now: datetime) -> bool:
    """Add the deliveries that announce the end of a generation; True if there are any.

    Runs in the transaction that ends the generation, so that an end is never stored without its deliveries.
    """
    targets: list[tuple[str | None, str, Notice]] = [
        (None, generation.request.webhook_url or "", notice) for notice in notices_to_own_url(generation, status)
    ]
    targets += [
        (endpoint_id, url, notice)
        for endpoint_id, url, events in await transaction.all(_ENABLED, (generation.owner,))
        for notice in notices_to_endpoint(generation, status, _events.decode(events))
    ]
    for endpoint_id, url, notice in targets:
        delivery = Delivery(
            id=_delivery_id(now),
            key=generation.owner,
            event_id=notice.event_id,
            type=notice.type,
            url=url,
            created_at=now,
            generation_id=generation.id,
            output=notice.output,
            endpoint_id=endpoint_id,
            next_at=now,
        )
        await _insert(transaction, delivery)
    return bool(targets)


class SqlWebhooks:
    """Implements `WebhookRows`."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self._reader = reader
        self._writer = writer
        self.wake: Callable[[], None] = lambda: None  # what `on_due` was given

    def on_due(self, wake: Callable[[], None]) -> None:
        self.wake = wake

    async def add_endpoint(self, endpoint: Endpoint) -> bool:
        async def work(transaction: Transaction) -> bool:
            count: int = await transaction.value(_COUNT_ENDPOINTS, (endpoint.key,))
            if count >= ENDPOINTS_MAX:
                return False
            await transaction.run(_INSERT_ENDPOINT, _ENDPOINT.values(endpoint))
            return True

        return await self._writer.run(work)

    async def endpoints(self, key: str) -> list[Endpoint]:
        return [_ENDPOINT.of(row) for row in await self._reader.all(_ENDPOINTS_OF_KEY, (key,))]

    async def endpoint(self, endpoint_id: str, key: str) -> Endpoint | None:
        return next((_ENDPOINT.of(row) for row in await self._reader.all(_ENDPOINT_OF_KEY, (endpoint_id, key))), None)

    async def change_endpoint(
        self, endpoint_id: str, key: str, change: Callable[[Endpoint], Endpoint]
    ) -> Endpoint | None:
        was: str | None = None

        async def work(transaction: Transaction) -> Endpoint | None:
            nonlocal was
            before = await _endpoint(transaction, endpoint_id, key)
            if before is None:
                return None
            was, after = before.url, change(before)
            await transaction.run(_UPDATE_ENDPOINT, (*_ENDPOINT.values(after), endpoint_id))
            return after

        changed = await self._writer.run(work)
        if changed is not None and changed.disabled is not None:
            await self._change_pending(endpoint_id, _GIVE_UP)
        elif changed is not None and changed.url != was:
            await self._change_pending(endpoint_id, _REDIRECT, (changed.url, receiver(changed.url)))
        self.wake()  # its deliveries may have moved to a receiver that has free places
        return changed

    async def remove_endpoint(self, endpoint_id: str, key: str) -> bool:
        def changes(sql: str, *values: object) -> Work[int]:
            return lambda transaction: transaction.run(sql, values)

        if not await self._writer.run(changes(_DISABLE, endpoint_id, key)):
            return False
        while await self._writer.run(changes(_DELETE_BATCH, endpoint_id, _BATCH)):
            pass
        return await self._writer.run(changes(_DELETE_ENDPOINT, endpoint_id, key)) == 1

    async def _change_pending(self, endpoint_id: str, sql: str, values: tuple[object, ...] = ()) -> None:
        """Carry out an update of each pending delivery of an endpoint, in batches.

        Nothing depends on the end of it, which a crash may prevent: `claim` looks at the endpoint itself.
        """
        last = ""

        async def work(transaction: Transaction) -> list[str]:
            ids = [row[0] for row in await transaction.all(_PENDING, (endpoint_id, last, _BATCH))]
            await transaction.many(sql, [(*values, delivery_id) for delivery_id in ids])
            return ids

        while ids := await self._writer.run(work):
            last = ids[-1]

    async def add_test(
        self, endpoint_id: str, key: str, event_id: str, now: datetime, event: str = TEST
    ) -> Delivery | None:
        async def work(transaction: Transaction) -> Delivery | None:
            endpoint = await _endpoint(transaction, endpoint_id, key)
            if endpoint is None:
                return None
            _check_enabled(endpoint)
            pending: str | None = await transaction.value(_PENDING_TEST, (endpoint_id,))
            if pending is not None:
                raise Conflict(f"A test of this endpoint is still under way: GET /v1/webhook_deliveries/{pending}.")
            delivery = Delivery(
                id=_delivery_id(now),
                key=key,
                event_id=event_id,
                type=event,
                url=endpoint.url,
                created_at=now,
                endpoint_id=endpoint_id,
                next_at=now,
            )
            await _insert(transaction, delivery)
            return delivery

        added = await self._writer.run(work)
        self.wake()
        return added

    async def page(self, query: DeliveryQuery) -> DeliveryPage:
        ascending = (query.order == "asc") != (query.before is not None)
        where, values = _conditions(query)
        sql = f"select {_DELIVERY} from deliveries where {where} order by id {'asc' if ascending else 'desc'} limit ?"
        rows = await self._reader.all(sql, (*values, query.limit + 1))
        page, has_more = cut(rows, query.limit, backwards=query.before is not None)
        return DeliveryPage(tuple(map(_DELIVERY.of, page)), has_more)

    async def delivery(self, delivery_id: str, key: str | None) -> Delivery | None:
        rows = await self._reader.all(_OF_OWNER, (delivery_id, key))
        return _DELIVERY.of(rows[0]) if rows else None

    async def redeliver(self, delivery_id: str, key: str | None, now: datetime) -> Delivery | None:
        async def work(transaction: Transaction) -> Delivery | None:
            row = await transaction.first(_OF_OWNER, (delivery_id, key))
            if row is None:
                return None
            delivery = _DELIVERY.of(row)
            url = delivery.url
            of = delivery.endpoint_id
            endpoint = None if of is None else await _endpoint(transaction, of, delivery.key)
            if endpoint is not None:
                _check_enabled(endpoint)
                url = endpoint.url
            after = again(delivery, url, now)
            await _update(transaction, after)
            return after

        delivery = await self._writer.run(work)
        self.wake()
        return delivery

    async def keys(self) -> list[tuple[str, datetime]]:
        return [(key, datetime.fromtimestamp(at, UTC)) for key, at in await self._reader.all(_KEYS)]

    async def receivers(self, key: str, now: datetime, limit: int) -> list[tuple[str, datetime]]:
        rows = await self._reader.all(_RECEIVERS, (key, now.timestamp(), limit))
        return [(name, datetime.fromtimestamp(at, UTC)) for name, at in rows]

    async def next_due(self, now: datetime) -> datetime | None:
        ((at,),) = await self._reader.all(_NEXT_DUE, (now.timestamp(),))
        return moment(at)

    async def claim(self, free: Mapping[tuple[str, str], int], now: datetime, until: datetime) -> list[Claim]:
        async def work(transaction: Transaction) -> list[Claim]:
            claims = []
            for (key, name), limit in free.items():
                for row in await transaction.all(_DUE, (key, name, now.timestamp(), limit)):
                    *_, url, disabled = row
                    claim = _claim_of(row[:-2], None if url is None else str(url), until)
                    if disabled is not None:
                        await transaction.run(_GIVE_UP, (claim.delivery.id,))
                        continue
                    await transaction.run(_CLAIM, (until.timestamp(), claim.delivery.id))
                    claims.append(claim)
            return claims

        return await self._writer.run(work)

    async def note(
        self, claim: Claim, made: DeliveryTry, *, final: bool = False, retry_after_seconds: float | None = None
    ) -> Delivery | None:
        async def work(transaction: Transaction) -> Delivery | None:
            row = await transaction.first(_BY_ID, (claim.delivery.id,))
            if row is None:
                return None
            before = _DELIVERY.of(row)
            is_claimed = seconds(before.next_at) == claim.until.timestamp()  # else it was asked for again meanwhile
            if is_claimed or made.succeeded:
                after = tried(before, made, final=final, retry_after_seconds=retry_after_seconds)
            else:
                after = noted(before, made)
            await _update(transaction, after)
            if made.status == 410 and before.endpoint_id is not None:
                await transaction.run(_DISABLE_GONE, (before.endpoint_id,))
            return after

        delivery = await self._writer.run(work)
        if made.status == 410 and claim.delivery.endpoint_id is not None:
            await self._change_pending(claim.delivery.endpoint_id, _GIVE_UP)
        return delivery

    async def expire(self, now: datetime, limit: int, *, before: datetime | None = None) -> int:
        count = await self._expire(_HAS_EXPIRED, _EXPIRE, now - TEST_LIFE, limit)
        if before is not None:
            count += await self._expire(_HAS_OLD, _REMOVE_OLD, before, limit)
        return count

    async def _expire(self, has_expired: str, expire: str, before: datetime, limit: int) -> int:
        first = "dlv_" + ulid(before, bytes(RANDOM_BYTES))
        if not await self._reader.all(has_expired, (first,)):
            return 0  # without a write

        async def work(transaction: Transaction) -> int:
            return await transaction.run(expire, (first, limit))

        return await self._writer.run(work)


def _delivery_id(now: datetime) -> str:
    return "dlv_" + ulid(now, os.urandom(RANDOM_BYTES))


async def _endpoint(transaction: Transaction, endpoint_id: str, key: str) -> Endpoint | None:
    return next(map(_ENDPOINT.of, await transaction.all(_ENDPOINT_OF_KEY, (endpoint_id, key))), None)


def _check_enabled(endpoint: Endpoint) -> None:
    if endpoint.disabled is not None:
        raise Conflict("The endpoint is disabled; enable it first.")


def _conditions(query: DeliveryQuery) -> tuple[str, list[Any]]:
    # A generation has few deliveries, so its index is the best one. The `+` keeps SQLite from using the index of
    # another column.
    plus = "+" if query.generation_id is not None else ""
    conditions = {
        "key = ?": query.key,
        f"{plus}endpoint_id = ?": query.endpoint_id,
        "generation_id = ?": query.generation_id,
        "id > ?" if query.order == "asc" else "id < ?": query.after,
    }
    if query.before is not None:
        conditions["id < ?" if query.order == "asc" else "id > ?"] = query.before
    given = {condition: value for condition, value in conditions.items() if value is not None}
    # A state is in the text: without knowing it, PostgreSQL would look for a rare one among all deliveries.
    states = [] if query.state is None else [f"{plus}state = '{DeliveryState(query.state)}'"]
    return " and ".join([*given, *states]) or "true", list(given.values())


async def _insert(transaction: Transaction, delivery: Delivery) -> None:
    await transaction.run(_INSERT, (*_DELIVERY.values(delivery), receiver(delivery.url)))


async def _update(transaction: Transaction, delivery: Delivery) -> None:
    values = (delivery.url, delivery.state.value, seconds(delivery.next_at), delivery.retries, to_json(delivery.tries))
    await transaction.run(_UPDATE, (*values, receiver(delivery.url), delivery.id))


def _claim_of(row: Row, url: str | None, until: datetime) -> Claim:
    """The claim of a delivery; `url` is that of its endpoint now, None without an endpoint."""
    secrets = () if row[-1] is None else _secrets.decode(row[-1])
    delivery = _DELIVERY.of(row)
    return Claim(delivery=delivery if url is None else replace(delivery, url=url), secrets=secrets, until=until)
