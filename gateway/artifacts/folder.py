"""An artifact store in a local folder."""

import asyncio
import contextlib
import errno
import os
import stat
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from io import FileIO
from pathlib import Path

from gateway.artifacts.store import CHUNK_BYTES, RETRY_AFTER_SECONDS, Spool, checked
from gateway.domain.errors import StoreUnavailable
from gateway.failpoints import reach
from gateway.fsync import fsync_path


class ArtifactFolder:
    """An `ArtifactStore` that keeps each file as `results/<name>` below the folder.

    A symbolic link in a path is treated as a missing file: it could lead to a file outside the folder.
    """

    flushes = True

    def __init__(self, folder: Path, *, alone: bool = False) -> None:
        """`alone`: no other gateway uses the folder."""
        self._results = (folder / "results").resolve()
        # On the same file system, so that a file can be renamed.
        self._spool = Spool(self._results / ".partial", alone=alone)
        # Without the lock an empty folder could be removed just before a file is put into it.
        self._moving = threading.Lock()

    def partial(self) -> Path:
        """See `ArtifactStore`."""
        return self._spool.partial()

    async def put(self, name: str, partial: Path, content_type: str) -> None:  # noqa: ARG002  # the ledger has the type
        """See `ArtifactStore`."""
        await asyncio.to_thread(self._put, name, partial)

    async def size(self, name: str) -> int | None:
        """See `ArtifactStore`."""
        return await asyncio.to_thread(self._size, name)

    async def read(self, name: str, start: int, stop: int) -> AsyncIterator[bytes]:
        """See `ArtifactStore`."""
        with _disk("read"), await self._opened(name) as file:
            while start < stop:
                chunk = await asyncio.to_thread(os.pread, file.fileno(), min(CHUNK_BYTES, stop - start), start)
                if not chunk:
                    raise OSError(errno.EIO, "the file is shorter than it was")
                start += len(chunk)
                yield chunk

    async def remove(self, names: Sequence[str]) -> None:
        """See `ArtifactStore`."""
        await asyncio.to_thread(self._remove, names)

    async def link(self, name: str, *, seconds: int, filename: str, content_type: str, inline: bool) -> str | None:  # noqa: ARG002  # a folder has no URLs
        """See `ArtifactStore`."""
        return None

    async def close(self) -> None:
        """See `ArtifactStore`."""

    def _path(self, name: str) -> Path:
        path = self._results / checked(name)
        if os.path.realpath(path) != str(path):
            raise FileNotFoundError(errno.ENOENT, "a symbolic link is in its path")
        return path

    def _put(self, name: str, partial: Path) -> None:
        with _disk("stored"):
            fsync_path(partial)
            reach("file_written")
            with self._moving:
                path = self._path(name)
                path.parent.mkdir(parents=True, exist_ok=True)
                partial.rename(path)
            for folder in path.parents:  # each folder may be new, so each name has to be durable
                fsync_path(folder)
                if folder == self._results.parent:
                    break
            reach("renamed")

    def _size(self, name: str) -> int | None:
        with _disk("read"):
            try:
                status = self._path(name).stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
            return status.st_size if stat.S_ISREG(status.st_mode) else None

    async def _opened(self, name: str) -> FileIO:
        """Open in a thread. A reader that is cancelled meanwhile, because its client has gone, leaves no open file."""
        opening = asyncio.create_task(asyncio.to_thread(self._open, name))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close)
            raise

    def _open(self, name: str) -> FileIO:
        path = self._path(name)
        if self._size(name) is None:
            raise FileNotFoundError(errno.ENOENT, "the file does not exist")
        return FileIO(path)

    def _remove(self, names: Sequence[str]) -> None:
        changed = set()
        with _disk("removed"):
            for name in names:
                with self._moving, contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    path = self._path(name)
                    path.unlink()
                    changed.add(self._prune(path.parent))
            for folder in changed:
                with contextlib.suppress(FileNotFoundError):  # another removal has emptied and removed it since
                    fsync_path(folder)

    def _prune(self, folder: Path) -> Path:
        """Remove the folder, and the folders above it, as far as they are empty. Returns the first that stays."""
        while folder != self._results:
            try:
                folder.rmdir()
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:
                    raise
                return folder
            folder = folder.parent
        return folder


def _close(opening: asyncio.Task[FileIO]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


@contextlib.contextmanager
def _disk(done: str) -> Iterator[None]:
    """Raise an error of the disk as `StoreUnavailable`; a missing file in a read stays `FileNotFoundError`."""
    try:
        yield
    except OSError as error:
        if done == "read" and isinstance(error, FileNotFoundError):
            raise
        raise StoreUnavailable(
            f"The result cannot be {done}: {error.strerror}.",
            retry_after=RETRY_AFTER_SECONDS,
            reason=f"artifacts.url: {error.strerror}" + (f": {error.filename}" if error.filename else ""),
        ) from error
