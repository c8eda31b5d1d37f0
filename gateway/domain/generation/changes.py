"""A generation on its way through one step: every write is checked and applied as it is made."""

from datetime import datetime

from msgspec.structs import replace

from gateway.domain.adapter.task import Failed, Status
from gateway.domain.generation.cost_limit import billed_of
from gateway.domain.generation.model import Attempt, AttemptState, Generation, Task
from gateway.domain.generation.transitions import SaveAttempt, SaveOutput, SaveStatus, Write, apply


class Draft:
    """A generation with the writes that made it so."""

    def __init__(self, generation: Generation, now: datetime) -> None:
        self.generation = generation
        self.now = now
        self.writes: list[Write] = []

    def write(self, write: Write) -> None:
        """Apply a write and keep it; `IllegalMove` when the tables forbid it."""
        self.generation = apply(self.generation, write)
        self.writes.append(write)

    def move(self, attempt: Attempt, state: AttemptState, failure: Failed | None) -> None:
        """End an attempt. What it may have cost follows from its state and its tasks."""
        ended = replace(attempt, state=state, failure=failure, ended_at=self.now)
        self.write(SaveAttempt(replace(ended, billed=billed_of(ended)), attempt.state))

    def abandon(self, attempt: Attempt, failure: Failed | None) -> None:
        """Give an accepted attempt up: its tasks go on at the provider's, and may be billed."""
        self.move(attempt, AttemptState.ABANDONED, failure)

    def task(self, attempt: Attempt, index: int, task: Task) -> None:
        """Save what a task has become, when that is anything new."""
        if task != attempt.tasks[index]:
            changed = replace(attempt, tasks=(*attempt.tasks[:index], task, *attempt.tasks[index + 1 :]))
            if attempt.billed is not None:  # it was given up, and now more is known of what it cost
                changed = replace(changed, billed=billed_of(changed))
            self.write(SaveAttempt(changed, attempt.state))

    def close(self, status: Status, failure: Failed | None) -> None:
        """End what is still open; a submit that is under way stays, its driver brings it to its end."""
        for attempt in self.generation.attempts:
            if attempt.state is AttemptState.RESERVED:
                self.move(attempt, AttemptState.NOT_SENT, failure)
            elif attempt.state is AttemptState.ACCEPTED:
                self.abandon(attempt, failure)
        for output in self.generation.outputs:
            if not output.status.terminal:
                ended = replace(output, status=status, failure=failure, artifact=None, expires_at=None)
                self.write(SaveOutput(ended))

    def status(self, status: Status, failure: Failed | None) -> None:
        """Bring the generation's own row up to date, where that changes anything."""
        before = self.generation
        provider, model = _provider(before)
        write = SaveStatus(
            was=before.status,
            status=status,
            progress=_progress(before, status),
            provider=provider,
            provider_model=model,
            failure=failure,
            completed_at=self.now if status.terminal else None,
        )
        told = (before.status, before.progress, before.provider, before.provider_model, before.failure)
        if told != (write.status, write.progress, write.provider, write.provider_model, write.failure):
            self.write(write)


def _progress(generation: Generation, status: Status) -> float:
    """The mean over the outputs asked for, of what the providers themselves say; at an end, what was last said."""
    if status.terminal:
        return 1.0 if status is Status.COMPLETED else generation.progress
    asked = [output for output in generation.outputs if not output.extra]
    told = {
        task.slot: task.progress or 0.0
        for attempt in generation.attempts
        if attempt.state is AttemptState.ACCEPTED
        for task in attempt.tasks
    }
    done = sum(1.0 if one.status is Status.COMPLETED else told.get(one.index, 0.0) for one in asked)
    return round(done / len(asked), 4)


def _provider(generation: Generation) -> tuple[str | None, str | None]:
    """The provider of the first output that is there, else of the newest attempt that was accepted."""
    filled = next((one.attempt_id for one in generation.outputs if one.status is Status.COMPLETED), None)
    taken = [one for one in generation.attempts if one.id == filled or (filled is None and one.accepted_at is not None)]
    if not taken:
        return None, None
    route = generation.route(taken[-1])
    return route.provider, route.model
