"""Explains errors of SQLite to the operator: what is wrong, and what to do about it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import apsw

from gateway.domain.errors import StoreUnavailable

RETRY_AFTER_SECONDS = 5.0  # the `Retry-After` that a client gets while the store does not work


class FileMovedError(Exception):
    """The database file is not in its place any more: the next start would not find what is written to it now."""


_LOCKED = "another program holds a lock on the file; end that program"
_DAMAGED = (
    "the file is damaged; stop the gateway, then restore a backup or save what can be read (`.recover` of sqlite3)"
)
_EXPLANATIONS: dict[type[Exception], str] = {
    apsw.FullError: "the disk is full; free some space",
    apsw.IOError: (
        "the disk cannot be read or written; check the disk, its free space and the limits of the process (`ulimit -a`)"
    ),
    apsw.ReadOnlyError: "the file or its file system is read-only; make it writable",
    apsw.CantOpenError: (
        "the file cannot be opened; check the permissions of its folder and the limit of open files (`ulimit -n`)"
    ),
    apsw.BusyError: _LOCKED,
    apsw.LockedError: _LOCKED,
    apsw.CorruptError: _DAMAGED,
    apsw.NotADBError: "the file is not an SQLite database; name another file, or restore a backup",
    apsw.NoMemError: "the process has run out of memory; give it more, or restart it",
    FileMovedError: (
        "the file was moved, replaced or deleted while the gateway was running; put it back, or restart the gateway"
    ),
}
# If the commit fails with one of these, nothing of the transaction is in the file. After any other error a crash may
# still bring the transaction back, because its pages may have reached the write-ahead log.
_CERTAIN = (apsw.FullError, apsw.ReadOnlyError, apsw.BusyError, apsw.LockedError, apsw.ConstraintError, FileMovedError)


def explain(error: Exception) -> str | None:
    """What is wrong and what to do; None for an error that is a defect of the program, not a state of the database."""
    return _EXPLANATIONS.get(type(error))


def is_damage(error: Exception) -> bool:
    """Whether the file itself is broken, so that a repeat cannot help."""
    return isinstance(error, apsw.CorruptError | apsw.NotADBError)


def unavailable(error: Exception, message: str) -> StoreUnavailable:
    """The error that a client gets, with `message`. Its reason is logged for the operator and not sent."""
    explanation = explain(error)
    reason = None if explanation is None else f"database.url: {explanation}"
    refusal = StoreUnavailable(message, retry_after=RETRY_AFTER_SECONDS, reason=reason)
    refusal.__cause__ = error
    return refusal


def not_written(error: Exception, *, at_commit: bool) -> StoreUnavailable:
    """The error for a write that failed; `at_commit` if its commit did.

    The message says whether the write may have happened all the same: a client that repeats a create without its
    idempotency key would buy a second video.
    """
    if at_commit and not isinstance(error, _CERTAIN):
        return unavailable(
            error,
            "The store failed while it wrote, and it is not known whether the change was saved."
            " Repeat the request with the same Idempotency-Key.",
        )
    return unavailable(error, "The store cannot take writes now; nothing was accepted.")


def unmarked(error: Exception) -> StoreUnavailable:
    """The error for every submit while the marker beside the ledger cannot be written: none may be sent."""
    reason = getattr(error, "strerror", None) or str(error)
    return StoreUnavailable(
        "The store cannot take writes now; the submit was not sent.",
        retry_after=RETRY_AFTER_SECONDS,
        reason=f"database.url: the marker beside the ledger cannot be written: {reason}",
    )


class Damageable(Protocol):
    """What refuses to go on once the file is damaged."""

    damage: str | None  # the explanation of the first damage of the file that was met


@contextmanager
def readable(writer: Damageable) -> Iterator[None]:
    """Raise `StoreUnavailable` if the file cannot be read. Damage is reported to the writer, which refuses to go on."""
    try:
        yield
    except apsw.InterruptError:  # the reader itself has stopped the read
        raise
    except apsw.Error as error:
        if is_damage(error):
            writer.damage = explain(error)
        raise unavailable(error, "The store cannot be read now.") from error
