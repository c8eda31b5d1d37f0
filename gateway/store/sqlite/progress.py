"""Says in the log how far a migration of the ledger is, if it takes long."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import apsw
import structlog

log = structlog.get_logger()
FIRST_SECONDS = 2.0  # a migration of a short history is over before, and nothing is said about it
EACH_SECONDS = 5.0
_CHECK_STEPS = 1_000_000  # instructions of SQLite between two looks at the clock: some 50 milliseconds


@contextmanager
def migration_progress(connection: apsw.Connection, name: str) -> Iterator[None]:
    """Log `ledger_migrating` again and again while the block runs, and `ledger_migrated` after it, if that is long."""
    began = time.monotonic()
    next_at = began + FIRST_SECONDS
    statement = ""

    def note(_: apsw.Cursor, sql: str, __: object) -> bool:
        nonlocal statement
        statement = sql
        return True

    def look() -> bool:
        nonlocal next_at
        now = time.monotonic()
        if now >= next_at:
            next_at = now + EACH_SECONDS
            log.warning(
                "ledger_migrating",
                migration=name,
                duration_seconds=round(now - began),
                statement=_first_line(statement),
                detail="the gateway starts after it; a start that is stopped now begins the migration again",
            )
        return False

    connection.exec_trace = note
    connection.set_progress_handler(look, _CHECK_STEPS)
    try:
        yield
    finally:
        connection.exec_trace = None
        connection.set_progress_handler(None)
    seconds = time.monotonic() - began
    if seconds >= FIRST_SECONDS:
        log.warning("ledger_migrated", migration=name, duration_seconds=round(seconds))


def _first_line(sql: str) -> str:
    """The line with which a statement begins, without the comment before it."""
    lines = (line.strip() for line in sql.splitlines())
    return next((line for line in lines if line and not line.startswith("--")), "")[:120]
