"""What the gateway asks of a store about the files of results."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

BEGUN_LIFE = timedelta(days=1)  # of a file that was begun; once it is kept, its own time counts


class Results(Protocol):
    """Which files may be in the artifact store, and until when. Raises `StoreUnavailable`."""

    async def tell(self, generation_id: str, names: Sequence[str], until: datetime) -> bool:
        """Say that these are about to be written; they are removed after `until` unless they are kept meanwhile.

        False when the generation is there no more: write nothing.
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
        """Names whose time is over, the oldest first."""
        ...

    async def put_off(self, names: Sequence[str], until: datetime) -> None:
        """These could not be removed: ask for them again then."""
        ...

    async def forget(self, names: Sequence[str], now: datetime) -> None:
        """These are removed; what was told of anew meanwhile stays."""
        ...
