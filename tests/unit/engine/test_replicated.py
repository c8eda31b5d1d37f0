"""Several replicas on one database: who drives what after a death, a stop, a start and a failure of the queue."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import asyncpg
import msgspec
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from gateway.clock import boot_seconds
from gateway.domain.errors import StoreUnavailable
from gateway.domain.generation.model import AttemptState
from gateway.domain.replicas import DEAD_SECONDS, JOB_SIZE, SURE_SECONDS
from gateway.engine.membership import Membership
from gateway.engine.replicated import ReplicatedEngine
from gateway.store.port import Permission
from gateway.store.postgres import queue
from gateway.store.postgres.open import open_postgres
from gateway.store.postgres.replicas import PostgresReplicas
from gateway.store.postgres.server import Server
from gateway.store.replicas import Beat

from ...postgres_databases import execute
from ...processes import NOW, Process, until
from ..builders import T0, after


class World:
    """The processes of a test, and a connection beside theirs."""

    def __init__(self, url: str, connection: Any) -> None:
        self._url = url
        self._connection = connection
        self.processes: list[Process] = []

    async def start(self, locks: Path | None = None) -> Process:
        process = Process(open_postgres(Server(self._url), NOW, locks=locks))
        self.processes.append(process)
        await process.engine.start()
        return process

    async def sql(self, sql: str, *values: Any) -> Any:
        return await self._connection.fetchval(sql, *values)

    async def age(self, process: Process) -> None:
        """Let the last heartbeat of a process be a minute old."""
        await self.sql(
            "update replicas set heartbeat_at = heartbeat_at - interval '1 minute' where id = $1", process.replica
        )

    async def until_replicas(self, count: int) -> None:
        async with asyncio.timeout(20):
            while await self.sql("select count(*) from replicas") != count:
                pass


@pytest_asyncio.fixture
async def world(postgres_url: str) -> AsyncIterator[World]:
    connection = await asyncpg.connect(postgres_url)
    world = World(postgres_url, connection)
    yield world
    for process in world.processes:
        await process.stop()
    await connection.close()


async def test_the_others_take_what_a_dead_replica_drove_and_it_notices(world: World) -> None:
    dead, other = await world.start(), await world.start()
    created = [await dead.create() for _ in range(2 * JOB_SIZE + 5)]
    await dead.freeze()
    replica = dead.replica
    await world.age(dead)
    await other.beat()
    await until(lambda: len(other.drivers) == len(created))
    assert {driver.held.fence for driver in other.drivers.values()} == {created[0].fence + 1}
    await world.until_replicas(1)
    assert other.engine.standing.handed_over["dead_replica"] == len(created)

    assert len(dead.drivers) == len(created), "it is frozen"
    await dead.beat()
    await until(lambda: not dead.drivers)
    assert dead.replica != replica
    with dead.engine.admit("alice"):
        pass
    assert dead.engine.standing.declared_dead == 1
    await world.until_replicas(2)
    await other.beat()
    assert len(other.drivers) == len(created), "nothing is taken from it because the other one is back"


async def test_a_replica_that_is_not_sure_to_live_accepts_nothing(world: World) -> None:
    process = await world.start()
    membership = cast(ReplicatedEngine, process.engine)._membership
    with process.engine.admit("alice"):
        pass
    membership._elapsed = lambda: boot_seconds() + SURE_SECONDS  # it was suspended for so long
    with pytest.raises(StoreUnavailable, match="was suspended"), process.engine.admit("alice"):
        pass
    assert not await duties_of(process).take(["gen_1"])
    await process.beat()
    with process.engine.admit("alice"):
        pass


def files_in(folder: Path) -> int:
    return len(list(folder.iterdir()))


async def test_a_start_takes_at_once_what_a_process_drove_that_has_ended_on_this_machine(
    world: World, tmp_path: Path
) -> None:
    ended, frozen, elsewhere = await world.start(tmp_path), await world.start(tmp_path), await world.start()
    created = [await process.create() for process in (ended, frozen, elsewhere)]
    for process in (ended, frozen, elsewhere):
        await process.freeze()
    locks = cast(PostgresReplicas, ended.store.replicas)._locks
    assert locks._held is not None
    os.close(locks._held[0])  # as the kernel does at the end of a process
    locks._held = None

    again = await world.start(tmp_path)
    await until(lambda: again.drivers)
    assert list(again.drivers) == [created[0].id]
    assert await world.sql("select count(*) from replicas") == 3
    assert files_in(tmp_path) == 2, "those of the frozen one and of the new one"
    await again.engine.stop(5)
    assert files_in(tmp_path) == 1


async def test_a_replica_that_counts_as_dead_cannot_submit(world: World) -> None:
    dead = await world.start()
    created = await dead.create()
    attempt_id = await dead.reserve(created)
    await dead.freeze()
    await world.age(dead)
    assert await dead.store.begin_submit(attempt_id, created.fence, T0) is Permission.OVERTAKEN
    stored = await dead.store.get(created.id)
    assert stored is not None
    assert [attempt.state for attempt in stored.attempts] == [AttemptState.RESERVED]


async def test_nothing_is_taken_from_a_replica_that_lives(world: World) -> None:
    first, other = await world.start(), await world.start()
    created = await first.create()
    attempt_id = await first.reserve(created)
    assert await other.store.take_over([created.id], after(60)) == []
    other.engine.wake(created.id)
    await until(lambda: other.engine.driven == 0)
    assert await first.fence(created.id) == created.fence
    assert await other.store.begin_submit(attempt_id, created.fence, T0) is Permission.OVERTAKEN
    assert await first.store.begin_submit(attempt_id, created.fence, T0) is Permission.GRANTED


async def test_a_stop_hands_over_at_once_what_has_no_submit_in_flight(world: World) -> None:
    stopping, other = await world.start(), await world.start()
    created = [await stopping.create() for _ in range(3)]
    await stopping.submit(created[0])
    driver = stopping.drivers[created[0].id]
    stop = asyncio.create_task(stopping.engine.stop(60))
    await until(lambda: len(other.drivers) == 2)
    assert created[0].id not in other.drivers
    assert await other.fence(created[0].id) == created[0].fence
    await other.store.accept(stored_attempt(await other.store.get(created[0].id)), (), T0)
    driver.finish()
    await stop
    await until(lambda: len(other.drivers) == 3)
    await world.until_replicas(1)


def queue_of(process: Process) -> Any:
    return process.store.replicas


def duties_of(process: Process) -> Any:
    return process.engine


def stored_attempt(generation: Any) -> str:
    return str(generation.attempts[0].id)


async def test_a_submit_that_a_stop_cuts_off_is_found_by_the_others(world: World) -> None:
    stopping, other = await world.start(), await world.start()
    created = await stopping.create()
    await stopping.submit(created)
    await stopping.engine.stop(0)
    await world.until_replicas(1)
    await other.look()
    await until(lambda: created.id in other.drivers)


async def test_a_new_replica_gets_its_share(world: World) -> None:
    old = await world.start()
    created = [await old.create() for _ in range(60)]
    submitting = created[0]
    await old.submit(submitting)
    new = await world.start()
    await queue_of(old).stop_work()  # a job that it is offered and leaves to the other is offered again after a second
    await old.beat()
    assert not await duties_of(old).take(["gen_"] * JOB_SIZE)
    await until(lambda: len(new.drivers) == 30)
    assert submitting.id in old.drivers
    assert {*old.drivers, *new.drivers} == {each.id for each in created}
    await new.beat()
    await old.beat()
    await old.beat()
    assert (len(old.drivers), len(new.drivers)) == (30, 30), "then they rest"
    assert (old.engine.standing.replicas, old.engine.standing.handed_over["surplus"]) == (2, 30)


async def test_what_belongs_to_nobody_is_found(world: World) -> None:
    process = await world.start()
    created = [await process.add() for _ in range(3)]
    await world.sql("update generations set replica = case when id = $1 then null else 'rep_gone' end", created[0].id)
    await process.look()
    await until(lambda: len(process.drivers) == 3)
    await process.engine.taken_over()


async def test_a_job_whose_replica_was_killed_is_given_to_another_one(world: World) -> None:
    process = await world.start()
    created = await process.add()
    await world.sql("update generations set replica = null")
    await world.sql(
        "insert into pgqueuer (priority, status, entrypoint, payload, queue_manager_id, heartbeat)"
        " values (0, 'picked', 'take_over', $1, gen_random_uuid(), now() - interval '1 minute')",
        msgspec.json.encode([created.id]),
    )
    await until(lambda: created.id in process.drivers)
    await process.engine.taken_over()


async def test_a_job_that_is_carried_out_twice_takes_nothing_twice(world: World) -> None:
    process = await world.start()
    created = await process.add()
    await world.sql("update generations set replica = null")
    for _ in range(2):
        await world.sql(
            "insert into pgqueuer (priority, status, entrypoint, payload) values (0, 'queued', 'take_over', $1)",
            msgspec.json.encode([created.id]),
        )
    await until(lambda: created.id in process.drivers)
    await process.engine.taken_over()
    assert await process.fence(created.id) == created.fence + 1


async def test_a_lost_connection_stops_neither_the_queue_nor_heartbeats(
    world: World, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "RESTART_SECONDS", 0.01)
    process = await world.start()
    await process.engine.taken_over()
    created = await process.add()
    kill = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'video-gateway'"
    await execute(postgres_url, kill + " and datname = current_database()")
    await world.sql("update generations set replica = null")
    await beat_again(process)
    await process.look()
    await until(lambda: created.id in process.drivers)


async def beat_again(process: Process) -> None:
    """The first heartbeat after a loss may fail."""
    try:
        await process.beat()
    except Exception:  # noqa: BLE001
        await process.beat()


async def test_what_this_replica_should_drive_and_does_not_gets_a_driver(world: World) -> None:
    process = await world.start()
    created = await process.add()  # as a create whose commit was unclear
    engine: Any = process.engine
    await engine._drive_missing()
    assert created.id not in process.drivers, "it may be under way"
    await engine._drive_missing()
    await until(lambda: created.id in process.drivers)


async def test_the_database_and_the_program_agree_when_a_replica_is_dead(world: World) -> None:
    process = await world.start()
    for seconds, lives in ((DEAD_SECONDS - 2, True), (DEAD_SECONDS + 1, False)):
        await world.sql(
            "update replicas set heartbeat_at = clock_timestamp() - make_interval(secs => $1)", float(seconds)
        )
        assert await world.sql("select replica_lives($1)", process.replica) is lives
    assert not await world.sql("select replica_lives(null)")


_DELETE_NEWEST = "delete from events where seq = (select max(seq) from events)"


async def test_a_delete_of_the_newest_event_is_no_loss_also_if_the_server_is_another_one(world: World) -> None:
    process = await world.start()
    await process.create()
    await process.beat()
    await world.sql(_DELETE_NEWEST)
    await process.beat()
    assert process.engine.halted is None


async def test_a_number_of_an_event_that_was_never_committed_is_no_loss(world: World) -> None:
    """A crash of the server forgets such numbers. The heartbeat may have come before it."""
    process = await world.start()
    await process.create()
    committed = await world.sql("select last_value from events_seq_seq")
    await world.sql("select nextval('events_seq_seq')")
    await process.beat()
    await world.sql(f"select setval('events_seq_seq', {committed})")
    await process.beat()
    assert process.engine.halted is None


@pytest.mark.parametrize(
    "change",
    [
        "insert into lineages (id, began_at) values ('x', 0)",
        # As a standby that took over and had not received the newest event.
        f"alter table events disable trigger events_deleted; {_DELETE_NEWEST}",
    ],
)
async def test_a_ledger_that_has_lost_commits_gets_no_submit_from_a_running_replica(world: World, change: str) -> None:
    process = await world.start()
    for _ in range(3):
        created = await process.create()
    await process.beat()
    for statement in change.split("; "):
        await world.sql(statement)
    with capture_logs() as logged:
        await process.beat()
        await process.beat()
    assert [line["event"] for line in logged if line["log_level"] == "error"] == ["ledger_went_back"]
    assert "serve --restored" in str(process.engine.halted)
    engine: Any = process.engine
    assert not engine._membership.is_sure
    with pytest.raises(StoreUnavailable), process.engine.admit("alice"):
        pass
    assert created.id in process.drivers, "what was bought is still read"
    assert not await duties_of(process).take([created.id])


class Rows:
    """Replicas whose answers the test gives."""

    lost: str | None = None

    def __init__(self) -> None:
        self.answer: Callable[[], Beat | None] = lambda: Beat(others=(), has_dead=False, waiting=0)

    async def join(self) -> None:
        return

    async def leave(self) -> None:
        return

    async def beat(self, driven: int, *, draining: bool) -> Beat | None:
        return self.answer()


async def test_a_replica_is_sure_only_for_a_time_after_the_moment_it_sent_a_heartbeat() -> None:
    now, rows = 100.0, Rows()
    membership = Membership(rows, lambda: now)  # type: ignore[arg-type]
    assert not membership.is_sure
    await membership.join()
    assert membership.is_sure
    now += SURE_SECONDS + 0.1  # also in a suspension: the clock is the one that counts it
    assert not membership.is_sure
    waiting = asyncio.create_task(membership.sure())
    await asyncio.sleep(0)
    assert not waiting.done()

    def late() -> Beat:
        nonlocal now
        now += SURE_SECONDS + 0.1  # the answer came so late
        return Beat(others=(), has_dead=False, waiting=0)

    rows.answer = late
    await membership.beat(0, draining=False)
    assert not membership.is_sure
    rows.answer = lambda: Beat(others=(3, 4), has_dead=False, waiting=20)
    await membership.beat(0, draining=False)
    await waiting
    assert membership.load(1).others == (3, 4)

    assert membership.is_sure
    rows.lost = "the ledger ends at event 1"
    assert not membership.is_sure
    rows.lost = None

    rows.answer = lambda: None
    assert await membership.beat(0, draining=False) is None
    assert not membership.is_sure


async def test_each_replica_hears_how_many_there_are(world: World) -> None:
    first, _ = await world.start(), await world.start()
    heard: list[int] = []
    duties_of(first).on_replicas = heard.append
    await first.beat()
    last = await world.start()
    await first.beat()
    await world.age(last)
    await first.beat()
    assert heard == [2, 3, 2]


async def test_a_start_learns_how_far_the_clock_of_the_database_is_ahead(postgres_url: str) -> None:
    for apart in (-3, 0, 3600):
        store = open_postgres(Server(postgres_url), datetime.now(UTC) - timedelta(seconds=apart))
        assert abs(store.at_start.ahead.total_seconds() - apart) < 1
        await store.close()
