"""Carries out what `advance` asks for: each effect goes to the service that does it, and ends in a fact."""

from collections.abc import Mapping

from gateway import log_context
from gateway.artifacts.archiver import Archiver
from gateway.domain.generation.archiving import ArchiveFile
from gateway.domain.generation.facts_and_effects import Effect, Fact, Poll, SubmitAccepted
from gateway.domain.generation.model import ArchivedFile, Generation
from gateway.domain.generation.task_cancels import CancelTask
from gateway.engine.poll import Poller
from gateway.engine.submit import Submission, Submitter
from gateway.engine.task_canceller import TaskCanceller
from gateway.upstream.provider import Provider


class Effects:
    """The dispatcher. A driver starts every effect here, in a task of its own."""

    def __init__(
        self,
        *,
        providers: Mapping[str, Provider],
        submitter: Submitter,
        poller: Poller,
        canceller: TaskCanceller,
        archiver: Archiver,
    ) -> None:
        self._providers = providers
        self._submitter = submitter
        self._poller = poller
        self._canceller = canceller
        self._archiver = archiver

    def stop_waiting(self, attempt_id: str) -> None:
        """See `Submitter.stop_waiting`."""
        self._submitter.stop_waiting(attempt_id)

    def is_sending(self, attempt_id: str) -> bool:
        """Whether the submit of this attempt may have begun to leave. Only before that may it be cancelled."""
        return self._submitter.is_sending(attempt_id)

    def archived(self, file: ArchivedFile) -> None:
        """The ledger has this file of an output now: draw its thumbnail if it has none."""
        self._archiver.recorded(file)

    async def ended(self, generation_id: str) -> None:
        """The driver of this generation has ended: remove what waited for it."""
        await self._archiver.ended(generation_id)

    async def carry_out(self, generation: Generation, effect: Effect) -> Fact | SubmitAccepted | None:
        """Carry out the effect and return what was learnt, or stored; `None` if the generation has to be read again."""
        if isinstance(effect, ArchiveFile):
            log_context.add(attempt=generation.output(effect.index).attempt_id or "")
            return await self._archiver.archive(generation, effect.index)
        log_context.add(attempt=effect.attempt_id)
        attempt = generation.attempt(effect.attempt_id)
        route = generation.route(attempt)
        if isinstance(effect, Poll):
            return await self._poller.poll(generation, effect, self._providers.get(route.provider))
        if isinstance(effect, CancelTask):
            return await self._canceller.cancel(generation, effect, self._providers.get(route.provider))
        return await self._submitter.submit(Submission(generation, attempt, route))
