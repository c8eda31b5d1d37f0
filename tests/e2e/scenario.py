"""A scenario: routes, faults and requests, and the outcome that is required. It is played against the sandbox."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import structlog

from gateway.domain.generation.model import AttemptState, Generation
from gateway.domain.generation.next_attempt import REPEAT_MAX_SECONDS

from .conftest import IMAGE_URL, PROVIDERS, Gateway, sandboxed

ROUTE = {"keevx": "keevx/V", "kling_relay": "kling_relay/kling-v1", "foxapi": "foxapi/kling-v3-image-to-video"}
Span = tuple[float, float]  # seconds at least and at most: tasks are read with a jitter of 10 %
NOW: Span = (0, 0)
# A task of 6 s: Keevx's task is polled after 30 s, that of the relay after 15 s, and that of FoxAPI twice.
MADE: Mapping[str, Span] = {"keevx": (30, 30), "kling_relay": (15, 15), "foxapi": (9.5, 10)}
DEADLINE_SECONDS = 300  # of generations that no route makes
PATIENCE_SECONDS = 0.25  # of real time, for a reply that never comes
MAY_HAVE_STARTED = frozenset(
    {AttemptState.ACCEPTED, AttemptState.COMPLETED, AttemptState.FAILED, AttemptState.ABANDONED, AttemptState.UNKNOWN}
)
Ended = tuple[str, str | None, str]  # of an attempt: provider, failure kind, billed


@dataclass(frozen=True)
class Fault:
    """One fault of the sandbox."""

    provider: str
    name: str
    operation: str = "submit"
    times: int | None = 1
    args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Made:
    """One generation, or several equal ones at the same moment, and the outcome that each must have."""

    attempts: tuple[Ended, ...]
    started: Mapping[str, int]  # tasks, by provider
    seconds: Span  # from its creation to its end
    status: str = "completed"
    outputs: tuple[str, ...] = ()  # their status; empty: one, with the status of the generation
    code: str | None = None  # of its error
    faults: tuple[Fault, ...] = ()
    request: Mapping[str, Any] = field(default_factory=dict)
    after: float = 0  # seconds after the one before it was created
    times: int = 1
    repeated: bool = False  # the attempts are made again and again, in an order that their waits decide


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One gateway, and the generations that are made with it."""

    name: str
    routes: tuple[str, ...]  # first to last: a provider, for its model in `ROUTE`, or "provider/model"
    made: tuple[Made, ...]
    policy: Mapping[str, Any] = field(default_factory=dict)  # settings of the model beside its routes
    address: Mapping[str, str] = field(default_factory=dict)  # base URLs, by provider
    impatient: tuple[str, ...] = ()  # providers whose replies the gateway waits for only a moment

    @property
    def title(self) -> str:
        """The unique name of the scenario."""
        return f"{self.name}: {' then '.join(self.routes)}"


def ok(provider: str) -> Ended:
    return provider, None, "yes"


def no(provider: str, kind: str) -> Ended:
    return provider, kind, "no"


def maybe(provider: str, kind: str) -> Ended:
    return provider, kind, "maybe"


def plus(*spans: Span) -> Span:
    return sum(span[0] for span in spans), sum(span[1] for span in spans)


def falls_back(name: str, first: Ended, second: str, *faults: Fault, started: int = 0, **more: Any) -> Scenario:
    """The first route fails in this way, and the second one makes the video. `seconds` until the failure is known."""
    provider = first[0]
    seconds = plus(more.pop("seconds", NOW), MADE[second])
    counted = ({provider: started} if started else {}) | {second: 1}
    made = Made(attempts=(first, ok(second)), started=counted, seconds=seconds, faults=faults)
    return Scenario(name=name, routes=(provider, second), made=(made,), **more)


def fails(name: str, routes: Sequence[str], attempts: Sequence[Ended], *faults: Fault, **more: Any) -> Scenario:
    """No route makes the video."""
    kind = more.pop("code", attempts[-1][1])
    made = Made(
        attempts=tuple(attempts),
        started=more.pop("started", {}),
        seconds=more.pop("seconds", NOW),
        status="failed",
        code=kind,
        faults=faults,
    )
    return Scenario(name=name, routes=tuple(routes), made=(made,), **more)


