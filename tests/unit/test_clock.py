"""Clocks, and waiting on them."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo

import pytest
import structlog

from gateway import clock as module
from gateway.clock import SystemClock, Timer, in_step, not_before, sleep, wait
from gateway.engine.ledger_clock import LedgerClock


class ManualTimer:
    def __init__(self, at: datetime, callback: Callable[[], None]) -> None:
        self.at = at
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class ManualClock:
    def __init__(self) -> None:
        self.moment = datetime(2026, 3, 2, tzinfo=UTC)
        self.timers: list[ManualTimer] = []

    def now(self) -> datetime:
        return self.moment

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        self.timers.append(ManualTimer(self.moment + timedelta(seconds=seconds), callback))
        return self.timers[-1]

    def pass_seconds(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)
        for timer in self.timers:
            if timer.at <= self.moment and not timer.cancelled:
                timer.cancel()
                timer.callback()


async def steps(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_sleep_ends_when_its_time_has_come_and_not_before() -> None:
    clock = ManualClock()
    sleeping = asyncio.ensure_future(sleep(clock, 10))
    await steps()

    clock.pass_seconds(9.9)
    await steps()
    assert not sleeping.done()

    clock.pass_seconds(0.1)
    await steps()
    assert sleeping.done()


async def test_wait_ends_at_the_event_and_takes_its_timer_away() -> None:
    clock, event = ManualClock(), asyncio.Event()
    waiting = asyncio.ensure_future(wait(clock, event, 10))
    await steps()

    event.set()
    await steps()

    assert waiting.done()
    assert not event.is_set(), "it is clear for the next wait"
    assert clock.timers[0].cancelled
    clock.pass_seconds(20)
    assert not event.is_set()


async def test_wait_ends_at_its_time_and_clears_the_event() -> None:
    clock, event = ManualClock(), asyncio.Event()
    waiting = asyncio.ensure_future(wait(clock, event, 10))
    await steps()

    clock.pass_seconds(10)
    await steps()

    assert waiting.done()
    assert not event.is_set()


async def test_wait_for_an_event_that_is_set_already_does_not_wait() -> None:
    clock, event = ManualClock(), asyncio.Event()
    event.set()

    await wait(clock, event, 10)

    assert not event.is_set()
    assert clock.timers[0].cancelled


async def test_a_cancelled_wait_takes_its_timer_away() -> None:
    clock, event = ManualClock(), asyncio.Event()
    waiting = asyncio.ensure_future(wait(clock, event, 10))
    await steps()

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert clock.timers[0].cancelled


@pytest.mark.parametrize("seconds", [0, -5])
async def test_a_time_that_is_over_is_waited_for_no_longer(seconds: float) -> None:
    clock = ManualClock()
    waiting = asyncio.ensure_future(sleep(clock, seconds))
    await steps()

    clock.pass_seconds(0)
    await waiting


async def test_the_system_clock_is_aware_goes_on_and_calls_back() -> None:
    clock = SystemClock()
    before, wall = clock.now(), datetime.now(UTC)
    await sleep(clock, 0.02)
    after = clock.now()

    assert before.tzinfo is UTC
    assert abs((before - wall).total_seconds()) < 1
    assert timedelta(seconds=0.015) <= after - before < timedelta(seconds=5)


async def test_a_correction_of_the_wall_clock_does_not_move_the_system_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    class SetBack(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "SetBack":
            return cls(1970, 1, 1, tzinfo=tz)

    clock = SystemClock()
    before = clock.now()

    monkeypatch.setattr(module, "datetime", SetBack)

    assert clock.now() >= before
    assert SystemClock().now().year == 1970, "a clock starts with the wall's time"


async def test_a_cancelled_timer_of_the_system_clock_does_not_call() -> None:
    called: list[int] = []
    SystemClock().call_later(0.0, lambda: called.append(1)).cancel()
    SystemClock().call_later(0.0, lambda: called.append(2))

    await asyncio.sleep(0.01)

    assert called == [2]


class Machine:
    """A machine whose time since the boot goes on while the event loop's own clock is suspended."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def elapsed(self) -> float:
        return self.seconds


