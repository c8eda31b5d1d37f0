"""The protocol for the input images of clients, and the values that describe them."""

import re
from datetime import datetime
from typing import Literal, Protocol

from msgspec import Struct

from gateway.domain.routing.image_limits import ImageFacts


class StoredFile(Struct, frozen=True, kw_only=True):
    """An input image of a client. Its bytes are in the blob folder, under their SHA-256."""

    id: str  # file_…
    key: str  # the API key that owns it
    sha256: str
    facts: ImageFacts
    created_at: datetime
    # It came within a create. It is deleted with the last generation that uses it, or when that has ended and
    # `expires_at` has passed.
    inline: bool = True
    filename: str = ""  # this and the next one are of uploaded files only
    purpose: str = ""
    expires_at: datetime | None = None


class FileLimits(Struct, frozen=True):
    """How many files, and how many bytes in them, one API key may have uploaded."""

    count: int
    bytes: int  # images that came within creates count too


class FileQuery(Struct, frozen=True, kw_only=True):
    """Which page of a key's uploaded files is wanted, without those that have expired at `now`.

    The order of ids is that of the uploads.
    """

    key: str
    now: datetime
    limit: int
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None
    purpose: str | None = None


class FilePage(Struct, frozen=True):
    """Files in the order of the query, and whether more follow."""

    data: tuple[StoredFile, ...]
    has_more: bool


_ID = re.compile(r"file_[0-9A-HJKMNP-TV-Z]{26}")


def is_file_id(text: str) -> bool:
    """Whether the text has the form of a file's id. The file may have been deleted."""
    return _ID.fullmatch(text) is not None


class Library(Protocol):
    """The uploaded files: each belongs to one API key until it expires. Every method may raise `StoreUnavailable`.

    Images that came within a create are not among them.
    """

    async def check_room(self, key: str, size: int, limits: FileLimits, now: datetime, *, evict: bool = False) -> None:
        """Raise `FileLimitReached` if the key may not have one more file of `size` bytes; `evict` as in `add`."""
        ...

    async def check_room_inline(self, key: str, size: int, limits: FileLimits, now: datetime) -> None:
        """Raise `FileLimitReached` if the key may not have `size` more bytes in images that come within a create."""
        ...

    async def add(self, file: StoredFile, limits: FileLimits, *, evict: bool = False) -> list[str]:
        """Insert a file, and return the ids of those that were deleted for it.

        With `evict` the oldest files of the key that no open generation uses are deleted, as many as are needed.
        Raises `FileLimitReached` if its key has no room for it at the time `created_at`; then nothing was deleted.
        """
        ...

    async def get(self, file_id: str, key: str, now: datetime) -> StoredFile | None:
        """One file that the key owns and that has not expired, else None."""
        ...

    async def holders(self, file_id: str) -> list[StoredFile]:
        """The files of this id, of any key, including inline and expired ones whose row still exists."""
        ...

    async def page(self, query: FileQuery) -> FilePage:
        """One page of a list."""
        ...

    async def delete(self, file_id: str, key: str, now: datetime) -> bool:
        """Delete a file and the references of ended generations to it; False if the key owns no such file.

        Raises `FileInUse` if an open generation uses it.
        """
        ...

    async def expire(self, now: datetime, limit: int) -> int:
        """Delete at most `limit` expired files, and return how many there were.

        A file that an open generation uses stays until that has ended.
        """
        ...
