"""Processes on one PostgreSQL hear of each other's changes, at once or after a look, and never twice."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from msgspec.structs import replace
from structlog.testing import capture_logs

from gateway.domain.adapter.task import Status
from gateway.domain.clients import NO_LIMITS, ClientKey
from gateway.domain.health.hold import Hold
from gateway.store.clients import StoredClient
from gateway.store.postgres import signals as signals_module
from gateway.store.postgres.signals import CHANNEL
from gateway.store.signals import CalledBack, CircuitsReset, ClientsChanged, GenerationChanged, HoldsChanged, Signal

from ....postgres_processes import Process, moves, new_generation, processes
from ....processes import until
from ...builders import T0

HOLD = Hold(provider="bolt", held_at=T0, held_by="ada", note="why")
CAROL = StoredClient(name="carol", limits=NO_LIMITS, created_at=T0)
KEY = ClientKey(id="ck_1", client="carol", sha256=b"1" * 32, label="", scopes=("read",), created_at=T0)
LISTENING = (
    "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
    " and query like '%revisions%'"
)


@pytest_asyncio.fixture
async def pair(postgres_url: str) -> AsyncIterator[list[Process]]:
    async with processes(postgres_url, "first", "second") as pair:
        yield pair


@pytest_asyncio.fixture
async def other(postgres_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(postgres_url)
    yield connection
    await connection.close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first look of each connection is made: what is heard came with a notification."""
    monkeypatch.setattr(signals_module, "LOOK_SECONDS", 3600.0)


@pytest.mark.usefixtures("patient")
async def test_a_change_reaches_the_other_process_once_and_not_its_own(pair: list[Process]) -> None:
    first, second = pair
    for process in pair:
        await process.listen()
    made = await first.store.create(new_generation())
    made = await moves(first.store, made, Status.IN_PROGRESS)
    made = await moves(first.store, made, Status.COMPLETED)
    changed = GenerationChanged(made.id)

    # Notifications come in the order of the commits, so what came before this message is there as well.
    second.signals.send(CalledBack("gen_1", "att_1"))
    await first.hears(CalledBack("gen_1", "att_1"))
    assert first.heard == [CalledBack("gen_1", "att_1")]
    first.signals.send(CircuitsReset("bolt", None))
    await second.hears(CircuitsReset("bolt", None))
    assert second.heard == [changed, changed, CircuitsReset("bolt", None)]

    connection = await second.server.connect()
    await second.signals._look(connection)
    await connection.close()
    assert second.heard.count(changed) == 2, "a look announces what was announced already"


@pytest.mark.usefixtures("patient")
async def test_a_deleted_generation_is_announced_unless_it_ended_long_ago(pair: list[Process]) -> None:
    first, second = pair
    await second.listen()
    now = datetime.now(UTC)
    ids = []
    for ended_at in (now - timedelta(days=3), now):
        made = await first.store.create(new_generation(ended_at))
        made = await moves(first.store, made, Status.COMPLETED, ended_at)
        await second.hears(GenerationChanged(made.id))
        ids.append(made.id)
    second.heard.clear()
    for generation_id in ids:
        assert await first.store.delete(generation_id, "alice", now)

    await second.hears(GenerationChanged(ids[1]))
    assert second.heard == [GenerationChanged(ids[1])]


