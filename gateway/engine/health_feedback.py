"""Reports to the health of providers what the steps of a generation say about them."""

from collections.abc import Iterator, Sequence

from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.task import Failed
from gateway.domain.generation.model import Attempt, AttemptState, Generation, Route
from gateway.domain.generation.next_attempt import is_retry
from gateway.domain.generation.transitions import AddAttempt, SaveAttempt, Write
from gateway.upstream.health import Health

# Why an attempt is abandoned while its generation goes on. `ADAPTER_FAILED` says nothing about the provider, but the
# attempt must no longer block the probe of a circuit.
_GAVE_UP = frozenset({FailureKind.TIMED_OUT, FailureKind.ADAPTER_FAILED})


def report_reserved(health: Health, generation: Generation, writes: Sequence[Write]) -> None:
    """Report new attempts to health immediately, before the write is durable.

    A half-open circuit lets exactly one probe through only if it learns about the probe at once.
    """
    for route, attempt_id, retry in _reserved(generation, writes):
        health.attempt_reserved(route.provider, route.model, attempt_id, retry=retry)


def report_discarded(health: Health, generation: Generation, writes: Sequence[Write]) -> None:
    """Undo `report_reserved`: the writes could not be stored, so the attempts do not exist."""
    for route, attempt_id, retry in _reserved(generation, writes):
        health.attempt_discarded(route.provider, route.model, attempt_id, retry=retry)


def _reserved(generation: Generation, writes: Sequence[Write]) -> Iterator[tuple[Route, str, bool]]:
    """For each new attempt: its route, its id, and whether it repeats an earlier attempt on the same route."""
    for write in writes:
        if isinstance(write, AddAttempt):
            yield generation.route(write.attempt), write.attempt.id, is_retry(generation, write.attempt)


def report_ended(health: Health, generation: Generation, writes: Sequence[Write]) -> None:
    """Report accepted attempts that have ended in a way that says something about their provider."""
    for write in writes:
        if not isinstance(write, SaveAttempt) or write.attempt.state is write.was:
            continue
        attempt = write.attempt
        if _ended_at_provider(attempt) and attempt.accepted_at is not None and attempt.ended_at is not None:
            route = generation.route(attempt)
            seconds = (attempt.ended_at - attempt.accepted_at).total_seconds()
            failure = _failure(attempt)
            health.on_task_ended(route.provider, route.model, attempt.id, failure=failure, seconds=seconds)


def _ended_at_provider(attempt: Attempt) -> bool:
    """Whether the tasks ended, or were waited for until their time-out; not if a client cancelled, for example."""
    if attempt.state is AttemptState.ABANDONED:
        return attempt.failure is not None and attempt.failure.kind in _GAVE_UP
    return attempt.state in {AttemptState.COMPLETED, AttemptState.FAILED}


def _failure(attempt: Attempt) -> Failed | None:
    """A completed attempt may have the failure of one of its tasks: it still counts as a success."""
    return None if attempt.state is AttemptState.COMPLETED else attempt.failure
