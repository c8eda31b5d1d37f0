"""A chaos run: kills in every window and at random moments, stops, drains; an audit after each round; a card."""

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

import msgspec

from .audit import LATE_SECONDS, POLL_MAX_SECONDS, Report
from .card import FAILS, KILLS, Card
from .client import Clients
from .configuration import CLIENT_KEY, SUBMIT_SECONDS
from .extent import Extent
from .gateway_process import CONFIGURATION
from .sandbox import Fault
from .world import DRAIN_SECONDS, FAILED, SLOW_SUBMITS, World

RANDOM, DRAIN, STOP = "random", "drain", "stop"
DOWNTIME, SLOW_READS, SLOW_SUBMIT, CONTRADICTED = "downtime", "slow_reads", "slow_submits", "contradicted"
ACTIONS = (*KILLS, *FAILS, RANDOM, DRAIN, STOP, DOWNTIME, SLOW_READS, SLOW_SUBMIT, CONTRADICTED)
# Windows in which a submit is between its intent and its outcome: such a kill leaves a submit with an unknown outcome.
_UNDECIDED = frozenset({"submitting_nothing_sent", "sent_no_reply", "reply_read_not_committed"})
_SLOW = Fault("submit", "slow", args={"seconds": 1})
SLOW_SECONDS = 30.0  # until enough slow submits are running
SLOW_READ_SECONDS = 2.5 * POLL_MAX_SECONDS
# A kill hits a random pass through the window, up to this one.
SPREAD = {"create_before_commit": 8, "create_committed": 8, "terminal": 6}
FIRES_SECONDS = 30.0  # until the gateway has started and reaches a window, also on a slow machine
TRIES = 3
KEPT_SECONDS = 90.0  # until every result is archived, after all have ended
ANNOUNCED_SECONDS = 400.0  # until every end is announced: the third try of a webhook is five minutes after the second
UNANNOUNCED = "ends are not announced"
LATE = "late results are not archived"
UNDONE = {
    "results are not archived": "select count(*) from outputs where artifact is not null and kept is null and late = 0",
    LATE: "select count(*) from outputs where artifact is not null and kept is null and late <> 0",
    UNANNOUNCED: "select count(*) from deliveries where state = 'pending'",
}


Action = Callable[[], Awaitable[None]]


class ChaosError(Exception):
    """Something that must never happen did happen. The message says how to repeat it."""


async def eventually(look: Callable[[], bool], seconds: float = FIRES_SECONDS) -> bool:
    """True if `look` returns true within this time."""
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True


