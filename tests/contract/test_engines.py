"""What every engine does: the one of a single process, and that of several replicas."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.domain.adapter.task import Status
from gateway.domain.errors import Overloaded, ShuttingDown

from ..processes import NOW, Process, until
from .ledgers import KINDS, Opener, opener_of

Starter = Callable[..., Awaitable[Process]]


@pytest.fixture(params=KINDS)
def opener(request: pytest.FixtureRequest) -> Opener:
    return opener_of(request, NOW)


@pytest_asyncio.fixture
async def process(opener: Opener, tmp_path: Path) -> AsyncIterator[Process]:
    """A process whose engine has not been started."""
    process = Process(opener(tmp_path))
    yield process
    await process.stop()


async def test_a_new_generation_is_driven_at_once_with_the_fence_of_its_create(process: Process) -> None:
    await process.engine.start()
    created = await process.create()
    assert process.drivers[created.id].held == created
    assert process.engine.driven == 1


async def test_a_start_takes_over_what_needs_a_driver_and_nothing_else(process: Process) -> None:
    waiting = [await process.add() for _ in range(45)]
    ended = await process.add(status=Status.FAILED)
    await process.engine.start()
    await process.engine.taken_over()
    await until(lambda: len(process.drivers) == len(waiting))
    assert sorted(process.drivers) == sorted(created.id for created in waiting)
    assert {driver.held.fence for driver in process.drivers.values()} == {waiting[0].fence + 1}
    assert await process.fence(ended.id) == ended.fence


async def test_what_happens_to_a_generation_reaches_its_driver(process: Process) -> None:
    await process.engine.start()
    created = await process.create()
    process.engine.wake(created.id)
    process.engine.nudge(created.id, "att_1")
    process.engine.reconsider()
    await until(lambda: len(process.drivers[created.id].noted) == 3)
    assert process.drivers[created.id].noted == ["wake", "att_1", "reconsider"]
    assert process.engine.driven == 1


async def test_a_generation_without_a_driver_gets_one_if_it_needs_one(process: Process) -> None:
    await process.engine.start()
    created, ended = await process.add(), await process.add(status=Status.COMPLETED)
    process.engine.wake(ended.id)
    process.engine.nudge(created.id, "att_1")
    await until(lambda: created.id in process.drivers and process.engine.driven == 1)
    await until(lambda: "att_1" in process.drivers[created.id].noted)
    assert process.drivers[created.id].held.fence == created.fence + 1
    assert await process.fence(ended.id) == ended.fence


async def test_places_are_limited_and_a_stop_accepts_nothing(opener: Opener, tmp_path: Path) -> None:
    process = Process(opener(tmp_path), open_max=1)
    await process.engine.start()
    with process.engine.admit("alice"):
        created = await process.create()
    with pytest.raises(Overloaded), process.engine.admit("alice"):
        pass
    process.engine.drain()
    with pytest.raises(ShuttingDown), process.engine.admit("alice"):
        pass
    await until(lambda: created.id not in process.drivers)
    await process.stop()


async def test_a_stop_waits_for_submits_and_the_next_start_has_everything(opener: Opener, tmp_path: Path) -> None:
    process = Process(opener(tmp_path))
    await process.engine.start()
    created = [await process.create() for _ in range(3)]
    await process.submit(created[0])
    driver = process.drivers[created[0].id]
    stopping = asyncio.create_task(process.engine.stop(60))
    await until(lambda: len(process.drivers) == 1)
    assert not stopping.done()
    driver.finish()
    await stopping
    assert process.engine.driven == 0
    await process.stop()

    after = Process(opener(tmp_path))
    await after.engine.start()
    await after.engine.taken_over()
    await until(lambda: len(after.drivers) == 3)
    assert {driver.held.fence for driver in after.drivers.values()} == {created[0].fence + 1}
    await after.stop()


async def test_a_submit_that_a_stop_cuts_off_is_taken_over_too(opener: Opener, tmp_path: Path) -> None:
    process = Process(opener(tmp_path))
    await process.engine.start()
    created = await process.create()
    await process.submit(created)
    await process.engine.stop(0)
    assert process.engine.driven == 0
    await process.stop()

    after = Process(opener(tmp_path))
    await after.engine.start()
    await after.engine.taken_over()
    await until(lambda: created.id in after.drivers)
    await after.stop()
