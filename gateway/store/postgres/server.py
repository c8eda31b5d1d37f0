"""Opens connections to the PostgreSQL server of the ledger, and checks that the server is fit for it.

Defaults of the server, the database and the user can differ from those of PostgreSQL. Those that would break a promise
are set for each session, or refused. Deadlines are those of the gateway: the writer sets its own in each transaction,
and reads have theirs here.
"""

import asyncio
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
# By the name of the setting. Later versions of PostgreSQL have all of them; one that is missing is left out.
_SESSION = {
    "default_transaction_isolation": "read committed",  # heartbeats and jobs would fail where they meet
    "default_transaction_deferrable": "off",
    "extra_float_digits": "1",  # moments in JSON would lose digits
    "statement_timeout": "0",
    "lock_timeout": "0",
    "transaction_timeout": "0",
    "idle_session_timeout": "0",
    # A start or a move of a ledger holds locks, and ends with its transaction when its process is stopped in it.
    "idle_in_transaction_session_timeout": "60s",
    "TimeZone": "UTC",
    "client_min_messages": "warning",
}
_ADJUST = (
    "select set_config(known.name, given.value, false) from unnest($1::text[], $2::text[]) as given (name, value)"
    " join pg_settings as known on known.name = given.name"
)
_FACTS = (
    "select current_setting('server_version_num')::integer / 10000 as version, pg_is_in_recovery() as is_standby,"
    " current_setting('transaction_read_only') as read_only, current_setting('synchronous_commit') as durability,"
    " current_setting('server_encoding') as encoding,"
    " current_setting('standard_conforming_strings') as strings, current_setting('session_replication_role') as role,"
    " current_schema() as schema"
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

    async def connect(self, **given: Any) -> Connection:
        """A connection; `given` are the arguments of a pool. Raises what asyncpg raises; see `errors.py`.

        One that does not become ready in time is dropped: a cancelled statement waits for the server, perhaps for ever.
        """
        connection = await asyncpg.connect(
            self.url,
            password=None if self.password is None else self.password.reveal(),
            timeout=CONNECT_SECONDS,
            statement_cache_size=_STATEMENTS_MAX,
            max_cached_statement_lifetime=0,
            max_cacheable_statement_size=_STATEMENT_BYTES,
            server_settings={"application_name": "video-gateway"},
            **given,
        )
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await adjust(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection


async def adjust(connection: Connection) -> None:
    """Give a new session the settings that the gateway relies on."""
    await connection.execute(_ADJUST, list(_SESSION), list(_SESSION.values()))


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
    if facts["role"] != "origin":
        raise UnfitServerError("`session_replication_role` turns triggers off; set it to origin for this user")
    if facts["schema"] is None:
        raise UnfitServerError("no schema of `search_path` exists for this user; create one, or change `search_path`")


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
