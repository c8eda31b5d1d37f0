"""What is wrong with the database when it refuses: in the operator's words, with the remedy."""

import apsw

from gateway.domain.errors import StoreUnavailable

RETRY_SECONDS = 5.0  # until a client should ask again


class FileMovedError(Exception):
    """The file is no longer where the configuration says: what is written to it now, the next start will not find."""


_LOCKED = "another program holds a lock on the file; end that program"
_DAMAGED = (
    "the file is damaged; stop the gateway, then restore a backup or save what can be read (`.recover` of sqlite3)"
)
_WORDS: dict[type[Exception], str] = {
    apsw.FullError: "the disk is full; free some space",
    apsw.IOError: "the disk cannot be read or written; look at the disk, its free space and the limits of the process",
    apsw.ReadOnlyError: "the file or its file system is read-only; make it writable",
    apsw.CantOpenError: "the file cannot be opened; look at the rights of its folder and the limit of open files",
    apsw.BusyError: _LOCKED,
    apsw.LockedError: _LOCKED,
    apsw.CorruptError: _DAMAGED,
    apsw.NotADBError: "the file is not a database; name another one, or restore a backup",
    apsw.NoMemError: "there is not enough memory",
    FileMovedError: "the file was removed or replaced under the gateway; put it back, or restart",
}
# After these nothing of the transaction is in the file. After others at its commit, a crash may still bring it back.
_CERTAIN = (apsw.FullError, apsw.ReadOnlyError, apsw.BusyError, apsw.LockedError, apsw.ConstraintError, FileMovedError)


def told(error: Exception) -> str | None:
    """What is wrong and what to do, for an error that is the database's state and not a defect."""
    return _WORDS.get(type(error))


def is_damage(error: Exception) -> bool:
    """Whether the file itself is broken: that does not pass."""
    return isinstance(error, apsw.CorruptError | apsw.NotADBError)


def unavailable(error: Exception, what: str) -> StoreUnavailable:
    """The answer to who wanted `what`; the reason is for the operator alone."""
    words = told(error)
    found = StoreUnavailable(
        what, retry_after=RETRY_SECONDS, reason=None if words is None else f"database.url: {words}"
    )
    found.__cause__ = error
    return found


def not_written(error: Exception, *, at_commit: bool) -> StoreUnavailable:
    """The answer to who wanted something written. What failed at its commit may be found there after a crash."""
    if at_commit and not isinstance(error, _CERTAIN):
        return unavailable(
            error, "The store failed while it wrote; whether it did is not known. Repeat it with its Idempotency-Key."
        )
    return unavailable(error, "The store cannot take writes now; nothing was accepted.")
