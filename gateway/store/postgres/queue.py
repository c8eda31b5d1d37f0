"""The queue of jobs and schedules that replicas share: PgQueuer, on a connection of its own.

PgQueuer does not connect again and may wait for ever on a connection that is cut off. So it is watched, and after every
failure it starts again on a new connection. Its names of tables are given to it, because it would read others from
variables of the environment, such as `TRIGGER`.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

import msgspec
import structlog
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment, QueryQueueBuilder, QuerySchedulerBuilder
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.core.applications import PgQueuer
from pgqueuer.domain.errors import RetryRequested
from pgqueuer.domain.models import Job, Schedule
from pgqueuer.domain.settings import DBSettings, Durability
from pgqueuer.domain.types import Channel

from gateway.domain.errors import StoreUnavailable
from gateway.store.postgres.errors import explain, is_lost
from gateway.store.postgres.server import Connection, Server
from gateway.store.replicas import Duties

log = structlog.get_logger()
TAKE_OVER = "take_over"  # the name of the jobs; a payload is a JSON list of ids
LOOK = "look_after_all"
SWEEP = "sweep"
EVERY_TEN_SECONDS = "* * * * * */10"
EVERY_HOUR = "17 * * * *"
RESTART_SECONDS = 1.0  # before PgQueuer is started again
_JOBS = 8  # that are fetched at once
_POSTPONED = timedelta(seconds=1)  # until a job is offered again that this replica does not take
_POLL = timedelta(seconds=5)  # between two looks for jobs without a notification
_STALE = timedelta(seconds=10)  # a job whose replica has said nothing for so long is given to another one
_NO_STATISTICS = timedelta(0)
_PROBE_SECONDS = 5.0
_ANSWER_SECONDS = 10.0
_STOP_SECONDS = 5.0
_FORGET = "delete from pgqueuer_log where created < now() - interval '1 day'"
SETTINGS = DBSettings(
    prefix="",
    db_schema=None,
    channel=Channel("ch_pgqueuer"),
    function="fn_pgqueuer_changed",
    statistics_table="pgqueuer_statistics",
    queue_status_type="pgqueuer_status",
    queue_table="pgqueuer",
    queue_table_log="pgqueuer_log",
    trigger="tg_pgqueuer_changed",
    schedules_table="pgqueuer_schedules",
    durability=Durability.balanced,
    widen_id=False,
)


class _WithoutLostConnections(logging.Filter):
    """Drops what PgQueuer logs about a lost connection, with a traceback for each of its parts: the queue logs it."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return error is None or not is_lost(error)


logging.getLogger("pgqueuer").addFilter(_WithoutLostConnections())


def queries_on(connection: Connection) -> Queries:
    """PgQueuer's statements on a connection. Within a transaction they belong to it."""
    return Queries(
        AsyncpgDriver(connection),
        qbe=QueryBuilderEnvironment(SETTINGS),
        qbq=QueryQueueBuilder(SETTINGS),
        qbs=QuerySchedulerBuilder(SETTINGS),
    )


async def enqueue(connection: Connection, ids: Sequence[str], size: int) -> None:
    """Add jobs for these generations, so many in each, in the transaction of the connection."""
    if payloads := [msgspec.json.encode(ids[start : start + size]) for start in range(0, len(ids), size)]:
        count = len(payloads)
        await queries_on(connection).enqueue([TAKE_OVER] * count, list(payloads), [0] * count)


class Queue:
    """Carries out jobs and schedules until `stop`."""

    def __init__(self, server: Server, duties: Duties) -> None:
        self._server = server
        self._duties = duties
        self._pgqueuer: PgQueuer | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._is_failing = False

    async def run(self) -> None:
        """Go on until `stop`, whatever fails."""
        while not self._stopping.is_set():
            self._task = asyncio.create_task(self._run_once(), name="queue")
            await asyncio.wait([self._task])
            error = None if self._task.cancelled() else self._task.exception()
            if error is not None and not self._stopping.is_set():
                self._note_failure(error)
            with suppress(TimeoutError):
                async with asyncio.timeout(RESTART_SECONDS):
                    await self._stopping.wait()

    async def stop(self) -> None:
        """Fetch nothing more, and return when the jobs under way have ended; those that take too long are cancelled."""
        self._stopping.set()
        if self._pgqueuer is not None:
            self._pgqueuer.shutdown.set()
        if self._task is not None:
            _, late = await asyncio.wait([self._task], timeout=_STOP_SECONDS)
            for task in late:
                task.cancel()

    def _note_failure(self, error: BaseException) -> None:
        """Log a fault when it begins; `_probe` logs its end."""
        if not self._is_failing:
            log.warning("queue_failed", reason=explain(error), error=f"{type(error).__name__}: {error}")
        self._is_failing = True

    async def _run_once(self) -> None:
        connection = await self._server.connect()
        try:
            queries = queries_on(connection)
            self._pgqueuer = pgqueuer = PgQueuer(queries.driver, Channel(SETTINGS.channel), queries=queries)
            pgqueuer.entrypoint(TAKE_OVER, accepts_context=False)(self._take)
            pgqueuer.schedule(LOOK, EVERY_TEN_SECONDS, accepts_context=False)(self._look)
            pgqueuer.schedule(SWEEP, EVERY_HOUR, accepts_context=False)(self._sweep)
            if self._stopping.is_set():
                return
            probing = asyncio.create_task(self._probe(connection, queries), name="queue-probe")
            try:
                await pgqueuer.run(
                    dequeue_timeout=_POLL,
                    batch_size=_JOBS,
                    heartbeat_timeout=_STALE,
                    shutdown_on_listener_failure=True,
                    log_aggregation_interval=_NO_STATISTICS,
                )
            finally:
                probing.cancel()
        finally:
            self._pgqueuer = None
            connection.terminate()

    async def _probe(self, connection: Connection, queries: Queries) -> None:
        """Cut the connection when it does not answer, so that whatever waits for it fails at once."""
        while True:
            await asyncio.sleep(_PROBE_SECONDS)
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await queries.driver.fetch("select 1")
            except Exception:  # noqa: BLE001  # what waits for the connection raises the reason
                connection.terminate()
                return
            if self._is_failing:
                log.warning("queue_works_again")
                self._is_failing = False

    async def _take(self, job: Job) -> None:
        if not await self._duties.take(msgspec.json.decode(job.payload or b"[]", type=list[str])):
            raise RetryRequested(_POSTPONED, "another replica has more room")

    async def _look(self, _: Schedule) -> None:
        try:
            await self._duties.look_after_all()
        except StoreUnavailable as error:  # PgQueuer would log it as a fault of the program
            log.warning("look_postponed", error=error.reason or error.detail)
        if self._pgqueuer is not None:
            await self._pgqueuer.connection.execute(_FORGET)

    async def _sweep(self, _: Schedule) -> None:
        await self._duties.sweep()
