"""Reading a configuration on after its first error, so that the errors of one table do not hide those of another."""

import json
import os
import re
import tempfile
import tomllib
from collections.abc import Collection, Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from msgspec import Struct

from gateway.domain.errors import ConfigurationError
from gateway.settings.load import CONFIG_FILE, CONFIG_VARIABLE, Settings, load

_TABLE = re.compile(r'(providers|models)\.(?:("(?:[^"\\]|\\.)*")|([A-Za-z0-9_-]+))')


class Fault(Struct, frozen=True):
    """An error that stops a start."""

    told: str
    section: str = ""  # "providers" or "models", with the name of the table that it stands in; else nothing
    name: str = ""


def file_of(config: Path | None) -> Path | None:
    """The file that a start would read."""
    if config is not None:
        return config
    if named := os.environ.get(CONFIG_VARIABLE):
        return Path(named)
    return Path(CONFIG_FILE) if Path(CONFIG_FILE).exists() else None


def load_leniently(config: Path | None, providers: Collection[str]) -> tuple[Settings | None, list[Fault]]:
    """The settings without the tables that are wrong, and what is wrong; None when it is not one of those tables."""
    environ = dict(os.environ)
    faults: list[Fault] = []
    tables: dict[str, Any] | None = None
    file = config
    with tempfile.TemporaryDirectory() as folder:
        while True:
            try:
                return load(file, environ, providers), faults
            except ConfigurationError as error:
                fault = _fault(str(error))
            known = [(one.section, one.name) for one in faults]
            faults.append(fault)
            if not fault.section or (fault.section, fault.name) in known:
                return None, faults
            if tables is None:
                source = file_of(config)
                tables = {} if source is None else tomllib.loads(source.read_bytes().decode("utf-8-sig"))
            tables.get(fault.section, {}).pop(fault.name, None)
            if fault.section == "providers":
                prefix = re.sub(r"\W", "_", fault.name).upper()
                environ = {
                    name: environ[name] for name in environ if name not in {f"{prefix}_API_KEY", f"{prefix}_BASE_URL"}
                }
            file = Path(folder, "rest.toml")
            file.write_text("".join(f"{_toml(key)} = {_toml(value)}\n" for key, value in tables.items()), "utf-8")


def _fault(told: str) -> Fault:
    found = _TABLE.match(told)
    if found is None:
        return Fault(told)
    return Fault(told, section=found[1], name=json.loads(found[2]) if found[2] else found[3])


def _toml(value: object) -> str:
    """A value in TOML, on one line."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case Mapping():
            return "{" + ", ".join(f"{_toml(key)} = {_toml(inner)}" for key, inner in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case datetime() | date() | time():
            return value.isoformat()
        case _:
            return repr(value)
