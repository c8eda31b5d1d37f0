"""The command line: `video-gateway COMMAND`. Each command is a module of `gateway.commands`."""

import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import rich_click as click
from click.core import ParameterSource

from gateway import collector
from gateway.commands import client_options
from gateway.commands.attempts import AdminServer
from gateway.commands.attempts import attempts as run_attempts
from gateway.commands.attempts import change as run_change
from gateway.commands.client import DEFAULT_URL
from gateway.commands.generate import GIVE_UP_SECONDS, Following, Server, body_of
from gateway.commands.generate import generate as run_generate
from gateway.commands.generate import watch as run_watch
from gateway.commands.leaving import leave
from gateway.commands.ledger_cli import LEDGER
from gateway.commands.options import FILE, F, admin_options, config_option, key_options, server_options
from gateway.commands.terminal import warn
from gateway.commands.work_cli import WORK
from gateway.domain.errors import ConfigurationError
from gateway.sandbox.media import missing

PORT = click.IntRange(0, 65_535)


class Json(click.ParamType[Any]):
    """An option whose value is JSON of a given type."""

    name = "JSON"

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The decoded value. Raises a usage error if it is not JSON of the type."""
        if not isinstance(value, str):
            return value
        try:
            return msgspec.json.decode(value, type=self._kind)
        except msgspec.DecodeError as error:
            self.fail(f"JSON: {error}", param, ctx)


_WORD = re.compile(r"(?!(?:true|false|null)$)[A-Za-z][\w-]*")  # a text that is accepted without quotes


class Pair(click.ParamType[tuple[str, str]]):
    """An option in the form `NAME=VALUE`."""

    name = "NAME=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """The texts before and after the first equals sign."""
        name, equals, rest = value.partition("=")
        if not name or not equals:
            self.fail(f"{value!r} is not NAME=VALUE", param, ctx)
        return name, rest


def follow_options(command: F) -> F:
    """Add `--json` and `--give-up-after`."""
    as_json = click.option(
        "--json", "as_json", is_flag=True, help="Print the generation as JSON; progress goes to standard error."
    )
    give_up = click.option(
        "--give-up-after",
        "give_up_seconds",
        type=click.FloatRange(min=0),
        default=GIVE_UP_SECONDS,
        show_default=True,
        metavar="SECONDS",
        help="Stop watching after this time without any answer from the gateway.",
    )
    return as_json(give_up(command))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("video-gateway"), prog_name="video-gateway")
def cli() -> None:
    """One API in front of many video generation providers."""


@cli.command()
@config_option
@click.option("--host", help="Address to listen on; overrides server.host.")
@click.option("--port", type=PORT, help="Port to listen on, 0 for any free one; overrides server.port.")
@click.option(
    "--accept-clock", is_flag=True, help="Start although the system clock is far from the newest time in the ledger."
)
@click.option(
    "--restored",
    "said",
    flag_value="restored",
    help="The ledger is an older copy: buy nothing for its open generations until they are released.",
)
@click.option(
    "--moved",
    "said",
    flag_value="moved",
    help="The ledger was moved here after the gateway had stopped: it is the newest one, although its marker is not.",
)
def serve(**given: Any) -> None:
    """Run the gateway until SIGTERM or Ctrl-C, then wait for running submits. A second signal ends it at once."""
    collector.suspend()  # it resumes when the start is over; until then a fifth of the start was its work
    from gateway.commands.serve import serve as run

    sys.exit(run(given["config"], given["host"], given["port"], accept_clock=given["accept_clock"], said=given["said"]))


@cli.command()
@click.option("--image", type=FILE, help="Image file for the first frame. Default: an example image of the repository.")
@click.option("--prompt", default="The waves roll in, the camera moves slowly closer", show_default=True)
@click.option("--model", default="auto", show_default=True)
@click.option("--serve", "stay", is_flag=True, help="Keep the servers running until Ctrl-C.")
@click.option("--port", type=PORT, default=0, help="Port of the gateway. 0: any free one.")
@click.option("--output", type=FILE, default=Path("demo-output"), show_default=True, help="Folder for the files.")
def demo(**given: Any) -> None:
    """Make a video from an image through the sandbox: no key, no network, no cost."""
    if (reason := missing()) is not None:
        warn(reason)
        sys.exit(2)
    from gateway.commands.demo import demo as run

    sys.exit(
        run(given["image"], given["prompt"], given["model"], given["output"], port=given["port"], stay=given["stay"])
    )


@cli.command()
@click.argument("prompt")
@click.option("--model", required=True, help="See `video-gateway models --url URL`.")
@click.option("--kind", type=click.Choice(["video", "image"]), default="video", show_default=True, help="What to make.")
@click.option("--image", metavar="PATH|URL", help="First frame.")
@click.option("--last-image", metavar="PATH|URL", help="Last frame.")
@click.option("--reference", "reference_images", multiple=True, metavar="PATH|URL", help="Reference image; repeatable.")
@click.option("--duration", type=int, help="Length of the video in seconds.")
@click.option("--resolution", help="720p, 1080p or 4k.")
@click.option("--quality", help="Of an image: 1K, 2K or 4K.")
@click.option("--output-format", help="Of an image: png, jpeg or webp.")
@click.option("--aspect-ratio", help="For example 16:9.")
@click.option("--size", help="WIDTHxHEIGHT: the aspect ratio, and the resolution or quality.")
@click.option("--n", type=int, help="How many to make.")
@click.option("--audio/--no-audio", "generate_audio", default=None, help="With sound, or without.")
@click.option("--negative-prompt", help="What must not be shown.")
@click.option("--seed", type=int, help="The same seed makes a similar result again, with models that have it.")
@click.option("--fps", type=int, help="Frames in a second, with models that can choose.")
@click.option("--cfg-scale", type=float, help="How closely the video follows the prompt.")
@click.option("--mode", help="A provider's quality mode: std or pro.")
@click.option("--provider-options", type=Json(dict[str, dict[str, Any]]), help='{"PROVIDER": {"OPTION": …}}')
@click.option("--adapt", is_flag=True, help="Let a route use the nearest value that it supports.")
@click.option("--no-fallback", "fallback", flag_value=False, default=None, help="Try the first route alone.")
@click.option("--max-cost", type=float, help="USD; routes above it are left out.")
@click.option("--deadline", "deadline_seconds", type=int, help="Seconds after which it expires without a result.")
@click.option("--webhook-url", help="The URL that gets the event of the end.")
@click.option("--metadata", multiple=True, type=Pair(), help="Stored with the generation; repeatable.")
@click.option("--output", type=FILE, help="File or folder for the results. Default: the working directory.")
@click.option("--no-wait", is_flag=True, help="Print the id and exit without waiting.")
@follow_options
@server_options(DEFAULT_URL)
def generate(url: str, api_key: str | None, **given: Any) -> None:
    """Make a video, or with `--kind image` an image, from PROMPT and download its files.

    Exits with 0 when the generation is completed, 1 when it ended without a result, 2 when the gateway refused it or
    was never reached, 3 when the gateway stopped answering, 130 after Ctrl-C. The last two stop only the watching: the
    generation goes on.
    """
    no_wait, output, kind = given.pop("no_wait"), given.pop("output") or Path(), given.pop("kind")
    following = Following(output=output, as_json=given.pop("as_json"), give_up_seconds=given.pop("give_up_seconds"))
    server = Server(url=url, api_key=api_key)
    sys.exit(run_generate(body_of(given), server, following, wait=not no_wait, kind=kind))


@cli.command()
@click.argument("generation", metavar="ID")
@click.option("--output", type=FILE, help="Download the results to this file or folder. Default: print their URLs.")
@follow_options
@server_options(DEFAULT_URL)
def watch(url: str, api_key: str | None, **given: Any) -> None:
    """Follow a generation to its end, also while the gateway restarts. Exits as `generate` does."""
    following = Following(**{name: given[name] for name in ("output", "as_json", "give_up_seconds")})
    sys.exit(run_watch(given["generation"], Server(url=url, api_key=api_key), following))


@cli.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the models as JSON.")
@config_option
@server_options(None)
def models(url: str | None, api_key: str | None, **given: Any) -> None:
    """Show all models, or the one named NAME: of a running gateway with --url, else of the configuration."""
    server = None if url is None or given["config"] is not None else Server(url=url, api_key=api_key)
    from gateway.commands.models import models as run

    sys.exit(run(given["name"], server, given["config"], as_json=given["as_json"]))


@cli.group(invoke_without_command=True)
@click.option("--state", type=click.Choice(["held", "unknown"]), default="held", show_default=True)
@admin_options
@click.pass_context
def attempts(context: click.Context, /, **given: Any) -> None:
    """List the submits without a clear answer: those that wait for a decision, or all. Subcommands decide about one."""
    if context.invoked_subcommand is None:
        server = AdminServer(url=given["url"], api_key=given["admin_key"])
        sys.exit(run_attempts(given["state"], server, as_json=given["as_json"]))
    if any(context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in given):
        raise click.UsageError(f"put options after the subcommand: attempts {context.invoked_subcommand} ID …")


@attempts.command()
@click.argument("attempt", metavar="ID")
@click.argument("task_ids", metavar="TASK_ID...", nargs=-1, required=True)
@admin_options
def attach(**given: Any) -> None:
    """Attach the task that the submit started, by the id that the provider shows. It is followed; nothing is bought."""
    _change("attach", given, {"task_ids": list(given["task_ids"])})


@attempts.command()
@click.argument("attempt", metavar="ID")
@admin_options
def fail(**given: Any) -> None:
    """Let the outputs of a held attempt fail."""
    _change("fail", given, {})


@attempts.command()
@click.argument("attempt", metavar="ID")
@admin_options
def resubmit(**given: Any) -> None:
    """Send a held attempt again, after a quarantine in which its task may still appear. You may pay for it twice."""
    _change("resubmit", given, {})


def _change(action: str, given: dict[str, Any], body: dict[str, Any]) -> None:
    server = AdminServer(url=given["url"], api_key=given["admin_key"])
    sys.exit(run_change(given["attempt"], action, body, server, as_json=given["as_json"]))


client_options.add_to(cli, admin_options)


@cli.command()
@admin_options
def reload(**given: Any) -> None:
    """Let a running gateway read its configuration again, and show which keys have changed.

    Exits with 2 if the configuration has faults; then all of them are shown, and nothing has changed.
    """
    from gateway.commands.reload import reload as run

    sys.exit(run(AdminServer(url=given["url"], api_key=given["admin_key"]), as_json=given["as_json"]))


@cli.command()
@click.option("--from", "from_", metavar="DAY", help="First day in UTC, such as 2026-05-17. Default: 30 days.")
@click.option("--to", metavar="DAY", help="Last day in UTC. Default: today.")
@click.option("--model", help="Only this model.")
@click.option("--provider", help="Only this provider.")
@click.option("--client", help="Only this client: its name, or the id of a key; needs the operator's key.")
@click.option("--group-by", help="One or more of day, client, model, provider, separated by commas. Default: day.")
@click.option("--json", "shown", flag_value="json", help="Print the answer as JSON.")
@click.option("--csv", "shown", flag_value="csv", help="Print the answer as CSV.")
@key_options("admin-key", "VIDEO_GATEWAY_ADMIN_KEY", "the operator's key; with it the usage of all clients is shown")
@server_options(DEFAULT_URL)
def usage(url: str, api_key: str | None, admin_key: str | None, shown: str | None, **given: str | None) -> None:
    """Show what was made and bought: by all clients with the operator's key, else by the client itself."""
    from gateway.commands.usage import UsageServer
    from gateway.commands.usage import usage as run

    query = {name.rstrip("_"): value for name, value in given.items() if value is not None}
    server = UsageServer(url=url, api_key=api_key, admin_key=admin_key)
    sys.exit(run(server, query, shown or "text"))  # type: ignore[arg-type]  # one of the three


