"""What an operator needs from an answer that the gateway could not act on: status, request id, message and charge.

`clean` removes request ids from messages, because they do not help a client. An operator who asks the provider's
support about a lost submit needs exactly this id, so it is read here before the message is cleaned.
"""

import re
from collections.abc import Iterator, Mapping

from msgspec import Struct

from gateway.domain.adapter.contract import HttpReply
from gateway.domain.adapter.decoding import first_text, json_object, json_or_none, mapping, number, text
from gateway.domain.adapter.messages import clean
from gateway.domain.adapter.replies import error_body

_BODY_MAX = 10_000  # characters of a text body that are searched
_LAYERS_MAX = 4  # levels of objects that are searched for an id or a charge
_INNER = ("data", "error", "result", "response", "task")
# The most specific name first. The last three are those of content delivery networks: they identify a connection and
# not a call.
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
_ID_FIELDS = frozenset({"requestid", "reqid", "traceid", "logid", "xrequestid"})  # in lower case, without "_" and "-"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{3,127}", re.ASCII)
_ID_IN_TEXT = re.compile(
    r"(?:request|trace|log)[ _-]?id[\"']?\s{0,3}[:=：]\s{0,3}[\"']?([A-Za-z0-9][A-Za-z0-9._:/+=@-]{3,127})",
    re.IGNORECASE | re.ASCII,
)
_TITLE = re.compile(r"<title[^<>]{0,100}>([^<>]{1,300})</title", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]{0,2000}>")
# The fields in which providers say what they have reserved or charged for a task, and the unit.
_CHARGES = (
    ("credits_reserved", "credits"),
    ("credits_used", "credits"),
    ("credits_consumed", "credits"),
    ("credit_cost", "credits"),
    ("credits", "credits"),
    ("quota", "quota"),
    ("final_unit_deduction", "units"),
)


class Charge(Struct, frozen=True, gc=False):
    """What a provider says it has reserved or charged for a task, in its own unit."""

    amount: float  # finite, not negative
    unit: str  # "credits" (FoxAPI), "quota" (the relay) or "units" (Kling)


class UpstreamAnswer(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What is stored from an answer beside its meaning. It is safe to show to a client; it is stored as JSON."""

    status: int | None = None  # the HTTP status; None if no answer arrived
    request_id: str | None = None  # the provider's own id of the call, at most 128 visible ASCII characters
    message: str | None = None  # the provider's words, cleaned, at most 300 characters
    charge: Charge | None = None


def answer_of(reply: HttpReply) -> UpstreamAnswer:
    """What to store from a reply. Never raises for any reply."""
    body = json_or_none(reply)
    return UpstreamAnswer(
        status=reply.status,
        request_id=_request_id(reply, body),
        message=clean(_message(reply, body)) or None,
        charge=_charge(body),
    )


def _request_id(reply: HttpReply, body: object) -> str | None:
    headers = [reply.headers.get(name, "") for name in _ID_HEADERS]
    fields = [
        text(value)
        for layer in _layers(body)
        for name, value in layer.items()
        if name.lower().replace("_", "").replace("-", "") in _ID_FIELDS
    ]
    match = _ID_IN_TEXT.search(_readable(reply))
    own, network = headers[:-3], headers[-3:]
    candidates = [*own, *fields, match[1].rstrip(".:=") if match else "", *network]
    return next((word for word in map(str.strip, candidates) if _ID.fullmatch(word)), None)


def _message(reply: HttpReply, body: object) -> str:
    """The words of an error body, the title of an HTML page, or all of any other text."""
    if isinstance(body, Mapping):
        messages = (error_body(layer).message for layer in _layers(body))
        return first_text(*messages, *(layer.get("fail_reason") for layer in _layers(body)))
    if isinstance(body, str):
        return body[:_BODY_MAX]
    page = _readable(reply).strip()
    title = _TITLE.search(page)
    if title:
        return title[1]
    return _TAG.sub(" ", page) if page.startswith("<") else "" if page[:1] in "{[" else page


def _charge(body: object) -> Charge | None:
    layers = list(_layers(body))
    for layer in [*(mapping(outer.get("usage")) for outer in layers), *layers]:
        for name, unit in _CHARGES:
            amount = number(layer.get(name))
            if amount is not None and 0 <= amount < 1e15:
                return Charge(amount, unit)
    return None


def _layers(body: object) -> Iterator[Mapping[str, object]]:
    """The body and the objects in it that an envelope may have, level by level, at most four levels."""
    level = [body]
    for _ in range(_LAYERS_MAX):
        objects = [fields for fields in map(json_object, level[: len(_INNER)]) if fields is not None]
        yield from objects
        level = [inner for fields in objects for name in _INNER if (inner := fields.get(name)) is not None]


def _readable(reply: HttpReply) -> str:
    return reply.body[: _BODY_MAX * 4].decode("utf-8", "replace")[:_BODY_MAX]
