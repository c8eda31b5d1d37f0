"""Calls without a key that wait for their result: a repeat of one that got none takes its generation up.

Some client libraries repeat a call that was answered with 409 or 5xx, or not at all, and mark the repeat in no way: the
package `ai` does so twice, 2 and 4 seconds after the answer. Another gateway may receive the repeat.

A call has a row from its create to its answer, in one of two states:

- *held*: the process whose name the row has waits with the client for the result;
- *free*: the call has ended at `created_at`, and its client has got no result.

The row goes when the client has its answer. An equal call takes a row once, and holds it from then on: one that is free
since less than `FREE_LIFE`, or one whose process has ended in the middle of the call. So two equal calls that both wait
make a generation each. One that has failed is taken for `FREE_LIFE` after its failure only: a client that calls later
wants another try.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from gateway.store.port import RETRY_LIFE
from gateway.store.sql.columns import insert
from gateway.store.sql.database import Processes, Transaction

FREE_LIFE = timedelta(seconds=60)
_FREE = b""  # in place of the name of a process
_OF_DIGEST = " call {} "  # before the id of the generation; no client can send a key that begins with a space
_ROWS_MAX = 100  # of equal calls that are looked at
_PUT = insert("idempotency_keys", "key", "idempotency_key", "digest", "generation_id", "created_at")
_DELETE = "delete from idempotency_keys where key = ? and idempotency_key = ?"
_FREE_ONE = (
    "update idempotency_keys set digest = ?, created_at = ? where key = ? and idempotency_key = ? and digest = ?"
)
# Free ones first, the oldest first.
_ROWS = (
    "select i.idempotency_key, i.digest, i.generation_id from idempotency_keys as i"
    " join generations as g on g.id = i.generation_id"
    " where i.key = ? and i.idempotency_key >= ? and i.idempotency_key < ?"
    " and ((length(i.digest) = 0 and i.created_at > ?4) or (length(i.digest) > 0 and i.created_at > ?5))"
    " and (g.completed_at is null or g.status = 'completed' or g.completed_at > ?4)"
    f" order by case when length(i.digest) = 0 then 0 else 1 end, i.created_at, i.generation_id limit {_ROWS_MAX}"
)


class Calls:
    """The calls of one owner in one transaction; `now` is the moment by the clock of this process."""

    def __init__(self, transaction: Transaction, processes: Processes, owner: str, now: datetime) -> None:
        self._transaction = transaction
        self._processes = processes
        self._owner = owner
        self._now = now

    async def hold(self, digest: bytes, generation_id: str) -> None:
        """Store that this process waits with a client for the result of the generation."""
        moment = await self._moment()
        values = (self._owner, _name(digest, generation_id), self._processes.own, generation_id, moment)
        await self._transaction.run(_PUT, values)

    async def take(self, digests: Sequence[bytes]) -> str | None:
        """The id of the oldest generation of an equal call that has ended without a result, which is held from now on.

        `digests`: that of the call, and those that equal calls had before their owner was adopted.
        """
        moment = await self._moment()
        lives = (moment - FREE_LIFE.total_seconds(), moment - RETRY_LIFE.total_seconds())
        for digest in digests:
            start = _name(digest, "")
            values = (self._owner, start, f"{start[:-1]}!", *lives)
            for name, holder, generation_id in await self._transaction.all(_ROWS, values):
                if holder == _FREE or not await self._processes.lives(self._transaction, holder):
                    await self._transaction.run(_DELETE, (self._owner, name))
                    await self.hold(digests[0], generation_id)
                    return str(generation_id)
        return None

    async def end(self, digest: bytes, generation_id: str, *, answered: bool) -> None:
        """Store that a call has ended. If it was not `answered`, an equal call may take its generation, once."""
        name = _name(digest, generation_id)
        if answered:
            await self._transaction.run(_DELETE, (self._owner, name))
            return
        values = (_FREE, await self._moment(), self._owner, name, self._processes.own)
        await self._transaction.run(_FREE_ONE, values)

    async def _moment(self) -> float:
        return await self._processes.now(self._transaction, self._now)


def _name(digest: bytes, generation_id: str) -> str:
    return _OF_DIGEST.format(digest.hex()) + generation_id
