"""What the gateway asks of a store about the input images that clients have uploaded."""

import re
from datetime import datetime
from typing import Literal, Protocol

from msgspec import Struct

from gateway.domain.routing.image_limits import ImageFacts


class StoredFile(Struct, frozen=True, kw_only=True):
    """An input image that the gateway holds; the bytes are in the blob folder under their SHA-256."""

    id: str  # file_…
    key: str  # the API key that owns it
    sha256: str
    facts: ImageFacts
    created_at: datetime
    inline: bool = True  # it came with a create, and goes with the last generation that uses it
    filename: str = ""  # this and the next two are of files that were uploaded by themselves
    purpose: str = ""
    expires_at: datetime | None = None


class FileLimits(Struct, frozen=True):
    """How much a key may have in files that it uploaded."""

    count: int
    bytes: int


class FileQuery(Struct, frozen=True, kw_only=True):
    """A page of a key's uploaded files that are there at `now`; ids order as uploads do."""

    key: str
    now: datetime
    limit: int
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None
    purpose: str | None = None


class FilePage(Struct, frozen=True):
    """Files in the order asked for, and whether more follow."""

    data: tuple[StoredFile, ...]
    has_more: bool


_ID = re.compile(r"file_[0-9A-HJKMNP-TV-Z]{26}")


def is_file_id(text: str) -> bool:
    """Whether this can be the id of an uploaded file, though it may be gone by now."""
    return _ID.fullmatch(text) is not None


class Library(Protocol):
    """The files that were uploaded by themselves: each belongs to a key until it expires. Raises `StoreUnavailable`.

    What came inline with a create is not among them.
    """

    async def check_room(self, key: str, size: int, limits: FileLimits, now: datetime) -> None:
        """`FileLimitReached` when the key has no room for so many more bytes."""
        ...

    async def add(self, file: StoredFile, limits: FileLimits) -> None:
        """Insert a file; `FileLimitReached` when its key has no room for it at `created_at`."""
        ...

    async def get(self, file_id: str, key: str, now: datetime) -> StoredFile | None:
        """One file that the key owns and that has not expired."""
        ...

    async def holders(self, file_id: str) -> list[StoredFile]:
        """The files of this id whoever owns them, inline and expired ones too, as long as there is a row."""
        ...

    async def page(self, query: FileQuery) -> FilePage:
        """A page of a list."""
        ...

    async def delete(self, file_id: str, key: str, now: datetime) -> bool:
        """Remove a file and what ended generations had of it; False when there is none.

        `FileInUse` when an open generation uses it.
        """
        ...

    async def expire(self, now: datetime, limit: int) -> int:
        """Remove files whose time is over, at most `limit`; how many there were.

        One that an open generation uses waits for its end.
        """
        ...
