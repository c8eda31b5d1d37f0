"""A chaos run: kills in every window and at random moments, stops, drains; an audit after every round; a card."""

import asyncio
import os
import platform
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

import msgspec

from gateway.failpoints import WINDOWS

from .audit import LATE_SECONDS, Report
from .client import Clients
from .world import DRAIN_SECONDS, FAILED, SUBMIT_SECONDS, Fault, World

COMMIT_FAILS = "commit_fails"
KILLS = tuple(window for window in WINDOWS if window != COMMIT_FAILS)
# Windows in which a submit is between its intent and its outcome: such a kill leaves one that nobody knows the end of.
_UNDECIDED = frozenset({"submitting_nothing_sent", "sent_no_reply", "reply_read_not_committed"})
_SLOW: Fault = ("submit", "slow", 1.0, {"seconds": 1})
SPREAD = {"create_before_commit": 8, "create_committed": 8, "terminal": 6}  # which time of a window is its last
FIRES_SECONDS = 10.0  # until a window is reached
TRIES = 3
TOLD_SECONDS = 90.0  # until every result is kept and every end told, once all have ended
UNDONE = {
    "results are not kept": "select count(*) from outputs where artifact is not null and kept is null",
    "ends are not told": "select count(*) from deliveries where state = 'pending'",
}


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How much of it."""

    rounds: int
    random_kills: int  # in all
    drains: int
    stops: int
    clients: int
    open_least: int  # generations that are open whenever something is done to the gateway
    task_seconds: float
    attempt_seconds: float
    deadline_seconds: int  # of every generation
    stuck: float  # the part of the tasks that never end
    held: float  # the part of the generations that wait for an operator, who never comes, after an unclear answer


FULL = Extent(
    rounds=25,
    random_kills=100,
    drains=30,
    stops=10,
    clients=320,
    open_least=200,
    task_seconds=10,
    attempt_seconds=20,
    deadline_seconds=120,
    stuck=0.01,
    held=0.02,
)
SHORT = Extent(
    rounds=3,
    random_kills=10,
    drains=2,
    stops=1,
    clients=60,
    open_least=40,
    task_seconds=2,
    attempt_seconds=6,
    deadline_seconds=60,
    stuck=0,
    held=0,
)


class ChaosError(Exception):
    """Something that must never happen did; the message has what is needed to see it again."""


@dataclass(kw_only=True)
class Card:
    """What was done and what was seen."""

    seed: int
    rounds: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    undecided: Counter[str] = field(default_factory=Counter)  # submits that a kill left without a known end
    stops: int = 0
    drain_seconds: list[float] = field(default_factory=list)
    unready_seen: int = 0  # drains in which readiness was read as false before the port closed
    open_least: int | None = None
    seconds: float = 0.0
    clients: Counter[str] = field(default_factory=Counter)
    report: Report = field(default_factory=Report)

    def text(self) -> str:
        """Plain text."""
        report = self.report
        width = max(map(len, (*WINDOWS, "at a random moment")))
        lines = [f"{'killed':{width}}  kills  submits left without a known end"]
        lines += [
            f"{name:{width}}  {self.kills[name]:5}  {self.undecided[name]:5}" for name in (*KILLS, "at a random moment")
        ]
        lines += [
            f"{COMMIT_FAILS:{width}}  {self.kills[COMMIT_FAILS]:5}      -  (the commit raises, the process lives)"
        ]
        unready = f"readiness seen false first in {self.unready_seen}"
        longest = f"{max(self.drain_seconds, default=0):.1f} s"
        ended = ", ".join(f"{status} {count}" for status, count in sorted(report.ended.items()))
        lines += [
            "",
            f"stopped (SIGSTOP) for longer than a submit may take  {self.stops}, a second process refused each time",
            f"drained (SIGTERM) under load  {len(self.drain_seconds)}, exit code 0, longest {longest}, {unready}",
            f"open generations whenever something was done  {self.open_least} or more",
            "",
            f"generations acknowledged and ended  {report.generations} ({ended})",
            f"creates repeated by clients without an answer  {self.clients['repeated']}",
            f"submits received  {report.submits}, tasks started  {report.tasks}",
            f"attempts with an unknown end  {report.attempts.get('unknown', 0)}",
            f"generations lost  {report.lost}",
            f"submits doubled  {report.doubled}",
            f"other violations  {len(report.violations) - report.lost - report.doubled}",
            f"results kept  {report.kept}, each there once the run had ended, whole",
            f"ends told  {report.told} of {report.generations}, in {report.deliveries} deliveries, none unsigned",
            "",
            f"seed {self.seed}, rounds {self.rounds}, {self.seconds / 60:.1f} min, {machine()}",
        ]
        return "\n".join(lines)


def machine() -> str:
    """Where and when."""
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, {datetime.now(UTC):%Y-%m-%d}"


async def eventually(look: Callable[[], bool], seconds: float = FIRES_SECONDS) -> bool:
    """Whether it comes."""
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True


class Run:
    """One run. What a round does follows from the seed and its number: each can be played again by itself."""

    def __init__(self, world: World, extent: Extent, seed: int, tell: Callable[[str], None]) -> None:
        self.world = world
        self.extent = extent
        self.card = Card(seed=seed)
        self._tell = tell
        self._clients = Clients(
            world.url,
            world.acknowledged,
            seed,
            deadline_seconds=extent.deadline_seconds,
            held=extent.held,
            told=lambda: world.receiver.url,
        )
        self._random = random.Random(seed)
        self.round_number = 0

    async def play(self, rounds: Sequence[int]) -> Card:
        """These rounds, then the end: no faults, until every generation has ended."""
        began = time.monotonic()
        await self.world.open()
        self._clients.start(self.extent.clients)
        try:
            await self._work_a_while()
            await self.world.kill()  # of what begins a run, not of what is counted
            for number in rounds:
                self.round_number = number
                self._random = random.Random(f"{self.card.seed}:{number}")
                await self._round(number)
                await self._audit(final=False)
                self.card.rounds += 1
                report = self.card.report
                self._tell(f"round {number}: {report.generations} generations, {report.submits} submits so far")
            await self._end()
        finally:
            self.card.clients = self._clients.counted
            self.card.seconds = time.monotonic() - began
            await self._clients.close()
            await self.world.close()
        return self.card

    async def _round(self, number: int) -> None:
        await self._faults()
        for action in self._actions(number):
            await action()
            if self._clients.wrong:
                raise ChaosError("; ".join(self._clients.wrong[:5]))

    async def _faults(self, *first: Fault) -> None:
        stuck = [("submit", "stuck", self.extent.stuck, {})] if self.extent.stuck else []
        await self.world.faults(self.card.seed + self.round_number, *first, *stuck)

    def _actions(self, number: int) -> list[Callable[[], Awaitable[None]]]:
        """What is done in a round, in an order of its own."""

        def share(total: int) -> int:
            """Of a number of things in all rounds, those of this one."""
            rounds = self.extent.rounds
            return total * (number % rounds + 1) // rounds - total * (number % rounds) // rounds

        actions = [lambda window=window: self._kill_in(window) for window in KILLS]
        actions += [self._drain] * share(self.extent.drains)
        actions += [self._stop] * share(self.extent.stops)
        actions += [self._kill_somewhen] * (share(self.extent.random_kills) - share(self.extent.stops) - 1)
        actions += [self._fail_commit]
        self._random.shuffle(actions)
        return actions

    # --- what is done -------------------------------------------------------------------------------------------------

    async def _kill_in(self, window: str) -> None:
        slow = window == "sent_no_reply"
        if slow:
            await self._faults(_SLOW)
        nth = self._random.randint(1, SPREAD.get(window, 4))
        for _ in range(TRIES):
            await self.world.start(f"{window}:{nth}")
            code = await self.world.ended(FIRES_SECONDS)
            if code is not None:
                break
            await self.world.kill()
            nth = 1
        else:
            raise ChaosError(f"{window} was not reached")
        if code != -signal.SIGKILL:
            raise ChaosError(f"{window}: the gateway ended with {code}: {self.world.last_words()}")
        if window in _UNDECIDED and not self.world.left():
            raise ChaosError(f"{window}: no attempt was left in the middle of its submit")
        self._killed(window)
        if slow:
            await self._faults()

    async def _kill_somewhen(self) -> None:
        await self.world.start()
        await asyncio.sleep(self._random.random() * 2.5)  # the start itself is among them
        await self._kill_now()

    async def _kill_now(self) -> None:
        if not self.world.lives:
            raise ChaosError(f"the gateway ended by itself: {self.world.last_words()}")
        await self.world.kill()
        self._killed("at a random moment")

    def _killed(self, how: str) -> None:
        self.card.kills[how] += 1
        self.card.undecided[how] += self.world.left()
        self._note_open()

    async def _fail_commit(self) -> None:
        """One commit fails, the process goes on; then it is killed as at any moment."""
        before = self.world.said(FAILED)
        await self.world.start(f"{COMMIT_FAILS}:{self._random.randint(1, 40)}:error")
        await self.world.ready()
        if not await eventually(lambda: self.world.said(FAILED) > before):
            raise ChaosError("no commit failed")
        self.card.kills[COMMIT_FAILS] += 1
        await asyncio.sleep(1.2)  # what waits for the store tries again after a second
        await self._kill_now()

    async def _stop(self) -> None:
        """Stopped for longer than a submit may take, then let go on, then killed; no other may step in meanwhile."""
        await self._work_a_while()
        self.world.signal(signal.SIGSTOP)
        self._note_open()
        stopped = time.monotonic()
        code, words = await self.world.second()
        if code != 2 or "another process uses" not in words:
            raise ChaosError(f"a second gateway on the same ledger ended with {code}: {words}")
        stopped_for = time.monotonic() - stopped
        await asyncio.sleep(max(SUBMIT_SECONDS + 1 + self._random.random() - stopped_for, 0))
        self.world.signal(signal.SIGCONT)
        await self.world.ready()
        await asyncio.sleep(self._random.random())
        self.card.stops += 1
        await self._kill_now()

    async def _drain(self) -> None:
        await self._work_a_while()
        probe = await self.world.probe()
        assert probe.stdout is not None
        seen = [await probe.stdout.readline()]
        self._note_open()
        began = time.monotonic()
        self.world.signal(signal.SIGTERM)
        code = await self.world.ended(DRAIN_SECONDS + 2)
        seconds = time.monotonic() - began
        if code != 0 or seconds > DRAIN_SECONDS:
            probe.kill()
            raise ChaosError(f"a drain ended with {code} after {seconds:.1f} s: {self.world.last_words()}")
        seen += (await probe.communicate())[0].splitlines()
        words = [status for status, _ in groupby(map(int, seen))]
        if words not in ([200, 503, 0], [200, 0], [503, 0], [0]):
            raise ChaosError(f"readiness was {words} while it stopped")
        if left := self.world.left():
            raise ChaosError(f"a drain left {left} submits without their end")
        if (found := self.world.count("pragma quick_check")) != "ok":
            raise ChaosError(f"the ledger after a drain: {found}")
        self.card.drain_seconds.append(seconds)
        self.card.unready_seen += 503 in words

    async def _work_a_while(self) -> None:
        await self.world.start()
        await self.world.ready()
        await asyncio.sleep(0.2 + self._random.random())
        if not await eventually(lambda: len(self._clients.open) >= self.extent.open_least):
            raise ChaosError("too few generations are open")

    def _note_open(self) -> None:
        count = len(self._clients.open)
        if self.card.open_least is None or count < self.card.open_least:
            self.card.open_least = count

    # --- what must come of it -----------------------------------------------------------------------------------------

    async def _end(self) -> None:
        await self.world.no_faults()
        await self.world.start()
        await self.world.ready()
        self._clients.stop()
        try:
            await self._clients.finish(self.extent.deadline_seconds + LATE_SECONDS)
        except TimeoutError:
            raise ChaosError(f"still open at the end: {sorted(self._clients.open)[:5]}") from None
        for what, sql in UNDONE.items():
            if not await eventually(lambda sql=sql: self.world.count(sql) == 0, TOLD_SECONDS):
                raise ChaosError(f"{self.world.count(sql)} {what} at the end")
        self.world.signal(signal.SIGTERM)
        if (code := await self.world.ended()) != 0:
            raise ChaosError(f"the last stop ended with {code}: {self.world.last_words()}")
        await self._audit(final=True)

    async def _audit(self, *, final: bool) -> None:
        code, report, violations = await self.world.audit(final=final)
        if code not in {0, 1} or not report:
            raise ChaosError(f"the auditor ended with {code}: {violations}")
        self.card.report = msgspec.json.decode(report, type=Report)
        if violations:
            raise ChaosError("\n".join(violations))
        errors = self.world.errors()
        if errors:
            raise ChaosError("the gateway's log has\n" + "\n".join(errors))


async def play(folder: Path, extent: Extent, seed: int, rounds: Sequence[int], tell: Callable[[str], None]) -> Card:
    """A run in a folder; `ChaosError` names the seed of the round that failed."""
    world = World(folder, task_seconds=extent.task_seconds, attempt_seconds=extent.attempt_seconds)
    run = Run(world, extent, seed, tell)
    try:
        return await run.play(rounds)
    except ChaosError as error:
        raise ChaosError(f"{error}\nagain: make chaos SEED={seed} ROUND={run.round_number}") from error
