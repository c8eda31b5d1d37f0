"""What another process changes reaches what it concerns here: listeners, drivers, clients and holds in memory."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from gateway.clients.administration import Administration
from gateway.clients.directory import Directory
from gateway.domain.adapter.task import Status
from gateway.domain.clients import NO_LIMITS, Client, key_digest
from gateway.domain.errors import StoreUnavailable
from gateway.domain.health.hold import Hold
from gateway.engine.wake_ups import WakeUps
from gateway.generations.event_stream import EventStreamSource
from gateway.generations.notifier import Notifier
from gateway.live import Live
from gateway.store.postgres import signals as signals_module
from gateway.store.postgres.open import open_postgres
from gateway.store.postgres.server import Server
from gateway.store.signals import (
    Alone,
    CalledBack,
    CircuitsReset,
    ClientsChanged,
    GenerationChanged,
    Hear,
    HoldsChanged,
    Message,
    Signal,
)
from gateway.telemetry import NOBODY
from gateway.upstream.control import ProviderControl
from gateway.upstream.health import Health

from ...postgres_processes import moves, new_generation, processes
from ...processes import NOW, until
from ...processes import Process as Replica
from ..builders import T0
from .test_embedded import HastyClock

HOLD = Hold(provider="acme", held_at=T0, held_by="ada", note="why")
SETTINGS: Any = SimpleNamespace(
    server=SimpleNamespace(api_keys=(), admin_keys=(), kling_keys=()), clients={}, budgets=()
)


class Engine:
    """Notes what reaches drivers."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []

    def look_again(self, generation_id: str) -> bool:
        self.calls.append(("look_again", generation_id))
        return True

    def poll_now(self, generation_id: str, attempt_id: str) -> bool:
        self.calls.append(("poll_now", generation_id, attempt_id))
        return True

    def reconsider(self) -> None:
        self.calls.append(("reconsider",))


class OneSignals(Alone):
    """Signals that the test makes."""

    def __init__(self) -> None:
        self.hear: Hear = lambda _: None
        self.sent: list[Message] = []

    def start(self, hear: Hear) -> None:
        self.hear = hear

    def send(self, message: Message) -> None:
        self.sent.append(message)


class Side:
    """One process: what is in its memory, and what keeps that up to date."""

    def __init__(self, store: Any, engine: Any = None) -> None:
        self.store = store
        self.engine = engine or Engine()
        self.notifier = Notifier()
        self.clock = HastyClock()
        self.directory = Directory(SETTINGS)
        self.health = Health({}, self.clock, NOBODY)
        self.control = ProviderControl(
            configured=Live(["acme"]),
            providers={},
            health=self.health,
            holds=store.holds,
            clock=self.clock,
            signals=store.signals,
            reconsider=self.engine.reconsider,
        )
        self.wake_ups = WakeUps(
            store=store,
            engine=self.engine,
            notifier=self.notifier,
            directory=self.directory,
            control=self.control,
            clock=self.clock,
        )
        self.administration = Administration(store.clients, self.directory, self.clock)

    async def start(self) -> None:
        self.wake_ups.start()
        await until(lambda: self.store.signals._newest_event is not None)
        await self.directory.load(self.store.clients)


@pytest_asyncio.fixture
async def sides(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Side]]:
    """Two processes that make only their first look: what is heard came with a notification."""
    monkeypatch.setattr(signals_module, "LOOK_SECONDS", 3600.0)
    async with processes(postgres_url, "first", "second") as pair:
        sides = [Side(process.store) for process in pair]
        for side in sides:
            await side.start()
        yield sides
        for side in sides:
            await side.wake_ups.stop()


async def test_a_client_that_waits_at_one_process_gets_the_events_of_the_other(sides: list[Side]) -> None:
    first, second = sides
    made = await first.store.create(new_generation())
    source = EventStreamSource(second.store, second.notifier, second.clock)
    types: list[str] = []
    after = 0
    with second.notifier.streams.place("alice") as place, second.notifier.listen(made.id, place) as listener:
        for status in (Status.IN_PROGRESS, Status.CANCELLED):
            batch = await source.batch_after(made.id, "alice", after)
            assert batch is not None
            types += [event.type for event in batch.events]
            after = batch.rows[-1].seq
            made = await moves(first.store, made, status)
            async with asyncio.timeout(20):
                await listener.wait()
            listener.clear()
        batch = await source.batch_after(made.id, "alice", after)
        assert batch is not None
        types += [event.type for event in batch.events]
    assert types == ["generation.queued", "generation.in_progress", "generation.cancelled"]
    assert batch.ended
    assert second.engine.calls == [("look_again", made.id)] * 2
    assert first.engine.calls == []


async def test_clients_keys_and_holds_of_one_process_count_in_the_other(sides: list[Side]) -> None:
    first, second = sides
    await first.administration.create("carol", NO_LIMITS)
    made, text = await first.administration.create_key("carol", label="", scopes=("read",), expires_at=None)
    digest = key_digest(text)
    await until(lambda: second.directory.find(digest))
    assert second.directory.by_name("carol") == Client(
        owner="client_carol", name="carol", limits=NO_LIMITS, configured=False
    )
    await second.administration.revoke("carol", made.id)
    await until(lambda: first.directory.find(digest).stored.revoked_at)  # type: ignore[union-attr]
    await first.administration.delete("carol")
    await until(lambda: second.directory.by_name("carol") is None and second.directory.find(digest) is None)

    await first.control.hold("acme", held_by="ada", note=None)
    await until(lambda: "acme" in second.health.holds)
    await second.control.release("acme")
    await until(lambda: not first.health.holds)
    first.control.reset("acme", None)
    await until(lambda: len(second.engine.calls) == 3)
    assert second.engine.calls == [("reconsider",)] * 3, "once for each of the three changes"


