"""The command line of `restored`, `backup`, `restore` and `migrate`."""

import sys
from typing import Any

import rich_click as click
from click.core import ParameterSource

from gateway.commands.attempts import AdminServer
from gateway.commands.options import FILE, admin_options, config_option, key_options


@click.group(invoke_without_command=True)
@admin_options
@click.pass_context
def restored(context: click.Context, /, **given: Any) -> None:
    """List the generations for which nothing is bought, because an older ledger was restored. Subcommands decide."""
    if context.invoked_subcommand is None:
        from gateway.commands.restored import restored as run

        server = AdminServer(url=given["url"], api_key=given["admin_key"])
        sys.exit(run(server, as_json=given["as_json"]))
    if any(context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in given):
        raise click.UsageError(f"put options after the subcommand: restored {context.invoked_subcommand} …")


@restored.command()
@click.argument("generation", metavar="ID", required=False)
@click.option("--all", "everything", is_flag=True, help="Release every held generation.")
@admin_options
def release(**given: Any) -> None:
    """Let a held generation buy again, or all. What the lost ledger has bought for it may be paid for twice."""
    if (given["generation"] is None) is not given["everything"]:
        raise click.UsageError("name one generation, or say --all")
    _decide("release", given)


@restored.command("fail")
@click.argument("generation", metavar="ID")
@admin_options
def fail_restored(**given: Any) -> None:
    """End a held generation as failed."""
    _decide("fail", given)


def _decide(action: str, given: dict[str, Any]) -> None:
    from gateway.commands.restored import decide as run

    server = AdminServer(url=given["url"], api_key=given["admin_key"])
    sys.exit(run(given["generation"], action, server, as_json=given["as_json"]))


@click.command()
@click.argument("to", type=FILE)
@click.option("--files", "with_files", is_flag=True, help="Copy the files of results and inputs, too.")
@config_option
def backup(**given: Any) -> None:
    """Copy the ledger into the new folder TO, also while the gateway runs. TO has a list of the ledger's files."""
    from gateway.commands.backup import backup as run

    sys.exit(run(given["to"], given["config"], with_files=given["with_files"]))


@click.command()
@click.argument("source", metavar="FROM", type=FILE)
@click.option("--replace", is_flag=True, help="Put the ledger that is there aside, under another name.")
@config_option
def restore(**given: Any) -> None:
    """Put the backup FROM in the place of the ledger. The gateway must not run; its next start buys nothing again."""
    from gateway.commands.restore import restore as run

    sys.exit(run(given["source"], given["config"], replace=given["replace"]))


@click.command()
@click.option("--from", "source", metavar="URL", required=True, help="The ledger: sqlite:///PATH.")
@click.option("--to", "target", metavar="URL", required=True, help="An empty database: postgresql://USER@HOST/NAME.")
@key_options("password", "VIDEO_GATEWAY_DATABASE_PASSWORD", "the password of the user of PostgreSQL")
def migrate(**given: Any) -> None:
    """Move the ledger from SQLite to PostgreSQL, all of it or nothing. The gateway must not run."""
    from gateway.commands.migrate import migrate as run

    sys.exit(run(given["source"], given["target"], given["password"]))


LEDGER = (restored, backup, restore, migrate)
