"""Deadlines over restarts of a gateway on a machine whose clock is wrong: nothing lives longer, nothing ends early."""

from datetime import timedelta
from typing import Any

import pytest

FOX_TEXT = "foxapi/kling-v3-text-to-video"
STUCK = "waves [[sandbox:foxapi:submit:stuck]]"


async def restarted(gateway: Any, wrong_by: float) -> None:
    """Stop; let the next process find a wall clock that is wrong by so many seconds."""
    await gateway.stop()
    gateway.clock._now += timedelta(seconds=wrong_by)
    gateway.clock._timers.clear()
    await gateway.start()


def left(gateway: Any, made: dict[str, Any]) -> float:
    return float(made["expires_at"] - gateway.app.clock.now().timestamp())


@pytest.mark.parametrize("wrong_by", [-3600.0, -86400.0])
async def test_a_clock_that_was_set_back_lets_nothing_live_longer(gateway: Any, events: Any, wrong_by: float) -> None:
    made = await gateway.post(model=FOX_TEXT, prompt=STUCK, deadline_seconds=1800)
    await gateway.until_state(made["id"], "accepted")
    await gateway.clock.run_for(600)
    before = left(gateway, made)

    await restarted(gateway, wrong_by)

    assert left(gateway, made) == pytest.approx(before, abs=0.01)
    assert [one["seconds"] for one in events if one["event"] == "clock_behind_ledger"] == [pytest.approx(-wrong_by)]
    await gateway.clock.run_for(before - 30)
    assert (await gateway.get(made["id"]))["status"] == "in_progress"
    await gateway.clock.run_for(60)
    assert (await gateway.get(made["id"]))["status"] == "expired"
    assert gateway.submits == {"foxapi": 1}


async def test_a_clock_that_was_ahead_and_is_right_again_ends_nothing_early(gateway: Any) -> None:
    gateway.clock.move_on(3600)  # what follows is told by a clock an hour ahead
    made = await gateway.post(model=FOX_TEXT, prompt=STUCK, deadline_seconds=1800)
    await gateway.until_state(made["id"], "accepted")

    await restarted(gateway, -3600)

    assert 1700 < left(gateway, made) <= 1800
    await gateway.clock.run_for(1700)
    assert (await gateway.get(made["id"]))["status"] == "in_progress"
    await gateway.clock.run_for(110)
    assert (await gateway.get(made["id"]))["status"] == "expired"


async def test_a_start_goes_on_from_what_the_last_process_saw_though_nothing_was_stored(gateway: Any) -> None:
    made = await gateway.post(model=FOX_TEXT, prompt=STUCK, deadline_seconds=7200)
    await gateway.until_state(made["id"], "in_progress", "accepted")
    await gateway.clock.run_for(3000)
    gateway.app._timekeeper.start()  # as it does by itself every few seconds of real time
    seen = gateway.app.clock.now()
    await gateway.crash()
    (gateway.folder / "ledger.db-lock").write_text(f"{seen.timestamp():.3f}\n")  # a crash adds nothing to it

    await restarted(gateway, -2900)

    assert gateway.app.clock.now() >= seen - timedelta(seconds=0.01)


async def test_a_spoilt_note_of_the_time_is_left_out(gateway: Any) -> None:
    await gateway.stop()
    (gateway.folder / "ledger.db-lock").write_text("tomorrow\n")
    await gateway.start()
    assert gateway.app.clock.now() == gateway.clock.now()
