"""One generation from its start to its end: advance, store, carry out, sleep."""

import asyncio
from collections.abc import Callable, Mapping

import structlog
from msgspec.structs import replace

from gateway.clock import Clock, wait
from gateway.domain.generation.archiving import Keep, KeepWatch
from gateway.domain.generation.lifecycle import Effect, Fact, Hinted, Step, Submit, advance
from gateway.domain.generation.model import AttemptState, Generation, Route
from gateway.domain.generation.task_polling import Hints, TaskKey, Watch
from gateway.domain.generation.transitions import SaveKept
from gateway.engine.effects import Effects
from gateway.engine.health_feedback import attempts_began, attempts_dropped, tasks_ended
from gateway.engine.store_retry import patiently
from gateway.failpoints import reach
from gateway.generations.notifier import Signals
from gateway.store.port import Store
from gateway.upstream.health import Health

log = structlog.get_logger()
STOP_SECONDS = 3600.0  # while stopping, only a submit that ends wakes the driver


class Drive:
    """One generation's driver. `wake` makes it look again; `stop` makes it hand the generation back."""

    def __init__(self, store: Store, effects: Effects, health: Health, signals: Signals, clock: Clock) -> None:
        self._store = store
        self._effects = effects
        self._health = health
        self._signals = signals
        self._clock = clock
        self._event = asyncio.Event()
        self.on_end: Callable[[], None] = lambda: None  # called when what is driven is at its end, or was
        self._hinted: set[str] = set()  # attempts whose provider says that something happened
        self._changed = False  # the stored generation may differ from ours
        self._stopping = False
        self._broken: BaseException | None = None  # of an effect
        self._running: dict[asyncio.Task[Fact | None], Effect] = {}

    def wake(self) -> None:
        """Read the generation again, now."""
        self._changed = True
        self._event.set()

    def hint(self, attempt_id: str) -> None:
        """Read the tasks of this attempt, now."""
        self._hinted.add(attempt_id)
        self._event.set()

    def stop(self) -> None:
        """Start nothing more; return when the submits in flight are stored."""
        self._stopping = True
        self._cancel_all_but_submits()
        self._event.set()

    async def run(self, generation: Generation) -> None:
        """Drive until the end, until `stop`, or until somebody else holds the fence."""
        try:
            await self._run(generation)
        except asyncio.CancelledError:
            for task in self._running:
                task.cancel()
            raise
        except Exception:
            self._cancel_all_but_submits()
            if self._running:
                await asyncio.wait(self._running)  # whoever drives next must not take a submit under way for lost
            raise

    async def _run(self, generation: Generation) -> None:
        held: Generation | None = generation
        watches: Mapping[TaskKey, Watch] = {}
        keeping: Mapping[int, KeepWatch] = {}
        facts: list[Fact] = []
        while held is not None:
            step = self._advance(held, watches, keeping, facts)
            stored = await self._save(held, step)
            if stored is None:
                held = await self._reload(held)
                continue
            held, watches, keeping, facts = stored, step.watches, step.keeping, []
            if self._broken is not None:
                raise self._broken
            if held.status.terminal:
                self.on_end()
            self._cancel_unwanted(held)
            if not self._stopping:
                for effect in step.effects:
                    self._start(held, effect)
            at_end = held.status.terminal and not watches and all(one.given_up for one in keeping.values())
            if not self._running and (self._stopping or (at_end and not self._changed)):
                return
            await self._sleep(step)
            facts = self._collect()
            if self._changed:
                self._changed = False
                held = await self._reload(held)
                if held is not None:
                    self._signals.changed(held.id)

    def _advance(
        self,
        generation: Generation,
        watches: Mapping[TaskKey, Watch],
        keeping: Mapping[int, KeepWatch],
        facts: list[Fact],
    ) -> Step:
        busy = frozenset(self._running.values())
        now = self._clock.now()
        step = advance(
            generation,
            watches,
            facts,
            now=now,
            busy=busy,
            hints=self._hints,
            health=self._health.of,
            keeping=keeping,
        )
        attempts_began(self._health, step.generation, step.writes)
        return step

    def _hints(self, route: Route) -> Hints:
        return self._effects.hints(route)

    async def _save(self, before: Generation, step: Step) -> Generation | None:
        """Carry out the step's writes; `None` when the generation was changed by somebody else."""
        if not step.writes:
            return step.generation
        version = await patiently(
            self._clock,
            lambda: self._store.write(before, step.writes, self._clock.now()),
            generation=before.id,
        )
        if version is None:
            attempts_dropped(self._health, step.generation, step.writes)
            return None
        if step.generation.status.terminal and not before.status.terminal:
            reach("terminal")
        self._signals.changed(before.id)
        tasks_ended(self._health, step.generation, step.writes)
        for write in step.writes:
            if isinstance(write, SaveKept):
                self._effects.archived(write.file)
        after = replace(step.generation, version=version)
        if after.status is not before.status:
            log.info("generation_moved", generation=after.id, status=after.status, provider=after.provider)
        return after

    async def _reload(self, generation: Generation) -> Generation | None:
        found = await patiently(self._clock, lambda: self._store.get(generation.id), generation=generation.id)
        if found is None or found.fence != generation.fence:
            self._cancel_all_but_submits()
            if self._running:
                await asyncio.wait(self._running)  # what they learn they store themselves
            return None
        return found

    def _cancel_all_but_submits(self) -> None:
        """End what may be done again; a submit that may have begun to leave is brought to its end."""
        for task, effect in self._running.items():
            if not (isinstance(effect, Submit) and self._effects.is_sending(effect.attempt_id)):
                task.cancel()

    def _cancel_unwanted(self, held: Generation) -> None:
        """Stop submits that were not sent and are not to be, and fetches of files that were dropped."""
        if not self._running:
            return
        unsent = {attempt.id for attempt in held.attempts if attempt.state is AttemptState.NOT_SENT}
        files = {output.index for output in held.outputs if output.artifact is not None}
        for task, effect in self._running.items():
            match effect:
                case Submit(attempt_id=attempt_id):
                    is_wanted = attempt_id not in unsent or self._effects.is_sending(attempt_id)
                case Keep(index=index):
                    is_wanted = index in files
                case _:
                    is_wanted = True
            if not is_wanted:
                task.cancel()

    def _start(self, generation: Generation, effect: Effect) -> None:
        task = asyncio.create_task(
            self._effects.carry_out(generation, effect),
        )
        self._running[task] = effect
        task.add_done_callback(lambda _: self._event.set())

    def _collect(self) -> list[Fact]:
        facts: list[Fact] = [Hinted(attempt_id) for attempt_id in self._hinted]
        self._hinted.clear()
        for task in [task for task in self._running if task.done()]:
            effect = self._running.pop(task)
            if isinstance(effect, Submit):
                self._changed = True  # the effect moved the attempt in the store
            if task.cancelled():
                continue
            error = task.exception()
            if error is not None:
                self._broken = error  # raised once what the others have learnt is stored
                continue
            fact = task.result()
            if fact is not None:
                facts.append(fact)
        return facts

    async def _sleep(self, step: Step) -> None:
        if any(task.done() for task in self._running) or self._changed or self._hinted:
            return
        delay = (step.wake_at - self._clock.now()).total_seconds()
        await wait(self._clock, self._event, STOP_SECONDS if self._stopping else delay)
