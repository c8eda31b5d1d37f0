"""The engine of one of several equal replicas on one ledger.

An embedded engine drives what this replica has. What that is changes in four ways: it is created here; a job hands it
over to this replica; this replica hands it over, because it stops or has more than its share; this replica is declared
dead, and the others take it. The ledger decides about each, so a mistake here costs time and no second purchase.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import structlog

from gateway.clock import Clock, sleep, wait
from gateway.domain.errors import StoreUnavailable
from gateway.domain.generation.model import Generation
from gateway.domain.replicas import BEAT_SECONDS
from gateway.engine.embedded import EmbeddedEngine
from gateway.engine.membership import Membership
from gateway.engine.port import Standing
from gateway.store.replicas import Replicas
from gateway.store.signals import CalledBack, Signals

log = structlog.get_logger()
LOOK_SECONDS = 0.1  # between two looks whether everything is taken over
FRESH_SECONDS = 1.0  # a heartbeat that was sent no longer ago has seen the others well enough
_REMEDY = (
    "what it has lost may have been bought, so this gateway buys nothing: stop every gateway on this database, start"
    " one with `video-gateway serve --restored`, then the others"
)
AUDIT_BEATS = 12  # so many heartbeats lie between two looks for generations of this replica that it does not drive


class ReplicatedEngine:
    """Implements `Engine`, and `Duties` for the queue of the ledger."""

    def __init__(
        self,
        inner: EmbeddedEngine,
        membership: Membership,
        replicas: Replicas,
        signals: Signals,
        clock: Clock,
    ) -> None:
        self._inner = inner
        self._membership = membership
        self._replicas = replicas
        self._clock = clock
        self._signals = signals
        self._beat_now = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []  # heartbeats and the queue
        self._evening: asyncio.Task[None] | None = None
        self._missing: set[str] = set()  # generations of this replica without a driver, at the last look for them
        self._beats = 0
        self._arriving = 0  # generations of jobs that are being carried out
        self._is_failing = False
        self._is_halted = False
        self._standing = Standing()
        self._draining = False
        self._left = False
        self.on_replicas: Callable[[int], None] = lambda _: None  # called with the number of replicas at each heartbeat
        self.on_sweep: Callable[[], None] = lambda: None  # called when it is the turn of this replica to sweep

    @property
    def driven(self) -> int:
        """See `Engine`."""
        return self._inner.driven

    @property
    def untaken(self) -> int:
        """See `Engine`."""
        return self._inner.untaken

    @property
    def open_max(self) -> int:
        """See `Engine`."""
        return self._inner.open_max

    @property
    def standing(self) -> Standing:
        """See `Engine`."""
        self._standing.replicas = 1 + len(self._membership.load(0).others)
        self._standing.heartbeat_age = self._membership.age
        return self._standing

    @property
    def halted(self) -> str | None:
        """See `Engine`."""
        lost = self._membership.lost
        return None if lost is None else f"{lost}; {_REMEDY}"

    async def start(self) -> None:
        """See `Engine`. What has no replica that lives is handed over to those that are here now."""
        await self._membership.join()
        self._tasks = [
            asyncio.create_task(self._beat_again(), name="heartbeats"),
            asyncio.create_task(self._replicas.work(self), name="queue-keeper"),
        ]
        await self.look_after_all()

    async def taken_over(self) -> None:
        """See `Engine`. Other replicas may have taken them."""
        while await self._replicas.waiting():
            await sleep(self._clock, LOOK_SECONDS)
        await self._inner.taken_over()

    def admit(self, key: str) -> AbstractContextManager[None]:
        """See `Engine`. Each replica counts its own."""
        if self._membership.lost is not None:
            raise StoreUnavailable(
                "The store has lost changes; nothing is accepted.", retry_after=60, reason=self.halted
            )
        if not self._membership.is_sure:  # after a suspension the client may have sent its request to another one
            raise StoreUnavailable("This gateway was suspended, or its database did not answer.", retry_after=1)
        return self._inner.admit(key)

    def begin(self, generation: Generation) -> None:
        """See `Engine`."""
        self._inner.begin(generation)

    def wake(self, generation_id: str) -> None:
        """See `Engine`. A generation that no replica drives gets a driver here; the ledger refuses that for others.

        The drivers of others hear of every change; see `wake_ups.py`.
        """
        self._inner.wake(generation_id)

    def look_again(self, generation_id: str) -> bool:
        """See `Engine`."""
        return self._inner.look_again(generation_id)

    def reconsider(self) -> None:
        """See `Engine`. The drivers of others decide again when their process hears of the reason."""
        self._inner.reconsider()

    def nudge(self, generation_id: str, attempt_id: str) -> None:
        """See `Engine` and `wake`."""
        if not self._inner.poll_now(generation_id, attempt_id):
            self._signals.send(CalledBack(generation_id, attempt_id))
            self._inner.nudge(generation_id, attempt_id)

    def poll_now(self, generation_id: str, attempt_id: str) -> bool:
        """See `Engine`."""
        return self._inner.poll_now(generation_id, attempt_id)

    def drain(self) -> None:
        """See `Engine`."""
        self._draining = True
        self._inner.drain()
        self._beat_now.set()

    async def stop(self, drain_seconds: float) -> None:
        """See `Engine`. Everything but the submits in flight is handed over at once, and those when they are stored."""
        self.drain()
        if self._left:
            return
        at_once = asyncio.gather(self._hand_over_all(), self._replicas.stop_work())
        await self._inner.stop(drain_seconds)
        await at_once
        await self._hand_over_all()
        self._left = True
        for task in filter(None, [*self._tasks, self._evening]):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await self._membership.leave()
        except StoreUnavailable as error:
            log.warning("replica_not_removed", error=error.reason or error.detail)

    # -- duties

    async def take(self, ids: Sequence[str]) -> bool:
        """See `Duties`. A replica that has more than its share leaves them to the others."""
        if self._draining or not self._membership.is_sure:
            return False
        if not self._membership.load(self.driven + self._arriving).has_room(len(ids)):
            if self._membership.age > FRESH_SECONDS:
                self._beat_now.set()  # the others may have got more to do since
            return False
        self._arriving += len(ids)
        try:
            await self._inner.take(ids)
        finally:
            self._arriving -= len(ids)
        return not self._draining

    async def look_after_all(self) -> None:
        """See `Duties`."""
        if count := await self._replicas.hand_over_orphans(self._clock.now()):
            self._standing.handed_over["orphan"] += count
            log.warning("orphans_handed_over", generations=count)

    async def sweep(self) -> None:
        """See `Duties`."""
        self.on_sweep()

    # -- heartbeats

    async def _beat_again(self) -> None:
        while True:
            await wait(self._clock, self._beat_now, BEAT_SECONDS)
            try:
                await self.beat()
            except StoreUnavailable as error:
                self._standing.heartbeats_failed += 1
                if not self._is_failing:
                    log.error("heartbeat_failed", error=error.reason or error.detail)  # noqa: TRY400  # the reason is said
                self._is_failing = True
            except Exception:  # the next one may succeed, and without one this replica buys nothing
                self._standing.heartbeats_failed += 1
                log.exception("heartbeat_failed")
                self._is_failing = True

    async def beat(self) -> None:
        """Say that this replica lives, and do what the answer asks for."""
        beat = await self._membership.beat(self.driven, draining=self._draining)
        if self.halted is not None and not self._is_halted:
            log.error("ledger_went_back", reason=self.halted)
        self._is_halted = self.halted is not None
        if self._is_failing:
            log.warning("heartbeat_works_again")
            self._is_failing = False
        if beat is None:
            self._standing.declared_dead += 1
            log.error("replica_declared_dead", generations=self.driven)
            self._inner.let_all_go()
            self._missing.clear()
            await self._membership.join()
            return
        self.on_replicas(1 + len(beat.others))
        self._beats += 1
        if self._draining or (self._evening is not None and not self._evening.done()):
            return
        surplus = self._membership.load(self.driven).surplus
        is_audit = self._beats % AUDIT_BEATS == 0
        if beat.has_dead or surplus or is_audit:
            self._evening = asyncio.create_task(
                self._even_out(surplus, has_dead=beat.has_dead, is_audit=is_audit), name="even-out"
            )

    async def _even_out(self, surplus: int, *, has_dead: bool, is_audit: bool) -> None:
        try:
            if has_dead and (count := await self._replicas.hand_over_dead(self._clock.now())):
                self._standing.handed_over["dead_replica"] += count
                log.warning("dead_replica_handed_over", generations=count)
            if surplus:
                await self._hand_over_some(surplus)
            if is_audit:
                await self._drive_missing()
        except StoreUnavailable as error:
            log.warning("hand_over_postponed", error=error.reason or error.detail)
        except Exception:
            log.exception("hand_over_failed")

    async def _hand_over_some(self, count: int) -> None:
        let_go = await self._inner.let_some_go(count)
        handed_over: list[str] = []
        try:
            handed_over = await self._replicas.hand_over(let_go)
        finally:
            for generation_id in set(let_go) - set(handed_over):
                self._inner.wake(generation_id)
        self._standing.handed_over["surplus"] += len(handed_over)
        log.info("surplus_handed_over", generations=len(handed_over))

    async def _drive_missing(self) -> None:
        """Take up generations of this replica that have no driver, such as those of creates whose commit was unclear.

        One that is being created has none for a moment, so it counts only when it had none at the last look either.
        """
        ids = await self._replicas.own_open()
        missing = {generation_id for generation_id in ids if not self._inner.drives(generation_id)}
        if lost := sorted(missing & self._missing):
            log.warning("generations_without_driver", count=len(lost), generations=lost[:20])
            await self._inner.take(lost)
        self._missing = missing

    async def _hand_over_all(self) -> None:
        try:
            self._standing.handed_over["stop"] += await self._replicas.hand_over_all(self._clock.now())
        except StoreUnavailable as error:
            log.warning("hand_over_failed", error=error.reason or error.detail)
