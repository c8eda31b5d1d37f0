"""Several processes on one PostgreSQL: together they stay within each limit, and each gets its part of it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from gateway.clients.shared_rates import SharedRates
from gateway.domain.adapter.task import Status, TaskRef
from gateway.domain.clients import Bucket, CreateLimits
from gateway.domain.errors import (
    GatewayError,
    OpenGenerationsReached,
    OutputsPerDayReached,
    Overloaded,
    RequestsPerMinuteReached,
    StoreUnavailable,
)
from gateway.domain.generation.model import Attempt, AttemptState, Generation, Task
from gateway.domain.generation.transitions import AddAttempt
from gateway.domain.money.budgets import Budget, BudgetExceeded, Period
from gateway.domain.request_leases import most, piece
from gateway.store.port import Permission, SubmitPlace
from gateway.store.postgres.server import Server

from ....postgres_processes import Process, moves, new_generation, processes
from ...builders import T0, after

NAMES = ("first", "second", "third")


@pytest_asyncio.fixture
async def three(postgres_url: str) -> AsyncIterator[list[Process]]:
    async with processes(postgres_url, *NAMES) as three:
        yield three


@pytest_asyncio.fixture
async def other(postgres_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(postgres_url)
    await connection.executemany("insert into replicas (id, name) values ($1, $1)", [(name,) for name in NAMES])
    yield connection
    await connection.close()


async def reserved(process: Process, route: str = "acme/one") -> tuple[str, Generation]:
    """A generation of this process with an attempt that may be submitted."""
    created = await process.store.create(new_generation(route=route))
    attempt = Attempt(
        id=f"att_{created.id}", number=1, route=0, slots=(0,), state=AttemptState.RESERVED, reserved_at=T0
    )
    assert await process.store.write(created, [AddAttempt(attempt)], T0) is not None
    return attempt.id, created


async def begins(process: Process, waiting: tuple[str, Generation], places: int, provider: str = "acme") -> bool:
    attempt_id, created = waiting
    answer = await process.store.begin_submit(attempt_id, created.fence, T0, SubmitPlace(provider, places))
    assert answer in {Permission.GRANTED, Permission.FULL}
    return answer is Permission.GRANTED


async def ends(process: Process, waiting: tuple[str, Generation]) -> None:
    task = Task(ref=TaskRef(id=f"task_{waiting[0]}"), slot=0, status=Status.QUEUED)
    assert await process.store.accept(waiting[0], [task], T0) is not None


@pytest.mark.usefixtures("other")
async def test_all_processes_together_submit_no_more_than_the_account_takes(three: list[Process]) -> None:
    waiting = [(process, await reserved(process)) for process in three for _ in range(4)]
    answers = await asyncio.gather(*(begins(process, attempt, 5) for process, attempt in waiting))
    assert sum(answers) == 5
    elsewhere = await reserved(three[0], "bolt/one")
    assert await begins(three[0], elsewhere, 1, "bolt"), "another account has places of its own"
    began = [pair for pair, answer in zip(waiting, answers, strict=True) if answer]
    await ends(*began[0])
    refused = [pair for pair, answer in zip(waiting, answers, strict=True) if not answer]
    again = [await begins(process, attempt, 5) for process, attempt in refused]
    assert sum(again) == 1


@pytest.mark.usefixtures("other")
async def test_processes_with_one_place_between_them_take_turns(three: list[Process]) -> None:
    """Each asks again as soon as it can, and the one that has just had the place asks first."""
    turns: list[str] = []
    waiting = {name: [await reserved(process) for _ in range(3)] for name, process in zip(NAMES, three, strict=True)}
    held: tuple[Process, tuple[str, Generation]] | None = None
    order = list(zip(NAMES, three, strict=True))
    while any(waiting.values()):
        if held is not None:
            await ends(*held)
        held = None
        for name, process in order:
            if held is None and waiting[name] and await begins(process, waiting[name][0], 1):
                held = process, waiting[name].pop(0)
                turns.append(name)
            elif waiting[name]:
                assert not await begins(process, waiting[name][0], 1)
        order.sort(key=lambda pair: pair[0] != turns[-1])
    assert all(len(set(turns[start : start + 3])) == 3 for start in range(1, 7)), turns


async def test_a_process_that_asks_no_more_keeps_nobody_from_a_place(three: list[Process], other: Any) -> None:
    first, second, third = three
    held, gone, patient = [await reserved(process) for process in three]
    assert await begins(first, held, 1)
    assert not await begins(second, gone, 1)
    await ends(first, held)
    assert not await begins(third, patient, 1), "the second has waited longer"
    await other.execute("update waiting_submits set asked_at = $1 where replica = 'second'", T0)
    assert await begins(third, patient, 1)
    assert await other.fetchval("select count(*) from waiting_submits where replica = 'third'") == 0


async def test_requests_of_a_client_are_counted_by_the_clock_of_the_database(three: list[Process], other: Any) -> None:
    """As `Bucket` in `domain/clients.py` counts them for one process."""
    bucket, moment, owner = Bucket(60.0, T0), T0, "client_ann"
    for place, (seconds, wanted, returned) in enumerate(((0, 50, 0), (3, 20, 0), (0, 1, 4), (500, 7, 0), (0.5, 80, 2))):
        moment += timedelta(seconds=seconds)
        bucket = bucket.now(moment, 60)
        bucket = Bucket(min(bucket.left + returned, 60.0), bucket.at)
        expected = min(wanted, int(bucket.left))
        bucket = Bucket(bucket.left - expected, bucket.at)
        await other.execute("update request_rates set at = at - make_interval(secs => $1)", float(seconds))
        limits = three[place % 3].limits
        taken = await limits.take(owner, 60, most=60.0, wanted=wanted, returned=returned)
        assert taken.requests == expected
        assert taken.unused == pytest.approx(bucket.left, abs=0.9), "what the test itself takes adds a little"
    await other.execute("update request_rates set at = at + interval '1 hour', unused = 5")
    taken = await three[0].limits.take(owner, 60, most=60.0, wanted=9, returned=0)
    assert taken.requests == 5, "a clock that goes back takes nothing away"


async def test_three_processes_let_a_client_send_its_limit_and_no_more(three: list[Process]) -> None:
    rates = [SharedRates(process.limits) for process in three]
    for limit in (30, 6000):  # with single requests, and with pieces
        tries = [each.take(f"client_{limit}", limit) for each in rates for _ in range(limit)]
        results = await asyncio.gather(*tries, return_exceptions=True)
        assert {type(result) for result in results} == {type(None), RequestsPerMinuteReached}
        passed = results.count(None)
        assert most(limit) <= passed + len(rates) * piece(limit)
        assert passed <= most(limit) + 20 * limit / 60, "it fills again meanwhile"


async def test_without_the_database_no_request_passes_for_free(three: list[Process], other: Any) -> None:
    rates = SharedRates(three[0].limits)
    await rates.take("client_ann", 60)
    three[0].limits._server = Server("postgresql://127.0.0.1:1/none")
    three[0].limits._drop()
    with pytest.raises(StoreUnavailable):
        await rates.take("client_ann", 60)


async def refusals(creates: list[Any], error: type[GatewayError]) -> int:
    """How many of these creates are refused with this error, while the others succeed."""
    results = await asyncio.gather(*creates, return_exceptions=True)
    refused = [result for result in results if not isinstance(result, Generation)]
    assert all(isinstance(result, error) for result in refused), refused
    return len(refused)


async def test_open_generations_of_all_processes_stay_within_the_limit(three: list[Process], other: Any) -> None:
    owners = ("ann", "bob", "cid")
    creates = [
        process.store.create(new_generation(owner=owner), open_max=12)
        for process in three
        for owner in owners
        for _ in range(3)
    ]
    assert await refusals(creates, Overloaded) == 27 - 12
    assert await count_of(other) == 12
    first, *_ = [row["id"] for row in await other.fetch("select id from generations order by id")]
    open_one = await three[1].store.get(first)
    assert open_one is not None
    ended = await moves(three[1].store, open_one, Status.CANCELLED)
    assert await count_of(other) == 11
    await three[2].store.create(new_generation(owner="dan"), open_max=12)
    assert await three[0].store.delete(ended.id, ended.owner, after(1))
    assert await count_of(other) == 12
    await other.execute("update generations set key = 'eve' where key = 'dan'")
    assert await other.fetchval("select generations from open_counts where key = 'eve'") == 1
    await other.execute("delete from generations where key = 'eve'")
    assert await count_of(other) == 11


async def count_of(other: Any) -> int:
    """The count of open generations, after a comparison of each count with the rows."""
    counted = dict(await other.fetch("select key, generations from open_counts where generations <> 0"))
    rows = await other.fetch(
        "select key, count(*) from generations where status in ('queued', 'in_progress') group by key"
    )
    assert {key: count for key, count in counted.items() if key} == dict(rows)
    assert counted.get("", 0) == sum(count for _, count in rows)
    return int(counted.get("", 0))


async def test_one_client_leaves_places_to_the_others_whichever_process_it_asks(three: list[Process]) -> None:
    creates = [process.store.create(new_generation(owner="ann"), open_max=10) for process in three for _ in range(4)]
    assert await refusals(creates, Overloaded) == 12 - 9
    await three[0].store.create(new_generation(owner="bob"), open_max=10)


async def test_limits_of_a_client_hold_over_all_processes(three: list[Process]) -> None:
    for limits, error in (
        (CreateLimits(open_generations=4), OpenGenerationsReached),
        (CreateLimits(outputs_per_day=4), OutputsPerDayReached),
    ):
        owner = f"client_{error.__name__}"
        creates = [
            process.store.create(new_generation(owner=owner), client_limits=limits)
            for process in three
            for _ in range(3)
        ]
        assert await refusals(creates, error) == 9 - 4


async def test_a_budget_is_spent_once_whichever_process_reserves_it(three: list[Process]) -> None:
    budget = Budget(owner="ann", period=Period.DAY, limit=1_000_000)
    creates = [
        process.store.create(new_generation(owner="ann", cost_usd=0.25), budgets=[budget])
        for process in three
        for _ in range(3)
    ]
    assert await refusals(creates, BudgetExceeded) == 9 - 4
