"""Whose a task is that no reply to a submit has named: an attempt gets what it is told to have, and nobody else has."""

from collections.abc import Mapping, Sequence

import structlog

from gateway.clock import Clock
from gateway.domain.adapter.request import UpstreamRequest
from gateway.domain.adapter.task import TaskRef
from gateway.domain.errors import Conflict
from gateway.domain.generation.model import Attempt, Generation
from gateway.generations.notifier import Signals
from gateway.generations.service import Drivers
from gateway.store.port import Store
from gateway.store.task_claims import Teller, Told
from gateway.upstream.provider import Provider

log = structlog.get_logger()


class Adoption:
    """Lets attempts have tasks that callbacks or operators tell of."""

    def __init__(
        self, *, store: Store, providers: Mapping[str, Provider], drivers: Drivers, signals: Signals, clock: Clock
    ) -> None:
        self._store = store
        self._providers = providers
        self._drivers = drivers
        self._signals = signals
        self._clock = clock

    async def tell(self, generation: Generation, attempt: Attempt, task_ids: Sequence[str], teller: Teller) -> Told:
        """Durable when it returns; a `Conflict` where a task is another attempt's, or none of it can be read."""
        if not await self._store.callbacks.room(attempt.id):
            return Told.REFUSED  # without a write
        refs = self._refs(generation, attempt, task_ids)
        told = await self._store.callbacks.tell(attempt.id, refs, self._clock.now(), teller)
        if told is Told.ADOPTED:
            self._signals.changed(generation.id)
            self._drivers.wake(generation.id)
        return told

    def _refs(self, generation: Generation, attempt: Attempt, task_ids: Sequence[str]) -> tuple[TaskRef, ...]:
        """What the adapter needs to read these tasks."""
        route = generation.route(attempt)
        provider = self._providers.get(route.provider)
        if provider is None:
            raise Conflict(f"The provider {route.provider} is not configured, so that no task of it can be read.")
        if provider.adapter.known_task is None:
            return tuple(TaskRef(id=task_id) for task_id in task_ids)
        request = UpstreamRequest(
            attempt_id=attempt.id,
            model=route.model,
            row=route.row,
            prompt=generation.request.prompt,
            input=generation.request.input,
            settings=route.settings,
            count=len(attempt.slots),
            options=generation.request.provider_options.get(provider.name, {}),
            form=attempt.form,
        )
        try:
            return tuple(provider.adapter.known_task(request, task_id) for task_id in task_ids)
        except Exception:  # a fault of the gateway: the tasks are attached again once the adapter is mended
            log.exception("task_reference_failed", attempt=attempt.id, provider=provider.name, tasks=list(task_ids))
            raise
