"""The SQLite store as a file: which process may open it, what is refused, and what a crash or a full disk leaves."""
# ruff: noqa: ASYNC240  # nothing else runs on a test's loop that a file could hold up

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest
import pytest_asyncio
from msgspec.structs import replace

from gateway.domain.adapter.request import FramesInput, TextInput
from gateway.domain.adapter.task import Status, TaskRef
from gateway.domain.errors import ConfigurationError, Conflict, StoreUnavailable
from gateway.domain.generation.model import (
    Attempt,
    AttemptState,
    Generation,
    GenerationRequest,
    Output,
    Plan,
    Route,
    Task,
)
from gateway.domain.generation.transitions import AddAttempt
from gateway.domain.routing.image_limits import ImageFacts
from gateway.ids import new_id
from gateway.store import migrations
from gateway.store.port import Idempotency, Permission, StoredFile
from gateway.store.sql.columns import to_json
from gateway.store.sql.database import Transaction
from gateway.store.sql.store import SqlStore
from gateway.store.sqlite import file as sqlite_file
from gateway.store.sqlite import writer
from gateway.store.sqlite.file import check_place
from gateway.store.sqlite.open import open_sqlite

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
FACTS = ImageFacts(content_type="image/png", bytes=3, width=1, height=1)


def generation(prompt: str = "a fox") -> Generation:
    return Generation(
        id=new_id("gen_", NOW),
        owner="alice",
        kind="video",
        request=GenerationRequest(model="hero", input=TextInput(), prompt=prompt),
        plan=Plan(routes=(Route(provider="keevx", model="V", capability_name="V"),)),
        status=Status.QUEUED,
        created_at=NOW,
        deadline_at=NOW + timedelta(hours=1),
        outputs=(Output(index=0),),
        fence=1,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest_asyncio.fixture
async def store(path: Path) -> AsyncIterator[SqlStore]:
    store = open_sqlite(path, NOW)
    yield store
    await store.close()


async def refusal(path: Path) -> str:
    with pytest.raises(ConfigurationError) as refused:
        open_sqlite(path, NOW)
    message = str(refused.value)
    assert message.startswith("database.url: ")
    return message


# -- another process

PRELUDE = """
import asyncio, json, os, resource, sys, time
from pathlib import Path
import tests_sqlite as t
from gateway.domain.errors import ConfigurationError, StoreUnavailable
from gateway.store.sqlite.open import open_sqlite
path = Path(sys.argv[1])
"""
# A process that opens the file, prints a line, and waits until it is killed.
HOLDER = """
store = open_sqlite(path, t.NOW)
print("open", flush=True)
sys.stdin.read()
"""


def process(tmp_path: Path, code: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """A Python process that can import this module as `tests_sqlite`."""
    package = tmp_path / "importable"
    package.mkdir(exist_ok=True)
    link = package / "tests_sqlite.py"
    if not link.exists():
        link.symlink_to(Path(__file__))
    root = Path(__file__).parents[4]
    return subprocess.Popen(  # noqa: S603  # our own code
        [sys.executable, "-c", PRELUDE + code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{package}{os.pathsep}{root}"},
        **options,
    )


async def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path, path: Path) -> None:
    with process(tmp_path, HOLDER, str(path)) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"

        assert "another process uses" in await refusal(path)

        holder.send_signal(signal.SIGKILL)
        holder.wait()
    store = open_sqlite(path, NOW)
    await store.ping()
    await store.close()


async def test_the_same_file_by_another_name_is_refused_too(store: SqlStore, path: Path, tmp_path: Path) -> None:
    link = tmp_path / "other.db"
    link.symlink_to(path)

    assert "another process uses" in await refusal(link)


async def test_a_closed_store_unlocks_the_file(path: Path) -> None:
    for _ in range(3):
        store = open_sqlite(path, NOW)
        await store.close()


async def test_a_refused_start_unlocks_the_file(path: Path) -> None:
    path.write_bytes(b"not a database at all" * 100)
    await refusal(path)
    path.unlink()

    store = open_sqlite(path, NOW)
    await store.close()


# Creates generations one after the other, and prints the id of each as soon as `create` has returned.
WRITER = """
async def main():
    store = open_sqlite(path, t.NOW)
    async def forever():
        while True:
            os.write(1, ((await store.create(t.generation())).id + "\\n").encode())
    await asyncio.gather(*(forever() for _ in range(8)))
asyncio.run(main())
"""


async def test_a_kill_at_any_moment_loses_nothing_that_was_answered(tmp_path: Path, path: Path) -> None:
    answered: set[str] = set()
    for kill_after in (1, 2, 40, 200):  # answers
        with process(tmp_path, WRITER, str(path)) as writer_process:
            assert writer_process.stdout is not None
            for _ in range(kill_after):
                answered.add(writer_process.stdout.readline().strip())
            writer_process.send_signal(signal.SIGKILL)
            answered.update(line.strip() for line in writer_process.stdout if line.endswith("\n"))
        store = open_sqlite(path, NOW)
        assert answered <= set(await store.open_ids(NOW))
        for name in await store.open_ids(NOW):
            stored = await store.get(name)
            assert stored is not None
            assert stored.outputs == (Output(index=0),)
            assert [event.type for event in await store.events(name)] == ["generation.queued"]
        await store.close()
    assert len(answered) >= 243


# -- the schema


async def edit(path: Path, sql: str) -> None:
    store = open_sqlite(path, NOW)
    await store.close()
    connection = apsw.Connection(str(path))
    connection.execute(sql)
    connection.close()


async def test_a_newer_schema_is_refused(path: Path) -> None:
    await edit(path, "insert into schema_migrations values (99, '099_future.sql', 'x', 0)")

    assert "schema 99" in await refusal(path)


async def test_an_applied_migration_with_another_text_is_refused(path: Path) -> None:
    await edit(path, "update schema_migrations set checksum = 'x' where number = 1")

    assert "the migration 001_ledger.sql was applied with another text than this program has" in await refusal(path)


async def test_a_migration_that_fails_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = migrations.load("sqlite")
    broken = migrations.Migration(len(shipped) + 1, "broken.sql", "create table half (a); create table half (a);")
    with monkeypatch.context() as patched:
        patched.setattr(migrations, "load", lambda database: [*shipped, broken])
        assert "half" in await refusal(path)

    connection = apsw.Connection(str(path))
    assert connection.execute("select count(*) from sqlite_schema").get == 0
    connection.close()
    store = open_sqlite(path, NOW)
    await store.create(generation())
    await store.close()


def test_shipped_migrations_are_numbered_without_a_gap() -> None:
    assert [migration.number for migration in migrations.load("sqlite")] == list(range(1, 20))
    assert migrations.pending(migrations.load("sqlite"), {}) == migrations.load("sqlite")


# -- the place


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "missing") in await refusal(tmp_path / "missing" / "ledger.db")


@pytest.mark.parametrize(
    ("mounts", "kind"),
    [
        ("server:/x {folder} nfs4 rw 0 0", "nfs4"),
        ("/dev/sda / ext4 rw 0 0\n//server/x {folder} cifs rw 0 0", "cifs"),
        ("server:/x {folder} nfs rw 0 0\n/dev/sda {folder}/deeper ext4 rw 0 0", "nfs"),
        ("systemd-1 {folder} autofs rw 0 0\nserver:/x {folder} nfs rw 0 0", "nfs"),
        ("me@server:/x {folder} fuse.sshfs rw 0 0", "fuse.sshfs"),
        ("drvfs {folder} 9p rw 0 0", "9p"),
    ],
)
@pytest.mark.parametrize("folder", ["plain", "with space\tand tab"])
def test_a_network_file_system_is_refused(tmp_path: Path, mounts: str, kind: str, folder: str) -> None:
    place = tmp_path / folder
    place.mkdir()
    listed = tmp_path / "mounts"
    escaped = str(place).replace(" ", "\\040").replace("\t", "\\011")
    listed.write_text(mounts.format(folder=escaped) + "\n")

    with pytest.raises(ConfigurationError, match=f"network file system \\({kind}\\)"):
        check_place(place / "ledger.db", listed)


@pytest.mark.parametrize(
    "mounts",
    [
        "/dev/sda / ext4 rw 0 0",
        "server:/x / nfs rw 0 0\n/dev/sda {folder} ext4 rw 0 0",
        "server:/x {folder} nfs rw 0 0\n/dev/sda {folder} ext4 rw 0 0",
        "server:/x {folder}-beside nfs rw 0 0",
        "odd line\n\n",
        None,
    ],
)
def test_a_local_file_system_is_taken(tmp_path: Path, mounts: str | None) -> None:
    listed = tmp_path / "mounts"
    if mounts is not None:
        listed.write_text(mounts.format(folder=tmp_path))

    check_place(tmp_path / "ledger.db", listed)


def test_an_sqlite_with_the_wal_bug_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.40.1")

    with pytest.raises(ConfigurationError, match=r"3\.40\.1 is too old; at least 3\.51\.3"):
        check_place(tmp_path / "ledger.db")


async def test_the_place_is_checked_when_the_store_opens(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "file_system", lambda path, mounts: "nfs")

    assert "network file system (nfs)" in await refusal(path)
    assert not path.exists()


# Gives up the rights of root, because root can write to every folder. It imports first what it could not read then.
UNPRIVILEGED = """
import importlib.readers
if os.geteuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
try:
    open_sqlite(path, t.NOW)
except ConfigurationError as error:
    print(error)
"""


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that other users can reach; the folders of pytest are closed to them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "inner").mkdir()
        yield folder / "inner"


