"""Opens connections to the PostgreSQL server of the ledger, and checks that the server is fit for it.

Nothing is set for a session, so that a connection pooler between the gateway and the server may give the session to
another client afterwards: limits are set in each transaction, and reads have their deadline here.
"""

from typing import Any
from urllib.parse import urlsplit

import asyncpg
import structlog
from msgspec import Struct

from gateway.settings.toml import Secret
from gateway.store.postgres.errors import UnfitServerError, explain

log = structlog.get_logger()
Connection = Any  # asyncpg has no types
CONNECT_SECONDS = 10.0
VERSION_MIN = 14
_STATEMENTS_MAX = 1024  # prepared statements of a connection
_STATEMENT_BYTES = 128 * 1024  # the longest statement that is prepared once: lists with several filters have long ones
_FACTS = (
    "select current_setting('server_version_num')::integer / 10000 as version, pg_is_in_recovery() as is_standby,"
    " current_setting('transaction_read_only') as read_only, current_setting('synchronous_commit') as durability,"
    " current_setting('server_encoding') as encoding,"
    " current_setting('standard_conforming_strings') as strings"
)


class Server(Struct, frozen=True):
    """Where the ledger is, and how to get in. It may be printed: the password is a `Secret`."""

    url: str  # `postgresql://USER@HOST:PORT/DATABASE?sslmode=…`, without a password
    password: Secret | None = None

    @property
    def place(self) -> str:
        """The host and the database for messages."""
        parts = urlsplit(self.url)
        return f"{parts.netloc.rpartition('@')[2]}{parts.path}"

    async def connect(self) -> Connection:
        """A connection. Raises what asyncpg raises; see `errors.py`."""
        return await asyncpg.connect(self.url, **self.options())

    def options(self) -> dict[str, Any]:
        """What `asyncpg.connect` and `asyncpg.create_pool` get besides the URL."""
        return {
            "password": None if self.password is None else self.password.reveal(),
            "timeout": CONNECT_SECONDS,
            "statement_cache_size": _STATEMENTS_MAX,
            "max_cached_statement_lifetime": 0,
            "max_cacheable_statement_size": _STATEMENT_BYTES,
            "server_settings": {"application_name": "video-gateway"},
        }


async def check_fitness(connection: Connection) -> None:
    """Raise `UnfitServerError` if a commit on this server could be lost, or the server takes no writes."""
    facts = await connection.fetchrow(_FACTS)
    if facts["version"] < VERSION_MIN:
        raise UnfitServerError(f"PostgreSQL {facts['version']} is too old; at least {VERSION_MIN} is needed")
    if facts["is_standby"] or facts["read_only"] == "on":
        raise UnfitServerError(
            "the server takes no writes: it is a standby, or it is set to read-only; name the primary server"
        )
    if facts["durability"] == "off":
        raise UnfitServerError(
            "`synchronous_commit` is off, so that a crash of the server would lose purchases; set it to on for this"
            " database and user"
        )
    if facts["encoding"] != "UTF8":
        raise UnfitServerError(f"the encoding of the database is {facts['encoding']}; create it with UTF8")
    if facts["strings"] != "on":
        raise UnfitServerError("`standard_conforming_strings` is off; set it to on")


async def warn_of_loss(connection: Connection) -> None:
    """Log a warning if the server does not write to its disk before it says that something is committed."""
    if await connection.fetchval("select current_setting('fsync')") == "off":
        log.warning(
            "database_not_durable", detail="`fsync` of PostgreSQL is off: a crash of its machine loses purchases"
        )


def complaint(server: Server, error: BaseException) -> str | None:
    """Why the server cannot be used, for a message at the start; None for a defect of the program."""
    if isinstance(error, asyncpg.ClientConfigurationError):
        return f"database.url: {error}"
    reason = explain(error)
    if reason is None:
        return None
    if isinstance(error, UnfitServerError):
        return f"database.url: {server.place}: {reason}"
    detail = str(error) or type(error).__name__
    return f"database.url: cannot use {server.place}: {reason} ({detail})"
