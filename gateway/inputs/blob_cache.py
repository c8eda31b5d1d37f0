"""Copies of blobs in a folder of this machine, so that a submit need not read them from the bucket.

A copy only saves work: it may be missing or damaged at any time. Nothing here waits until the disk has the bytes.
"""

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from hashlib import sha256
from io import FileIO
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

import structlog

from gateway.clock import Clock
from gateway.inputs.blob_folder import BlobFolder
from gateway.inputs.blobs import CHUNK, Going, Named
from gateway.inputs.disk_room import room_in
from gateway.live import Live

log = structlog.get_logger()
LEFT_OF_FULL = 0.8  # the part of the bytes that stays when the cache is full: the folder is read once for the rest


class DamagedBlob(OSError):
    """The bytes have another SHA-256 than their name says."""


class NotCached(Exception):
    """The disk does not take a copy. That says nothing about the blob."""


async def whole(chunks: AsyncIterator[bytes], digest: str, max_bytes: int) -> AsyncIterator[bytes]:
    """The chunks, the last one not before the digest of all of them is right. Raises `DamagedBlob`."""
    sum_of_all, size, last = sha256(), 0, b""
    async for chunk in chunks:
        size += len(chunk)
        if size > max_bytes:
            raise DamagedBlob("it is larger than any input")
        sum_of_all.update(chunk)
        if last:
            yield last
        last = chunk
    if sum_of_all.hexdigest() != digest:
        raise DamagedBlob("its content is not the one that was stored")
    if last:
        yield last


class BlobCache:
    """Files as in a `BlobFolder`: `ab/abcd…`. The time of a file is that of its last use; the oldest give way.

    Other processes may have the same folder: each removes any of the files, and a file that has gone is read again.
    """

    def __init__(
        self, folder: Path, clock: Clock, *, max_bytes: Live[int], min_free_bytes: Live[int | None], largest: int
    ) -> None:
        """`max_bytes`: of all copies. `min_free_bytes`: of the disk, see `BlobFolder`. `largest`: bytes of a blob."""
        self._folder = folder
        self._clock = clock
        self._max_bytes = max_bytes
        self._min_free_bytes = min_free_bytes
        self._largest = largest
        self._files = BlobFolder(folder, clock, min_free_bytes=min_free_bytes)
        self._bytes: int | None = None  # at most, as far as this process knows; None: the folder was not read yet
        self._clearing = asyncio.Lock()

    async def get(self, digest: str) -> bytes | None:
        """The bytes, or `None` without a whole copy."""
        return await asyncio.to_thread(self._get, digest)

    async def has(self, digest: str) -> bool:
        """Whether there is a copy, which may be damaged."""
        return await asyncio.to_thread(os.access, self._path(digest), os.R_OK)

    async def chunks(self, digest: str) -> AsyncIterator[bytes]:
        """The bytes in pieces. Raises `FileNotFoundError` without a copy, and `OSError` for one that is damaged."""
        path = self._path(digest)
        try:
            file = await asyncio.to_thread(path.open, "rb")
        except OSError as error:
            raise FileNotFoundError(digest) from error
        try:
            async for chunk in whole(_read(file), digest, self._largest):
                yield chunk
        except DamagedBlob:
            await asyncio.to_thread(self._drop, path)
            raise

    async def room(self, size: int) -> bool:
        """Make room for a copy of so many bytes; False if the disk or the bound has too little."""
        most = self._max_bytes.current
        if size > most:
            return False
        async with self._clearing:
            if self._bytes is None or self._bytes + size > most:
                self._bytes = await asyncio.to_thread(self._clear, int(most * LEFT_OF_FULL) - size)
        try:
            return await asyncio.to_thread(room_in, self._folder, self._min_free_bytes.current) >= size
        except OSError:
            return False

    async def put(self, digest: str, content: bytes) -> None:
        """Keep a copy if there is room for it."""

        async def chunks() -> AsyncIterator[bytes]:
            yield content

        if not await self.has(digest) and await self.room(len(content)):
            with contextlib.suppress(NotCached):
                await self.fill(digest, chunks())

    async def fill(self, digest: str, chunks: AsyncIterator[bytes]) -> None:
        """Write a copy. Raises what `chunks` raises, and `NotCached`: then there is no copy."""
        path = self._path(digest)
        temporary = path.with_name(f".{digest}.{token_hex(4)}")
        size = 0
        try:
            with _writing():
                await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
                file = await asyncio.to_thread(temporary.open, "xb", buffering=0)
            with file:
                async for chunk in chunks:
                    size += len(chunk)
                    with _writing():
                        await asyncio.to_thread(_write, file, chunk)
            with _writing():
                await asyncio.to_thread(self._name, temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        self._bytes = (self._bytes or 0) + size

    async def sweep(self, before: datetime, named: Named, going: Going) -> None:
        """Remove the copies that were not used since `before` and that nothing names. Raises `StoreUnavailable`."""
        try:
            await self._files.sweep(before, named, of_all=True, going=going)
        finally:
            self._bytes = None  # other processes may have added files

    def _path(self, digest: str) -> Path:
        return self._folder / digest[:2] / digest

    def _name(self, temporary: Path, path: Path) -> None:
        self._touch(temporary)
        temporary.rename(path)

    def _touch(self, path: Path) -> None:
        now = self._clock.now().timestamp()
        os.utime(path, (now, now))

    def _get(self, digest: str) -> bytes | None:
        path = self._path(digest)
        try:
            content = path.read_bytes()
            self._touch(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("input_not_cached", reason=error.strerror)
            return None
        if sha256(content).hexdigest() == digest:
            return content
        self._drop(path)
        return None

    def _drop(self, path: Path) -> None:
        log.warning("cached_input_damaged", sha256=path.name)
        with contextlib.suppress(OSError):
            path.unlink()

    def _clear(self, most: int) -> int:
        """Remove the copies that were not used for longest, until at most so many bytes are left; how many are left."""
        entries = sorted(self._entries())
        total = sum(size for _, size, _ in entries)
        for _, size, path in entries:
            if total <= most:
                break
            with contextlib.suppress(OSError):
                path.unlink()
                total -= size
        return total

    def _entries(self) -> Iterator[tuple[float, int, Path]]:
        """The time, the size and the path of each copy. Another process may be writing the unfinished ones."""
        with contextlib.suppress(OSError), os.scandir(self._folder) as folders:
            for folder in folders:
                with contextlib.suppress(OSError), os.scandir(folder) as files:
                    for file in files:
                        with contextlib.suppress(OSError):
                            if file.name.startswith("."):
                                continue
                            status = file.stat()
                            yield status.st_mtime, status.st_size, Path(file.path)


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        log.warning("input_not_cached", reason=error.strerror)
        raise NotCached from error


def _write(file: FileIO, chunk: bytes) -> None:
    if file.write(chunk) != len(chunk):
        raise OSError(errno.ENOSPC, "the disk is full")


async def _read(file: BinaryIO) -> AsyncIterator[bytes]:
    with file:
        while chunk := await asyncio.to_thread(file.read, CHUNK):
            yield chunk
