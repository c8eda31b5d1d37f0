"""The embedded engine: a generation gets its driver even if the store fails meanwhile."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.domain.errors import Overloaded, StoreUnavailable
from gateway.engine.embedded import TAKE_OVER_BATCH, EmbeddedEngine
from gateway.live import Live

from ..builders import generation

T0 = datetime(2026, 1, 1, tzinfo=UTC)


class HastyClock:
    """A clock whose timers end at once. The time of each is added to the clock as if it had passed."""

    def __init__(self) -> None:
        self._now = T0

    def now(self) -> datetime:
        return self._now

    def call_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.Handle:
        self._now += timedelta(seconds=seconds)
        return asyncio.get_running_loop().call_soon(callback)


class Store:
    """A store whose first writes fail."""

    def __init__(self, failures: int) -> None:
        self._failures = failures
        self.taken_at: list[datetime] = []

    async def open_ids(self, *_: Any) -> list[str]:
        return ["gen_1"]

    async def take_over(self, ids: Sequence[str], lease_until: datetime) -> Any:
        self.taken_at.append(lease_until)
        if len(self.taken_at) <= self._failures:
            raise StoreUnavailable("The store cannot take writes now.", retry_after=5)
        return [replace(generation(), id=generation_id) for generation_id in ids]


class FakeDriver:
    """A driver that ends as soon as it has started."""

    def __init__(self, begun: list[str]) -> None:
        self._begun = begun

    async def run(self, held: Any) -> None:
        self._begun.append(held.id)


async def test_a_store_that_fails_at_the_start_delays_a_generation_only_until_it_works() -> None:
    clock, store, begun = HastyClock(), Store(failures=3), list[str]()
    engine = EmbeddedEngine(store, clock, lambda: FakeDriver(begun), open_max=Live(10))  # type: ignore[arg-type,return-value]

    await engine.start()
    async with asyncio.timeout(5):
        await engine.taken_over()
        await asyncio.gather(*engine._tasks.values())

    assert begun == ["gen_1"]
    assert [(moment - store.taken_at[0]).total_seconds() for moment in store.taken_at] == [0, 1, 2, 3]


class Ledger:
    """A store with many open generations. `during` is called while a transaction of a take-over is under way."""

    def __init__(self, ids: list[str], during: Callable[[list[str]], None] = lambda _: None) -> None:
        self._ids = ids
        self._during = during
        self.batches: list[list[str]] = []

    async def open_ids(self, *_: Any) -> list[str]:
        return self._ids

    async def take_over(self, ids: Sequence[str], _: datetime) -> Any:
        self.batches.append(list(ids))
        self._during(list(ids))
        await asyncio.sleep(0)
        if "gen_broken" in ids:
            raise ValueError("a row that cannot be read")
        return [replace(generation(), id=generation_id) for generation_id in ids]


class WaitingDriver:
    """A driver that goes on until it is stopped, and counts how often it is woken."""

    def __init__(self, begun: list[str]) -> None:
        self._begun = begun
        self._end = asyncio.Event()
        self.woken = 0
        self.nudged: list[str] = []

    async def run(self, held: Any) -> None:
        self._begun.append(held.id)
        await self._end.wait()

    def wake(self) -> None:
        self.woken += 1

    def nudge(self, attempt_id: str) -> None:
        self.nudged.append(attempt_id)

    def stop(self) -> None:
        self._end.set()


def started(ledger: Ledger, begun: list[str], open_max: int = 1000) -> EmbeddedEngine:
    return EmbeddedEngine(ledger, HastyClock(), lambda: WaitingDriver(begun), open_max=Live(open_max))  # type: ignore[arg-type,return-value]


async def test_a_start_takes_over_in_batches_the_oldest_first_and_each_waits_for_the_one_before() -> None:
    ids, begun = [f"gen_{number:03}" for number in range(100)], list[str]()
    ledger = Ledger(ids)
    engine = started(ledger, begun)
    await engine.start()
    assert ledger.batches == [], "the start does not wait for it"
    await engine.taken_over()
    assert [len(batch) for batch in ledger.batches] == [TAKE_OVER_BATCH] * 6 + [4]
    assert [generation_id for batch in ledger.batches for generation_id in batch] == ids
    await asyncio.sleep(0)
    assert begun == ids
    await engine.stop(1)


async def test_what_waits_for_its_take_over_counts_as_open() -> None:
    engine = started(Ledger([f"gen_{number}" for number in range(40)]), [], open_max=40)
    await engine.start()
    with pytest.raises(Overloaded), engine.admit("key"):
        pass
    await engine.stop(1)


async def test_one_key_leaves_places_for_the_others_and_gets_its_own_back_when_its_generations_end() -> None:
    engine = started(Ledger([]), [], open_max=20)
    await engine.start()

    def open_for(key: str) -> int:
        """Create for this key until it is refused; returns how many were created."""
        for number in range(30):
            try:
                with engine.admit(key):
                    engine.begin(replace(generation(), id=f"gen_{key}_{number}", owner=key))
            except Overloaded:
                return number
        raise AssertionError("it is never refused")

    assert open_for("key_a") == 18
    with pytest.raises(Overloaded, match="Your key has 18 open generations") as refused, engine.admit("key_a"):
        pass
    assert refused.value.retry_after
    assert open_for("key_b") == 2
    await asyncio.sleep(0)
    for name in list(engine._drivers):
        engine._drivers[name].stop()
    await asyncio.gather(*engine._tasks.values())
    assert (engine._open, engine._owners) == ({}, {})
    assert open_for("key_a") == 18
    await engine.stop(1)


async def test_a_change_during_the_take_over_reaches_the_driver_and_makes_no_second_one() -> None:
    begun: list[str] = []
    ledger = Ledger(["gen_1", "gen_2"], lambda _: engine.wake("gen_1"))
    engine = started(ledger, begun)
    await engine.start()
    await engine.taken_over()
    await asyncio.sleep(0)
    assert sorted(begun) == ["gen_1", "gen_2"]
    assert len(ledger.batches) == 1
    assert engine._drivers["gen_1"].woken == 1  # type: ignore[attr-defined]
    await engine.stop(1)


async def test_a_callback_before_or_during_the_take_over_polls_its_attempt_at_once() -> None:
    ledger = Ledger([f"gen_{number:03}" for number in range(20)], lambda _: engine.nudge("gen_000", "att_0"))
    engine = started(ledger, [])
    await engine.start()
    engine.nudge("gen_019", "att_19")
    await engine.taken_over()
    await asyncio.sleep(0)
    drivers: Any = engine._drivers
    assert {name: driver.nudged for name, driver in drivers.items() if driver.nudged} == {
        "gen_000": ["att_0"],
        "gen_019": ["att_19"],
    }
    assert engine._nudged == {}
    await engine.stop(1)


async def test_a_generation_that_needs_a_driver_again_during_the_take_over_gets_one() -> None:
    class Changed(Ledger):
        async def take_over(self, ids: Sequence[str], until: datetime) -> Any:
            taken = await super().take_over(ids, until)
            return taken if len(self.batches) > 1 else []  # at first it needed none

    begun: list[str] = []
    ledger = Changed(["gen_1"], during=lambda ids: engine.wake("gen_1") if len(ledger.batches) == 1 else None)
    engine = started(ledger, begun)
    await engine.start()
    await engine.taken_over()
    async with asyncio.timeout(5):
        while not begun:  # noqa: ASYNC110  # rounds of the event loop, no time
            await asyncio.sleep(0)
    assert (begun, ledger.batches) == (["gen_1"], [["gen_1"], ["gen_1"]])
    await engine.stop(1)


async def test_a_change_before_the_take_over_takes_this_one_over_at_once() -> None:
    begun: list[str] = []
    ledger = Ledger([f"gen_{number:03}" for number in range(100)])
    engine = started(ledger, begun)
    await engine.start()
    engine.wake("gen_099")
    await engine.taken_over()
    await asyncio.sleep(0)
    assert sorted(begun) == sorted({f"gen_{number:03}" for number in range(100)})
    assert sum(batch.count("gen_099") for batch in ledger.batches) == 1
    assert ["gen_099"] in ledger.batches
    await engine.stop(1)


async def test_a_change_of_another_process_reaches_a_driver_and_starts_none() -> None:
    ledger, begun = Ledger([]), list[str]()
    engine = started(ledger, begun)
    assert not engine.look_again("gen_1")
    assert not engine.poll_now("gen_1", "att_1")
    assert (ledger.batches, engine.driven) == ([], 0)

    engine.wake("gen_1")
    assert engine.look_again("gen_1"), "it is starting, and reads the change"
    assert not engine.poll_now("gen_1", "att_1")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert begun
    driver: Any = engine._drivers["gen_1"]
    assert driver.woken == 1
    assert engine.look_again("gen_1")
    assert engine.poll_now("gen_1", "att_1")
    assert (driver.woken, driver.nudged) == (2, ["att_1"])
    await engine.stop(1)


async def test_a_generation_that_cannot_be_read_does_not_hold_up_the_others_of_its_batch() -> None:
    begun: list[str] = []
    engine = started(Ledger(["gen_1", "gen_broken", "gen_2"]), begun)
    await engine.start()
    async with asyncio.timeout(5):
        await engine.taken_over()
        for _ in range(10):
            await asyncio.sleep(0)
    assert sorted(begun) == ["gen_1", "gen_2"]
    await engine.stop(1)
