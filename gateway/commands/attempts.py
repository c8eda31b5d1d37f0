"""`attempts`: the submits that got no clear answer, of a running gateway, and what an operator decides about them."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec
import rich_click as click
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from gateway.api.attempts.views import AdminAttempt, AdminAttemptList
from gateway.commands.client import DEFAULT_URL, Client, Refused, Unreachable
from gateway.commands.terminal import plain, say, tell

_PATH = "/v1/admin/attempts"
_PAGE = 100


class AdminClient(Client):
    """Talks to one gateway as an operator."""

    def page(self, state: str) -> list[AdminAttempt]:
        """All attempts of a state."""
        found: list[AdminAttempt] = []
        while True:
            after = f"&after={found[-1].id}" if found else ""
            answer = self.raw(f"{_PATH}?state={state}&limit={_PAGE}{after}")
            page = msgspec.json.decode(answer, type=AdminAttemptList)
            found += page.data
            if not (page.has_more and page.data):
                return found

    def change(self, attempt_id: str, what: str, body: Mapping[str, Any]) -> AdminAttempt:
        """Attach or decide, sent once: whether it was received without an answer, a look at the list tells."""
        headers = {**self._key, "Content-Type": "application/json"}
        path = f"{_PATH}/{quote(attempt_id, safe='')}/{what}"
        answer = self._send("POST", path, headers=headers, content=msgspec.json.encode(body))
        return msgspec.json.decode(answer.content, type=AdminAttempt)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminServer:
    """Which gateway to talk to."""

    url: str = DEFAULT_URL
    api_key: str | None = None

    def client(self) -> AdminClient:
        """A client of it; a usage error for a URL or key that cannot be one."""
        try:
            return AdminClient(self.url, self.api_key)
        except ValueError as error:
            raise click.UsageError(f"--url or --admin-key: {error}") from error

    def failed(self, error: Exception) -> int:
        """Tell what came of a call; the exit code."""
        if not self.api_key and str(error).startswith("HTTP 401 "):
            tell("attempts needs an operator's key: --admin-key or VIDEO_GATEWAY_ADMIN_KEY, as the gateway has it")
        else:
            tell(str(error))
        return 2


def attempts(state: str, server: AdminServer, *, as_json: bool) -> int:
    """Show the attempts of a state; the exit code."""
    client = server.client()
    try:
        found = client.page(state)
    except (Refused, Unreachable, msgspec.DecodeError) as error:
        return server.failed(error)
    finally:
        client.close()
    if as_json:
        _print_json(AdminAttemptList(data=tuple(found), has_more=False))
    elif not found:
        tell(f"none is {state}")
    elif sys.stdout.isatty():
        Console().print(_table(found))
    else:
        for attempt in found:
            say(line(attempt))
    return 0


def change(attempt_id: str, what: str, body: Mapping[str, Any], server: AdminServer, *, as_json: bool) -> int:
    """Attach or decide, and show what the attempt is then; the exit code."""
    client = server.client()
    try:
        attempt = client.change(attempt_id, what, body)
    except (Refused, Unreachable, msgspec.DecodeError) as error:
        return server.failed(error)
    finally:
        client.close()
    if as_json:
        _print_json(attempt)
    else:
        say(line(attempt))
    return 0


def line(attempt: AdminAttempt) -> str:
    """An attempt in a line."""
    return f"{attempt.id} {attempt.provider}/{attempt.provider_model} {told(attempt)}; sent {_time(attempt.sent_at)}"


def told(attempt: AdminAttempt) -> str:
    """How an attempt stands."""
    billed = f", billed: {attempt.billed}" if attempt.billed else ""
    if attempt.held:
        stands = f"held until {_time(attempt.deadline_at)}"
    elif attempt.decision == "resubmit" and attempt.resubmit_after is not None:
        stands = f"{attempt.status}, sent again after {_time(attempt.resubmit_after)}"
    elif attempt.decision == "fail":
        stands = f"{attempt.status}, let fail"
    else:
        stands = " ".join((attempt.status, *attempt.tasks))
    return stands + billed


def _table(found: Iterable[AdminAttempt]) -> Table:
    folded = [Column(name, overflow="fold") for name in ("Attempt", "Route", "Sent", "Key", "Stands")]
    table = Table(*folded)
    for attempt in found:
        route = f"{attempt.provider}/{attempt.provider_model}"
        cells = (attempt.id, route, _time(attempt.sent_at), attempt.key, told(attempt))
        table.add_row(*(Text(plain(cell)) for cell in cells))
    return table


def _time(at: int | None) -> str:
    return "never" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _print_json(value: object) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
