"""Replicas of a ledger in PostgreSQL: their rows, and what they hand over to one another.

Heartbeats have a connection of their own, so that they do not wait for the ledger. What changes who drives a generation
is a job of the writer, so that it never meets a submit half-way.
"""

import asyncio
import os
import socket
from collections.abc import Sequence
from datetime import datetime
from secrets import token_hex
from typing import Any, cast

import structlog
from msgspec import structs

from gateway.domain.errors import StoreUnavailable
from gateway.domain.replicas import JOB_SIZE, Sight, lost_commits
from gateway.store.postgres.errors import TooManyNotificationsError, explain, unavailable
from gateway.store.postgres.local_locks import LocalLocks
from gateway.store.postgres.processes import HOLD
from gateway.store.postgres.queue import TAKE_OVER, Queue, enqueue
from gateway.store.postgres.reader import PoolReader
from gateway.store.postgres.schema import OLDEST, program_schema
from gateway.store.postgres.server import Connection, Server
from gateway.store.postgres.statements import Statements
from gateway.store.postgres.writer import GroupWriter
from gateway.store.replicas import Beat, Duties
from gateway.store.sql.columns import to_json
from gateway.store.sql.database import Transaction
from gateway.store.sql.rows import OPEN
from gateway.store.sql.store import OPEN_IDS, open_since

log = structlog.get_logger()
TOO_NEW = "a newer version has changed the schema, and this one cannot work with it; start the newer version"
_ANSWER_SECONDS = 4.0  # how long a heartbeat may take, its connection included
_BATCH = 500  # generations that one transaction hands over, so that others need not wait long for the ledger
_JOIN = "insert into replicas (id, name, schema) values ($1, $2, $3)"
_REMOVE = "delete from replicas where id = $1"
_REMOVE_ENDED = "with gone as (delete from replicas where id = any($1) returning id) select count(*) from gone"
_QUEUED_MAX = 0.5  # of the room for notifications; when it is full no change can be committed
# `pg_notification_queue_usage` also frees what every listener has read: a full queue is not freed by itself.
_BEAT = f"""
with mine as (
    update replicas set heartbeat_at = clock_timestamp(), driven = $2, draining = $3
    where id = $1 and replica_lives(id) returning id
)
select
    (select id from lineages order by number desc limit 1) as lineage,
    greatest((select max(seq) from events), (select number from newest_deleted_event), 0) as newest,
    pg_notification_queue_usage() as queued,
    exists (select from mine) as lives,
    array(select driven from replicas where id <> $1 and not draining and replica_lives(id)) as others,
    exists (select from replicas where id <> $1 and not replica_lives(id)) as has_dead,
    (select count(*) from pgqueuer where entrypoint = '{TAKE_OVER}' and status in ('queued', 'picked')) as jobs
"""
# An array, so that each of them is looked up. A plan cannot know how many there are, and may join all generations.
_NEEDING = f"select id from generations where id = any(array({OPEN_IDS}))"
_OWN = f"{_NEEDING} and replica = ?"
_OWN_OPEN = f"select id from generations where status in {OPEN} and replica = ? order by id"
_ORPHANS = f"{_NEEDING} and coalesce(replica, '') <> all(array(select id from replicas where replica_lives(id)))"
_OF_DEAD = f"{_ORPHANS} and replica is not null"
_WAITING = f"select count(*) from pgqueuer where entrypoint = '{TAKE_OVER}' and status in ('queued', 'picked')"
_RELEASE = (
    "update generations set replica = null where id in (select value from json_each(?)) and replica = ?"
    " and not exists (select 1 from attempts where generation_id = generations.id and state = 'submitting')"
    " returning id"
)
_RELEASE_ORPHANS = (
    "update generations set replica = null where id in (select value from json_each(?))"
    " and not replica_lives(replica) returning id"
)
_RELEASE_DEAD = _RELEASE_ORPHANS.replace(" returning", " and replica is not null returning")
_FORGET_DEAD = "delete from replicas where not replica_lives(id)"
_LEAVE = "delete from replicas where id = ?"


