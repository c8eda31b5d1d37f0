"""`restored`: lists what a restored ledger of a running gateway does not buy, and sends an operator's decision."""

import sys
from collections.abc import Iterable
from urllib.parse import quote

import msgspec
import rich_click as click
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from gateway.api.restored.views import Released, RestoredGeneration, RestoredGenerationList
from gateway.commands.attempts import AdminClient, AdminServer, state_of
from gateway.commands.client import Refused, Unreachable
from gateway.commands.terminal import plain, say, warn

_PATH = "/v1/admin/restored"
_PAGE = 100


def restored(server: AdminServer, *, as_json: bool) -> int:
    """Print the generations that buy nothing since a restore. Returns the exit code."""
    client = server.client()
    try:
        held = _all(client)
    except (Refused, Unreachable, msgspec.DecodeError) as error:
        return server.failed(error)
    finally:
        client.close()
    if as_json:
        _print_json(RestoredGenerationList(data=tuple(held), has_more=False))
    elif not held:
        warn("no generation is held since a restore")
    elif sys.stdout.isatty():
        Console().print(_table(held))
    else:
        for generation in held:
            say(line(generation))
    return 0


def decide(generation_id: str | None, action: str, server: AdminServer, *, as_json: bool) -> int:
    """Release or fail one generation, or release all (`None`), and print what came of it. Returns the exit code."""
    client = server.client()
    path = f"{_PATH}/{action}" if generation_id is None else f"{_PATH}/{quote(generation_id, safe='')}/{action}"
    answer: Released | RestoredGeneration
    try:
        body = client.send_once(path, {})
        if generation_id is None:
            answer = msgspec.json.decode(body, type=Released)
        else:
            answer = msgspec.json.decode(body, type=RestoredGeneration)
    except (Refused, Unreachable, msgspec.DecodeError) as error:
        return server.failed(error)
    finally:
        client.close()
    if as_json:
        _print_json(answer)
    else:
        say(f"{answer.released} generation(s) released" if isinstance(answer, Released) else line(answer))
    return 0


def line(held: RestoredGeneration) -> str:
    """A generation on one line, with the states of its attempts."""
    state = "held" if held.restored_at is not None else "released"
    shown = held.status.value if held.status.terminal else state
    return f"{held.id} {held.model} {shown}; {_attempts(held)}"


def _attempts(held: RestoredGeneration) -> str:
    texts = [f"{attempt.id} {attempt.provider}: {state_of(attempt)}" for attempt in held.attempts]
    return ", ".join(texts) or "no attempt is stored"


def _all(client: AdminClient) -> list[RestoredGeneration]:
    held: list[RestoredGeneration] = []
    while True:
        after = f"&after={held[-1].id}" if held else ""
        page = msgspec.json.decode(client.raw(f"{_PATH}?limit={_PAGE}{after}"), type=RestoredGenerationList)
        held += page.data
        if not (page.has_more and page.data):
            return held


def _table(held: Iterable[RestoredGeneration]) -> Table:
    table = Table(*[Column(name, overflow="fold") for name in ("Generation", "Model", "Client", "Attempts")])
    for generation in held:
        cells = (generation.id, generation.model, generation.client, _attempts(generation))
        table.add_row(*(Text(plain(cell)) for cell in cells))
    return table


def _print_json(value: object) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
