"""Gateways that change the same generations at once: all of them wait in a transaction when the first may go on."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Sequence
from itertools import permutations
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from gateway.domain.adapter.task import TaskRef
from gateway.domain.errors import Conflict
from gateway.domain.generation.facts_and_effects import TaskRead
from gateway.domain.generation.lifecycle import advance, cancel
from gateway.domain.generation.model import AttemptState, Generation, Task
from gateway.store.postgres.open import open_postgres
from gateway.store.postgres.server import Server
from gateway.store.postgres.writer import LOCK
from gateway.store.sql.store import SqlStore
from gateway.store.task_claims import ClaimResult

from ....contract.ledgers import postgres_place
from ....contract.test_money import priced, profile_of, spending
from ....postgres_processes import Process, processes
from ....processes import LIMIT_SECONDS, NOW
from ...builders import done

REF = TaskRef(id="t-1", path="/v1/t")
PRICE = 500_000
_WAITING = (
    "select count(*) from pg_locks join pg_database as d on d.oid = database"
    " where locktype = 'advisory' and not granted and datname = current_database()"
)


class Gateways:
    """Three gateways on one ledger, and a connection that keeps all of them waiting."""

    def __init__(self, url: str, made: Sequence[Process], connection: Any) -> None:
        self.stores = [process.store for process in made]
        self._ledger = postgres_place(url)
        self._connection = connection

    async def at_once(self, *calls: Coroutine[Any, Any, Any]) -> list[Any]:
        """The results and errors of calls, one for each gateway, which get the lock of the ledger in this order."""
        await self._connection.execute("select pg_advisory_lock($1)", LOCK)
        tasks = []
        async with asyncio.timeout(LIMIT_SECONDS):
            for count, call in enumerate(calls, 1):
                tasks.append(asyncio.create_task(call))
                while await self._connection.fetchval(_WAITING) < count:
                    pass
        await self._connection.execute("select pg_advisory_unlock($1)", LOCK)
        return await asyncio.gather(*tasks, return_exceptions=True)

    async def stored(self, generation: Generation) -> Generation:
        stored = await self.stores[0].get(generation.id)
        assert stored is not None
        return stored

    def audited(self, owner: str = "alice") -> dict[str, tuple[int, int]]:
        """What an owner has reserved and spent, by period; everything in the ledger agrees with it."""
        assert self._ledger.contradictions() == []
        return {period: sums for (key, period), sums in spending(self._ledger).items() if key == owner}

    def holders(self) -> Counter[str]:
        """How many tasks each attempt has, by the rows that assign them."""
        return Counter(row[0] for row in self._ledger.rows("select attempt_id from tasks"))


@pytest_asyncio.fixture
async def gateways(postgres_url: str) -> AsyncIterator[Gateways]:
    connection = await asyncpg.connect(postgres_url)
    async with processes(postgres_url, "", "", "") as made:
        yield Gateways(postgres_url, made, connection)
    await connection.close()


@pytest.mark.parametrize("reporter", ["callback", "operator"])
async def test_a_task_that_three_gateways_adopt_belongs_to_one_generation(gateways: Gateways, reporter: Any) -> None:
    made = [await store.create(priced(NOW, bought=True)) for store in gateways.stores]
    answers = await gateways.at_once(
        *(
            store.task_claims.claim(generation.attempts[0].id, [REF], NOW, reporter)
            for store, generation in zip(gateways.stores, made, strict=True)
        )
    )
    assert [type(answer) for answer in answers] == [ClaimResult, Conflict, Conflict]
    states = [(await gateways.stored(generation)).attempts[0] for generation in made]
    assert [(attempt.state, len(attempt.tasks)) for attempt in states] == [
        (AttemptState.ACCEPTED, 1),
        (AttemptState.UNKNOWN, 0),
        (AttemptState.UNKNOWN, 0),
    ]
    assert gateways.holders() == Counter([made[0].attempts[0].id])
    await asyncio.to_thread(gateways.audited)


async def test_a_late_reply_and_reports_of_its_task_are_one_task(gateways: Gateways) -> None:
    reply, callback, operator = gateways.stores
    for number, order in enumerate(permutations(range(3)), 1):
        made, ref = await reply.create(priced(NOW, bought=True)), TaskRef(id=f"t-{number}", path="/v1/t")
        name = made.attempts[0].id
        calls: list[Any] = [
            reply.accept(name, [Task(ref=ref, slot=0)], NOW),
            callback.task_claims.claim(name, [ref], NOW, "callback"),
            operator.task_claims.claim(name, [ref], NOW, "operator"),
        ]
        answers = await gateways.at_once(*(calls[place] for place in order))
        assert not [answer for answer in answers if isinstance(answer, BaseException)], order
        assert ClaimResult.REFUSED not in answers, "who reports a task that the attempt has is right"
        after = (await gateways.stored(made)).attempts[0]
        assert [(task.ref, task.slot) for task in after.tasks] == [(ref, 0)], order
        events = [event.type for event in await reply.events(made.id)]
        assert events.count("attempt.accepted") == 1, order
        assert gateways.holders()[name] == 1
    await asyncio.to_thread(gateways.audited)


@pytest.mark.parametrize("is_open", [False, True])
async def test_a_late_result_that_gateways_read_at_once_is_settled_once(gateways: Gateways, is_open: bool) -> None:
    """With `is_open` the generation waits for it; otherwise it was cancelled."""
    made = await gateways.stores[0].create(priced(NOW, bought=True))
    if not is_open:
        assert await gateways.stores[0].write(made, cancel(made, NOW), NOW) is not None
    await gateways.stores[0].task_claims.claim(made.attempts[0].id, [REF], NOW, "callback")
    before = await gateways.stored(made)
    assert before.attempts[0].tasks
    read = TaskRead(attempt_id=made.attempts[0].id, index=0, snapshot=done(), asked_at=NOW)
    step = advance(before, {}, [read], now=NOW, busy=frozenset(), profile_of=profile_of)
    assert step.writes
    versions = await gateways.at_once(*(store.write(before, step.writes, NOW) for store in gateways.stores))
    assert versions == [before.version + 1, None, None]
    sums = await asyncio.to_thread(gateways.audited)
    assert set(sums.values()) == {(PRICE, 0) if is_open else (0, PRICE)}, "an open generation settles nothing"


async def test_a_gateway_that_was_overtaken_settles_nothing_of_a_late_result(gateways: Gateways) -> None:
    overtaken, driving, _ = gateways.stores
    made = await overtaken.create(priced(NOW, bought=True))
    await overtaken.task_claims.claim(made.attempts[0].id, [REF], NOW, "callback")
    before = await gateways.stored(made)
    read = TaskRead(attempt_id=made.attempts[0].id, index=0, snapshot=done(), asked_at=NOW)
    step = advance(before, {}, [read], now=NOW, busy=frozenset(), profile_of=profile_of)
    (taken,), version = await gateways.at_once(
        driving.take_over([made.id], NOW), overtaken.write(before, step.writes, NOW)
    )
    assert taken is not None
    assert version is None
    step = advance(taken, {}, [read], now=NOW, busy=frozenset(), profile_of=profile_of)
    version = await driving.write(taken, step.writes, NOW)
    assert version == taken.version + 1
    sums = await asyncio.to_thread(gateways.audited)
    assert set(sums.values()) == {(PRICE, 0)}


async def test_of_gateways_that_start_at_once_one_gives_the_things_of_a_key_to_its_client(
    gateways: Gateways, postgres_url: str
) -> None:
    driving = gateways.stores[0]
    made = await driving.create(priced(NOW, bought=True))
    cancelled = await driving.create(priced(NOW, bought=True))
    assert await driving.write(cancelled, cancel(cancelled, NOW), NOW) is not None
    before = await asyncio.to_thread(gateways.audited)

    def start() -> SqlStore:
        return open_postgres(Server(postgres_url), NOW, adopt={"alice": "client_shop"})

    for store in await asyncio.gather(*(asyncio.to_thread(start) for _ in range(2))):
        await store.close()
    assert await driving.write(made, cancel(made, NOW), NOW) is None, "its driver has to read whose it is"
    assert (await gateways.stored(made)).owner == (await gateways.stored(cancelled)).owner == "client_shop"
    assert await asyncio.to_thread(gateways.audited, "client_shop") == before
    assert not await asyncio.to_thread(gateways.audited)
