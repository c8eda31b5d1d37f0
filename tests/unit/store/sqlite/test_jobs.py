"""A job of the SQLite ledger is carried out at once, or not at all."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.store.sql.database import Transaction
from gateway.store.sqlite.file import connect
from gateway.store.sqlite.writer import CommitWriter


@pytest_asyncio.fixture
async def writer(tmp_path: Path) -> AsyncIterator[CommitWriter]:
    path = tmp_path / "ledger.db"
    writer = CommitWriter(connect(path), path)
    await writer.run(lambda transaction: transaction.run("create table things (name text primary key)"))
    yield writer
    await writer.close()


async def names(writer: CommitWriter) -> list[str]:
    rows = await writer.run(lambda transaction: transaction.all("select name from things order by name"))
    return [row[0] for row in rows]


async def test_a_transaction_answers_with_rows_values_and_counts(writer: CommitWriter) -> None:
    async def work(transaction: Transaction) -> list[object]:
        await transaction.many("insert into things values (?)", [("a",), ("b",)])
        return [
            await transaction.run("insert into things values (?) on conflict do nothing", ("a",)),
            await transaction.run("update things set name = name || ?", ("!",)),
            await transaction.all("select name from things order by name"),
            await transaction.first("select name, 7 from things order by name"),
            await transaction.first("select name from things where name = ?", ("c",)),
            await transaction.value("select name from things order by name desc"),
            await transaction.value("select name from things where name = ?", ("c",)),
        ]

    assert await writer.run(work) == [0, 2, [("a!",), ("b!",)], ("a!", 7), None, "b!", None]


async def test_a_job_that_waits_for_something_else_changes_nothing_and_stops_no_other(writer: CommitWriter) -> None:
    async def waits(transaction: Transaction) -> None:
        await transaction.run("insert into things values ('lost')")
        await asyncio.sleep(0)

    results = await asyncio.gather(
        writer.run(lambda transaction: transaction.run("insert into things values ('a')")),
        writer.run(waits),
        writer.run(lambda transaction: transaction.run("insert into things values ('b')")),
        return_exceptions=True,
    )

    assert (results[0], results[2]) == (1, 1)
    assert isinstance(results[1], RuntimeError)
    assert "waited for something else" in str(results[1])
    assert await names(writer) == ["a", "b"]


async def test_a_job_that_looks_for_what_is_missing_fails_and_does_not_hang(writer: CommitWriter) -> None:
    nothing: Iterator[str] = iter(())

    async def work(transaction: Transaction) -> str:
        return next(nothing)  # raises `StopIteration`, which no future takes

    with pytest.raises(RuntimeError, match="StopIteration"):
        await writer.run(work)