class PostgresReplicas:
    """Implements `Replicas`."""

    def __init__(
        self, server: Server, reader: PoolReader, writer: GroupWriter, locks: LocalLocks, lineage: str
    ) -> None:
        """`lineage` is that of the ledger when it was opened."""
        self._server = server
        self._reader = reader
        self._writer = writer
        self._locks = locks
        self._connection: Connection = None
        self._id = ""
        self._lineage = lineage
        self._sight: Sight | None = None  # of the last heartbeat
        self.lost: str | None = None
        self._queue: Queue | None = None
        self._schema = program_schema()  # read now, as the files of the program may be replaced while it runs

    async def join(self) -> None:
        """See `Replicas`."""
        replica = f"rep_{token_hex(12)}"
        await asyncio.to_thread(self._locks.hold, replica)
        await self._ask(_JOIN, replica, f"{socket.gethostname()}:{os.getpid()}", self._schema)
        await self._check_schema(replica)
        await self._ask(HOLD, replica)
        self._id = self._writer.replica = replica
        log.info("replica_joined", replica=replica)
        await self._remove_ended()

    async def _remove_ended(self) -> None:
        """Remove the replicas whose processes have ended on this machine: what they drove has nobody then."""
        if ended := await asyncio.to_thread(self._locks.ended):
            if count := (await self._ask(_REMOVE_ENDED, ended))[0]:
                log.warning("replicas_ended", count=count, replicas=ended)
            await asyncio.to_thread(self._locks.forget, ended)

    async def _check_schema(self, replica: str) -> None:
        """Refuse to work with a schema that has become too new, perhaps while this process was cut off or suspended.

        A migration that this program cannot work with is applied only while no replica lives that has it. So this is
        looked at after the row was added.
        """
        oldest = (await self._ask(OLDEST))[0]
        if oldest > self._schema:
            await self._ask(_REMOVE, replica)
            raise StoreUnavailable("The database is too new for this version of the gateway.", reason=TOO_NEW)

    async def beat(self, driven: int, *, draining: bool) -> Beat | None:
        """See `Replicas`."""
        row = await self._ask(_BEAT, self._id, driven, draining)
        self._compare(row)
        if row["queued"] > _QUEUED_MAX:
            log.error("notification_queue_fills", used=row["queued"], detail=explain(TooManyNotificationsError()))
        if not row["lives"]:
            return None
        return Beat(others=tuple(row["others"]), has_dead=row["has_dead"], waiting=row["jobs"] * JOB_SIZE)

    async def own_open(self) -> list[str]:
        """See `Replicas`."""
        return [row[0] for row in await self._reader.all(_OWN_OPEN, (self._id,))]

    async def hand_over(self, ids: Sequence[str]) -> list[str]:
        """See `Replicas`."""
        return await self._release(ids, _RELEASE, self._id)

    async def hand_over_all(self, now: datetime) -> int:
        """See `Replicas`."""
        return len(await self.hand_over(await self._ids(_OWN, now, self._id)))

    async def hand_over_dead(self, now: datetime) -> int:
        """See `Replicas`."""
        released = await self._release(await self._ids(_OF_DEAD, now), _RELEASE_DEAD)
        await self._writer.run(lambda transaction: transaction.run(_FORGET_DEAD))
        return len(released)

    async def hand_over_orphans(self, now: datetime) -> int:
        """See `Replicas`. While there are jobs, what belongs to no replica may be in one of them."""
        if await self.waiting():
            return await self.hand_over_dead(now)
        return len(await self._release(await self._ids(_ORPHANS, now), _RELEASE_ORPHANS))

    async def waiting(self) -> int:
        """See `Replicas`."""
        return int((await self._reader.all(_WAITING))[0][0])

    async def leave(self) -> None:
        """See `Replicas`."""
        replica, self._id = self._id, ""
        await self._writer.run(lambda transaction: transaction.run(_LEAVE, (replica,)))
        self._locks.release()

    async def work(self, duties: Duties) -> None:
        """See `Replicas`."""
        self._queue = Queue(self._server, duties)
        await self._queue.run()

    async def stop_work(self) -> None:
        """See `Replicas`."""
        if self._queue is not None:
            await self._queue.stop()

    async def close(self) -> None:
        """Close the connection."""
        await self.stop_work()
        self._drop()

    def _compare(self, row: Any) -> None:
        """Notice that the ledger has lost what was committed."""
        sight = Sight(lineage=row["lineage"], newest=row["newest"])
        before = self._sight or structs.replace(sight, lineage=self._lineage)
        self._sight = sight
        if self.lost is None and (lost := lost_commits(before, sight)) is not None:
            self.lost = lost

    async def _ids(self, statement: str, now: datetime, *values: Any) -> list[str]:
        return [row[0] for row in await self._reader.all(statement, (*open_since(now), *values))]

    async def _release(self, ids: Sequence[str], statement: str, *values: Any) -> list[str]:
        """Let generations go and enqueue them, in batches. Returns those that the statement has changed."""
        released: list[str] = []
        for start in range(0, len(ids), _BATCH):
            batch = list(ids[start : start + _BATCH])

            async def work(transaction: Transaction, batch: Sequence[str] = batch) -> list[str]:
                rows = await transaction.all(statement, (to_json(batch), *values))
                changed = sorted(row[0] for row in rows)
                await enqueue(cast(Statements, transaction).connection, changed, JOB_SIZE)
                return changed

            released += await self._writer.run(work)
        return released

    async def _ask(self, sql: str, *values: Any) -> Any:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                if self._connection is None or self._connection.is_closed():
                    self._connection = await self._server.connect()
                    if self._id:
                        await self._connection.execute(HOLD, self._id)
                return await self._connection.fetchrow(sql, *values)
        except StoreUnavailable:
            raise
        except Exception as error:
            self._drop()
            if explain(error) is None:
                raise
            raise unavailable(error, "The database does not answer.") from error

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
