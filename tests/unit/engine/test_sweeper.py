"""The sweeper removes what has expired, and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest
import pytest_asyncio
import structlog

from gateway.artifacts.folder import ArtifactFolder
from gateway.domain.adapter.failure import Billed
from gateway.domain.adapter.request import TextInput
from gateway.domain.adapter.task import Status, TaskRef
from gateway.domain.errors import GenerationDeleted, StoreUnavailable
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
from gateway.domain.routing.image_limits import ImageFacts
from gateway.engine import sweeper as sweep
from gateway.engine.sweeper import Sweeper
from gateway.ids import new_id
from gateway.inputs import blob_folder
from gateway.inputs.blob_folder import BlobFolder
from gateway.live import Live
from gateway.store.port import Idempotency, StoredFile
from gateway.store.sqlite.open import open_sqlite

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
KEEP_PURCHASES = timedelta(days=400)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1, seconds=1)
FACTS = ImageFacts(content_type="image/png", bytes=9, width=4, height=3)
KNOWN = Idempotency(key="k", digest=b"1")


class ManualClock:
    """A clock with at most one timer, because the sweeper waits for one thing at a time."""

    def __init__(self) -> None:
        self.moment = NOW
        self.waits: list[float] = []
        self._callback: Callable[[], None] | None = None
        self.timer_set = asyncio.Event()

    def now(self) -> datetime:
        return self.moment

    def call_later(self, seconds: float, callback: Callable[[], None]) -> "ManualClock":
        self.waits.append(seconds)
        self._callback = callback
        self.timer_set.set()
        return self

    def cancel(self) -> None:
        self._callback = None

    def fire(self) -> None:
        assert self._callback is not None
        self.timer_set.clear()
        self._callback()


class Bench:
    """A sweeper over a store and a folder of blobs."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.folder = folder / "blobs"
        self.store = open_sqlite(folder / "ledger.db", NOW)
        self.blobs = BlobFolder(self.folder, self.clock, min_free_bytes=Live(0))
        self.artifacts = ArtifactFolder(folder / "artifacts")
        self.sweeper = Sweeper(self.store, self.blobs, self.artifacts, self.clock, keep_purchases=Live(KEEP_PURCHASES))
        self.task: asyncio.Task[None] | None = None

    async def round(self) -> None:
        """Let the sweeper do one round: its first, or the next."""
        if self.task is None:
            self.task = asyncio.create_task(self.sweeper.run())
        else:
            self.clock.fire()
        async with asyncio.timeout(5):
            await self.clock.timer_set.wait()

    async def create(self, *contents: bytes, **changes: Any) -> Generation:
        """An ended generation with these inputs."""
        idempotency = changes.pop("idempotency", None)
        generation = Generation(
            **{
                "id": new_id("gen_", self.clock.moment),
                "owner": "alice",
                "kind": "video",
                "request": GenerationRequest(model="hero", input=TextInput(), prompt="a fox"),
                "plan": Plan(routes=()),
                "status": Status.COMPLETED,
                "created_at": self.clock.moment,
                "deadline_at": self.clock.moment + HOUR,
                "outputs": (Output(index=0),),
                "fence": 1,
                **changes,
            }
        )
        files = [
            StoredFile(id=f"file_{content.hex()}", key="alice", sha256=digest, facts=FACTS, created_at=NOW)
            for content, digest in [(content, await self.blobs.put(content)) for content in contents]
        ]
        return await self.store.create(generation, files, idempotency)

    @property
    def contents(self) -> set[bytes]:
        """The contents of all blobs in the folder."""
        return {path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.sweeper.stop()
    if bench.task is not None:
        await bench.task
    await bench.store.close()


@pytest.fixture
def events() -> Iterator[list[Mapping[str, Any]]]:
    with structlog.testing.capture_logs() as captured:
        yield captured


async def test_a_blob_is_removed_an_hour_after_its_generation_was_deleted(bench: Bench) -> None:
    made = await bench.create(b"one", b"both")
    await bench.create(b"two", b"both")
    assert await bench.store.delete(made.id, "alice", NOW)

    bench.clock.moment += HOUR
    await bench.round()
    assert bench.contents == {b"one", b"two", b"both"}, "it is exactly an hour old"

    bench.clock.moment += timedelta(seconds=1)
    await bench.round()
    assert bench.contents == {b"two", b"both"}


async def test_a_blob_of_a_create_that_failed_is_removed(bench: Bench) -> None:
    await bench.blobs.put(b"never named")
    bench.clock.moment += 2 * HOUR

    await bench.round()

    assert bench.contents == set()


async def test_a_blob_that_was_put_again_stays_for_the_create_to_come(bench: Bench) -> None:
    made = await bench.create(b"one")
    assert await bench.store.delete(made.id, "alice", NOW)
    bench.clock.moment += 2 * HOUR
    await bench.blobs.put(b"one")

    await bench.round()

    assert bench.contents == {b"one"}


async def test_a_blob_that_is_put_between_the_read_and_the_removal_stays(bench: Bench) -> None:
    """The ledger does not name the blob yet when the sweeper reads it."""
    made = await bench.create(b"one")
    assert await bench.store.delete(made.id, "alice", NOW)
    bench.clock.moment += 2 * HOUR
    real = bench.store.named_blobs
    again: list[Generation] = []

    async def slow(digests: list[str]) -> set[str]:
        named = await real(digests)
        again.append(await bench.create(b"one"))
        return named

    bench.store.named_blobs = slow  # type: ignore[method-assign, assignment]  # the real one, with somebody in between
    await bench.round()

    [file] = (await bench.store.files([f"file_{b'one'.hex()}"], "alice")).values()
    assert len(again) == 1
    assert await bench.blobs.get(file.sha256) == b"one"


async def test_a_round_removes_more_than_one_batch(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sweep, blob_folder):
        monkeypatch.setattr(module, "BATCH", 2)
    # The digests of all but the last begin with the same characters.
    for number in (30, 58, 153, 358, 372, 7):
        made = await bench.create(str(number).encode(), idempotency=Idempotency(key=str(number), digest=b""))
        assert await bench.store.delete(made.id, "alice", NOW)
    bench.clock.moment += DAY

    await bench.round()

    assert bench.contents == set()
    assert await bench.store.forget(bench.clock.moment, 100) == 0


async def test_keys_past_their_day_are_forgotten(bench: Bench, events: list[Mapping[str, Any]]) -> None:
    made = await bench.create(idempotency=KNOWN)
    assert await bench.store.delete(made.id, "alice", NOW)
    await bench.round()
    with pytest.raises(GenerationDeleted):
        await bench.store.recall("alice", KNOWN, NOW)

    bench.clock.moment += DAY
    await bench.round()

    assert await bench.store.recall("alice", KNOWN, NOW) is None
    [line] = [event for event in events if event["event"] == "sweep_finished"]
    # Two rows: that of the key, and that by which a retry without a key is recognised.
    assert (line["rows"], line["blobs"]) == (2, 0)


async def test_it_sweeps_every_hour(bench: Bench, events: list[Mapping[str, Any]]) -> None:
    for _ in range(3):
        await bench.round()

    assert bench.clock.waits == [3600.0] * 3
    assert events == [], "there was nothing to remove"


async def test_by_turns_rows_and_results_are_removed_only_when_it_is_the_turn_of_this_one(bench: Bench) -> None:
    bench.sweeper._by_turns = True
    made = await bench.create(b"one", idempotency=KNOWN)
    assert await bench.store.delete(made.id, "alice", NOW)
    bench.clock.moment += DAY
    await bench.round()
    assert bench.contents == set(), "its own blobs are removed in any case"
    with pytest.raises(GenerationDeleted):
        await bench.store.recall("alice", KNOWN, NOW)

    bench.clock.timer_set.clear()
    bench.sweeper.soon()
    bench.sweeper.take_turn()
    async with asyncio.timeout(5):
        await bench.clock.timer_set.wait()
    assert await bench.store.recall("alice", KNOWN, NOW) is None


async def test_a_round_that_finds_nothing_needs_no_lock_on_the_ledger(
    bench: Bench, events: list[Mapping[str, Any]]
) -> None:
    await bench.create(b"one", idempotency=KNOWN)
    bench.clock.moment += 2 * HOUR
    with closing(apsw.Connection(str(bench.store._writer._path))) as another:
        another.execute("begin immediate")
        await bench.round()

    assert (events, bench.contents) == ([], {b"one"})


@pytest.mark.parametrize(
    ("error", "logged"), [(StoreUnavailable("away"), "sweep_postponed"), (ZeroDivisionError(), "sweep_failed")]
)
@pytest.mark.parametrize("name", ["forget", "named_blobs"])
async def test_a_round_that_fails_leaves_the_next_one(
    bench: Bench, events: list[Mapping[str, Any]], name: str, error: Exception, logged: str
) -> None:
    await bench.blobs.put(b"one")
    bench.clock.moment += 2 * HOUR
    real = getattr(bench.store, name)

    async def broken(*arguments: object) -> None:
        raise error

    setattr(bench.store, name, broken)
    await bench.round()
    assert (bench.contents, [event["event"] for event in events]) == ({b"one"}, [logged])

    setattr(bench.store, name, real)
    await bench.round()
    assert bench.contents == set()


@pytest.mark.parametrize("name", ["forget", "named_blobs"])
async def test_a_stop_ends_the_sweeper_after_its_current_batch(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for module in (sweep, blob_folder):
        monkeypatch.setattr(module, "BATCH", 1)
    for number in (30, 58, 153, 7):  # the digests of the first three begin with the same characters and sort first
        await bench.create(idempotency=Idempotency(key=str(number), digest=b""))
        await bench.blobs.put(str(number).encode())
    bench.clock.moment += DAY
    real: Callable[..., Awaitable[Any]] = getattr(bench.store, name)
    look = bench.blobs.old
    calls, looks = [], []

    async def stopping(*arguments: object) -> object:
        calls.append(arguments)
        bench.sweeper.stop()
        return await real(*arguments)

    async def looking(folder: str, before: datetime) -> list[str]:
        looks.append(folder)
        return await look(folder, before)

    setattr(bench.store, name, stopping)
    bench.blobs.old = looking  # type: ignore[method-assign]  # the real one, counted
    async with asyncio.timeout(5):
        await bench.sweeper.run()

    assert len(calls) == 1
    assert (len(looks), len(bench.contents)) == ((0, 4) if name == "forget" else (1, 3))
    assert bench.clock.waits == []


async def test_a_stop_ends_the_sweeper_while_it_waits(bench: Bench) -> None:
    await bench.round()
    assert bench.task is not None

    bench.sweeper.stop()

    async with asyncio.timeout(5):
        await bench.task


async def test_a_result_that_cannot_be_removed_does_not_keep_the_others(
    bench: Bench, events: list[Mapping[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = await bench.create(b"one", idempotency=KNOWN)
    assert await bench.store.archived_files.announce(
        generation.id, ["a/stuck.mp4", "a/goes.mp4"], bench.clock.moment + HOUR
    )
    remove = bench.artifacts.remove

    async def refuses(names: list[str]) -> None:
        if "a/stuck.mp4" in names:
            raise StoreUnavailable("Forbidden.")
        await remove(names)

    monkeypatch.setattr(bench.artifacts, "remove", refuses)
    bench.clock.moment += DAY
    await bench.round()

    assert await bench.store._reader.all("select name from artifacts") == [("a/stuck.mp4",)]
    assert await bench.store.recall("alice", KNOWN, NOW) is None, "the rest of the round was done"
    assert [event["files"] for event in events if event["event"] == "results_not_removed"] == [1]

    monkeypatch.undo()
    bench.clock.moment += 2 * HOUR
    await bench.round()
    assert await bench.store._reader.all("select name from artifacts") == []


async def test_a_file_that_is_stored_after_the_delete_keeps_its_row_until_it_expires(bench: Bench) -> None:
    """A file that is stored after its generation was deleted is recorded, and removed when its time is over."""
    generation = await bench.create(b"one")
    assert await bench.store.archived_files.announce(generation.id, ["a/late.mp4"], bench.clock.moment + HOUR)
    assert await bench.store.delete(generation.id, "alice", NOW)
    assert await bench.store.archived_files.expired(bench.clock.moment, 10) == []
    assert await bench.store.archived_files.expired(bench.clock.moment + HOUR, 10) == ["a/late.mp4"]


async def test_a_purchase_is_removed_when_its_retention_is_over(bench: Bench) -> None:
    plan = Plan(routes=(Route(provider="foxapi", model="k3", capability_name="k3"),))
    sent = Attempt(
        id="att_1",
        number=1,
        route=0,
        slots=(0,),
        state=AttemptState.COMPLETED,
        reserved_at=NOW,
        sent_at=NOW,
        billed=Billed.YES,
        tasks=(Task(ref=TaskRef(id="t"), slot=0, status=Status.COMPLETED),),
    )
    made = await bench.create(plan=plan, attempts=(sent,))
    assert await bench.store.delete(made.id, "alice", NOW)

    bench.clock.moment = NOW + KEEP_PURCHASES
    await bench.round()
    assert len(await bench.store.purchases.page(10)) == 1

    bench.clock.moment += timedelta(seconds=1)
    await bench.round()
    assert await bench.store.purchases.page(10) == []
