"""Group commit: everything that waits is written in one transaction, and one thread waits for the disk."""

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

from gateway import log_context
from gateway.domain.errors import Overloaded, StoreUnavailable
from gateway.failpoints import reach
from gateway.store.sql.database import Transaction, Work
from gateway.store.sqlite.errors import RETRY_AFTER_SECONDS, FileMovedError, explain, is_damage, not_written, unmarked
from gateway.store.sqlite.jobs import SqliteTransaction, drive
from gateway.telemetry import NOBODY, BatchCommitted, Observer

log = structlog.get_logger()

T = TypeVar("T")
_OF_NOBODY = log_context.nothing()  # a batch is about many requests: its lines name none of them
_BATCH_MAX = 64  # jobs in one transaction: their statements hold the event loop for about 10 ms
_WAITING_MAX = 20_000  # jobs that may wait before new ones are refused
_YIELDING_MAX = 4096  # the same for new work, so that there is always room to store what happened to the old
_BUSY_MILLISECONDS = 5000  # how long a job waits for another program's lock on the file
_LOCK_SECONDS = 0.01  # between two checks of such a lock
_LOG_MILLISECONDS = 200  # how long a checkpoint waits for reads of the event loop, which take a moment each
_CLOSING_SECONDS = 0.3  # the longest wait for such a lock after `close` was called
# A busy event loop releases the interpreter's lock only for moments, when it polls for events. The writer's thread
# comes back from the disk and asks for the lock; after this time the interpreter makes the loop release it. With
# Python's default of 5 ms the thread may wait for seconds, because it misses these moments.
_SWITCH_SECONDS = 0.0005


class _Job:
    __slots__ = ("came_at", "error", "future", "result", "without_marker", "work")

    def __init__(
        self, work: Work[Any], loop: asyncio.AbstractEventLoop, without_marker: Callable[[Any], Any] | None
    ) -> None:
        self.work = work
        self.without_marker = without_marker
        self.came_at = time.monotonic()
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.error: Exception | None = None


class _Batch:
    """The jobs of one transaction. `begun`: their statements have run, and only the commit is missing.

    A batch with a `checkpoint` has no jobs: it empties the write-ahead log.
    """

    __slots__ = ("at_commit", "began_at", "begun", "checkpoint", "error", "jobs", "log_is_empty", "loop")

    def __init__(
        self, jobs: list[_Job], loop: asyncio.AbstractEventLoop, checkpoint: asyncio.Future[bool] | None = None
    ) -> None:
        self.jobs = jobs
        self.loop = loop
        self.checkpoint = checkpoint
        self.log_is_empty = True
        self.began_at = time.monotonic()
        self.begun = False
        self.at_commit = False
        self.error: Exception | None = None


