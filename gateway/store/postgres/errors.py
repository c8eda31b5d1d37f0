"""Explains errors of PostgreSQL to the operator: what is wrong, and what to do about it."""

import ssl

import asyncpg

from gateway.domain.errors import StoreUnavailable

RETRY_AFTER_SECONDS = 5.0  # the `Retry-After` that a client gets while the store does not work
# What a connection that breaks raises, beside the errors of PostgreSQL of the classes 08 and 57P. asyncpg raises an
# `InternalClientError` if the server has ended the session, and a statement comes before asyncpg has seen that.
_OF_CONNECTION = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_LOST = "the connection to PostgreSQL is lost; see whether the server runs and can be reached"
_SILENT = (
    "PostgreSQL does not answer in time; see whether the server can be reached and, with a pooler such as PgBouncer,"
    " whether its pool (`default_pool_size`) is large enough for all connections of all gateways"
)
_UNTRUSTED = (
    "the certificate of PostgreSQL is not valid for this host, or its issuer is not trusted; mend `sslmode`,"
    " `sslrootcert` or the host in `database.url`, or the certificate"
)


class UnfitServerError(Exception):
    """The server can be reached, and a ledger on it would not be safe: the text says why and what to do."""


class TooManyNotificationsError(Exception):
    """No more notifications may be sent, as PostgreSQL says it with this code."""

    sqlstate = "54000"


# By the code of an error or its first characters; the longest match counts.
# https://www.postgresql.org/docs/18/errcodes-appendix.html
_EXPLANATIONS = {
    "08": _LOST,
    "25006": "the server takes no writes: it is a standby, or it was set to read-only; name the primary server",
    "25P03": "PostgreSQL has ended an idle transaction: the gateway or its machine was stopped or overloaded",
    "28": "PostgreSQL refuses the user or the password; mend `database.url` or `database.password`",
    "3D": "the database does not exist; create it, or mend the name in the URL",
    "40": "PostgreSQL has rolled a transaction back; it can be repeated",
    "42501": "the user may not do this in the database; grant it all rights on its schema",
    "53100": "the disk of PostgreSQL is full; free some space",
    "53200": "PostgreSQL has run out of memory; give it more",
    "53300": "PostgreSQL has no free connection; raise its `max_connections`, or end other programs",
    "53": "PostgreSQL lacks disk, memory or connections; see its log",
    "54": (
        "PostgreSQL has reached one of its limits; if that is the queue of notifications, end the session that listens"
        " in an idle transaction, see `pg_stat_activity`"
    ),
    "55P03": "another program holds the lock of the ledger; see `pg_stat_activity`, and end the idle transaction",
    "57014": "a statement has taken too long; see what else PostgreSQL does",
    "57P": "PostgreSQL is stopping, starting or has ended the connection; see whether the server runs",
    "58": "PostgreSQL cannot read or write its disk; see its log",
    "XX": "PostgreSQL reports an inner error or damaged data; see its log",
}
# After one of these nothing of the transaction is stored, also if its commit raised it: the server itself says so. A
# server that stops while it commits (57P) does not say so.
_CERTAIN = ("23", "25", "40", "53", "54", "55", "57014")
_UNCERTAIN_ROLLBACK = "40003"  # statement completion unknown


def explain(error: BaseException) -> str | None:
    """What is wrong and what to do; None for an error that is a defect of the program, not a state of the database."""
    code = _code(error)
    for length in range(len(code), 1, -1):
        if code[:length] in _EXPLANATIONS:
            return _EXPLANATIONS[code[:length]]
    if isinstance(error, UnfitServerError):
        return str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return _UNTRUSTED
    if isinstance(error, TimeoutError):
        return _SILENT
    return _LOST if _is_of_connection(error) else None


def is_lost(error: BaseException) -> bool:
    """Whether the connection is of no use any more, so that another one may work."""
    return _is_of_connection(error) or _code(error).startswith(("08", "57P", "25006", "25P03", "25P04"))


def unavailable(error: BaseException, message: str) -> StoreUnavailable:
    """The error that a client gets, with `message`. Its reason is logged for the operator and not sent."""
    explanation = explain(error)
    reason = None if explanation is None else f"database.url: {explanation}"
    refusal = StoreUnavailable(message, retry_after=RETRY_AFTER_SECONDS, reason=reason)
    refusal.__cause__ = error
    return refusal


def not_written(error: BaseException, *, at_commit: bool) -> StoreUnavailable:
    """The error for a write that failed; `at_commit` if the server may have got its commit.

    The message says whether the write may have happened all the same: a client that repeats a create without its
    idempotency key would buy a second video.
    """
    code = _code(error)
    if at_commit and (not code.startswith(_CERTAIN) or code == _UNCERTAIN_ROLLBACK):
        return unavailable(
            error,
            "The store failed while it wrote, and it is not known whether the change was saved."
            " Repeat the request with the same Idempotency-Key.",
        )
    return unavailable(error, "The store cannot take writes now; nothing was accepted.")


def _is_of_connection(error: BaseException) -> bool:
    # asyncpg raises an `InterfaceError` that is a `ValueError` for a wrong value or option: a defect of the program.
    return isinstance(error, _OF_CONNECTION) and not isinstance(error, ValueError)


def _code(error: BaseException) -> str:
    return getattr(error, "sqlstate", None) or ""
