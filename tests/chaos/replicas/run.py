"""A run with several gateways on one PostgreSQL: they are hurt round after round, then everything has to end well."""

import asyncio
import random
import signal
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..audit import LATE_SECONDS, Report
from ..client import Clients, cancelled
from ..configuration import CLIENT_KEY
from ..run import ANNOUNCED_SECONDS, KEPT_SECONDS, LATE, UNANNOUNCED, UNDONE, ChaosError
from ..watched import Watchers
from .aftermath import described
from .card import Card
from .cluster import DRAIN_SECONDS, NARROW, Cluster, Replica
from .harms import HARMS, Harm, HarmError, Hurt
from .watch import Lookout

ANSWER_SECONDS = 6.0  # of a create; one at a gateway that is frozen or cut off is repeated at another one
HURT_MAX = 2  # gateways to which something long is being done
TAKEN_SECONDS = 120.0  # until every generation has a gateway again, also on a slow machine; the card has the time
# What has to be gone some time after the last harm; each with the number of rows.
_LEFT = {
    "jobs are left in the queue": "select count(*) from pgqueuer where status in ('queued', 'picked')",
    "dead replicas are left": "select count(*) from replicas where not replica_lives(id)",
}


@dataclass(frozen=True, kw_only=True)
class Extent:
    """The size of a run."""

    rounds: int
    clients: int
    watchers: int
    task_seconds: float
    attempt_seconds: float
    deadline_seconds: int
    pause_seconds: float  # the longest pause after a round
    audit_rounds: int  # an audit after so many rounds
    short_seconds: tuple[float, float]  # of a harm that nobody takes for a death
    waits_for_late: bool = True
    hastens_death: bool = False


FULL = Extent(
    rounds=200,
    clients=60,
    watchers=12,
    task_seconds=8,
    attempt_seconds=40,
    deadline_seconds=180,
    pause_seconds=3,
    audit_rounds=20,
    short_seconds=(1.0, 9.0),
)
SHORT = Extent(
    rounds=3,
    clients=12,
    watchers=4,
    task_seconds=1.5,
    attempt_seconds=20,
    deadline_seconds=90,
    pause_seconds=0.2,
    audit_rounds=100,
    short_seconds=(1.0, 2.0),
    waits_for_late=False,
    hastens_death=True,
)


