"""A ledger that a process with a wrong clock has written to: its time is read before the migration, and repaired."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest
from msgspec.structs import replace

from gateway.domain.adapter.failure import Billed
from gateway.domain.adapter.request import TextInput
from gateway.domain.adapter.task import Artifact, Status
from gateway.domain.errors import ConfigurationError
from gateway.domain.generation.model import (
    ArchivedFile,
    Attempt,
    AttemptState,
    Generation,
    GenerationRequest,
    Output,
    Plan,
    Route,
)
from gateway.domain.generation.transitions import SaveArchivedFile
from gateway.domain.ledger_clock import LedgerTime
from gateway.domain.routing.image_limits import ImageFacts
from gateway.domain.webhooks import Endpoint, SigningSecret, rotated
from gateway.ids import new_id
from gateway.store import migrations
from gateway.store.port import Idempotency, StoredFile
from gateway.store.sql.store import SqlStore
from gateway.store.sqlite.clock import _HAPPENED, _TO_COME
from gateway.store.sqlite.open import open_sqlite

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
FUTURE = NOW + timedelta(days=3653)
KEEP = timedelta(days=30)
HOUR = timedelta(hours=1)
FACTS = ImageFacts(content_type="image/png", bytes=3, width=1, height=1)


def generation(at: datetime, **changes: Any) -> Generation:
    plain = Generation(
        id=new_id("gen_", at),
        owner="alice",
        kind="video",
        request=GenerationRequest(
            model="hero", input=TextInput(), prompt="a fox", webhook_url="https://hook.example/x"
        ),
        plan=Plan(routes=(Route(provider="foxapi", model="k3", capability_name="k3"),)),
        status=Status.QUEUED,
        created_at=at,
        deadline_at=at + HOUR,
        outputs=(Output(index=0),),
        fence=1,
    )
    return replace(plain, **changes)


def attempt(owner: Generation, at: datetime, state: AttemptState = AttemptState.ACCEPTED, **changes: Any) -> Attempt:
    name = "att_" + owner.id.removeprefix("gen_") + "_1"
    plain = Attempt(
        id=name, number=1, route=0, slots=(0,), state=state, reserved_at=at, sent_at=at, accepted_at=at, ended_at=None
    )
    return replace(plain, **changes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


async def reopened(path: Path, store: SqlStore) -> SqlStore:
    """The ledger after a start with the right clock, which the operator has accepted."""
    await store.close()
    return open_sqlite(path, NOW, keep_results=KEEP)


async def test_a_start_that_is_refused_writes_nothing(path: Path) -> None:
    store = open_sqlite(path, FUTURE)
    store.keep_time(FUTURE + HOUR)
    await store.close()
    seen: list[LedgerTime] = []

    def refuse(ledger: LedgerTime) -> None:
        seen.append(ledger)
        raise ConfigurationError("clock: no")

    before = path.with_name("ledger.db-lock").read_bytes()
    for _ in range(2):
        with pytest.raises(ConfigurationError):
            open_sqlite(path, NOW, check_clock=refuse)
    assert seen == [LedgerTime(newest=FUTURE + HOUR, has_open=False)] * 2
    assert path.with_name("ledger.db-lock").read_bytes() == before


async def test_the_clock_is_judged_before_the_schema_is_changed(path: Path) -> None:
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("create table events (seq integer primary key, at real)")
        connection.execute("insert into events values (1, ?)", (FUTURE.timestamp(),))

    def refuse(ledger: LedgerTime) -> None:
        raise ConfigurationError(f"clock: {ledger.newest}")

    with pytest.raises(ConfigurationError, match="clock: 2036-"):
        open_sqlite(path, NOW, check_clock=refuse)
    with closing(apsw.Connection(str(path))) as connection:
        assert connection.execute("select group_concat(name) from sqlite_schema where type = 'table'").get == "events"


@pytest.mark.parametrize("at", [1e11, 1e18])
async def test_a_moment_that_no_calendar_has_counts_as_the_latest(path: Path, at: float) -> None:
    store = open_sqlite(path, NOW)
    made = await store.create(generation(NOW))
    await store.close()
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("update events set at = ?", (at,))
    seen: list[LedgerTime] = []
    store = open_sqlite(path, NOW, check_clock=seen.append, keep_results=KEEP)
    assert seen[0].newest is not None
    assert seen[0].newest > NOW + timedelta(days=365)
    assert store.at_start.newest == NOW
    assert await store.get(made.id) == made
    await store.close()


async def test_moments_in_the_future_stay_unless_the_operator_accepts_the_clock(path: Path) -> None:
    store = open_sqlite(path, FUTURE)
    made = await store.create(generation(FUTURE))
    await store.close()
    store = open_sqlite(path, NOW)
    assert (await store.get(made.id), store.at_start.newest) == (made, FUTURE)
    await store.close()


async def test_every_moment_is_at_most_now_and_every_expiry_is_counted_from_now(path: Path) -> None:
    store = open_sqlite(path, FUTURE)
    store.keep_time(FUTURE)
    early = generation(NOW - HOUR / 2)  # created with a right clock, and driven with a wrong one
    early = await store.create(replace(early, attempts=(attempt(early, FUTURE),)))
    made = generation(FUTURE)
    made = await store.create(
        replace(made, attempts=(attempt(made, FUTURE),)),
        [StoredFile(id="file_a", key="alice", sha256="00", facts=FACTS, created_at=FUTURE, expires_at=FUTURE + HOUR)],
        Idempotency(digest=b"1", key="k"),
    )
    ended = generation(FUTURE, status=Status.COMPLETED)
    done = attempt(ended, FUTURE, AttemptState.COMPLETED, ended_at=FUTURE, billed=Billed.YES)
    outputs = tuple(
        Output(
            index=index,
            status=Status.COMPLETED,
            attempt_id=done.id,
            artifact=Artifact(url="https://x.example/1.mp4"),
            expires_at=FUTURE + HOUR,
        )
        for index in (0, 1)  # the first file is archived, the second is not fetched yet
    )
    ended = await store.create(replace(ended, attempts=(done,), outputs=outputs, completed_at=FUTURE))
    assert await store.archived_files.announce(ended.id, ["a.mp4"], FUTURE + HOUR)
    archived = ArchivedFile(name="a.mp4", bytes=1, sha256="00", content_type="video/mp4", kept_until=FUTURE + KEEP)
    assert await store.write(ended, [SaveArchivedFile(0, archived)], FUTURE)
    gone = generation(FUTURE, status=Status.COMPLETED)
    gone = await store.create(replace(gone, attempts=(replace(done, id="att_gone"),)), (), Idempotency(digest=b"2"))
    assert await store.delete(gone.id, "alice", FUTURE)
    await store.webhooks.add_endpoint(
        rotated(
            Endpoint(
                id="whe_1",
                key="alice",
                url="https://hook.example/y",
                events=("*",),
                secrets=(SigningSecret("whsec_YWJj"),),
                created_at=FUTURE,
            ),
            "whsec_ZGVm",
            FUTURE,
            3600,
        )
    )
    await store.webhooks.add_test("whe_1", "alice", "evt_1", FUTURE)

    store = await reopened(path, store)

    assert store.at_start.newest == NOW
    with closing(apsw.Connection(str(path))) as raw:
        late = {
            (table, column): raw.execute(f"select max({column}) from {table}").get  # noqa: S608  # the names come from the schema
            for (table,) in raw.execute("select name from sqlite_schema where type = 'table'").fetchall()
            for column, kind in raw.execute("select name, type from pragma_table_info(?)", (table,)).fetchall()
            if kind == "REAL" and column not in {"progress", "cost_usd", "lease_until", "retry_after_seconds"}
        }
    limit = (NOW + timedelta(days=31)).timestamp()
    assert {where: at for where, at in late.items() if at is not None and at > limit} == {}
    happened = {"created_at", "at", "sent_at", "accepted_at", "reserved_at", "ended_at", "completed_at", "deleted_at"}
    assert {
        where: at for where, at in late.items() if where[1] in happened and at is not None and at > NOW.timestamp()
    } == {}
    stored = await store.get(made.id)
    assert stored is not None
    assert (stored.created_at, stored.deadline_at, stored.attempts[0].accepted_at) == (NOW, NOW + HOUR, NOW)
    stored = await store.get(early.id)
    assert stored is not None
    assert (stored.created_at, stored.deadline_at, stored.attempts[0].accepted_at) == (
        early.created_at,
        early.deadline_at,
        NOW,
    )
    stored = await store.get(ended.id)
    assert stored is not None
    assert stored.outputs[0].kept is not None
    assert (stored.completed_at, stored.outputs[0].kept.kept_until) == (NOW, NOW + KEEP)
    assert await store.archived_files.expired(NOW + KEEP, 10) == ["a.mp4"]
    assert (await store.recall("alice", Idempotency(digest=b"1", key="k"), NOW + HOUR)) is not None
    (endpoint,) = await store.webhooks.endpoints("alice")
    assert endpoint.secrets[1].expires_at == NOW + timedelta(days=1)
    assert await store.webhooks.next_due(NOW - HOUR) == NOW
    await store.close()


async def test_a_repaired_ledger_is_like_any_other(path: Path) -> None:
    store = open_sqlite(path, FUTURE)
    store.keep_time(FUTURE)
    await store.create(generation(FUTURE))
    store = await reopened(path, store)
    await store.close()
    seen: list[LedgerTime] = []

    store = open_sqlite(path, NOW + HOUR, check_clock=seen.append)

    assert seen == [LedgerTime(newest=NOW, has_open=True)]
    await store.close()


# Other numbers than moments, a lease that never ends, what an operator has set, what triggers change, rows that are
# deleted instead, and the expiry of files, which is brought back together with that of their output.
OTHER_NUMBERS = {
    "generations.progress",
    "generations.lease_until",
    "attempts.retry_after_seconds",
    "purchases.cost_usd",
    "client_keys.expires_at",
    "receivers.next_at",
    "uploads.expires_at",
    "artifacts.kept_until",
}
NO_MIGRATION = {"schema_migrations.applied_at"}  # the table exists before all migrations


def test_every_stored_moment_is_brought_back() -> None:
    brought = {f"{table}.{column}" for table, columns in _HAPPENED for column in columns}
    brought |= {f"{words[1]}.{words[3]}" for words in map(str.split, _TO_COME) if words[0] == "update"}
    with closing(apsw.Connection(":memory:")) as database:
        for migration in migrations.load("sqlite"):
            database.execute(migration.sql)
        columns = database.execute(
            "select t.name || '.' || c.name from sqlite_schema as t, pragma_table_info(t.name) as c"
            " where t.type = 'table' and c.type = 'real' collate nocase"
        )
        assert {name for (name,) in columns} - OTHER_NUMBERS == brought - NO_MIGRATION
