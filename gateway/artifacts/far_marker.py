"""The marker of the ledger in the artifact store: it is still there when the volume of the ledger was put back.

It is written a few seconds after the ledger has moved, so a purchase never waits for a bucket. Each lineage has a file
of its own, so that markers of earlier lineages still recognise their copies.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from secrets import token_hex
from typing import Any, Protocol

import obstore
import structlog
from obstore.exceptions import BaseError

from gateway.buckets.opening import Bucket, bucket_of
from gateway.domain.errors import StoreUnavailable
from gateway.domain.lineage import Marker, Reading, line_of, marker_of
from gateway.fsync import fsync_path
from gateway.settings.load import Settings

log = structlog.get_logger()
AHEAD = "another gateway works on a copy of this ledger, or this ledger is an older copy that was put in its place"
_FOLDER = "lineage"
# The start waits for this answer, and goes on without it.
_CLIENT: dict[str, Any] = {"connect_timeout": "2s", "timeout": "3s"}
_RETRIES: dict[str, Any] = {"max_retries": 0}


class Place(Protocol):
    """Where markers are. Both calls wait for the disk or the network, so they belong on a thread."""

    is_local: bool  # a write takes only moments
    follow_seconds: float  # the marker follows the ledger within this time

    def read(self, lineage: str) -> Reading | None:
        """The marker of a lineage; `None` if the place does not answer."""
        ...

    def write(self, marker: Marker) -> None:
        """Replace the marker of its lineage. Raises `OSError` or `BaseError`."""
        ...


class FolderPlace:
    """Markers in the folder of the artifacts."""

    is_local = True
    follow_seconds = 1.0

    def __init__(self, artifacts: Path) -> None:
        self._folder = artifacts / _FOLDER

    def read(self, lineage: str) -> Reading | None:
        """See `Place`."""
        try:
            return marker_of((self._folder / lineage).read_bytes()) or "unreadable"
        except FileNotFoundError:
            return "missing"
        except OSError:
            return None

    def write(self, marker: Marker) -> None:
        """See `Place`."""
        path = self._folder / marker.lineage
        partial = path.with_name(f"{marker.lineage}.{token_hex(4)}.partial")  # several gateways may write at once
        self._folder.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(line_of(marker))
        fsync_path(partial)
        partial.replace(path)
        fsync_path(self._folder)


class BucketPlace:
    """Markers in the bucket of the artifacts."""

    is_local = False
    follow_seconds = 5.0

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def read(self, lineage: str) -> Reading | None:
        """See `Place`."""
        try:
            return marker_of(bytes(obstore.get(self._bucket, f"{_FOLDER}/{lineage}").bytes())) or "unreadable"
        except FileNotFoundError:
            return "missing"
        except (BaseError, OSError):
            return None

    def write(self, marker: Marker) -> None:
        """See `Place`."""
        obstore.put(self._bucket, f"{_FOLDER}/{marker.lineage}", line_of(marker))


def marker_place(settings: Settings) -> Place:
    """The place in the artifact store that is configured."""
    if settings.artifacts.is_bucket:
        return BucketPlace(bucket_of(settings.artifacts, client=_CLIENT, retries=_RETRIES))
    return FolderPlace(settings.artifacts.path)


class FarMarker:
    """Brings the marker in the artifact store up to date. One thread at a time does so."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._written: Marker | None = None
        self.trouble: str | None = None  # for an operator: why the marker cannot be trusted, or is not written

    @property
    def is_local(self) -> bool:
        """Whether a stop can wait for one more write."""
        return self._place.is_local

    @property
    def follow_seconds(self) -> float:
        """How often `follow` should be called."""
        return self._place.follow_seconds

    async def follow(self, marker: Marker, newest: Callable[[], Awaitable[Marker]] | None = None) -> None:
        """Write the marker if it has moved, and if nobody else has written a later one. Never raises.

        `newest` reads the marker again from the ledger: a later one may be that of another replica on the same ledger.
        """
        if marker == self._written:
            return
        trouble = await asyncio.to_thread(self._bring_up, marker)
        if isinstance(trouble, Marker):
            trouble = AHEAD if newest is None or await _is_before(newest, trouble) else None
        if trouble is not None and trouble != self.trouble:
            log.error("ledger_copied" if trouble == AHEAD else "marker_not_written", detail=trouble)
        self.trouble = trouble

    def _bring_up(self, marker: Marker) -> str | Marker | None:
        """Returns the trouble, or the later marker that is there."""
        there = self._place.read(marker.lineage)
        if isinstance(there, Marker) and there != self._written and there.position > marker.position:
            return there
        if there is None:
            return "the marker of the ledger in the artifact store cannot be read"
        try:
            self._place.write(marker)
        except (BaseError, OSError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            return f"the marker of the ledger in the artifact store cannot be written: {reason}"
        self._written = marker
        return None


async def _is_before(newest: Callable[[], Awaitable[Marker]], there: Marker) -> bool:
    """Whether the ledger has not come as far as a marker that was read before."""
    try:
        return (await newest()).position < there.position
    except StoreUnavailable:
        return False  # the next time will tell
