"""Group commit: all that waits is written in one transaction, and one thread waits for the disk."""

import asyncio
import contextlib
import math
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import apsw
import structlog

from gateway.domain.errors import Overloaded, StoreUnavailable
from gateway.failpoints import reach
from gateway.store.sqlite.errors import RETRY_SECONDS, FileMovedError, is_damage, not_written, told

log = structlog.get_logger()

T = TypeVar("T")
Work = Callable[[apsw.Connection], T]
_BATCH_MAX = 512  # jobs in one transaction
_WAITING_MAX = 20_000  # jobs that may wait before new ones are refused
_YIELDING_MAX = 4096  # the same for jobs that leave room to the others: what is known already comes before what is new
_BUSY_MILLISECONDS = 5000  # how long another program's lock on the file is waited for
_LOCK_SECONDS = 0.01  # between two looks at such a lock
_CLOSING_SECONDS = 0.3  # how long it is still waited for once the writer is to close
# A busy event loop lets go of the interpreter's lock for moments only, when it looks for events. A thread that comes
# back from the disk insists on the lock after this long without such a moment; with Python's 5 ms it may wait seconds.
_SWITCH_SECONDS = 0.0005


class _Job:
    __slots__ = ("asked_at", "error", "future", "result", "work")

    def __init__(self, work: Work[Any], loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.asked_at = time.monotonic()
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.error: Exception | None = None


class _Batch:
    """The jobs of one transaction. `begun`: all are carried out, and only the commit is missing."""

    __slots__ = ("at_commit", "begun", "error", "jobs", "loop")

    def __init__(self, jobs: list[_Job], loop: asyncio.AbstractEventLoop) -> None:
        self.jobs = jobs
        self.loop = loop
        self.begun = False
        self.at_commit = False
        self.error: Exception | None = None


class Writer:
    """`await writer.run(work)`: the work's result, once it is committed. Serves one event loop.

    Statements run on the event loop's thread, where each takes microseconds: on a thread of their own each would wait
    for the interpreter's lock, and beside a busy loop a write takes seven times as long. What may wait for the disk, or
    for another program's lock, runs on the writer's thread. The connection is always with one of the two.
    """

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        """`path` is the file of the connection, which must stay where it is."""
        sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_SECONDS))
        self._connection = connection
        self._connection.set_busy_timeout(0)
        self._path = path
        self._file = _identity(path)
        self.damage: str | None = None  # what was found to be broken; it stays so
        self._failing = ""  # the fault that was logged last, while it lasts
        self._ends_at = math.inf
        self._jobs: deque[_Job] = deque()
        self._batches: SimpleQueue[_Batch | None] = SimpleQueue()
        self._under_way = False  # a batch is being carried out, or is about to be
        self._closing = False
        self._idle: asyncio.Future[None] | None = None
        self._thread = threading.Thread(target=self._commit_batches, name="store-writer", daemon=True)
        self._thread.start()

    async def run(self, work: Work[T], *, yields: bool = False) -> T:
        """Carry out `work` in a transaction; `StoreUnavailable` when that cannot be committed.

        What `yields` is refused early, with `Overloaded`, so that others need not be.

        `work` may be carried out again when another's fails beside it: it acts on the connection alone.
        """
        if self._closing:
            raise StoreUnavailable("The store is closed.", retry_after=RETRY_SECONDS)
        if yields and len(self._jobs) >= _YIELDING_MAX:
            raise Overloaded("Too many requests are waiting for the disk.", retry_after=1)
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
        self._ends_at = time.monotonic() + _CLOSING_SECONDS
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
            batch.error = error
            _give_up(self._connection, jobs, not_written(error, at_commit=False))
            loop.call_soon(self._settle, batch)
            return
        self._batches.put(batch)

    def _commit_batches(self) -> None:
        while (batch := self._batches.get()) is not None:
            self._commit(batch)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                batch.loop.call_soon_threadsafe(self._settle, batch)

    def _commit(self, batch: _Batch) -> None:
        """The part that may take long."""
        try:
            if not batch.begun:
                self._begin_patiently(batch.jobs)
            self._check_place()
            reach("commit_fails")
            batch.at_commit = True
            self._connection.execute("commit")
        except Exception as error:  # noqa: BLE001  # whatever it is, those who wait are told, and the thread lives on
            batch.error = error
            _give_up(self._connection, batch.jobs, not_written(error, at_commit=batch.at_commit))

    def _check_place(self) -> None:
        if _identity(self._path) != self._file:
            raise FileMovedError(self._path)

    def _begin_patiently(self, jobs: list[_Job]) -> None:
        """Carry the jobs out as soon as another program's lock is gone."""
        until = jobs[0].asked_at + _BUSY_MILLISECONDS / 1000  # who queues behind a lock does not wait for it once more

        def wait(_: int) -> bool:
            if time.monotonic() >= min(until, self._ends_at):
                return False
            time.sleep(_LOCK_SECONDS)
            return True

        self._connection.set_busy_handler(wait)
        try:
            _carry_out(self._connection, jobs)
        finally:
            self._connection.set_busy_timeout(0)

    def _settle(self, batch: _Batch) -> None:
        self._tell(batch.error or next(filter(None, map(_damage, batch.jobs)), None))
        for job in batch.jobs:
            if job.future.cancelled():
                continue
            if job.error is not None:
                job.future.set_exception(job.error)
            else:
                job.future.set_result(job.result)
        self._next(batch.loop)

    def _tell(self, error: Exception | None) -> None:
        """Log a fault when it comes, and when it is over."""
        fault = "" if error is None else f"{type(error).__name__}: {error}"
        if error is not None and is_damage(error):
            self.damage = self.damage or told(error)
        if fault and not self._failing:
            log.error("store_failed", reason=None if error is None else told(error), error=fault)
        elif self._failing and not fault:
            log.warning("store_works_again")
        self._failing = fault


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


def _give_up(connection: apsw.Connection, jobs: list[_Job], told: StoreUnavailable) -> None:
    with contextlib.suppress(apsw.Error):
        if connection.in_transaction:
            connection.execute("rollback")
    for job in jobs:
        job.error = job.error or told


def _damage(job: _Job) -> Exception | None:
    """The broken place of the file that one job met."""
    cause = job.error and job.error.__cause__
    return cause if isinstance(cause, Exception) and is_damage(cause) else None


def _translated(error: Exception) -> Exception:
    return error if told(error) is None else not_written(error, at_commit=False)


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file it is that has this name."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
