"""Reads of the ledger beside the writer, on connections of a pool."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import asyncpg

from gateway.domain.errors import StoreUnavailable
from gateway.store import long_reads
from gateway.store.long_reads import ReadPlaces, too_long
from gateway.store.postgres.dialect import translate
from gateway.store.postgres.errors import RETRY_AFTER_SECONDS, explain, is_lost, unavailable
from gateway.store.postgres.server import Connection, Server
from gateway.store.sql.database import Row

CONNECTIONS = 8  # at most, for short reads
CONNECTION_SECONDS = 4.0  # how long a read waits for a connection
SHORT_SECONDS = 5.0  # after this time a short read is stopped: it means that the server does not answer
# How long a read that was stopped waits for the server to stop it too. A server that cannot be reached never answers.
_CANCEL_SECONDS = 1.0
_CLOSING_SECONDS = 5.0


class PoolReader:
    """Implements `Reader`. Connections are opened when they are needed. It serves one event loop."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._pool: Any = None
        self._places = ReadPlaces()
        self._is_closed = False

    async def all(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """See `Reader`. A read whose connection breaks is repeated once on another one."""
        return await self._fetch(sql, values, SHORT_SECONDS)

    async def long(self, client: str, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """See `Reader`."""
        await self._places.take(client)
        try:
            return await self._fetch(sql, values, long_reads.READ_SECONDS)
        except _TooLong:
            raise too_long() from None
        finally:
            self._places.leave(client)

    async def close(self) -> None:
        """Wait for the reads under way, then close the connections."""
        self._is_closed = True
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                async with asyncio.timeout(_CLOSING_SECONDS):
                    await pool.close()
            except TimeoutError:
                pool.terminate()

    async def _fetch(self, sql: str, values: Sequence[Any], limit: float) -> list[Row]:
        statement = translate(sql)
        given = statement.values(values)
        try:
            try:
                return await self._once(statement.sql, given, limit)
            except Exception as error:
                if not is_lost(error) or isinstance(error, TimeoutError):
                    raise
                return await self._once(statement.sql, given, limit)
        except _TooLong:
            if limit == long_reads.READ_SECONDS:
                raise
            raise unavailable(TimeoutError(), "The store cannot be read now.") from None
        except Exception as error:
            if explain(error) is None:
                raise
            raise unavailable(error, "The store cannot be read now.") from error

    async def _once(self, sql: str, values: Sequence[Any], limit: float) -> list[Row]:
        if self._is_closed:
            raise StoreUnavailable("The store is closed.", retry_after=RETRY_AFTER_SECONDS)
        if self._pool is None:
            # Not with `init`: when that is cancelled, the pool waits for the server to answer it.
            self._pool = asyncpg.create_pool(
                connect=lambda _, **given: self._server.connect(**given),
                min_size=0,
                max_size=CONNECTIONS,
                reset=_as_it_is,
            )
        await self._pool  # opens it at the first time
        connection = await self._pool.acquire(timeout=CONNECTION_SECONDS)
        try:
            rows: list[Row] = await connection.fetch(sql, *values, timeout=limit)
        except TimeoutError:
            raise _TooLong from None
        finally:
            with suppress(TimeoutError):  # the connection is closed then
                await self._pool.release(connection, timeout=_CANCEL_SECONDS)
        return rows


class _TooLong(TimeoutError):
    """The statement was stopped at its limit."""


async def _as_it_is(_: Connection) -> None:
    """Nothing has to be taken back before the next read: reads set nothing."""
