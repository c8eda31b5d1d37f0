"""The command line of `list`, `get`, `cancel`, `providers` and `deliveries`."""

import sys
from datetime import UTC, datetime
from typing import Any

import rich_click as click
from click.core import ParameterSource

from gateway.commands.options import admin_options, either_key_options
from gateway.commands.work import (
    WorkServer,
    change_provider,
    list_deliveries,
    list_generations,
    list_providers,
    show_delivery,
    show_generation,
)

_MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"])
_LIMIT = click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many.")
_AFTER = click.option("--after", metavar="ID", help="Go on after this entry of a list before.")
_OF_OPERATORS = ("client", "failure_kind", "fallback", "billed")
_STATUSES = ("queued", "in_progress", "completed", "failed", "cancelled", "expired")


@click.command("list")
@click.option("--status", type=click.Choice(_STATUSES))
@click.option("--kind", type=click.Choice(["video", "image"]), help="Default: both.")
@click.option("--model", help="As the request named it.")
@click.option("--provider", help="That made the result, or has accepted the work.")
@click.option("--created-after", type=_MOMENT, help="UTC.")
@click.option("--created-before", type=_MOMENT, help="UTC.")
@click.option("--client", help="Operators: its name, or the id of a key.")
@click.option("--failure-kind", help="Operators: why it failed, for example out_of_credit.")
@click.option("--fallback", is_flag=True, help="Operators: only those for which several routes were tried.")
@click.option("--billed", type=click.Choice(["maybe"]), help="Operators: only those that may be billed.")
@_LIMIT
@_AFTER
@either_key_options
def list_command(**given: Any) -> None:
    """List generations, the newest first: those of all clients with an operator's key, else your own.

    Exits with 0, or with 2 when the gateway refused it or was not reached.
    """
    server, as_json, limit = _server(given), given.pop("as_json"), given.pop("limit")
    params = {name: _value(value) for name, value in given.items() if value is not None and value is not False}
    sys.exit(list_generations(params, limit, server, as_json=as_json))


@click.command("get")
@click.argument("generation", metavar="ID")
@either_key_options
def get_command(**given: Any) -> None:
    """Show one generation: with an operator's key of any client, with everything that is stored of it."""
    sys.exit(show_generation(given["generation"], "", _server(given), as_json=given["as_json"]))


@click.command("cancel")
@click.argument("generation", metavar="ID")
@either_key_options
def cancel_command(**given: Any) -> None:
    """Cancel one generation, and show it as it is then. What a provider has started may still be billed."""
    sys.exit(show_generation(given["generation"], "/cancel", _server(given), as_json=given["as_json"]))


@click.group("providers", invoke_without_command=True)
@admin_options
@click.pass_context
def providers_command(context: click.Context, /, **given: Any) -> None:
    """Show how each provider works: holds, circuits, limits, speed. Subcommands change one."""
    _or_subcommand(context, given)
    if context.invoked_subcommand is None:
        sys.exit(list_providers(_operator(given), as_json=given["as_json"]))


@providers_command.command()
@click.argument("name")
@click.option("--by", help="Who holds it; shown to operators.")
@click.option("--note", help="Why it is held; shown to operators.")
@admin_options
def hold(**given: Any) -> None:
    """Send no new work to a provider, across restarts, until it is released. Its tasks are followed to their end."""
    _change(given, "hold", {name: given[name] for name in ("by", "note") if given[name] is not None})


@providers_command.command()
@click.argument("name")
@admin_options
def release(**given: Any) -> None:
    """Send new work to a held provider again. What waits for it goes on at once."""
    _change(given, "release", {})


@providers_command.command()
@click.argument("name")
@click.option("--model", help="Only this one, by the provider's own name.")
@admin_options
def reset(**given: Any) -> None:
    """Close the circuits of a provider, so that its routes get work at once."""
    _change(given, "reset", {} if given["model"] is None else {"model": given["model"]})


@click.group("deliveries", invoke_without_command=True)
@click.option("--state", type=click.Choice(["pending", "succeeded", "dead"]))
@click.option("--endpoint", metavar="ID")
@click.option("--generation", metavar="ID")
@click.option("--client", help="Operators: its name, or the id of a key.")
@_LIMIT
@_AFTER
@either_key_options
@click.pass_context
def deliveries_command(context: click.Context, /, **given: Any) -> None:
    """List webhook deliveries, the newest first. Subcommands show one, or send it again."""
    _or_subcommand(context, given)
    if context.invoked_subcommand is None:
        server, as_json, limit = _server(given), given.pop("as_json"), given.pop("limit")
        params = {name: value for name, value in given.items() if value is not None}
        sys.exit(list_deliveries(params, limit, server, as_json=as_json))


@deliveries_command.command("get")
@click.argument("delivery", metavar="ID")
@either_key_options
def get_delivery(**given: Any) -> None:
    """Show one delivery with its newest try; with --json with all tries."""
    sys.exit(show_delivery(given["delivery"], "", _server(given), as_json=given["as_json"]))


@deliveries_command.command()
@click.argument("delivery", metavar="ID")
@either_key_options
def retry(**given: Any) -> None:
    """Send one delivery now, also one that was received or given up."""
    sys.exit(show_delivery(given["delivery"], "/redeliver", _server(given), as_json=given["as_json"]))


WORK = (list_command, get_command, cancel_command, providers_command, deliveries_command)


def _server(given: dict[str, Any]) -> WorkServer:
    """The gateway and the key. An option that only operators have, with a client's key, is a usage error."""
    admin_key, api_key = given.pop("admin_key"), given.pop("api_key")
    restricted = [name for name in _OF_OPERATORS if given.get(name) not in {None, False}]
    if restricted and api_key and not admin_key:
        option = f"--{restricted[0].replace('_', '-')}"
        raise click.UsageError(f"{option} needs an operator's key: --admin-key-file or VIDEO_GATEWAY_ADMIN_KEY")
    return WorkServer(url=given.pop("url"), admin_key=admin_key, api_key=api_key, as_operator=bool(restricted))


def _operator(given: dict[str, Any]) -> WorkServer:
    return WorkServer(url=given["url"], admin_key=given["admin_key"], as_operator=True)


def _change(given: dict[str, Any], action: str, body: dict[str, Any]) -> None:
    sys.exit(change_provider(given["name"], action, body, _operator(given), as_json=given["as_json"]))


def _or_subcommand(context: click.Context, given: dict[str, Any]) -> None:
    """Refuse options of a group before its subcommand, which would not see them."""
    if context.invoked_subcommand is None:
        return
    if any(context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in given):
        name = f"{context.info_name} {context.invoked_subcommand}"
        raise click.UsageError(f"put options after the subcommand: {name} ID …")


def _value(value: Any) -> Any:
    """A value as the API takes it."""
    if isinstance(value, datetime):
        return int(value.replace(tzinfo=UTC).timestamp())
    return "true" if value is True else value
