"""`attempts`: lists the submits without a clear answer of a running gateway, and sends an operator's decision."""

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
from gateway.commands.terminal import plain, say, warn

_PATH = "/v1/admin/attempts"
_PAGE = 100


class AdminClient(Client):
    """Talks to one gateway with an operator's key."""

    def page(self, state: str) -> list[AdminAttempt]:
        """All attempts in a state, over all pages."""
        attempts: list[AdminAttempt] = []
        while True:
            after = f"&after={attempts[-1].id}" if attempts else ""
            answer = self.raw(f"{_PATH}?state={state}&limit={_PAGE}{after}")
            page = msgspec.json.decode(answer, type=AdminAttemptList)
            attempts += page.data
            if not (page.has_more and page.data):
                return attempts

    def change(self, attempt_id: str, action: str, body: Mapping[str, Any]) -> AdminAttempt:
        """Attach a task or decide. Sent only once: if no answer comes, list the attempts to see whether it arrived."""
        return msgspec.json.decode(
            self.send_once(f"{_PATH}/{quote(attempt_id, safe='')}/{action}", body), type=AdminAttempt
        )

    def send_once(self, path: str, body: Mapping[str, Any]) -> bytes:
        """Send a decision, and return the answer. It is not repeated if no answer comes."""
        headers = {**self._key, "Content-Type": "application/json"}
        return self._send("POST", path, headers=headers, content=msgspec.json.encode(body)).content


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminServer:
    """The gateway to talk to, and the operator's key for it."""

    url: str = DEFAULT_URL
    api_key: str | None = None

    def client(self) -> AdminClient:
        """A client for it. Raises a usage error if the URL or the key cannot be right."""
        try:
            return AdminClient(self.url, self.api_key)
        except ValueError as error:
            raise click.UsageError(f"--url or --admin-key: {error}") from error

    def failed(self, error: Exception) -> int:
        """Print why a call failed. Returns the exit code."""
        if not self.api_key and str(error).startswith("HTTP 401 "):
            needed = "--admin-key-file or VIDEO_GATEWAY_ADMIN_KEY, as the gateway has it"
            warn(f"this command needs an operator's key: {needed}")
        else:
            warn(str(error))
        return 2


def attempts(state: str, server: AdminServer, *, as_json: bool) -> int:
    """Print the attempts in a state. Returns the exit code."""
    client = server.client()
    try:
        listed = client.page(state)
    except (Refused, Unreachable, msgspec.DecodeError) as error:
        return server.failed(error)
    finally:
        client.close()
    if as_json:
        _print_json(AdminAttemptList(data=tuple(listed), has_more=False))
    elif not listed:
        warn(f"no attempt is {state}")
    elif sys.stdout.isatty():
        Console().print(_table(listed))
    else:
        for attempt in listed:
            say(line(attempt))
    return 0


def change(attempt_id: str, action: str, body: Mapping[str, Any], server: AdminServer, *, as_json: bool) -> int:
    """Attach a task or decide, and print the attempt as it is then. Returns the exit code."""
    client = server.client()
    try:
        attempt = client.change(attempt_id, action, body)
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
    """An attempt on one line."""
    return (
        f"{attempt.id} {attempt.provider}/{attempt.provider_model} {state_of(attempt)}; sent {_time(attempt.sent_at)}"
    )


def state_of(attempt: AdminAttempt) -> str:
    """The state of an attempt: what was decided, which tasks it has, whether it was billed."""
    billed = f", billed: {attempt.billed}" if attempt.billed else ""
    if attempt.held:
        state = f"held until {_time(attempt.deadline_at)}"
    elif attempt.decision == "resubmit" and attempt.resubmit_after is not None:
        state = f"{attempt.status}, sent again after {_time(attempt.resubmit_after)}"
    elif attempt.decision == "fail":
        state = f"{attempt.status}, failed by an operator"
    else:
        state = " ".join((attempt.status, *attempt.tasks))
    return state + billed


def _table(attempts: Iterable[AdminAttempt]) -> Table:
    folded = [Column(name, overflow="fold") for name in ("Attempt", "Route", "Sent", "Client", "State")]
    table = Table(*folded)
    for attempt in attempts:
        route = f"{attempt.provider}/{attempt.provider_model}"
        cells = (attempt.id, route, _time(attempt.sent_at), attempt.client, state_of(attempt))
        table.add_row(*(Text(plain(cell)) for cell in cells))
    return table


def _time(at: int | None) -> str:
    return "never" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _print_json(value: object) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
