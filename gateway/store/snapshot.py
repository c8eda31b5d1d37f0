"""Reads a ledger as it is at one moment, beside the gateways that work on it: for audits."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import apsw

from gateway.settings.sections import DatabaseSettings
from gateway.store.sql.database import T, Work
from gateway.store.sqlite.backup import is_in_use
from gateway.store.sqlite.jobs import SqliteTransaction, drive

_BUSY_MILLISECONDS = 5000


def snapshot(database: DatabaseSettings, work: Work[T]) -> T:
    """The result of `work`, all of whose statements see one moment. It must write nothing.

    The call waits for the database, also on an event loop. Raises what the database raises.
    """
    if database.path is not None:
        return _of_file(database.path, work)
    with ThreadPoolExecutor(1, thread_name_prefix="store-snapshot") as threads:
        return threads.submit(asyncio.run, _of_server(database, work)).result()


def _of_file(path: Path, work: Work[T]) -> T:
    # If no process has it open, a connection that may not write could not remove SQLite's side files again.
    flags = apsw.SQLITE_OPEN_READONLY if is_in_use(path) else apsw.SQLITE_OPEN_READWRITE
    with closing(apsw.Connection(str(path), flags=flags)) as connection:
        connection.set_busy_timeout(_BUSY_MILLISECONDS)
        connection.execute("begin")  # its end is that of the connection: nothing was written
        return drive(work(SqliteTransaction(connection)))


async def _of_server(database: DatabaseSettings, work: Work[T]) -> T:
    from gateway.store.postgres.server import Server  # noqa: PLC0415  # most gateways do without
    from gateway.store.postgres.statements import Statements  # noqa: PLC0415

    connection = await Server(database.url, database.password).connect()
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return await work(Statements(connection))
    finally:
        await connection.close()
