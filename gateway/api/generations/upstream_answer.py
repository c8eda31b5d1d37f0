"""How an answer shows what a provider said about a submit, so that an operator can ask its support."""

from msgspec import Struct

from gateway.domain.adapter.upstream_answer import UpstreamAnswer


class ChargeView(Struct, frozen=True):
    """What the provider says that it reserved or charged for a submit."""

    amount: float  # in `unit`
    unit: str  # the provider's own word, for example `credits`


class UpstreamAnswerView(Struct, frozen=True, kw_only=True):
    """Facts from the provider's answer to a submit. With them the provider's support can find the call."""

    status: int | None  # the HTTP status; null: no answer arrived
    request_id: str | None  # the provider's own id of the call; null: it sent none
    message: str | None  # the provider's message without keys, hosts and balances
    charge: ChargeView | None  # null: the answer says nothing about a charge


def upstream_view(answer: UpstreamAnswer | None) -> UpstreamAnswerView | None:
    """Return the public object of a stored answer."""
    if answer is None:
        return None
    charge = None if answer.charge is None else ChargeView(answer.charge.amount, answer.charge.unit)
    return UpstreamAnswerView(status=answer.status, request_id=answer.request_id, message=answer.message, charge=charge)