@pytest.mark.usefixtures("patient")
async def test_clients_keys_and_holds_are_announced_by_name(pair: list[Process]) -> None:
    first, second = pair
    await second.listen()
    await first.store.clients.add(CAROL)
    await first.store.clients.add_key(KEY, stored_client=True)
    await first.store.clients.add_key(replace(KEY, id="ck_2", client="dave", sha256=b"2" * 32), stored_client=False)
    await first.store.clients.revoke("ck_1", "carol", T0)
    assert await first.store.clients.remove("carol", "client_carol")
    await first.store.holds.put(HOLD)
    await first.store.holds.put(replace(HOLD, note="changes nothing"))
    await first.store.holds.remove("bolt")
    first.signals.start(first.heard.append)
    first.signals.send(CalledBack("gen_1", "att_1"))

    await second.hears(CalledBack("gen_1", "att_1"))
    carol = ClientsChanged("carol")
    assert second.heard == [
        *(carol, carol, ClientsChanged("dave"), carol, carol, carol),
        *(HoldsChanged(), HoldsChanged(), CalledBack("gen_1", "att_1")),
    ]
    await until(lambda: len(first.heard) == 2)
    assert {*first.heard} == {ClientsChanged(None), HoldsChanged()}, "what is older than the first look is read whole"


