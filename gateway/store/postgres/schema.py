"""Which schema a PostgreSQL database has, and whether this program can work with it."""

from msgspec import Struct

from gateway.store import migrations
from gateway.store.postgres.server import Connection

# Written so that it works whether the column `oldest` is there or not: the first programs did not make it.
OLDEST = (
    "select coalesce(max(coalesce(cast(to_jsonb(m) ->> 'oldest' as bigint), number)), 0) from schema_migrations as m"
)
_APPLIED = "select number, checksum from schema_migrations"


class Applied(Struct, frozen=True, kw_only=True):
    """The migrations that were applied to a database, perhaps by a newer program."""

    checksums: dict[int, str]  # by their numbers
    oldest: int  # the schema that a program has to know at least, to work with the database

    @property
    def newest(self) -> int:
        """The number of the newest one; 0: none."""
        return max(self.checksums, default=0)

    @property
    def is_newer(self) -> bool:
        """Whether the database is newer than this program."""
        return self.newest > program_schema()

    def pending(self) -> list[migrations.Migration]:
        """The migrations still to apply. Raises `ConfigurationError` if this program cannot work with the database."""
        return migrations.pending(migrations.load("postgres"), self.checksums, self.oldest)


async def read_applied(connection: Connection) -> Applied:
    """What was applied to a database with the table `schema_migrations`."""
    return Applied(checksums=dict(await connection.fetch(_APPLIED)), oldest=int(await connection.fetchval(OLDEST)))


def program_schema() -> int:
    """The newest schema that this program knows."""
    return len(migrations.load("postgres"))