def refusal_without_rights(tmp_path: Path, path: Path) -> str:
    output, _ = process(tmp_path, UNPRIVILEGED, str(path)).communicate()
    return output


def test_a_read_only_folder_is_refused(tmp_path: Path, shared: Path) -> None:
    shared.chmod(0o555)

    output = refusal_without_rights(tmp_path, shared / "ledger.db")

    assert output == f"database.url: the folder {shared} cannot be written to\n"


def test_a_folder_out_of_reach_is_refused(tmp_path: Path, shared: Path) -> None:
    shared.chmod(0)
    folder = shared / "deeper"
    if os.geteuid() == 0:
        folder.mkdir()

    output = refusal_without_rights(tmp_path, folder / "ledger.db")

    assert output == f"database.url: the folder {folder} does not exist or cannot be reached\n"


async def test_a_read_only_file_is_refused(tmp_path: Path, shared: Path) -> None:
    path = shared / "ledger.db"
    store = open_sqlite(path, NOW)
    await store.close()
    for file in shared.iterdir():
        file.chmod(0o666)
    shared.chmod(0o777)
    path.chmod(0o444)

    output = refusal_without_rights(tmp_path, path)

    assert output == f"database.url: the file {path} cannot be written to\n"


async def test_a_lock_file_that_cannot_be_opened_is_named(path: Path) -> None:
    path.with_name("ledger.db-lock").mkdir()

    assert "ledger.db-lock" in await refusal(path)


