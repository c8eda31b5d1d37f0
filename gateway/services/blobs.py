"""Bytes by their SHA-256 in a folder: the inputs that clients sent with a request."""

import asyncio
import contextlib
import os
from hashlib import sha256
from pathlib import Path
from secrets import token_hex

from gateway.domain.errors import StoreUnavailable


class Blobs:
    """A blob is there whole or not at all: written beside its place, flushed to the disk, then renamed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, content: bytes) -> str:
        """Keep the bytes; their SHA-256 in hex. `StoreUnavailable` when the disk refuses."""
        return await asyncio.to_thread(self._put, content)

    async def get(self, digest: str) -> bytes | None:
        """The bytes, `None` when they are gone. `StoreUnavailable` when the disk does not give them."""
        try:
            return await asyncio.to_thread(self._path(digest).read_bytes)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreUnavailable(f"The input cannot be read: {error.strerror}.", retry_after=5) from error

    def _path(self, digest: str) -> Path:
        return self._folder / digest[:2] / digest

    def _put(self, content: bytes) -> str:
        digest = sha256(content).hexdigest()
        path = self._path(digest)
        beside = path.with_name(f".{digest}.{token_hex(4)}")
        try:
            if path.exists():
                return digest
            path.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.rename(path)
            for folder in (path.parent, self._folder):  # the names are on the disk, too
                _flush(folder)
        except OSError as error:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
            raise StoreUnavailable(f"The input cannot be stored: {error.strerror}.", retry_after=5) from error
        return digest


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
