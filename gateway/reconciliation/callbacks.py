"""Callbacks in: a provider says that something happened. It is a reason to look, and hardly anything of it is believed.

That is the name of a task, where no reply to the submit has named one.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from typing import Protocol

import structlog

from gateway.clock import Clock
from gateway.domain.adapter.task_reading import TASK_ID_MAX
from gateway.domain.errors import Conflict
from gateway.domain.generation.model import Attempt, AttemptState, Generation
from gateway.domain.generation.outputs import is_followed
from gateway.domain.generation.reconciliation import TASKS_MAX
from gateway.domain.generation.task_polling import open_tasks
from gateway.reconciliation.adoption import Adoption
from gateway.store.port import Store, attempt_cursor
from gateway.store.task_claims import Told
from gateway.tokens import Signer
from gateway.upstream.provider import Provider

log = structlog.get_logger()
HEARD_MAX = 10_000  # tasks that are not looked at once more
_PURPOSE = "callback"
_Saying = tuple[str, str, AttemptState | None]  # that an attempt, in a state, has a task; without one it was deleted


class Hinted(Protocol):
    """What this service needs of an engine."""

    def nudge(self, generation_id: str, attempt_id: str) -> None:
        """The tasks of this attempt are to be read now."""
        ...


class CallbackUrls:
    """Where a provider reaches the gateway: a URL for each attempt that nobody can guess."""

    def __init__(self, public_url: str | None, signer: Signer, clock: Clock) -> None:
        self._public_url = public_url
        self._signer = signer
        self._clock = clock

    def url(self, provider: Provider, attempt_id: str) -> str | None:
        """The URL to submit with an attempt; `None` where the provider calls nobody, or there is no way to us."""
        if self._public_url is None or provider.adapter.read_callback is None:
            return None
        token = attempt_id + self._signer.sign(_PURPOSE, provider.name, attempt_id)
        return f"{self._public_url}/callbacks/{provider.name}/{token}"

    def attempt_of(self, provider: str, token: str) -> str | None:
        """The attempt that a provider was given this token for; `None`: it was given to nobody."""
        attempt_id, dot, signature = token.partition(".")
        if not provider.isascii() or attempt_cursor(attempt_id) is None:
            return None
        subject = (provider, attempt_id)
        return attempt_id if self._signer.admits(dot + signature, _PURPOSE, *subject, now=self._clock.now()) else None


class Callbacks:
    """Takes what came with a good token. Whatever it is and however often it comes, it costs a look at one row."""

    def __init__(
        self,
        *,
        store: Store,
        providers: Mapping[str, Provider],
        adoption: Adoption,
        drivers: Hinted,
        clock: Clock,
    ) -> None:
        self._store = store
        self._providers = providers
        self._adoption = adoption
        self._drivers = drivers
        self._clock = clock
        self._telling: dict[_Saying, asyncio.Task[bool]] = {}  # on the way into the store
        self._heard: OrderedDict[_Saying, None] = OrderedDict()  # durable

    async def receive(self, provider: str, attempt_id: str, body: bytes) -> None:
        """Have the attempt's tasks read now; one that has none named by a reply gets those that this names.

        Durable when it returns. Raises `StoreUnavailable`.
        """
        place = attempt_cursor(attempt_id)
        generation = None if place is None else await self._store.get(place.generation_id)
        attempts = () if generation is None else generation.attempts
        attempt = next((one for one in attempts if one.id == attempt_id), None)
        if generation is None or attempt is None:
            for task_id in self._named(provider, attempt_id, body):
                self._note_of_deleted(provider, attempt_id, task_id)
            return
        adopted = False
        for task_id in self._named(generation.route(attempt).provider, attempt.id, body):
            if not _has(attempt, task_id):
                adopted |= await self._tell(generation, attempt, task_id)
        reading = bool(open_tasks(attempt)) and is_followed(generation, self._clock.now())
        if adopted or reading or attempt.state is AttemptState.SUBMITTING:
            self._drivers.nudge(generation.id, attempt.id)

    def _note_of_deleted(self, provider: str, attempt_id: str, task_id: str) -> None:
        """Leave a trace, once, of a task whose generation was deleted: it was paid for, whatever the ledger says."""
        saying = (attempt_id, task_id, None)
        if saying not in self._heard:
            self._hear(saying)
            log.warning("callback_of_deleted", attempt=attempt_id, provider=provider, task=task_id)

    def _named(self, provider_name: str, attempt_id: str, body: bytes) -> list[str]:
        """The tasks that a body names; none where nobody can read it."""
        provider = self._providers.get(provider_name)
        if provider is None or provider.adapter.read_callback is None:
            return []
        try:
            named = provider.adapter.read_callback(body).task_ids[:TASKS_MAX]
        except Exception as error:  # noqa: BLE001  # whatever an adapter makes of what anybody may have sent
            log.info("callback_unreadable", attempt=attempt_id, provider=provider.name, error=type(error).__name__)
            return []
        return [one for one in named if len(one) <= TASK_ID_MAX and one.isprintable() and any(map(str.isalnum, one))]

    async def _tell(self, generation: Generation, attempt: Attempt, task_id: str) -> bool:
        """Whether the attempt has this task now, and had it not before."""
        saying = (attempt.id, task_id, attempt.state)
        if saying in self._heard:
            return False
        telling = self._telling.get(saying)
        if telling is None:
            telling = self._telling[saying] = asyncio.create_task(self._have_told(generation, attempt, task_id))
            telling.add_done_callback(lambda done: self._forget_telling(saying, done))
        return await asyncio.shield(telling)  # who says the same meanwhile is answered when it is durable, too

    async def _have_told(self, generation: Generation, attempt: Attempt, task_id: str) -> bool:
        try:
            told, why = await self._adoption.tell(generation, attempt, (task_id,), "callback"), "it was answered"
        except Conflict as error:
            told, why = Told.REFUSED, error.detail
        about = {"attempt": attempt.id, "provider": generation.route(attempt).provider, "task": task_id}
        if told is Told.ADOPTED:
            log.info("callback_adopted", generation=generation.id, **about)
        elif told is Told.REFUSED and not await self._is_known(generation, attempt, task_id):
            log.warning("callback_unexpected", generation=generation.id, state=attempt.state, reason=why, **about)
        self._hear((attempt.id, task_id, attempt.state))
        return told is Told.ADOPTED

    def _hear(self, saying: _Saying) -> None:
        self._heard[saying] = None
        if len(self._heard) > HEARD_MAX:
            self._heard.popitem(last=False)

    def _forget_telling(self, saying: _Saying, done: asyncio.Task[bool]) -> None:
        del self._telling[saying]
        if not done.cancelled():
            done.exception()  # its callers have it, as far as they still wait

    async def _is_known(self, generation: Generation, attempt: Attempt, task_id: str) -> bool:
        """Whether the reply has named the task meanwhile."""
        now = await self._store.get(generation.id)
        return now is not None and _has(now.attempt(attempt.id), task_id)


def _has(attempt: Attempt, task_id: str) -> bool:
    return any(task.ref.id == task_id for task in attempt.tasks)
