"""The move of a ledger to PostgreSQL: everything arrives, and nothing is bought twice wherever it is killed."""

# ruff: noqa: S608  # the statements are about tables that the test has listed

import asyncio
import gzip
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from gateway.cli import cli
from gateway.commands.ledger_file import inspect_ledger
from gateway.domain.errors import ConfigurationError
from gateway.settings.load import DatabaseSettings
from gateway.store.move import run
from gateway.store.move.contents import Seal
from gateway.store.move.run import Moved
from gateway.store.move.source import Source
from gateway.store.move.target import Target
from gateway.store.port import Store
from gateway.store.postgres.open import open_postgres
from gateway.store.postgres.server import Server
from gateway.store.sqlite.open import open_sqlite

from ..contract.ledgers import LedgerPlace, postgres_place, sqlite_place
from ..postgres_databases import run_apart
from .test_ledgers import Recorded
from .test_ledgers import recorded as recorded  # noqa: PLC0414  # a fixture

HERE = Path(__file__).parent
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
OF_PROGRAM = "schema_migrations"
FILLED = {"text": "ü", "integer": 2**62, "real": 0.1 + 0.2, "blob": b"\0\xff"}


def put_recorded(path: Path, name: str) -> None:
    """A ledger of an earlier version."""
    with closing(sqlite3.connect(path)) as ledger:
        ledger.executescript(gzip.decompress((HERE / f"{name}.sql.gz").read_bytes()).decode())


def move(ledger: Path, url: str) -> Moved:
    return run_apart(run.move(ledger, Server(url), NOW, lambda *_: None))


def close(store: Store) -> None:
    asyncio.run(store.close())