class Run:
    """One run. The seed decides what each round does; what is open at that moment differs."""

    def __init__(self, cluster: Cluster, extent: Extent, seed: int, show: Callable[[str], None]) -> None:
        """`show` prints a line."""
        self.cluster = cluster
        self.extent = extent
        self.card = Card(seed=seed)
        self.round = 0
        self._show = show
        self._lookout = Lookout(cluster)
        self._clients = Clients(
            cluster.urls,
            cluster.acknowledged,
            seed,
            key=CLIENT_KEY,
            deadline_seconds=extent.deadline_seconds,
            held=0.01,
            webhook_url=lambda: cluster.receiver.url,
            answer_seconds=ANSWER_SECONDS,
        )
        self._watchers = Watchers(cluster.urls, cluster.watched, seed, key=CLIENT_KEY, generations=self._clients.open)
        self._long: set[asyncio.Task[None]] = set()

    async def play(self, rounds: Sequence[int], deck: Sequence[str]) -> Card:
        """Play these rounds, each with its harm of the deck. Then nothing is hurt until everything has ended."""
        began = time.monotonic()
        try:
            await self.cluster.open()
            self._clients.start(self.extent.clients)
            self._watchers.start(self.extent.watchers)
            self._lookout.start()
            for number in rounds:
                self.round = number
                await self.cluster.sandbox.faults(self.card.seed + number)
                await self._hurt(deck[number % len(deck)], random.Random(f"{self.card.seed}:{number}"))
                await self._check()
                if number % self.extent.audit_rounds == self.extent.audit_rounds - 1:
                    await self._audit(final=False)
            await self._end()
        except (ChaosError, HarmError, TimeoutError, RuntimeError) as error:
            raise ChaosError(f"{type(error).__name__}: {error}\n{await described(self.cluster, str(error))}") from error
        finally:
            await cancelled(self._long)
            self.card.clients, self.card.broken = self._clients.counted, self._watchers.broken
            self.card.connections, self.card.undriven_seconds = self._lookout.connections, self._lookout.longest
            self.card.narrow, self.card.waiting = self._lookout.narrow, self._lookout.waiting
            self.card.logged = self.cluster.logged()
            self.card.seconds = time.monotonic() - began
            await self._lookout.stop()
            await self._watchers.close()
            await self._clients.close()
            await self.cluster.close()
        return self.card

    # --- rounds --------------------------------------------------------------------------------------------------

    async def _hurt(self, name: str, chance: random.Random) -> None:
        harm = HARMS[name]
        began = time.monotonic()
        victims = await self._victims(harm, chance)
        for replica in victims:
            replica.is_hurt = True
        hurting = asyncio.create_task(
            self._do(harm, Hurt(self.cluster, victims, chance, self.extent.short_seconds)), name=name
        )
        if harm.is_long:
            self._long.add(hurting)
        else:
            await hurting
        self.card.harms[name] += 1
        await asyncio.sleep(chance.random() * self.extent.pause_seconds)
        numbers = "".join(str(replica.number) for replica in victims)
        opened, undriven = len(self._clients.open), self._lookout.undriven
        self.card.open_least = min(opened, self.card.open_least if self.card.open_least is not None else opened)
        self._show(
            f"round {self.round}: {name} {numbers}, {time.monotonic() - began:.1f} s, open {opened},"
            f" without a gateway {undriven}"
        )
        self.card.rounds += 1

    async def _do(self, harm: Harm, hurt: Hurt) -> None:
        await harm.do(hurt)
        for replica in hurt.victims:
            replica.is_hurt = False

    async def _victims(self, harm: Harm, chance: random.Random) -> list[Replica]:
        """Gateways to which nothing is being done, in the order of chance; waits until there are enough."""
        order = chance.sample(self.cluster.replicas, len(self.cluster.replicas))
        while True:
            await self._gather()
            healthy = [replica for replica in order if not replica.is_hurt]
            others = len(order) - len(healthy)
            if len(healthy) >= harm.victims and not (harm.is_long and others + harm.victims > HURT_MAX):
                return healthy[: harm.victims]
            await asyncio.sleep(0.2)

    async def _gather(self) -> None:
        """Raise what a long harm has raised."""
        for task in [task for task in self._long if task.done()]:
            self._long.discard(task)
            await task

    async def _check(self) -> None:
        await self._gather()
        if self._clients.wrong:
            raise ChaosError("; ".join(self._clients.wrong[:5]))
        if ended := [replica for replica in self.cluster.replicas if not (replica.lives or replica.is_hurt)]:
            raise ChaosError(f"gateway {ended[0].number} ended by itself: {ended[0].last_words()}")
        if self._lookout.longest > TAKEN_SECONDS:
            raise ChaosError(f"a generation had no gateway for {self._lookout.longest:.0f} s")
        if self._lookout.narrow > 1:
            raise ChaosError(f"{NARROW} takes one submit at a time, and there were {self._lookout.narrow}")
        if errors := self.cluster.errors():
            raise ChaosError("the logs have\n" + "\n".join(errors[:20]))

    # --- the end -------------------------------------------------------------------------------------------------

    async def _end(self) -> None:
        if self._long:
            await asyncio.gather(*self._long)
        await self.cluster.sandbox.no_faults()
        self._clients.stop()
        try:
            await self._clients.finish(self.extent.deadline_seconds + LATE_SECONDS)
            await self._watchers.stop(LATE_SECONDS)
        except TimeoutError:
            raise ChaosError(f"still open at the end: {sorted(self._clients.open)[:5]}") from None
        for what, sql in UNDONE.items():
            if what != LATE or self.extent.waits_for_late:
                await self._until_none(what, sql, ANNOUNCED_SECONDS if what == UNANNOUNCED else KEPT_SECONDS)
        for what, sql in _LEFT.items():
            await self._until_none(what, sql, TAKEN_SECONDS)
        if (count := await self.cluster.count("select count(*) from replicas")) != len(self.cluster.replicas):
            raise ChaosError(f"there are {count} replicas at the end")
        for replica in self.cluster.replicas:
            replica.signal(signal.SIGTERM)
        for replica in self.cluster.replicas:
            if (code := await replica.ended(DRAIN_SECONDS + 15)) != 0:
                raise ChaosError(f"the last stop of gateway {replica.number}: {code}: {replica.last_words()}")
        if count := await self.cluster.count("select count(*) from replicas"):
            raise ChaosError(f"{count} replicas are left that have stopped")
        await self._audit(final=True)

    async def _until_none(self, what: str, sql: str, seconds: float) -> None:
        if count := await self.cluster.left(sql, seconds):
            raise ChaosError(f"{count} {what} at the end")

    async def _audit(self, *, final: bool) -> None:
        code, report, violations = await self.cluster.audit(final=final)
        if code not in {0, 1} or not report:
            raise ChaosError(f"the auditor ended with {code}: {violations}")
        self.card.report = msgspec.json.decode(report, type=Report)
        if violations:
            raise ChaosError("\n".join(violations))
        if errors := self.cluster.errors():
            raise ChaosError("the logs have\n" + "\n".join(errors[:20]))


def shuffled(seed: int, harms: Collection[str] = tuple(HARMS)) -> list[str]:
    """200 rounds, or those of them with these harms, in the order of the seed."""
    deck = [name for name in HARMS if name in harms for _ in range(HARMS[name].rounds)]
    random.Random(seed).shuffle(deck)
    return deck


async def play(
    folder: Path, extent: Extent, seed: int, rounds: Sequence[int], show: Callable[[str], None], *, deck: Sequence[str]
) -> Card:
    """Play a run in a folder, round after round the next harm of the deck, which may be shorter.

    Raises `ChaosError`, which names the seed and the round that failed.
    """
    cluster = Cluster(
        folder,
        seed,
        task_seconds=extent.task_seconds,
        attempt_seconds=extent.attempt_seconds,
        hastens_death=extent.hastens_death,
    )
    run = Run(cluster, extent, seed, show)
    try:
        return await run.play(rounds, deck)
    except ChaosError as error:
        raise ChaosError(f"{error}\nagain: make chaos DB=postgres SEED={seed} (it was round {run.round})") from error
