"""Numbered schema changes that only go forward, and the rules for applying them.

A program is as new as the newest schema that it knows. A newer program changes the schema while older ones work with
it, if its migrations say that they can. So a file may begin with comments that say more:

- `-- works with programs from schema 3`: programs that know schema 3, 4, … work with the schema that this file makes.
  Without it, only programs that have the file do.
- `-- without a transaction`: each statement is carried out by itself. See `gateway/store/postgres/migrate.py`.
"""

import re
from hashlib import sha256
from importlib.resources import files

from msgspec import Struct

from gateway.domain.errors import ConfigurationError

_WORKS_WITH = re.compile(r"^-- works with programs from schema (\d+)$", re.MULTILINE)
_COMMENT = re.compile(r"^\s*--.*$", re.MULTILINE)


class Migration(Struct, frozen=True):
    """One file `NNN_name.sql`."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text. It is stored when the file is applied, because an applied file must never change."""
        return sha256(self.sql.encode()).hexdigest()

    @property
    def oldest(self) -> int:
        """The schema that a program has to know at least, to work with the schema that this file makes."""
        match = _WORKS_WITH.search(self.sql)
        return self.number if match is None else int(match[1])

    @property
    def is_apart(self) -> bool:
        """Whether each statement is carried out by itself, without a transaction."""
        return "-- without a transaction\n" in self.sql

    @property
    def statements(self) -> list[str]:
        """The statements of a file that has no functions in it."""
        parts = (part.strip() for part in _COMMENT.sub("", self.sql).split(";"))
        return [part for part in parts if part]


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


def pending(shipped: list[Migration], applied: dict[int, str], oldest: int | None = None) -> list[Migration]:
    """The migrations still to apply. `applied` has the checksums of the applied ones, by number.

    `oldest` is the schema that a program has to know at least, to work with this database; None: the newest one. Raises
    `ConfigurationError` if this program knows less than that, or an applied migration was changed.
    """
    newest, program = max(applied, default=0), len(shipped)
    if program < newest and (oldest is None or program < oldest):
        others = "" if oldest in {None, newest} else f", which programs from schema {oldest} on can use"
        raise ConfigurationError(
            f"database.url: the database has schema {newest}{others}, this program knows {program}; run the newer"
            " program"
        )
    for migration in shipped:
        if applied.get(migration.number, migration.checksum) != migration.checksum:
            raise ConfigurationError(
                f"database.url: the migration {migration.name} was applied with another text than this program has;"
                " run an unchanged version of the program"
            )
    return [migration for migration in shipped if migration.number > newest]
