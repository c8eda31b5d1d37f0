"""What the marker of the ledger costs, and that it is never ahead of the ledger."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest
from msgspec.structs import replace

from gateway.domain.errors import StoreUnavailable
from gateway.domain.generation.model import Attempt, AttemptState
from gateway.domain.lineage import Marker
from gateway.failpoints import armed
from gateway.store.port import Permission
from gateway.store.sqlite import writer
from gateway.store.sqlite.lineage import POSITION
from gateway.store.sqlite.marker import MarkerFile, file_number, read_marker
from gateway.store.sqlite.open import open_sqlite

from .test_store import NOW, generation


async def test_one_synchronous_write_serves_all_submits_of_a_transaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.db"
    store = open_sqlite(path, NOW)
    ids = []
    for _ in range(50):
        made = generation()
        attempt = f"att_{made.id.removeprefix('gen_')}_1"
        reserved = Attempt(id=attempt, number=1, route=0, slots=(0,), state=AttemptState.RESERVED, reserved_at=NOW)
        await store.create(replace(made, attempts=(reserved,)))
        ids.append((attempt, made.fence))
    writes: list[bool] = []
    advance = MarkerFile.advance

    def counted(self: Any, position: int, *, durable: bool) -> None:
        committed = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        assert committed.execute(POSITION).get == position, "it is committed before the marker says so"
        committed.close()
        writes.append(durable)
        advance(self, position, durable=durable)

    monkeypatch.setattr(MarkerFile, "advance", counted)
    permissions = await asyncio.gather(*(store.begin_submit(attempt, fence, NOW) for attempt, fence in ids))
    assert set(permissions) == {Permission.GRANTED}
    assert writes == [True], "50 submits, one write"
    await store.create(generation())
    assert writes == [True, False], "a create does not wait for it"
    marker = read_marker(path)
    assert isinstance(marker, Marker)
    assert marker.file in {0, file_number(path)}
    await store.close()

    store = open_sqlite(path, NOW + timedelta(seconds=1))
    assert (store.lineage.copy, store.lineage.held) == (None, ())
    await store.close()


async def test_a_submit_whose_marker_fails_is_refused_and_the_next_ones_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.db"
    store = open_sqlite(path, NOW)
    made = await store.create(
        replace(
            generation(),
            attempts=tuple(
                Attempt(id=f"att_{n}", number=n, route=0, slots=(0,), state=AttemptState.RESERVED, reserved_at=NOW)
                for n in (1, 2)
            ),
        )
    )

    async def states() -> list[str]:
        stored = await store.get(made.id)
        assert stored is not None
        return [attempt.state for attempt in stored.attempts]

    failing = True

    def fail(window: str) -> None:
        if failing and window == "marker_fails":
            armed("marker_fails:1:error")(window)

    monkeypatch.setattr(writer, "reach", fail)
    assert await store.begin_submit("att_1", made.fence, NOW) is Permission.UNMARKED
    assert await states() == ["submitting", "reserved"]
    for _ in range(2):
        with pytest.raises(StoreUnavailable) as refused:
            await store.begin_submit("att_2", made.fence, NOW)
        assert "the marker beside the ledger cannot be written" in str(refused.value.reason)
        assert await states() == ["submitting", "reserved"]
    await store.create(generation())  # everything else is stored all the same
    with pytest.raises(StoreUnavailable):
        await store.begin_submit("att_1", made.fence, NOW)

    failing = False
    assert await store.begin_submit("att_1", made.fence, NOW) is Permission.OVERTAKEN
    assert await store.begin_submit("att_2", made.fence, NOW) is Permission.GRANTED
    assert read_marker(path) == store.lineage.marker
    await store.close()


async def test_events_after_a_restore_have_numbers_that_were_never_given(tmp_path: Path) -> None:
    path, copy = tmp_path / "ledger.db", tmp_path / "copy.db"
    store = open_sqlite(path, NOW)
    first = await store.create(generation())
    connection = apsw.Connection(str(path))
    connection.execute("vacuum into ?", (str(copy),))
    await store.create(generation())
    newest = connection.execute(POSITION).get
    connection.close()
    await store.close()
    copy.replace(path)

    store = open_sqlite(path, NOW)
    assert store.lineage.held == (first.id,)
    await store.create(later := generation())
    assert [event.seq > newest for event in await store.events(later.id)] == [True]
    await store.close()
