"""`video-gateway usage` reads the sums with the right key, and prints them as text, JSON or CSV."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from click.testing import CliRunner, Result

from gateway.api.usage.views import UsageAnswer, usage_view
from gateway.cli import cli
from gateway.commands.client import Client, Refused
from gateway.domain.usage.contribution import Counts
from gateway.store.usage import UsageQuery, UsageRow

from ..builders import T0

ROWS = [
    UsageRow(counts=Counts(completed=3, failed=1, outputs=3, cost=1_500_000), model="hero", provider="acme"),
    UsageRow(counts=Counts(queued=1), model="hero\x1b[2J", provider=""),
]
ANSWER = usage_view(UsageQuery(first_day=T0.date(), last_day=T0.date(), group_by=("model", "provider")), ROWS, None)


class Gateway:
    """Answers every read; remembers the paths and the keys."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.keys: list[Any] = []
        self.answer = msgspec.json.encode(ANSWER)

    def raw(self, client: Client, path: str) -> bytes:
        self.paths.append(path)
        self.keys.append(client._key)
        if not self.answer:
            raise Refused("HTTP 401 invalid_api_key: The API key is not known.")
        return self.answer


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Gateway:
    gateway = Gateway()

    def raw(client: Client, path: str) -> bytes:
        return gateway.raw(client, path)

    monkeypatch.setattr(Client, "raw", raw)
    monkeypatch.setenv("VIDEO_GATEWAY_API_KEY", "client-key")
    monkeypatch.delenv("VIDEO_GATEWAY_ADMIN_KEY", raising=False)
    return gateway


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["usage", *arguments])


def test_a_client_reads_its_own(gateway: Gateway) -> None:
    result = run("--from", "2026-01-01", "--group-by", "model,provider")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines() == [
        "Model Provider Made Completed Success Outputs Seconds USD Maybe Reserved Fallbacks p50 s p95 s",
        "hero acme 4 3 75.0% 3 0 1.5 0 0 0 - -",
        "hero [2J none 1 0 - 0 0 0 0 0 0 - -",  # the control character is not sent to the terminal
        "total  5 3 75.0% 3 0 1.5 0 0 0 - -",
    ]
    (path,) = gateway.paths
    assert urlsplit(path).path == "/v1/usage"
    assert parse_qs(urlsplit(path).query) == {
        "from": ["2026-01-01"], "group_by": ["model,provider"], "format": ["json"]
    }  # fmt: skip
    assert gateway.keys == [{"Authorization": "Bearer client-key"}]


def test_an_operator_reads_that_of_all(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEO_GATEWAY_ADMIN_KEY", "admin-key")
    result = run("--json", "--client", "client_shop")
    assert result.exit_code == 0
    assert msgspec.json.decode(result.output, type=UsageAnswer) == ANSWER
    assert gateway.paths == ["/v1/admin/usage?client=client_shop&format=json"]
    assert gateway.keys == [{"Authorization": "Bearer admin-key"}]


def test_csv_is_passed_on_byte_by_byte(gateway: Gateway) -> None:
    gateway.answer = b"row,day\r\ntotal,\r\n"
    result = run("--csv")
    assert result.stdout_bytes == gateway.answer
    assert gateway.paths == ["/v1/usage?format=csv"]


def test_what_goes_wrong_is_said(gateway: Gateway) -> None:
    result = run("--client", "x")
    assert (result.exit_code, "operator's key" in result.output) == (2, True)
    gateway.answer = b""
    result = run()
    assert (result.exit_code, result.output) == (2, "HTTP 401 invalid_api_key: The API key is not known.\n")
    gateway.answer = b"<html>"
    assert run().exit_code == 2
