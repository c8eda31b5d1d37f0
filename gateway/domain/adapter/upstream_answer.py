"""What an operator needs to know of an answer that nobody could act on: its status, its request id, its words.

`clean` removes request ids from messages, because they are of no use to a client of another provider. An operator who
asks a provider's support about a lost submit needs exactly that id, so it is read here before the message is cleaned.
"""

import re
from collections.abc import Iterator, Mapping

from msgspec import Struct

from gateway.domain.adapter.contract import HttpReply
from gateway.domain.adapter.decoding import first_text, json_object, json_or_none, mapping, number, text
from gateway.domain.adapter.messages import clean
from gateway.domain.adapter.replies import error_body

_BODY_MAX = 10_000  # characters of a text body that are looked at
_LAYERS_MAX = 4  # objects in one another in which an id or a charge is looked for
_INNER = ("data", "error", "result", "response", "task")
# The most telling name first. Those of content delivery networks come last: they name a connection, not a call.
_ID_HEADERS = (
    "x-oneapi-request-id",
    "x-request-id",
    "request-id",
    "x-requestid",
    "x-req-id",
    "x-log-id",
    "x-tt-logid",
    "x-amzn-requestid",
    "x-amz-request-id",
    "x-goog-request-id",
    "x-ms-request-id",
    "apim-request-id",
    "x-correlation-id",
    "correlation-id",
    "x-trace-id",
    "trace-id",
    "x-b3-traceid",
    "traceparent",
    "cf-ray",
    "x-amz-cf-id",
    "x-vercel-id",
)
_ID_FIELDS = frozenset({"requestid", "reqid", "traceid", "logid", "xrequestid"})  # in lower case, without _ and -
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{3,127}", re.ASCII)
_ID_IN_TEXT = re.compile(
    r"(?:request|trace|log)[ _-]?id[\"']?\s{0,3}[:=：]\s{0,3}[\"']?([A-Za-z0-9][A-Za-z0-9._:/+=@-]{3,127})",
    re.IGNORECASE | re.ASCII,
)
_TITLE = re.compile(r"<title[^<>]{0,100}>([^<>]{1,300})</title", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]{0,2000}>")
# Where a provider says what it set aside or took for a task, and the word for what is counted.
_CHARGES = (
    ("credits_reserved", "credits"),
    ("credits_used", "credits"),
    ("credits_consumed", "credits"),
    ("credit_cost", "credits"),
    ("credits", "credits"),
    ("quota", "quota"),
    ("final_unit_deduction", "units"),
)


class Charge(Struct, frozen=True):
    """What a provider says that it has reserved or charged, in its own unit."""

    amount: float  # finite, not negative
    unit: str  # the provider's own word: "credits" of FoxAPI, "quota" of the relay, "units" of Kling


class UpstreamAnswer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is kept of an answer beside its meaning; safe to show to a client, and to store as JSON."""

    status: int | None = None  # the HTTP status; None where no answer came
    request_id: str | None = None  # the provider's own id of the call, at most 128 visible ASCII characters
    message: str | None = None  # the provider's words, cleaned of keys, hosts and balances, at most 300 characters
    charge: Charge | None = None


def answer_of(reply: HttpReply) -> UpstreamAnswer:
    """What is worth keeping of a reply, whatever it says; never raises."""
    body = json_or_none(reply)
    return UpstreamAnswer(
        status=reply.status,
        request_id=_request_id(reply, body),
        message=clean(_message(reply, body)) or None,
        charge=_charge(body),
    )


def charge_of(reply: HttpReply) -> Charge | None:
    """What a reply says that the provider reserved or charged for a task, `None` where it says nothing of it."""
    return _charge(json_or_none(reply))


def _request_id(reply: HttpReply, body: object) -> str | None:
    headers = [reply.headers.get(name, "") for name in _ID_HEADERS]
    fields = [
        text(value)
        for layer in _layers(body)
        for name, value in layer.items()
        if name.lower().replace("_", "").replace("-", "") in _ID_FIELDS
    ]
    said = _ID_IN_TEXT.search(_readable(reply))
    own, network = headers[:-3], headers[-3:]
    candidates = [*own, *fields, said[1].rstrip(".:=") if said else "", *network]
    return next((word for word in map(str.strip, candidates) if _ID.fullmatch(word)), None)


def _message(reply: HttpReply, body: object) -> str:
    """The words of an error body; of a page its title, of any other text all of it."""
    if isinstance(body, Mapping):
        said = (error_body(layer).message for layer in _layers(body))
        return first_text(*said, *(layer.get("fail_reason") for layer in _layers(body)))
    if isinstance(body, str):
        return body[:_BODY_MAX]
    page = _readable(reply).strip()
    title = _TITLE.search(page)
    if title:
        return title[1]
    return _TAG.sub(" ", page) if page.startswith("<") else "" if page[:1] in "{[" else page


def _charge(body: object) -> Charge | None:
    layers = list(_layers(body))
    for layer in [*(mapping(one.get("usage")) for one in layers), *layers]:
        for name, unit in _CHARGES:
            amount = number(layer.get(name))
            if amount is not None and 0 <= amount < 1e15:
                return Charge(amount, unit)
    return None


def _layers(body: object) -> Iterator[Mapping[str, object]]:
    """The body and the objects in it that an envelope may have: at most four in one another."""
    layer = [body]
    for _ in range(_LAYERS_MAX):
        found = [one for one in map(json_object, layer[: len(_INNER)]) if one is not None]
        yield from found
        layer = [inner for one in found for name in _INNER if (inner := one.get(name)) is not None]


def _readable(reply: HttpReply) -> str:
    return reply.body[: _BODY_MAX * 4].decode("utf-8", "replace")[:_BODY_MAX]
