"""Results in a local folder."""

import asyncio
import contextlib
import errno
import os
import stat
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from io import FileIO
from pathlib import Path

from gateway.artifacts.store import CHUNK_BYTES, RETRY_SECONDS, Spool, checked
from gateway.domain.errors import StoreUnavailable
from gateway.failpoints import reach


class ArtifactFolder:
    """An `ArtifactStore`: `results/<name>` below the folder. A symbolic link among them is no file of ours."""

    flushes = True

    def __init__(self, folder: Path) -> None:
        self._results = (folder / "results").resolve()
        self._spool = Spool(self._results / ".partial")  # on the same file system, so that a rename will do
        self._placing = threading.Lock()  # a folder that a file is about to be put into is not found to be empty

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
        with _disk("read"):
            file = await asyncio.to_thread(self._open, name)
            with file:
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
            raise FileNotFoundError(errno.ENOENT, "it is behind a symbolic link")
        return path

    def _put(self, name: str, partial: Path) -> None:
        with _disk("stored"):
            _flush(partial)
            reach("file_written")
            with self._placing:
                path = self._path(name)
                path.parent.mkdir(parents=True, exist_ok=True)
                partial.rename(path)
            for folder in path.parents:  # the names are on the disk, too
                _flush(folder)
                if folder == self._results.parent:
                    break
            reach("renamed")

    def _size(self, name: str) -> int | None:
        with _disk("read"):
            try:
                found = self._path(name).stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
            return found.st_size if stat.S_ISREG(found.st_mode) else None

    def _open(self, name: str) -> FileIO:
        path = self._path(name)
        if self._size(name) is None:
            raise FileNotFoundError(errno.ENOENT, "there is no such file")
        return FileIO(path)

    def _remove(self, names: Sequence[str]) -> None:
        changed = set()
        with _disk("removed"):
            for name in names:
                with self._placing, contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    path = self._path(name)
                    path.unlink()
                    changed.add(self._prune(path.parent))
            for folder in changed:
                with contextlib.suppress(FileNotFoundError):  # the last of its files went after this one
                    _flush(folder)

    def _prune(self, folder: Path) -> Path:
        """Remove the folder and those above that are empty with it; the first that stays."""
        while folder != self._results:
            try:
                folder.rmdir()
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:
                    raise
                return folder
            folder = folder.parent
        return folder


@contextlib.contextmanager
def _disk(done: str) -> Iterator[None]:
    """What the disk refuses as `StoreUnavailable`, unless a reader is to be told that there is no such file."""
    try:
        yield
    except OSError as error:
        if done == "read" and isinstance(error, FileNotFoundError):
            raise
        raise StoreUnavailable(
            f"The result cannot be {done}: {error.strerror}.",
            retry_after=RETRY_SECONDS,
            reason=f"artifacts.url: {error.strerror}" + (f": {error.filename}" if error.filename else ""),
        ) from error


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
