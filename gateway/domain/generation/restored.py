"""What happens to open generations when an older ledger is restored, and what an operator may decide then. Pure.

Danger: what the restored ledger has as `reserved` may have been sent since the backup was made, and what it does not
have at all may have been bought on another route. So nothing is bought for such a generation, on no route, until an
operator releases it. Tasks whose ids are stored are polled as usual, and a callback may still name a task.
"""

from datetime import datetime

from msgspec.structs import replace

from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.task import Status
from gateway.domain.errors import Conflict
from gateway.domain.generation.changes import Changes
from gateway.domain.generation.model import Attempt, AttemptState, Generation
from gateway.domain.generation.transitions import SaveAttempt, SaveHold, Write

_PERHAPS_SENT = frozenset({AttemptState.RESERVED, AttemptState.SUBMITTING})


def hold(generation: Generation, now: datetime) -> tuple[Write, ...]:
    """The writes that keep an open generation from buying. Attempts that may have been sent become `unknown`."""
    changes = Changes(generation, now)
    changes.write(SaveHold(now))
    for attempt in generation.attempts:
        if attempt.state in _PERHAPS_SENT:
            changes.move(attempt, AttemptState.UNKNOWN, failed(FailureKind.AMBIGUOUS))
    return tuple(changes.writes)


def is_held(generation: Generation) -> bool:
    """Whether the generation waits for an operator because the ledger was restored."""
    return generation.restored_at is not None and not generation.status.terminal


def became_unclear(generation: Generation) -> list[Attempt]:
    """The attempts that `hold` made `unknown`, and that nobody has named a task for since."""
    since = generation.restored_at
    return [
        attempt
        for attempt in generation.attempts
        if attempt.state is AttemptState.UNKNOWN
        and attempt.decision is None
        and since is not None
        and attempt.ended_at is not None
        and attempt.ended_at >= since
    ]


def release(generation: Generation) -> tuple[Write, ...]:
    """The writes by which the usual rules apply again, and unclear attempts are sent once more.

    This may pay for the same work twice. Raises `Conflict` if the generation is not held.
    """
    _check_held(generation)
    again = [SaveAttempt(replace(attempt, decision="release"), attempt.state) for attempt in became_unclear(generation)]
    return (*again, SaveHold(None))


def let_fail(generation: Generation, now: datetime) -> tuple[Write, ...]:
    """The writes that end a held generation as failed. Raises `Conflict` if the generation is not held."""
    _check_held(generation)
    changes = Changes(generation, now)
    failure = failed(FailureKind.AMBIGUOUS)
    changes.close(Status.FAILED, failure)
    changes.status(Status.FAILED, failure)
    return tuple(changes.writes)


def _check_held(generation: Generation) -> None:
    if not is_held(generation):
        raise Conflict(f"The generation does not wait for a decision after a restore: it is {generation.status}.")
