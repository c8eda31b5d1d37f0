"""Whether a ledger is the newest one of its kind, or an older copy that does not know the latest purchases. Pure.

Danger: a backup, a copied file or a snapshot of a volume does not know what was bought after it was made. A gateway
that works on with it would buy all of that again. So the ledger has a lineage, which is an id, and a position, which
grows with every change. Markers outside of the ledger repeat both. A marker is written after the change is durable in
the ledger, and before a purchase leaves: so a marker that is ahead of the ledger proves that the ledger is an older
copy, and a crash never leaves one.
"""

import re
from typing import Literal

from msgspec import Struct

RESTORED = "0" * 32  # the lineage in the marker that `video-gateway restore` writes: no ledger has it
_LINE = re.compile(rb"video-gateway lineage ([0-9a-f]{32}) position (\d{20}) file (\d{20})\n")


class Marker(Struct, frozen=True, kw_only=True):
    """What is written outside of a ledger about it."""

    lineage: str  # 32 hex digits
    position: int  # the number of the newest event that the ledger had stored when this was written
    file: int = 0  # the number (inode) of the ledger's file in its file system; 0: it is not known or not stable


class Lineage(Struct, frozen=True, kw_only=True):
    """What a ledger says about itself."""

    id: str  # 32 hex digits
    marked: bool  # its markers were written: nothing was bought before that


Unread = Literal["missing", "unreadable"]
Reading = Marker | Unread


class Copy(Struct, frozen=True):
    """The ledger is an older one, or may be. What it does not know was perhaps bought already."""

    reason: str  # a sentence for the operator, without a full stop
    position: int = 0  # the farthest position that any marker of this lineage has; 0: none has one


def verdict(
    ledger: Lineage | None,
    position: int,
    *,
    file: int,
    near: Reading,
    far: Reading | None,
    said: Literal["restored", "moved"] | None = None,
) -> Copy | None:
    """Why the ledger has to be treated as an older copy; `None`: it is the one that worked last, or a new one.

    Silence proves nothing: a ledger whose marker is gone is treated as a copy.

    `ledger` is `None` if the file was made by a version without lineages, or is new; `position` is 0 in a new one.
    `file` is the number of its file, 0 where such numbers are not stable. `near` is the marker beside the ledger. `far`
    is that of the same lineage in the artifact store, and `None` while the store does not answer. `said` is what the
    operator has said at the start.
    """
    if position == 0 or said == "moved":
        return None  # nothing is in a new ledger, so nothing is bought for it
    positions = [marker.position for marker in (near, far) if isinstance(marker, Marker) and _is_of(marker, ledger)]
    farthest = max(positions, default=0)
    if said == "restored":
        return Copy("the operator has said that the ledger is a restored one", farthest)
    if isinstance(near, Marker) and near.lineage == RESTORED:
        return Copy("the ledger was restored from a backup", farthest)
    if ledger is None:
        if near == "missing":
            return None  # a ledger of an earlier version: its first marker is written now
        return Copy("the ledger has no lineage, although there is a marker beside it")
    if farthest > position:
        return Copy(f"the ledger ends at position {position}, and its marker is at {farthest}", farthest)
    if not ledger.marked:
        return None  # the start that began this lineage was interrupted before any work
    if not isinstance(near, Marker):
        return Copy(f"the marker beside the ledger is {near}", farthest)
    if near.lineage != ledger.id:
        return Copy("the marker beside the ledger belongs to another lineage", farthest)
    if file and near.file and near.file != file:
        return Copy("the marker beside the ledger belongs to another file: both were copied", farthest)
    return None


def _is_of(marker: Marker, ledger: Lineage | None) -> bool:
    return ledger is not None and marker.lineage == ledger.id


def line_of(marker: Marker) -> bytes:
    """The marker as it is written: always equally long, because it is overwritten in place."""
    return f"video-gateway lineage {marker.lineage} position {marker.position:020} file {marker.file:020}\n".encode()


def marker_of(line: bytes) -> Marker | None:
    """The marker in what `line_of` has made; `None` if the bytes are something else."""
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    return Marker(lineage=match[1].decode(), position=int(match[2]), file=int(match[3]))
