"""Blobs: there whole or not at all."""

import asyncio
import os
import stat
from hashlib import sha256
from pathlib import Path

import pytest

from gateway.domain.errors import StoreUnavailable
from gateway.services.blobs import Blobs

CONTENT = b"\x89PNG" * 1000
DIGEST = sha256(CONTENT).hexdigest()


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_bytes_are_kept_under_their_digest(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "made" / "when needed")

    assert await blobs.put(CONTENT) == DIGEST

    assert await blobs.get(DIGEST) == CONTENT
    assert await blobs.get(sha256(b"other").hexdigest()) is None
    assert await Blobs(tmp_path / "made" / "when needed").get(DIGEST) == CONTENT


async def test_no_bytes_are_a_content_too(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)

    assert await blobs.get(await blobs.put(b"")) == b""


async def test_the_same_content_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = Blobs(tmp_path)
    await blobs.put(CONTENT)
    (written,) = files(tmp_path)
    before = written.stat()

    await asyncio.gather(*(blobs.put(CONTENT) for _ in range(5)))

    assert files(tmp_path) == [written]
    assert (written.stat().st_ino, written.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


async def test_the_same_content_at_once_leaves_one_whole_file(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)

    assert set(await asyncio.gather(*(blobs.put(CONTENT) for _ in range(10)))) == {DIGEST}

    assert len(files(tmp_path)) == 1
    assert await blobs.get(DIGEST) == CONTENT


async def test_a_blob_is_flushed_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    flush, rename = os.fsync, Path.rename

    def flushed(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        flush(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        done.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "rename", renamed)

    await Blobs(tmp_path).put(CONTENT)

    assert done == ["file", "rename", "folder", "folder"]


@pytest.mark.parametrize("where", ["fsync", "rename"])
async def test_a_disk_that_refuses_leaves_nothing_and_the_next_try_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    blobs = Blobs(tmp_path)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os if where == "fsync" else Path, where, full)
        with pytest.raises(StoreUnavailable, match="No space left on device") as refused:
            await blobs.put(CONTENT)

    assert refused.value.retry_after == 5
    assert files(tmp_path) == []
    assert await blobs.get(DIGEST) is None
    assert await blobs.get(await blobs.put(CONTENT)) == CONTENT


async def test_a_folder_that_is_none_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    blobs = Blobs(tmp_path / "file")

    with pytest.raises(StoreUnavailable, match="cannot be stored"):
        await blobs.put(CONTENT)
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        await blobs.get(DIGEST)
