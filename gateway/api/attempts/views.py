"""What operators read of attempts."""

from typing import Literal

from msgspec import Struct

from gateway.api.generations.upstream_answer import UpstreamAnswerView
from gateway.domain.adapter.task import Status
from gateway.domain.generation.reconciliation import Decision


class AdminAttempt(Struct, frozen=True, kw_only=True):
    """One submit to one provider, as an operator sees it."""

    id: str  # names the attempt
    generation: str  # the id of its generation
    generation_status: Status  # the status of its generation
    client: str  # who owns it: the name of the client, or the id of a key
    number: int  # from 1
    provider: str  # the name of the provider
    provider_model: str  # the provider's own name of the model
    status: str  # how far the attempt is
    failure: str | None  # the kind of the failure; null without one
    message: str | None  # what went wrong, for people
    upstream_code: str | None  # the provider's own code of the failure
    tasks: tuple[str, ...]  # the provider's ids of the tasks
    sent_at: int | None  # Unix seconds; null: it was not sent
    ended_at: int | None  # Unix seconds; null while it runs
    deadline_at: int  # of the generation
    held: bool  # an output waits for an operator's decision about it
    # of an operator; `release`: sent again after a restore of the ledger; null: no decision
    decision: Literal[Decision, "release"] | None
    resubmit_after: int | None  # the end of the quarantine; null unless it is held or will be sent again
    billed: str | None  # whether the provider charged for it; null: not yet known
    cost_usd: float | None  # what it cost or may have cost, counted per task; null: the route has no price
    upstream: UpstreamAnswerView | None  # the facts in the provider's answer to the submit, for asking the provider
    object: Literal["attempt"] = "attempt"  # the kind of this object


class AdminAttemptList(Struct, frozen=True, kw_only=True):
    """Attempts, oldest first."""

    data: tuple[AdminAttempt, ...]  # the attempts of this page
    has_more: bool  # whether there are attempts after this page
    object: Literal["list"] = "list"  # the kind of this object
