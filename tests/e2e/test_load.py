"""Many generations while one provider fails half of its submits."""

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import structlog

from gateway.domain.generation.model import AttemptState, Generation
from gateway.sandbox.faults import Fault, Faults

from .conftest import IMAGE_URL, Gateway, sandboxed
from .scenario import ROUTE, breaches, seconds_of, unrecorded_submits

BAD, GOOD = "kling_relay", "keevx"
BATCH, PAUSE_SECONDS = 25, 10
# The faults are drawn one after another, so that half of the submits fail: 0.2, 0.19 of the rest, 0.23 of that rest.
RATES = {"503_no_channel": 0.2, "429": 0.19, "close_after_accept": 0.23}
KINDS = {"unavailable", "rate_limited", "ambiguous"}


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The outcome of the generations."""

    generations: int
    completed: int
    submits: Counter[str]  # received by the sandbox, by provider
    started: Counter[str]  # tasks, by provider
    failed: Counter[str]  # submits to the bad provider, by kind
    longest_seconds: float  # of a generation, on its own clock
    real_seconds: float
    wrong: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether all generations were completed and nothing was paid for twice."""
        return self.completed == self.generations and not self.wrong

    def __str__(self) -> str:
        """The figures in words, for the end of the table of scenarios."""
        failed = ", ".join(f"{count} {kind}" for kind, count in sorted(self.failed.items()))
        return (
            f"{self.generations:,} generations, {BAD} failing half of its submits, {GOOD} healthy: "
            f"{self.completed:,} completed, the longest in {self.longest_seconds:.1f} s.\n"
            f"{BAD}: {self.submits[BAD]} submits, of them failed {self.failed.total()} ({failed}); "
            f"{self.started[BAD]} tasks started.\n"
            f"{GOOD}: {self.submits[GOOD]} submits; {self.started[GOOD]} tasks started.\n"
            f"Repeated after an ambiguous answer, not in the ledger, or started more than once: {len(self.wrong)}. "
            f"({self.real_seconds:.0f} s of real time)"
        )


async def half_fail(folder: Path, generations: int = 400) -> Figures:
    """Make this many generations; the bad provider is the first route. Each prompt has the number of its generation."""
    began = time.monotonic()
    with structlog.testing.capture_logs():
        async with sandboxed(folder) as gateway:
            gateway.route(ROUTE[BAD], ROUTE[GOOD])
            await gateway.start()
            for seed, (fault, rate) in enumerate(RATES.items()):
                gateway.sandbox.fault(BAD, "submit", fault, times=None, rate=rate, seed=seed)
            ids = []
            for number in range(generations):
                created = await gateway.post(model="m", prompt=f"Beach {number}", image=IMAGE_URL)
                ids.append(created["id"])
                if number % BATCH == BATCH - 1:
                    await gateway.clock.run_for(PAUSE_SECONDS)
            for generation_id in ids:
                await gateway.finish(generation_id)
            return _figures(
                gateway, [await gateway.stored(generation_id) for generation_id in ids], time.monotonic() - began
            )


def _figures(gateway: Gateway, generations: list[Generation], real_seconds: float) -> Figures:
    state = gateway.sandbox.state
    failed: Counter[str] = Counter()
    for generation in generations:
        for attempt in generation.attempts:
            # An attempt that was not sent waited for a slot while the circuit of its route opened.
            was_sent = attempt.state is not AttemptState.NOT_SENT
            if was_sent and attempt.failure is not None and generation.route(attempt).provider == BAD:
                failed[attempt.failure.kind] += 1
    wrong = unrecorded_submits(gateway, generations)
    for number, generation in enumerate(generations):
        wrong += breaches(gateway, f"Beach {number}", generation)
    wrong += [f"{count} submits started for {prompt}" for prompt, count in state.prompts_started.items() if count > 1]
    return Figures(
        generations=len(generations),
        completed=sum(generation.status == "completed" for generation in generations),
        submits=Counter({name: gateway.received(name) for name in (BAD, GOOD)}),
        started=Counter(state.started),
        failed=failed,
        longest_seconds=max(map(seconds_of, generations)),
        real_seconds=real_seconds,
        wrong=tuple(wrong),
    )


async def test_all_complete_and_nothing_is_bought_twice_while_half_of_the_submits_fail(tmp_path: Path):
    figures = await half_fail(tmp_path)
    assert (figures.completed, figures.generations, figures.wrong) == (400, 400, ())
    assert figures.good
    assert set(figures.failed) == KINDS
    assert min(figures.failed.values()) >= 10
    assert 0.4 <= figures.failed.total() / figures.submits[BAD] <= 0.6
    accepted = figures.submits[BAD] - figures.failed.total()
    assert figures.started == {BAD: accepted + figures.failed["ambiguous"], GOOD: figures.generations - accepted}
    assert figures.submits[GOOD] == figures.started[GOOD]


def test_a_fault_with_a_rate_happens_to_that_part_of_the_calls_in_the_same_order_each_time():
    def drawn(**args: float) -> list[bool]:
        faults = Faults()
        faults.add(Fault(name="503", provider=BAD, operation="submit", args=args))
        return [faults.take(BAD, "submit", "instead") is not None for _ in range(1000)]

    half = drawn(rate=0.5)
    assert 450 <= sum(half) <= 550
    assert drawn(rate=0.5) == half
    assert drawn(rate=0.5, seed=8) != half
    assert (sum(drawn(rate=0)), sum(drawn(rate=1))) == (0, 1000)


def test_a_rate_counts_in_a_prompt_too():
    faults = Faults()
    prompt = f"[[sandbox:{BAD}:submit:503?rate=0.5]]"
    taken = [faults.take(BAD, "submit", "instead", prompt=f"{prompt} {number}") for number in range(200)]
    assert 70 <= sum(fault is not None for fault in taken) <= 130
