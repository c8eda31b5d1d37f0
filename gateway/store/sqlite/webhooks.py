"""Webhooks in the SQLite ledger."""

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import apsw
import msgspec

from gateway.domain.adapter.task import Status
from gateway.domain.errors import Conflict
from gateway.domain.generation.model import Generation
from gateway.domain.webhooks import (
    ENDPOINTS_MAX,
    TEST,
    Delivery,
    DeliveryState,
    Endpoint,
    SigningSecret,
    Try,
    again,
    event_id,
    event_type,
    noted,
    receiver,
    tried,
    wants,
)
from gateway.ids import RANDOM_BYTES, ulid
from gateway.store.sqlite.reader import Reader
from gateway.store.sqlite.rows import Row, moment, seconds, to_json
from gateway.store.sqlite.writer import Writer
from gateway.store.webhooks import TEST_LIFE, Claim, DeliveryPage, DeliveryQuery

_ENDPOINT = "id, key, url, events, description, secrets, disabled, created_at"
_DELIVERY = (
    "id, key, event_id, type, url, created_at, generation_id, endpoint_id, state, next_at, retries, tries, receiver"
)
_events = msgspec.json.Decoder(tuple[str, ...])
_secrets = msgspec.json.Decoder(tuple[SigningSecret, ...])
_tries = msgspec.json.Decoder(tuple[Try, ...])

_INSERT_ENDPOINT = (
    f"insert into webhook_endpoints ({_ENDPOINT}) select ?, ?, ?, ?, ?, ?, ?, ?"
    " where (select count(*) from webhook_endpoints where key = ?) < ?"
)
_ENDPOINTS = f"select {_ENDPOINT} from webhook_endpoints where key = ? order by id"
_ONE_ENDPOINT = f"select {_ENDPOINT} from webhook_endpoints where id = ? and key = ?"
_UPDATE_ENDPOINT = (
    "update webhook_endpoints set url = ?, events = ?, description = ?, secrets = ?, disabled = ? where id = ?"
)
_FOLLOW = "update deliveries set url = ?, receiver = ? where endpoint_id = ? and state = 'pending'"
_GIVE_UP = "update deliveries set state = 'dead', next_at = null where endpoint_id = ? and state = 'pending'"
_GONE = "update webhook_endpoints set disabled = 'gone' where id = ? and disabled is null"
_LISTENING = "select id, url, events from webhook_endpoints where key = ? and disabled is null order by id"
_INSERT = f"insert into deliveries ({_DELIVERY}) values ({', '.join('?' * len(_DELIVERY.split(',')))})"
# Tests alone have no generation: they are few, while an endpoint may have many deliveries.
_PENDING_TEST = (
    "select id from deliveries indexed by deliveries_of_generation"
    " where generation_id is null and endpoint_id = ? and state = 'pending' limit 1"
)
_ONE = f"select {_DELIVERY} from deliveries where id = ?"
_UPDATE = "update deliveries set url = ?, state = ?, next_at = ?, retries = ?, tries = ?, receiver = ? where id = ?"
# From one key to the next along the index, however much each has to be sent.
_KEYS = (
    "with recursive k (key) as (select min(key) from receivers union all"
    " select (select min(key) from receivers where key > k.key) from k where k.key is not null)"
    " select key, (select min(next_at) from receivers where key = k.key) from k where key is not null"
)
_RECEIVERS = "select name, next_at from receivers where key = ? and next_at <= ? order by next_at, name limit ?"
_NEXT = "select min(next_at) from receivers where next_at > ?"
_DUE = (
    f"select {', '.join(f'd.{name.strip()}' for name in _DELIVERY.split(','))}, e.secrets from deliveries as d"
    " left join webhook_endpoints as e on e.id = d.endpoint_id"
    " where d.state = 'pending' and d.key = ? and d.receiver = ? and d.next_at <= ? order by d.next_at, d.id limit ?"
)
_EXPIRED = "generation_id is null and created_at < ? and state <> 'pending'"


def add(connection: apsw.Connection, generation: Generation, status: Status, now: datetime) -> bool:
    """Add a delivery for each who wants to know that a generation has ended so, within its transaction; if any does."""
    kind = event_type(generation.kind, status)
    told = [(None, generation.request.webhook_url)] if generation.request.webhook_url is not None else []
    told += [
        (name, url)
        for name, url, events in connection.execute(_LISTENING, (generation.key,))
        if wants(_events.decode(events), kind)
    ]
    for endpoint_id, url in told:
        delivery = Delivery(
            id=_delivery_id(now),
            key=generation.key,
            event_id=event_id(generation.id),
            type=kind,
            url=url,
            created_at=now,
            generation_id=generation.id,
            endpoint_id=endpoint_id,
            next_at=now,
        )
        connection.execute(_INSERT, _values(delivery))
    return bool(told)


