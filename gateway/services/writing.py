"""A stream to a file, with its size and hash. The loop never waits for the disk, and little of it is in memory."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from hashlib import sha256
from io import FileIO
from pathlib import Path

from msgspec import Struct

from gateway.services.fetch import FetchTooLarge

BLOCK = 128 * 1024  # bytes that are held before they are written; the next come meanwhile
THREADS = 3  # for all files: more of them wake each other up more than they write
PIECE = 8 * 1024**2  # bytes that are brought to the disk together, while the next are written
CACHED = 64 * 1024**2  # bytes of a file that stay in the page cache, for who reads a result as soon as it is there


class Written(Struct, frozen=True):
    """What a file has become."""

    bytes: int
    sha256: str


class Writer:
    """Writes files, in threads of its own: a disk that is slow keeps nobody else waiting."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "results")

    async def write(self, chunks: AsyncIterator[bytes], path: Path, max_bytes: int) -> Written:
        """Write what comes, until it ends.

        `FetchTooLarge` when there is more of it; what the disk and `chunks` raise goes on.
        """
        appending, flushing = _Step(self._threads), _Step(self._threads)
        file = _File(path)
        held: list[bytes] = []
        size = total = flushed = 0
        try:
            async for chunk in chunks:
                held.append(chunk)
                size, total = size + len(chunk), total + len(chunk)
                if total > max_bytes:
                    raise FetchTooLarge(f"The file has more than {max_bytes:,} bytes.")
                if size >= BLOCK:
                    await appending.next(file.append, held)
                    held, size = [], 0
                if total - flushed >= PIECE:
                    await flushing.next(file.flush)
                    flushed = total
            await appending.next(file.append, held)
            await appending.end()
            await flushing.end()
        finally:
            await appending.over()
            await flushing.over()
            await asyncio.to_thread(file.close)
        return Written(total, file.digest.hexdigest())

    def close(self) -> None:
        """Let the threads go, once they have ended what they do."""
        self._threads.shutdown(wait=False)


_sync = getattr(os, "fdatasync", os.fsync)  # not every system can leave out the times of a file


class _Step:
    """Something that a thread does, one time after the other; it cannot be stopped, only waited for."""

    def __init__(self, threads: Executor) -> None:
        self._threads = threads
        self._running: asyncio.Future[None] | None = None

    async def next(self, do: Callable[..., None], *args: object) -> None:
        """Begin once the time before has ended, and raise what it raised."""
        await self.end()
        self._running = asyncio.get_running_loop().run_in_executor(self._threads, do, *args)

    async def end(self) -> None:
        """Wait for its end, and raise what it raised."""
        if self._running is not None:
            await asyncio.wait([self._running])  # which, cancelled, leaves it running, for `over`
            running, self._running = self._running, None
            running.result()

    async def over(self) -> None:
        """Wait for its end; something else is being told of already."""
        if self._running is not None:
            await asyncio.wait([self._running])
            self._running.exception()


class _File:
    """A file to write. `append` and `flush` may each be in a thread of its own."""

    def __init__(self, path: Path) -> None:
        self.digest = sha256()
        self._path = path
        self._opened: FileIO | None = None
        self._size = 0
        self._flushed = 0

    def append(self, block: Sequence[bytes]) -> None:
        """The first makes the file."""
        file = self._opened = self._opened or FileIO(self._path, "wb")
        for chunk in block:
            self.digest.update(chunk)
            left = memoryview(chunk)
            while left:
                left = left[file.write(left) :]
        self._size += sum(map(len, block))

    def flush(self) -> None:
        """Bring what is written to the disk: the end has little left to wait for, and a large file fills no memory."""
        if self._opened is None:
            return
        size, descriptor = self._size, self._opened.fileno()
        _sync(descriptor)
        if size > CACHED and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, self._flushed, size - self._flushed, os.POSIX_FADV_DONTNEED)
        self._flushed = size

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
