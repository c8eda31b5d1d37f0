"""Group commit: jobs that wait are carried out in one transaction, one after another, and committed together.

Each transaction begins with one lock for the whole ledger, so that those of all gateways on it are carried out one
after another: what a job reads cannot change before its commit, and the numbers of events follow the commits.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from itertools import chain, repeat
from typing import Any

import structlog

from gateway import log_context
from gateway.domain.errors import Overloaded, StoreUnavailable
from gateway.failpoints import reach
from gateway.store.postgres.errors import RETRY_AFTER_SECONDS, explain, is_lost, not_written
from gateway.store.postgres.server import Connection, Server, check_fitness
from gateway.store.postgres.statements import Statements
from gateway.store.sql.database import T, Work
from gateway.telemetry import NOBODY, BatchCommitted, Observer

log = structlog.get_logger()

LOCK = 0x76696465_6F677779  # the advisory lock of all transactions that write to the ledger
LOCK_SECONDS = 10  # how long a transaction waits for the lock
IDLE_SECONDS = 5  # after this time without a statement the server ends a transaction, and others get the lock
_STATEMENT_SECONDS = 15
_TRANSACTION_SECONDS = 30.0  # after this time without an end the connection is given up
# For this time after it came, a job is tried again on new connections, as long as no commit was sent for it.
_PATIENCE_SECONDS = 5.0
# So long the caller of new work waits, whatever the database does: the client of a create wants an answer. Everything
# else waits for the end of its transaction, so that it knows more often whether the change was saved.
_NEW_WORK_SECONDS = 8.0
_PAUSES = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)  # seconds before each new try; the last one is repeated
_OF_NOBODY = log_context.nothing()  # a transaction is about many requests: its lines name none of them
_BATCH_MAX = 64  # jobs in one transaction
# After this time with the lock a transaction begins no further job and commits, so that a gateway on a slow network or
# a busy machine does not keep the others waiting until they give up.
_HOLD_SECONDS = 1.0
_WAITING_MAX = 20_000  # jobs that may wait before new ones are refused
_YIELDING_MAX = 4096  # the same for new work, so that there is always room to store what happened to the old
_CLOSING_SECONDS = 5.0  # how long `close` waits for the server to say goodbye

# Sent as one message, so that it is one exchange with the server. The settings hold until the end of the transaction.
# The isolation is named, because with a stricter one, as the default of a database, the statements after the wait for
# the lock would see the state from before the wait. `tcp_user_timeout` ends a connection whose client reads nothing.
_BEGIN = (
    "begin isolation level read committed read write;"
    f" set local lock_timeout = '{LOCK_SECONDS}s'; set local statement_timeout = '{_STATEMENT_SECONDS}s';"
    f" set local idle_in_transaction_session_timeout = '{IDLE_SECONDS}s';"
    f" set local tcp_user_timeout = '{_STATEMENT_SECONDS}s';"
    f" select pg_advisory_xact_lock({LOCK})"
)


class NotCommittedError(Exception):
    """The server answered a commit with a roll-back."""

    sqlstate = "40000"


class _Job:
    __slots__ = ("came_at", "error", "future", "is_begun", "result", "work")

    def __init__(self, work: Work[Any], loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.came_at = time.monotonic()
        self.future: asyncio.Future[Any] = loop.create_future()  # cancelled when the caller has given the job up
        self.is_begun = False  # its statements may be a part of what is committed
        self.result: Any = None
        self.error: Exception | None = None

    async def carry_out(self, transaction: Statements) -> None:
        """Carry the job out, unless its caller was given an error meanwhile: nobody would expect its effect."""
        if not self.future.cancelled():
            self.is_begun = True
            self.result = await self.work(transaction)

    def give_up(self) -> StoreUnavailable:
        """Let the job not begin any more; returns the error for its caller."""
        self.future.cancel()
        return not_written(TimeoutError(), at_commit=self.is_begun)

    def finish(self) -> None:
        """Give the caller the result or the error."""
        if self.future.cancelled():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class GroupWriter:
    """Implements `Writer`. It has one connection, which it opens when it needs it. It serves one event loop."""

    def __init__(self, server: Server, observer: Observer = NOBODY) -> None:
        self._server = server
        self._observer = observer
        self._connection: Connection = None
        self.replica = ""  # the id of this replica, which the triggers of the database ask for; empty: none yet
        self._at_commit = False  # the server may have got the commit of the transaction under way
        self._failing = ""  # the fault that was logged, until a transaction succeeds again
        self._jobs: deque[_Job] = deque()
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def waiting(self) -> int:
        """How many jobs wait for the next transaction."""
        return len(self._jobs)

    async def run(self, work: Work[T], *, yields: bool = False) -> T:
        """See `Writer`. A caller that is cancelled meanwhile does not stop its job.

        Work that `yields` waits `_NEW_WORK_SECONDS` at most.
        """
        if self._closing:
            raise StoreUnavailable("The store is closed.", retry_after=RETRY_AFTER_SECONDS)
        if yields and len(self._jobs) >= _YIELDING_MAX:
            raise Overloaded("Too many requests are waiting for the database.", retry_after=1)
        if len(self._jobs) >= _WAITING_MAX:
            raise StoreUnavailable("Too many writes are waiting.", retry_after=1)
        loop = asyncio.get_running_loop()
        job = _Job(work, loop)
        self._jobs.append(job)
        if self._task is None:
            self._task = loop.create_task(self._work(), context=_OF_NOBODY)
        result: T
        try:
            async with asyncio.timeout(_NEW_WORK_SECONDS if yields else None) as patience:
                result = await asyncio.shield(job.future)
        except TimeoutError:
            if not patience.expired():
                raise
            if not job.future.done():
                raise job.give_up() from None
            result = job.future.result()
        return result

    async def purchase(self, work: Work[T], without_marker: Callable[[T], T]) -> T:  # noqa: ARG002  # the interface
        """See `Writer`. There is no marker beside a server: a commit is all that a submit needs."""
        return await self.run(work)

    async def close(self) -> None:
        """Commit the jobs that wait, then close the connection."""
        self._closing = True
        if self._task is not None:
            await asyncio.shield(self._task)
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.close(timeout=_CLOSING_SECONDS)
            except Exception:  # noqa: BLE001  # nothing is left to be written, and the server sees the end anyway
                connection.terminate()

    async def _work(self) -> None:
        jobs: list[_Job] = []
        try:
            while self._jobs:
                jobs = [self._jobs.popleft() for _ in range(min(len(self._jobs), _BATCH_MAX))]
                await self._commit(jobs)
        finally:
            self._task = None
            for job in [*jobs, *self._jobs]:  # only if the event loop ends in the middle
                job.future.cancel()

    async def _commit(self, jobs: list[_Job]) -> None:
        """Carry out the jobs and commit them; then each caller has its result or its error.

        Jobs that there was no time for leave the list, and are the first ones of the next transaction.
        """
        began_at = time.monotonic()
        error = await self._try(jobs)
        for job in jobs:  # before anything that could fail: an error after the commit would say that nothing is saved
            job.finish()
        self._log_fault(error)
        now = time.monotonic()
        self._observer.observe(
            BatchCommitted(
                jobs=len(jobs),
                commit_seconds=now - began_at,
                oldest_seconds=now - jobs[0].came_at,
                succeeded=error is None,
            )
        )

    async def _try(self, jobs: list[_Job]) -> Exception | None:
        """One transaction; again on another connection if it was lost before a commit was sent. Returns its error."""
        until = jobs[0].came_at + _PATIENCE_SECONDS
        pauses = chain(_PAUSES, repeat(_PAUSES[-1]))
        while True:
            self._at_commit = False
            try:
                async with asyncio.timeout(_TRANSACTION_SECONDS):
                    await self._transaction(jobs)
            except Exception as error:  # noqa: BLE001  # every waiting job gets the error, and the next batch may work
                await self._end_failed(error)
                pause = next(pauses)
                if self._at_commit or not is_lost(error) or time.monotonic() + pause >= until:
                    refusal = not_written(error, at_commit=self._at_commit)
                    for job in jobs:
                        job.error = job.error or refusal
                    return error
                await asyncio.sleep(pause)
            except BaseException:  # the event loop ends
                self._drop()
                raise
            else:
                return None

    async def _transaction(self, jobs: list[_Job]) -> None:
        connection = await self._connected()
        for job in jobs:
            job.result = job.error = None
            job.is_begun = False  # no commit was sent for an earlier try
        count = await _carry_out(connection, jobs, self._begin())
        if count == 0:
            return
        self._jobs.extendleft(reversed(jobs[count:]))
        del jobs[count:]
        reach("commit_fails")
        self._at_commit = True
        if await connection.execute("commit") != "COMMIT":
            raise NotCommittedError

    def _begin(self) -> str:
        return f"{_BEGIN}; set local video_gateway.replica = '{self.replica}'" if self.replica else _BEGIN

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = None
            connection = await self._server.connect()
            try:
                await check_fitness(connection)
            except BaseException:
                connection.terminate()
                raise
            self._connection = connection
        return self._connection

    async def _end_failed(self, error: Exception) -> None:
        """Leave the connection without a transaction, or drop it."""
        if self._connection is None:
            return
        if not is_lost(error) and not self._connection.is_closed():
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_CLOSING_SECONDS):
                    if self._connection.is_in_transaction():
                        await self._connection.execute("rollback")
                    return
        self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    def _log_fault(self, error: Exception | None) -> None:
        """Log a fault when it begins, and when it is over."""
        fault = "" if error is None else f"{type(error).__name__}: {error}"
        if error is not None and not self._failing:
            log.error("store_failed", reason=explain(error), error=fault)
        elif self._failing and not fault:
            log.warning("store_works_again")
        self._failing = fault


async def _carry_out(connection: Connection, jobs: list[_Job], begin: str) -> int:
    """Carry out jobs in one transaction, which is left open; returns how many, from the first one on.

    0: it was rolled back and nothing is to commit. A job that fails changes nothing and keeps its error. Raises if the
    transaction as a whole cannot go on.
    """
    transaction = Statements(connection)
    await connection.execute(begin)
    try:
        until = time.monotonic() + _HOLD_SECONDS
        for count, job in enumerate(jobs):
            if count and time.monotonic() > until:
                return count
            await job.carry_out(transaction)
    except Exception as error:
        if is_lost(error) or connection.is_closed():
            raise
        await connection.execute("rollback")
        if len(jobs) == 1:
            jobs[0].error = _translated(error)
            return 0
    else:
        return len(jobs)
    await connection.execute(begin)
    until = time.monotonic() + _HOLD_SECONDS
    for count, job in enumerate(jobs):
        if count and time.monotonic() > until:
            return count
        await connection.execute("savepoint job")
        try:
            await job.carry_out(transaction)
        except Exception as error:
            if is_lost(error) or connection.is_closed():
                raise
            await connection.execute("rollback to savepoint job")
            job.error = _translated(error)
        await connection.execute("release savepoint job")
    return len(jobs)


def _translated(error: Exception) -> Exception:
    """The error that the caller of a failed job gets: a state of the database becomes `StoreUnavailable`."""
    return error if explain(error) is None else not_written(error, at_commit=False)
