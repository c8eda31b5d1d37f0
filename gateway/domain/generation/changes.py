"""The writes of one step. Each is checked against the transition tables and applied as soon as it is made."""

from datetime import datetime

from msgspec.structs import replace

from gateway.domain.adapter.task import Failed, Status
from gateway.domain.generation.cost_limit import billed_of
from gateway.domain.generation.model import Attempt, AttemptState, Generation, Task
from gateway.domain.generation.transitions import SaveAttempt, SaveOutput, SaveStatus, Write, apply


class Changes:
    """A generation as it is after the writes that this step has made so far."""

    def __init__(self, generation: Generation, now: datetime) -> None:
        self.generation = generation
        self.now = now
        self.writes: list[Write] = []

    def write(self, write: Write) -> None:
        """Apply a write and collect it. Raises `IllegalMove` if the tables forbid it."""
        self.generation = apply(self.generation, write)
        self.writes.append(write)

    def move(self, attempt: Attempt, state: AttemptState, failure: Failed | None) -> None:
        """End an attempt. Whether it was billed follows from its new state and its tasks."""
        ended = replace(attempt, state=state, failure=failure, ended_at=self.now)
        self.write(SaveAttempt(replace(ended, billed=billed_of(self.generation.route(ended), ended)), attempt.state))

    def abandon(self, attempt: Attempt, failure: Failed | None) -> None:
        """Stop waiting for an accepted attempt. Its tasks go on at the provider and may be billed."""
        self.move(attempt, AttemptState.ABANDONED, failure)

    def task(self, attempt: Attempt, index: int, task: Task) -> None:
        """Save the new state of a task, unless nothing has changed."""
        if task != attempt.tasks[index]:
            changed = replace(attempt, tasks=(*attempt.tasks[:index], task, *attempt.tasks[index + 1 :]))
            if attempt.billed is not None:  # it was abandoned, and this may change whether it was billed
                changed = replace(changed, billed=billed_of(self.generation.route(changed), changed))
            self.write(SaveAttempt(changed, attempt.state))

    def close(self, status: Status, failure: Failed | None) -> None:
        """End every open output, and every open attempt except submits under way.

        A submit under way may be a purchase: the driver waits for its answer and stores it.
        """
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
        """Update the generation's status, progress, provider and failure, unless nothing has changed."""
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
        stored = (before.status, before.progress, before.provider, before.provider_model, before.failure)
        if stored != (write.status, write.progress, write.provider, write.provider_model, write.failure):
            self.write(write)


def _progress(generation: Generation, status: Status) -> float:
    """From 0 to 1: the mean of the requested outputs, each as far as its provider reports.

    If the generation ends without a result, the last value stays.
    """
    if status.terminal:
        return 1.0 if status is Status.COMPLETED else generation.progress
    requested = [output for output in generation.outputs if not output.extra]
    reported = {
        task.slot: task.progress or 0.0
        for attempt in generation.attempts
        if attempt.state is AttemptState.ACCEPTED
        for task in attempt.tasks
    }
    done = sum(1.0 if output.status is Status.COMPLETED else reported.get(output.index, 0.0) for output in requested)
    return round(done / len(requested), 4)


def _provider(generation: Generation) -> tuple[str | None, str | None]:
    """The provider and model of the first completed output, else of the newest attempt that was accepted."""
    winner = next((output.attempt_id for output in generation.outputs if output.status is Status.COMPLETED), None)
    accepted = [
        attempt
        for attempt in generation.attempts
        if attempt.id == winner or (winner is None and attempt.accepted_at is not None)
    ]
    if not accepted:
        return None, None
    route = generation.route(accepted[-1])
    return route.provider, route.model
