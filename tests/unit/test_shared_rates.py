"""Several processes let the requests of one client through, each from pieces of its limit."""

import asyncio
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.clients.shared_rates import SharedRates
from gateway.domain.errors import RequestsPerMinuteReached, StoreUnavailable
from gateway.domain.request_leases import KEEP_SECONDS, PAUSE_SECONDS, most, piece
from gateway.store.request_rates import Taken


class Ledger:
    """The bucket of one client, as the database has it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.questions: list[int] = []  # how many requests each process wanted
        self.returned = 0
        self.fails = False
        self._unused: float | None = None
        self._at = 0.0

    async def take(self, owner: str, per_minute: int, *, most: float, wanted: int, returned: int) -> Taken:
        await asyncio.sleep(0)
        if self.fails:
            raise StoreUnavailable
        self.questions.append(wanted)
        self.returned += returned
        before = most if self._unused is None else self._unused
        unused = min(before + returned + (self.now - self._at) * per_minute / 60, most)
        taken = min(wanted, int(unused))
        self._unused, self._at = unused - taken, self.now
        return Taken(taken, self._unused)


class World:
    def __init__(self, processes: int = 1) -> None:
        self.ledger = Ledger()
        self.rates = [SharedRates(self.ledger, lambda: self.ledger.now) for _ in range(processes)]

    async def send(self, per_minute: int, count: int = 1, process: int = 0) -> int:
        """Send so many requests at once; returns how many were let through."""
        sent = (self.rates[process].take("ann", per_minute) for _ in range(count))
        results = await asyncio.gather(*sent, return_exceptions=True)
        assert all(result is None or isinstance(result, RequestsPerMinuteReached) for result in results), results
        return results.count(None)

    def headers(self, per_minute: int) -> Any:
        return self.rates[0].headers("ann", per_minute)


SECONDS = st.sampled_from((0.0, 0.01, 0.3, 0.99, 1.5, 20.0))
COUNTS = st.sampled_from((1, 2, 15, 150))
BURSTS = st.lists(st.tuples(SECONDS, st.integers(0, 2), COUNTS, st.booleans()), max_size=12)
EACH_HAS_ONE = [(0.0, process, 1, False) for process in range(3)]
USED_LATE = [(0.99, 0, 1, False), (0.0, 1, 1, False), (0.0, 2, 1, False), (0.0, 0, 1300, False)]


@settings(max_examples=50)
@given(st.sampled_from((1, 7, 60, 1199, 1200, 6000, 90_000)), BURSTS)
@example(1200, [*EACH_HAS_ONE, *USED_LATE])
def test_no_minute_has_more_requests_than_the_limit_allows(per_minute: int, bursts: Any) -> None:
    """In any stretch of time: the requests of a minute, and what has grown since."""
    world = World(3)
    passed: list[tuple[float, int]] = []

    async def run() -> None:
        for seconds, process, count, repeats in bursts:
            world.ledger.now += seconds
            through = await world.send(per_minute, count, process)
            if through and repeats:
                world.rates[process].give_back("ann")
                through -= 1
            passed.append((world.ledger.now, through))

    asyncio.run(run())
    for start, (began, _) in enumerate(passed):
        total = 0
        for moment, count in passed[start:]:
            total += count
            assert total <= per_minute + (moment - began) * per_minute / 60 + 1e-6


@pytest.mark.parametrize("per_minute", [6, 600, 1200, 12_000])
async def test_a_client_that_stays_at_one_process_can_use_its_whole_limit(per_minute: int) -> None:
    world = World(3)
    total = await world.send(per_minute, per_minute)
    assert total == int(most(per_minute))
    for _ in range(300):
        world.ledger.now += 0.1
        total += await world.send(per_minute, per_minute // 300 + 1)
    assert total >= most(per_minute) + per_minute / 2 - 2 * piece(per_minute) - 1


async def test_one_question_serves_many_requests() -> None:
    world = World()
    assert await world.send(60_000, 40) == 40
    assert world.ledger.questions == [100], "those that come together share the answer"
    assert await world.send(60_000, 60) == 60
    assert world.ledger.questions == [100], "and those that come soon use what is left"
    assert await world.send(60_000, 250) == 250
    assert world.ledger.questions == [100, 250], "those that wait are asked for together"


async def test_what_is_not_used_soon_is_given_back() -> None:
    world = World()
    await world.send(60_000, 40)
    world.ledger.now += KEEP_SECONDS
    await world.send(60_000)
    assert world.ledger.returned == 60
    world.rates[0].give_back("ann")
    world.ledger.now += KEEP_SECONDS
    await world.send(60_000)
    assert world.ledger.returned == 60 + 99 + 1


async def test_a_client_over_its_limit_does_not_reach_the_ledger() -> None:
    world = World()
    assert await world.send(6000, 6000) == int(most(6000))
    before = len(world.ledger.questions)
    for _ in range(5):
        assert await world.send(6000, 100) == 0
    assert len(world.ledger.questions) == before
    with pytest.raises(RequestsPerMinuteReached) as caught:
        await world.rates[0].take("ann", 6000)
    assert caught.value.retry_after == pytest.approx(PAUSE_SECONDS)
    world.ledger.now += PAUSE_SECONDS
    assert await world.send(6000, 200) == 10


async def test_headers_say_what_is_left() -> None:
    world = World()
    assert world.headers(60)["x-ratelimit-remaining-requests"] == "60"
    await world.send(60, 3)
    assert dict(world.headers(60)) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "57",
        "x-ratelimit-reset-requests": "3s",
    }
    world.rates[0].give_back("ann")
    assert world.headers(60)["x-ratelimit-remaining-requests"] == "58"


async def test_a_ledger_that_does_not_answer_lets_nothing_through() -> None:
    world = World()
    await world.send(60)
    world.ledger.fails = True
    results = await asyncio.gather(*(world.rates[0].take("ann", 60) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable] * 3
    world.ledger.fails = False
    assert await world.send(60) == 1


async def test_a_request_that_was_cut_off_while_it_waited_uses_nothing() -> None:
    world = World()
    waiting = [asyncio.create_task(world.rates[0].take("ann", 60)) for _ in range(4)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await world.send(60)
    assert world.ledger.returned == 1
