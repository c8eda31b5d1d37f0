"""The events of a step of a generation that has been stored, for telemetry. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from gateway.domain.generation.cost_limit import billed_of, cost_of
from gateway.domain.generation.model import Attempt, Generation
from gateway.domain.generation.next_attempt import replaced
from gateway.domain.generation.transitions import AddAttempt, SaveAttempt, Write
from gateway.telemetry import AttemptFinished, AttemptReserved, Event, GenerationStatusChanged


def step_events(before: Generation, after: Generation, writes: Sequence[Write], now: datetime) -> Iterator[Event]:
    """The events of the writes that made `after` of `before`."""
    if after.status is not before.status:
        yield GenerationStatusChanged(
            generation=after.id,
            model=after.request.model,
            status=after.status,
            provider=after.provider,
            failure=after.failure,
            age_seconds=(now - after.created_at).total_seconds(),
            trace=after.trace,
        )
    for write in writes:
        match write:
            case AddAttempt(attempt=attempt):
                yield _reserved(after, attempt)
            case SaveAttempt(attempt=attempt, was=was) if attempt.state is not was:
                yield _finished(after, attempt, now)
            case _:
                pass


def _reserved(generation: Generation, attempt: Attempt) -> AttemptReserved:
    route, earlier = generation.route(attempt), replaced(generation, attempt)
    return AttemptReserved(
        generation=generation.id,
        attempt=attempt.id,
        provider=route.provider,
        model=route.model,
        is_fallback=earlier is not None and earlier.route != attempt.route,
        is_retry=earlier is not None and earlier.route == attempt.route,
        kind=None if earlier is None or earlier.failure is None else earlier.failure.kind,
    )


def _finished(generation: Generation, attempt: Attempt, now: datetime) -> AttemptFinished:
    route = generation.route(attempt)
    return AttemptFinished(
        generation=generation.id,
        attempt=attempt.id,
        provider=route.provider,
        model=route.model,
        state=attempt.state,
        kind=None if attempt.failure is None else attempt.failure.kind,
        billed=billed_of(route, attempt),
        cost_usd=cost_of(generation, attempt),
        duration_seconds=(now - attempt.reserved_at).total_seconds(),
    )
