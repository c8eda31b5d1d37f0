"""Group commit on a real PostgreSQL: what is committed together, what a lost connection means, and who has the lock."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio

from gateway.domain.errors import Conflict, Overloaded, StoreUnavailable
from gateway.store.postgres import writer as writer_module
from gateway.store.postgres.server import Server
from gateway.store.postgres.writer import LOCK, GroupWriter
from gateway.store.sql.database import Transaction
from gateway.telemetry import BatchCommitted

from ....chaos.replicas.proxy import Flow, Proxy
from ....postgres_server import Server as OwnServer

LIMIT_SECONDS = 10.0  # only a writer that waits for the network takes longer
ADD = "insert into secrets (name, value) values (?, ?)"


class Events(list[Any]):
    def observe(self, event: object) -> None:
        self.append(event)

    @property
    def jobs(self) -> list[int]:
        return [event.jobs for event in self if isinstance(event, BatchCommitted)]


@pytest.fixture
def events() -> Events:
    return Events()


@pytest_asyncio.fixture
async def writer(postgres_url: str, events: Events) -> AsyncIterator[GroupWriter]:
    writer = GroupWriter(Server(postgres_url), events)
    yield writer
    await writer.close()


@pytest_asyncio.fixture
async def other(postgres_url: str) -> AsyncIterator[Any]:
    """A connection beside those of the writer."""
    connection = await asyncpg.connect(postgres_url)
    yield connection
    await connection.close()


def adding(name: str) -> Callable[[Transaction], Any]:
    return lambda transaction: transaction.run(ADD, (name, b""))


def shorten(monkeypatch: pytest.MonkeyPatch, setting: str, to: str) -> None:
    assert setting in writer_module._BEGIN
    name = setting.partition(" ")[0]
    monkeypatch.setattr(writer_module, "_BEGIN", writer_module._BEGIN.replace(setting, f"{name} = '{to}'"))


async def backend(transaction: Transaction) -> int:
    return int(await transaction.value("select pg_backend_pid()"))


async def names(connection: Any) -> list[str]:
    return [row[0] for row in await connection.fetch("select name from secrets order by name")]


async def test_jobs_that_wait_are_committed_together_in_their_order(
    writer: GroupWriter, other: Any, events: Events
) -> None:

    async def number(transaction: Transaction) -> int:
        await transaction.many(ADD, [(f"job {i}", b"") for i in range(3)])
        return int(await transaction.value("select count(*) from secrets"))

    first = asyncio.create_task(writer.run(adding("a")))
    await asyncio.sleep(0)
    results = await asyncio.gather(first, writer.run(adding("b")), writer.run(number))

    assert results == [1, 1, 5]
    assert await names(other) == ["a", "b", "job 0", "job 1", "job 2"]
    assert sum(events.jobs) == 3
    assert len(events.jobs) < 3


async def test_a_slow_transaction_leaves_the_rest_of_its_jobs_to_the_next(
    writer: GroupWriter, other: Any, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others want the lock as well. `in_one` says which jobs had one transaction, by the number of the transaction."""
    monkeypatch.setattr(writer_module, "_HOLD_SECONDS", 0.0)
    in_one: list[tuple[str, int]] = []

    def noting(name: str) -> Callable[[Transaction], Awaitable[None]]:
        async def work(transaction: Transaction) -> None:
            if name == "bad":
                await transaction.run(ADD, ("a", b""))  # is there already
            await transaction.run(ADD, (name, b""))
            in_one.append((name, int(await transaction.value("select cast(txid_current() as bigint)"))))

        return work

    results = await asyncio.gather(
        *(writer.run(noting(name)) for name in ("a", "bad", "b", "c")), return_exceptions=True
    )

    assert [name for name, _ in in_one] == ["a", "b", "c"]
    assert len({number for _, number in in_one}) == 3
    assert [isinstance(result, Exception) for result in results] == [False, True, False, False]
    assert await names(other) == ["a", "b", "c"]
    assert sum(events.jobs) == 4


