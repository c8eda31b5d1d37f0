"""What an operator reads of a provider's answer to a submit."""

from msgspec import Struct

from gateway.domain.adapter.upstream_answer import UpstreamAnswer


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


def upstream_view(answer: UpstreamAnswer | None) -> UpstreamAnswerView | None:
    """What is kept of an answer, as a client or an operator reads it."""
    if answer is None:
        return None
    charge = None if answer.charge is None else ChargeView(answer.charge.amount, answer.charge.unit)
    return UpstreamAnswerView(status=answer.status, request_id=answer.request_id, message=answer.message, charge=charge)
