"""Reads on threads: how many run, for whom, and how they end."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.domain.errors import Overloaded, SearchTooLong, StoreUnavailable
from gateway.store import long_reads as limits
from gateway.store.sqlite import long_reads
from gateway.store.sqlite.file import connect
from gateway.store.sqlite.long_reads import LongReads
from gateway.store.sqlite.writer import CommitWriter

ENDLESS = "with recursive n (i) as (values (0) union all select i + 1 from n) select max(i) from n"


class Gate:
    """Replaces the read of a connection: each read waits until the test lets it go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun: list[str] = []
        self.doors: dict[str, threading.Event] = {}
        monkeypatch.setattr(long_reads._Reader, "all", lambda reader, sql, values: self.read(sql))

    def read(self, name: str) -> list[tuple[str]]:
        door = self.doors.setdefault(name, threading.Event())
        self.begun.append(name)
        door.wait(5)
        return [(name,)]

    def open(self, name: str) -> None:
        self.doors.setdefault(name, threading.Event()).set()

    async def until_begun(self, count: int) -> list[str]:
        while len(self.begun) < count:  # noqa: ASYNC110  # a thread adds to it
            await asyncio.sleep(0.001)
        for _ in range(5):
            await asyncio.sleep(0)
        return self.begun


@pytest_asyncio.fixture
async def reads(tmp_path: Path) -> AsyncIterator[LongReads]:
    path = tmp_path / "ledger.db"
    writer = CommitWriter(connect(path), path)
    await writer.run(lambda transaction: transaction.run("create table history (n)"))
    reads = LongReads(path, writer)
    yield reads
    reads.close()
    await writer.close()


async def test_it_reads_what_is_committed_and_cannot_write(reads: LongReads) -> None:
    assert await reads.all("alice", "select count(*) from history") == [(0,)]
    with pytest.raises(StoreUnavailable):
        await reads.all("alice", "insert into history values (1)")
    assert await reads.all("alice", "select count(*) from history") == [(0,)]


async def test_a_read_that_takes_too_long_is_stopped_with_the_remedy(
    reads: LongReads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "READ_SECONDS", 0.0)
    with pytest.raises(SearchTooLong, match=r"stopped after 0 seconds. Narrow it, for example with `created_after`"):
        await reads.all("alice", ENDLESS)
    assert await reads.all("alice", "select 1") == [(1,)], "the connection is free again"


async def test_a_read_whose_caller_is_gone_is_stopped(reads: LongReads) -> None:
    reading = asyncio.create_task(reads.all("alice", ENDLESS))
    await asyncio.sleep(0.01)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert await reads.all("alice", "select 1") == [(1,)], "otherwise it would wait for the endless read"


async def test_one_client_leaves_a_place_to_others_and_waits_in_its_own_queue(
    reads: LongReads, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    tasks = [asyncio.create_task(reads.all("alice", f"alice-{n}")) for n in range(3)]
    assert await gate.until_begun(1) == ["alice-0"]
    tasks += [asyncio.create_task(reads.all("bob", f"bob-{n}")) for n in range(2)]
    tasks.append(asyncio.create_task(reads.all("carol", "carol-0")))
    assert await gate.until_begun(2) == ["alice-0", "bob-0"], "bob does not wait for the reads of alice"
    gate.open("alice-0")
    assert (await gate.until_begun(3))[2] == "alice-1", "then one of each client in turn, the longest waiting first"
    gate.open("alice-1")
    assert (await gate.until_begun(4))[3] == "carol-0", "carol is before alice now"
    for name in ("alice-1", "alice-2", "bob-0", "bob-1", "carol-0"):
        gate.open(name)
    assert [rows[0][0] for rows in await asyncio.gather(*tasks)] == [
        *("alice-0", "alice-1", "alice-2", "bob-0", "bob-1", "carol-0"),
    ]


async def test_more_waiting_reads_of_a_client_are_refused(reads: LongReads, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    monkeypatch.setattr(limits, "WAITING_MAX", 2)
    tasks = [asyncio.create_task(reads.all("alice", f"alice-{n}")) for n in range(3)]
    await gate.until_begun(1)
    with pytest.raises(Overloaded, match="Too many of your searches are waiting"):
        await reads.all("alice", "alice-3")
    other = asyncio.create_task(reads.all("bob", "bob-0"))
    assert await gate.until_begun(2) == ["alice-0", "bob-0"]
    for name in ("alice-0", "alice-1", "alice-2", "bob-0"):
        gate.open(name)
    await asyncio.gather(*tasks, other)


async def test_a_read_that_waits_too_long_is_refused_and_leaves_the_queue(
    reads: LongReads, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    monkeypatch.setattr(limits, "WAIT_SECONDS", 0.01)
    first = asyncio.create_task(reads.all("alice", "alice-0"))
    await gate.until_begun(1)
    with pytest.raises(Overloaded, match="has waited for"):
        await reads.all("alice", "alice-1")
    assert reads.waiting == 0
    gate.open("alice-0")
    await first


async def test_no_read_begins_in_a_pause(reads: LongReads, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    first = asyncio.create_task(reads.all("alice", "alice-0"))
    await gate.until_begun(1)
    pause = asyncio.create_task(reads.pause())
    await asyncio.sleep(0)
    second = asyncio.create_task(reads.all("bob", "bob-0"))
    await asyncio.sleep(0)
    assert not pause.done()
    gate.open("alice-0")
    await first
    await pause
    assert gate.begun == ["alice-0"]
    gate.open("bob-0")
    reads.resume()
    assert await second == [("bob-0",)]


async def test_a_read_that_is_cancelled_while_a_place_becomes_free_takes_no_place(reads: LongReads) -> None:
    reader = await reads._place("alice")
    waiting = [asyncio.create_task(reads._place("alice")) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    reads._leave("alice", reader)  # in the same round of the event loop, before the cancelled read can leave the queue
    assert await asyncio.wait_for(waiting[1], 1) is not None
    assert waiting[0].cancelled()
    assert len(reads._free) == limits.PLACES - 1, "only the second read has a place"
