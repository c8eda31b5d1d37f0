"""The marker beside the ledger: a small file that says how far the ledger has worked.

It is overwritten in place, which the page cache keeps when the process is killed, and which takes less than a
microsecond. Before a submit leaves, it is also on the disk: one such write serves all submits of a transaction.
"""

import os
from pathlib import Path

from gateway.domain.lineage import Marker, Reading, line_of, marker_of
from gateway.fsync import fsync_path
from gateway.store.mounts import file_system

_BYTES = 256  # more than a marker has
# File systems in which a file keeps its number for as long as it exists. In others it may change with every mount.
_STABLE = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs"})


def marker_path(ledger: Path) -> Path:
    """Where the marker of a ledger is."""
    return ledger.with_name(ledger.name + "-marker")


def read_marker(ledger: Path) -> Reading:
    """The marker beside a ledger."""
    try:
        with marker_path(ledger).open("rb") as file:
            return marker_of(file.read(_BYTES)) or "unreadable"
    except FileNotFoundError:
        return "missing"
    except OSError:
        return "unreadable"


def file_number(ledger: Path) -> int:
    """The number of the ledger's file in its file system; 0 where such numbers are not stable."""
    return ledger.stat().st_ino if file_system(ledger) in _STABLE else 0


def write_marker(ledger: Path, marker: Marker) -> None:
    """Put a marker beside a ledger in place of the one that is there. Raises `OSError`; durable when it returns."""
    path = marker_path(ledger)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(line_of(marker))
    fsync_path(partial)
    partial.replace(path)
    fsync_path(path.parent)


class MarkerFile:
    """The marker of a ledger that is open. Positions only grow."""

    def __init__(self, ledger: Path, marker: Marker) -> None:
        """The file must exist, with this marker. Raises `OSError`."""
        self._marker = marker
        path = marker_path(ledger)
        kinds = (os.O_WRONLY | os.O_CLOEXEC, os.O_WRONLY | os.O_CLOEXEC | os.O_DSYNC)
        self._files = [os.fdopen(os.open(path, kind), "wb", buffering=0) for kind in kinds]

    @property
    def marker(self) -> Marker:
        """What the file says."""
        return self._marker

    def advance(self, position: int, *, durable: bool) -> None:
        """Write a position that is durable in the ledger. Raises `OSError`.

        It survives the end of the process; with `durable` also a power cut.
        """
        if position < self._marker.position:
            return
        moved = Marker(lineage=self._marker.lineage, position=position, file=self._marker.file)
        os.pwrite(self._files[durable].fileno(), line_of(moved), 0)
        self._marker = moved

    def close(self) -> None:
        """Close the file; a second call changes nothing."""
        for file in self._files:
            file.close()
