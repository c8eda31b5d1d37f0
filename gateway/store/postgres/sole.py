"""Lets only one gateway at a time work on a database.

A connection holds an advisory lock of its session for the life of the process. It has a thread and an event loop of its
own: it is needed before the event loop of the gateway runs, and must answer while that is busy.
"""

import asyncio
import threading
import time
from concurrent.futures import Future
from contextlib import suppress

import structlog

from gateway.store.postgres.errors import UnfitServerError, explain
from gateway.store.postgres.server import Connection, Server

log = structlog.get_logger()
LOCK = 0x76696465_6F677773  # the advisory lock of the gateway that works on the database
ANOTHER = "another gateway works on this database; only one gateway at a time can work on it in this version"
WAIT_SECONDS = 5.0  # how long a start waits for the lock: the server may still close the connection of one that died
LOOK_SECONDS = 5.0  # between two looks whether the lock is still held
_TRY_SECONDS = 0.2  # between two tries to get it
_ANSWER_SECONDS = 10.0  # how long the server may take to answer a look
_TAKE = f"select pg_try_advisory_lock({LOCK})"
# So the server notices within half a minute that the machine of a gateway is gone, and another one can start.
_KEEP_ALIVE = "set tcp_keepalives_idle = 10; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 3"


class SoleGateway:
    """The lock of this process. Without it nothing is bought twice, because fences decide; but work is done twice."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._taken: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._released = asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._hold()), name="sole-gateway", daemon=True)

    def take(self) -> None:
        """Take the lock and hold it until `release`. Raises `UnfitServerError` if another gateway has it."""
        self._thread.start()
        self._taken.result()

    def release(self) -> None:
        """Give the lock back; it may be called again, and without `take`."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the event loop has ended
                self._loop.call_soon_threadsafe(self._released.set)
            self._thread.join()

    async def _hold(self) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            connection: Connection = await self._first()
        except Exception as error:  # noqa: BLE001  # the start raises it
            self._taken.set_exception(error)
            return
        self._taken.set_result(None)
        while not await self._is_released_within(LOOK_SECONDS):
            connection = await self._held(connection)
        if connection is not None:
            await _close(connection)

    async def _is_released_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._released.wait()
        return self._released.is_set()

    async def _first(self) -> Connection:
        """The connection that has the lock."""
        until = time.monotonic() + WAIT_SECONDS
        connection = await self._server.connect()
        try:
            await connection.execute(_KEEP_ALIVE)
            while not await connection.fetchval(_TAKE):
                if time.monotonic() >= until:
                    raise UnfitServerError(ANOTHER)  # noqa: TRY301  # the connection is closed below
                await asyncio.sleep(_TRY_SECONDS)
        except BaseException:
            await _close(connection)
            raise
        return connection

    async def _held(self, connection: Connection) -> Connection:
        """The connection that has the lock now; None if it is lost, so that it is tried again later."""
        try:
            if connection is not None:
                await connection.fetchval("select 1", timeout=_ANSWER_SECONDS)
                return connection
            connection = await self._server.connect()
            await connection.execute(_KEEP_ALIVE)
            if await connection.fetchval(_TAKE):
                log.warning("database_lock_taken_again")
                return connection
            log.error("database_shared", detail=ANOTHER)
        except Exception as error:  # noqa: BLE001  # whatever it is, another connection is tried
            log.warning("database_lock_lost", reason=explain(error), error=f"{type(error).__name__}: {error}")
        if connection is not None:
            await _close(connection)
        return None


async def _close(connection: Connection) -> None:
    try:
        await connection.close(timeout=_TRY_SECONDS)
    except Exception:  # noqa: BLE001  # the server sees the end anyway
        connection.terminate()
