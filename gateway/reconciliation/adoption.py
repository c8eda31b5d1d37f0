"""Assigns a task id that a callback or an operator reported to an attempt. A task belongs to exactly one attempt."""

from collections.abc import Mapping, Sequence

import structlog

from gateway.clock import Clock
from gateway.domain.adapter.options import options_of
from gateway.domain.adapter.request import UpstreamRequest
from gateway.domain.adapter.task import TaskRef
from gateway.domain.errors import Conflict
from gateway.domain.generation.model import Attempt, Generation
from gateway.domain.generation.reconciliation import Reporter
from gateway.generations.drivers import Drivers
from gateway.generations.notifier import Notifier
from gateway.store.port import Store
from gateway.store.task_claims import ClaimResult
from gateway.upstream.provider import Provider

log = structlog.get_logger()


class Adoption:
    """Gives attempts the tasks that no reply to their submit has named."""

    def __init__(
        self, *, store: Store, providers: Mapping[str, Provider], drivers: Drivers, notifier: Notifier, clock: Clock
    ) -> None:
        self._store = store
        self._providers = providers
        self._drivers = drivers
        self._notifier = notifier
        self._clock = clock

    async def adopt(
        self, generation: Generation, attempt: Attempt, task_ids: Sequence[str], reporter: Reporter
    ) -> ClaimResult:
        """Assign these tasks to the attempt, all of them or none. The change is durable when this returns.

        Raises `Conflict` if a task belongs to another attempt, or if the provider is not configured, so that nobody
        could poll the tasks. Raises what the adapter raises, and `StoreUnavailable`.
        """
        if not await self._store.task_claims.free_slots(attempt.id):
            return ClaimResult.REFUSED  # decided without a write
        refs = self._refs(generation, attempt, task_ids)
        result = await self._store.task_claims.claim(attempt.id, refs, self._clock.now(), reporter)
        if result is ClaimResult.ADOPTED:
            self._notifier.changed(generation.id)
            self._drivers.wake(generation.id)
        return result

    def _refs(self, generation: Generation, attempt: Attempt, task_ids: Sequence[str]) -> tuple[TaskRef, ...]:
        """The task references with which the adapter can poll these tasks."""
        route = generation.route(attempt)
        provider = self._providers.get(route.provider)
        if provider is None:
            raise Conflict(
                f"The provider {route.provider} is not configured, so its tasks cannot be polled; start the gateway"
                " with its key, then send this again."
            )
        if provider.adapter.known_task is None:
            return tuple(TaskRef(id=task_id) for task_id in task_ids)
        request = UpstreamRequest(
            attempt_id=attempt.id,
            model=route.model,
            capability_name=route.capability_name,
            prompt=generation.request.prompt,
            input=generation.request.input,
            settings=route.settings,
            kind=generation.kind,
            count=len(attempt.slots),
            options=options_of(generation.request.provider_options, provider.adapter.name, provider.name),
            variant=attempt.variant,
        )
        try:
            return tuple(provider.adapter.known_task(request, task_id) for task_id in task_ids)
        except Exception:  # a fault of the gateway. An operator can attach the logged tasks once the adapter is mended
            log.exception("task_reference_failed", attempt=attempt.id, provider=provider.name, tasks=list(task_ids))
            raise
