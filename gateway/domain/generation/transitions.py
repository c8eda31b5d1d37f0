"""The writes of the ledger as values: which change is legal in which state, and its effect in memory.

The store applies the same writes in SQL, each guarded by the state before it. So a driver that is out of date changes
nothing, and a defect in the rules raises `IllegalMove` before anything is stored.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from gateway.domain.adapter.task import Failed, Status
from gateway.domain.generation.model import ArchivedFile, Attempt, AttemptState, Generation, Output

ATTEMPT_MOVES: Mapping[AttemptState, frozenset[AttemptState]] = {
    # To `unknown` when an older ledger is restored: the attempt may have been sent since.
    AttemptState.RESERVED: frozenset(
        {AttemptState.SUBMITTING, AttemptState.NOT_SENT, AttemptState.REFUSED, AttemptState.UNKNOWN}
    ),
    AttemptState.SUBMITTING: frozenset(
        {AttemptState.ACCEPTED, AttemptState.NOT_SENT, AttemptState.REFUSED, AttemptState.UNKNOWN}
    ),
    AttemptState.ACCEPTED: frozenset({AttemptState.COMPLETED, AttemptState.FAILED, AttemptState.ABANDONED}),
    AttemptState.ABANDONED: frozenset({AttemptState.COMPLETED, AttemptState.FAILED}),
    # Evidence of a task, for example a callback, counts after the end of an attempt too: the task may be billed.
    AttemptState.UNKNOWN: frozenset({AttemptState.ACCEPTED}),
    AttemptState.NOT_SENT: frozenset({AttemptState.ACCEPTED}),
    AttemptState.REFUSED: frozenset({AttemptState.ACCEPTED}),
    AttemptState.COMPLETED: frozenset({AttemptState.ACCEPTED}),
    AttemptState.FAILED: frozenset({AttemptState.ACCEPTED}),
}


# The status of a generation never goes back, and a final status never changes.
STATUS_MOVES: Mapping[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset(Status),
    Status.IN_PROGRESS: frozenset(Status) - {Status.QUEUED},
    **dict.fromkeys((status for status in Status if status.terminal), frozenset[Status]()),
}


class AddAttempt(Struct, frozen=True):
    """Add an attempt in the state `reserved`. Nothing is sent before this write is durable."""

    attempt: Attempt


class SaveAttempt(Struct, frozen=True):
    """Change an attempt that is in the state `was`."""

    attempt: Attempt
    was: AttemptState


class SaveOutput(Struct, frozen=True):
    """Change an open output, or add an extra one (`new`)."""

    output: Output
    new: bool = False


class SaveArchivedFile(Struct, frozen=True):
    """The file of an output is in the artifact store. Written once for each output, also after the output's end."""

    index: int
    file: ArchivedFile


class SaveStatus(Struct, frozen=True, kw_only=True):
    """Change the row of a generation that has not ended and is in the status `was`."""

    was: Status
    status: Status
    progress: float
    provider: str | None
    provider_model: str | None
    failure: Failed | None
    completed_at: datetime | None


class SaveHold(Struct, frozen=True):
    """Buy nothing for an open generation from now on, because the ledger was restored; `None`: buy again."""

    restored_at: datetime | None


Write = AddAttempt | SaveAttempt | SaveOutput | SaveArchivedFile | SaveStatus | SaveHold


class IllegalMove(Exception):
    """The code tried a transition that is not in the tables. This is a defect, never the client's fault."""


def apply(generation: Generation, write: Write) -> Generation:
    """The generation after one write. Raises `IllegalMove` if the tables forbid it, or if it has no such row."""
    try:
        return _apply(generation, write)
    except StopIteration:
        raise IllegalMove(f"{generation.id}: it has nothing that {type(write).__name__} could change") from None


def _apply(generation: Generation, write: Write) -> Generation:
    match write:
        case AddAttempt(attempt=attempt):
            if generation.status.terminal or attempt.number != len(generation.attempts) + 1:
                raise IllegalMove(f"{generation.id}: no place for attempt {attempt.number}")
            return replace(generation, attempts=(*generation.attempts, attempt))
        case SaveAttempt(attempt=attempt, was=was):
            before = generation.attempt(attempt.id)
            if before.state is not was or (attempt.state is not was and attempt.state not in ATTEMPT_MOVES[was]):
                raise IllegalMove(f"{attempt.id}: {before.state} → {attempt.state} (expected {was})")
            attempts = tuple(attempt if other.id == attempt.id else other for other in generation.attempts)
            return replace(generation, attempts=attempts)
        case SaveOutput(output=output, new=True):
            if output.index != len(generation.outputs):
                raise IllegalMove(f"{generation.id}: output {output.index} leaves a gap")
            return replace(generation, outputs=(*generation.outputs, output))
        case SaveOutput(output=output):
            if generation.output(output.index).status.terminal:
                raise IllegalMove(f"{generation.id}: output {output.index} has ended")
            return _with_output(generation, output)
        case SaveArchivedFile(index=index, file=file):
            output = generation.output(index)
            if output.artifact is None or output.kept is not None:
                raise IllegalMove(f"{generation.id}: output {index} has no file to keep")
            return _with_output(generation, replace(output, kept=file))
        case SaveHold(restored_at=restored_at):
            if generation.status.terminal or (generation.restored_at is None) is (restored_at is None):
                raise IllegalMove(f"{generation.id}: it is held already, or not held, or has ended")
            return replace(generation, restored_at=restored_at)
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
    outputs = tuple(output if other.index == output.index else other for other in generation.outputs)
    return replace(generation, outputs=outputs)


def event_of(write: Write) -> tuple[str, Mapping[str, Any]] | None:
    """The event that a write appends to the ledger, as its type and data; `None` for one without an event."""
    match write:
        case AddAttempt(attempt=attempt):
            return "attempt.reserved", {"attempt": attempt.id, "route": attempt.route, "slots": attempt.slots}
        case SaveAttempt(attempt=attempt, was=was) if attempt.state is AttemptState.ACCEPTED is not was:
            return f"attempt.{attempt.state}", {"attempt": attempt.id}
        case SaveAttempt(attempt=attempt, was=was) if attempt.state is not was:
            kind = attempt.failure.kind if attempt.failure else None
            return f"attempt.{attempt.state}", {"attempt": attempt.id, "failure": kind}
        case SaveAttempt(attempt=attempt) if attempt.decision is not None and attempt.state is AttemptState.UNKNOWN:
            return "attempt.decided", {"attempt": attempt.id, "decision": attempt.decision}
        case SaveArchivedFile(index=index, file=file):
            return "output.kept", {"index": index, "sha256": file.sha256}
        case SaveOutput(output=output, new=False) if not output.status.terminal:
            return "output.found" if output.artifact is not None else "output.rejected", {"index": output.index}
        case SaveOutput(output=output):
            return f"output.{output.status}", {"index": output.index, "attempt": output.attempt_id}
        case SaveHold(restored_at=restored_at):
            return "generation.released" if restored_at is None else "generation.restored", {}
        case SaveStatus(status=status, was=was) if status is not was:
            return f"generation.{status}", {"provider": write.provider}
        case _:
            return None
