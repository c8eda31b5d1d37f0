"""Numbered, forward-only schema changes, and the rules for applying them."""

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
        """SHA-256 of the text: an applied file must never change."""
        return sha256(self.sql.encode()).hexdigest()


def load(database: str) -> list[Migration]:
    """The migrations of a kind of database, in order, without a gap."""
    folder = files("gateway.store") / database / "migrations"
    found = [
        Migration(int(entry.name.partition("_")[0]), entry.name, entry.read_text())
        for entry in folder.iterdir()
        if entry.name.endswith(".sql")
    ]
    found.sort(key=lambda migration: migration.number)
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise ConfigurationError(f"the migrations of {database} are not numbered from 1 without a gap")
    return found


def pending(known: list[Migration], applied: dict[int, str]) -> list[Migration]:
    """Those still to apply; refuses a database that is newer than the program or was changed by hand."""
    newest = max(applied, default=0)
    if newest > len(known):
        raise ConfigurationError(
            f"database.url: the database has schema {newest}, this program knows {len(known)}; run the newer program"
        )
    for migration in known:
        if applied.get(migration.number, migration.checksum) != migration.checksum:
            raise ConfigurationError(f"database.url: the applied migration {migration.name} is not the one shipped")
    return [migration for migration in known if migration.number > newest]
