"""How many polls a plan makes, and how long a finished task waits for the one that sees it. A simulation.

The plans are the gateway's own code: `task_polling` decides its polls, `poll_advice` those of clients. A fixed
interval is beside them, and a plan that also uses the completion times that the gateway measures for each route.

The medians are documented: FoxAPI's estimate at a submit is 45 s, recorded tasks of the relay took 174 to 190 s, and
Keevx says that a video takes up to 20 minutes. How the times are spread around them is assumed: log-normal, with nine
of ten tasks done in 1.5 or 2.2 times the median. The sandbox's tasks take 6 s, or with its fault `slow_task` 66 s.
"""

import random
import statistics
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec.structs import replace

from bench.effort import Effort
from bench.load import percentile
from bench.report import Section, Table
from bench.systems import System
from gateway.domain.adapter.contract import Polling
from gateway.domain.adapter.request import TextInput
from gateway.domain.adapter.task import Status, TaskRef
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
from gateway.domain.generation.poll_advice import Pace, poll_after
from gateway.domain.generation.task_polling import PollSchedule, after_reading, first_schedule
from gateway.upstream.health import TIMES_MAX, CompletionTimes
from gateway.upstream.registry import load_adapters

TASKS = 3000
MEASURED_MIN = 10  # completions before the measured times are used
T0 = datetime(2026, 11, 30, tzinfo=UTC)
SPREADS = (("narrow", 0.316), ("wide", 0.615))  # of the logarithm: nine of ten within 1.5 or 2.2 times the median


@dataclass(frozen=True)
class Case:
    """A provider, how long its tasks take, and what it says about that at the submit."""

    name: str
    polling: Polling
    draw: Callable[[random.Random], float]
    estimate: float | None = None


def cases() -> list[Case]:
    """The distributions."""

    def around(median: float, sigma: float) -> Callable[[random.Random], float]:
        return lambda chance: median * chance.lognormvariate(0, sigma)

    polling = {name: adapter.polling for name, adapter in load_adapters().items()}
    foxapi = polling["foxapi"]
    documented = (
        ("FoxAPI, 45 s", foxapi, 45.0, 45.0),
        ("relay, 180 s", polling["kling_relay"], 180.0, None),
        ("Keevx, 240 s", polling["keevx"], 240.0, None),
    )
    return [
        Case("sandbox, 6 s", foxapi, lambda _: 6.0),
        Case("sandbox, 6 or 66 s", foxapi, lambda chance: 6.0 if chance.random() < 0.9 else 66.0),
        *(
            Case(f"{name}, {label}", polling, around(median, sigma), estimate)
            for name, polling, median, estimate in documented
            for label, sigma in SPREADS
        ),
    ]


Polls = Callable[
    [Case, str, float, CompletionTimes | None], list[float]
]  # the moments of the polls of a task up to its end


