"""Removal from the ledger: of one generation with all that belongs to it, and of what was stored long enough."""

from datetime import datetime

from gateway.domain.generation.event_names import ENDS
from gateway.domain.generation.model import Generation
from gateway.domain.generation.purchases import purchases_of
from gateway.store.retention import FIRST_END, EndPlace
from gateway.store.sql import accounting, artifacts, files, generations, idempotency, purchases
from gateway.store.sql.columns import to_json
from gateway.store.sql.database import Reader, Transaction, Work, Writer
from gateway.store.sql.rows import OPEN, SELECT, generation_of

# True for a generation, as `g`, that has ended and that nobody needs any more. The values are now, twice.
_REMOVABLE = (
    f"(status not in {OPEN}"
    " and not exists (select 1 from attempts as a where a.generation_id = g.id and (a.state in"
    " ('submitting', 'accepted') or (a.state = 'abandoned' and g.deadline_at > ?)))"
    " and not exists (select 1 from outputs as o where o.generation_id = g.id and o.unkept_until > ?)"
    " and not exists (select 1 from artifacts as f where f.generation_id = g.id)"
    " and not exists (select 1 from deliveries as d where d.generation_id = g.id and d.state = 'pending'))"
)
_ENDED = (
    f"select completed_at, id, {_REMOVABLE} from generations as g indexed by generations_by_end"
    " where completed_at < ? and (completed_at, id) > (?, ?) order by completed_at, id limit ?"
)
_STILL_REMOVABLE = f"{SELECT} where id in (select value from json_each(?)) and {_REMOVABLE}"
_EVENTS = (
    # The status by a select of its own: for a join, PostgreSQL may read all generations.
    "select seq, at, type, (select status from generations where id = generation_id) from events"
    " where seq > ? order by seq limit ?"
)
_DELETE_EVENTS = "delete from events where seq in (select cast(value as bigint) from json_each(?))"
_OPEN_WORDS = {"queued", "in_progress"}


async def remove(transaction: Transaction, generation: Generation, now: datetime) -> None:
    """Delete an ended generation with everything that belongs to it; see `Store.delete` for what is left of it.

    The statements run in the transaction of the caller.
    """
    await purchases.add(transaction, purchases_of(generation, now))
    await accounting.close(transaction, generation, now)
    await generations.remove_metadata(transaction, generation)
    used = await transaction.all(files.USES, (generation.id,))
    await idempotency.add_deleted(transaction, generation.id)
    await transaction.run(artifacts.END, (generation.id,))
    await transaction.run("delete from generations where id = ?", (generation.id,))
    await transaction.many(files.DELETE_UNUSED, used)


class SqlRetention:
    """Implements `Retention`."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self._reader = reader
        self._writer = writer

    async def remove_generations(
        self, ended_before: datetime, now: datetime, limit: int, after: EndPlace = FIRST_END
    ) -> tuple[int, EndPlace | None]:
        at = now.timestamp()
        values = (at, at, ended_before.timestamp(), after.ended_at, after.generation_id, limit)
        rows = await self._reader.all(_ENDED, values)
        ids = [generation_id for _, generation_id, is_removable in rows if is_removable]
        if ids:
            await self._writer.run(_removal(ids, now))
        return len(ids), EndPlace(*rows[-1][:2]) if len(rows) == limit else None

    async def remove_events(self, before: datetime, limit: int, after: int = 0) -> tuple[int, int | None]:
        rows = await self._reader.all(_EVENTS, (after, limit))
        old = []
        for seq, at, kind, status in rows:
            if at >= before.timestamp() or status in _OPEN_WORDS:
                break
            after = seq
            if kind not in ENDS:
                old.append(seq)
        else:
            return await self._remove_events(old), after if len(rows) == limit else None
        return await self._remove_events(old), None

    async def _remove_events(self, numbers: list[int]) -> int:
        if numbers:
            await self._writer.run(lambda transaction: transaction.run(_DELETE_EVENTS, (to_json(numbers),)))
        return len(numbers)


def _removal(ids: list[str], now: datetime) -> Work[None]:
    async def work(transaction: Transaction) -> None:
        at = now.timestamp()
        for row in await transaction.all(_STILL_REMOVABLE, (to_json(ids), at, at)):
            await remove(transaction, generation_of(row), now)

    return work