def never_ends(name: str, routes: Sequence[str], *faults: Fault, **more: Any) -> Scenario:
    """Every route is unavailable. They are tried one after another until the deadline is too near for another try."""
    made = Made(
        attempts=tuple(no(route, "unavailable") for route in routes),
        started={},
        seconds=(DEADLINE_SECONDS - REPEAT_MAX_SECONDS, DEADLINE_SECONDS),
        status="failed",
        code="unavailable",
        faults=faults,
        request={"deadline_seconds": DEADLINE_SECONDS},
        repeated=True,
    )
    return Scenario(name=name, routes=tuple(routes), made=(made,), **more)


def alone(name: str, provider: str, attempts: Sequence[Ended], seconds: Span, *faults: Fault, **more: Any) -> Scenario:
    """The only route makes the video in the end."""
    made = Made(attempts=tuple(attempts), started={provider: 1}, seconds=seconds, faults=faults)
    return Scenario(name=name, routes=(provider,), made=(made,), **more)


# --- playing it -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Line:
    """The outcome of the generations of one `Made`."""

    name: str
    routes: str
    status: str
    attempts: str
    started: str
    seconds: str
    wrong: tuple[str, ...]  # empty if everything is as required


COLUMNS = ("name", "routes", "status", "attempts", "started", "seconds")


async def play(scenario: Scenario, folder: Path) -> list[Line]:
    """Play a scenario; one line for each `Made`."""
    with structlog.testing.capture_logs():
        async with sandboxed(folder) as gateway:
            gateway.route(*(ROUTE.get(name, name) for name in scenario.routes), **scenario.policy)
            gateway.patience = dict.fromkeys(scenario.impatient, PATIENCE_SECONDS)
            place = gateway.sandbox.url.removeprefix("http://")
            for provider, address in scenario.address.items():
                gateway.providers[provider]["base_url"] = address.format(place=place)
            await gateway.start()
            posted = [await _ask(gateway, made, number) for number, made in enumerate(scenario.made)]
            ended = [{prompt: await _end(gateway, key) for prompt, key in ids.items()} for ids in posted]
            unrecorded = unrecorded_submits(
                gateway, [generation for generations in ended for generation in generations.values()]
            )
            return [
                await _line(gateway, scenario, made, generations, unrecorded)
                for made, generations in zip(scenario.made, ended, strict=True)
            ]


async def _ask(gateway: Gateway, made: Made, number: int) -> dict[str, str]:
    """Set the faults and create the generations. Returns their ids by their prompts."""
    await gateway.clock.run_for(made.after)
    for fault in made.faults:
        gateway.sandbox.fault(fault.provider, fault.operation, fault.name, fault.times, **fault.args)
    prompts = {}
    for index in range(made.times):
        prompt = f"Beach {number}.{index}"
        created = await gateway.post(**{"model": "m", "prompt": prompt, "image": IMAGE_URL, **made.request})
        prompts[prompt] = created["id"]
    await gateway.traffic.settle()
    return prompts


async def _end(gateway: Gateway, generation_id: str) -> Generation:
    await gateway.finish(generation_id)
    return await gateway.stored(generation_id)


async def _line(
    gateway: Gateway, scenario: Scenario, made: Made, generations: Mapping[str, Generation], unrecorded: Sequence[str]
) -> Line:
    wrong: list[str] = [*unrecorded]
    for prompt, generation in generations.items():
        seen = await gateway.get(generation.id)
        expected = {
            "status": (seen["status"], made.status),
            "error": ((seen["error"] or {}).get("code"), made.code),
            "outputs": (tuple(output["status"] for output in seen["data"]), made.outputs or (made.status,)),
            "attempts": (_attempts(seen), made.attempts),
            "routes": (set(_attempts(seen)), set(made.attempts)),
            "started": (tasks_started(gateway, prompt), made.started),
        }
        if made.repeated:
            del expected["attempts"]
        wrong += [f"{what}: {is_!r}, not {must!r}" for what, (is_, must) in expected.items() if is_ != must]
        if not made.seconds[0] <= seconds_of(generation) <= made.seconds[1]:
            wrong.append(f"seconds: {seconds_of(generation)}, not {made.seconds}")
        wrong += breaches(gateway, prompt, generation)
    started = sorted(tasks_started(gateway, prompt).items(), key=lambda item: scenario.routes.index(item[0]))
    times = f", {made.times} times" if made.times > 1 else ""
    later = f", {made.after:g} s later" if made.after else ""
    return Line(
        name=scenario.name + times + later,
        routes=" → ".join(scenario.routes),
        status=seen["status"],
        attempts=_in_words(_attempts(seen)),
        started=", ".join(f"{provider} {count}" for provider, count in started) or "-",
        seconds=f"{max(map(seconds_of, generations.values())):.1f}",
        wrong=tuple(dict.fromkeys(wrong)),
    )


