"""The write-ahead log of the ledger stays short while clients read, and says so if another program does."""

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import apsw
import pytest
from structlog.testing import capture_logs

from gateway.store import long_reads
from gateway.store.sqlite import write_ahead_log
from gateway.store.sqlite.open import open_sqlite

from .test_store import NOW, generation

ENDLESS = (
    "with recursive n (i) as (select count(*) from generations union all select i + 1 from n) select max(i) from n"
)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_ahead_log, "LOG_MAX_BYTES", 100_000)
    monkeypatch.setattr(write_ahead_log, "_COMMITS", 1)


async def test_reads_that_never_leave_a_gap_do_not_make_the_log_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_reads, "READ_SECONDS", 0.03)
    store = open_sqlite(tmp_path / "ledger.db", NOW)
    done, reads = asyncio.Event(), 0

    async def read(client: str) -> None:
        nonlocal reads
        while not done.is_set():
            with pytest.raises(Exception, match="search"):
                await store._database.long_reads.all(client, ENDLESS)
            reads += 1

    readers = [asyncio.create_task(read(client)) for client in ("alice", "bob", "carol")]
    sizes = []
    for _ in range(40):
        await asyncio.gather(*(store.create(generation()) for _ in range(4)))
        sizes.append((tmp_path / "ledger.db-wal").stat().st_size)
    done.set()
    await asyncio.gather(*readers)
    await store.close()
    assert reads > 3
    assert sum(later < earlier for earlier, later in pairwise(sizes)) > 1, "it was emptied again and again"


async def test_a_read_of_another_program_is_named_and_does_not_stop_the_ledger(tmp_path: Path) -> None:
    store = open_sqlite(tmp_path / "ledger.db", NOW)
    await store.create(generation())
    other = apsw.Connection(str(tmp_path / "ledger.db"))
    other.execute("begin")
    other.execute("select count(*) from generations").fetchall()
    with capture_logs() as logs:
        for _ in range(40):
            await store.create(generation())
        await settled(store)
    lines = [line for line in logs if line["event"] == "ledger_log_grows"]
    assert 1 <= len(lines) <= 4, "the pauses get rarer while the other program goes on"
    other.execute("rollback")
    other.close()
    with capture_logs() as logs:
        for _ in range(60):
            await store.create(generation())
        await settled(store)
    assert [line["event"] for line in logs if line["event"].startswith("ledger_log")][-1:] == ["ledger_log_emptied"]
    await store.close()


async def settled(store: Any) -> None:
    while (emptying := store._database.log._emptying) is not None:
        await asyncio.wait([emptying])
