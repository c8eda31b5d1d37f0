"""Writes a stream to a file and hashes it. The event loop never waits for the disk, and little is in memory."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from io import FileIO
from pathlib import Path

from msgspec import Struct

from gateway.fetch.fetcher import FetchTooLarge

BLOCK_BYTES = 128 * 1024  # collected in memory before they are written; the next block arrives during the write
FLUSH_BYTES = 8 * 1024**2  # synchronised with the disk together, while the next are written
CACHED_BYTES = 64 * 1024**2  # a file of this size or less stays in the page cache: clients read new results at once
THREADS = 3  # for all files; six or more wrote a single file more slowly


class Written(Struct, frozen=True):
    """The size of a written file, and its hash in hex."""

    bytes: int
    sha256: str


class HashingFileWriter:
    """Writes files in threads of its own: a slow disk delays only other files."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "results")

    async def write(self, chunks: AsyncIterator[bytes], path: Path, max_bytes: int, *, flush: bool = True) -> Written:
        """Write all chunks to the file. With `flush` they are synchronised on the way, which leaves little to the end.

        Raises `FetchTooLarge` when there are more than `max_bytes`, and whatever the disk and `chunks` raise.
        """
        appending, flushing = _Step(self._threads), _Step(self._threads)
        file = _File(path)
        block: list[bytes] = []
        memory = total = flushed = 0
        try:
            async for chunk in chunks:
                block.append(chunk)
                memory += sys.getsizeof(chunk)  # an object of one byte takes more than one byte
                total += len(chunk)
                if total > max_bytes:
                    raise FetchTooLarge(f"The file has more than {max_bytes:,} bytes.")
                if memory >= BLOCK_BYTES:
                    await appending.begin(file.append, block)
                    block, memory = [], 0
                if flush and total - flushed >= FLUSH_BYTES:
                    await flushing.begin(file.flush)
                    flushed = total
            await appending.begin(file.append, block)
            await appending.wait()
            await flushing.wait()
        finally:
            await asyncio.shield(_close(file, appending, flushing))
        return Written(total, file.digest.hexdigest())

    def close(self) -> None:
        """Let the threads end; files are not written any more."""
        self._threads.shutdown(wait=False)


_sync = getattr(os, "fdatasync", os.fsync)  # `fdatasync` skips the times of a file, but not every system has it


async def _close(file: "_File", *steps: "_Step") -> None:
    for step in steps:
        await step.discard()
    await asyncio.to_thread(file.close)


class _Step:
    """Calls that threads carry out one after the other. A call that has started cannot be stopped, only waited for."""

    def __init__(self, threads: Executor) -> None:
        self._threads = threads
        self._running: tuple[Future[None], asyncio.Future[None]] | None = None

    async def begin(self, do: Callable[..., None], *args: object) -> None:
        """Start the call when the one before has ended. Raises what the one before has raised."""
        await self.wait()
        running = self._threads.submit(do, *args)
        self._running = running, asyncio.wrap_future(running)

    async def wait(self) -> None:
        """Wait for the end of the call. Raises what it has raised."""
        if self._running is not None:
            _, call = self._running
            await asyncio.wait([call])  # a cancellation here leaves the call running; `discard` waits for it
            self._running = None
            call.result()

    async def discard(self) -> None:
        """Cancel the call if it has not started, else wait and ignore its result: another error is already raised."""
        if self._running is not None:
            running, call = self._running
            if not running.cancel():
                await asyncio.wait([call])
                call.exception()


class _File:
    """A file to write. `append` and `flush` may run in two threads at the same time."""

    def __init__(self, path: Path) -> None:
        self.digest = sha256()
        self._path = path
        self._opened: FileIO | None = None
        self._size = 0
        self._flushed = 0

    def append(self, block: Sequence[bytes]) -> None:
        """Write a block at the end; the first call creates the file."""
        file = self._opened = self._opened or FileIO(self._path, "wb")
        content = b"".join(block)
        self.digest.update(content)
        rest = memoryview(content)
        while rest:
            rest = rest[file.write(rest) :]
        self._size += len(content)

    def flush(self) -> None:
        """Synchronise what is written. A large file leaves the page cache, which would push out everything else."""
        if self._opened is None:
            return
        size, descriptor = self._size, self._opened.fileno()
        _sync(descriptor)
        if size > CACHED_BYTES and hasattr(os, "posix_fadvise"):
            with suppress(OSError):  # it is only advice to the system
                os.posix_fadvise(descriptor, self._flushed, size - self._flushed, os.POSIX_FADV_DONTNEED)
        self._flushed = size

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
