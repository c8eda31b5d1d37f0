"""A start with PostgreSQL: what is refused and with which words, and that a gateway finds its ledger again."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from gateway.domain.errors import ConfigurationError
from gateway.domain.lineage import Marker
from gateway.settings.toml import Secret
from gateway.store.postgres import server as server_module
from gateway.store.postgres.inspect import inspect_postgres
from gateway.store.postgres.migrate import _make_table
from gateway.store.postgres.open import open_postgres
from gateway.store.postgres.server import Server

from ....cases import every
from ....postgres_databases import execute, named, run_apart

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def user(url: str, name: str) -> str:
    return url.replace("postgres@", f"{name}@")


@pytest.fixture
def locked(postgres_server: str) -> str:
    """The URL of a user with the password `right`."""
    if urlsplit(postgres_server).username != "postgres":
        pytest.skip("needs the tests' own server")
    sql = "do $$ begin create role locked login password 'right'; exception when duplicate_object then null; end $$"
    run_apart(execute(postgres_server, sql))
    return user(postgres_server, "locked")


@every(
    "url, message",
    [
        ("postgresql://postgres@127.0.0.1:1/d", "cannot use 127.0.0.1:1/d: the connection to PostgreSQL is lost"),
        ("postgresql://postgres@no-such-host.invalid/d", "cannot use no-such-host.invalid/d: the connection to Postgr"),
        ("none", "the database does not exist; create it"),
        (
            "tls",
            "the connection to PostgreSQL is lost; see whether the server runs and can be reached (PostgreSQL server",
        ),
    ],
)
def test_what_cannot_be_reached_is_said(url: str, message: str, postgres_server: str) -> None:
    url = {"none": named(postgres_server, "none"), "tls": f"{postgres_server}?sslmode=require"}.get(url, url)
    for look in (lambda server: open_postgres(server, NOW), lambda server: inspect_postgres(server, ())):
        with pytest.raises(ConfigurationError) as refusal:
            look(Server(url))
        assert str(refusal.value).startswith("database.url: ")
        assert message in str(refusal.value)


def test_a_wrong_password_is_refused_and_never_said(locked: str) -> None:
    server = Server(locked, Secret.of("wrong-password"))
    with pytest.raises(ConfigurationError, match="refuses the user or the password") as refusal:
        open_postgres(server, NOW)
    assert "wrong-password" not in f"{refusal.value} {server} {server!r}"
    assert inspect_postgres(Server(locked, Secret.of("right")), ()).schema == 0


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("synchronous_commit = off", "`synchronous_commit` is off"),
        ("default_transaction_read_only = on", "the server takes no writes"),
        ("standard_conforming_strings = off", "`standard_conforming_strings` is off"),
    ],
)
def test_a_server_that_is_not_fit_is_refused(setting: str, message: str, empty_postgres_url: str) -> None:
    name = urlsplit(empty_postgres_url).path[1:]
    run_apart(execute(empty_postgres_url, f"alter database {name} set {setting}"))
    with pytest.raises(ConfigurationError, match=message):
        open_postgres(Server(empty_postgres_url), NOW)


def test_an_old_server_is_refused(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "VERSION_MIN", 99)
    with pytest.raises(ConfigurationError, match="is too old; at least 99 is needed"):
        open_postgres(Server(postgres_url), NOW)


async def test_a_start_beside_or_after_one_that_has_made_no_table_yet(empty_postgres_url: str) -> None:
    """The other one may still be about to apply the first migration, or it was killed before that."""
    connection = await asyncpg.connect(empty_postgres_url)
    await _make_table(connection)
    await connection.close()

    assert (await asyncio.to_thread(inspect_postgres, Server(empty_postgres_url), ())).schema == 0
    store = open_postgres(Server(empty_postgres_url), NOW)
    await store.ping()
    await store.close()


async def test_a_ledger_is_opened_again_with_its_lineage_and_secrets(empty_postgres_url: str) -> None:
    server = Server(empty_postgres_url)
    assert inspect_postgres_apart(server).schema == 0
    first = open_postgres(server, NOW)
    second = open_postgres(server, NOW)  # several gateways have it open
    assert second.at_start.secrets == first.at_start.secrets
    assert second.lineage.marker.lineage == first.lineage.marker.lineage
    await first.close()
    await second.close()
    assert inspect_postgres_apart(server).to_come == 0


def inspect_postgres_apart(server: Server) -> Any:
    async def nothing() -> Any:
        from gateway.store.postgres.inspect import _inspect  # noqa: PLC0415  # the part that runs on an event loop

        return await _inspect(server, ())

    return run_apart(nothing())


async def test_an_older_state_of_the_database_is_recognised(postgres_url: str) -> None:
    server = Server(postgres_url)
    await execute(postgres_url, "select setval('events_seq_seq', 3)")
    store = open_postgres(server, NOW)
    lineage = store.lineage.marker.lineage
    await store.close()

    store = open_postgres(server, NOW, read_far=lambda _: Marker(lineage=lineage, position=7))
    assert store.lineage.copy is not None
    assert "ends at position 3, and its marker is at 7" in store.lineage.copy.reason
    assert store.lineage.marker.lineage != lineage
    await store.close()
    await execute(postgres_url, "insert into lineages (id, began_at) values ('x', nextval('events_seq_seq'))")
