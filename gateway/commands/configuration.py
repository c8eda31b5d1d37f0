"""The settings of a command: from the file and the environment, overridden by options of the command line."""

import os
from collections.abc import Mapping
from pathlib import Path

from msgspec import structs

from gateway.domain.adapter.contract import Adapter
from gateway.domain.errors import ConfigurationError
from gateway.domain.keyless_access import is_loopback
from gateway.settings.load import Settings, load
from gateway.upstream.registry import load_adapters


def configured(
    file: Path | None, *, host: str | None = None, port: int | None = None
) -> tuple[Settings, Mapping[str, Adapter]]:
    """The settings and the installed adapters. Raises `ConfigurationError`, which names the wrong key."""
    adapters = load_adapters()
    settings = load(file, os.environ, adapters)
    server = settings.server
    if host is not None:
        if server.auth == "none" and not is_loopback(host):
            raise ConfigurationError(
                f'server.auth: "none" is allowed on a loopback host only, and --host is {host}; '
                "set server.api_keys or VIDEO_GATEWAY_API_KEY"
            )
        server = structs.replace(server, host=host)
    if port is not None:
        server = structs.replace(server, port=port)
    return structs.replace(settings, server=server), adapters
