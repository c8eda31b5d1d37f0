"""The writes of the ledger as values: what may change, from which state, and what the same change is in memory."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from gateway.domain.adapter.task import Failed, Status
from gateway.domain.generation.model import Attempt, AttemptState, Generation, Kept, Output

ATTEMPT_MOVES: Mapping[AttemptState, frozenset[AttemptState]] = {
    AttemptState.RESERVED: frozenset({AttemptState.SUBMITTING, AttemptState.NOT_SENT, AttemptState.REFUSED}),
    AttemptState.SUBMITTING: frozenset(
        {AttemptState.ACCEPTED, AttemptState.NOT_SENT, AttemptState.REFUSED, AttemptState.UNKNOWN}
    ),
    AttemptState.ACCEPTED: frozenset({AttemptState.COMPLETED, AttemptState.FAILED, AttemptState.ABANDONED}),
    AttemptState.ABANDONED: frozenset({AttemptState.COMPLETED, AttemptState.FAILED}),
    # Evidence of a task, a callback for example, counts whatever the gateway believed before: the task was paid for.
    AttemptState.UNKNOWN: frozenset({AttemptState.ACCEPTED}),
    AttemptState.NOT_SENT: frozenset({AttemptState.ACCEPTED}),
    AttemptState.REFUSED: frozenset({AttemptState.ACCEPTED}),
    AttemptState.COMPLETED: frozenset({AttemptState.ACCEPTED}),
    AttemptState.FAILED: frozenset({AttemptState.ACCEPTED}),
}


# Of a generation: it never goes back, and an end is an end.
STATUS_MOVES: Mapping[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset(Status),
    Status.IN_PROGRESS: frozenset(Status) - {Status.QUEUED},
    **dict.fromkeys((status for status in Status if status.terminal), frozenset[Status]()),
}


class AddAttempt(Struct, frozen=True):
    """A new attempt, reserved: nothing is sent before this is durable."""

    attempt: Attempt


class SaveAttempt(Struct, frozen=True):
    """A known attempt changes, guarded by the state it was in."""

    attempt: Attempt
    was: AttemptState


class SaveOutput(Struct, frozen=True):
    """An output reaches its end, or an extra one appears."""

    output: Output
    new: bool = False


class SaveKept(Struct, frozen=True):
    """The file of an output is in the artifact store; said once, also of an output at its end."""

    index: int
    kept: Kept


class SaveStatus(Struct, frozen=True, kw_only=True):
    """The generation itself changes, guarded by being open."""

    was: Status
    status: Status
    progress: float
    provider: str | None
    provider_model: str | None
    failure: Failed | None
    completed_at: datetime | None


Write = AddAttempt | SaveAttempt | SaveOutput | SaveKept | SaveStatus


class IllegalMove(Exception):
    """The code tried a transition that the table does not have: a defect, never a client's fault."""


def apply(generation: Generation, write: Write) -> Generation:
    """The generation after one write; `IllegalMove` when the tables forbid it."""
    match write:
        case AddAttempt(attempt=attempt):
            if generation.status.terminal or attempt.number != len(generation.attempts) + 1:
                raise IllegalMove(f"{generation.id}: no place for attempt {attempt.number}")
            return replace(generation, attempts=(*generation.attempts, attempt))
        case SaveAttempt(attempt=attempt, was=was):
            known = generation.attempt(attempt.id)
            if known.state is not was or (attempt.state is not was and attempt.state not in ATTEMPT_MOVES[was]):
                raise IllegalMove(f"{attempt.id}: {known.state} → {attempt.state} (expected {was})")
            attempts = tuple(attempt if one.id == attempt.id else one for one in generation.attempts)
            return replace(generation, attempts=attempts)
        case SaveOutput(output=output, new=True):
            if output.index != len(generation.outputs):
                raise IllegalMove(f"{generation.id}: output {output.index} leaves a gap")
            return replace(generation, outputs=(*generation.outputs, output))
        case SaveOutput(output=output):
            if generation.output(output.index).status.terminal:
                raise IllegalMove(f"{generation.id}: output {output.index} has ended")
            return _with_output(generation, output)
        case SaveKept(index=index, kept=kept):
            output = generation.output(index)
            if output.artifact is None or output.kept is not None:
                raise IllegalMove(f"{generation.id}: output {index} has no file to keep")
            return _with_output(generation, replace(output, kept=kept))
        case SaveStatus():
            if generation.status is not write.was or write.status not in STATUS_MOVES[write.was]:
                raise IllegalMove(f"{generation.id}: {generation.status} → {write.status}")
            return replace(
                generation,
                status=write.status,
                progress=write.progress,
                provider=write.provider,
                provider_model=write.provider_model,
                failure=write.failure,
                completed_at=write.completed_at,
            )


def _with_output(generation: Generation, output: Output) -> Generation:
    outputs = tuple(output if one.index == output.index else one for one in generation.outputs)
    return replace(generation, outputs=outputs)


def event_of(write: Write) -> tuple[str, Mapping[str, Any]] | None:
    """The event that a write appends: its type and what it tells; `None` for a mere reading."""
    match write:
        case AddAttempt(attempt=attempt):
            return "attempt.reserved", {"attempt": attempt.id, "route": attempt.route, "slots": attempt.slots}
        case SaveAttempt(attempt=attempt, was=was) if attempt.state is not was:
            kind = attempt.failure.kind if attempt.failure else None
            return f"attempt.{attempt.state}", {"attempt": attempt.id, "failure": kind}
        case SaveAttempt(attempt=attempt) if attempt.decision is not None and attempt.state is AttemptState.UNKNOWN:
            return "attempt.decided", {"attempt": attempt.id, "decision": attempt.decision}
        case SaveKept(index=index, kept=kept):
            return "output.kept", {"index": index, "sha256": kept.sha256}
        case SaveOutput(output=output, new=False) if not output.status.terminal:
            return "output.found" if output.artifact is not None else "output.rejected", {"index": output.index}
        case SaveOutput(output=output):
            return f"output.{output.status}", {"index": output.index, "attempt": output.attempt_id}
        case SaveStatus(status=status, was=was) if status is not was:
            return f"generation.{status}", {"provider": write.provider}
        case _:
            return None
