"""Which keys of the configuration differ, and which of them only a new start of the process can change."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from gateway.settings.load import Settings
from gateway.settings.tables import Sections
from gateway.settings.toml import KeyPath, Secret, show_path

# What a process has built on, such as its sockets and its ledger. `*` is any name, and every key below is meant too.
RESTART = frozenset(
    {
        "server.host",
        "server.port",
        "server.public_url",
        "server.auth",
        "server.max_bodies_bytes",
        "server.max_connections",
        "server.max_connections_per_address",
        "server.max_long_polls",
        "server.max_listeners",
        "server.max_downloads",
        "server.log_format",
        "database.url",
        "database.password",
        "artifacts.url",
        "artifacts.folder",
        "artifacts.endpoint",
        "artifacts.region",
        "artifacts.access_key_id",
        "artifacts.secret_access_key",
        "providers.*.adapter",  # the tasks of the account are read with it
        "metrics.host",
        "metrics.port",
        "tracing.endpoint",
        "tracing.headers",
        "tracing.sample_ratio",
        "tracing.service_name",
    }
)
_ABSENT = object()
_SECTIONS = Sections.__struct_fields__


def changed_keys(old: Settings, new: Settings) -> tuple[str, ...]:
    """The paths of all keys that differ, in order, such as `server.api_keys`. A table that was added is one path."""
    pairs = (_changes(getattr(old, name), getattr(new, name), (name,)) for name in _SECTIONS)
    return tuple(show_path(path) for paths in pairs for path in paths)


def needs_restart(path: str) -> bool:
    """Whether only a new start can change this key."""
    return any(_pattern(key).fullmatch(path) for key in RESTART)


def _pattern(key: str) -> re.Pattern[str]:
    return re.compile(re.escape(key).replace(r"\*", r'(?:[A-Za-z0-9_-]+|"[^"]*")') + r"(?:[.\[].*)?")


def _changes(old: Any, new: Any, path: KeyPath) -> Iterator[KeyPath]:
    match old, new:
        case Struct(), Struct() if type(old) is type(new) and not isinstance(old, Secret):
            for name in old.__struct_fields__:
                yield from _changes(getattr(old, name), getattr(new, name), (*path, name))
        case Mapping(), Mapping():
            for key in dict.fromkeys([*old, *new]):
                yield from _changes(old.get(key, _ABSENT), new.get(key, _ABSENT), (*path, key))
        case _:
            if old != new:
                yield path
