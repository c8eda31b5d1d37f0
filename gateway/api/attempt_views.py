"""What an operator reads of an attempt."""

from datetime import datetime
from typing import Literal

from msgspec import Struct

from gateway.domain.holding import Decision, resubmit_at
from gateway.domain.task import Status
from gateway.services.attempts import Found

OWNER_SHOWN = 4  # characters of the id of a client's key, which is a hash


class AdminAttempt(Struct, frozen=True, kw_only=True):
    """One submit to one provider, as an operator sees it."""

    id: str
    generation: str
    generation_status: Status
    key: str  # the end of the id of the client's key
    number: int
    provider: str
    provider_model: str
    status: str
    tasks: tuple[str, ...]
    sent_at: int | None
    ended_at: int | None
    deadline_at: int  # of the generation
    held: bool  # an output waits for a decision about it
    decision: Decision | None
    resubmit_after: int | None  # of one that is held, or is to be sent again: not before
    billed: str | None
    cost_usd: float | None  # what it costs where it is billed; null: the route has no price
    object: Literal["attempt"] = "attempt"


class AdminAttemptList(Struct, frozen=True, kw_only=True):
    """Attempts, oldest first."""

    data: tuple[AdminAttempt, ...]
    has_more: bool
    object: Literal["list"] = "list"


def attempt_view(found: Found) -> AdminAttempt:
    """An attempt as an operator sees it: nothing of the client's prompt, images or key."""
    generation, attempt, held = found.generation, found.attempt, found.held
    of = generation.route(attempt)
    outputs = max(len(attempt.slots), len(attempt.tasks))
    waits = held or (attempt.decision == "resubmit" and not generation.status.terminal)
    return AdminAttempt(
        id=attempt.id,
        generation=generation.id,
        generation_status=generation.status,
        key=generation.key[-OWNER_SHOWN:],
        number=attempt.number,
        provider=of.provider,
        provider_model=of.model,
        status=attempt.state.value,
        tasks=tuple(task.ref.id for task in attempt.tasks),
        sent_at=_unix(attempt.sent_at),
        ended_at=_unix(attempt.ended_at),
        deadline_at=int(generation.deadline_at.timestamp()),
        held=held,
        decision=attempt.decision,
        resubmit_after=_unix(resubmit_at(attempt)) if waits and not attempt.tasks else None,
        billed=attempt.billed.value if attempt.billed else None,
        cost_usd=None if of.cost_usd is None else round(of.cost_usd * outputs, 6),
    )


def _unix(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
