"""Reads of unknown length: on threads, each with a connection and a deadline, a few at a time, shared by clients."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apsw

from gateway.domain.errors import Overloaded, SearchTooLong
from gateway.sharing.limiter import FairQueue
from gateway.store.sql.database import Row
from gateway.store.sqlite.errors import readable
from gateway.store.sqlite.writer import CommitWriter

PLACES = 2  # reads at the same time
WAITING_MAX = 32  # reads of one client that may wait
WAITING_IN_ALL = 512  # reads of all clients that may wait
WAIT_SECONDS = 10.0
READ_SECONDS = 2.0  # after this time a read is stopped; with the file in memory none takes a tenth of it
_CHECK_STEPS = 50_000  # instructions of SQLite between two looks at the clock, each of which needs the interpreter
_BUSY_MILLISECONDS = 1000  # how long a read waits for another program's lock


class LongReads:
    """`await long_reads.all(client, sql, values)` gives the rows. It serves one event loop.

    A client has at most one read under way: the others of its reads wait, and so leave a place to other clients. While
    the reads are paused, none begins.
    """

    def __init__(self, path: Path, writer: CommitWriter) -> None:
        self._path = path
        self._writer = writer
        self._threads = ThreadPoolExecutor(PLACES, thread_name_prefix="store-reader")
        self._readers = tuple(_Reader(path) for _ in range(PLACES))
        self._free = list(self._readers)
        self._places = FairQueue(PLACES, share=1)
        self._idle: asyncio.Future[None] | None = None  # what `pause` waits for

    @property
    def waiting(self) -> int:
        """How many reads wait for a place."""
        return self._places.waiting

    async def all(self, client: str, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Every row of a statement. The event loop converts each of them, so there should be few.

        Raises `SearchTooLong` after `READ_SECONDS`, `Overloaded` if too many reads wait or this one waited for
        `WAIT_SECONDS`, and `StoreUnavailable` if the file cannot be read.
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
            raise SearchTooLong(
                f"The search was stopped after {READ_SECONDS:g} seconds. Narrow it, for example with `created_after`,"
                " or send it again later.",
                retry_after=1,
            ) from None

    async def pause(self) -> None:
        """Let no read begin, and wait until those under way have ended. Reads that come now wait for `resume`."""
        self._places.resize(0)
        if self._places.active:
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle

    def resume(self) -> None:
        """End a pause."""
        self._places.resize(PLACES)

    def close(self) -> None:
        """Stop the reads under way, wait for their threads, and close the connections."""
        for reader in self._readers:
            reader.stop()
        self._threads.shutdown()
        for reader in self._readers:
            reader.close()

    async def _place(self, client: str) -> "_Reader":
        if self._places.waiting_of(client) >= WAITING_MAX or self.waiting >= WAITING_IN_ALL:
            raise Overloaded(
                "Too many of your searches are waiting; send fewer at the same time.", retry_after=WAIT_SECONDS / 2
            )
        slot = self._places.request(client)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await slot
        except TimeoutError:
            self._places.withdraw(client, slot)
            raise Overloaded(
                f"The search has waited for {WAIT_SECONDS:g} seconds while others ran.", retry_after=WAIT_SECONDS
            ) from None
        except asyncio.CancelledError:
            self._places.withdraw(client, slot)
            raise
        return self._free.pop()

    def _leave(self, client: str, reader: "_Reader") -> None:
        self._free.append(reader)
        self._places.leave(client)
        if self._idle is not None and not self._places.active:
            self._idle.set_result(None)
            self._idle = None


class _Reader:
    """A connection for one read at a time. It is opened by the thread that reads first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: apsw.Connection | None = None
        self._until = 0.0

    def all(self, sql: str, values: Sequence[Any]) -> list[Row]:
        """The rows of a statement. Raises `apsw.InterruptError` when the time is over."""
        self._until = time.monotonic() + READ_SECONDS
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
