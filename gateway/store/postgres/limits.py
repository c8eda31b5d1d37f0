"""Limits that hold over all gateways on a ledger in PostgreSQL; `migrations/005_limits.sql` has their functions.

What a submit or a create counts, it counts in its own transaction. Requests of clients are counted on a connection of
their own, without the lock of the ledger: one short statement that lets many requests through.
"""

import asyncio

from gateway.domain.errors import StoreUnavailable
from gateway.store.postgres.errors import explain, unavailable
from gateway.store.postgres.server import Connection, Server
from gateway.store.request_rates import Taken
from gateway.store.sql.database import OpenCount, Transaction

_ANSWER_SECONDS = 4.0  # how long a statement about requests may take, its connection included
_OPEN = "select key, generations from open_counts where key in (?, '')"
_TAKE = "select taken, unused from take_requests($1, $2, $3, $4, $5)"


class PostgresLimits:
    """Implements `SharedCounts` and `RequestRates`."""

    has_place = "submit_has_place(?, ?)"

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connection: Connection = None
        self._turn = asyncio.Lock()  # a connection carries out one statement at a time

    async def open_now(self, transaction: Transaction, owner: str) -> OpenCount:
        """See `SharedCounts`."""
        counts = {row[0]: row[1] for row in await transaction.all(_OPEN, (owner,))}
        return OpenCount(of_owner=counts.get(owner, 0), of_all=counts.get("", 0))

    async def take(self, owner: str, per_minute: int, *, most: float, wanted: int, returned: int) -> Taken:
        """See `RequestRates`."""
        values = (owner, float(per_minute), most, float(wanted), float(returned))
        try:
            async with asyncio.timeout(_ANSWER_SECONDS), self._turn:
                try:
                    if self._connection is None or self._connection.is_closed():
                        self._connection = await self._server.connect()
                    row = await self._connection.fetchrow(_TAKE, *values)
                except BaseException:  # also a cancellation: the answer of a statement may still be on its way
                    self._drop()
                    raise
        except StoreUnavailable:
            raise
        except Exception as error:
            if explain(error) is None:
                raise
            raise unavailable(error, "The database does not answer.") from error
        return Taken(int(row["taken"]), row["unused"])

    async def close(self) -> None:
        """Close the connection."""
        self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
