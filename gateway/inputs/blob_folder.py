"""Stores the bytes of input images in a folder, each content under its SHA-256."""

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from secrets import token_hex

from gateway.clock import Clock
from gateway.domain.errors import InsufficientStorage, StoreUnavailable
from gateway.fsync import fsync_path
from gateway.inputs.blobs import BATCH, CHUNK, RETRY_AFTER_SECONDS, Going, Named
from gateway.inputs.disk_room import room_in
from gateway.live import Live

FULL_SECONDS = 300  # when a client should try again after the disk was full
_FOLDER = re.compile(r"[0-9a-f]{2}")
UNFINISHED_SECONDS = 86_400.0  # for how much longer than a blob the file of an unfinished write stays
_BLOB = re.compile(r"[0-9a-f]{64}")
_UNFINISHED = re.compile(r"\.[0-9a-f]{64}\.[0-9a-f]{8}")


class BlobFolder:
    """`Blobs` in a folder: the files `ab/abcd…`, where `abcd…` is the SHA-256 of the content in hex.

    A blob is there completely or not at all: it is written to a temporary file, synchronised, then renamed. The
    modification time of its file is the time when it was put last. The sweeper removes old blobs that nothing uses.
    """

    def __init__(self, folder: Path, clock: Clock, *, min_free_bytes: Live[int | None]) -> None:
        """`min_free_bytes`: no blob is stored that would leave less than this free on the disk.

        `None`: 1 GB, or 5 % of the disk if that is less.
        """
        self._folder = folder
        self._clock = clock
        self._min_free_bytes = min_free_bytes

    async def put(self, content: bytes, client: str = "") -> str:  # noqa: ARG002  # a disk needs no turns
        """See `Blobs`.

        Raises `InsufficientStorage` when the disk is nearly full, and `StoreUnavailable` when it fails.
        """
        return await asyncio.to_thread(self._put, content, self._clock.now().timestamp())

    async def get(self, digest: str, client: str = "") -> bytes | None:  # noqa: ARG002  # as for `put`
        """See `Blobs`."""
        try:
            return await asyncio.to_thread(self._path(digest).read_bytes)
        except FileNotFoundError:
            return None
        except OSError as error:
            message = f"The input cannot be read: {error.strerror}."
            raise StoreUnavailable(message, retry_after=RETRY_AFTER_SECONDS) from error

    async def has(self, digest: str, client: str = "") -> bool:  # noqa: ARG002  # as for `put`
        """See `Blobs`."""
        try:
            return await asyncio.to_thread(self._path(digest).exists)
        except OSError as error:
            message = f"The input cannot be read: {error.strerror}."
            raise StoreUnavailable(message, retry_after=RETRY_AFTER_SECONDS) from error

    async def chunks(self, digest: str, client: str = "") -> AsyncIterator[bytes]:  # noqa: ARG002  # as for `put`
        """See `Blobs`."""
        with await asyncio.to_thread(self._path(digest).open, "rb") as file:
            while chunk := await asyncio.to_thread(file.read, CHUNK):
                yield chunk

    async def sweep(self, before: datetime, named: Named, *, of_all: bool, going: Going) -> int:  # noqa: ARG002  # it is small work
        """See `Blobs`. A blob that was put since `before` stays: its create may still be about to name it."""
        total = 0
        for folder in await self.folders():
            if not going():
                break
            total += await self._sweep(folder, before, named, going)
        return total

    async def close(self) -> None:
        """See `Blobs`."""

    async def _sweep(self, folder: str, before: datetime, named: Named, going: Going) -> int:
        total = 0
        names = await self.old(folder, before)
        for start in range(0, len(names), BATCH):
            if not going():
                break
            batch = names[start : start + BATCH]
            in_use = await named(batch)
            total += await self.remove(folder, [name for name in batch if name not in in_use], before)
        return total

    async def folders(self) -> list[str]:
        """The names of the folders that `old` and `remove` take. Raises `StoreUnavailable` when the disk fails."""
        return await asyncio.to_thread(self._folders)

    async def digests(self, folder: str) -> list[str]:
        """The digests of the blobs in a folder."""
        return await asyncio.to_thread(self._digests, folder)

    async def old(self, folder: str, before: datetime) -> list[str]:
        """The names in a folder that were not put since `before`: digests, and unfinished writes of a day before."""
        return await asyncio.to_thread(self._old, folder, before.timestamp())

    async def remove(self, folder: str, names: Sequence[str], before: datetime) -> int:
        """Remove those of the names that were not put since `before`, and return how many these were."""
        return await asyncio.to_thread(self._remove, folder, names, before.timestamp())

    def _path(self, digest: str) -> Path:
        return self._folder / digest[:2] / digest

    def _put(self, content: bytes, now: float) -> str:
        digest = sha256(content).hexdigest()
        path = self._path(digest)
        temporary = path.with_name(f".{digest}.{token_hex(4)}")
        try:
            with contextlib.suppress(FileNotFoundError):
                os.utime(path, (now, now))
                path.stat()  # it is found again: a removal may have taken it away after `utime` had found it
                return digest
            path.parent.mkdir(parents=True, exist_ok=True)
            self._check_room(len(content))
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.utime(file.fileno(), (now, now))
                os.fsync(file.fileno())
            temporary.rename(path)
            fsync_path(path.parent)  # the new name of the file
            fsync_path(self._folder)  # the name of its folder, which may be new too
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            message = f"The input cannot be stored: {error.strerror}."
            raise StoreUnavailable(message, retry_after=RETRY_AFTER_SECONDS) from error
        return digest

    def _check_room(self, size: int) -> None:
        """Raise `InsufficientStorage` if too little of the disk would stay free."""
        if room_in(self._folder, self._min_free_bytes.current) < size:
            raise InsufficientStorage(
                "The disk is nearly full, and what is left is for results. Creates without images, and with URLs of"
                " images, still work.",
                retry_after=FULL_SECONDS,
            )

    def _folders(self) -> list[str]:
        with _reading():
            if not self._folder.is_dir():  # nothing was put yet
                return []
            return sorted(entry.name for entry in self._folder.iterdir() if _FOLDER.fullmatch(entry.name))

    def _digests(self, folder: str) -> list[str]:
        with _reading(), os.scandir(self._folder / folder) as entries:
            return [entry.name for entry in entries if _BLOB.fullmatch(entry.name)]

    def _old(self, folder: str, before: float) -> list[str]:
        names = []
        with _reading(), os.scandir(self._folder / folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # a temporary file that was renamed in the meantime
                    is_blob = _BLOB.fullmatch(entry.name) is not None
                    if not is_blob and not _UNFINISHED.fullmatch(entry.name):
                        continue
                    if entry.stat().st_mtime < (before if is_blob else before - UNFINISHED_SECONDS):
                        names.append(entry.name)
        return names

    def _remove(self, folder: str, names: Sequence[str], before: float) -> int:
        count = 0
        with _reading():
            for name in names:
                path = self._folder / folder / name
                with contextlib.suppress(FileNotFoundError):
                    count += _remove(path, before)
        return count


def _remove(path: Path, before: float) -> bool:
    """Remove a file that was not put since `before`; whether it was removed.

    Another gateway may put it again at any moment. So it gets the name of an unfinished write before its time is read
    for the last time, and its old name again if it is wanted: a gateway that puts it in between writes it again.
    """
    if path.stat().st_mtime >= before:
        return False
    aside = path.with_name(f".{path.name.lstrip('.')[:64]}.{token_hex(4)}")
    path.rename(aside)
    if aside.stat().st_mtime >= before:
        aside.rename(path)
        return False
    aside.unlink()
    return True


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Raise an error of the disk as `StoreUnavailable`."""
    try:
        yield
    except OSError as error:
        message = f"The inputs cannot be read: {error.strerror}."
        raise StoreUnavailable(message, retry_after=RETRY_AFTER_SECONDS) from error
