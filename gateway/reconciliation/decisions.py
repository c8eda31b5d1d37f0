"""What an operator does about submits without a clear answer: list them, attach their tasks, decide about held ones."""

import asyncio
from collections.abc import Sequence

import structlog
from msgspec import Struct

from gateway.clock import Clock
from gateway.domain.errors import Conflict, NotFound
from gateway.domain.generation.model import Attempt, AttemptState, Generation
from gateway.domain.generation.reconciliation import TASKS_MAX, Decision, awaits_decision, decide
from gateway.generations.drivers import Drivers
from gateway.generations.notifier import Notifier
from gateway.reconciliation.adoption import Adoption
from gateway.store.pages import cut
from gateway.store.port import AttemptCursor, Store, attempt_cursor
from gateway.store.task_claims import ClaimResult

log = structlog.get_logger()
_CHUNK = 100  # attempts read at a time while a page of held ones is filled


class UnclearAttempt(Struct, frozen=True):
    """An attempt with its generation."""

    generation: Generation
    attempt: Attempt

    @property
    def held(self) -> bool:
        """Whether an output waits for an operator's decision about this attempt."""
        return awaits_decision(self.generation, self.attempt)


class OperatorDecisions:
    """The attempts of all API keys, for operators."""

    def __init__(self, *, store: Store, adoption: Adoption, drivers: Drivers, notifier: Notifier, clock: Clock) -> None:
        self._store = store
        self._adoption = adoption
        self._drivers = drivers
        self._notifier = notifier
        self._clock = clock

    async def page(self, *, held: bool, limit: int, after: str | None = None) -> tuple[Sequence[UnclearAttempt], bool]:
        """At most `limit` unknown attempts, the oldest first, and whether more follow. With `held` only held ones."""
        matches: list[UnclearAttempt] = []
        cursor = None if after is None else attempt_cursor(after)
        while len(matches) <= limit:
            rows = await self._store.unknown_attempts(_CHUNK, cursor, open_only=held)
            chunk = [UnclearAttempt(generation, generation.attempt(attempt_id)) for generation, attempt_id in rows]
            matches += [match for match in chunk if match.held or not held]
            if len(chunk) < _CHUNK:
                break
            cursor = AttemptCursor(chunk[-1].generation.id, chunk[-1].attempt.id)
            await asyncio.sleep(0)  # let other requests run
        return cut(matches, limit)

    async def read(self, attempt_id: str) -> UnclearAttempt:
        """One attempt in any state. Raises `NotFound`."""
        cursor = attempt_cursor(attempt_id)
        generation = None if cursor is None else await self._store.get(cursor.generation_id)
        if generation is not None:
            for attempt in generation.attempts:
                if attempt.id == attempt_id:
                    return UnclearAttempt(generation, attempt)
        raise NotFound(f"The attempt {attempt_id[:100]!r} does not exist.", param="id")

    async def attach(self, attempt_id: str, task_ids: Sequence[str]) -> UnclearAttempt:
        """Attach the tasks that an attempt has really started. Attaching a task again changes nothing.

        The attempt may also be refused, failed or abandoned: a task that exists was paid for. Its tasks are polled
        while the generation is open, and seldom until the deadline after it has completed or failed. Raises `NotFound`,
        and `Conflict` if the tasks cannot belong to the attempt.
        """
        while True:
            match = await self.read(attempt_id)
            generation, attempt = match.generation, match.attempt
            if set(task_ids) <= {task.ref.id for task in attempt.tasks}:
                return match
            if attempt.state in {AttemptState.RESERVED, AttemptState.SUBMITTING}:
                raise Conflict(f"The attempt is {attempt.state}; attach its task after its submit has ended.")
            is_full = len(attempt.tasks) >= len(attempt.slots)
            if is_full and attempt.state in {AttemptState.ACCEPTED, AttemptState.COMPLETED}:
                raise Conflict(f"The attempt is {attempt.state} and already has a task for every output.")
            result = await self._adoption.adopt(generation, attempt, task_ids, "operator")
            if result is ClaimResult.REFUSED and (await self.read(attempt_id)).attempt == attempt:
                raise Conflict(f"An attempt has at most {TASKS_MAX} tasks.", param="tasks")
            if result is not ClaimResult.ADOPTED:
                continue  # its driver has changed it meanwhile, or it was deleted: decide by what is stored now
            log.info(
                "attempt_attached",
                generation=generation.id,
                attempt=attempt.id,
                provider=generation.route(attempt).provider,
                tasks=list(task_ids),
            )
            return await self.read(attempt_id)

    async def decide(self, attempt_id: str, decision: Decision) -> UnclearAttempt:
        """Let a held attempt fail, or let it be sent once more after its quarantine.

        Raises `NotFound`, and `Conflict`, which says why the attempt cannot be decided about.
        """
        while True:
            match = await self.read(attempt_id)
            write = decide(match.generation, match.attempt, decision)
            if await self._store.write(match.generation, [write], self._clock.now()) is not None:
                log.info("attempt_decided", generation=match.generation.id, attempt=attempt_id, decision=decision)
                self._notifier.changed(match.generation.id)
                self._drivers.wake(match.generation.id)
                return await self.read(attempt_id)
            await asyncio.sleep(0)  # its driver has changed it meanwhile: decide by what is stored now
