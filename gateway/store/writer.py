"""One thread that owns the writing connection and commits together all that waits: group commit."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import apsw

from gateway.domain.errors import StoreUnavailable

T = TypeVar("T")
Work = Callable[[apsw.Connection], T]
_BATCH_MAX = 512  # jobs in one transaction
_WAITING_MAX = 20_000  # jobs that may wait before new ones are refused

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
    __slots__ = ("error", "future", "loop", "result", "work")

    def __init__(self, work: Work[Any], loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None


class Writer:
    """`await writer.run(work)`: the work's result, once it is committed."""

    def __init__(self, connect: Callable[[], apsw.Connection]) -> None:
        self._connect = connect
        self._jobs: deque[_Job] = deque()
        self._wake = threading.Semaphore(0)
        self._closing = False
        self._thread = threading.Thread(target=self._loop, name="store-writer", daemon=True)
        self._thread.start()

    async def run(self, work: Work[T]) -> T:
        """Carry out `work` inside a transaction of this thread's; `StoreUnavailable` when it cannot be committed."""
        if self._closing:
            raise StoreUnavailable("The store is closed.", retry_after=5)
        if len(self._jobs) >= _WAITING_MAX:
            raise StoreUnavailable("Too many writes are waiting.", retry_after=1)
        job = _Job(work, asyncio.get_running_loop())
        self._jobs.append(job)
        self._wake.release()
        result: T = await asyncio.shield(job.future)
        return result

    async def close(self) -> None:
        """Commit what waits, then end the thread."""
        self._closing = True
        self._wake.release()
        await asyncio.to_thread(self._thread.join)

    def _loop(self) -> None:
        connection = self._connect()
        while True:
            self._wake.acquire()
            batch: list[_Job] = []
            while self._jobs and len(batch) < _BATCH_MAX:
                batch.append(self._jobs.popleft())
            if batch:
                self._commit(connection, batch)
                _deliver(batch)
            if self._jobs:
                self._wake.release()
            elif self._closing:
                connection.close()
                return

    def _commit(self, connection: apsw.Connection, batch: list[_Job]) -> None:
        try:
            _transaction(connection, batch)
        except Exception as error:  # noqa: BLE001  # whatever it is, it belongs to the one job that caused it
            if len(batch) == 1:
                batch[0].error = _translated(error)
                return
            for job in batch:
                self._commit(connection, [job])


def _transaction(connection: apsw.Connection, batch: list[_Job]) -> None:
    connection.execute("begin immediate")
    try:
        for job in batch:
            job.result = job.work(connection)
        connection.execute("commit")
    except BaseException:
        if connection.in_transaction:
            connection.execute("rollback")
        raise


def _translated(error: BaseException) -> BaseException:
    if isinstance(error, _UNAVAILABLE):
        unavailable = StoreUnavailable("The store cannot take writes now; nothing was accepted.", retry_after=5)
        unavailable.__cause__ = error
        return unavailable
    return error


def _deliver(batch: list[_Job]) -> None:
    """Release the waiting callers, one wake-up for each event loop."""
    for loop in {job.loop for job in batch}:
        jobs = [job for job in batch if job.loop is loop]
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, jobs)


def _settle(jobs: list[_Job]) -> None:
    for job in jobs:
        if job.future.cancelled():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)
