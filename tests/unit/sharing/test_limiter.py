"""Which calls to a provider may run now, and which one is next."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.clock import Timer
from gateway.sharing.limiter import FairLimiter


class StillClock:
    def __init__(self) -> None:
        self.moment = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        raise AssertionError("a limiter waits for calls, not for time")


class Crowd:
    """Callers of one limiter. Each keeps its slot until the test lets it go."""

    def __init__(self, ceiling: int) -> None:
        self.clock = StillClock()
        self.limiter = FairLimiter(ceiling, self.clock)
        self.entered: list[str] = []
        self.most = 0
        self._inside: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def send(self, *names: str) -> None:
        """Let a caller come. Its name begins with its API key, as in `a1`."""
        for name in names:
            self._tasks[name] = asyncio.create_task(self._call(name))

    async def _call(self, name: str) -> None:
        async with self.limiter.slot(name[0]):
            self.entered.append(name)
            self._inside[name] = asyncio.Event()
            self.most = max(self.most, len(self._inside))
            try:
                await self._inside[name].wait()
            finally:
                del self._inside[name]

    async def come(self, *names: str) -> None:
        self.send(*names)
        await settle()

    def let_go(self, name: str) -> None:
        self._inside[name].set()

    async def leave(self, *names: str) -> None:
        """Let callers go one after another, so that each frees a slot for the next."""
        for name in names or tuple(self._inside):
            self.let_go(name)
            await settle()

    async def drain(self) -> None:
        """Let every caller go as soon as it has a slot."""
        while self._inside:
            await self.leave(next(iter(self._inside)))

    def cancel(self, name: str) -> None:
        self._tasks[name].cancel()

    @property
    def inside(self) -> set[str]:
        return set(self._inside)

    @property
    def all_have_ended(self) -> bool:
        return all(task.done() for task in self._tasks.values())

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


async def settle() -> None:
    for _ in range(6):
        await asyncio.sleep(0)


@pytest_asyncio.fixture
async def crowd() -> AsyncIterator[Crowd]:
    crowd = Crowd(2)
    yield crowd
    await crowd.close()


async def test_no_more_calls_than_the_limit_run(crowd: Crowd) -> None:
    await crowd.come("a1", "a2", "a3", "a4")
    assert (crowd.inside, crowd.limiter.active, crowd.limiter.waiting) == ({"a1", "a2"}, 2, 2)
    await crowd.leave("a1")
    assert (crowd.inside, crowd.limiter.waiting) == ({"a2", "a3"}, 1)
    await crowd.drain()
    assert crowd.entered == ["a1", "a2", "a3", "a4"]
    assert (crowd.limiter.active, crowd.limiter.waiting, crowd.most) == (0, 0, 2)


async def test_a_call_that_fails_frees_its_slot(crowd: Crowd) -> None:
    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            async with crowd.limiter.slot("a"):
                raise ZeroDivisionError
    assert crowd.limiter.active == 0


async def test_a_key_with_many_waiting_calls_does_not_delay_another_key(crowd: Crowd) -> None:
    await crowd.come(*(f"a{number}" for number in range(102)))
    await crowd.come("b0", "c0", "b1")
    for _ in range(6):
        await crowd.leave(next(iter(sorted(crowd.inside))))
    assert crowd.entered[2:8] == ["a2", "b0", "c0", "a3", "b1", "a4"]


async def test_keys_take_turns(crowd: Crowd) -> None:
    await crowd.come("x0", "x1")
    await crowd.come(*(f"{key}{number}" for key in "abc" for number in range(4)))
    await crowd.drain()
    assert [name[0] for name in crowd.entered[2:]] == list("abcabcabcabc")


async def test_a_key_that_comes_again_and_again_does_not_pass_the_other_keys(crowd: Crowd) -> None:
    await crowd.come("x0", "x1", "a0", "b0", "b1")
    await crowd.leave("x0")
    await crowd.come("a1", "a2")
    await crowd.leave("x1", "a0", "b0")
    assert crowd.entered[2:] == ["a0", "b0", "a1", "b1"]
    assert crowd.limiter.waiting == 1


async def test_a_later_call_does_not_pass_those_that_wait(crowd: Crowd) -> None:
    await crowd.come("a0", "a1", "a2")
    crowd.let_go("a0")
    crowd.send("b0")
    await settle()
    assert crowd.inside == {"a1", "a2"}


# Cancelled


async def test_a_call_that_is_cancelled_while_it_waits_is_not_waited_for(crowd: Crowd) -> None:
    await crowd.come("a1", "a2", "b1", "c1")
    crowd.cancel("b1")
    await settle()
    assert crowd.limiter.waiting == 1
    await crowd.leave("a1")
    assert (crowd.inside, crowd.limiter.active) == ({"a2", "c1"}, 2)


async def test_a_call_that_is_cancelled_just_before_it_gets_a_slot_is_skipped(crowd: Crowd) -> None:
    await crowd.come("a1", "a2", "b1", "c1")
    crowd.cancel("b1")
    crowd.let_go("a1")  # a slot becomes free for it before it has noticed the cancel
    await settle()
    assert (crowd.inside, crowd.limiter.active, crowd.limiter.waiting) == ({"a2", "c1"}, 2, 0)


async def test_a_call_that_is_cancelled_as_it_gets_a_slot_passes_it_on() -> None:
    crowd = Crowd(1)
    place = crowd.limiter.slot("a")
    await place.__aenter__()
    await crowd.come("b1", "c1")

    await place.__aexit__(None, None, None)
    assert (crowd.limiter.active, crowd.inside) == (1, set()), "b1 has a slot and does not know it yet"
    crowd.cancel("b1")
    await settle()

    assert (crowd.entered, crowd.limiter.active, crowd.limiter.waiting) == (["c1"], 1, 0)
    await crowd.drain()
    assert crowd.limiter.active == 0
    await crowd.close()


async def test_a_call_that_is_cancelled_while_it_runs_frees_its_slot(crowd: Crowd) -> None:
    await crowd.come("a1", "a2", "a3")
    crowd.cancel("a1")
    await settle()
    assert (crowd.inside, crowd.limiter.active) == ({"a2", "a3"}, 2)


@settings(max_examples=150)
@given(ceiling=st.integers(1, 3), seed=st.integers(0, 10**6), steps=st.integers(1, 60))
def test_no_slot_is_lost_in_any_order_of_events(ceiling: int, seed: int, steps: int) -> None:
    async def storm() -> None:
        crowd = Crowd(ceiling)
        chance = random.Random(seed)
        names: list[str] = []
        for number in range(steps):
            match chance.choice(["come", "come", "leave", "cancel", "refused", "well", "settle"]):
                case "come":
                    names.append(f"{chance.choice('abc')}{number}")
                    crowd.send(names[-1])
                case "leave" if crowd.inside:
                    crowd.let_go(chance.choice(sorted(crowd.inside)))
                case "cancel" if names:
                    crowd.cancel(chance.choice(names))
                case "refused":
                    crowd.clock.moment += timedelta(seconds=chance.choice([0, 6]))
                    crowd.limiter.record_429()
                case "well":
                    crowd.limiter.record_success()
                case _:
                    await settle()
            if chance.random() < 0.5:
                await asyncio.sleep(0)
            assert 1 <= crowd.limiter.limit <= ceiling
            assert crowd.limiter.active <= ceiling
        await settle()
        assert crowd.limiter.active == len(crowd.inside)
        assert not crowd.limiter.waiting or crowd.limiter.active >= crowd.limiter.limit, (
            "a place is free and somebody waits"
        )
        await crowd.drain()
        assert (crowd.limiter.active, crowd.limiter.waiting) == (0, 0)
        assert crowd.all_have_ended
        assert crowd.most <= ceiling

    asyncio.run(storm())


# A limit that moves


async def test_lowered_limit_starts_the_next_call_later() -> None:
    crowd = Crowd(4)
    await crowd.come("a1", "a2", "a3", "a4", "a5")
    crowd.limiter.record_429()
    assert (crowd.limiter.limit, crowd.limiter.active) == (2, 4), "calls that run already go on"
    await crowd.leave("a1", "a2")
    assert crowd.inside == {"a3", "a4"}
    await crowd.leave("a3")
    assert crowd.inside == {"a4", "a5"}
    await crowd.close()


async def test_refusals_of_one_moment_lower_the_limit_once() -> None:
    crowd = Crowd(16)
    crowd.limiter.record_429()
    crowd.limiter.record_429()
    assert crowd.limiter.limit == 8
    crowd.clock.moment += timedelta(seconds=5)
    crowd.limiter.record_429()
    assert crowd.limiter.limit == 4


async def test_raised_limit_starts_the_next_call_at_once() -> None:
    crowd = Crowd(4)
    crowd.limiter.record_429()
    await crowd.come("a1", "a2", "a3")
    assert crowd.inside == {"a1", "a2"}
    crowd.limiter.record_success()
    await settle()
    assert crowd.inside == {"a1", "a2"}, "one call is less than a full round"
    crowd.limiter.record_success()
    crowd.limiter.record_success()
    await settle()
    assert (crowd.limiter.limit, crowd.inside) == (3, {"a1", "a2", "a3"})
    await crowd.close()


async def test_limit_is_not_raised_while_slots_are_free() -> None:
    crowd = Crowd(4)
    crowd.limiter.record_429()
    await crowd.come("a1")
    for _ in range(100):
        crowd.limiter.record_success()
    assert crowd.limiter.limit == 2, "only one call ran, which proves nothing about more"
    await crowd.close()


async def test_limit_rises_again_to_the_configured_one_and_no_further() -> None:
    crowd = Crowd(3)
    crowd.limiter.record_429()
    await crowd.come(*(f"a{number}" for number in range(9)))
    for _ in range(50):
        crowd.limiter.record_success()
        await settle()
    assert (crowd.limiter.limit, crowd.limiter.active) == (3, 3)
    await crowd.close()