async def test_a_file_that_is_not_a_database_is_refused_and_not_changed(path: Path) -> None:
    content = b"these are somebody's notes\n" * 200
    path.write_bytes(content)

    assert "not a database" in await refusal(path)
    assert path.read_bytes() == content


async def test_a_corrupt_page_makes_a_read_unavailable(path: Path) -> None:
    store = open_sqlite(path, NOW)
    created = await store.create(generation())
    root = store._reader.connection.execute("select rootpage from sqlite_schema where name = 'outputs'").get
    await store.close()
    with path.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(os.urandom(4096))
    broken = open_sqlite(path, NOW)

    with pytest.raises(StoreUnavailable):
        await broken.get(created.id)
    with pytest.raises(StoreUnavailable):
        await broken.create(generation())

    await broken.close()


# -- settings of the connections


async def test_commits_are_on_the_disk_when_they_return(store: SqlStore) -> None:
    for connection in (store._writer._connection, store._reader.connection):
        assert connection.execute("pragma synchronous").get == 2  # full
        assert connection.execute("pragma journal_mode").get == "wal"
        assert connection.execute("pragma foreign_keys").get == 1


async def test_writes_that_arrive_together_commit_together(store: SqlStore) -> None:
    commits: list[int] = []
    store._writer._connection.set_commit_hook(lambda: bool(commits.append(1)))  # type: ignore[func-returns-value]  # None: go on
    created = [generation() for _ in range(300)]

    assert await asyncio.gather(*(store.create(wanted) for wanted in created)) == created

    assert len(commits) <= 10
    assert len(await store.open_ids(NOW)) == 300


