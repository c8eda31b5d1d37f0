"""The embedded engine: a generation gets its driver even if the store fails meanwhile."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from gateway.domain.errors import StoreUnavailable
from gateway.engine.embedded import EmbeddedEngine

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
    engine = EmbeddedEngine(store, clock, lambda: FakeDriver(begun), open_max=10)  # type: ignore[arg-type,return-value]

    await engine.start()
    async with asyncio.timeout(5):
        await engine.taken_over()
        await asyncio.gather(*engine._tasks.values())

    assert begun == ["gen_1"]
    assert [(moment - store.taken_at[0]).total_seconds() for moment in store.taken_at] == [0, 1, 2, 3]
