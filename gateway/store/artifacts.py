"""The protocol for the rows of archived files: which files may be in the artifact store, and until when."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

# How long a file may exist that is being written. Its row gets the expiry of the result once the file is whole.
BEGUN_LIFE = timedelta(days=1)


class ArchivedFiles(Protocol):
    """Every method may raise `StoreUnavailable`.

    A file gets its row before it is written, and the row is deleted after the file: so no file is ever without a row.
    """

    async def announce(self, generation_id: str, names: Sequence[str], until: datetime) -> bool:
        """Announce files that are about to be written. They are removed after `until`, unless a write extends that.

        False if the generation was deleted: then nothing may be written.
        """
        ...

    async def set_thumbnail(
        self, generation_id: str, index: int, *, video: str, thumbnail: str, content_type: str
    ) -> bool:
        """Add a thumbnail to an output, in one transaction, if its archived file still has the name `video`.

        The thumbnail expires together with that file. The generation gets a new version, so that clients which compare
        versions see the change, and so that a driver which holds the older version reads the generation again.
        False, with nothing written, when the output has another file, no file or a thumbnail already.
        """
        ...

    async def expired(self, now: datetime, limit: int) -> list[str]:
        """Names of at most `limit` files that have expired, the oldest first."""
        ...

    async def postpone(self, names: Sequence[str], until: datetime) -> None:
        """Let `expired` return these files again at `until`, because they could not be removed now."""
        ...

    async def forget(self, names: Sequence[str], now: datetime) -> None:
        """Delete the rows of files that were removed, except rows whose expiry was extended meanwhile."""
        ...