async def test_more_waiting_writes_than_one_transaction_takes(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_BATCH_MAX", 7)
    created = [generation() for _ in range(50)]

    assert await asyncio.gather(*(store.create(wanted) for wanted in created)) == created

    assert len(await store.open_ids(NOW)) == 50


async def test_too_many_waiting_writes_are_refused_and_the_others_kept(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_WAITING_MAX", 20)

    results = await asyncio.gather(*(store.create(generation()) for _ in range(30)), return_exceptions=True)

    refused = [result for result in results if isinstance(result, BaseException)]
    assert len(refused) == 10
    assert all(isinstance(error, StoreUnavailable) and error.retry_after == 1 for error in refused)
    assert len(await store.open_ids(NOW)) == 20


async def test_a_generation_is_read_in_one_statement(store: SqlStore, path: Path) -> None:
    """A commit while a generation is being read shows in all its parts or in none."""
    before = await store.create(generation())
    other = apsw.Connection(str(path))

    def commit_between(cursor: Any, sql: str, bindings: Any) -> bool:
        other.execute("update generations set status = 'failed'; update outputs set status = 'failed'")
        return True

    store._reader.connection.exec_trace = commit_between
    first = await store.get(before.id)
    other.execute("update generations set status = 'queued'; update outputs set status = 'queued'")
    # With several statements a commit could come between two of them: there is only one statement.
    statements: list[str] = []

    def note(cursor: Any, sql: str, bindings: Any) -> bool:
        statements.append(sql)
        return True

    store._reader.connection.exec_trace = note
    await store.get(before.id)
    store._reader.connection.exec_trace = None
    other.close()
    assert first is not None
    assert {first.status, first.outputs[0].status} == {Status.FAILED}
    assert len(statements) == 1


# -- a disk that refuses


async def fill(store: SqlStore) -> list[str]:
    """Create until the store refuses; the ids of the generations that were created."""
    answered: list[str] = []
    while len(answered) < 2000:
        try:
            created = await store.create(generation("x" * 3000))
        except StoreUnavailable as error:
            assert error.retry_after == 5  # noqa: PT017  # the creates before it are needed as well
            return answered
        answered.append(created.id)
    raise AssertionError("the disk never became full")


async def test_a_full_database_refuses_writes_whole_and_works_again(store: SqlStore) -> None:
    connection = store._writer._connection
    connection.execute(f"pragma max_page_count = {connection.execute('pragma page_count').get + 30}")

    answered = await fill(store)

    assert answered
    assert await store.open_ids(NOW) == sorted(answered)
    results = await asyncio.gather(*(store.create(generation("x" * 9000)) for _ in range(20)), return_exceptions=True)
    assert all(isinstance(result, StoreUnavailable) for result in results)
    for name in answered:
        stored = await store.get(name)
        assert stored is not None
        assert len(stored.outputs) == 1
    assert store._reader.connection.execute("select count(*) from events").get == len(answered)

    connection.execute("pragma max_page_count = 1000000")
    more = [await store.create(generation()) for _ in range(3)]
    assert await store.open_ids(NOW) == sorted([*answered, *(made.id for made in more)])


# A limit on the size of a file is like a full disk, and needs no rights: a write stops in its middle.
FULL_DISK = """
async def main():
    store = open_sqlite(path, t.NOW)
    answered = [(await store.create(t.generation())).id for _ in range(5)]
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))
    answered += await t.fill(store)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    pinged = "content"
    try:
        await store.ping()
    except StoreUnavailable:
        pinged = "unavailable"
    during = await store.open_ids(t.NOW)
    together = await asyncio.gather(*(store.create(t.generation()) for _ in range(9)), return_exceptions=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await store.ping()
    after = (await store.create(t.generation())).id
    ids = await store.open_ids(t.NOW)
    await store.close()
    refused = [type(result).__name__ for result in together]
    print(json.dumps(dict(answered=answered, during=during, after=after, ids=ids, pinged=pinged, refused=refused)))
asyncio.run(main())
"""


async def test_a_full_disk_refuses_writes_whole_and_works_again(tmp_path: Path, path: Path) -> None:
    output, _ = process(tmp_path, FULL_DISK, str(path)).communicate()
    seen = json.loads(output.splitlines()[-1])  # the lines before it are the log

    assert len(seen["answered"]) > 5
    assert seen["during"] == sorted(seen["answered"])
    assert seen["pinged"] == "unavailable"
    assert seen["refused"] == ["StoreUnavailable"] * 9
    assert seen["ids"] == sorted([*seen["answered"], seen["after"]])
    store = open_sqlite(path, NOW)
    assert await store.open_ids(NOW) == seen["ids"]
    for name in seen["ids"]:
        stored = await store.get(name)
        assert stored is not None
        assert len(stored.outputs) == 1
        assert len(await store.events(name)) == 1
    await store.close()


async def test_a_broken_commit_fails_every_write_in_it_and_stores_nothing(store: SqlStore) -> None:
    connection = store._writer._connection
    before = await store.create(generation())
    reserved = Attempt(id="att_1", number=1, route=0, slots=(0,), state=AttemptState.RESERVED, reserved_at=NOW)
    await store.write(before, [AddAttempt(reserved)], NOW)
    connection.set_commit_hook(lambda: True)  # SQLite makes a rollback of the commit

    results = await asyncio.gather(
        *(store.create(generation()) for _ in range(5)),
        store.begin_submit("att_1", 1, NOW),
        return_exceptions=True,
    )

    assert all(isinstance(result, StoreUnavailable) for result in results), results
    connection.set_commit_hook(None)
    assert await store.open_ids(NOW) == [before.id]
    stored = await store.get(before.id)
    assert stored is not None
    assert stored.attempts == (reserved,)
    assert await store.begin_submit("att_1", 1, NOW) is Permission.GRANTED


async def test_a_commit_that_is_refused_and_stays_open_does_not_block_the_next(store: SqlStore) -> None:
    async def orphan(transaction: Transaction) -> None:
        await transaction.run("pragma defer_foreign_keys = on")
        await transaction.run(
            "insert into outputs (generation_id, number, status, extra) values ('none', 0, 'queued', 0)"
        )

    with pytest.raises(StoreUnavailable):
        await store._writer.run(orphan)

    created = await store.create(generation())
    assert await store.open_ids(NOW) == [created.id]
    assert store._reader.connection.execute("select count(*) from outputs").get == 1


async def test_the_loop_goes_on_while_a_write_waits_for_another_programs_lock(store: SqlStore, path: Path) -> None:
    other = apsw.Connection(str(path))
    other.execute("begin immediate")
    waiting = asyncio.ensure_future(store.create(generation()))
    for _ in range(20):
        await asyncio.sleep(0.002)
    assert not waiting.done()

    other.execute("rollback")
    other.close()

    created = await waiting
    assert await store.get(created.id) == created


async def test_a_lock_that_stays_makes_writes_unavailable(
    store: SqlStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_BUSY_MILLISECONDS", 50)
    other = apsw.Connection(str(path))
    other.execute("begin immediate")

    results = await asyncio.gather(store.ping(), store.create(generation()), return_exceptions=True)

    assert all(isinstance(result, StoreUnavailable) for result in results)
    assert await store.open_ids(NOW) == [], "reads go on"
    other.execute("rollback")
    other.close()
    await store.ping()


async def test_a_ledger_of_the_first_schema_is_migrated_with_its_contents(path: Path) -> None:
    first, *_ = migrations.load("sqlite")
    connection = apsw.Connection(str(path))
    connection.execute(
        "create table schema_migrations"
        " (number integer primary key, name text not null, checksum text not null, applied_at real not null) strict"
    )
    connection.execute(first.sql)
    connection.execute("insert into schema_migrations values (1, ?, ?, 0)", (first.name, first.checksum))
    old = generation()
    used = StoredFile(id="file_1", key=old.owner, sha256="a" * 64, facts=FACTS, created_at=NOW)
    request = replace(old.request, input=FramesInput(first_frame=used.id))
    connection.execute(
        "insert into generations (id, key, kind, model, status, request, plan, created_at, deadline_at, progress,"
        " fence, lease_until, version) values (?, ?, 'video', 'm', 'queued', ?, ?, ?, ?, 0, 1, 0, 1)",
        (
            old.id,
            old.owner,
            to_json(request),
            to_json(old.plan),
            old.created_at.timestamp(),
            old.deadline_at.timestamp(),
        ),
    )
    connection.execute(
        "insert into outputs (generation_id, number, status, extra) values (?, 0, 'queued', 0)", (old.id,)
    )
    connection.execute(
        "insert into files values (?, ?, ?, ?, ?)", (used.id, used.key, used.sha256, to_json(FACTS), 0.0)
    )
    connection.execute(
        "insert into idempotency_keys values (?, 'k', ?, ?, ?)", (old.owner, b"d", old.id, NOW.timestamp())
    )
    task = to_json((Task(ref=TaskRef(id="a"), slot=0),))
    connection.executemany(
        "insert into attempts (id, generation_id, number, route, slots, state, form, reserved_at, tasks)"
        " values (?, ?, ?, 0, '[0]', ?, '', 0, ?)",
        [
            ("att_1", old.id, 1, "unknown", "[]"),
            ("att_2", old.id, 2, "completed", task),
            ("att_3", old.id, 3, "completed", task),
        ],
    )
    connection.close()

    store = open_sqlite(path, NOW)
    try:
        with pytest.raises(Conflict, match="already belongs to the attempt att_2"):
            await store.task_claims.claim("att_1", [TaskRef(id="a")], NOW, "operator")
        recalled = await store.recall(old.owner, Idempotency(key="k", digest=b"d"), NOW)
        assert recalled is not None
        assert (recalled.id, recalled.request, recalled.outputs) == (old.id, request, old.outputs)
        assert await store.open_ids(NOW) == [old.id]
        other = replace(generation(), status=Status.COMPLETED)
        await store.create(other, named=[used.id])
        assert await store.delete(other.id, other.owner, NOW)
        assert set(await store.files([used.id], old.owner)) == {used.id}, "the older generation uses it"
    finally:
        await store.close()
