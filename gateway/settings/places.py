"""Where the ledger and the files are, without the secrets that a start needs: for commands that work on files."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from gateway.domain.errors import ConfigurationError
from gateway.settings.environment import fill
from gateway.settings.load import find_file
from gateway.settings.sections import ArtifactSettings, DatabaseSettings
from gateway.settings.toml import InvalidValue, TomlReader, parse, read_file

_OF_PLACE = ("url", "folder")


class Places(NamedTuple):
    """What a command needs to find the files of a gateway."""

    ledger: Path
    artifacts: ArtifactSettings  # without the credentials of a bucket


def places(path: Path | None, environ: Mapping[str, str]) -> Places:
    """Read `[database]` and the places of `[artifacts]` from the configuration. Raises `ConfigurationError`."""
    file = find_file(path, environ)
    tables = {} if file is None else parse(file, read_file(file))
    reader = TomlReader(environ, fill(tables, environ, (), []))
    database, artifacts = tables.get("database", {}), tables.get("artifacts", {})
    if isinstance(database, dict):
        database = {key: value for key, value in database.items() if key in _OF_PLACE}
    if isinstance(artifacts, dict):
        artifacts = {key: value for key, value in artifacts.items() if key in _OF_PLACE}
    with suppress(InvalidValue):
        ledger = reader.table(DatabaseSettings, database, ("database",)).path
        folders = reader.table(ArtifactSettings, artifacts, ("artifacts",))
        if not reader.faults:
            if ledger is None:
                raise ConfigurationError(
                    "database.url: this command works on a file of SQLite; use pg_dump and pg_restore for PostgreSQL"
                )
            return Places(ledger.resolve(), folders)
    raise ConfigurationError(str(reader.faults[0]))
