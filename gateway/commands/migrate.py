"""`migrate`: moves the ledger from SQLite to PostgreSQL, once and as a whole."""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

from gateway import log as logs
from gateway.commands.terminal import line, say, warn
from gateway.domain.errors import ConfigurationError
from gateway.settings.databases import POSTGRES, SQLITE, database_url
from gateway.settings.toml import Secret, TomlReader
from gateway.store.opening import NO_DRIVER

_EACH_SECONDS = 5.0  # between two lines about the same table


def migrate(source: str, target: str, password: str | None) -> int:
    """Move the ledger at the URL `source` to the one at `target`. Returns the exit code.

    Raises `ConfigurationError`, and then the gateway goes on with the source.
    """
    ledger = Path(_url("--from", source, (SQLITE,)).removeprefix(SQLITE))
    place = _url("--to", target, POSTGRES)
    try:
        from gateway.store.move.run import move  # noqa: PLC0415  # it needs asyncpg, which is an extra
        from gateway.store.postgres.server import Server  # noqa: PLC0415  # as above
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        raise ConfigurationError(NO_DRIVER) from None
    logs.configure("console", "warning")
    server = Server(place, None if password is None else Secret.of(password))
    moved = asyncio.run(move(ledger, server, datetime.now(UTC), _Progress().show))
    if moved.before:
        say(f"{server.place} has had the ledger since an earlier run; nothing was changed")
    else:
        say(f"{server.place} has the ledger: {moved.rows:,} rows in {moved.tables} tables, the same as in {ledger}")
    if moved.replaced:
        warn(f"{moved.replaced:,} row(s) have U+FFFD in place of U+0000, which PostgreSQL cannot store in a text")
    say(f'{ledger} is of no use any more. Set database.url = "{place}", and start the gateway')
    return 0


class _Progress:
    """A line for each table, and one every few seconds of a long one."""

    def __init__(self) -> None:
        self._said_at = time.monotonic()

    def show(self, table: str, rows: int, done: int) -> None:
        """`done` of the `rows` of a table are written."""
        now = time.monotonic()
        if done == rows or now - self._said_at >= _EACH_SECONDS:
            self._said_at = now
            line(table, f"{done:,} of {rows:,} rows")


def _url(option: str, text: str, schemes: tuple[str, ...]) -> str:
    if not text.startswith(schemes):
        raise ConfigurationError(f"{option}: expected {' or '.join(f'{scheme}…' for scheme in schemes)}")
    try:
        return database_url(text, TomlReader({}, {}))
    except ValueError as error:
        raise ConfigurationError(f"{option}: {error}") from None