class SqliteWebhooks:
    """Implements `Webhooks`."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self._reader = reader
        self._writer = writer
        self._wakes: list[Callable[[], None]] = []

    def subscribe(self, wake: Callable[[], None]) -> None:
        self._wakes.append(wake)

    def wake(self) -> None:
        """Call every subscriber: something may be due sooner than it seemed."""
        for wake in self._wakes:
            wake()

    async def add_endpoint(self, endpoint: Endpoint) -> bool:
        values = (*_endpoint_values(endpoint), endpoint.key, ENDPOINTS_MAX)

        def work(connection: apsw.Connection) -> bool:
            connection.execute(_INSERT_ENDPOINT, values)
            return connection.changes() == 1

        return await self._writer.run(work)

    async def endpoints(self, key: str) -> list[Endpoint]:
        return [_endpoint_of(row) for row in self._reader.all(_ENDPOINTS, (key,))]

    async def endpoint(self, endpoint_id: str, key: str) -> Endpoint | None:
        return next((_endpoint_of(row) for row in self._reader.all(_ONE_ENDPOINT, (endpoint_id, key))), None)

    async def change_endpoint(
        self, endpoint_id: str, key: str, change: Callable[[Endpoint], Endpoint]
    ) -> Endpoint | None:
        def work(connection: apsw.Connection) -> Endpoint | None:
            row = connection.execute(_ONE_ENDPOINT, (endpoint_id, key)).fetchone()
            if row is None:
                return None
            after = change(_endpoint_of(row))
            _, _, url, events, description, secrets, disabled, _ = _endpoint_values(after)
            connection.execute(_UPDATE_ENDPOINT, (url, events, description, secrets, disabled, endpoint_id))
            if disabled is None:
                connection.execute(_FOLLOW, (url, receiver(after.url), endpoint_id))
            else:
                connection.execute(_GIVE_UP, (endpoint_id,))
            return after

        changed = await self._writer.run(work)
        self.wake()  # it may have moved to a receiver that nothing was due at
        return changed

    async def remove_endpoint(self, endpoint_id: str, key: str) -> bool:
        def work(connection: apsw.Connection) -> bool:
            connection.execute("delete from webhook_endpoints where id = ? and key = ?", (endpoint_id, key))
            return connection.changes() == 1

        return await self._writer.run(work)

    async def add_test(self, endpoint_id: str, key: str, event_id: str, now: datetime) -> Delivery | None:
        def work(connection: apsw.Connection) -> Delivery | None:
            row = connection.execute(_ONE_ENDPOINT, (endpoint_id, key)).fetchone()
            if row is None:
                return None
            endpoint = _endpoint_of(row)
            _check_enabled(endpoint)
            pending = connection.execute(_PENDING_TEST, (endpoint_id,)).fetchone()
            if pending is not None:
                where = f"/v1/webhook_deliveries/{pending[0]}"
                raise Conflict(f"A test of this endpoint is still under way: GET {where}.")
            delivery = Delivery(
                id=_delivery_id(now),
                key=key,
                event_id=event_id,
                type=TEST,
                url=endpoint.url,
                created_at=now,
                endpoint_id=endpoint_id,
                next_at=now,
            )
            connection.execute(_INSERT, _values(delivery))
            return delivery

        added = await self._writer.run(work)
        self.wake()
        return added

    async def page(self, query: DeliveryQuery) -> DeliveryPage:
        ascending = (query.order == "asc") != (query.before is not None)
        where, values = _conditions(query)
        sql = f"select {_DELIVERY} from deliveries where {where} order by id {'asc' if ascending else 'desc'} limit ?"
        rows = self._reader.all(sql, (*values, query.limit + 1))
        has_more = len(rows) > query.limit
        rows = rows[: query.limit]
        if query.before is not None:
            rows.reverse()
        return DeliveryPage(tuple(map(_delivery_of, rows)), has_more)

    async def delivery(self, delivery_id: str, key: str) -> Delivery | None:
        found = self._reader.all(f"{_ONE} and key = ?", (delivery_id, key))
        return _delivery_of(found[0]) if found else None

    async def redeliver(self, delivery_id: str, key: str, now: datetime) -> Delivery | None:
        def work(connection: apsw.Connection) -> Delivery | None:
            row = connection.execute(f"{_ONE} and key = ?", (delivery_id, key)).fetchone()
            if row is None:
                return None
            delivery, url = _delivery_of(row), row[4]
            if delivery.endpoint_id is not None:
                endpoint = next(map(_endpoint_of, connection.execute(_ONE_ENDPOINT, (delivery.endpoint_id, key))))
                _check_enabled(endpoint)
                url = endpoint.url
            after = again(delivery, url, now)
            _update(connection, after)
            return after

        found = await self._writer.run(work)
        self.wake()
        return found

    async def keys(self) -> list[tuple[str, datetime]]:
        return [(key, datetime.fromtimestamp(at, UTC)) for key, at in self._reader.all(_KEYS)]

    async def receivers(self, key: str, now: datetime, limit: int) -> list[tuple[str, datetime]]:
        found = self._reader.all(_RECEIVERS, (key, now.timestamp(), limit))
        return [(name, datetime.fromtimestamp(at, UTC)) for name, at in found]

    async def next_due(self, now: datetime) -> datetime | None:
        ((at,),) = self._reader.all(_NEXT, (now.timestamp(),))
        return moment(at)

    async def claim(self, free: Mapping[tuple[str, str], int], now: datetime, until: datetime) -> list[Claim]:
        def work(connection: apsw.Connection) -> list[Claim]:
            claims = []
            for (key, name), limit in free.items():
                for row in connection.execute(_DUE, (key, name, now.timestamp(), limit)).fetchall():
                    claims.append(_claim_of(row, until))
                    connection.execute("update deliveries set next_at = ? where id = ?", (until.timestamp(), row[0]))
            return claims

        return await self._writer.run(work)

    async def note(
        self, claim: Claim, one: Try, *, final: bool = False, retry_after_seconds: float | None = None
    ) -> Delivery | None:
        def work(connection: apsw.Connection) -> Delivery | None:
            row = connection.execute(_ONE, (claim.delivery.id,)).fetchone()
            if row is None:
                return None
            known = _delivery_of(row)
            is_held = row[9] == claim.until.timestamp()
            if is_held or one.succeeded:
                after = tried(known, one, final=final, retry_after_seconds=retry_after_seconds)
            else:
                after = noted(known, one)
            _update(connection, after)
            if one.status == 410 and known.endpoint_id is not None:
                connection.execute(_GONE, (known.endpoint_id,))
                connection.execute(_GIVE_UP, (known.endpoint_id,))
            return after

        return await self._writer.run(work)

    async def expire(self, now: datetime, limit: int) -> int:
        before = (now - TEST_LIFE).timestamp()
        if not self._reader.all(f"select 1 from deliveries where {_EXPIRED} limit 1", (before,)):
            return 0  # without a write

        def work(connection: apsw.Connection) -> int:
            some = f"select id from deliveries where {_EXPIRED} order by created_at limit ?"
            connection.execute(f"delete from deliveries where id in ({some})", (before, limit))
            return connection.changes()

        return await self._writer.run(work)


def _delivery_id(now: datetime) -> str:
    return "dlv_" + ulid(now, os.urandom(RANDOM_BYTES))


def _check_enabled(endpoint: Endpoint) -> None:
    if endpoint.disabled is not None:
        raise Conflict("The endpoint is disabled; enable it first.")


def _conditions(query: DeliveryQuery) -> tuple[str, list[Any]]:
    few = "+" if query.generation_id is not None else ""  # no index of these beside that of the generation
    asked = {
        f"{few}endpoint_id = ?": query.endpoint_id,
        "generation_id = ?": query.generation_id,
        f"{few}state = ?": query.state,
        "id > ?" if query.order == "asc" else "id < ?": query.after,
    }
    if query.before is not None:
        asked["id < ?" if query.order == "asc" else "id > ?"] = query.before
    given = {condition: value for condition, value in asked.items() if value is not None}
    return " and ".join(("key = ?", *given)), [query.key, *given.values()]


def _update(connection: apsw.Connection, delivery: Delivery) -> None:
    values = (delivery.url, delivery.state.value, seconds(delivery.next_at), delivery.retries, to_json(delivery.tries))
    connection.execute(_UPDATE, (*values, receiver(delivery.url), delivery.id))


def _values(delivery: Delivery) -> tuple[Any, ...]:
    return (
        delivery.id,
        delivery.key,
        delivery.event_id,
        delivery.type,
        delivery.url,
        seconds(delivery.created_at),
        delivery.generation_id,
        delivery.endpoint_id,
        delivery.state.value,
        seconds(delivery.next_at),
        delivery.retries,
        to_json(delivery.tries),
        receiver(delivery.url),
    )


def _delivery_of(row: Row) -> Delivery:
    return Delivery(
        id=row[0],
        key=row[1],
        event_id=row[2],
        type=row[3],
        url=row[4],
        created_at=datetime.fromtimestamp(row[5], UTC),
        generation_id=row[6],
        endpoint_id=row[7],
        state=DeliveryState(row[8]),
        next_at=moment(row[9]),
        retries=row[10],
        tries=_tries.decode(row[11]),
    )


def _claim_of(row: Row, until: datetime) -> Claim:
    secrets = () if row[-1] is None else _secrets.decode(row[-1])
    return Claim(delivery=_delivery_of(row), secrets=secrets, until=until)


def _endpoint_values(endpoint: Endpoint) -> tuple[Any, ...]:
    return (
        endpoint.id,
        endpoint.key,
        endpoint.url,
        to_json(endpoint.events),
        endpoint.description,
        to_json(endpoint.secrets),
        endpoint.disabled,
        seconds(endpoint.created_at),
    )


def _endpoint_of(row: Row) -> Endpoint:
    return Endpoint(
        id=row[0],
        key=row[1],
        url=row[2],
        events=_events.decode(row[3]),
        description=row[4],
        secrets=_secrets.decode(row[5]),
        disabled=row[6],
        created_at=datetime.fromtimestamp(row[7], UTC),
    )
