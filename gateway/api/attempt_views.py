"""What an operator reads of attempts: by itself, so that the command line reads it without the server."""

from typing import Literal

from msgspec import Struct

from gateway.domain.holding import Decision
from gateway.domain.task import Status
from gateway.domain.upstream_answer import UpstreamAnswer


class ChargeView(Struct, frozen=True):
    """What a provider says that it has reserved or charged."""

    amount: float
    unit: str  # the provider's own word, for example `credits`


class UpstreamAnswerView(Struct, frozen=True, kw_only=True):
    """What a provider's answer to a submit said beside its meaning: by it the provider can look the call up."""

    status: int | None  # the HTTP status; null: no answer came
    request_id: str | None  # the provider's own id of the call
    message: str | None  # its words, without keys, hosts and balances
    charge: ChargeView | None  # what it said that it reserved or charged


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
    cost_usd: float | None  # what it cost or may have cost, counted per task; null: the route has no price
    upstream: UpstreamAnswerView | None  # what the provider's answer to the submit said
    object: Literal["attempt"] = "attempt"


class AdminAttemptList(Struct, frozen=True, kw_only=True):
    """Attempts, oldest first."""

    data: tuple[AdminAttempt, ...]
    has_more: bool
    object: Literal["list"] = "list"


def upstream_view(answer: UpstreamAnswer | None) -> UpstreamAnswerView | None:
    """What is kept of an answer, as a client or an operator reads it."""
    if answer is None:
        return None
    charge = None if answer.charge is None else ChargeView(answer.charge.amount, answer.charge.unit)
    return UpstreamAnswerView(status=answer.status, request_id=answer.request_id, message=answer.message, charge=charge)
