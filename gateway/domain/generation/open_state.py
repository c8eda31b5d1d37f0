"""What an open generation waits for, and at which provider: what operators count. Pure."""

from enum import StrEnum

from msgspec import Struct

from gateway.domain.generation.model import Attempt, AttemptState, Generation
from gateway.domain.generation.reconciliation import awaits_decision

_ON_ITS_WAY = frozenset({AttemptState.RESERVED, AttemptState.SUBMITTING})


class OpenState(StrEnum):
    """What an open generation waits for."""

    QUEUED = "queued"  # its next attempt: none is under way
    SUBMITTING = "submitting"  # a provider's answer to a submit, or its turn to be sent
    IN_PROGRESS = "in_progress"  # a provider's task
    ARCHIVING = "archiving"  # the copy of a file that a provider has delivered
    HELD = "held"  # an operator's decision about a submit without a clear answer


class OpenPlace(Struct, frozen=True):
    """Where an open generation is."""

    state: OpenState
    provider: str | None  # None: at no provider


def open_place(generation: Generation) -> OpenPlace | None:
    """Where a generation is; None if it has ended.

    With several outputs it may be at several places. The newest attempt that is under way counts; without one, a held
    attempt, then a file that is being archived.
    """
    if generation.status.terminal:
        return None
    for attempt in reversed(generation.attempts):
        if attempt.state in _ON_ITS_WAY:
            return _place(generation, attempt, OpenState.SUBMITTING)
        if attempt.state is AttemptState.ACCEPTED:
            return _place(generation, attempt, OpenState.IN_PROGRESS)
    for attempt in generation.attempts:
        if awaits_decision(generation, attempt):
            return _place(generation, attempt, OpenState.HELD)
    for output in generation.outputs:
        if output.artifact is not None and not output.status.terminal and output.attempt_id is not None:
            return _place(generation, generation.attempt(output.attempt_id), OpenState.ARCHIVING)
    return OpenPlace(OpenState.QUEUED, None)


def _place(generation: Generation, attempt: Attempt, state: OpenState) -> OpenPlace:
    return OpenPlace(state, generation.route(attempt).provider)
