"""Writing a stream to a file: its content and hash are right, and no file stays open in any case."""

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
from gateway.artifacts.file_writer import BLOCK_BYTES, FLUSH_BYTES, HashingFileWriter, Written
from gateway.fetch.fetcher import FetchFailed, FetchTooLarge

MUCH = 1 << 40
LONG = 20.0  # seconds after which a step of a test has failed


@pytest.fixture(name="writer")
def _writer() -> Iterator[HashingFileWriter]:
    writer = HashingFileWriter()
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
    """True if this process has the file open."""
    targets: list[Path] = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            targets.append(descriptor.readlink())
        except FileNotFoundError:
            continue
    return path in targets


@given(st.lists(st.integers(0, BLOCK_BYTES * 2), max_size=8))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_file_has_the_content_whatever_the_chunks(
    tmp_path: Path, writer: HashingFileWriter, sizes: list[int]
) -> None:
    chunks = [bytes([number]) * size for number, size in enumerate(sizes)]

    written = await writer.write(stream(chunks), tmp_path / "file", MUCH)

    assert (tmp_path / "file").read_bytes() == b"".join(chunks)
    assert written == Written(sum(sizes), sha256(b"".join(chunks)).hexdigest())


async def test_a_large_file_is_synchronised_while_it_arrives_and_leaves_the_page_cache(
    tmp_path: Path, writer: HashingFileWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, dropped = [], []
    monkeypatch.setattr(file_writer, "_sync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    monkeypatch.setattr(os, "posix_fadvise", lambda _, start, length, __: dropped.append((start, length)))
    monkeypatch.setattr(file_writer, "CACHED_BYTES", FLUSH_BYTES + 1)

    chunks = [os.urandom(BLOCK_BYTES)] * (3 * FLUSH_BYTES // BLOCK_BYTES)
    written = await writer.write(stream(chunks), tmp_path / "file", MUCH)

    assert written == Written(3 * FLUSH_BYTES, sha256(b"".join(chunks)).hexdigest())
    assert len(synced) == 3
    assert dropped[0][0] > 0  # the first part stays in the page cache
    assert all(start == sum(before) for before, (start, _) in pairwise(dropped))


async def test_without_flush_nothing_is_synchronised(
    tmp_path: Path, writer: HashingFileWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_writer, "_sync", fail)
    await writer.write(stream([bytes(BLOCK_BYTES), bytes(FLUSH_BYTES)]), tmp_path / "file", MUCH, flush=False)


async def test_tiny_chunks_are_written_before_they_fill_the_memory(tmp_path: Path, writer: HashingFileWriter) -> None:
    begun = asyncio.Event()

    async def crumbs() -> AsyncIterator[bytes]:
        for _ in range(BLOCK_BYTES // 32 * 2):
            yield b"a"
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(writer.write(crumbs(), tmp_path / "file", MUCH))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (tmp_path / "file").stat().st_size > 0


async def test_more_bytes_than_allowed_are_an_error_and_not_written(tmp_path: Path, writer: HashingFileWriter) -> None:
    with pytest.raises(FetchTooLarge, match=f"more than {BLOCK_BYTES:,} bytes"):
        await writer.write(stream([bytes(BLOCK_BYTES), b"1"]), tmp_path / "file", BLOCK_BYTES)
    assert (tmp_path / "file").stat().st_size == BLOCK_BYTES
    assert not is_open(tmp_path / "file")


async def test_a_full_disk_is_an_error(writer: HashingFileWriter) -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        await writer.write(stream([bytes(BLOCK_BYTES)] * 3), Path("/dev/full"), MUCH)
    assert caught.value.errno == errno.ENOSPC
    assert not is_open(Path("/dev/full"))


async def test_a_missing_folder_is_an_error(tmp_path: Path, writer: HashingFileWriter) -> None:
    with pytest.raises(FileNotFoundError):
        await writer.write(stream([b"content"]), tmp_path / "none" / "file", MUCH)


async def test_a_disk_that_fails_later_is_an_error(
    tmp_path: Path, writer: HashingFileWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_writer, "_sync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        await writer.write(stream([bytes(BLOCK_BYTES), bytes(FLUSH_BYTES), b"more"]), tmp_path / "file", MUCH)
    assert not is_open(tmp_path / "file")


@pytest.mark.parametrize("size", [BLOCK_BYTES, FLUSH_BYTES])
async def test_a_source_that_breaks_off_leaves_nothing_open(
    tmp_path: Path, writer: HashingFileWriter, size: int
) -> None:
    with pytest.raises(FetchFailed, match="broke off"):
        await writer.write(stream([bytes(size)], FetchFailed("it broke off")), tmp_path / "file", MUCH)
    assert not is_open(tmp_path / "file")


async def test_a_cancelled_file_is_closed_when_its_thread_has_ended(
    tmp_path: Path, writer: HashingFileWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = threading.Event(), threading.Event()

    def wait(_: int) -> None:
        begun.set()
        go.wait(LONG)

    monkeypatch.setattr(file_writer, "_sync", wait)
    closed = asyncio.Event()
    close = file_writer._close

    async def seen(*args: Any) -> None:
        await close(*args)
        closed.set()

    monkeypatch.setattr(file_writer, "_close", seen)
    task = asyncio.create_task(writer.write(stream([bytes(BLOCK_BYTES), bytes(FLUSH_BYTES)]), tmp_path / "file", MUCH))
    assert await asyncio.to_thread(begun.wait, LONG)
    for _ in range(2):  # the second cancellation comes while the first waits for the thread
        task.cancel()
        await asyncio.wait([task], timeout=0.05)
        assert is_open(tmp_path / "file")

    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(LONG):
        await closed.wait()
    assert not is_open(tmp_path / "file")


async def test_a_write_that_waits_for_a_thread_is_cancelled_at_once(
    tmp_path: Path, writer: HashingFileWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    for _ in range(file_writer.THREADS):
        writer._threads.submit(go.wait, LONG)
    task = asyncio.create_task(writer.write(stream([bytes(BLOCK_BYTES)] * 3), tmp_path / "file", MUCH))
    await asyncio.wait([task], timeout=0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(LONG):
            await task
    assert not go.is_set()
    go.set()
    assert not (tmp_path / "file").exists()
