"""Makes a file, or the names in a folder, durable."""

import os
from pathlib import Path


def fsync_path(path: Path) -> None:
    """Wait until the disk has the content of a file, or the names in a folder. Raises `OSError`; call it in a thread.

    A file that was written and renamed survives a power cut only after both: the file, and the folder of its new name.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
