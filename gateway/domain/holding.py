"""What an operator decides about a submit that got no clear answer and is held. Pure."""

from datetime import datetime, timedelta
from typing import Literal

from msgspec.structs import replace

from gateway.domain.errors import Conflict
from gateway.domain.generation import Attempt, AttemptState, Generation
from gateway.domain.ledger import SaveAttempt
from gateway.domain.spending import affordable

Decision = Literal["fail", "resubmit"]
QUARANTINE_SECONDS = 600.0  # from the unclear answer to a second submit: a task that exists has turned up by then


def is_held(generation: Generation, attempt: Attempt) -> bool:
    """Whether an output waits for a decision about this attempt."""
    waiting = {one.index for one in generation.outputs if not one.status.terminal and not one.extra}
    newest = {slot: one.id for one in generation.attempts for slot in one.slots}
    return (
        not generation.status.terminal
        and generation.plan.policy.on_ambiguous == "hold"
        and attempt.state is AttemptState.UNKNOWN
        and attempt.decision is None
        and any(newest[slot] == attempt.id for slot in attempt.slots if slot in waiting)
    )


def resubmit_at(attempt: Attempt) -> datetime:
    """When the second submit of a held attempt may go."""
    return (attempt.ended_at or attempt.reserved_at) + timedelta(seconds=QUARANTINE_SECONDS)


def decide(generation: Generation, attempt: Attempt, decision: Decision) -> SaveAttempt:
    """The write of a decision; `Conflict` says why there is nothing to decide, or not so."""
    if not is_held(generation, attempt):
        raise Conflict(f"The attempt is not held: it is {attempt.state}, its generation {generation.status}.")
    if decision == "resubmit":
        before = [one for one in generation.attempts if one.decision == "resubmit" and one.route == attempt.route]
        if any(not set(one.slots).isdisjoint(attempt.slots) for one in before):
            raise Conflict("The submit was repeated once already; attach its task, or let it fail.")
        if resubmit_at(attempt) >= generation.deadline_at:
            raise Conflict("The deadline comes before a second submit would be safe; attach its task, or let it fail.")
        if not affordable(generation, generation.route(attempt)):
            raise Conflict("A second submit could cost more than `max_cost`; attach the task, or let it fail.")
    return SaveAttempt(replace(attempt, decision=decision), attempt.state)
