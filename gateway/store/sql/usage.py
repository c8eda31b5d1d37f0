"""Rows of usage in the ledger.

A row is changed by the difference between two contributions of a generation, in the transaction that changes the
generation. Generations from before usage was counted are counted in batches, each at once with the place that the
counting has reached. So every generation counts exactly once, also if it changes or is deleted meanwhile.
"""

from collections.abc import Iterable
from datetime import date

from msgspec.structs import astuple

from gateway.domain.errors import SearchTooLong, UsageNotReady
from gateway.domain.generation.model import Generation
from gateway.domain.usage.contribution import (
    NAMES,
    NOTHING,
    Contribution,
    Counts,
    added,
    contribution,
    differences,
    time_differences,
)
from gateway.ids import moment_of
from gateway.store.sql.columns import Columns, insert, only_if
from gateway.store.sql.database import Change, Reader, Row, Transaction, Writer
from gateway.store.sql.rows import SELECT, generation_of
from gateway.store.usage import GROUPS, Group, UsageQuery, UsageRow

_COUNTS = Columns(Counts)
_KEY = ("day", "key", "model", "provider")
_INSERT = insert("usage", *_KEY, _COUNTS)
_OR_ADD = f" on conflict ({', '.join(_KEY)}) do update set "
_OR_ADD += ", ".join(f"{name} = usage.{name} + excluded.{name}" for name in NAMES)
_INSERT_TIME = insert("usage_times", *_KEY, "bucket", "number")
_OR_ADD_TIME = f" on conflict ({', '.join(_KEY)}, bucket) do update set number = usage_times.number + excluded.number"
_ADD, _ADD_TIME = _INSERT + _OR_ADD, _INSERT_TIME + _OR_ADD_TIME
_IS_UNCOUNTED = "exists (select 1 from usage_uncounted where after < ? and until >= ?)"
_ADD_IF_COUNTED = f"{only_if(_INSERT, f'not {_IS_UNCOUNTED}')}{_OR_ADD}"
_ADD_TIME_IF_COUNTED = f"{only_if(_INSERT_TIME, f'not {_IS_UNCOUNTED}')}{_OR_ADD_TIME}"
_UNCOUNTED = "select after, until from usage_uncounted"
_NEXT_UNCOUNTED = f"{SELECT} where id > ? and id <= ? order by id limit ?"
_COUNTED_TO = "update usage_uncounted set after = ?"
_ALL_COUNTED = "delete from usage_uncounted"
_COLUMN: dict[Group, str] = {"day": "day", "client": "key", "model": "model", "provider": "provider"}
_EXPIRED = "select key, day, model, provider from usage where day < ? order by day limit ?"
_HAS_EXPIRED = "select 1 from usage where day < ? order by day limit 1"
_DELETE_TIMES = "delete from usage_times where key = ? and day = ? and model = ? and provider = ?"
_DELETE = "delete from usage where key = ? and day = ? and model = ? and provider = ?"
_RETRY_SECONDS = 30

Place = tuple[str, str, str, str]  # the key of a row: day, owner, model, provider


def changes(generation: Generation, old: Contribution, new: Contribution) -> list[Change]:
    """The changes that bring the rows up to date after a change of a generation; `old` is `NOTHING` for a create.

    They belong into the transaction of that change. What `count_history` has yet to reach is counted there, as it will
    be then.
    """
    if new == old:
        return []
    counts, times = _sums([(generation, old, new)])
    own = (generation.id, generation.id)
    return [
        *((_ADD_IF_COUNTED, (*place, *astuple(difference), *own)) for place, difference in counts.items()),
        *((_ADD_TIME_IF_COUNTED, (*place, bucket, number, *own)) for (place, bucket), number in times.items()),
    ]


async def close(transaction: Transaction, generation: Generation) -> None:
    """Count a generation that is being deleted, if it has not been counted: it goes on to count."""
    if await transaction.first(f"select 1 where {_IS_UNCOUNTED}", (generation.id, generation.id)):
        await _apply(transaction, [generation])


async def _apply(transaction: Transaction, generations: Iterable[Generation]) -> None:
    """Add what generations contribute that were not counted before."""
    counts, times = _sums((generation, NOTHING, contribution(generation)) for generation in generations)
    await transaction.many(_ADD, [(*place, *astuple(difference)) for place, difference in counts.items()])
    if times:
        await transaction.many(_ADD_TIME, [(*place, bucket, number) for (place, bucket), number in times.items()])


