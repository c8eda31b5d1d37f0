"""`usage`: what a client of a running gateway, or all of them, made and bought."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode

import msgspec
import rich_click as click
from msgspec import UNSET
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from gateway.api.usage.views import UsageAnswer, UsageSums
from gateway.commands.client import Client, Refused, Unreachable
from gateway.commands.terminal import plain, say, warn

Format = Literal["text", "json", "csv"]
_SHOWN = (  # what a person sees of the sums: title and field
    ("Made", "generations"),
    ("Completed", "completed"),
    ("Success", "success_rate"),
    ("Outputs", "outputs"),
    ("Seconds", "seconds"),
    ("USD", "cost_usd"),
    ("Maybe", "maybe_usd"),
    ("Reserved", "reserved_usd"),
    ("Fallbacks", "fallbacks"),
    ("p50 s", "p50_seconds"),
    ("p95 s", "p95_seconds"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageServer:
    """The gateway to talk to. With the key of an operator the usage of all clients is read, else the client's own."""

    url: str
    api_key: str | None
    admin_key: str | None


def usage(server: UsageServer, query: Mapping[str, str], shown: Format) -> int:
    """Print the usage. `query` has the parameters of the API. Returns the exit code."""
    path = "/v1/usage" if server.admin_key is None else "/v1/admin/usage"
    if server.admin_key is None and "client" in query:
        raise click.UsageError("--client needs an operator's key: --admin-key-file or VIDEO_GATEWAY_ADMIN_KEY")
    try:
        client = Client(server.url, server.admin_key or server.api_key)
    except ValueError as error:
        raise click.UsageError(f"--url or the key: {error}") from error
    try:
        answer = client.raw(f"{path}?{urlencode({**query, 'format': 'csv' if shown == 'csv' else 'json'})}")
        if shown == "csv":
            click.echo(answer, nl=False)
            return 0
        read = msgspec.json.decode(answer, type=UsageAnswer)
    except (Refused, Unreachable, msgspec.DecodeError) as error:
        warn(str(error))
        return 2
    finally:
        client.close()
    if shown == "json":
        click.echo(msgspec.json.format(answer, indent=2).decode())
    elif sys.stdout.isatty():
        Console().print(_table(read))
    else:
        for cells in _rows(read):
            say(" ".join(cells))
    return 0


def _table(read: UsageAnswer) -> Table:
    titles, *rows = _rows(read)
    groups = len(read.group_by)
    table = Table(*(Column(title, justify="left" if at < groups else "right") for at, title in enumerate(titles)))
    for at, cells in enumerate(rows, start=1):
        table.add_row(*(Text(plain(cell)) for cell in cells), end_section=at == len(rows) - 1)
    return table


def _rows(read: UsageAnswer) -> Iterator[list[str]]:
    """The titles, the groups, and the total."""
    yield [*(name.capitalize() for name in read.group_by), *(title for title, _ in _SHOWN)]
    for group in read.data:
        names = (getattr(group, name) for name in read.group_by)
        yield [*("none" if name in {None, UNSET} else str(name) for name in names), *_numbers(group)]
    yield ["total", *("" for _ in read.group_by[1:]), *_numbers(read.total)]


def _numbers(sums: UsageSums) -> Iterator[str]:
    for _, field in _SHOWN:
        value = getattr(sums, field)
        if value is None:
            yield "-"
        elif field == "success_rate":
            yield f"{value:.1%}"
        else:
            yield f"{value:.10g}"
