"""Group commit: all that waits is written in one transaction, and one thread waits for the disk."""

import asyncio
import contextlib
import sys
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

import apsw

from gateway.domain.errors import StoreUnavailable

T = TypeVar("T")
Work = Callable[[apsw.Connection], T]
_BATCH_MAX = 512  # jobs in one transaction
_WAITING_MAX = 20_000  # jobs that may wait before new ones are refused
_BUSY_MILLISECONDS = 5000  # how long another program's lock on the file is waited for
# A busy event loop lets go of the interpreter's lock for moments only, when it looks for events. A thread that comes
# back from the disk insists on the lock after this long without such a moment; with Python's 5 ms it may wait seconds.
_SWITCH_SECONDS = 0.0005

_UNAVAILABLE = (
    apsw.FullError,
    apsw.IOError,
    apsw.ReadOnlyError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.BusyError,
    apsw.LockedError,
    apsw.CantOpenError,
    apsw.NoMemError,
)


class _Job:
    __slots__ = ("error", "future", "result", "work")

    def __init__(self, work: Work[Any], loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.error: Exception | None = None


class _Batch:
    """The jobs of one transaction. `begun`: all are carried out, and only the commit is missing."""

    __slots__ = ("begun", "jobs", "loop")

    def __init__(self, jobs: list[_Job], loop: asyncio.AbstractEventLoop) -> None:
        self.jobs = jobs
        self.loop = loop
        self.begun = False


class Writer:
    """`await writer.run(work)`: the work's result, once it is committed. Serves one event loop.

    Statements run on the event loop's thread, where each takes microseconds: on a thread of their own each would wait
    for the interpreter's lock, and beside a busy loop a write takes seven times as long. What may wait for the disk, or
    for another program's lock, runs on the writer's thread. The connection is always with one of the two.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_SECONDS))
        self._connection = connection
        self._connection.set_busy_timeout(0)
        self._jobs: deque[_Job] = deque()
        self._batches: SimpleQueue[_Batch | None] = SimpleQueue()
        self._under_way = False  # a batch is being carried out, or is about to be
        self._closing = False
        self._idle: asyncio.Future[None] | None = None
        self._thread = threading.Thread(target=self._commit_batches, name="store-writer", daemon=True)
        self._thread.start()

    async def run(self, work: Work[T]) -> T:
        """Carry out `work` in a transaction; `StoreUnavailable` when that cannot be committed.

        `work` may be carried out again when another's fails beside it: it acts on the connection alone.
        """
        if self._closing:
            raise StoreUnavailable("The store is closed.", retry_after=5)
        if len(self._jobs) >= _WAITING_MAX:
            raise StoreUnavailable("Too many writes are waiting.", retry_after=1)
        loop = asyncio.get_running_loop()
        job = _Job(work, loop)
        self._jobs.append(job)
        if not self._under_way:
            self._under_way = True
            loop.call_soon(self._next, loop)
        result: T = await asyncio.shield(job.future)
        return result

    async def close(self) -> None:
        """Commit what waits, then end the thread and let go of the connection."""
        if self._closing:
            return
        self._closing = True
        if self._under_way:
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle
        self._batches.put(None)
        await asyncio.to_thread(self._thread.join)
        self._connection.close()

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        jobs = [self._jobs.popleft() for _ in range(min(len(self._jobs), _BATCH_MAX))]
        if not jobs:
            self._under_way = False
            if self._idle is not None:
                self._idle.set_result(None)
            return
        batch = _Batch(jobs, loop)
        try:
            _carry_out(self._connection, jobs)
            batch.begun = True
        except apsw.BusyError:  # another program has the lock: the thread waits for it
            pass
        except Exception as error:  # noqa: BLE001  # whatever it is, those who wait are told, and the next may try
            _give_up(self._connection, jobs, error)
            loop.call_soon(self._settle, batch)
            return
        self._batches.put(batch)

    def _commit_batches(self) -> None:
        while (batch := self._batches.get()) is not None:
            _commit(self._connection, batch)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                batch.loop.call_soon_threadsafe(self._settle, batch)

    def _settle(self, batch: _Batch) -> None:
        for job in batch.jobs:
            if job.future.cancelled():
                continue
            if job.error is not None:
                job.future.set_exception(job.error)
            else:
                job.future.set_result(job.result)
        self._next(batch.loop)


def _commit(connection: apsw.Connection, batch: _Batch) -> None:
    """The part that may take long."""
    try:
        if not batch.begun:
            connection.set_busy_timeout(_BUSY_MILLISECONDS)
            try:
                _carry_out(connection, batch.jobs)
            finally:
                connection.set_busy_timeout(0)
        connection.execute("commit")
    except Exception as error:  # noqa: BLE001  # whatever it is, those who wait are told, and the thread lives on
        _give_up(connection, batch.jobs, error)


def _carry_out(connection: apsw.Connection, jobs: list[_Job]) -> None:
    """All jobs in one transaction that is left open; one that fails leaves no trace and keeps its error.

    Raises when the transaction itself cannot go on.
    """
    connection.execute("begin immediate")
    try:
        for job in jobs:
            job.result = job.work(connection)
    except Exception:  # noqa: BLE001  # whatever it is, it belongs to the job that raises it again below
        if connection.in_transaction:
            connection.execute("rollback")
    else:
        return
    connection.execute("begin immediate")
    for job in jobs:
        connection.execute("savepoint job")
        try:
            job.result = job.work(connection)
        except Exception as error:
            if not connection.in_transaction:  # SQLite gave all of it up: the disk is full or broken
                raise
            connection.execute("rollback to job")
            job.error = _translated(error)
        connection.execute("release job")


def _give_up(connection: apsw.Connection, jobs: list[_Job], error: Exception) -> None:
    with contextlib.suppress(apsw.Error):
        if connection.in_transaction:
            connection.execute("rollback")
    for job in jobs:
        job.error = job.error or _unavailable(error)


def _translated(error: Exception) -> Exception:
    return _unavailable(error) if isinstance(error, _UNAVAILABLE) else error


def _unavailable(error: Exception) -> StoreUnavailable:
    unavailable = StoreUnavailable("The store cannot take writes now; nothing was accepted.", retry_after=5)
    unavailable.__cause__ = error
    return unavailable