async def test_a_suspension_of_the_machine_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    machine = Machine()
    clock = SystemClock(machine.elapsed)
    before = clock.now()
    called = asyncio.Event()
    clock.call_later(3600, called.set)
    await asyncio.sleep(0.03)
    assert not called.is_set()

    machine.seconds += 3600  # the event loop does not notice it

    async with asyncio.timeout(5):
        await called.wait()
    assert clock.now() - before == timedelta(hours=1)


async def test_a_long_timer_that_is_cancelled_does_not_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.005)
    machine = Machine()
    called: list[int] = []
    timer = SystemClock(machine.elapsed).call_later(60, lambda: called.append(1))
    await asyncio.sleep(0.02)
    timer.cancel()
    machine.seconds += 3600
    await asyncio.sleep(0.02)
    assert called == []


@pytest.mark.parametrize(("behind", "warned"), [(3600.0, True), (0.5, False)])
def test_a_clock_that_is_behind_goes_on_from_the_moment(behind: float, warned: bool) -> None:
    manual = ManualClock()
    moment = manual.moment + timedelta(seconds=behind)
    with structlog.testing.capture_logs() as logs:
        clock = not_before(manual, moment)
    assert clock.now() == moment
    manual.moment += timedelta(seconds=7)
    assert clock.now() == moment + timedelta(seconds=7)
    assert [line["event"] for line in logs] == ["clock_behind_ledger"] * warned


@pytest.mark.parametrize("moment", [None, datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)])
def test_a_clock_that_is_not_behind_is_left_alone(moment: datetime | None) -> None:
    manual = ManualClock()
    assert not_before(manual, moment) is manual


async def test_a_jump_of_more_than_a_month_within_a_run_is_left_out() -> None:
    machine = Machine()
    clock = SystemClock(machine.elapsed)
    machine.seconds += module.JUMP_SECONDS
    before = clock.now()

    with structlog.testing.capture_logs() as logs:
        machine.seconds += module.JUMP_SECONDS + 1
        after = clock.now()
        machine.seconds += 60

    assert (after, clock.now()) == (before, before + timedelta(minutes=1))
    assert [(line["event"], line["log_level"]) for line in logs] == [("clock_jumped", "error")]


def test_the_drift_is_how_far_the_wall_clock_was_set_since_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    class Set(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Set":
            return cls(2036, 1, 1, tzinfo=tz)

    clock = SystemClock()
    assert abs(clock.drift()) < timedelta(seconds=5)
    monkeypatch.setattr(module, "datetime", Set)
    assert clock.drift() > timedelta(days=300)


async def test_a_clock_that_is_set_while_the_gateway_runs_is_a_warning_once() -> None:
    drifts = iter([timedelta(0), timedelta(days=-3653), timedelta(days=-3653), timedelta(seconds=1)])
    written: list[datetime] = []
    ledger_clock = LedgerClock(written.append, ManualClock(), lambda: next(drifts))
    with structlog.testing.capture_logs() as logs:
        for _ in range(4):
            ledger_clock.start()
            ledger_clock.stop()
    assert [line["seconds"] for line in logs if line["event"] == "clock_set_while_running"] == [-3653 * 86_400, 1]
    assert written == [ManualClock().moment] * 8


@pytest.mark.parametrize(("ahead", "warned"), [(3.0, True), (-3.0, True), (0.25, False)])
def test_a_clock_goes_in_step_with_that_of_the_database(ahead: float, warned: bool) -> None:
    machine = SystemClock(lambda: 5.0)
    with structlog.testing.capture_logs() as logs:
        clock = in_step(machine, timedelta(seconds=ahead))
    assert clock.now() - machine.now() == timedelta(seconds=ahead)
    assert [line["event"] for line in logs] == ["clock_differs_from_database"] * warned


def test_the_clock_of_a_test_keeps_its_time() -> None:
    manual = ManualClock()
    assert in_step(manual, timedelta(days=300)) is manual
