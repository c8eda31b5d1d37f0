"""What an operator reads of attempts: by itself, so that the command line reads it without the server."""

from typing import Literal

from msgspec import Struct

from gateway.domain.holding import Decision
from gateway.domain.task import Status


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
