"""The providers that operators hold, in the ledger."""

from collections.abc import Iterable

from gateway.domain.health.hold import Hold
from gateway.store.sql.columns import Columns, insert
from gateway.store.sql.database import Reader, Row, Transaction, Writer

_HOLD = Columns(Hold)
ALL = f"select {_HOLD} from provider_holds order by provider"
_OF = f"select {_HOLD} from provider_holds where provider = ?"
_PUT = f"{insert('provider_holds', _HOLD)} on conflict (provider) do nothing"
_REMOVE = "delete from provider_holds where provider = ?"
# Whether the provider of an attempt `a` of a generation `g` is held. The plan is read only while any provider is.
IS_HELD = (
    "(exists (select 1 from provider_holds)"
    " and json_extract(g.plan, '$.routes[' || a.route || '].provider') in (select provider from provider_holds))"
)


def holds_of(rows: Iterable[Row]) -> list[Hold]:
    """The holds in the rows of `ALL`."""
    return list(map(_HOLD.of, rows))


class SqlHolds:
    """Implements `Holds`."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self._reader = reader
        self._writer = writer

    async def now(self) -> list[Hold]:
        return holds_of(await self._reader.all(ALL))

    async def put(self, hold: Hold) -> Hold:
        async def work(transaction: Transaction) -> Hold:
            await transaction.run(_PUT, _HOLD.values(hold))
            return _HOLD.of((await transaction.all(_OF, (hold.provider,)))[0])

        return await self._writer.run(work)

    async def remove(self, provider: str) -> bool:
        async def work(transaction: Transaction) -> bool:
            return await transaction.run(_REMOVE, (provider,)) == 1

        return await self._writer.run(work)
