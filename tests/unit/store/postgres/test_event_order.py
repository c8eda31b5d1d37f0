"""The numbers of events follow the commits of all writers, so a stream that resumes after a number skips nothing."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest_asyncio

from gateway.domain.adapter.task import Status
from gateway.domain.generation.model import Generation
from gateway.store.port import Event
from gateway.store.sql.database import Transaction

from ....postgres_processes import Process, moves, new_generation, processes
from ....processes import until
from ...builders import T0

ADD = "insert into events (generation_id, type, data, at) values (?, ?, '{}', 0)"
WAITING = (
    "select count(*) from pg_locks where locktype = 'advisory' and not granted"
    " and database = (select oid from pg_database where datname = current_database())"
)


@pytest_asyncio.fixture
async def pair(postgres_url: str) -> AsyncIterator[list[Process]]:
    async with processes(postgres_url, "first", "second") as pair:
        yield pair


def adding(generation: Generation, name: str) -> Any:
    return lambda transaction: transaction.run(ADD, (generation.id, name))


async def test_an_event_with_a_higher_number_waits_for_those_before_it(pair: list[Process], postgres_url: str) -> None:
    first, second = pair
    made = await first.store.create(new_generation())
    connection = await asyncpg.connect(postgres_url)
    has_number, may_commit = asyncio.Event(), asyncio.Event()

    async def slow(transaction: Transaction) -> None:
        await transaction.run(ADD, (made.id, "early"))
        has_number.set()
        await may_commit.wait()

    writes = [asyncio.create_task(first.writer.run(slow))]
    await has_number.wait()
    writes.append(asyncio.create_task(second.writer.run(adding(made, "late"))))
    async with asyncio.timeout(20):
        while not await connection.fetchval(WAITING) and not writes[1].done():
            pass
    seen = await second.store.events(made.id)
    assert [event.type for event in seen] == ["generation.queued"], "the later event is there before the earlier one"

    may_commit.set()
    await asyncio.gather(*writes)
    assert [event.type for event in await second.store.events(made.id, seen[-1].seq)] == ["early", "late"]
    await connection.close()


async def test_a_reader_that_resumes_while_two_processes_write_skips_nothing(pair: list[Process]) -> None:
    first, second = pair
    made = await first.store.create(new_generation())
    followed: list[Event] = []
    is_written = asyncio.Event()

    async def follow() -> None:
        is_last = False
        while not is_last:
            is_last = is_written.is_set()
            followed.extend(await second.store.events(made.id, followed[-1].seq if followed else 0))

    follower = asyncio.create_task(follow())
    for start in range(0, 60, 6):
        jobs = [process.writer.run(adding(made, str(n))) for n in range(start, start + 6) for process in pair]
        await asyncio.gather(*jobs)
    is_written.set()
    await follower

    numbers = [event.seq for event in followed]
    assert numbers == sorted(set(numbers))
    assert sorted(event.type for event in followed[1:]) == sorted(str(n) for n in range(60) for _ in pair)


async def test_a_notification_comes_after_its_events_can_be_read(pair: list[Process]) -> None:
    first, second = pair
    made = await first.store.create(new_generation())
    read: list[asyncio.Task[list[Event]]] = []
    await second.listen(lambda _: read.append(asyncio.create_task(second.store.events(made.id))))
    moved = await moves(first.store, made, Status.IN_PROGRESS)
    await moves(first.store, moved, Status.CANCELLED, T0)
    await until(lambda: len(read) == 2)

    types = [[event.type for event in await reading] for reading in read]
    assert "generation.in_progress" in types[0]
    assert "generation.cancelled" in types[1]
