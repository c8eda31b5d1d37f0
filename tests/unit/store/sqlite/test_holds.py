"""Holds survive a restart, and the ledger refuses the submits of a held provider."""

from datetime import UTC, datetime
from pathlib import Path

from msgspec.structs import replace

from gateway.domain.generation.model import Attempt, AttemptState
from gateway.domain.health.hold import Hold
from gateway.ids import new_id
from gateway.store.port import Permission
from gateway.store.sqlite.open import open_sqlite

from ...builders import generation

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOLD = Hold(provider="bolt", held_at=NOW, held_by="ada", note="why")


async def test_a_hold_refuses_submits_also_after_a_restart(tmp_path: Path) -> None:
    store = open_sqlite(tmp_path / "ledger.db", NOW)
    attempts = tuple(
        Attempt(id=f"att_{n}", number=n, route=n - 1, slots=(0,), state=AttemptState.RESERVED, reserved_at=NOW)
        for n in (1, 2)
    )
    made = await store.create(replace(generation("acme/one", "bolt/two"), id=new_id("gen_", NOW), attempts=attempts))
    assert await store.holds.put(HOLD) == HOLD
    assert await store.holds.put(replace(HOLD, note="other")) == HOLD
    await store.close()

    store = open_sqlite(tmp_path / "ledger.db", NOW)
    try:
        assert store.at_start.holds == (HOLD,)
        assert await store.holds.now() == [HOLD]
        assert await store.begin_submit("att_2", made.fence, NOW) is Permission.HELD
        unchanged = await store.get(made.id)
        assert unchanged is not None
        assert unchanged.attempts == attempts
        assert await store.begin_submit("att_1", made.fence, NOW) is Permission.GRANTED, "another provider is not held"
        assert await store.holds.remove("bolt")
        assert not await store.holds.remove("bolt")
        assert await store.begin_submit("att_2", made.fence, NOW) is Permission.GRANTED
    finally:
        await store.close()