def refusal(ledger: Path, url: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        move(ledger, url)
    return str(refused.value)


def contents(place: LedgerPlace, tables: dict[str, list[str]]) -> dict[str, list[Any]]:
    """All rows of the tables, in an order that is the same in each database."""
    return {
        name: sorted(repr(tuple(row)) for row in place.rows(f'select {", ".join(columns)} from "{name}"'))
        for name, columns in tables.items()
    }


def tables_of(path: Path) -> dict[str, list[str]]:
    with closing(sqlite3.connect(path)) as ledger:
        names = [row[0] for row in ledger.execute("select name from sqlite_schema where type = 'table'")]
        return {
            name: [row[1] for row in ledger.execute(f"pragma table_info({name})")]
            for name in names
            if name != OF_PROGRAM and not name.startswith("sqlite_")
        }


def fill(path: Path) -> None:
    """Give each empty table a row with values that are easily changed on the way."""
    with closing(sqlite3.connect(path)) as ledger, ledger:
        attempt = ledger.execute("select id from attempts").fetchone()[0]
        for name in tables_of(path):
            if ledger.execute(f"select count(*) from {name}").fetchone()[0]:
                continue
            columns = ledger.execute(f"pragma table_info({name})").fetchall()
            values = [attempt if column[1] == "attempt_id" else FILLED[column[2].lower()] for column in columns]
            ledger.execute(f"insert into {name} values ({', '.join('?' * len(values))})", values)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A ledger with generations in every state, on which this version has worked."""
    path = tmp_path / "ledger.db"
    put_recorded(path, "schema-13")
    close(open_sqlite(path, NOW))
    return path


@pytest.fixture
def empty(postgres_url: str) -> str:
    """A database with the schema and no rows, as a killed move leaves it."""
    return postgres_url


@pytest.mark.parametrize("schema", ["schema-7", "schema-13"])
def test_every_row_of_every_table_arrives(schema: str, tmp_path: Path, empty: str) -> None:
    path = tmp_path / "ledger.db"
    put_recorded(path, schema)
    close(open_sqlite(path, NOW))
    fill(path)
    tables = tables_of(path)
    before = contents(sqlite_place(path), tables)
    assert all(before.values()), "no table is empty"

    moved = move(path, empty)

    assert contents(postgres_place(empty), tables) == before
    assert (moved.tables, moved.rows) == (len(tables), sum(map(len, before.values())))
    assert moved.replaced == 0


def test_what_triggers_keep_is_counted_after_a_move(ledger: Path, empty: str) -> None:
    move(ledger, empty)
    place = postgres_place(empty)
    open_ones = "from generations where status in ('queued', 'in_progress')"
    owners = dict(place.rows(f"select key, count(*) {open_ones} group by key"))
    assert owners
    counted = dict(place.rows("select key, generations from open_counts"))
    assert counted == {**owners, "": sum(owners.values())}
    submitting = {row[0] for row in place.rows("select id from attempts where state = 'submitting'")}
    assert submitting == {row[0] for row in place.rows("select attempt_id from submits_in_flight")}


async def test_a_new_database_gets_its_schema_and_the_ledger_goes_on_in_it(
    ledger: Path, empty_postgres_url: str
) -> None:
    source = sqlite_place(ledger)
    audit, newest = source.contradictions(), source.rows("select seq from sqlite_sequence where name = 'events'")[0][0]
    ids = [row[0] for row in source.rows("select id from generations")]
    store = source.open(NOW)
    generations = [await store.get(generation_id) for generation_id in ids]
    secrets, lineage = store.at_start.secrets, store.lineage.marker.lineage
    await store.close()

    await run.move(ledger, Server(empty_postgres_url), NOW, lambda *_: None)

    place = postgres_place(empty_postgres_url)
    assert place.contradictions() == audit == []
    store = place.open(NOW)
    assert store.at_start.secrets == secrets
    assert (store.lineage.copy, store.lineage.marker.lineage) == (None, lineage)
    assert [await store.get(generation_id) for generation_id in ids] == generations
    await store.close()
    place.execute("insert into events (generation_id, type, data, at) select id, '', '{}', 0 from generations limit 1")
    assert place.rows("select max(seq) from events")[0][0] == newest + 1, "no number of an event is given twice"


def test_the_file_that_was_moved_refuses_to_work(ledger: Path, empty: str) -> None:
    place = Server(empty).place
    move(ledger, empty)
    for look in (lambda: open_sqlite(ledger, NOW), lambda: inspect_ledger(ledger, ())):
        with pytest.raises(ConfigurationError, match=f"was moved to PostgreSQL, at {place}"):
            look()
    with pytest.raises(ConfigurationError, match="was moved"):
        open_sqlite(ledger, NOW, said="moved")

    store = open_sqlite(ledger, NOW, said="restored")
    assert (
        len(store.lineage.held)
        == sqlite_place(ledger).rows("select count(*) from generations where status in ('queued', 'in_progress')")[0][0]
    )
    close(store)
    close(open_sqlite(ledger, NOW))
    assert "--to: the database is not empty" in refusal(ledger, empty), "it is another ledger since"


def test_a_second_run_changes_nothing_and_one_elsewhere_is_refused(ledger: Path, empty: str) -> None:
    assert not move(ledger, empty).before
    before = contents(postgres_place(empty), tables_of(ledger))
    assert move(ledger, empty).before
    assert contents(postgres_place(empty), tables_of(ledger)) == before
    assert "the ledger was moved already, to 127.0.0.1" in refusal(ledger, empty.rpartition("/")[0] + "/other")
    sqlite_place(ledger).execute("delete from lineages where reason is not null")
    assert "the database has this ledger already, and the file does not know of the move" in refusal(ledger, empty)


def test_a_ledger_of_an_earlier_version_moves_and_a_second_run_knows_it(tmp_path: Path, empty: str) -> None:
    """Such a ledger has no lineage and no marker yet."""
    path = tmp_path / "ledger.db"
    put_recorded(path, "schema-7")
    with closing(sqlite3.connect(path)) as ledger:
        ledger.execute(f"update schema_migrations set applied_at = {NOW.timestamp()}").connection.commit()
    assert not move(path, empty).before
    assert move(path, empty).before
    with pytest.raises(ConfigurationError, match="was moved"):
        open_sqlite(path, NOW)
    store = postgres_place(empty).open(NOW)
    assert store.lineage.copy is None
    close(store)


class KilledError(BaseException):
    """The process ends."""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_move_that_is_killed_is_done_again(
    ledger: Path, empty: str, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """`before` and `after` the moment when the source notes that the ledger is in the target."""
    leave = Source.leave

    def killed(source: Source, place: str, now: datetime) -> None:
        if moment == "after":
            leave(source, place, now)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Source, "leave", killed)
        with pytest.raises(KilledError):
            move(ledger, empty)
    assert postgres_place(empty).rows("select count(*) from generations")[0][0] == 0, "all or nothing"
    if moment == "before":
        close(open_sqlite(ledger, NOW))  # the gateway goes on with the file
    else:
        with pytest.raises(ConfigurationError, match="was moved"):
            open_sqlite(ledger, NOW)
    assert not move(ledger, empty).before
    assert postgres_place(empty).rows("select count(*) from lineages")[0][0] == 1, "the note is not moved"
    close(postgres_place(empty).open(NOW))


def test_a_database_that_changes_what_is_written_is_noticed(
    ledger: Path, empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Target._write

    async def lossy(target: Target, table: Any, rows: Any) -> None:
        await write(target, table, rows[1:] if table.name == "outputs" else rows)

    with monkeypatch.context() as patch:
        patch.setattr(Target, "_write", lossy)
        assert "other values than were sent to it, in outputs (15 rows of 16)" in refusal(ledger, empty)
    move(ledger, empty)


def test_a_character_that_postgresql_cannot_store_is_replaced_and_counted(ledger: Path, empty: str) -> None:
    sqlite_place(ledger).execute("insert into provider_holds values ('foxapi', 1.0, 'a' || char(0) || 'b', null)")
    assert move(ledger, empty).replaced == 1
    assert postgres_place(empty).rows("select held_by from provider_holds")[0][0] == "a\ufffdb"


def test_seals_differ_when_a_value_does() -> None:
    def seal(*rows: tuple[Any, ...]) -> Seal:
        made = Seal()
        for row in rows:
            made.add(row)
        return made

    rows: tuple[tuple[Any, ...], ...] = ((1, "a"), (1, "a"), (None, b"a"))
    assert seal(*rows) == seal(*reversed(rows))
    others: list[tuple[tuple[Any, ...], ...]] = [
        rows[:2],
        (*rows[:2], (None, "a")),
        ((1.0, "a"), *rows[1:]),
        (rows[0], rows[2], rows[2]),
    ]
    assert seal(*rows) not in [seal(*other) for other in others]


def lacks_marker(ledger: Path) -> None:
    ledger.with_name("ledger.db-marker").unlink()


def is_absent(ledger: Path) -> None:
    ledger.unlink()


def is_foreign(ledger: Path) -> None:
    ledger.unlink()
    sqlite_place(ledger).execute("create table notes (id)")


def has_more(ledger: Path) -> None:
    sqlite_place(ledger).execute("create table notes (id)")


def is_ahead(ledger: Path) -> None:
    sqlite_place(ledger).execute(f"update events set at = {(NOW + timedelta(days=9)).timestamp()}")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lacks_marker, "--from: the marker beside the ledger is missing, so that it may not know what was"),
        (is_absent, "--from: there is no ledger at "),
        (is_foreign, "is not a ledger of a gateway"),
        (has_more, "--to: the database has no table notes, which the file has"),
        (is_ahead, "--from: clock: the system clock says "),
    ],
)
def test_a_source_that_is_not_fit_is_refused(
    ledger: Path, empty: str, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(ledger)
    assert message in refusal(ledger, empty)
    assert postgres_place(empty).rows("select count(*) from lineages")[0][0] == 0


def test_no_move_while_a_gateway_runs_on_the_source(ledger: Path, empty: str) -> None:
    store = open_sqlite(ledger, NOW)
    assert "--from: another process uses" in refusal(ledger, empty)
    close(store)
    move(ledger, empty)


def test_no_move_into_a_database_on_which_a_gateway_was_started(ledger: Path, empty: str) -> None:
    close(open_postgres(Server(empty), NOW))
    assert "--to: the database is not empty: it has rows in lineages, secrets. It has a" in refusal(ledger, empty)
    close(open_sqlite(ledger, NOW))


async def test_a_gateway_that_starts_on_the_target_meanwhile_is_refused(
    ledger: Path, empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.store.postgres.open._LOCK_SECONDS", "0.05")
    filled = Target.filled

    async def start(target: Target, tables: Any) -> list[str]:
        """A start after the move has seen that the database is empty."""
        names = await filled(target, tables)
        with pytest.raises(ConfigurationError, match="another program holds the lock of the ledger"):
            open_postgres(Server(empty), NOW)
        return names

    monkeypatch.setattr(Target, "filled", start)
    await run.move(ledger, Server(empty), NOW, lambda *_: None)


def test_a_server_that_is_gone_is_said_and_the_file_goes_on(ledger: Path) -> None:
    said = refusal(ledger, "postgresql://postgres@127.0.0.1:1/d")
    assert said.startswith("--to: cannot use 127.0.0.1:1/d: the connection to PostgreSQL is lost")
    close(open_sqlite(ledger, NOW))


def test_the_command_says_what_it_does(ledger: Path, empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.commands.migrate.logs.configure", lambda *_: None)  # it is for the whole process

    def called(source: str, target: str) -> Any:
        return CliRunner().invoke(cli, ["migrate", "--from", source, "--to", target])

    for source, target, message in (
        (str(ledger), empty, "--from: expected sqlite:///…"),
        (f"sqlite:///{ledger}", "mysql://h/d", "--to: expected postgresql://… or postgres://…"),
        (f"sqlite:///{ledger}", "postgresql://u:word@h/d", "--to: leave the password out of the URL"),
    ):
        refused = called(source, target).exception
        assert message in str(refused)
        assert "word@" not in str(refused)
    sqlite_place(ledger).execute(f"update schema_migrations set applied_at = {time.time()}")  # the clock goes by it
    done = called(f"sqlite:///{ledger}", empty)
    assert done.exit_code == 0, done.output
    assert "generations    14 of 14 rows\n" in done.output
    assert f"{Server(empty).place} has the ledger: " in done.output
    assert "has had the ledger since an earlier run" in called(f"sqlite:///{ledger}", empty).output


@pytest.mark.parametrize("recorded", ["schema-13"], indirect=True)
async def test_open_generations_go_on_in_the_target_and_nothing_is_bought_again(
    recorded: Recorded, empty_postgres_url: str
) -> None:
    gateway = recorded.gateway
    usual = gateway.settings
    await run.move(gateway.folder / "ledger.db", Server(empty_postgres_url), gateway.clock.now(), lambda *_: None)
    gateway.settings = lambda: replace(usual(), database=DatabaseSettings(url=empty_postgres_url))  # type: ignore[method-assign]
    await recorded.start()
    try:
        for label in ("found", "running", "running-two", "queued"):
            assert (await gateway.finish(recorded.ids[label]))["status"] == "completed", label
        assert gateway.paid == {"kling_relay": 1}, "only the queued one had still to be bought"
        for key in ("done", "running"):
            assert (await recorded.repeat(key)).json()["id"] == recorded.about["keyed"][key]["id"]
        assert gateway.submits == {"kling_relay": 1}
        await gateway.clock.run_for(300)
        assert await recorded.held() == {recorded.ids["held"], recorded.ids["submitting"]}
    finally:
        await gateway.stop()
    assert postgres_place(empty_postgres_url).contradictions() == []
