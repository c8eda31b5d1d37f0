"""How much of the disk stays free of the images of clients, because results need it."""

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

from gateway.settings.sections import ArtifactSettings

MIN_FREE_BYTES = 10**9  # of the disk that stay free, unless it is small
MIN_FREE_PART = 20  # of a small disk one part in so many stays free


def room_left(free: int, total: int, min_free: int | None) -> int:
    """How many bytes may be written to a disk of `total` bytes, of which `free` are free; negative below the floor."""
    return free - _floor(total, min_free)


class DiskRoom(NamedTuple):
    """How full the disk of a folder is, in bytes."""

    free: int
    floor: int  # with less than this free, no image is stored


def disk_room(folder: Path, min_free_bytes: int | None) -> DiskRoom:
    """The room on the disk of a folder, or of the next folder above it if it does not exist yet. Raises `OSError`."""
    existing = next((path for path in (folder, *folder.absolute().parents) if path.exists()), Path("/"))
    disk = os.statvfs(existing)
    return DiskRoom(disk.f_bavail * disk.f_frsize, _floor(disk.f_blocks * disk.f_frsize, min_free_bytes))


def refuses_images(artifacts: ArtifactSettings) -> str | None:
    """What an operator should read if so little of the disk is free that no image is stored; `None` if there is room.

    With a bucket none is refused: the disk has only copies of them.
    """
    with contextlib.suppress(OSError):  # a disk that fails is reported where something is read or written
        room = disk_room(artifacts.inputs.resolve(), artifacts.min_free_bytes)
        if not artifacts.is_bucket and room.free <= room.floor:
            return (
                "artifacts.min_free_bytes: less of the disk is free, so creates and uploads with images get 507; make"
                " room, or set less"
            )
    return None


def _floor(total: int, min_free: int | None) -> int:
    return min(MIN_FREE_BYTES, total // MIN_FREE_PART) if min_free is None else min_free


def room_in(folder: Path, min_free_bytes: int | None) -> int:
    """How many bytes of images may be written to the disk of a folder; negative below the floor. Raises `OSError`."""
    room = disk_room(folder, min_free_bytes)
    return room.free - room.floor
