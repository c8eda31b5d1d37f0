"""The settings of a command: from the file and the environment, overridden by options of the command line."""

import os
from pathlib import Path

from gateway.configuration.bound import Source, settings_of
from gateway.settings.load import Settings
from gateway.upstream.registry import load_adapters


def configured(file: Path | None, *, host: str | None = None, port: int | None = None) -> tuple[Settings, Source]:
    """The settings, and where they are from. Raises `ConfigurationError` with every fault, each with its path."""
    source = Source(path=file, environ=os.environ, adapters=load_adapters(), host=host, port=port)
    return settings_of(source.read(), source.adapters), source
