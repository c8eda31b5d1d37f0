"""A generation as it was at an earlier event, rebuilt from the ledger's events: what happened later is taken away.

The ledger stores events without a copy of the generation. A client that follows a stream from its beginning must not
read `completed` inside the event `queued`, so the states are put back to those of the event. Two values are not in
any event and are approximated: the progress (the share of outputs that are completed) and the status of running tasks.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from msgspec.structs import replace

from gateway.domain.adapter.task import Status
from gateway.domain.generation.model import Attempt, AttemptState, Generation, Output

_STATUS_OF = {f"generation.{status}": status for status in Status}
_STATE_OF = {f"attempt.{state}": state for state in AttemptState}
_ENDS_OF_OUTPUTS = {f"output.{status}" for status in Status if status.terminal}
_RUNNING = {AttemptState.RESERVED, AttemptState.SUBMITTING, AttemptState.ACCEPTED}


class Entry(Protocol):
    """An event as the ledger has it; see `transitions.event_of` for the types and their data."""

    @property
    def type(self) -> str: ...  # noqa: D102  # fields of an entry
    @property
    def data(self) -> Mapping[str, object]: ...  # noqa: D102
    @property
    def at(self) -> datetime: ...  # noqa: D102


def status_of(entry: Entry) -> Status | None:
    """The status that a generation got by this event; None for an event of an attempt or an output."""
    return _STATUS_OF.get(entry.type)


def as_of(generation: Generation, entries: Sequence[Entry]) -> Generation:
    """The generation after these events: all of its events from the first one up to the one that is shown."""
    status = [status for entry in entries if (status := status_of(entry)) is not None][-1]
    if status.terminal:
        return generation  # no later event changes an end
    existing = {entry.data["index"] for entry in entries if entry.type.startswith("output.")}
    ended = {entry.data["index"] for entry in entries if entry.type in _ENDS_OF_OUTPUTS}
    archived = {entry.data["index"] for entry in entries if entry.type == "output.kept"}
    outputs = tuple(
        _output(output, is_ended=output.index in ended, is_archived=output.index in archived)
        for output in generation.outputs
        if not output.extra or output.index in existing  # the outputs that were asked for exist from the beginning
    )
    attempts = tuple(_attempts(generation, entries, status))
    provider, model = _provider(generation, outputs, attempts)
    wanted = [output for output in outputs if not output.extra]
    return replace(
        generation,
        status=status,
        outputs=outputs,
        attempts=attempts,
        progress=sum(output.status is Status.COMPLETED for output in wanted) / len(wanted),
        provider=provider,
        provider_model=model,
        failure=None,
        completed_at=None,
    )


def _output(output: Output, *, is_ended: bool, is_archived: bool) -> Output:
    if not is_ended:
        return Output(index=output.index, extra=output.extra)
    return output if is_archived else replace(output, kept=None)


def _provider(
    generation: Generation, outputs: Sequence[Output], attempts: Sequence[Attempt]
) -> tuple[str | None, str | None]:
    """The provider of the first completed output, else of the newest attempt that was accepted; with its model."""
    filled = next((output.attempt_id for output in outputs if output.status is Status.COMPLETED), None)
    accepted = [attempt for attempt in attempts if attempt.accepted_at is not None]
    source = [attempt for attempt in attempts if attempt.id == filled] if filled is not None else accepted
    if not source:
        return None, None
    route = generation.route(source[-1])
    return route.provider, route.model


def _attempts(generation: Generation, entries: Sequence[Entry], status: Status) -> Iterator[Attempt]:
    moves = {entry.data["attempt"]: entry for entry in entries if entry.type in _STATE_OF}
    for attempt in generation.attempts:
        move = moves.get(attempt.id)
        if move is None:
            continue  # it was reserved later
        state = _STATE_OF[move.type]
        if state is attempt.state and state not in _RUNNING:
            yield attempt
            continue
        tasks = tuple(replace(task, status=status, progress=None, failure=None) for task in attempt.tasks)
        yield replace(
            attempt,
            state=state,
            sent_at=None if state is AttemptState.RESERVED else attempt.sent_at,
            accepted_at=attempt.accepted_at if state is AttemptState.ACCEPTED else None,
            ended_at=None if state in _RUNNING else move.at,
            tasks=tasks if state is AttemptState.ACCEPTED else (),
            failure=None,
            billed=None,
            decision=None,
            upstream=attempt.upstream if state is AttemptState.ACCEPTED else None,
        )