async def test_a_change_and_a_callback_at_one_replica_reach_the_driver_at_another(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals_module, "LOOK_SECONDS", 3600.0)
    replicas = [Replica(open_postgres(Server(postgres_url), NOW)) for _ in range(2)]
    followers = [Side(replica.store, replica.engine) for replica in replicas]
    for replica, follower in zip(replicas, followers, strict=True):
        await follower.start()
        await replica.engine.start()
    driving, other = replicas
    created = await driving.create()
    driver = driving.drivers[created.id]

    other.engine.nudge(created.id, "att_1")
    await until(lambda: driver.noted)
    await moves(other.store, created, Status.CANCELLED)
    other.engine.wake(created.id)
    await until(lambda: len(driver.noted) == 2)
    await until(lambda: other.engine.driven == 0)
    assert driver.noted == ["att_1", "wake"]
    assert await other.fence(created.id) == created.fence, "nothing was taken from a replica that lives"
    for replica, follower in zip(replicas, followers, strict=True):
        await follower.wake_ups.stop()
        await replica.stop()


class Rows:
    """Clients and holds that cannot be read at first. `meanwhile` happens during a read."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.reads: list[str] = []
        self.meanwhile: Any = lambda: None
        self.error: Exception = StoreUnavailable("The store cannot be read now.", retry_after=5)

    async def _read(self, what: str) -> None:
        self.reads.append(what)
        await asyncio.sleep(0)
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        if self.failures:
            self.failures -= 1
            raise self.error

    async def all(self) -> Any:
        await self._read("all")
        return [], []

    async def named(self, name: str) -> Any:
        await self._read(name)

    async def keys_of(self, _name: str) -> Any:
        return []

    async def now(self) -> Any:
        await self._read("holds")
        return [HOLD]


def alone(rows: Rows) -> tuple[Side, OneSignals]:
    signals = OneSignals()
    side = Side(SimpleNamespace(signals=signals, clients=rows, holds=rows))
    side.wake_ups.start()
    return side, signals


async def test_each_signal_reaches_whom_it_concerns() -> None:
    rows = Rows()
    side, signals = alone(rows)
    with side.notifier.streams.place("alice") as place, side.notifier.listen("gen_1", place) as listener:
        for signal in (CalledBack("gen_1", "att_1"), GenerationChanged("gen_2"), CircuitsReset("none", "hero")):
            signals.hear(signal)
        assert not listener.is_set()
        signals.hear(GenerationChanged("gen_1"))
        assert listener.is_set()
    assert side.engine.calls == [
        ("poll_now", "gen_1", "att_1"),
        ("look_again", "gen_2"),
        ("reconsider",),
        ("look_again", "gen_1"),
    ]
    assert signals.sent == [], "nothing is sent on"
    side.control.reset("acme", None)
    assert signals.sent == [CircuitsReset("acme", None)]
    await side.wake_ups.stop()


async def test_what_is_outdated_is_read_once_and_until_it_can_be_read() -> None:
    rows = Rows(failures=2)
    side, signals = alone(rows)
    changes: list[Signal] = [ClientsChanged("a"), HoldsChanged(), ClientsChanged("a"), ClientsChanged(None)]
    with capture_logs() as logged:
        for change in changes:
            signals.hear(change)
        await until(lambda: side.wake_ups._reading is None)
    assert rows.reads == ["a", "a", "a", "holds", "all"]
    assert [line["event"] for line in logged] == ["store_unavailable"] * 2
    assert dict(side.health.holds) == {"acme": HOLD}

    rows.failures, rows.error = 1, ZeroDivisionError()
    with capture_logs() as logged:
        for change in (ClientsChanged("a"), HoldsChanged()):
            signals.hear(change)
        await until(lambda: side.wake_ups._reading is None)
    assert [line["event"] for line in logged] == ["read_again_failed"]
    assert rows.reads[5:] == ["a", "holds"]
    assert side.engine.calls == [("reconsider",)], "the same holds change nothing"

    signals.hear(HoldsChanged())
    await side.wake_ups.stop()
    assert rows.reads[7:] in ([], ["holds"])


@pytest.mark.parametrize("name", [None, "carol"])
async def test_a_read_never_undoes_a_change_that_was_made_here_meanwhile(name: str | None) -> None:
    rows = Rows()
    side, signals = alone(rows)
    rows.meanwhile = lambda: side.directory.put(SimpleNamespace(name="carol", limits=NO_LIMITS))  # type: ignore[arg-type]
    signals.hear(ClientsChanged(name))
    await until(lambda: side.wake_ups._reading is None)
    assert len(rows.reads) == 2, "it was read again after the change"
    await side.wake_ups.stop()


async def test_the_operator_sees_that_signals_are_late() -> None:
    side, signals = alone(Rows())
    assert side.wake_ups.warnings() == []
    signals.trouble = "the connection is lost"
    assert side.wake_ups.warnings() == ["the connection is lost"]
    await side.wake_ups.stop()
