"""A commit whose outcome nobody knows: what is told, and what a repeat finds."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from gateway.domain.errors import StoreUnavailable
from gateway.store.port import Idempotency
from gateway.store.sqlite.store import SqliteStore

from .test_store import NOW, generation

BASE = apsw.vfs_names()[0]
NAME = "a-disk-that-does-not-flush"
KEY = Idempotency(digest=b"d", key="k")


class Disk(apsw.VFS):
    """The system's own files; while `broken`, what is written cannot be flushed."""

    broken = False

    def __init__(self) -> None:
        super().__init__(NAME, BASE, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> "File":  # noqa: N802  # SQLite's name
        return File(self, name, flags)


class File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        super().__init__(BASE, name, flags)
        self._disk = disk

    def xSync(self, flags: int) -> None:  # noqa: N802  # SQLite's name
        if self._disk.broken:
            raise apsw.IOError
        super().xSync(flags)


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk()
    yield disk
    disk.unregister()


async def test_what_is_not_known_is_told_so_and_a_repeat_finds_the_truth(disk: Disk, tmp_path: Path) -> None:
    here, crashed = tmp_path / "ledger.db", tmp_path / "crashed.db"
    store = SqliteStore.open(here, NOW)
    before = await store.create(generation())  # the log of writes has begun
    disk.broken = True
    created = generation()

    with pytest.raises(StoreUnavailable) as refused:
        await store.create(created, idempotency=KEY)

    assert "not known" in refused.value.detail
    assert "Idempotency-Key" in refused.value.detail
    assert refused.value.reason is not None
    for suffix in ("", "-wal"):  # what a crash at this moment leaves
        shutil.copyfile(f"{here}{suffix}", f"{crashed}{suffix}")
    with pytest.raises(StoreUnavailable):
        await store.ping()
    disk.broken = False

    assert await store.get(created.id) is None
    again = await store.create(generation(), idempotency=KEY)
    assert await store.open_ids(NOW) == sorted([before.id, again.id])
    await store.close()
    after = SqliteStore.open(crashed, NOW)
    found = await after.create(generation(), idempotency=KEY)
    assert found.id == created.id
    assert await after.open_ids(NOW) == sorted([before.id, created.id]), "found, not made twice"
    await after.close()


async def test_what_failed_before_its_commit_is_told_as_not_accepted(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path / "ledger.db", NOW)
    connection = store._writer._connection
    connection.execute(f"pragma max_page_count = {connection.execute('pragma page_count').get}")
    with pytest.raises(StoreUnavailable) as refused:
        await store.create(generation("x" * 300_000))
    assert "nothing was accepted" in refused.value.detail
    assert refused.value.reason == "database.url: the disk is full; free some space"
    await store.close()
