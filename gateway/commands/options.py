"""Options that several commands have: the URL of the gateway, keys, JSON."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click

from gateway.commands.client import DEFAULT_URL

F = TypeVar("F", bound=Callable[..., Any])
FILE = click.Path(path_type=Path)


def config_option(command: F) -> F:
    """Add `--config`."""
    return click.option("--config", type=FILE, help="Configuration file. [$VIDEO_GATEWAY_CONFIG]")(command)


def key_options(name: str, variable: str, what: str) -> Callable[[F], F]:
    """Add `--NAME-file`; the key comes from this file, else from the variable. `--NAME KEY` is refused.

    Every user of a machine can read the command lines of its processes.
    """

    def read(context: click.Context, param: click.Parameter, path: Path | None) -> str | None:
        if path is None:
            return os.environ.get(variable)
        try:
            return path.read_text("utf-8").strip() or None
        except (OSError, ValueError) as error:
            raise click.BadParameter(f"the file cannot be read: {error}", context, param) from None

    def refuse(_context: click.Context, _param: click.Parameter, value: str | None) -> None:
        if value is not None:
            raise click.UsageError(
                f"--{name} would show the key to everybody who lists the processes of this machine; set the variable"
                f" {variable}, or name a file with --{name}-file."
            )

    def add(command: F) -> F:
        text = f"File that contains {what}. [${variable} contains the key itself]"
        from_file = click.option(f"--{name}-file", name.replace("-", "_"), type=FILE, callback=read, help=text)
        refused = click.option(f"--{name}", "key_in_the_open", hidden=True, expose_value=False, callback=refuse)
        return from_file(refused(command))

    return add


def server_options(default: str | None) -> Callable[[F], F]:
    """Add `--url` and `--api-key-file`."""

    def add(command: F) -> F:
        key = key_options("api-key", "VIDEO_GATEWAY_API_KEY", "the client key")
        text = "URL of a running gateway. [$VIDEO_GATEWAY_URL]"
        url = click.option("--url", envvar="VIDEO_GATEWAY_URL", default=default, show_default=True, help=text)
        return url(key(command))

    return add


def admin_options(command: F) -> F:
    """Add `--url`, `--admin-key-file` and `--json`, for commands of operators alone."""
    key = key_options("admin-key", "VIDEO_GATEWAY_ADMIN_KEY", "the operator's key")
    return url_option(key(_json_option(command)))


def url_option(command: F) -> F:
    """Add `--url`, for commands that need a running gateway."""
    text = "URL of a running gateway. [$VIDEO_GATEWAY_URL]"
    return click.option("--url", envvar="VIDEO_GATEWAY_URL", default=DEFAULT_URL, show_default=True, help=text)(command)


def either_key_options(command: F) -> F:
    """Add `--url`, `--admin-key-file`, `--api-key-file` and `--json`. With an operator's key all clients are seen."""
    admin_key = key_options("admin-key", "VIDEO_GATEWAY_ADMIN_KEY", "the operator's key, which counts before the other")
    api_key = key_options("api-key", "VIDEO_GATEWAY_API_KEY", "the client key")
    return url_option(admin_key(api_key(_json_option(command))))


def _json_option(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")(command)
