"""What is old is removed, a few rows at a time, and nothing that is still needed."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace

from gateway.domain.adapter.failure import Billed
from gateway.domain.adapter.request import TextInput
from gateway.domain.adapter.task import Artifact, Status, TaskRef
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
from gateway.domain.generation.transitions import SaveStatus
from gateway.domain.webhooks import Delivery, DeliveryState, DeliveryTry
from gateway.engine import old_rows
from gateway.engine.old_rows import KeepFor, OldRows, kept_for
from gateway.ids import new_id
from gateway.live import Live
from gateway.settings.sections import RetentionSettings
from gateway.store.port import Idempotency
from gateway.store.sql import webhooks as webhook_rows
from gateway.store.sql.store import SqlStore
from gateway.store.sqlite.open import open_sqlite
from gateway.store.usage import UsageQuery
from gateway.store.webhooks import DeliveryQuery

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
DAY = timedelta(days=1)
OLD = NOW - 10 * DAY
KEEP = KeepFor(generations=7 * DAY, events=7 * DAY, deliveries=7 * DAY, usage=7 * DAY)


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    store = open_sqlite(tmp_path / "ledger.db", NOW)
    yield store
    await store.close()


def attempt(state: AttemptState) -> Attempt:
    return Attempt(
        id=new_id("att_", OLD),
        number=1,
        route=0,
        slots=(0,),
        state=state,
        reserved_at=OLD,
        sent_at=OLD,
        billed=Billed.MAYBE,
        tasks=() if state is AttemptState.SUBMITTING else (Task(ref=TaskRef(id=new_id("t", OLD)), slot=0),),
    )


def generation(**changes: Any) -> Generation:
    """A generation that ended long ago and that nobody needs any more."""
    plain = Generation(
        id=new_id("gen_", OLD),
        owner="alice",
        kind="video",
        request=GenerationRequest(model="hero", input=TextInput(), prompt="a fox", metadata={"order": "1"}),
        plan=Plan(routes=(Route(provider="acme", model="one", capability_name="one", cost_usd=0.5),)),
        status=Status.COMPLETED,
        created_at=OLD,
        deadline_at=OLD + DAY,
        completed_at=OLD + timedelta(minutes=1),
        outputs=(Output(index=0, status=Status.COMPLETED),),
        attempts=(attempt(AttemptState.ABANDONED),),
        fence=1,
    )
    return replace(plain, **changes)


LINK = Output(index=0, status=Status.COMPLETED, artifact=Artifact(url="https://x.example/a.mp4"), expires_at=NOW + DAY)
NEEDED: dict[str, Callable[[], Generation]] = {
    "open": lambda: generation(status=Status.IN_PROGRESS, completed_at=None),
    "young": lambda: generation(completed_at=NOW - 6 * DAY),
    "submitting": lambda: generation(attempts=(attempt(AttemptState.SUBMITTING),)),
    "accepted": lambda: generation(attempts=(attempt(AttemptState.ACCEPTED),)),
    "followed": lambda: generation(deadline_at=NOW + DAY),
    "to_archive": lambda: generation(outputs=(LINK,)),
}


def removed(store: SqlStore, keep: KeepFor) -> Any:
    return OldRows(store, Live(keep)).remove(NOW, lambda: False)


async def exists(store: SqlStore, generation_id: str) -> bool:
    return await store.get(generation_id) is not None


async def test_only_generations_that_nobody_needs_are_removed(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(old_rows, "BATCH_OF_GENERATIONS", 2)
    needed = {name: (await store.create(make())).id for name, make in NEEDED.items()}
    with_file = await store.create(generation())
    assert await store.archived_files.announce(with_file.id, ["a/1.mp4"], NOW + DAY)
    gone = [
        (await store.create(generation(), idempotency=Idempotency(key=f"k{at}", digest=b"1"))).id for at in range(5)
    ]

    assert await removed(store, KeepFor()) == 0
    assert await removed(store, replace(KEEP, events=None, usage=None)) == len(gone)

    assert not [generation_id for generation_id in gone if await exists(store, generation_id)]
    assert [name for name, generation_id in needed.items() if not await exists(store, generation_id)] == []
    assert await exists(store, with_file.id)
    tables = {
        table: (await store._reader.all(f"select count(*) from {table} where generation_id = ?", (gone[0],)))[0][0]  # noqa: S608  # names of tables
        for table in ("attempts", "outputs", "events", "generation_metadata", "purchases", "deleted_generations")
    }
    assert tables == {
        "attempts": 0, "outputs": 0, "events": 0, "generation_metadata": 0, "purchases": 1, "deleted_generations": 1
    }  # fmt: skip
    days = UsageQuery(first_day=OLD.date(), last_day=OLD.date())
    (total,) = await store.usage.rows(days, 1)
    assert total.counts.completed == len(gone) + len(needed)  # all but the open one, and the one with a file

    await store.archived_files.forget(["a/1.mp4"], NOW + 2 * DAY)
    assert await removed(store, replace(KEEP, events=None, usage=None)) == 1


async def test_a_repeat_after_the_removal_is_what_a_repeat_after_that_time_is(store: SqlStore) -> None:
    """An idempotency key counts for 24 hours, and no retention is shorter than that."""
    idempotency = Idempotency(key="k", digest=b"1")
    ended = NOW - DAY - timedelta(seconds=1)
    made = generation(id=new_id("gen_", ended), created_at=ended, completed_at=ended, deadline_at=ended)
    await store.create(made, idempotency=idempotency)
    keep = kept_for(RetentionSettings(generations_days=1))
    assert await removed(store, keep) == 1
    assert await store.recall("alice", idempotency, NOW) is None


async def test_events_go_except_that_of_the_end(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(old_rows, "BATCH", 2)
    plain = generation(status=Status.QUEUED, completed_at=None, attempts=())
    ended = [await store.create(replace(plain, id=new_id("gen_", OLD))) for _ in range(3)]
    end = SaveStatus(
        was=Status.QUEUED,
        status=Status.FAILED,
        progress=0,
        provider=None,
        provider_model=None,
        failure=None,
        completed_at=OLD,
    )
    for made in ended:
        assert await store.write(made, [end], OLD)
    still_open = await store.create(replace(plain, id=new_id("gen_", OLD)))
    young = await store.create(replace(plain, id=new_id("gen_", NOW), created_at=NOW))
    rows = OldRows(store, Live(KeepFor(events=7 * DAY)))

    assert await rows.remove(NOW, lambda: False) == 3
    for made in ended:
        assert [event.type for event in await store.events(made.id)] == ["generation.failed"]
    for made in (still_open, young):
        assert [event.type for event in await store.events(made.id)] == ["generation.queued"]

    assert await store.write(still_open, [end], OLD)
    assert await rows.remove(NOW, lambda: False) == 1  # it waited for the open one, and goes on from there


async def test_deliveries_that_have_ended_go(store: SqlStore) -> None:
    made = [await store.create(generation(status=Status.QUEUED, completed_at=None)) for _ in range(2)]
    ids = []
    for number, parent in enumerate(made):
        delivery = Delivery(
            id=new_id("dlv_", OLD),
            key="alice",
            event_id=f"evt_{number}",
            type="video.generation.completed",
            url="https://client.example/hook",
            created_at=OLD,
            generation_id=parent.id,
            next_at=OLD,
        )
        await store._writer.run(lambda transaction, row=delivery: webhook_rows._insert(transaction, row))
        ids.append(delivery.id)
    (claim, _) = await store.webhooks.claim({("alice", "client.example:443"): 2}, NOW, NOW + DAY)
    assert await store.webhooks.note(claim, DeliveryTry(at=NOW, duration_seconds=0.1, status=200))

    assert await OldRows(store, Live(KeepFor())).deliveries(NOW, 10) == 0
    assert await OldRows(store, Live(KEEP)).deliveries(NOW, 10) == 1
    left = (await store.webhooks.page(DeliveryQuery(key="alice", limit=9))).data
    assert [(row.id, row.state) for row in left] == [(({*ids} - {claim.delivery.id}).pop(), DeliveryState.PENDING)]


async def test_a_stop_ends_the_removal_after_its_batch(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(old_rows, "BATCH_OF_GENERATIONS", 2)
    for _ in range(6):
        await store.create(generation())
    answers = iter([False, True, True, True])
    assert await OldRows(store, Live(KEEP)).remove(NOW, lambda: next(answers)) == 2
