"""A stream to a file: all of it, its hash, and nothing left open however it ends."""

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.artifacts import file_writer
from gateway.artifacts.file_writer import BLOCK, PIECE, Writer, Written
from gateway.fetch.fetcher import FetchFailed, FetchTooLarge

MUCH = 1 << 40
LONG = 20.0  # seconds that something may take before it is a failure


@pytest.fixture(name="writer")
def _writer() -> Iterator[Writer]:
    writer = Writer()
    yield writer
    writer.close()


async def stream(chunks: Sequence[bytes], then: BaseException | None = None) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
    if then is not None:
        raise then


def fail(_: int) -> None:
    raise OSError(errno.EIO, "Input/output error")


def is_open(path: Path) -> bool:
    """Whether this process holds the file."""
    held: list[Path] = []
    for one in Path("/proc/self/fd").iterdir():
        try:
            held.append(one.readlink())
        except FileNotFoundError:
            continue
    return path in held


@given(st.lists(st.integers(0, BLOCK * 2), max_size=8))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_however_it_is_cut_the_file_is_what_came(tmp_path: Path, writer: Writer, sizes: list[int]) -> None:
    chunks = [bytes([number]) * size for number, size in enumerate(sizes)]

    written = await writer.write(stream(chunks), tmp_path / "file", MUCH)

    assert (tmp_path / "file").read_bytes() == b"".join(chunks)
    assert written == Written(sum(sizes), sha256(b"".join(chunks)).hexdigest())


async def test_a_large_file_is_brought_to_the_disk_while_it_comes_and_leaves_the_page_cache(
    tmp_path: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, dropped = [], []
    monkeypatch.setattr(file_writer, "_sync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    monkeypatch.setattr(os, "posix_fadvise", lambda _, start, length, __: dropped.append((start, length)))
    monkeypatch.setattr(file_writer, "CACHED", PIECE + 1)

    chunks = [os.urandom(BLOCK)] * (3 * PIECE // BLOCK)
    written = await writer.write(stream(chunks), tmp_path / "file", MUCH)

    assert written == Written(3 * PIECE, sha256(b"".join(chunks)).hexdigest())
    assert len(synced) == 3
    assert dropped[0][0] > 0  # what was on the disk before stays in the page cache
    assert all(start == sum(before) for before, (start, _) in pairwise(dropped))


async def test_what_goes_elsewhere_is_not_brought_to_this_disk(
    tmp_path: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_writer, "_sync", fail)
    await writer.write(stream([bytes(BLOCK), bytes(PIECE)]), tmp_path / "file", MUCH, flush=False)


async def test_tiny_pieces_are_written_before_they_fill_the_memory(tmp_path: Path, writer: Writer) -> None:
    begun = asyncio.Event()

    async def crumbs() -> AsyncIterator[bytes]:
        for _ in range(BLOCK // 32 * 2):
            yield b"a"
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(writer.write(crumbs(), tmp_path / "file", MUCH))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (tmp_path / "file").stat().st_size > 0


async def test_more_than_is_taken_is_told_of_and_not_written(tmp_path: Path, writer: Writer) -> None:
    with pytest.raises(FetchTooLarge, match=f"more than {BLOCK:,} bytes"):
        await writer.write(stream([bytes(BLOCK), b"1"]), tmp_path / "file", BLOCK)
    assert (tmp_path / "file").stat().st_size == BLOCK
    assert not is_open(tmp_path / "file")


async def test_a_full_disk_is_told_of(writer: Writer) -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        await writer.write(stream([bytes(BLOCK)] * 3), Path("/dev/full"), MUCH)
    assert caught.value.errno == errno.ENOSPC
    assert not is_open(Path("/dev/full"))


async def test_a_folder_that_is_not_there_is_told_of(tmp_path: Path, writer: Writer) -> None:
    with pytest.raises(FileNotFoundError):
        await writer.write(stream([b"content"]), tmp_path / "none" / "file", MUCH)


async def test_a_disk_that_fails_later_is_told_of(
    tmp_path: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_writer, "_sync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        await writer.write(stream([bytes(BLOCK), bytes(PIECE), b"more"]), tmp_path / "file", MUCH)
    assert not is_open(tmp_path / "file")


@pytest.mark.parametrize("size", [BLOCK, PIECE])
async def test_a_source_that_breaks_off_leaves_nothing_open(tmp_path: Path, writer: Writer, size: int) -> None:
    with pytest.raises(FetchFailed, match="broke off"):
        await writer.write(stream([bytes(size)], FetchFailed("it broke off")), tmp_path / "file", MUCH)
    assert not is_open(tmp_path / "file")


async def test_a_cancelled_one_is_closed_once_its_thread_is_done(
    tmp_path: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = threading.Event(), threading.Event()

    def wait(_: int) -> None:
        begun.set()
        go.wait(LONG)

    monkeypatch.setattr(file_writer, "_sync", wait)
    closed = asyncio.Event()
    let_go = file_writer._let_go

    async def seen(*args: Any) -> None:
        await let_go(*args)
        closed.set()

    monkeypatch.setattr(file_writer, "_let_go", seen)
    task = asyncio.create_task(writer.write(stream([bytes(BLOCK), bytes(PIECE)]), tmp_path / "file", MUCH))
    assert await asyncio.to_thread(begun.wait, LONG)
    for _ in range(2):  # the second while the first waits for the thread
        task.cancel()
        await asyncio.wait([task], timeout=0.05)
        assert is_open(tmp_path / "file")

    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(LONG):
        await closed.wait()
    assert not is_open(tmp_path / "file")


async def test_what_waits_for_a_thread_is_dropped_at_once(
    tmp_path: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    for _ in range(file_writer.THREADS):
        writer._threads.submit(go.wait, LONG)
    task = asyncio.create_task(writer.write(stream([bytes(BLOCK)] * 3), tmp_path / "file", MUCH))
    await asyncio.wait([task], timeout=0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(LONG):
            await task
    assert not go.is_set()
    go.set()
    assert not (tmp_path / "file").exists()
