"""A stream to a file, with its size and hash. The loop never waits for the disk, and little of it is in memory."""

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

BLOCK = 128 * 1024  # bytes that are held before they are written; the next come meanwhile
PIECE = 8 * 1024**2  # bytes that are brought to the disk together, while the next are written
CACHED = 64 * 1024**2  # bytes of a file that stay in the page cache, for who reads a result as soon as it is there
THREADS = 3  # for all files; with six and more, a single one was written more slowly


class Written(Struct, frozen=True):
    """What a file has become."""

    bytes: int
    sha256: str


class Writer:
    """Writes files, in threads of its own: a slow disk keeps nothing else waiting than other files."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "results")

    async def write(self, chunks: AsyncIterator[bytes], path: Path, max_bytes: int, *, flush: bool = True) -> Written:
        """Write what comes, until it ends; `flush` brings it to the disk meanwhile, so that the end waits for little.

        `FetchTooLarge` when there is more of it; what the disk and `chunks` raise goes on.
        """
        appending, flushing = _Step(self._threads), _Step(self._threads)
        file = _File(path)
        held: list[bytes] = []
        memory = total = flushed = 0
        try:
            async for chunk in chunks:
                held.append(chunk)
                memory += sys.getsizeof(chunk)  # a byte alone is more than a byte
                total += len(chunk)
                if total > max_bytes:
                    raise FetchTooLarge(f"The file has more than {max_bytes:,} bytes.")
                if memory >= BLOCK:
                    await appending.begin(file.append, held)
                    held, memory = [], 0
                if flush and total - flushed >= PIECE:
                    await flushing.begin(file.flush)
                    flushed = total
            await appending.begin(file.append, held)
            await appending.ended()
            await flushing.ended()
        finally:
            await asyncio.shield(_let_go(file, appending, flushing))
        return Written(total, file.digest.hexdigest())

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False)


_sync = getattr(os, "fdatasync", os.fsync)  # not every system can leave out the times of a file


async def _let_go(file: "_File", *steps: "_Step") -> None:
    for step in steps:
        await step.dropped()
    await asyncio.to_thread(file.close)


class _Step:
    """What threads do, one time after the other. It cannot be stopped once it is begun, only waited for."""

    def __init__(self, threads: Executor) -> None:
        self._threads = threads
        self._running: tuple[Future[None], asyncio.Future[None]] | None = None

    async def begin(self, do: Callable[..., None], *args: object) -> None:
        """Do it once more when the time before has ended; raises what that has raised."""
        await self.ended()
        running = self._threads.submit(do, *args)
        self._running = running, asyncio.wrap_future(running)

    async def ended(self) -> None:
        """Wait for its end; raises what it has raised."""
        if self._running is not None:
            _, seen = self._running
            await asyncio.wait([seen])  # which, cancelled, leaves it running, for `dropped`
            self._running = None
            seen.result()

    async def dropped(self) -> None:
        """Wait for its end if it has begun, whatever comes of it: something else is being told of already."""
        if self._running is not None:
            running, seen = self._running
            if not running.cancel():
                await asyncio.wait([seen])
                seen.exception()


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
        content = b"".join(block)
        self.digest.update(content)
        left = memoryview(content)
        while left:
            left = left[file.write(left) :]
        self._size += len(content)

    def flush(self) -> None:
        """Bring what is written to the disk: a large file is not to fill the memory of the machine."""
        if self._opened is None:
            return
        size, descriptor = self._size, self._opened.fileno()
        _sync(descriptor)
        if size > CACHED and hasattr(os, "posix_fadvise"):
            with suppress(OSError):  # advice is no order
                os.posix_fadvise(descriptor, self._flushed, size - self._flushed, os.POSIX_FADV_DONTNEED)
        self._flushed = size

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
