"""The subcommands of `clients` and `keys`, with their options."""

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import rich_click as click

from gateway.api.clients.views import ClientKeyList, ClientKeyView, ClientView
from gateway.commands.attempts import AdminServer
from gateway.commands.clients import ClientsApi, path_of, run
from gateway.domain.clients import OF_CLIENTS, SCOPES, SIGHTS

F = TypeVar("F", bound=Callable[..., Any])
_LIMITS = ("requests_per_minute", "open_generations", "outputs_per_day")
_BUDGETS = ("day", "month", "total")


def add_to(cli: click.Group, admin_options: Callable[[Any], Any]) -> None:
    """Add both groups to the command line; `admin_options` adds the options for the gateway and the key."""

    @cli.group()
    def clients() -> None:
        """List, make, change and delete the clients of a running gateway."""

    @clients.command("list")
    @admin_options
    def list_clients(**given: Any) -> None:
        """List every client with its limits."""
        _run(given, ClientsApi.clients)

    @clients.command("show")
    @click.argument("name")
    @admin_options
    def show_client(**given: Any) -> None:
        """Show one client."""
        _run(given, lambda api: api.get(given["name"], ClientView))

    @clients.command("create")
    @click.argument("name")
    @_limit_options
    @admin_options
    def create_client(**given: Any) -> None:
        """Make a client. It needs a key then: `video-gateway keys create NAME`."""
        body = {"name": given["name"], **_limits(given)}
        _run(given, lambda api: api.send("POST", path_of("").rstrip("/"), ClientView, body))

    @clients.command("change")
    @click.argument("name")
    @click.option("--no-limit", "removed", multiple=True, type=click.Choice([*_LIMITS, "models", "budgets", "sees"]))
    @_limit_options
    @admin_options
    def change_client(**given: Any) -> None:
        """Change the limits that are given, and no others."""
        body = {**dict.fromkeys(given["removed"]), **_limits(given)}
        _run(given, lambda api: api.send("PATCH", path_of(given["name"]), ClientView, body))

    @clients.command("delete")
    @click.argument("name")
    @admin_options
    def delete_client(**given: Any) -> None:
        """Delete a client and its keys, when it has no open generations."""
        _run(given, lambda api: api.send("DELETE", path_of(given["name"]), dict[str, Any]))

    @cli.group()
    def keys() -> None:
        """List, make and revoke keys of clients."""

    @keys.command("list")
    @click.argument("client")
    @admin_options
    def list_keys(**given: Any) -> None:
        """List the keys of a client that were made at run time."""
        _run(given, lambda api: api.get(given["client"], ClientKeyList, "/keys"))

    @keys.command("create")
    @click.argument("client")
    @click.option("--label", default="", help="What the key is for.")
    @click.option("--scope", "scopes", multiple=True, type=click.Choice(SCOPES), help="Repeatable. [generate, read]")
    @click.option("--expires-at", type=int, metavar="UNIX_SECONDS", help="The end of the key. Default: never.")
    @admin_options
    def create_key(**given: Any) -> None:
        """Make a key and print it. It is shown this once."""
        body = {"label": given["label"], "scopes": given["scopes"] or OF_CLIENTS, "expires_at": given["expires_at"]}
        _run(given, lambda api: api.send("POST", f"{path_of(given['client'])}/keys", ClientKeyView, body))

    @keys.command("revoke")
    @click.argument("client")
    @click.argument("key_id", metavar="ID")
    @admin_options
    def revoke_key(**given: Any) -> None:
        """Revoke a key: it is refused from now on."""
        path = f"{path_of(given['client'])}/keys/{given['key_id']}"
        _run(given, lambda api: api.send("DELETE", path, ClientKeyView))


def _limit_options(command: F) -> F:
    for name in _BUDGETS:
        text = f"USD that the client may spend {'in all' if name == 'total' else f'in a {name}'}. Replaces all budgets."
        command = click.option(f"--budget-{name}", type=click.FloatRange(min=0), help=text)(command)
    for name in _LIMITS:
        command = click.option(f"--{name.replace('_', '-')}", type=click.IntRange(min=1))(command)
    sees = click.option("--sees", multiple=True, type=click.Choice(SIGHTS), help="What it may see; repeatable. [all]")
    models = click.option("--model", "models", multiple=True, help="A model, or a pattern such as keevx/*; repeatable.")
    return models(sees(command))


def _limits(given: dict[str, Any]) -> dict[str, Any]:
    """The members of a body for the options that were given."""
    body = {name: given[name] for name in (*_LIMITS, "models", "sees") if given[name]}
    budgets = {name: given[f"budget_{name}"] for name in _BUDGETS if given[f"budget_{name}"] is not None}
    return {**body, "budgets": budgets} if budgets else body


def _run(given: dict[str, Any], work: Callable[[ClientsApi], Any]) -> None:
    sys.exit(run(AdminServer(url=given["url"], api_key=given["admin_key"]), work, as_json=given["as_json"]))
