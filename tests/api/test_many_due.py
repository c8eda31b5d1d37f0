"""Many generations whose polls become due at the same moment leave the event loop free for requests."""

import asyncio
from typing import Any

import pytest

from gateway.engine import driver
from gateway.sharing.turns import PORTION

OPEN = 12 * PORTION


async def test_each_round_of_the_loop_takes_few_steps_of_generations(
    gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, rounds, advance = 0, list[tuple[int, int]](), driver.advance

    def counting(*args: Any, **kwargs: Any) -> Any:
        nonlocal steps
        steps += 1
        return advance(*args, **kwargs)

    async def count() -> None:
        nonlocal steps
        while True:
            before = len(gateway.upstream.requests)
            steps = 0
            await asyncio.sleep(0)
            rounds.append((steps, len(gateway.upstream.requests) - before))

    created = [await gateway.create(prompt=f"A beach. {number}") for number in range(OPEN)]
    await gateway.begin(created[-1]["id"])
    monkeypatch.setattr(driver, "advance", counting)
    already = len(gateway.upstream.requests)
    counter = asyncio.create_task(count())
    await gateway.clock.advance(60)
    counter.cancel()
    assert len(gateway.upstream.requests) - already == OPEN
    # In one round a portion of generations becomes due, and another portion has got its replies.
    assert max(taken for taken, _ in rounds) <= 2 * PORTION
    assert max(polls for _, polls in rounds) <= PORTION
