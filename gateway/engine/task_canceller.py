"""Asks a provider to cancel a task that nobody needs. It is a courtesy: whether it works changes no decision.

Only what the provider's answer proves about the charge is stored. Whether the task has ended is read by a poll.
"""

import structlog

from gateway.clock import Clock
from gateway.domain.generation.model import Generation
from gateway.domain.generation.task_cancels import CancelTask, TaskCancelled
from gateway.upstream.client import POLL_REPLY_MAX, NoAnswer, NotSent, Upstream
from gateway.upstream.health import Health
from gateway.upstream.provider import Provider

log = structlog.get_logger()


class TaskCanceller:
    """Sends cancels. One instance serves all drivers of the process."""

    def __init__(self, upstream: Upstream, health: Health, clock: Clock) -> None:
        self._upstream = upstream
        self._health = health
        self._clock = clock

    async def cancel(
        self, generation: Generation, effect: CancelTask, provider: Provider | None
    ) -> TaskCancelled | None:
        """Send the cancel once. `None` if it was not answered, or if the adapter cannot send it or read the answer."""
        if provider is None or (make_call := provider.adapter.cancel) is None:
            return None
        ref = generation.attempt(effect.attempt_id).tasks[effect.index].ref
        fields = {"attempt": effect.attempt_id, "provider": provider.name, "task": ref.id}
        read = provider.adapter.read_cancel
        try:
            async with self._health.reads[provider.name].slot(generation.owner):
                reply = await self._upstream.send(
                    provider.adapter.authorize(make_call(ref), provider.credential, self._clock.now()),
                    base_url=provider.base_url,
                    timeout_seconds=provider.read_timeout_seconds,
                    headers=provider.headers,
                    reply_max=POLL_REPLY_MAX,
                )
            billed = None if read is None else read(reply)
        except (NotSent, NoAnswer) as error:
            log.info("task_cancel_unanswered", error=provider.redactor.words(str(error)), **fields)
            return None
        except Exception:  # an adapter that breaks says nothing about the task
            log.exception("task_cancel_broken", **fields)
            return None
        log.info("task_cancel_sent", status=reply.status, billed=billed, **fields)
        return TaskCancelled(attempt_id=effect.attempt_id, index=effect.index, billed=billed)
