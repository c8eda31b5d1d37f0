"""What operators read of attempts."""

from typing import Literal

from msgspec import Struct

from gateway.api.generations.upstream_answer import UpstreamAnswerView
from gateway.domain.adapter.task import Status
from gateway.domain.generation.reconciliation import Decision


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
    held: bool  # an output waits for an operator's decision about it
    decision: Decision | None
    resubmit_after: int | None  # the end of the quarantine; null unless it is held or will be sent again
    billed: str | None
    cost_usd: float | None  # what it cost or may have cost, counted per task; null: the route has no price
    upstream: UpstreamAnswerView | None  # the facts in the provider's answer to the submit, for asking the provider
    object: Literal["attempt"] = "attempt"


class AdminAttemptList(Struct, frozen=True, kw_only=True):
    """Attempts, oldest first."""

    data: tuple[AdminAttempt, ...]
    has_more: bool
    object: Literal["list"] = "list"
