"""A commit whose outcome is unknown: what the error says, and what a repeat of the request finds."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from gateway.domain.errors import StoreUnavailable
from gateway.store.port import Idempotency
from gateway.store.sqlite.open import open_sqlite

from .test_store import NOW, generation

BASE = apsw.vfs_names()[0]
NAME = "a-disk-that-does-not-flush"
KEY = Idempotency(digest=b"d", key="k")


class Disk(apsw.VFS):
    """The files of the system; while `broken`, a write to them cannot be flushed to the disk."""

    broken = False

    def __init__(self) -> None:
        super().__init__(NAME, BASE, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> "File":  # noqa: N802  # the name that SQLite calls
        return File(self, name, flags)


class File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        super().__init__(BASE, name, flags)
        self._disk = disk

    def xSync(self, flags: int) -> None:  # noqa: N802  # the name that SQLite calls
        if self._disk.broken:
            raise apsw.IOError
        super().xSync(flags)


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk()
    yield disk
    disk.unregister()


async def test_an_unknown_outcome_is_reported_and_a_repeat_finds_the_truth(disk: Disk, tmp_path: Path) -> None:
    here, crashed = tmp_path / "ledger.db", tmp_path / "crashed.db"
    store = open_sqlite(here, NOW)
    before = await store.create(generation())  # so that the write-ahead log exists
    disk.broken = True
    created = generation()

    with pytest.raises(StoreUnavailable) as refused:
        await store.create(created, idempotency=KEY)

    assert "not known" in refused.value.detail
    assert "Idempotency-Key" in refused.value.detail
    assert refused.value.reason is not None
    for suffix in ("", "-wal"):  # the files that a crash at this moment would leave
        shutil.copyfile(f"{here}{suffix}", f"{crashed}{suffix}")
    with pytest.raises(StoreUnavailable):
        await store.ping()
    disk.broken = False

    assert await store.get(created.id) is None
    again = await store.create(generation(), idempotency=KEY)
    assert await store.open_ids(NOW) == sorted([before.id, again.id])
    await store.close()
    after = open_sqlite(crashed, NOW)
    repeated = await after.create(generation(), idempotency=KEY)
    assert repeated.id == created.id
    assert await after.open_ids(NOW) == sorted([before.id, created.id]), "the first is returned, no second is made"
    await after.close()


async def test_a_write_that_failed_before_its_commit_is_reported_as_not_accepted(tmp_path: Path) -> None:
    store = open_sqlite(tmp_path / "ledger.db", NOW)
    connection = store._writer._connection
    connection.execute(f"pragma max_page_count = {connection.execute('pragma page_count').get}")
    with pytest.raises(StoreUnavailable) as refused:
        await store.create(generation("x" * 300_000))
    assert "nothing was accepted" in refused.value.detail
    assert refused.value.reason == "database.url: the disk is full; free some space"
    await store.close()
