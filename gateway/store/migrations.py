"""Numbered schema changes that only go forward, and the rules for applying them."""

from hashlib import sha256
from importlib.resources import files

from msgspec import Struct

from gateway.domain.errors import ConfigurationError


class Migration(Struct, frozen=True):
    """One file `NNN_name.sql`."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text. It is stored when the file is applied, because an applied file must never change."""
        return sha256(self.sql.encode()).hexdigest()


def load(database: str) -> list[Migration]:
    """The migrations of a kind of database, in their order.

    Raises `ConfigurationError` if their numbers have a gap.
    """
    folder = files("gateway.store") / database / "migrations"
    migrations = [
        Migration(int(entry.name.partition("_")[0]), entry.name, entry.read_text())
        for entry in folder.iterdir()
        if entry.name.endswith(".sql")
    ]
    migrations.sort(key=lambda migration: migration.number)
    if [migration.number for migration in migrations] != list(range(1, len(migrations) + 1)):
        raise ConfigurationError(f"the migrations of {database} are not numbered from 1 without a gap")
    return migrations


def pending(shipped: list[Migration], applied: dict[int, str]) -> list[Migration]:
    """The migrations still to apply. `applied` has the checksums of the applied ones, by number.

    Raises `ConfigurationError` if the database is newer than the program, or an applied migration was changed.
    """
    newest = max(applied, default=0)
    if newest > len(shipped):
        raise ConfigurationError(
            f"database.url: the database has schema {newest}, this program knows {len(shipped)}; run the newer program"
        )
    for migration in shipped:
        if applied.get(migration.number, migration.checksum) != migration.checksum:
            raise ConfigurationError(
                f"database.url: the migration {migration.name} was applied with another text than this program has;"
                " run an unchanged version of the program"
            )
    return [migration for migration in shipped if migration.number > newest]
