"""Tells the providers' health what the steps of a generation say about it."""

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


def attempts_began(health: Health, generation: Generation, writes: Sequence[Write]) -> None:
    """What the writes reserve; at the same moment as it was decided, so that a circuit has one probe."""
    for route, attempt_id, retry in _reserved(generation, writes):
        health.began(route.provider, route.model, attempt_id, retry=retry)


def attempts_dropped(health: Health, generation: Generation, writes: Sequence[Write]) -> None:
    """The writes could not be stored: what they reserve is not there."""
    for route, attempt_id, retry in _reserved(generation, writes):
        health.undone(route.provider, route.model, attempt_id, retry=retry)


def _reserved(generation: Generation, writes: Sequence[Write]) -> Iterator[tuple[Route, str, bool]]:
    """The route of each new attempt, its id, and whether it is a repeat."""
    for write in writes:
        if isinstance(write, AddAttempt):
            yield generation.route(write.attempt), write.attempt.id, is_retry(generation, write.attempt)


def tasks_ended(health: Health, generation: Generation, writes: Sequence[Write]) -> None:
    """What the writes tell of tasks that a provider had accepted."""
    for write in writes:
        if not isinstance(write, SaveAttempt) or write.attempt.state is write.was:
            continue
        attempt = write.attempt
        known, failure = _ending(attempt)
        if known and attempt.accepted_at is not None and attempt.ended_at is not None:
            route = generation.route(attempt)
            seconds = (attempt.ended_at - attempt.accepted_at).total_seconds()
            health.task_ended(route.provider, route.model, attempt.id, failure=failure, seconds=seconds)


def _ending(attempt: Attempt) -> tuple[bool, Failed | None]:
    """Whether the attempt's state is the provider's doing, and its failure."""
    if attempt.state is AttemptState.COMPLETED:
        return True, None
    gave_up = attempt.failure is not None and attempt.failure.kind in _GAVE_UP
    return attempt.state is AttemptState.FAILED or (
        attempt.state is AttemptState.ABANDONED and gave_up
    ), attempt.failure
