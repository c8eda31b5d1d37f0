"""Reads of unknown length: on threads, each with a connection and a deadline, a few at a time, shared by clients."""

import asyncio
import time
from collections import OrderedDict, deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apsw

from gateway.domain.errors import Overloaded, SearchTooLong
from gateway.store.sqlite.columns import Row
from gateway.store.sqlite.reader import readable
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
        self._free: list[_Reader] = [_Reader(path) for _ in range(PLACES)]
        self._readers = tuple(self._free)
        self._active: set[str] = set()  # the clients with a read under way
        self._waiting: OrderedDict[str, deque[asyncio.Future[_Reader]]] = OrderedDict()
        self._paused = False
        self._idle: asyncio.Future[None] | None = None  # what `pause` waits for

    @property
    def waiting(self) -> int:
        """How many reads wait for a place."""
        return sum(map(len, self._waiting.values()))

    async def all(self, client: str, sql: str, values: tuple[Any, ...] = ()) -> list[Row]:
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
        self._paused = True
        if self._active:
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle

    def resume(self) -> None:
        """End a pause."""
        self._paused = False
        self._admit()

    def close(self) -> None:
        """Stop the reads under way, wait for their threads, and close the connections."""
        for reader in self._readers:
            reader.stop()
        self._threads.shutdown()
        for reader in self._readers:
            reader.close()

    async def _place(self, client: str) -> "_Reader":
        queue = self._waiting.get(client, ())
        if not queue and self._may_begin(client):
            return self._take(client)
        if len(queue) >= WAITING_MAX or self.waiting >= WAITING_IN_ALL:
            raise Overloaded(
                "Too many of your searches are waiting; send fewer at the same time.", retry_after=WAIT_SECONDS / 2
            )
        place: asyncio.Future[_Reader] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(place)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                return await place
        except TimeoutError:
            self._give_back(client, place)
            raise Overloaded(
                f"The search has waited for {WAIT_SECONDS:g} seconds while others ran.", retry_after=WAIT_SECONDS
            ) from None
        except asyncio.CancelledError:
            self._give_back(client, place)
            raise

    def _give_back(self, client: str, place: "asyncio.Future[_Reader]") -> None:
        """Take a read that no longer waits out of the queue, or pass on the place that it was just given."""
        if not place.cancelled():
            self._leave(client, place.result())
            return
        queue = self._waiting.get(client)
        if queue is not None and place in queue:  # else it was passed over already
            queue.remove(place)
            if not queue:
                del self._waiting[client]

    def _may_begin(self, client: str) -> bool:
        return bool(self._free) and client not in self._active and not self._paused

    def _take(self, client: str) -> "_Reader":
        self._active.add(client)
        return self._free.pop()

    def _leave(self, client: str, reader: "_Reader") -> None:
        self._active.discard(client)
        self._free.append(reader)
        if self._idle is not None and not self._active:
            self._idle.set_result(None)
            self._idle = None
        self._admit()

    def _admit(self) -> None:
        """Give free places to waiting reads: one to each client in turn.

        A read that was cancelled in this round of the event loop still waits here. It is passed over: a place that was
        given to it would be lost for ever.
        """
        for client in list(self._waiting):
            if not self._may_begin(client):
                continue
            queue = self._waiting.pop(client)
            while queue and queue[0].done():
                queue.popleft()
            if queue:
                queue.popleft().set_result(self._take(client))
            if queue:
                self._waiting[client] = queue  # after the other clients


class _Reader:
    """A connection for one read at a time. It is opened by the thread that reads first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: apsw.Connection | None = None
        self._until = 0.0

    def all(self, sql: str, values: tuple[Any, ...]) -> list[Row]:
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