def broken(scenario: Scenario, error: Exception) -> Line:
    """The line of a scenario that could not be played."""
    return Line(
        name=scenario.name,
        routes=" → ".join(scenario.routes),
        status="none",
        attempts="-",
        started="-",
        seconds="-",
        wrong=(f"{type(error).__name__}: {error}",),
    )


def _in_words(attempts: Sequence[Ended]) -> str:
    """The attempts in short, such as `keevx:unavailable → foxapi:ok`."""
    alike = [(f"{each[0]}:{each[1] or 'ok'}", len(list(group))) for each, group in groupby(attempts)]
    return " → ".join(word if count == 1 else f"{word} {count} times" for word, count in alike)


def table(lines: Sequence[Line]) -> str:
    """The table as text: one row for each line, and below it what is wrong with it."""
    rows = [COLUMNS, *([getattr(line, name) for name in COLUMNS] for line in lines)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(COLUMNS))]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for text, line in zip(shown[1:], lines, strict=True):
        shown[0] += "".join(["\n", text, *(f"\n    WRONG {mistake}" for mistake in line.wrong)])
    return shown[0]


def _attempts(seen: Mapping[str, Any]) -> tuple[Ended, ...]:
    return tuple((attempt["provider"], attempt["failure"], attempt["billed"]) for attempt in seen["attempts"])


# --- what the sandbox counted -----------------------------------------------------------------------------------------


def seconds_of(generation: Generation) -> float:
    """Seconds from the creation of a generation to its end."""
    assert generation.completed_at is not None
    return (generation.completed_at - generation.created_at).total_seconds()


def tasks_started(gateway: Gateway, prompt: str) -> Counter[str]:
    """How many tasks the sandbox has started for a prompt, by provider."""
    return Counter(task.provider for task in gateway.sandbox.state.tasks.values() if task.prompt == prompt)


def breaches(gateway: Gateway, prompt: str, generation: Generation) -> list[str]:
    """Tasks and submits beyond what any policy allows. No other generation may have this prompt."""
    problems = []
    tasks = tasks_started(gateway, prompt)
    for provider in PROVIDERS:
        attempts = [attempt for attempt in generation.attempts if generation.route(attempt).provider == provider]
        allowed = [attempt for attempt in attempts if attempt.state in MAY_HAVE_STARTED]
        if tasks[provider] > sum(max(len(attempt.slots), len(attempt.tasks)) for attempt in allowed):
            problems.append(f"{provider} started {tasks[provider]} tasks that no attempt has")
        if gateway.sandbox.state.prompts_started[provider, prompt] > len(allowed):
            problems.append(f"{provider} was paid more often than there are attempts that may have been received")
        for earlier in attempts:
            if earlier.state is AttemptState.UNKNOWN:
                problems += [
                    f"{provider} was asked again after an unclear answer"
                    for later in attempts
                    if later.number > earlier.number and set(later.slots) & set(earlier.slots)
                ]
    return problems


def unrecorded_submits(gateway: Gateway, generations: Sequence[Generation]) -> list[str]:
    """Submits that a provider received and the ledger does not have, or the reverse. Takes all the generations."""
    sent = Counter(
        generation.route(attempt).provider
        for generation in generations
        for attempt in generation.attempts
        if attempt.state is not AttemptState.NOT_SENT
    )
    return [
        f"{provider} received {gateway.received(provider)} submits, the ledger has {sent[provider]}"
        for provider in PROVIDERS
        if gateway.received(provider) != sent[provider]
    ]
