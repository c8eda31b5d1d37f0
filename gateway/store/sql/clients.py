"""Clients and keys that were made at run time, and what limits count, in the ledger."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from gateway.domain.clients import ClientKey, CreateLimits, Limits, day_begin, day_of
from gateway.domain.errors import Conflict, NotFound
from gateway.domain.generation.model import Generation
from gateway.ids import RANDOM_BYTES, ulid
from gateway.store.clients import CLIENTS_MAX, KEYS_MAX, Adopted, StoredClient
from gateway.store.sql.columns import Columns, insert, to_json
from gateway.store.sql.database import Reader, Transaction, Writer

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
_COUNT_OPEN = f"select count(*) from ({_OPEN_OF}) as open_ones"
_OUTPUTS = "select outputs from client_days where key = ? and day = ?"
# What the client has created on this day before it had the limit.
_OUTPUTS_CREATED = (
    "select coalesce(cast(sum(coalesce(cast(json_extract(request, '$.count') as bigint), 1)) as bigint), 0)"
    " from generations where key = ? and kind in ('video', 'image') and id >= ?"
)
_COUNT_OUTPUTS = (
    "insert into client_days (key, day, outputs) values (?, ?, ?)"
    " on conflict (key, day) do update set outputs = client_days.outputs + ?"
)
_AT_LEAST = "update client_days set outputs = ?1 where key = ?2 and day = ?3 and outputs < ?1"
_FORGET_DAYS = "delete from client_days where key = ? and day < ?"


async def adopted(transaction: Transaction) -> list[Adopted]:
    """Every key whose things another owner has now."""
    return [_ADOPTED.of(row) for row in await transaction.all(f"select {_ADOPTED} from adopted_owners order by owner")]


async def check_create(transaction: Transaction, generation: Generation, limits: CreateLimits) -> None:
    """Count a new generation, which is not inserted yet; raises an error for the client if it is over a limit.

    It runs in the transaction that inserts the generation, so that no two creates take the same place.
    """
    owner = generation.owner
    if limits.open_generations is not None:
        taken: int = await transaction.value(_COUNT_OPEN, (owner, limits.open_generations))
        limits.check_open(taken)
    if limits.outputs_per_day is not None:
        day, wanted = day_of(generation.created_at), generation.request.count
        counted: int | None = await transaction.value(_OUTPUTS, (owner, day))
        before = counted
        if before is None:
            before = await _created(transaction, owner, generation.created_at)
        limits.check_outputs(before, wanted, generation.created_at)
        await transaction.run(_COUNT_OUTPUTS, (owner, day, before + wanted, wanted))
        if counted is None:
            await transaction.run(_FORGET_DAYS, (owner, day))


async def recount(transaction: Transaction, now: datetime) -> None:
    """Count again what was created on the present day or later: a clock that was ahead has forgotten earlier days."""
    day = day_of(now)
    for (owner,) in await transaction.all("select key from client_days where day = ?", (day,)):
        await transaction.run(_AT_LEAST, (await _created(transaction, str(owner), now), owner, day))


async def _created(transaction: Transaction, owner: str, moment: datetime) -> int:
    first_id = "gen_" + ulid(day_begin(moment), bytes(RANDOM_BYTES))
    outputs: int = await transaction.value(_OUTPUTS_CREATED, (owner, first_id))
    return outputs


class SqlClients:
    """Implements `ClientRows`."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self._reader = reader
        self._writer = writer

    async def all(self) -> tuple[list[StoredClient], list[ClientKey]]:
        clients, keys = await self._reader.all(_CLIENTS), await self._reader.all(_KEYS)
        return list(map(_CLIENT.of, clients)), list(map(_KEY.of, keys))

    async def named(self, name: str) -> StoredClient | None:
        return next(map(_CLIENT.of, await self._reader.all(_CLIENT_NAMED, (name,))), None)

    async def add(self, client: StoredClient) -> None:
        async def work(transaction: Transaction) -> None:
            if await transaction.first(_CLIENT_NAMED, (client.name,)) is not None:
                raise Conflict(f"There is a client {client.name!r} already.", param="name")
            if await transaction.value("select count(*) from clients") >= CLIENTS_MAX:
                raise Conflict(f"There are {CLIENTS_MAX:,} clients already, the most there may be; delete some.")
            await transaction.run(insert("clients", _CLIENT), _CLIENT.values(client))

        await self._writer.run(work)

    async def change(self, name: str, change: Callable[[Limits], Limits]) -> StoredClient | None:
        async def work(transaction: Transaction) -> StoredClient | None:
            row = await transaction.first(_CLIENT_NAMED, (name,))
            if row is None:
                return None
            before = _CLIENT.of(row)
            after = StoredClient(name=name, limits=change(before.limits), created_at=before.created_at)
            await transaction.run("update clients set limits = ? where name = ?", (to_json(after.limits), name))
            return after

        return await self._writer.run(work)

    async def remove(self, name: str, owner: str) -> bool:
        async def work(transaction: Transaction) -> bool:
            if await transaction.first(_CLIENT_NAMED, (name,)) is None:
                return False
            open_id: str | None = await transaction.value(_OPEN_OF, (owner, 1))
            if open_id is not None:
                raise Conflict(
                    f"The client has open generations, such as {open_id}; cancel them, or wait until they have ended."
                )
            await transaction.run("delete from client_keys where client = ?", (name,))
            await transaction.run("delete from clients where name = ?", (name,))
            return True

        return await self._writer.run(work)

    async def keys_of(self, client: str) -> list[ClientKey]:
        return list(map(_KEY.of, await self._reader.all(_KEYS_OF, (client,))))

    async def add_key(self, key: ClientKey, *, stored_client: bool) -> None:
        async def work(transaction: Transaction) -> None:
            if stored_client and await transaction.first(_CLIENT_NAMED, (key.client,)) is None:
                raise NotFound(f"The client {key.client!r} does not exist.", param="name")
            count: int = await transaction.value("select count(*) from client_keys where client = ?", (key.client,))
            if count >= KEYS_MAX:
                # A revoked key gives its place to a new one: the oldest of them is forgotten.
                deleted = await transaction.run(
                    "delete from client_keys where id = (select id from client_keys"
                    " where client = ? and revoked_at is not null order by id limit 1)",
                    (key.client,),
                )
                if not deleted:
                    raise Conflict(f"The client has {KEYS_MAX} keys, the most it may have; revoke some first.")
            await transaction.run(insert("client_keys", _KEY), _KEY.values(key))

        await self._writer.run(work)

    async def revoke(self, key_id: str, client: str, now: datetime) -> ClientKey | None:
        async def work(transaction: Transaction) -> ClientKey | None:
            values: tuple[Any, ...] = (now.timestamp(), key_id, client)
            await transaction.run(
                "update client_keys set revoked_at = ? where id = ? and client = ? and revoked_at is null", values
            )
            row = await transaction.first(_KEY_OF, (key_id, client))
            return None if row is None else _KEY.of(row)

        return await self._writer.run(work)
