"""Where results are kept: what every store of them promises, and what all of them share."""

import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Protocol

from gateway.domain.errors import StoreUnavailable

CHUNK_BYTES = 256 * 1024  # of a file in memory at once, for each reader
RETRY_SECONDS = 5  # what a client is told to wait when a store does not answer
_NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9_-][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*", re.ASCII)


class ArtifactStore(Protocol):
    """Files by name. A file is there whole or not at all, and never changes.

    Every method may raise `StoreUnavailable`: its detail is for clients, its reason for the operator.
    """

    flushes: bool  # whether what is at a `partial` path is to be on the disk of this machine, sooner or later

    def partial(self) -> Path:
        """A fresh path on this machine to write a file to, for `put`. Who asks for it removes what is left there."""
        ...

    async def put(self, name: str, partial: Path, content_type: str) -> None:
        """Keep the file under the name: durable when this returns, and gone from `partial`."""
        ...

    async def size(self, name: str) -> int | None:
        """In bytes; `None` when there is no such file."""
        ...

    def read(self, name: str, start: int, stop: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `stop`, a little at a time. `FileNotFoundError` when there is no such file."""
        ...

    async def remove(self, names: Sequence[str]) -> None:
        """Remove the files; one that is not there is fine."""
        ...

    async def link(self, name: str, *, seconds: int, filename: str, content_type: str, inline: bool) -> str | None:
        """A URL that hands the file to anybody for so long; `None` where there can be none that does all this."""
        ...

    async def close(self) -> None:
        """Let go of what is open."""
        ...


def remove_files(*paths: Path) -> None:
    """Remove files of this machine, as far as they are there and can be."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def checked(name: str) -> str:
    """The name; a `ValueError` when it could lead out of the store or to what the store keeps for itself."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of an artifact")
    return name


class Spool:
    """The local folder of files that are being written. What a crash left there is removed when it is opened."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        with contextlib.suppress(OSError):  # a folder that cannot be used is told of by the first write
            for path in self._folder.iterdir():
                path.unlink()

    def partial(self) -> Path:
        """A path that no file has."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(
                f"The result cannot be stored: {error.strerror}.",
                retry_after=RETRY_SECONDS,
                reason=f"artifacts: cannot write to {self._folder}: {error.strerror}",
            ) from error
        return self._folder / token_hex(16)
