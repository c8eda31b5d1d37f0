"""`clients` and `keys`: an operator's work on the clients of a running gateway, over its admin API."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
import rich_click as click

from gateway.api.clients.views import ClientKeyList, ClientKeyView, ClientList, ClientView
from gateway.commands.attempts import AdminClient, AdminServer
from gateway.commands.client import Refused, Unreachable
from gateway.commands.terminal import say, warn

_PATH = "/v1/admin/clients"
_PAGE = 100
T = TypeVar("T")


class ClientsApi(AdminClient):
    """Talks to the admin API of one gateway."""

    def clients(self) -> ClientList:
        """All clients, over all pages."""
        clients: list[ClientView] = []
        while True:
            after = f"&after={quote(clients[-1].name, safe='')}" if clients else ""
            page = msgspec.json.decode(self.raw(f"{_PATH}?limit={_PAGE}{after}"), type=ClientList)
            clients += page.data
            if not (page.has_more and page.data):
                return ClientList(data=tuple(clients), has_more=False)

    def get(self, name: str, kind: type[T], below: str = "") -> T:
        """A client, or what is below it."""
        return msgspec.json.decode(self.raw(path_of(name) + below), type=kind)

    def send(self, method: str, path: str, kind: type[T], body: Mapping[str, Any] | None = None) -> T:
        """Change something. It is sent once: without an answer, list what there is to see whether it arrived."""
        headers = {**self._key, "Content-Type": "application/json"}
        content = None if body is None else msgspec.json.encode(body)
        return msgspec.json.decode(self._send(method, path, headers=headers, content=content).content, type=kind)


def path_of(name: str) -> str:
    """The path of a client."""
    return f"{_PATH}/{quote(name, safe='')}"


def run(server: AdminServer, work: Callable[[ClientsApi], Any], *, as_json: bool) -> int:
    """Do one thing at the admin API and print the answer. Returns the exit code."""
    try:
        client = ClientsApi(server.url, server.api_key)
    except ValueError as error:
        raise click.UsageError(f"--url or --admin-key: {error}") from error
    try:
        answer = work(client)
    except (Refused, Unreachable, msgspec.DecodeError) as error:
        return server.failed(error)
    finally:
        client.close()
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode())
        return 0
    match answer:
        case ClientList() | ClientKeyList():
            for item in answer.data:
                say(_line(item))
            if not answer.data:
                warn("the list is empty")
        case ClientKeyView(key=str() as key):
            say(key)  # alone on standard output, so that a script can store it
            warn(f"{_line(answer)}; the key is shown only now")
        case ClientView() | ClientKeyView():
            say(_line(answer))
        case _:
            say("deleted")
    return 0


def _line(item: ClientView | ClientKeyView) -> str:
    """A client or a key on one line."""
    if isinstance(item, ClientKeyView):
        end = "" if item.expires_at is None else f", ends {_time(item.expires_at)}"
        label = f" ({item.label})" if item.label else ""
        return f"{item.id} {item.client}{label}: {item.status}, {'+'.join(item.scopes)}{end}"
    limits = {
        "models": ",".join(item.models),
        "requests_per_minute": item.requests_per_minute,
        "open_generations": item.open_generations,
        "outputs_per_day": item.outputs_per_day,
        **{f"budget_{name}": getattr(item.budgets, name) for name in ("day", "month", "total")},
    }
    shown = " ".join(f"{name}={value}" for name, value in limits.items() if value not in {None, ""})
    return f"{item.name} ({'configuration' if item.configured else 'run time'}) {shown or 'without limits'}"


def _time(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
