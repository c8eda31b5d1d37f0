"""The contract of artifact stores, which keep the files of results, and what all implementations share."""

import contextlib
import math
import re
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Protocol

from gateway.domain.errors import StoreUnavailable

CHUNK_BYTES = 128 * 1024  # the most of a file that one reader has in memory
RETRY_AFTER_SECONDS = 5  # when a client should try again after a store has not answered
UNFINISHED_SECONDS = 86_400.0  # no transfer takes so long without a byte
_NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9_-][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*", re.ASCII)


class ArtifactStore(Protocol):
    """Files by name. A file is there completely or not at all, and never changes.

    Every method may raise `StoreUnavailable`: its `detail` is for clients, its `reason` for the operator.
    """

    flushes: bool  # True if the file at a `partial` path becomes the stored one, so that it has to be synchronised

    def partial(self) -> Path:
        """A new path on this machine to write a file to before `put`. The caller removes a file that is left there."""
        ...

    async def put(self, name: str, partial: Path, content_type: str) -> None:
        """Move the file from `partial` into the store. It is durable under its name when this returns."""
        ...

    async def size(self, name: str) -> int | None:
        """The size of the file in bytes, or `None` when it does not exist."""
        ...

    def read(self, name: str, start: int, stop: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `stop`, in pieces. Raises `FileNotFoundError`."""
        ...

    async def remove(self, names: Sequence[str]) -> None:
        """Remove the files. A file that does not exist is not an error."""
        ...

    async def link(self, name: str, *, seconds: int, filename: str, content_type: str, inline: bool) -> str | None:
        """A URL at which anybody gets the file for `seconds`, with this name and type.

        `None` where the store cannot make such a URL. With `inline` a browser shows the file instead of saving it.
        """
        ...

    async def close(self) -> None:
        """Close connections and files that are open."""
        ...


def remove_files(*paths: Path) -> None:
    """Remove files of this machine. One that does not exist, or cannot be removed, is left out without an error."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def checked(name: str) -> str:
    """The name unchanged. Raises `ValueError` if it could lead outside the store, or to unfinished files."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of an artifact")
    return name


class Spool:
    """The local folder of unfinished files, each with a name that no other process chooses.

    Danger: other gateways may be writing to the same folder. So a start removes only those that nobody has written to
    for a day, unless no other gateway can use the folder (`alone`): then all of them were left by a crash.
    """

    def __init__(self, folder: Path, *, alone: bool) -> None:
        self._folder = folder.resolve()
        before = math.inf if alone else time.time() - UNFINISHED_SECONDS
        with contextlib.suppress(OSError):  # the first write reports a folder that cannot be used
            for path in self._folder.iterdir():
                with contextlib.suppress(FileNotFoundError):  # its gateway has stored or removed it
                    if path.stat().st_mtime < before:
                        path.unlink()

    def partial(self) -> Path:
        """A path that is not in use. Raises `StoreUnavailable` when the folder cannot be made."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(
                f"The result cannot be stored: {error.strerror}.",
                retry_after=RETRY_AFTER_SECONDS,
                reason=f"artifacts: cannot write to {self._folder}: {error.strerror}",
            ) from error
        return self._folder / token_hex(16)