class CommitWriter:
    """`await writer.run(work)` returns the work's result once it is committed. A writer serves one event loop.

    Statements run on the event loop's thread, where each takes microseconds. On another thread each would wait for the
    interpreter's lock, and beside a busy loop a write would take seven times as long. What may wait for the disk, or
    for another program's lock, runs on the writer's thread. Only one of the two threads uses the connection at a time.
    """

    def __init__(self, connection: apsw.Connection, path: Path, observer: Observer = NOBODY) -> None:
        """`path` is the file of the connection. Writes fail once another file, or none, is at this path."""
        sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_SECONDS))
        self._connection = connection
        self._connection.set_busy_timeout(0)
        self._path = path
        self._observer = observer
        self._file = _identity(path)
        self.damage: str | None = None  # the explanation of the first damage of the file that was met
        self.on_commit: Callable[[], None] = lambda: None  # called on the event loop after each transaction
        # Called on the writer's thread after each commit; with True if a purchase waits for it. It may raise.
        self.after_commit: Callable[[apsw.Connection, bool], None] = lambda _connection, _has_purchase: None
        self._unmarked: StoreUnavailable | None = None  # `after_commit` has failed, and has not worked again since
        self._checkpoint: asyncio.Future[bool] | None = None  # a checkpoint that is asked for and has not begun
        self._failing = ""  # the fault that was logged, until a transaction succeeds again
        self._ends_at = math.inf
        self._jobs: deque[_Job] = deque()
        self._batches: SimpleQueue[_Batch | None] = SimpleQueue()
        self._under_way = False  # a batch is being carried out, or is about to be
        self._closing = False
        self._idle: asyncio.Future[None] | None = None
        self._thread = threading.Thread(target=self._commit_batches, name="store-writer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many writes wait for the next transaction."""
        return len(self._jobs)

    async def purchase(self, work: Work[T], without_marker: Callable[[T], T]) -> T:
        """Carry out `work` that may allow a submit: its result comes after `after_commit` has succeeded as well.

        If that fails although the work is committed, the result is `without_marker(result)`. While it goes on failing,
        `StoreUnavailable` is raised before the work is done.
        """
        if self._unmarked is not None:
            await self._enqueue(_nothing, without_marker=lambda _: None)  # only tries the marker again
            if self._unmarked is not None:
                raise self._unmarked
        return await self._enqueue(work, without_marker=without_marker)

    async def run(self, work: Work[T], *, yields: bool = False) -> T:
        """Carry out `work` in a transaction. Raises `StoreUnavailable` if that cannot be committed.

        Work that `yields` is refused with `Overloaded` while many jobs wait, so that other work need not be.

        `work` may be called a second time, if another job of the same transaction failed. So it must change nothing
        but the database.
        """
        return await self._enqueue(work, yields=yields)

    async def _enqueue(
        self, work: Work[T], *, yields: bool = False, without_marker: Callable[[T], T] | None = None
    ) -> T:
        if self._closing:
            raise StoreUnavailable("The store is closed.", retry_after=RETRY_AFTER_SECONDS)
        if yields and len(self._jobs) >= _YIELDING_MAX:
            raise Overloaded("Too many requests are waiting for the disk.", retry_after=1)
        if len(self._jobs) >= _WAITING_MAX:
            raise StoreUnavailable("Too many writes are waiting.", retry_after=1)
        loop = asyncio.get_running_loop()
        job = _Job(work, loop, without_marker)
        self._jobs.append(job)
        if not self._under_way:
            self._under_way = True
            loop.call_soon(self._next, loop, context=_OF_NOBODY)
        result: T = await asyncio.shield(job.future)
        return result

    async def checkpoint(self) -> bool:
        """Write all of the write-ahead log into the file and empty the log, between two transactions.

        False if that failed, for example because another program is reading an older state.
        """
        if self._closing:
            return False
        if self._checkpoint is None:
            loop = asyncio.get_running_loop()
            self._checkpoint = loop.create_future()
            if not self._under_way:
                self._under_way = True
                loop.call_soon(self._next, loop, context=_OF_NOBODY)
        return await asyncio.shield(self._checkpoint)

    async def close(self) -> None:
        """Commit the jobs that wait, then end the thread and close the connection."""
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
        if self._checkpoint is not None:
            self._batches.put(_Batch([], loop, self._checkpoint))
            self._checkpoint = None
            return
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
        except Exception as error:  # noqa: BLE001  # every waiting job gets the error, and the next batch may work
            batch.error = error
            _give_up(self._connection, jobs, not_written(error, at_commit=False))
            loop.call_soon(self._settle, batch)
            return
        self._batches.put(batch)

    def _commit_batches(self) -> None:
        while (batch := self._batches.get()) is not None:
            if batch.checkpoint is None:
                self._commit(batch)
            else:
                self._empty_log(batch)
            with contextlib.suppress(RuntimeError):  # the loop is closed, so nobody waits for the result
                batch.loop.call_soon_threadsafe(self._settle, batch)

    def _commit(self, batch: _Batch) -> None:
        """Do the part that may take long: wait for a lock, and for the disk."""
        try:
            if not batch.begun:
                self._begin_patiently(batch.jobs)
            self._check_place()
            reach("commit_fails")
            batch.at_commit = True
            self._connection.execute("commit")
        except Exception as error:  # noqa: BLE001  # every waiting job gets the error, and the thread goes on
            batch.error = error
            _give_up(self._connection, batch.jobs, not_written(error, at_commit=batch.at_commit))
        else:
            self._mark(batch)

    def _mark(self, batch: _Batch) -> None:
        """Write the marker of the ledger. Without it no submit may leave; everything else is stored all the same."""
        has_purchase = any(job.without_marker for job in batch.jobs)
        try:
            reach("marker_fails")
            self.after_commit(self._connection, has_purchase)
        except Exception as error:  # noqa: BLE001  # the purchases are refused, and the thread goes on
            batch.error, self._unmarked = error, unmarked(error)
            for job in batch.jobs:
                if job.without_marker is not None:
                    job.result = job.without_marker(job.result)
        else:
            if has_purchase:  # only then it was written to the disk
                self._unmarked = None

    def _empty_log(self, batch: _Batch) -> None:
        self._connection.set_busy_timeout(_LOG_MILLISECONDS)
        try:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.BusyError:  # a reader of an older state: no fault, and what was committed is safe in the log
            batch.log_is_empty = False
        except Exception as error:  # noqa: BLE001  # it is logged as any other failure of the store
            batch.log_is_empty, batch.error = False, error
        finally:
            self._connection.set_busy_timeout(0)

    def _check_place(self) -> None:
        if _identity(self._path) != self._file:
            raise FileMovedError(self._path)

    def _begin_patiently(self, jobs: list[_Job]) -> None:
        """Carry out the jobs as soon as another program has released its lock."""
        # Counted from when the oldest job came: a job that already waited for the lock does not start a new full wait.
        until = jobs[0].came_at + _BUSY_MILLISECONDS / 1000

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
        self._log_fault(batch.error or next(filter(None, map(_damage, batch.jobs)), None))
        if batch.checkpoint is not None:
            batch.checkpoint.set_result(batch.log_is_empty)
        else:
            self._report(batch)
            self.on_commit()
        for job in batch.jobs:
            if job.future.cancelled():
                continue
            if job.error is not None:
                job.future.set_exception(job.error)
            else:
                job.future.set_result(job.result)
        self._next(batch.loop)

    def _report(self, batch: _Batch) -> None:
        now = time.monotonic()
        self._observer.observe(
            BatchCommitted(
                jobs=len(batch.jobs),
                commit_seconds=now - batch.began_at,
                oldest_seconds=now - batch.jobs[0].came_at,
                succeeded=batch.error is None,
            )
        )

    def _log_fault(self, error: Exception | None) -> None:
        """Log a fault when it begins, and when it is over."""
        fault = "" if error is None else f"{type(error).__name__}: {error}"
        if error is not None and is_damage(error):
            self.damage = self.damage or explain(error)
        if fault and not self._failing:
            log.error("store_failed", reason=None if error is None else explain(error), error=fault)
        elif self._failing and not fault:
            log.warning("store_works_again")
        self._failing = fault


async def _nothing(_: Transaction) -> None:
    """A job without statements."""


def _carry_out(connection: apsw.Connection, jobs: list[_Job]) -> None:
    """Carry out all jobs in one transaction, which is left open. A job that fails changes nothing and keeps its error.

    Raises if the transaction as a whole cannot go on.
    """
    transaction = SqliteTransaction(connection)
    connection.execute("begin immediate")
    try:
        for job in jobs:
            job.result = drive(job.work(transaction))
    except Exception:  # noqa: BLE001  # it belongs to one job, which raises it again below
        if connection.in_transaction:
            connection.execute("rollback")
    else:
        return
    connection.execute("begin immediate")
    for job in jobs:
        connection.execute("savepoint job")
        try:
            job.result = drive(job.work(transaction))
        except Exception as error:
            if not connection.in_transaction:  # SQLite rolled all of it back: the disk is full or broken
                raise
            connection.execute("rollback to job")
            job.error = _translated(error)
        connection.execute("release job")


def _give_up(connection: apsw.Connection, jobs: list[_Job], error: StoreUnavailable) -> None:
    """Roll back, and give every job without an error of its own this one."""
    with contextlib.suppress(apsw.Error):
        if connection.in_transaction:
            connection.execute("rollback")
    for job in jobs:
        job.error = job.error or error


def _damage(job: _Job) -> Exception | None:
    """The damage of the file that a job met, if it did."""
    cause = job.error and job.error.__cause__
    return cause if isinstance(cause, Exception) and is_damage(cause) else None


def _translated(error: Exception) -> Exception:
    """The error that the caller of a failed job gets: a state of the database becomes `StoreUnavailable`."""
    return error if explain(error) is None else not_written(error, at_commit=False)


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from another one at the same path: its device and inode; None if the file is gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