class Run:
    """One run. The seed and the number of a round decide what it does, so each round can be repeated alone."""

    def __init__(
        self, world: World, extent: Extent, seed: int, show: Callable[[str], None], actions: Collection[str]
    ) -> None:
        """`actions` are the names of the allowed actions; `show` prints a line."""
        self.world = world
        self._names = actions
        self.extent = extent
        self.card = Card(seed=seed)
        self._show = show
        self._clients = Clients(
            [world.url],
            world.acknowledged,
            seed,
            key=CLIENT_KEY,
            deadline_seconds=extent.deadline_seconds,
            held=extent.held,
            webhook_url=lambda: world.receiver.url,
        )
        self._random = random.Random(seed)
        self.round_number = 0

    async def play(self, rounds: Sequence[int]) -> Card:
        """Play these rounds, then the end: without faults, until every generation has ended."""
        began = time.monotonic()
        await self.world.open()
        self._clients.start(self.extent.clients)
        try:
            await self._work_a_while()
            await self.world.kill()  # the run begins with a kill that is not counted
            for number in rounds:
                self.round_number = number
                self._random = random.Random(f"{self.card.seed}:{number}")
                await self._round(number)
                await self._audit(final=False)
                self.card.rounds += 1
                report = self.card.report
                self._show(f"round {number}: {report.generations} generations, {report.submits} submits so far")
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

    async def _faults(self, *first: Fault, usual: bool = True) -> None:
        stuck = [Fault("submit", "stuck", self.extent.stuck)] if usual and self.extent.stuck else []
        await self.world.faults(self.card.seed + self.round_number, *first, *stuck, usual=usual)

    def _actions(self, number: int) -> list[Action]:
        """The actions of a round, in the order of this round."""

        def share(total: int) -> int:
            """The part of `total` that this round does; at least 1 if only some actions are allowed."""
            rounds = self.extent.rounds
            part = total * (number % rounds + 1) // rounds - total * (number % rounds) // rounds
            return part if self._names is ACTIONS else max(part, 1)

        extent = self.extent
        actions: list[tuple[str, Action]] = [(window, partial(self._kill_in, window)) for window in KILLS]
        actions += [(DRAIN, self._drain)] * share(extent.drains)
        actions += [(STOP, self._stop)] * share(extent.stops)
        actions += [(RANDOM, self._kill_somewhen)] * (share(extent.random_kills) - share(extent.stops) - len(FAILS))
        actions += [(window, partial(self._fail_in, window)) for window in FAILS]
        actions += [(DOWNTIME, self._be_down)] * share(extent.downtimes)
        actions += [(SLOW_READS, self._read_slowly)] * share(extent.slow_reads)
        actions += [(SLOW_SUBMIT, self._drain_slow_submits)] * share(extent.slow_drains)
        actions += [(CONTRADICTED, self._contradict)] * share(extent.contradictions)
        self._random.shuffle(actions)
        return [action for name, action in actions if name in self._names]

    # --- actions -------------------------------------------------------------------------------------------------

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
        await asyncio.sleep(self._random.random() * 2.5)  # so some of the kills hit the start itself
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

    async def _fail_in(self, window: str) -> None:
        """Let one commit, or one marker, fail while the process goes on, and kill it some time later."""
        before = self.world.said(FAILED)
        await self.world.start(f"{window}:{self._random.randint(1, 40)}:error")
        await self.world.ready()
        if not await eventually(lambda: self.world.said(FAILED) > before):
            raise ChaosError(f"{window} was not reached")
        self.card.kills[window] += 1
        await asyncio.sleep(1.2)  # work that waits for the store tries again after a second
        await self._kill_now()

    async def _stop(self) -> None:
        """Stop the process (SIGSTOP) longer than a submit may take, continue it, kill it. No second one may start."""
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
        seconds, is_seen = await self._drain_now(DRAIN_SECONDS)
        self.card.drain_seconds.append(seconds)
        self.card.unready_seen += is_seen

    async def _drain_now(self, seconds_max: float) -> tuple[float, bool]:
        """Stop with SIGTERM; the seconds that it took, and whether readiness was false before the port closed."""
        probe = await self.world.probe()
        assert probe.stdout is not None
        seen = [await probe.stdout.readline()]
        self._note_open()
        began = time.monotonic()
        self.world.signal(signal.SIGTERM)
        code = await self.world.ended(seconds_max + 2)
        seconds = time.monotonic() - began
        if code != 0 or seconds > seconds_max:
            probe.kill()
            raise ChaosError(f"a drain ended with {code} after {seconds:.1f} s: {self.world.last_words()}")
        seen += (await probe.communicate())[0].splitlines()
        words = [status for status, _ in groupby(map(int, seen))]
        if words not in ([200, 503, 0], [200, 0], [503, 0], [0]):
            raise ChaosError(f"readiness was {words} while it stopped")
        if left := self.world.left():
            raise ChaosError(f"a drain left {left} submits without their end")
        if (integrity := self.world.count("pragma quick_check")) != "ok":
            raise ChaosError(f"the ledger after a drain: {integrity}")
        return seconds, 503 in words

    async def _be_down(self) -> None:
        """Stay down until every open attempt is past its time-out. Its tasks must be polled before more is bought."""
        await self._work_a_while()
        self._note_open()
        if self._random.random() < 0.5:
            self.world.signal(signal.SIGTERM)
            if (code := await self.world.ended()) != 0:
                raise ChaosError(f"the stop before a downtime ended with {code}: {self.world.last_words()}")
        else:
            await self.world.kill()
        self.card.waiting.append(self.world.count("select count(*) from attempts where state = 'accepted'"))
        await asyncio.sleep(self.extent.attempt_seconds + self._random.random())
        await self.world.start()
        await self.world.ready()
        await asyncio.sleep(1.5)  # overdue tasks are polled, or bought again
        await self.world.kill()

    async def _read_slowly(self) -> None:
        """Make every poll longer than its interval. Many tasks end during a poll, close to their time-out."""
        extent = self.extent
        spare = extent.attempt_seconds - extent.task_seconds
        around = [Fault("submit", "slow_task", 0.3, {"seconds": spare + seconds}) for seconds in (-0.7, 0.3)]
        await self._faults(Fault("poll", "slow", args={"seconds": SLOW_READ_SECONDS}), *around)
        await self._work_a_while()
        self._note_open()
        await asyncio.sleep(extent.attempt_seconds + SLOW_READ_SECONDS)
        await self.world.kill()
        self.card.slow_reads += 1
        await self._faults()

    async def _drain_slow_submits(self) -> None:
        """A stop waits for running submits, however slow, although the configuration does not mention that."""
        seconds = self.extent.slow_submit_seconds
        self.world.configure(SLOW_SUBMITS, 3 * seconds)
        slow = [Fault("submit", name, 0.7, {"seconds": seconds}) for name in ("delayed", "slow")]
        await self._faults(*slow, usual=False)
        await self._work_a_while(SLOW_SUBMITS)
        if not await eventually(lambda: self.world.left() >= self.extent.clients // 10, SLOW_SECONDS):
            raise ChaosError("too few submits are running")
        in_flight = self.world.in_flight()
        await self._drain_now(3 * seconds + DRAIN_SECONDS)
        ended = ", ".join(f"'{name}'" for name in in_flight)
        lost = self.world.count(f"select count(*) from attempts where id in ({ended}) and state = 'unknown'")  # noqa: S608  # our own
        if lost:
            raise ChaosError(f"a drain gave up {lost} of {len(in_flight)} running submits")
        self.card.in_flight.append(len(in_flight))
        await self._faults()

    async def _contradict(self) -> None:
        """Refuse submits whose tasks were started, and omit tasks from replies: callbacks name the missing ones."""
        again = self.extent.task_seconds + 3  # so that the callback comes before the next try
        refusals = [
            Fault("submit", "429", 0.3, {"started": 1, "retry_after": again}, "keevx"),
            Fault("submit", "530003", 0.3, {"started": 1}, "keevx"),
            Fault("submit", "400", 0.1, {"started": 1}, "keevx"),
            Fault("submit", "fewer_ids", 0.3, {}, "keevx"),
        ]
        await self._faults(*refusals)
        self._clients.only = "alone"
        await self._work_a_while()
        self._note_open()
        await asyncio.sleep(again + 1)
        self._clients.only = None
        await self.world.kill()
        await self._faults()

    async def _work_a_while(self, configuration: str = CONFIGURATION) -> None:
        await self.world.start(configuration=configuration)
        await self.world.ready()
        await asyncio.sleep(0.2 + self._random.random())
        if not await eventually(lambda: len(self._clients.open) >= self.extent.open_least):
            raise ChaosError("too few generations are open")

    def _note_open(self) -> None:
        count = len(self._clients.open)
        if self.card.open_least is None or count < self.card.open_least:
            self.card.open_least = count

    # --- checks -----------------------------------------------------------------------------------------

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
            if what == LATE and not self.extent.waits_for_late:
                continue
            if not await eventually(
                lambda sql=sql: self.world.count(sql) == 0, ANNOUNCED_SECONDS if what == UNANNOUNCED else KEPT_SECONDS
            ):
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


async def play(
    folder: Path,
    extent: Extent,
    seed: int,
    rounds: Sequence[int],
    show: Callable[[str], None],
    *,
    actions: Collection[str] = ACTIONS,
) -> Card:
    """Play a run in a folder. Raises `ChaosError`, which names the seed and the round that failed."""
    world = World(folder, task_seconds=extent.task_seconds, attempt_seconds=extent.attempt_seconds)
    run = Run(world, extent, seed, show, actions)
    try:
        return await run.play(rounds)
    except ChaosError as error:
        raise ChaosError(f"{error}\nagain: make chaos SEED={seed} ROUND={run.round_number}") from error
