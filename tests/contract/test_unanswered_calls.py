"""Calls without a key that wait for their result, in each kind of ledger: which equal call takes up which one."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio
from msgspec.structs import replace

from gateway.domain.adapter.task import Status
from gateway.domain.generation.model import Generation
from gateway.store.port import Idempotency, Store
from gateway.store.sql.database import Transaction
from gateway.store.sql.store import SqlStore

from .ledgers import KINDS, Opener, opener_of
from .test_stores import generation

CALL = Idempotency(digest=b"1", waits=True)
MINUTE = timedelta(seconds=60)
HALF_HOUR = timedelta(minutes=30)


def now() -> datetime:
    """The moment of the test: the clock of a database cannot be moved."""
    return datetime.now(UTC)


@pytest.fixture(params=KINDS)
def opener(request: pytest.FixtureRequest) -> Opener:
    return opener_of(request, now())


async def opened(opener: Opener, folder: Path) -> Store:
    store = opener(folder)
    if store.replicas is not None:
        await store.replicas.join()
    return store


@pytest_asyncio.fixture
async def store(opener: Opener, tmp_path: Path) -> AsyncIterator[Store]:
    store = await opened(opener, tmp_path)
    yield store
    await store.close()


async def called(store: Store, at: datetime | None = None, call: Idempotency = CALL, **changes: Any) -> Generation:
    made = generation(at or now(), **changes)
    assert await store.create(made, (), call) is made
    return made


async def taken(store: Store, key: str = "alice", call: Idempotency = CALL) -> str | None:
    repeated = await store.recall(key, call, now())
    return None if repeated is None else repeated.id


async def let_pass(store: Store, time: timedelta) -> None:
    """Make every call older."""

    async def work(transaction: Transaction) -> int:
        sql = "update idempotency_keys set created_at = created_at - ?"
        return await transaction.run(sql, (time.total_seconds(),))

    assert await cast(SqlStore, store)._writer.run(work)


async def test_each_call_without_a_result_is_taken_up_once_the_oldest_first(store: Store) -> None:
    first, second = await called(store), await called(store, now() + timedelta(milliseconds=1))
    for made in (first, second):
        await store.end_call(made, b"1", now(), answered=False)
    assert [await taken(store) for _ in range(3)] == [first.id, second.id, None]
    await store.end_call(second, b"1", now(), answered=False)  # the repeat had no result either
    assert [await taken(store) for _ in range(2)] == [second.id, None]


async def test_a_call_that_waits_or_was_answered_is_not_taken_up(store: Store) -> None:
    made = await called(store)
    assert await taken(store) is None, "two equal calls that both wait are two wishes"
    await store.end_call(made, b"1", now(), answered=True)
    assert await taken(store) is None
    await store.end_call(made, b"1", now(), answered=False)  # a late end of another call for the same generation
    assert await taken(store) is None


@pytest.mark.parametrize(
    ("key", "call"),
    [
        ("bob", CALL),
        ("alice", replace(CALL, digest=b"2")),
        ("alice", replace(CALL, digest=b"11")),
        ("alice", replace(CALL, waits=False)),
    ],
)
async def test_only_an_equal_call_of_the_same_client_takes_it_up(store: Store, key: str, call: Idempotency) -> None:
    await store.end_call(await called(store), b"1", now(), answered=False)
    assert await taken(store, key, call) is None


async def test_a_call_from_before_an_adoption_is_taken_up_and_ends_under_its_new_digest(store: Store) -> None:
    made = await called(store)
    await store.end_call(made, b"1", now(), answered=False)
    later = replace(CALL, digest=b"2", others=(b"1",))
    assert [await taken(store, call=later) for _ in range(2)] == [made.id, None]
    await store.end_call(made, b"2", now(), answered=False)
    assert [await taken(store, call=later) for _ in range(2)] == [made.id, None]


@pytest.mark.parametrize(("passed", "is_taken"), [(MINUTE / 2, True), (MINUTE, False)])
async def test_a_call_without_a_result_is_taken_up_for_a_minute(
    store: Store, passed: timedelta, is_taken: bool
) -> None:
    made = await called(store)
    await store.end_call(made, b"1", now(), answered=False)
    await let_pass(store, passed)
    assert await taken(store) == (made.id if is_taken else None)


@pytest.mark.parametrize(
    ("status", "ended", "is_taken"),
    [
        (Status.FAILED, MINUTE / 2, True),
        (Status.FAILED, MINUTE * 1.1, False),
        (Status.CANCELLED, MINUTE * 1.1, False),
        (Status.COMPLETED, MINUTE * 1.1, True),
    ],
)
async def test_a_failed_generation_is_taken_up_for_a_minute_after_its_failure(
    store: Store, status: Status, ended: timedelta, is_taken: bool
) -> None:
    made = await called(store, status=status, completed_at=now() - ended)
    await store.end_call(made, b"1", now(), answered=False)
    assert await taken(store) == (made.id if is_taken else None)


@pytest.mark.parametrize(("passed", "is_taken"), [(timedelta(minutes=25), True), (HALF_HOUR, False)])
async def test_a_call_whose_process_has_ended_is_taken_up_once(
    opener: Opener, tmp_path: Path, passed: timedelta, is_taken: bool
) -> None:
    """The process was killed: it has not left, and its heartbeat is a moment old."""
    ended = await opened(opener, tmp_path)
    made = await called(ended)
    await ended.close()
    other = await opened(opener, tmp_path)
    await let_pass(other, passed)
    assert [await taken(other) for _ in range(2)] == [made.id if is_taken else None, None]
    await other.close()


async def test_a_deleted_generation_is_not_taken_up(store: Store) -> None:
    made = await called(store, status=Status.COMPLETED)
    await store.end_call(made, b"1", now(), answered=False)
    assert await store.delete(made.id, "alice", now())
    assert await taken(store) is None
