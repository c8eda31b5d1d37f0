"""Deadlines across restarts on a machine whose clock is wrong: they come neither later nor earlier than promised."""

from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest

from gateway.domain.ledger_clock import ClockTrouble

FOX_TEXT = "foxapi/kling-v3-text-to-video"
STUCK = "waves [[sandbox:foxapi:submit:stuck]]"


async def restarted(gateway: Any, wrong_by: float) -> None:
    """Stop the gateway, and set the system clock wrong by this many seconds for the next process."""
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
    assert [event["seconds"] for event in events if event["event"] == "clock_behind_ledger"] == [
        pytest.approx(-wrong_by)
    ]
    await gateway.clock.run_for(before - 30)
    assert (await gateway.get(made["id"]))["status"] == "in_progress"
    await gateway.clock.run_for(60)
    assert (await gateway.get(made["id"]))["status"] == "expired"
    assert gateway.submits == {"foxapi": 1}


async def test_a_clock_that_was_ahead_and_is_right_again_ends_nothing_early(gateway: Any) -> None:
    gateway.clock.move_on(3600)  # from now on the clock is an hour ahead
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
    gateway.app._ledger_clock.start()  # which it also does by itself every few seconds of real time
    seen = gateway.app.clock.now()
    await gateway.crash()
    # A crash leaves the last time that was written.
    (gateway.folder / "ledger.db-lock").write_text(f"{seen.timestamp():.3f}\n")

    await restarted(gateway, -2900)

    assert gateway.app.clock.now() >= seen - timedelta(seconds=0.01)


async def test_a_spoilt_note_of_the_time_is_left_out(gateway: Any) -> None:
    await gateway.stop()
    (gateway.folder / "ledger.db-lock").write_text("tomorrow\n")
    await gateway.start()
    assert gateway.app.clock.now() == gateway.clock.now()


# --- a clock that is very wrong ---------------------------------------------------------------------------------------

YEARS = 3653 * 86_400.0
DAY = 86_400.0


async def refused(gateway: Any, wrong_by: float) -> str:
    """Stop the gateway, and set the clock wrong so that the next start is refused. Returns the error message."""
    await gateway.stop()
    gateway.clock._now += timedelta(seconds=wrong_by)
    gateway.clock._timers.clear()
    with pytest.raises(ClockTrouble) as trouble:
        await gateway.start()
    return str(trouble.value)


async def test_a_clock_years_ahead_expires_nothing_and_leaves_no_trace(gateway: Any) -> None:
    made = await gateway.post(model=FOX_TEXT, prompt="waves")
    await gateway.until_state(made["id"], "accepted")

    for _ in range(2):
        message = await refused(gateway, YEARS)
        assert "2025-11-21" in message
        assert "2035-11-22" in message
        assert "serve --accept-clock" in message
        gateway.clock._now -= timedelta(seconds=YEARS)

    await gateway.start()
    done = await gateway.finish(made["id"])
    assert (done["status"], gateway.submits) == ("completed", {"foxapi": 1})
    assert abs(done["created_at"] - gateway.clock.now().timestamp()) < 3600


async def test_a_long_stop_with_open_generations_is_accepted_by_an_operator(gateway: Any) -> None:
    made = await gateway.post(model=FOX_TEXT, prompt=STUCK)
    await gateway.until_state(made["id"], "accepted")
    await refused(gateway, 31 * DAY)

    gateway.accept_clock = True
    await gateway.start()

    assert (await gateway.finish(made["id"]))["status"] == "expired"
    assert gateway.submits == {"foxapi": 1}


async def test_what_a_process_with_a_clock_years_ahead_has_left_is_brought_back_when_accepted(gateway: Any) -> None:
    await gateway.stop()
    gateway.clock._now += timedelta(seconds=YEARS)
    await gateway.start()  # no generation is open, so it starts
    ended = await gateway.make(model=FOX_TEXT, prompt="waves")
    made = await gateway.post(model=FOX_TEXT, prompt="waves", deadline_seconds=1800)
    await gateway.until_state(made["id"], "accepted")
    await refused(gateway, -YEARS)

    gateway.accept_clock = True
    await gateway.start()

    now = gateway.clock.now().timestamp()
    assert gateway.app.clock.now().timestamp() == pytest.approx(now, abs=0.001), "the system clock's time"
    after = await gateway.get(made["id"])
    assert (after["created_at"], after["expires_at"]) == (int(now), int(now) + 1800)
    assert (await gateway.get(ended["id"]))["completed_at"] <= now
    assert (await gateway.finish(made["id"]))["status"] == "completed"
    new = await gateway.make(model=FOX_TEXT, prompt="waves")
    assert 0 <= new["created_at"] - now < 3600
    assert gateway.submits == {"foxapi": 3}

    gateway.accept_clock = False
    await gateway.restart()  # a later start must not notice anything
    assert abs(gateway.app.clock.now() - gateway.clock.now()) < timedelta(milliseconds=1)


async def test_a_start_far_ahead_of_an_idle_ledger_removes_nothing_for_a_day(gateway: Any, events: Any) -> None:
    gateway.fetch_allow = (ip_network("127.0.0.0/8"),)
    await gateway.restart()
    done = await gateway.make(model=FOX_TEXT, prompt="waves")
    assert done["data"][0]["bytes"]
    folder = gateway.folder / "artifacts"

    def files() -> int:
        return sum(path.suffix == ".mp4" for path in folder.rglob("*"))

    async def swept() -> None:
        """Let the sweeper do its next round."""
        wake = gateway.app._sweeper._wake.set
        await gateway.until(lambda: any(timer.callback == wake for _, _, timer in gateway.clock._timers))
        gateway.clock.move_on(3700)
        await gateway.until(lambda: any(timer.callback == wake for _, _, timer in gateway.clock._timers))

    await restarted(gateway, YEARS)
    for _ in range(23):
        await swept()
    assert [event["event"] for event in events if event["event"] == "clock_ahead_of_ledger"] == [
        "clock_ahead_of_ledger"
    ]
    assert files() == 1

    await swept()
    assert files() == 0


async def test_a_small_lag_of_the_clock_does_not_show_in_webhook_timestamps(gateway: Any) -> None:
    await restarted(gateway, -3600)
    lag = gateway.app.clock.now() - gateway.app._deliverer._wall_clock.now()
    assert 3590 < lag.total_seconds() <= 3600
