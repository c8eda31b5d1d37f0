"""Clients and keys that were made at run time, and what limits count, in the SQLite ledger."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import apsw

from gateway.domain.clients import ClientKey, CreateLimits, Limits, day_begin, day_of
from gateway.domain.errors import Conflict, NotFound
from gateway.domain.generation.model import Generation
from gateway.ids import RANDOM_BYTES, ulid
from gateway.store.clients import CLIENTS_MAX, KEYS_MAX, Adopted, StoredClient
from gateway.store.sqlite.columns import Columns, insert, to_json
from gateway.store.sqlite.reader import ReadConnection
from gateway.store.sqlite.writer import CommitWriter

_CLIENT = Columns(StoredClient)
_KEY = Columns(ClientKey)
_ADOPTED = Columns(Adopted)
_CLIENTS = f"select {_CLIENT} from clients order by name"
_KEYS = f"select {_KEY} from client_keys order by id"
_CLIENT_NAMED = f"select {_CLIENT} from clients where name = ?"
_KEYS_OF = f"select {_KEY} from client_keys where client = ? order by id"
_KEY_OF = f"select {_KEY} from client_keys where id = ? and client = ?"
_OPEN_OF = (
    "select id from generations where key = ? and kind in ('video', 'image') and status in ('queued', 'in_progress')"
    " limit ?"
)
_COUNT_OPEN = f"select count(*) from ({_OPEN_OF})"
_OUTPUTS = "select outputs from client_days where key = ? and day = ?"
# What the client has created on this day before it had the limit.
_OUTPUTS_CREATED = (
    "select coalesce(sum(coalesce(request ->> '$.count', 1)), 0) from generations"
    " where key = ? and kind in ('video', 'image') and id >= ?"
)
_COUNT_OUTPUTS = (
    "insert into client_days (key, day, outputs) values (?, ?, ?)"
    " on conflict (key, day) do update set outputs = outputs + ?"
)
_AT_LEAST = "update client_days set outputs = max(outputs, ?) where key = ? and day = ?"
_FORGET_DAYS = "delete from client_days where key = ? and day < ?"


def adopted(connection: apsw.Connection) -> list[Adopted]:
    """Every key whose things another owner has now."""
    return [_ADOPTED.of(row) for row in connection.execute(f"select {_ADOPTED} from adopted_owners order by owner")]


def check_create(connection: apsw.Connection, generation: Generation, limits: CreateLimits) -> None:
    """Count a new generation, which is not inserted yet; raises an error for the client if it is over a limit.

    It runs in the transaction that inserts the generation, so that no two creates take the same place.
    """
    owner = generation.owner
    if limits.open_generations is not None:
        taken: int = connection.execute(_COUNT_OPEN, (owner, limits.open_generations)).get
        limits.check_open(taken)
    if limits.outputs_per_day is not None:
        day, wanted = day_of(generation.created_at), generation.request.count
        counted: int | None = connection.execute(_OUTPUTS, (owner, day)).get
        before = counted
        if before is None:
            before = _created(connection, owner, generation.created_at)
        limits.check_outputs(before, wanted, generation.created_at)
        connection.execute(_COUNT_OUTPUTS, (owner, day, before + wanted, wanted))
        if counted is None:
            connection.execute(_FORGET_DAYS, (owner, day))


def recount(connection: apsw.Connection, now: datetime) -> None:
    """Count again what was created on the present day or later: a clock that was ahead has forgotten earlier days."""
    day = day_of(now)
    for (owner,) in connection.execute("select key from client_days where day = ?", (day,)).fetchall():
        connection.execute(_AT_LEAST, (_created(connection, str(owner), now), owner, day))


def _created(connection: apsw.Connection, owner: str, moment: datetime) -> int:
    first_id = "gen_" + ulid(day_begin(moment), bytes(RANDOM_BYTES))
    outputs: int = connection.execute(_OUTPUTS_CREATED, (owner, first_id)).get
    return outputs


class SqliteClients:
    """Implements `ClientRows`."""

    def __init__(self, reader: ReadConnection, writer: CommitWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def all(self) -> tuple[list[StoredClient], list[ClientKey]]:
        return list(map(_CLIENT.of, self._reader.all(_CLIENTS))), list(map(_KEY.of, self._reader.all(_KEYS)))

    async def add(self, client: StoredClient) -> None:
        def work(connection: apsw.Connection) -> None:
            if connection.execute(_CLIENT_NAMED, (client.name,)).fetchone() is not None:
                raise Conflict(f"There is a client {client.name!r} already.", param="name")
            if connection.execute("select count(*) from clients").get >= CLIENTS_MAX:
                raise Conflict(f"There are {CLIENTS_MAX:,} clients already, the most there may be; delete some.")
            connection.execute(insert("clients", _CLIENT), _CLIENT.values(client))

        await self._writer.run(work)

    async def change(self, name: str, change: Callable[[Limits], Limits]) -> StoredClient | None:
        def work(connection: apsw.Connection) -> StoredClient | None:
            row = connection.execute(_CLIENT_NAMED, (name,)).fetchone()
            if row is None:
                return None
            before = _CLIENT.of(row)
            after = StoredClient(name=name, limits=change(before.limits), created_at=before.created_at)
            connection.execute("update clients set limits = ? where name = ?", (to_json(after.limits), name))
            return after

        return await self._writer.run(work)

    async def remove(self, name: str, owner: str) -> bool:
        def work(connection: apsw.Connection) -> bool:
            if connection.execute(_CLIENT_NAMED, (name,)).fetchone() is None:
                return False
            open_id: str | None = connection.execute(_OPEN_OF, (owner, 1)).get
            if open_id is not None:
                raise Conflict(
                    f"The client has open generations, such as {open_id}; cancel them, or wait until they have ended."
                )
            connection.execute("delete from client_keys where client = ?", (name,))
            connection.execute("delete from clients where name = ?", (name,))
            return True

        return await self._writer.run(work)

    async def keys_of(self, client: str) -> list[ClientKey]:
        return list(map(_KEY.of, self._reader.all(_KEYS_OF, (client,))))

    async def add_key(self, key: ClientKey, *, stored_client: bool) -> None:
        def work(connection: apsw.Connection) -> None:
            if stored_client and connection.execute(_CLIENT_NAMED, (key.client,)).fetchone() is None:
                raise NotFound(f"The client {key.client!r} does not exist.", param="name")
            count: int = connection.execute("select count(*) from client_keys where client = ?", (key.client,)).get
            if count >= KEYS_MAX:
                # A revoked key gives its place to a new one: the oldest of them is forgotten.
                connection.execute(
                    "delete from client_keys where id = (select id from client_keys"
                    " where client = ? and revoked_at is not null order by id limit 1)",
                    (key.client,),
                )
                if not connection.changes():
                    raise Conflict(f"The client has {KEYS_MAX} keys, the most it may have; revoke some first.")
            connection.execute(insert("client_keys", _KEY), _KEY.values(key))

        await self._writer.run(work)

    async def revoke(self, key_id: str, client: str, now: datetime) -> ClientKey | None:
        def work(connection: apsw.Connection) -> ClientKey | None:
            values: tuple[Any, ...] = (now.timestamp(), key_id, client)
            connection.execute(
                "update client_keys set revoked_at = ? where id = ? and client = ? and revoked_at is null", values
            )
            row = connection.execute(_KEY_OF, (key_id, client)).fetchone()
            return None if row is None else _KEY.of(row)

        return await self._writer.run(work)
