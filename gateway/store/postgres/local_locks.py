"""Shows that former processes of this machine have ended, so that nobody needs to wait until their heartbeats are old.

A replica holds a lock on a file of its own as long as its process lives. A process that gets the lock of such a file
knows that the other one has ended: the kernel lets the lock go when the last thread and the last copy of the file are
gone. A process that is suspended keeps it. This is believed only for locks that this very kernel, since its start, has
given on a file system of this machine. So nothing is said about replicas on other machines, even if the folder is
common to them. Then, and wherever anything fails, the age of a heartbeat decides.
"""

import fcntl
import os
import re
from contextlib import suppress
from pathlib import Path

import structlog

from gateway.store.mounts import MOUNTS, NETWORK, file_system

log = structlog.get_logger()
BOOT = Path("/proc/sys/kernel/random/boot_id")  # another text after each start of the machine, as Linux has it
_NAME = re.compile(r"(rep_[0-9a-f]{24})\.([0-9a-f-]{36})")
_MODE = 0o600


class LocalLocks:
    """The locks of the replicas that have the same folder. Methods read and write files, and never raise `OSError`."""

    def __init__(self, folder: Path | None, *, boot: Path = BOOT, mounts: Path = MOUNTS) -> None:
        """`folder` is made when it is needed; None: nothing is believed and nothing is written."""
        self._folder = None if folder is None else folder.resolve()
        self._boot = _start_of_machine(boot)
        kind = "" if self._folder is None else file_system(self._folder, mounts)
        self._is_local = bool(self._boot) and kind != "" and kind not in NETWORK
        self._held: tuple[int, Path] | None = None

    def hold(self, replica: str) -> None:
        """Hold a lock for this replica instead of the one before, until `release` or the end of the process."""
        self.release()
        if self._folder is None or not self._is_local:
            return
        path = self._path(replica)
        begun = path.with_name(f".{replica}")  # nobody may see the file before it is locked
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            file = os.open(begun, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
        except OSError as error:
            log.info("replica_without_lock", error=str(error))
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            begun.rename(path)
        except OSError as error:
            log.info("replica_without_lock", error=str(error))
            os.close(file)
            return
        self._held = (file, path)

    def ended(self) -> list[str]:
        """The ids of replicas whose processes have ended on this machine, until `forget`."""
        if self._folder is None or not self._is_local:
            return []
        try:
            names = [(match, path) for path in self._folder.iterdir() if (match := _NAME.fullmatch(path.name))]
        except OSError:
            return []
        return sorted(match[1] for match, path in names if match[2] == self._boot and _is_free(path))

    def forget(self, replicas: list[str]) -> None:
        """Remove the files of replicas that have ended."""
        for replica in replicas:
            with suppress(OSError):
                self._path(replica).unlink()

    def release(self) -> None:
        """Let the lock go and remove its file."""
        if self._held is not None:
            file, path = self._held
            self._held = None
            with suppress(OSError):
                path.unlink()
            os.close(file)

    def _path(self, replica: str) -> Path:
        return (self._folder or Path()) / f"{replica}.{self._boot}"


def _start_of_machine(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return ""


def _is_free(path: Path) -> bool:
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(file)
    return True
