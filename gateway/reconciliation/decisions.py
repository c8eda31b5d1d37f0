"""What an operator does with submits that got no clear answer: list them, attach their tasks, decide about the held."""

import asyncio
from collections.abc import Sequence

import structlog
from msgspec import Struct

from gateway.clock import Clock
from gateway.domain.errors import Conflict, NotFound
from gateway.domain.generation.model import Attempt, AttemptState, Generation
from gateway.domain.generation.reconciliation import TASKS_MAX, Decision, decide, is_held
from gateway.generations.notifier import Signals
from gateway.generations.service import Drivers
from gateway.reconciliation.adoption import Adoption
from gateway.store.port import AttemptCursor, Store, attempt_cursor
from gateway.store.task_claims import Told

log = structlog.get_logger()
_CHUNK = 100  # attempts looked at together, where only those that are held are wanted


class Found(Struct, frozen=True):
    """An attempt in its generation."""

    generation: Generation
    attempt: Attempt

    @property
    def held(self) -> bool:
        """Whether an output waits for a decision about it."""
        return is_held(self.generation, self.attempt)


class Attempts:
    """Every call sees the attempts of all API keys."""

    def __init__(self, *, store: Store, adoption: Adoption, drivers: Drivers, signals: Signals, clock: Clock) -> None:
        self._store = store
        self._adoption = adoption
        self._drivers = drivers
        self._signals = signals
        self._clock = clock

    async def page(self, *, held: bool, limit: int, after: str | None = None) -> tuple[list[Found], bool]:
        """The attempts that are unknown, or those of them that are held, oldest first; and whether more follow."""
        found: list[Found] = []
        place = None if after is None else attempt_cursor(after)
        while len(found) <= limit:
            chunk = await self._store.unknown_attempts(_CHUNK, place, open_only=held)
            seen = [Found(generation, generation.attempt(attempt_id)) for generation, attempt_id in chunk]
            found += [one for one in seen if one.held or not held]
            if len(chunk) < _CHUNK:
                break
            place = AttemptCursor(seen[-1].generation.id, seen[-1].attempt.id)
            await asyncio.sleep(0)  # others have their turn
        return found[:limit], len(found) > limit

    async def read(self, attempt_id: str) -> Found:
        """One attempt, whatever its state."""
        place = attempt_cursor(attempt_id)
        generation = None if place is None else await self._store.get(place.generation_id)
        if generation is not None:
            for attempt in generation.attempts:
                if attempt.id == attempt_id:
                    return Found(generation, attempt)
        raise NotFound(f"There is no attempt {attempt_id[:100]!r}.", param="id")

    async def attach(self, attempt_id: str, task_ids: Sequence[str]) -> Found:
        """Let an attempt have the tasks that it did start; a `Conflict` where they cannot be its own.

        It may count as unknown, refused, failed or given up: a task that exists was paid for. What is attached already
        stays so. Its tasks are read while the generation is open, and now and then until the deadline when another
        route has completed it or it has failed.
        """
        while True:
            found = await self.read(attempt_id)
            generation, attempt = found.generation, found.attempt
            if set(task_ids) <= {task.ref.id for task in attempt.tasks}:
                return found
            if attempt.state in {AttemptState.RESERVED, AttemptState.SUBMITTING}:
                raise Conflict(f"The attempt is {attempt.state}; a task is attached once its submit has ended.")
            is_full = len(attempt.tasks) >= len(attempt.slots)
            if is_full and attempt.state in {AttemptState.ACCEPTED, AttemptState.COMPLETED}:
                raise Conflict(f"The attempt is {attempt.state}, and a task of it is known for every output.")
            told = await self._adoption.tell(generation, attempt, task_ids, "operator")
            if told is Told.REFUSED and (await self.read(attempt_id)).attempt == attempt:
                raise Conflict(f"An attempt has at most {TASKS_MAX} tasks.", param="tasks")
            if told is not Told.ADOPTED:
                continue  # its driver was faster, or it was deleted
            log.info(
                "attempt_attached",
                generation=generation.id,
                attempt=attempt.id,
                provider=generation.route(attempt).provider,
                tasks=list(task_ids),
            )
            return await self.read(attempt_id)

    async def decide(self, attempt_id: str, decision: Decision) -> Found:
        """Let a held attempt fail, or be sent once more after its quarantine; `Conflict` says why not."""
        while True:
            found = await self.read(attempt_id)
            write = decide(found.generation, found.attempt, decision)
            if await self._store.write(found.generation, [write], self._clock.now()) is not None:
                log.info("attempt_decided", generation=found.generation.id, attempt=attempt_id, decision=decision)
                return await self._changed(found)
            await asyncio.sleep(0)  # its driver was faster: look at what it wrote

    async def _changed(self, found: Found) -> Found:
        self._signals.changed(found.generation.id)
        self._drivers.wake(found.generation.id)
        return await self.read(found.attempt.id)
