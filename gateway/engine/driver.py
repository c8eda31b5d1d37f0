"""Drives one generation from its start to its end: advance, store the writes, start the effects, sleep."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime

from msgspec.structs import replace

from gateway.clock import Clock
from gateway.domain.generation.archiving import ArchiveFile, ArchiveSchedule
from gateway.domain.generation.facts_and_effects import CallbackReceived, Effect, Fact, Submit, SubmitAccepted
from gateway.domain.generation.lifecycle import Step, advance
from gateway.domain.generation.model import AttemptState, Generation
from gateway.domain.generation.task_polling import PollSchedule, TaskKey
from gateway.domain.generation.transitions import SaveArchivedFile
from gateway.engine.effects import Effects
from gateway.engine.health_feedback import report_discarded, report_ended, report_reserved
from gateway.engine.open_counts import Count, OpenCounts
from gateway.engine.route_profiles import RouteProfiles
from gateway.engine.step_events import step_events
from gateway.engine.store_retry import until_store_works
from gateway.failpoints import reach
from gateway.generations.notifier import Notifier
from gateway.sharing.turns import Turns, Wait
from gateway.store.port import Store
from gateway.telemetry import Observer
from gateway.upstream.health import Health

STOP_SECONDS = 3600.0  # while stopping, only the end of a submit wakes the driver


class Driver:
    """The driver of one generation. `wake` makes it look again; `stop` makes it hand the generation back."""

    def __init__(
        self,
        *,
        store: Store,
        effects: Effects,
        profiles: RouteProfiles,
        health: Health,
        notifier: Notifier,
        clock: Clock,
        observer: Observer,
        open_counts: OpenCounts,
        turns: Turns,
    ) -> None:
        """`turns`, which all drivers share, limits how many of them go on at once because their time has come."""
        self._store = store
        self._effects = effects
        self._profiles = profiles
        self._health = health
        self._notifier = notifier
        self._clock = clock
        self._observer = observer
        self._open_counts = open_counts
        self._turns = turns
        self._place: Count | None = None  # in `open_counts`
        self.on_end: Callable[[], None] = lambda: None  # called at every step in which the generation has ended
        self._sleeping: Wait | None = None  # while the driver sleeps; its result ends the sleep
        self._nudged: set[str] = set()  # attempts whose provider has called back since the last step
        self._is_outdated = False  # the stored generation may differ from the one in memory
        self._is_due = False  # what the rules depend on besides the generation has changed
        self._stopping = False
        self._effect_error: BaseException | None = None  # raised once the facts of other effects are stored
        self._running: dict[asyncio.Task[Fact | SubmitAccepted | None], Effect] = {}
        self._accepted: SubmitAccepted | None = None  # what the submit that has ended since the last step has stored

    @property
    def is_submitting(self) -> bool:
        """Whether a submit is under way, from its wait for a free place to the end of its answer."""
        return any(isinstance(effect, Submit) for effect in self._running.values())

    def wake(self) -> None:
        """Read the generation again, now."""
        self._is_outdated = True
        self._wake_up()

    def reconsider(self) -> None:
        """Decide again what to do, now: the health of a provider has changed, the generation has not."""
        self._is_due = True
        self._wake_up()

    def nudge(self, attempt_id: str) -> None:
        """Poll the tasks of this attempt, now."""
        self._nudged.add(attempt_id)
        self._wake_up()

    def stop(self) -> None:
        """Start nothing more. `run` returns when the submits in flight are stored."""
        self._stopping = True
        self._cancel_all_but_submits()
        self._wake_up()

    async def run(self, generation: Generation) -> None:
        """Drive until the end, until `stop`, or until another process has taken the fence."""
        try:
            await self._run(generation)
        except asyncio.CancelledError:
            for task in self._running:
                task.cancel()
            raise
        except Exception:  # raised again below, after the submits in flight have ended
            self._cancel_all_but_submits()
            if self._running:
                # The next driver must not find a submit in flight: it would take it for lost.
                await asyncio.wait(self._running)
            raise
        finally:
            self._place = self._open_counts.move(self._place, None)
            await self._effects.ended(generation.id)

    async def _run(self, generation: Generation) -> None:
        current: Generation | None = generation
        schedules: Mapping[TaskKey, PollSchedule] = {}
        archive_schedules: Mapping[int, ArchiveSchedule] = {}
        facts: list[Fact] = []
        while current is not None:
            step = self._advance(current, schedules, archive_schedules, facts)
            stored = await self._save(current, step)
            if stored is None:
                current = await self._reload(current)
                continue
            current, schedules, archive_schedules, facts = stored, step.schedules, step.archive_schedules, []
            self._place = self._open_counts.move(self._place, current)
            if self._effect_error is not None:
                raise self._effect_error
            if current.status.terminal:
                self.on_end()
            self._cancel_unwanted(current)
            if not self._stopping:
                for effect in step.effects:
                    self._start(current, effect)
            nothing_due = not schedules and all(schedule.given_up for schedule in archive_schedules.values())
            is_done = current.status.terminal and nothing_due and not self._is_outdated
            if not self._running and (self._stopping or is_done):
                return
            wake_at = step.wake_at
            del step, stored  # they would be kept for as long as the driver sleeps
            await self._sleep(wake_at)
            facts = self._collect()
            if (accepted := self._accepted) is not None:
                self._accepted = None
                if current.version == accepted.began_with and not self._is_outdated:
                    current = accepted.generation
                    self._notifier.changed(current.id)
                else:
                    self._is_outdated = True
            if self._is_outdated:
                self._is_outdated = False
                current = await self._reload(current)
                if current is not None:
                    self._notifier.changed(current.id)

    def _advance(
        self,
        generation: Generation,
        schedules: Mapping[TaskKey, PollSchedule],
        archive_schedules: Mapping[int, ArchiveSchedule],
        facts: list[Fact],
    ) -> Step:
        step = advance(
            generation,
            schedules,
            facts,
            now=self._clock.now(),
            busy=frozenset(self._running.values()),
            profile_of=self._profiles.of,
            health=self._health.of,
            archive_schedules=archive_schedules,
        )
        report_reserved(self._health, step.generation, step.writes)
        return step

    async def _save(self, before: Generation, step: Step) -> Generation | None:
        """Store the writes of the step. `None`: the generation was changed meanwhile, and nothing was written."""
        if not step.writes:
            return step.generation
        version = await until_store_works(
            self._clock,
            lambda: self._store.write(before, step.writes, self._clock.now()),
            generation=before.id,
        )
        if version is None:
            report_discarded(self._health, step.generation, step.writes)
            return None
        if step.generation.status.terminal and not before.status.terminal:
            reach("terminal")
        self._notifier.changed(before.id)
        report_ended(self._health, step.generation, step.writes)
        for write in step.writes:
            if isinstance(write, SaveArchivedFile):
                self._effects.archived(write.file)
        after = replace(step.generation, version=version)
        for event in step_events(before, after, step.writes, self._clock.now()):
            self._observer.observe(event)
        return after

    async def _reload(self, generation: Generation) -> Generation | None:
        """The generation as it is stored now. `None`: it was deleted, or another process has taken the fence."""
        stored = await until_store_works(self._clock, lambda: self._store.get(generation.id), generation=generation.id)
        if stored is None or stored.fence != generation.fence:
            self._cancel_all_but_submits()
            if self._running:
                await asyncio.wait(self._running)  # submits store by themselves which tasks they started
            return None
        return stored

    def _cancel_all_but_submits(self) -> None:
        """Cancel what may be repeated. A submit that may have begun to leave must be brought to its end."""
        for task, effect in self._running.items():
            if isinstance(effect, Submit) and self._effects.is_sending(effect.attempt_id):
                self._effects.stop_waiting(effect.attempt_id)
            else:
                task.cancel()

    def _cancel_unwanted(self, generation: Generation) -> None:
        """Cancel unsent submits of attempts that were given up, and downloads of files that nobody needs."""
        if not self._running:
            return
        unsent = {attempt.id for attempt in generation.attempts if attempt.state is AttemptState.NOT_SENT}
        files = {output.index for output in generation.outputs if output.artifact is not None}
        for task, effect in self._running.items():
            match effect:
                case Submit(attempt_id=attempt_id):
                    is_wanted = attempt_id not in unsent or self._effects.is_sending(attempt_id)
                case ArchiveFile(index=index):
                    is_wanted = index in files
                case _:
                    is_wanted = True
            if not is_wanted:
                task.cancel()

    def _start(self, generation: Generation, effect: Effect) -> None:
        task = asyncio.create_task(self._effects.carry_out(generation, effect))
        self._running[task] = effect
        task.add_done_callback(self._wake_up)

    def _collect(self) -> list[Fact]:
        """The facts that were learnt since the last step."""
        self._is_due = False
        facts: list[Fact] = [CallbackReceived(attempt_id) for attempt_id in self._nudged]
        self._nudged.clear()
        for task in [task for task in self._running if task.done()]:
            effect = self._running.pop(task)
            error = None if task.cancelled() else task.exception()
            result = None if task.cancelled() or error is not None else task.result()
            if isinstance(result, SubmitAccepted):
                self._is_outdated = self._is_outdated or self._accepted is not None
                self._accepted = result
                continue
            if isinstance(effect, Submit):
                self._is_outdated = True  # the submit has changed the attempt in the store
            if error is not None:
                self._effect_error = error
            elif result is not None:
                facts.append(result)
        return facts

    def _wake_up(self, _: object = None) -> None:
        if self._sleeping is not None and not self._sleeping.done():
            self._sleeping.set_result(None)

    def _time_has_come(self) -> None:
        if self._sleeping is not None and not self._sleeping.done():
            self._turns.end(self._sleeping)

    async def _sleep(self, wake_at: datetime) -> None:
        """Sleep until this moment, or until something happens before that.

        Tens of thousands of drivers sleep at the same time, so a sleep consists of as few objects as possible. Those
        whose moment has come go on in turns; what happens to a generation wakes its driver at once.
        """
        if self._is_outdated or self._is_due or self._nudged or any(task.done() for task in self._running):
            return
        delay_seconds = STOP_SECONDS if self._stopping else (wake_at - self._clock.now()).total_seconds()
        self._sleeping = asyncio.get_running_loop().create_future()
        timer = self._clock.call_later(max(delay_seconds, 0.0), self._time_has_come)
        try:
            await self._sleeping
        finally:
            timer.cancel()
            self._sleeping = None