async def test_a_look_is_one_statement_and_announces_what_was_missed(
    pair: list[Process], other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair
    old = await first.store.create(new_generation())
    await second.signals._look(other)  # it does not listen
    second.signals._hear = second.heard.append
    changed = [await first.store.create(new_generation()) for _ in range(20)]
    for made in changed:
        await moves(first.store, made, Status.IN_PROGRESS)
    await first.store.clients.add(CAROL)
    await first.store.holds.put(HOLD)
    statements: list[str] = []

    async def fetch(sql: str, *values: Any, timeout: float) -> Any:  # noqa: ASYNC109  # as of asyncpg
        statements.append(sql)
        return await other.fetch(sql, *values, timeout=timeout)

    counted = SimpleNamespace(fetch=fetch)
    await second.signals._look(counted)
    assert len(statements) == 1
    assert {*second.heard} == {
        *(GenerationChanged(made.id) for made in changed),
        *(ClientsChanged(None), HoldsChanged()),
    }
    assert len(second.heard) == 22

    second.heard.clear()
    await second.signals._look(counted)
    assert (len(statements), second.heard) == (2, [])

    monkeypatch.setattr(signals_module, "LOOK_EVENTS_MAX", 3)
    for made in [old, *changed[:6]]:
        await moves(first.store, await current(first, made.id), Status.CANCELLED)
    await second.signals._look(counted)
    assert {*second.heard} == {GenerationChanged(made.id) for made in [old, *changed[:6]]}
    assert len(statements) == 5, "seven events in pieces of three"


async def current(process: Process, generation_id: str) -> Any:
    return await process.store.get(generation_id)


@pytest.mark.usefixtures("patient")
async def test_a_killed_connection_is_replaced_and_nothing_is_missed(pair: list[Process], other: Any) -> None:
    first, second = pair
    may_connect = asyncio.Event()
    connect = second.server.connect

    async def connect_later() -> Any:
        await may_connect.wait()
        return await connect()

    may_connect.set()
    second.signals._server = SimpleNamespace(connect=connect_later)  # type: ignore[assignment]
    await second.listen()
    [[killed]] = await other.fetch(LISTENING)
    await first.listen()
    may_connect.clear()
    with capture_logs() as logged:
        await other.execute(f"select pg_terminate_backend({killed})")
        await until(lambda: second.signals.trouble)
        assert "what other gateways change is noticed late" in str(second.signals.trouble)
        made = await moves(first.store, await first.store.create(new_generation()), Status.IN_PROGRESS)
        await first.store.holds.put(HOLD)
        second.signals.send(CalledBack("gen_1", "att_1"))
        assert second.heard == []
        may_connect.set()

        await second.hears(GenerationChanged(made.id), HoldsChanged())
        await first.hears(CalledBack("gen_1", "att_1"))
        await until(lambda: second.signals.trouble is None)
    assert [line["event"] for line in logged] == ["signals_lost", "signals_work_again"]

    await moves(first.store, made, Status.CANCELLED)
    await until(lambda: second.heard.count(GenerationChanged(made.id)) == 2)


async def test_a_connection_without_an_answer_is_given_up(
    pair: list[Process], other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals_module, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(signals_module, "ANSWER_SECONDS", 0.2)
    first, second = pair
    await second.listen()
    async with other.transaction():
        await other.execute("lock table revisions in access exclusive mode")
        await until(lambda: second.signals.trouble)
    await until(lambda: second.signals.trouble is None)
    made = await moves(first.store, await first.store.create(new_generation()), Status.IN_PROGRESS)
    await second.hears(GenerationChanged(made.id))


@pytest.mark.usefixtures("patient")
async def test_what_others_send_on_the_channel_does_no_harm(pair: list[Process], other: Any) -> None:
    process = pair[0]

    def fail(signal: Signal) -> None:
        process.heard.append(signal)
        raise ZeroDivisionError

    await process.listen(fail)
    strange = (
        *("", "generation", "generation a b c", "generation a 1", "clients", "clients x y"),
        *("message", 'message x {"type":"new"}', "message x ["),
    )
    with capture_logs() as logged:
        for payload in (*strange, "models 7 hero", "generation gen_1 1 x", "generation gen_2 1 x"):
            await other.execute("select pg_notify($1, $2)", CHANNEL, payload)
        await process.hears(GenerationChanged("gen_1"), GenerationChanged("gen_2"))
    assert len(process.heard) == 2
    assert [line["event"] for line in logged] == ["signal_unreadable"] + ["signal_failed"] * 2
    assert process.signals._unreadable_count == len(strange)


async def test_a_flood_of_notifications_takes_no_memory_and_hides_no_change(
    pair: list[Process], other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands at once, from anybody who may use the database: forged, of kinds without number, and not readable."""
    monkeypatch.setattr(signals_module, "_NOTED_MAX", 100)
    monkeypatch.setattr(signals_module, "LOOK_SECONDS", 3600.0)
    first, second = pair
    made = await first.store.create(new_generation())
    await second.listen()
    floods = ("generation gen_{} 1 x", "kind_{} 7 x", "generation {}", "clients x{}")
    turns = 0
    by_turn: Counter[int] = Counter()

    def turn() -> None:
        nonlocal turns
        turns += 1
        turning.append(loop.call_soon(turn))

    def hear(signal: Signal) -> None:
        by_turn[turns] += 1
        second.heard.append(signal)

    loop, turning = asyncio.get_running_loop(), deque[asyncio.Handle](maxlen=1)
    second.signals._hear = hear
    turn()
    with capture_logs() as logged:
        for flood in floods:
            await other.execute(signals_module._SEND, CHANNEL, [flood.format(n) for n in range(20_000)])
        for forged in (f"generation {made.id} 99 x", "clients 99 x", "holds 99 x"):
            await other.execute("select pg_notify($1, $2)", CHANNEL, forged)
        await second.hears(GenerationChanged(made.id), ClientsChanged(None), HoldsChanged())
    turning[0].cancel()
    assert len(second.heard) == 20_003
    assert max(by_turn.values()) < 10_000, "other work of the event loop comes in between"
    assert len(logged) == 1
    assert len(second.signals._versions._newer) + len(second.signals._versions._older) <= 200
    assert {*second.signals._revisions} == {"clients", "holds"}

    second.heard.clear()
    await moves(first.store, made, Status.IN_PROGRESS)
    await first.store.clients.add(CAROL)
    await first.store.holds.put(HOLD)
    await second.signals._look(other)
    assert {*second.heard} == {GenerationChanged(made.id), ClientsChanged(None), HoldsChanged()}


async def test_messages_wait_for_a_connection_and_are_bounded(pair: list[Process]) -> None:
    first, second = pair
    await second.listen()
    for number in range(signals_module._WAITING_MAX + 1):
        first.signals.send(CalledBack(f"gen_{number}", "att"))
    await first.listen()
    await second.hears(CalledBack(f"gen_{signals_module._WAITING_MAX}", "att"))
    assert len(second.heard) == signals_module._WAITING_MAX
    assert second.heard[0] == CalledBack("gen_1", "att"), "the oldest gave way"
