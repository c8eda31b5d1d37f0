"""`reload`: lets a running gateway read its configuration again."""

import msgspec
import rich_click as click
from msgspec import Struct

from gateway.commands.attempts import AdminServer
from gateway.commands.client import Refused, Unreachable
from gateway.commands.terminal import say, warn

_PATH = "/v1/admin/configuration/reload"


class _Reloaded(Struct, frozen=True):
    generation: int
    changed: tuple[str, ...]


def reload(server: AdminServer, *, as_json: bool) -> int:
    """Reload, and print one line for each key that changed. Returns the exit code: 2 if it was refused."""
    client = server.client()
    try:
        answer = client.post(_PATH)
        reloaded = msgspec.json.decode(answer, type=_Reloaded)
    except (Refused, Unreachable, msgspec.DecodeError) as error:
        if "\n" not in str(error):
            return server.failed(error)
        for line in str(error).splitlines():
            warn(line)
        return 2
    finally:
        client.close()
    if as_json:
        click.echo(answer.decode())
        return 0
    for path in reloaded.changed:
        say(path)
    what = f"{len(reloaded.changed)} changed" if reloaded.changed else "nothing has changed"
    warn(f"generation {reloaded.generation} of the configuration: {what}")
    return 0