def _sums(
    changes: Iterable[tuple[Generation, Contribution, Contribution]],
) -> tuple[dict[Place, Counts], dict[tuple[Place, int], int]]:
    """The differences between old and new contributions, for each row of counts and of times."""
    counts: dict[Place, Counts] = {}
    times: dict[tuple[Place, int], int] = {}
    for generation, old, new in changes:
        # Of the id, because a repair of the clock changes `created_at`.
        day = moment_of(generation.id).date().isoformat()
        own = (day, generation.owner, generation.request.model)
        for provider, difference in differences(old, new):
            place = (*own, provider)
            counts[place] = added(counts[place], difference) if place in counts else difference
        for (provider, bucket), number in time_differences(old, new):
            slot = ((*own, provider), bucket)
            times[slot] = times.get(slot, 0) + number
    return counts, times


class SqlUsage:
    """Implements `Usage`."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self._reader = reader
        self._writer = writer

    async def rows(self, query: UsageQuery, limit: int) -> list[UsageRow]:
        if await self._reader.all(_UNCOUNTED):
            raise UsageNotReady(
                "After an update, the generations of before are still being counted.", retry_after=_RETRY_SECONDS
            )
        where, values = _conditions(query)
        names = _groups(query)
        sums = ", ".join(f"cast(sum({name}) as bigint)" for name in NAMES)
        is_used = " or ".join(f"sum({name}) <> 0" for name in NAMES)
        sql = f"select {names}, {sums} from usage where {where} group by 1, 2, 3, 4 having {is_used}"
        try:
            rows = await self._reader.long(query.reader, f"{sql} order by 1, 2, 3, 4 limit ?", (*values, limit))
            times = await self._reader.long(query.reader, _TIMES.format(names=names, where=where), values)
        except SearchTooLong:
            raise SearchTooLong(
                "The read of usage was stopped, because it takes too long. Ask for fewer days, or for one model,"
                " provider or client.",
                retry_after=1,
            ) from None
        buckets = {row[:4]: row[4:] for row in times}
        return [_row(row, *buckets.get(row[:4], (None, None))) for row in rows]

    async def count_history(self, limit: int) -> int:
        if not await self._reader.all(_UNCOUNTED):
            return 0  # without a write

        async def work(transaction: Transaction) -> int:
            place = await transaction.first(_UNCOUNTED)
            if place is None:
                return 0
            rows = await transaction.all(_NEXT_UNCOUNTED, (*place, limit))
            generations = [generation_of(row) for row in rows]
            await _apply(transaction, generations)
            if len(generations) < limit:
                await transaction.run(_ALL_COUNTED)
            else:
                await transaction.run(_COUNTED_TO, (generations[-1].id,))
            return len(generations)

        return await self._writer.run(work)

    async def expire(self, before: date, limit: int) -> int:
        if not await self._reader.all(_HAS_EXPIRED, (before.isoformat(),)):
            return 0  # without a write

        async def work(transaction: Transaction) -> int:
            expired = await transaction.all(_EXPIRED, (before.isoformat(), limit))
            await transaction.many(_DELETE_TIMES, expired)
            await transaction.many(_DELETE, expired)
            return len(expired)

        return await self._writer.run(work)


# By group, the buckets of the median and of the 95th percentile: the first ones that hold, with those before them, at
# least so many of the times.
_TIMES = (
    "with times as (select {names}, bucket, sum(number) as number from usage_times where {where}"
    " group by 1, 2, 3, 4, bucket having sum(number) > 0),"
    " running as (select *, sum(number) over (partition by day, client, model, provider order by bucket) as until,"
    " sum(number) over (partition by day, client, model, provider) as total from times)"
    " select day, client, model, provider, min(bucket) filter (where until * 100 >= total * 50),"
    " min(bucket) filter (where until * 100 >= total * 95) from running group by 1, 2, 3, 4"
)


def _groups(query: UsageQuery) -> str:
    """The four columns by which rows are grouped; null for those that the query does not group by."""
    return ", ".join(f"{_COLUMN[group] if group in query.group_by else 'null'} as {group}" for group in GROUPS)


def _conditions(query: UsageQuery) -> tuple[str, tuple[str, ...]]:
    wanted = {"key = ?": query.owner, "model = ?": query.model, "provider = ?": query.provider}
    given = {condition: value for condition, value in wanted.items() if value is not None}
    conditions = ("day between ? and ?", *given)
    return " and ".join(conditions), (query.first_day.isoformat(), query.last_day.isoformat(), *given.values())


def _row(row: Row, median: int | None, slow: int | None) -> UsageRow:
    day, client, model, provider, *counts = row
    return UsageRow(
        counts=_COUNTS.of(counts),
        median_bucket=median,
        slow_bucket=slow,
        day=day,
        client=client,
        model=model,
        provider=provider,
    )
