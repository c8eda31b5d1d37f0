"""Bytes by their SHA-256 in a folder: the inputs that clients sent with a request."""

import asyncio
import contextlib
import os
import re
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from secrets import token_hex

from gateway.clock import Clock
from gateway.domain.errors import StoreUnavailable

CHUNK = 256 * 1024  # bytes read at once
_FOLDER = re.compile(r"[0-9a-f]{2}")
_OURS = re.compile(r"[0-9a-f]{64}|\.[0-9a-f]{64}\.[0-9a-f]{8}")  # a blob; one whose write was cut off


class Blobs:
    """A blob is there whole or not at all: written beside its place, flushed to the disk, then renamed.

    The time of its file is when it was last put.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._placing = threading.Lock()  # a blob that is put again is not one that `remove` has just found to be old

    async def put(self, content: bytes) -> str:
        """Keep the bytes; their SHA-256 in hex. `StoreUnavailable` when the disk refuses."""
        return await asyncio.to_thread(self._put, content, self._clock.now().timestamp())

    async def get(self, digest: str) -> bytes | None:
        """The bytes, `None` when they are gone. `StoreUnavailable` when the disk does not give them."""
        try:
            return await asyncio.to_thread(self._path(digest).read_bytes)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreUnavailable(f"The input cannot be read: {error.strerror}.", retry_after=5) from error

    async def has(self, digest: str) -> bool:
        """Whether the bytes are there. `StoreUnavailable` when the disk does not tell."""
        try:
            return await asyncio.to_thread(self._path(digest).exists)
        except OSError as error:
            raise StoreUnavailable(f"The input cannot be read: {error.strerror}.", retry_after=5) from error

    async def chunks(self, digest: str) -> AsyncIterator[bytes]:
        """The bytes, piece by piece; an `OSError` when they cannot be read to their end."""
        with await asyncio.to_thread(self._path(digest).open, "rb") as file:
            while chunk := await asyncio.to_thread(file.read, CHUNK):
                yield chunk

    async def folders(self) -> list[str]:
        """The parts that `old` may be asked for. `StoreUnavailable` when the disk does not tell."""
        return await asyncio.to_thread(self._folders)

    async def old(self, folder: str, before: datetime) -> list[str]:
        """What lies in one of the folders and was not put since; beside digests, what broken writes left."""
        return await asyncio.to_thread(self._old, folder, before.timestamp())

    async def remove(self, folder: str, names: Sequence[str], before: datetime) -> int:
        """Remove those of the names that were not put since; how many there were."""
        return await asyncio.to_thread(self._remove, folder, names, before.timestamp())

    def _path(self, digest: str) -> Path:
        return self._folder / digest[:2] / digest

    def _put(self, content: bytes, now: float) -> str:
        digest = sha256(content).hexdigest()
        path = self._path(digest)
        beside = path.with_name(f".{digest}.{token_hex(4)}")
        try:
            with self._placing:
                if path.exists():
                    os.utime(path, (now, now))
                    return digest
            path.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("xb") as file:
                file.write(content)
                file.flush()
                os.utime(file.fileno(), (now, now))
                os.fsync(file.fileno())
            with self._placing:
                beside.rename(path)
            for folder in (path.parent, self._folder):  # the names are on the disk, too
                _flush(folder)
        except OSError as error:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
            raise StoreUnavailable(f"The input cannot be stored: {error.strerror}.", retry_after=5) from error
        return digest

    def _folders(self) -> list[str]:
        with _reading():
            if not self._folder.is_dir():  # nothing was put yet
                return []
            return sorted(entry.name for entry in self._folder.iterdir() if _FOLDER.fullmatch(entry.name))

    def _old(self, folder: str, before: float) -> list[str]:
        found = []
        with _reading(), os.scandir(self._folder / folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # it has got its own name meanwhile
                    if _OURS.fullmatch(entry.name) and entry.stat().st_mtime < before:
                        found.append(entry.name)
        return found

    def _remove(self, folder: str, names: Sequence[str], before: float) -> int:
        count = 0
        with _reading():
            for name in names:
                path = self._folder / folder / name
                with self._placing, contextlib.suppress(FileNotFoundError):
                    if path.stat().st_mtime < before:
                        path.unlink()
                        count += 1
        return count


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"The inputs cannot be read: {error.strerror}.", retry_after=5) from error


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