def fixed(case: Case, seed: str, seconds: float, _: CompletionTimes | None) -> list[float]:  # noqa: ARG001  # a plan
    """Every `poll_max_seconds`."""
    interval = case.polling.poll_max_seconds
    return [interval * number for number in range(1, int(seconds // interval) + 2)]


def planned(case: Case, seed: str, seconds: float, _: CompletionTimes | None) -> list[float]:
    """The gateway's plan: the first poll by the provider's estimate, intervals that grow."""
    return _followed(case, seed, seconds, lambda schedule, _: schedule)


def learnt(case: Case, seed: str, seconds: float, times: CompletionTimes | None) -> list[float]:
    """The same with measured times: nothing before the first tasks usually end, then often until most have ended."""
    if times is None:
        return planned(case, seed, seconds, None)
    begins = times.median**2 / times.p90  # one of ten ends before, if the times are spread evenly around the median

    def change(schedule: PollSchedule, now: datetime) -> PollSchedule:
        passed, next_at = (now - T0).total_seconds(), (schedule.next_at - T0).total_seconds()
        if next_at < begins and passed < begins:
            return replace(schedule, next_at=T0 + timedelta(seconds=begins), interval_seconds=case.polling.poll_seconds)
        if passed <= times.p90:
            return replace(schedule, interval_seconds=case.polling.poll_seconds)
        return schedule

    return _followed(case, seed, seconds, change)


def _followed(
    case: Case, seed: str, seconds: float, change: Callable[[PollSchedule, datetime], PollSchedule]
) -> list[float]:
    first = None if case.estimate is None else case.estimate / 2
    schedule = change(first_schedule(_attempt(seed, first), 0, case.polling, T0), T0)
    moments: list[float] = []
    while True:
        now = schedule.next_at
        moments.append((now - T0).total_seconds())
        if moments[-1] >= seconds:
            return moments
        schedule = change(after_reading(schedule, case.polling, missing=False, asked_at=now, seed=seed, now=now), now)


def advised(case: Case, seed: str, seconds: float, times: CompletionTimes | None) -> list[float]:
    """A client that follows `Retry-After`. What it waits for besides, the gateway's own poll, is not counted."""
    pace = Pace(case.polling.poll_seconds, None if times is None else times.median)
    route = Route(provider="p", model="m", capability_name="m")
    generation = Generation(
        id=seed,
        owner="bench",
        kind="video",
        request=GenerationRequest(model="m", input=TextInput(), prompt="bench"),
        plan=Plan(routes=(route,)),
        status=Status.IN_PROGRESS,
        created_at=T0,
        deadline_at=T0 + timedelta(days=1),
        outputs=(Output(index=0, attempt_id=seed),),
        attempts=(_attempt(seed, None),),
        fence=1,
    )
    moments = [0.0]
    while moments[-1] < seconds:
        wait = poll_after(generation, lambda _: pace, T0 + timedelta(seconds=moments[-1]))
        assert wait is not None
        moments.append(moments[-1] + wait)
    return moments[1:]


def _attempt(name: str, first: float | None) -> Attempt:
    return Attempt(
        id=name,
        number=1,
        route=0,
        slots=(0,),
        state=AttemptState.ACCEPTED,
        reserved_at=T0,
        sent_at=T0,
        accepted_at=T0,
        tasks=(Task(ref=TaskRef(id=name, first_poll_seconds=first), slot=0),),
    )


PLANS: dict[str, Polls] = {
    "fixed interval": fixed,
    "the gateway's plan": planned,
    "with measured times": learnt,
    "a client by Retry-After": advised,
}


def simulated(case: Case, plan: Polls) -> tuple[float, list[float], float]:
    """Polls for each task, the lags in seconds, and the average time of a task."""
    chance = random.Random(case.name)
    past: deque[float] = deque(maxlen=TIMES_MAX)
    polls = 0
    lags: list[float] = []
    taken: list[float] = []
    for number in range(TASKS):
        seconds = case.draw(chance)
        times = None
        if len(past) >= MEASURED_MIN:
            times = CompletionTimes(samples=len(past), median=statistics.median(past), p90=percentile(list(past), 0.9))
        moments = plan(case, f"att_{number}", seconds, times)
        polls += len(moments)
        lags.append(moments[-1] - seconds)
        taken.append(seconds)
        past.append(seconds)
    return polls / TASKS, lags, statistics.mean(taken)


async def plans(_folder: Path, _systems: Sequence[System], _effort: Effort) -> list[Section]:
    """Compare the plans."""
    rows = []
    for case in cases():
        for name, plan in PLANS.items():
            polls, lags, average = simulated(case, plan)
            same = average / polls / 2  # what a fixed interval with as many polls would take on average
            rows.append((f"{case.name}: {name}", (polls, statistics.mean(lags), percentile(lags, 0.99), same)))
    columns = ("polls", "lag s", "lag p99 s", "lag s of a fixed interval with as many polls")
    return [Section("plans", [Table(f"{TASKS:,} tasks each, simulated", columns, rows)])]