async def test_a_job_that_fails_changes_nothing_and_leaves_the_others(writer: GroupWriter, other: Any) -> None:
    async def refused(transaction: Transaction) -> None:
        await transaction.run(ADD, ("refused", b""))
        raise Conflict("no")

    async def twice(transaction: Transaction) -> None:
        await transaction.run(ADD, ("b", b""))

    async def missing(transaction: Transaction) -> None:
        await transaction.run("update no_table set a = 1")

    jobs: Iterable[Any] = (adding("a"), refused, adding("b"), twice, missing, adding("c"))
    results = await asyncio.gather(*map(writer.run, jobs), return_exceptions=True)

    assert [type(result) for result in results] == [
        *(int, Conflict, int),
        *(asyncpg.UniqueViolationError, asyncpg.UndefinedTableError, int),
    ]
    assert await names(other) == ["a", "b", "c"]
    with pytest.raises(Conflict):  # alone it is not carried out twice
        await writer.run(refused)
    assert await writer.run(adding("d")) == 1


async def test_a_connection_lost_before_the_commit_is_replaced(writer: GroupWriter, other: Any, events: Events) -> None:
    tries = []

    async def broken(transaction: Transaction) -> int:
        await transaction.run(ADD, ("a", b""))
        tries.append(await backend(transaction))
        if len(tries) == 1:
            await other.execute(f"select pg_terminate_backend({tries[0]})")
        return await transaction.run(ADD, ("b", b""))

    assert await writer.run(broken) == 1
    assert len(set(tries)) == 2
    assert await names(other) == ["a", "b"]

    await other.execute(f"select pg_terminate_backend({tries[1]})")  # while it waits for work
    assert await writer.run(adding("c")) == 1
    assert all(event.succeeded for event in events)


async def test_a_connection_lost_at_the_commit_leaves_it_open_whether_it_is_saved(
    writer: GroupWriter, other: Any
) -> None:
    # The commit takes long: a trigger at the end of the transaction waits for a lock.
    await other.execute(
        "create function wait() returns trigger language plpgsql as $$ begin"
        " perform pg_advisory_xact_lock(7); return null; end $$;"
        "create constraint trigger slow after insert on secrets deferrable initially deferred"
        " for each row execute function wait(); select pg_advisory_lock(7)"
    )
    job = asyncio.create_task(writer.run(adding("a")))
    async with asyncio.timeout(10):
        while not (waits := await other.fetchval("select pid from pg_locks where not granted and objid = 7")):
            pass
    await other.execute(
        f"select pg_terminate_backend({waits}), pg_advisory_unlock(7); drop trigger slow on secrets; drop function wait"
    )

    with pytest.raises(StoreUnavailable, match="not known whether the change was saved"):
        await job
    assert await writer.run(adding("b")) == 1
    assert await names(other) == ["b"]


async def test_results_are_given_before_anything_else_can_fail(postgres_url: str, other: Any) -> None:
    """The callers of changes that are committed would take an error, or a cancellation, for silence."""

    class Broken:
        def observe(self, event: object) -> None:
            raise ZeroDivisionError

    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: seen.append(context["exception"]))
    seen: list[Any] = []
    writer = GroupWriter(Server(postgres_url), Broken())
    assert await writer.run(adding("a")) == 1
    assert await writer.run(adding("b")) == 1
    assert await names(other) == ["a", "b"]
    await asyncio.gather(writer.close(), return_exceptions=True)
    gc.collect()
    assert {type(error) for error in seen} == {ZeroDivisionError}