@cli.command()
@config_option
@click.option(
    "--connect",
    is_flag=True,
    help="Test the key of each provider with a read that costs nothing, and say what that proves. Try the bucket, too.",
)
def check(**given: Any) -> None:
    """Show what the configuration results in, and every error in it. Nothing is sent unless asked, nothing is bought.

    Exits with 0 when the gateway would start, 1 when it would start but cannot reach a provider or the bucket, or a
    provider refuses its key, 2 when it would not start. An answer that proves nothing about a key changes no exit code.
    """
    from gateway.commands.check import check as run

    sys.exit(run(given["config"], connect=given["connect"]))


@cli.command()
@click.option("--output", type=FILE, help="Write it to this file.")
@click.option("--check", type=FILE, help="Compare it with this file; exit with 1 if they differ.")
def openapi(**given: Any) -> None:
    """Print the OpenAPI document."""
    from gateway.commands.openapi import openapi as run

    sys.exit(run(given["output"], given["check"]))


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=PORT, default=9000, show_default=True)
@click.option("--journal", type=FILE, help="Append submits, tasks, polls and callbacks to this file, as lines of JSON.")
@click.option("--set", "changes", multiple=True, type=Pair(), help="A setting of the sandbox; VALUE is JSON or a word.")
def sandbox(host: str, port: int, journal: Path | None, changes: tuple[tuple[str, str], ...]) -> None:
    """Imitate the providers on this machine, to try a gateway without keys and costs."""
    read = Json(Any).convert
    values = {name: value if _WORD.fullmatch(value) else read(value, None, None) for name, value in changes}
    from gateway.commands.sandbox import sandbox as run

    sys.exit(run(host, port, journal, values))


for command in (*WORK, *LEDGER):
    cli.add_command(command)


def main() -> None:
    """Run the command line. A wrong configuration prints one line for each fault and exits with 2."""
    try:
        cli(prog_name="video-gateway")
    except ConfigurationError as error:
        for fault in error.args:
            warn(fault)
        sys.exit(2)


def program() -> None:
    """Run the command line as a program of its own, which ends with its exit code and nothing else."""
    try:
        main()
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise  # Python prints the text
        leave(end.code or 0)
