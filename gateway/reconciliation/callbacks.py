"""Takes callbacks of providers. A callback only makes the gateway poll, and its contents are not trusted.

There is one exception: the task id, when the reply to the submit gave none.
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
from gateway.store.task_claims import ClaimResult
from gateway.tokens import Signer
from gateway.upstream.provider import Provider

log = structlog.get_logger()
HANDLED_MAX = 10_000  # claims that are remembered as handled, so that a repeated callback costs no write
_PURPOSE = "callback"
_Claim = tuple[str, str, AttemptState | None]  # attempt id, task id, the attempt's state; None: it was deleted


class Nudgeable(Protocol):
    """What this service needs of an engine."""

    def nudge(self, generation_id: str, attempt_id: str) -> None:
        """Poll the tasks of this attempt now."""
        ...


class CallbackUrls:
    """Makes and checks the URLs for callbacks: one for each attempt, with a token that nobody can guess."""

    def __init__(self, public_url: str | None, signer: Signer, clock: Clock) -> None:
        self._public_url = public_url
        self._signer = signer
        self._clock = clock

    def are_sent(self, provider: Provider) -> bool:
        """Whether this provider gets such a URL with each submit."""
        return self._public_url is not None and provider.adapter.read_callback is not None

    def url(self, provider: Provider, attempt_id: str) -> str | None:
        """The URL to submit with an attempt; `None` if the provider sends no callbacks, or without a public URL."""
        if not self.are_sent(provider):
            return None
        token = attempt_id + self._signer.sign(_PURPOSE, provider.name, attempt_id)
        return f"{self._public_url}/callbacks/{provider.name}/{token}"

    def attempt_of(self, provider: str, token: str) -> str | None:
        """The attempt whose submit gave this token to this provider; `None` if the token is not valid."""
        attempt_id, dot, signature = token.partition(".")
        if not provider.isascii() or attempt_cursor(attempt_id) is None:
            return None
        subject = (provider, attempt_id)
        return attempt_id if self._signer.admits(dot + signature, _PURPOSE, *subject, now=self._clock.now()) else None


class CallbackReceiver:
    """Handles callbacks with a valid token. A callback that is repeated costs one read of the ledger and no write."""

    def __init__(
        self,
        *,
        store: Store,
        providers: Mapping[str, Provider],
        adoption: Adoption,
        drivers: Nudgeable,
        clock: Clock,
    ) -> None:
        self._store = store
        self._providers = providers
        self._adoption = adoption
        self._drivers = drivers
        self._clock = clock
        self._pending: dict[_Claim, asyncio.Task[bool]] = {}  # being written
        self._handled: OrderedDict[_Claim, None] = OrderedDict()  # written or refused; the oldest first

    async def receive(self, provider: str, attempt_id: str, body: bytes) -> None:
        """Make the gateway poll the attempt's tasks now, and adopt a task that the body names and no reply has named.

        The adoption is durable when this returns. Raises `StoreUnavailable`.
        """
        cursor = attempt_cursor(attempt_id)
        generation = None if cursor is None else await self._store.get(cursor.generation_id)
        attempts = () if generation is None else generation.attempts
        attempt = next((attempt for attempt in attempts if attempt.id == attempt_id), None)
        if generation is None or attempt is None:
            for task_id in self._task_ids(provider, attempt_id, body):
                self._log_deleted(provider, attempt_id, task_id)
            return
        is_adopted = False
        for task_id in self._task_ids(generation.route(attempt).provider, attempt.id, body):
            if not _has_task(attempt, task_id):
                is_adopted |= await self._claim(generation, attempt, task_id)
        has_open_task = bool(open_tasks(attempt)) and is_followed(generation, self._clock.now())
        if is_adopted or has_open_task or attempt.state is AttemptState.SUBMITTING:
            self._drivers.nudge(generation.id, attempt.id)

    def _log_deleted(self, provider: str, attempt_id: str, task_id: str) -> None:
        """Log once that a deleted generation has a task: it was paid for, and the ledger no longer knows about it."""
        claim = (attempt_id, task_id, None)
        if claim not in self._handled:
            self._remember(claim)
            log.warning("callback_of_deleted", attempt=attempt_id, provider=provider, task=task_id)

    def _task_ids(self, provider_name: str, attempt_id: str, body: bytes) -> list[str]:
        """The task ids in a body, without those that no provider would use. Empty if the body cannot be read."""
        provider = self._providers.get(provider_name)
        if provider is None or provider.adapter.read_callback is None:
            return []
        try:
            task_ids = provider.adapter.read_callback(body).task_ids[:TASKS_MAX]
        except Exception as error:  # noqa: BLE001  # anybody may have sent the body, and an adapter may raise anything
            log.info("callback_unreadable", attempt=attempt_id, provider=provider.name, error=type(error).__name__)
            return []
        return [
            task_id
            for task_id in task_ids
            if len(task_id) <= TASK_ID_MAX and task_id.isprintable() and any(map(str.isalnum, task_id))
        ]

    async def _claim(self, generation: Generation, attempt: Attempt, task_id: str) -> bool:
        """Adopt the task for the attempt. True if the attempt has it now and did not have it before."""
        claim = (attempt.id, task_id, attempt.state)
        if claim in self._handled:
            return False
        pending = self._pending.get(claim)
        if pending is None:
            pending = self._pending[claim] = asyncio.create_task(self._adopt(generation, attempt, task_id))
            pending.add_done_callback(lambda done: self._forget_pending(claim, done))
        return await asyncio.shield(pending)  # the same callback, sent twice at once, is answered after one write

    async def _adopt(self, generation: Generation, attempt: Attempt, task_id: str) -> bool:
        try:
            result, reason = await self._adoption.adopt(generation, attempt, (task_id,), "callback"), "it was answered"
        except Conflict as error:
            result, reason = ClaimResult.REFUSED, error.detail
        fields = {"attempt": attempt.id, "provider": generation.route(attempt).provider, "task": task_id}
        if result is ClaimResult.ADOPTED:
            log.info("callback_adopted", generation=generation.id, **fields)
        elif result is ClaimResult.REFUSED and not await self._was_answered(generation, attempt, task_id):
            log.warning("callback_unexpected", generation=generation.id, state=attempt.state, reason=reason, **fields)
        self._remember((attempt.id, task_id, attempt.state))
        return result is ClaimResult.ADOPTED

    def _remember(self, claim: _Claim) -> None:
        self._handled[claim] = None
        if len(self._handled) > HANDLED_MAX:
            self._handled.popitem(last=False)

    def _forget_pending(self, claim: _Claim, done: asyncio.Task[bool]) -> None:
        del self._pending[claim]
        if not done.cancelled():
            done.exception()  # mark it as seen: the callers that still wait for the task get it

    async def _was_answered(self, generation: Generation, attempt: Attempt, task_id: str) -> bool:
        """Whether the reply to the submit has named this task meanwhile."""
        stored = await self._store.get(generation.id)
        return stored is not None and _has_task(stored.attempt(attempt.id), task_id)


def _has_task(attempt: Attempt, task_id: str) -> bool:
    return any(task.ref.id == task_id for task in attempt.tasks)
