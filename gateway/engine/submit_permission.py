"""The permission of the ledger to send a submit: the durable intent, and what is looked at again right after it."""

from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec.structs import replace

from gateway.clock import Clock
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.task import Failed
from gateway.domain.generation.cost_limit import within_limit
from gateway.domain.generation.facts_and_effects import SubmitEnded
from gateway.domain.generation.model import Attempt, AttemptState, Generation
from gateway.domain.generation.outputs import missing_slots
from gateway.engine.store_retry import until_store_works
from gateway.store.port import Permission, Store, SubmitPlace

_SAME = timedelta(milliseconds=1)  # moments lose digits on their way through the ledger


class NotWantedError(Exception):
    """The submit must not be sent. `ended` is the fact to report; `None`: another driver has the generation."""

    def __init__(self, ended: SubmitEnded | None) -> None:
        super().__init__()
        self.ended = ended


class NoPlaceError(Exception):
    """Other processes have as many submits in flight as the provider takes."""


def not_sent(attempt: Attempt, failure: Failed | None) -> SubmitEnded:
    """Nothing reached the provider. Without a failure the submit was no longer wanted."""
    return SubmitEnded(attempt_id=attempt.id, state=AttemptState.NOT_SENT, failure=failure)


class SubmitPermissions:
    """Asks the ledger for permissions. While the store does not work, it asks again."""

    def __init__(self, store: Store, clock: Clock, *, note_hold: Callable[[str], None]) -> None:
        """`note_hold` is called with a provider that an operator holds, as the ledger says."""
        self._store = store
        self._clock = clock
        self._note_hold = note_hold

    async def begin(self, generation: Generation, attempt: Attempt, place: SubmitPlace) -> Generation:
        """Make the intent durable, which is the permission to send. Raises `NotWantedError` if it is refused.

        Returns the generation as it is stored then. Raises `NoPlaceError` if it may be asked for again.
        """
        moments: list[datetime] = []
        permission = await until_store_works(
            self._clock, lambda: self._permission(generation, attempt, place, moments), attempt=attempt.id
        )
        sent_at = moments[-1]
        if permission is Permission.OVERTAKEN:
            raise NotWantedError(await self._unanswered_permission(generation, attempt, moments[:-1]))
        if permission is Permission.FULL:
            raise NoPlaceError
        if permission is Permission.HELD:
            self._note_hold(generation.route(attempt).provider)
        if permission is not Permission.GRANTED:
            raise NotWantedError(not_sent(attempt, None))  # it costs nothing, and does not count as a failed attempt
        # Clock, fence and status are read once more. Since the commit this process may have been suspended for a long
        # time, or the client may have cancelled.
        current = await until_store_works(
            self._clock, lambda: self._begun(generation, attempt, sent_at), attempt=attempt.id
        )
        is_overtaken = current is None or current.fence != generation.fence or current.status.terminal
        if current is None or is_overtaken or self._clock.now() >= generation.deadline_at:
            raise NotWantedError(not_sent(attempt, failed(FailureKind.TIMED_OUT)))
        if missing_slots(current, attempt) != attempt.slots or not within_limit(current):
            raise NotWantedError(not_sent(attempt, None))  # the driver reserves a new attempt for what is still missing
        return current

    async def _permission(
        self, generation: Generation, attempt: Attempt, place: SubmitPlace, moments: list[datetime]
    ) -> Permission:
        moments.append(self._clock.now())
        return await self._store.begin_submit(attempt.id, generation.fence, moments[-1], place)

    async def _unanswered_permission(
        self, generation: Generation, attempt: Attempt, moments: list[datetime]
    ) -> SubmitEnded | None:
        """That nothing was sent, if an earlier question got the permission but its answer was lost on the way.

        `moments` are those of the questions without an answer. Only the process that has put them can know this.
        """
        if not moments:
            return None
        stored = await until_store_works(self._clock, lambda: self._store.get(generation.id), attempt=attempt.id)
        if stored is None or stored.fence != generation.fence:
            return None
        begun = stored.attempt(attempt.id)
        is_own = begun.sent_at is not None and any(abs(begun.sent_at - moment) < _SAME for moment in moments)
        return not_sent(attempt, None) if begun.state is AttemptState.SUBMITTING and is_own else None

    async def _begun(self, generation: Generation, attempt: Attempt, sent_at: datetime) -> Generation | None:
        """The stored generation, whose submit has begun. It is read only if it was changed in another way as well."""
        if await self._store.revision(generation.id) != (generation.fence, generation.version + 1):
            return await self._store.get(generation.id)
        begun = replace(attempt, state=AttemptState.SUBMITTING, sent_at=sent_at)
        attempts = tuple(begun if other.id == attempt.id else other for other in generation.attempts)
        return replace(generation, attempts=attempts, version=generation.version + 1)