async def test_new_work_gets_its_refusal_soon_from_a_network_that_passes_nothing(
    postgres_url: str, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It did not begin, so that nothing comes of it, also when the network works again."""
    monkeypatch.setattr(writer_module, "_NEW_WORK_SECONDS", 0.2)
    port = urlsplit(postgres_url).port or 0
    network = Proxy(lambda: [port])
    await network.open()
    writer = GroupWriter(Server(postgres_url.replace(f":{port}/", f":{network.port}/")))
    assert await writer.run(adding("a")) == 1

    network.flow(Flow.HOLD, Flow.HOLD)
    old_work = asyncio.create_task(writer.run(adding("b")))
    async with asyncio.timeout(LIMIT_SECONDS):
        for _ in range(2):  # the first one is in the transaction that waits, the second one waits for the next one
            with pytest.raises(StoreUnavailable, match="nothing was accepted"):
                await writer.run(adding("c"), yields=True)
    assert not old_work.done()

    network.flow(Flow.PASS, Flow.PASS)
    monkeypatch.setattr(writer_module, "_NEW_WORK_SECONDS", LIMIT_SECONDS)
    assert await old_work == 1
    assert await writer.run(adding("d"), yields=True) == 1
    assert await names(other) == ["a", "b", "d"]
    await writer.close()
    network.close()


async def test_new_work_that_may_be_saved_is_not_said_to_be_refused(
    writer: GroupWriter, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "_NEW_WORK_SECONDS", 1.0)
    has_begun, answers = asyncio.Event(), asyncio.Event()
    await writer.run(adding("first"))  # it connects

    async def slow(transaction: Transaction) -> None:
        await transaction.run(ADD, ("a", b""))
        has_begun.set()
        await answers.wait()  # like a server whose answer to the commit stays away

    with pytest.raises(StoreUnavailable, match="not known whether the change was saved"):
        await writer.run(slow, yields=True)
    assert has_begun.is_set()
    answers.set()
    assert await writer.run(adding("b")) == 1
    assert await names(other) == ["a", "b", "first"]


async def test_a_deferred_constraint_says_for_sure_that_nothing_is_saved(writer: GroupWriter, other: Any) -> None:
    async def against_the_rules(transaction: Transaction) -> None:
        await transaction.all("set constraints all deferred")
        await transaction.run(
            "insert into generations (id, key, kind, model, status, request, plan, created_at, deadline_at, progress,"
            " fence, lease_until, version) values ('g', 'k', 'video', 'm', 'queued', '{}', '{}', 0, 0, 0, 0, 0, 0)"
        )
        await transaction.run("insert into generation_files (generation_id, key, file_id) values ('g', 'k', 'none')")

    with pytest.raises(StoreUnavailable, match="nothing was accepted"):
        await writer.run(against_the_rules)
    assert await other.fetchval("select count(*) from generations") == 0


async def test_a_frozen_gateway_loses_the_lock(
    postgres_url: str, writer: GroupWriter, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        writer_module, "_BEGIN", writer_module._BEGIN.replace("session_timeout = '5s'", "session_timeout = '300ms'")
    )
    frozen = GroupWriter(Server(postgres_url))
    thawed, has_lock = asyncio.Event(), asyncio.Event()
    tries = []

    async def freeze(transaction: Transaction) -> int:
        tries.append(await transaction.run(ADD, ("frozen", b"")))
        has_lock.set()
        if len(tries) == 1:
            await thawed.wait()  # like a process that is stopped in the middle of a transaction
        return await transaction.run("update secrets set value = 'x' where name = 'frozen'")

    job = asyncio.create_task(frozen.run(freeze))
    await has_lock.wait()

    assert await writer.run(adding("other")) == 1  # as soon as the server has ended the other transaction
    assert await names(other) == ["other"]
    thawed.set()
    assert await job == 1, "nothing was committed, so the job is carried out again"
    assert len(tries) == 2
    await frozen.close()


async def test_transactions_of_two_gateways_are_carried_out_one_after_another(postgres_url: str, other: Any) -> None:
    """Each job counts the rows and adds one with that number: two at once would add the same number."""

    async def next_number(transaction: Transaction) -> int:
        number = await transaction.value("select count(*) from secrets")
        await transaction.run(ADD, (f"{number:04}", b""))
        return int(number)

    writers = [GroupWriter(Server(postgres_url)) for _ in range(2)]
    numbers = await asyncio.gather(*(writer.run(next_number) for _ in range(40) for writer in writers))
    assert sorted(numbers) == list(range(80))
    for writer in writers:
        await writer.close()


async def test_a_stricter_isolation_by_default_changes_nothing(postgres_url: str, other: Any) -> None:
    await other.execute("alter role current_user set default_transaction_isolation = 'serializable'")
    try:
        await test_transactions_of_two_gateways_are_carried_out_one_after_another(postgres_url, other)
    finally:
        await other.execute("alter role current_user reset default_transaction_isolation")


async def test_a_lock_that_is_not_released_fails_the_jobs_that_wait(
    writer: GroupWriter, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        writer_module, "_BEGIN", writer_module._BEGIN.replace("lock_timeout = '10s'", "lock_timeout = '50ms'")
    )
    await other.execute(f"select pg_advisory_lock({LOCK})")
    with pytest.raises(StoreUnavailable, match="nothing was accepted") as refusal:
        await writer.run(adding("a"))
    assert "another program holds the lock" in str(refusal.value.reason)
    await other.execute(f"select pg_advisory_unlock({LOCK})")
    assert await writer.run(adding("b")) == 1
    assert await names(other) == ["b"]


async def test_a_caller_that_goes_does_not_stop_its_job_and_close_commits_what_waits(
    postgres_url: str, other: Any
) -> None:
    writer = GroupWriter(Server(postgres_url))
    gone = asyncio.create_task(writer.run(adding("gone")))
    waits = asyncio.create_task(writer.run(adding("waits")))
    await asyncio.sleep(0)
    gone.cancel()
    await writer.close()

    assert await waits == 1
    assert await names(other) == ["gone", "waits"]
    with pytest.raises(StoreUnavailable, match="closed"):
        await writer.run(adding("late"))


async def test_new_work_yields_and_too_much_is_refused(writer: GroupWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "_YIELDING_MAX", 1)
    monkeypatch.setattr(writer_module, "_WAITING_MAX", 2)
    waiting = [asyncio.create_task(writer.run(adding(name))) for name in "ab"]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await writer.run(adding("c"), yields=True)
    with pytest.raises(StoreUnavailable, match="Too many writes"):
        await writer.run(adding("c"))
    assert await asyncio.gather(*waiting) == [1, 1]


async def test_a_server_that_loses_commits_is_refused_also_later(
    postgres_url: str, writer: GroupWriter, other: Any
) -> None:
    pid = await writer.run(backend)
    await other.execute("alter role current_user set synchronous_commit = off")
    try:
        await other.execute(f"select pg_terminate_backend({pid})")
        with pytest.raises(StoreUnavailable) as refusal:
            await writer.run(adding("a"))
        assert "synchronous_commit" in str(refusal.value.reason)
    finally:
        await other.execute("alter role current_user reset synchronous_commit")
    assert await writer.run(adding("b")) == 1
    assert await names(other) == ["b"]


async def test_a_restart_of_the_server_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    server = OwnServer()
    await asyncio.to_thread(server.start)
    try:
        connection = await asyncpg.connect(f"{server.url}/postgres")
        await connection.execute("create table secrets (name text, value bytea)")
        writer = GroupWriter(Server(f"{server.url}/postgres"))
        assert await writer.run(adding("a")) == 1
        await asyncio.to_thread(server.stop, hard=True)
        job = asyncio.create_task(writer.run(adding("b")))
        await asyncio.to_thread(server.start)
        assert await job == 1
        await asyncio.to_thread(server.stop)
        monkeypatch.setattr(writer_module, "_PATIENCE_SECONDS", 0.2)
        with pytest.raises(StoreUnavailable, match="nothing was accepted"):
            await writer.run(adding("c"))
        await writer.close()
    finally:
        server.remove()
