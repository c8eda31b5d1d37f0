"""Reads of unknown length: on threads, each with a connection and a deadline, a few at a time, shared by clients."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apsw

from gateway.store import long_reads
from gateway.store.long_reads import PLACES, ReadPlaces, too_long
from gateway.store.sql.database import Row
from gateway.store.sqlite.errors import readable
from gateway.store.sqlite.writer import CommitWriter

_CHECK_STEPS = 50_000  # instructions of SQLite between two looks at the clock, each of which needs the interpreter
_BUSY_MILLISECONDS = 1000  # how long a read waits for another program's lock


class LongReads:
    """`await long_reads.all(client, sql, values)` gives the rows. It serves one event loop.

    See `ReadPlaces`. While the reads are paused, none begins.
    """

    def __init__(self, path: Path, writer: CommitWriter) -> None:
        self._path = path
        self._writer = writer
        self._threads = ThreadPoolExecutor(PLACES, thread_name_prefix="store-reader")
        self._readers = tuple(_Reader(path) for _ in range(PLACES))
        self._free = list(self._readers)
        self._places = ReadPlaces()
        self.pause, self.resume = self._places.pause, self._places.resume

    @property
    def waiting(self) -> int:
        """How many reads wait for a place."""
        return self._places.waiting

    async def all(self, client: str, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Every row of a statement. The event loop converts each of them, so there should be few.

        Raises `SearchTooLong`, `Overloaded` if too many reads wait or this one waited too long, and `StoreUnavailable`
        if the file cannot be read.
        """
        reader = await self._place(client)
        loop = asyncio.get_running_loop()
        rows = loop.run_in_executor(self._threads, reader.all, sql, values)
        # Not in a `finally` here: if the caller is cancelled, the thread still has the connection for a moment.
        rows.add_done_callback(lambda _: self._leave(client, reader))
        try:
            with readable(self._writer):
                return await asyncio.shield(rows)
        except asyncio.CancelledError:
            reader.stop()
            rows.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody else looks at its error
            raise
        except apsw.InterruptError:
            raise too_long() from None

    def close(self) -> None:
        """Stop the reads under way, wait for their threads, and close the connections."""
        for reader in self._readers:
            reader.stop()
        self._threads.shutdown()
        for reader in self._readers:
            reader.close()

    async def _place(self, client: str) -> "_Reader":
        await self._places.take(client)
        return self._free.pop()

    def _leave(self, client: str, reader: "_Reader") -> None:
        self._free.append(reader)
        self._places.leave(client)


class _Reader:
    """A connection for one read at a time. It is opened by the thread that reads first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: apsw.Connection | None = None
        self._until = 0.0

    def all(self, sql: str, values: Sequence[Any]) -> list[Row]:
        """The rows of a statement. Raises `apsw.InterruptError` when the time is over."""
        self._until = time.monotonic() + long_reads.READ_SECONDS
        if self._connection is None:
            self._connection = self._open()
        return list(self._connection.execute(sql, values))

    def stop(self) -> None:
        """Let the read under way end at the next look at the clock."""
        self._until = 0.0

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _open(self) -> apsw.Connection:
        connection = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(_BUSY_MILLISECONDS)
        connection.execute("pragma cache_size = -16384")
        connection.set_progress_handler(lambda: time.monotonic() >= self._until, _CHECK_STEPS)
        return connection
