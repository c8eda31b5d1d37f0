"""Reads headers from the ASGI scope, because the framework's mapping costs more than the rest of a small request."""

import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from litestar import Request

from gateway.domain.clients import Sight
from gateway.domain.errors import BadRequest
from gateway.domain.generation.model import Generation
from gateway.domain.generation.summary import usage_of
from gateway.domain.trace_context import TraceContext, read_trace_context
from gateway.generations.poll_advice import PollAdvisor
from gateway.store.port import Sender

OPENAI_MOST_SECONDS = 5.0  # `poll()` of the `openai` library uses the first value for the whole generation
COST = "x-litellm-response-cost"
COST_HEADER = {COST: "what it cost in USD, as `usage.cost_usd`; absent while it is open, and without a price"}
_RETRY_COUNT = "x-stainless-retry-count"
CLOSES = "closes"  # key in the state of a request: a function that says whether its connection is at its end
_ABOVE_ZERO = re.compile(r"0*[1-9][0-9]*")


def header(request: Request[Any, Any, Any], name: str) -> str | None:
    """The first header of this name (in lower case); None without one."""
    wanted = name.encode()
    for key, value in request.scope["headers"]:
        if key == wanted:
            return value.decode("latin-1")
    return None


def only_header(request: Request[Any, Any, Any], name: str) -> str | None:
    """The header of this name (in lower case); None without one; `BadRequest` for two different values."""
    wanted = name.encode()
    values = {value for key, value in request.scope["headers"] if key == wanted}
    if len(values) > 1:
        raise BadRequest(f"The header {name} came with two values; send one.")
    return values.pop().decode("latin-1") if values else None


def trace_of(request: Request[Any, Any, Any]) -> TraceContext | None:
    """The client's span, from `traceparent` and `tracestate`; None without them, or if they are not valid."""
    parent = header(request, "traceparent")
    return None if parent is None else read_trace_context(parent, header(request, "tracestate"))


def is_retry(request: Request[Any, Any, Any]) -> bool:
    """True if the client's library marks this as a retry: `x-stainless-retry-count` ≥ 1. Other text is ignored."""
    count = header(request, _RETRY_COUNT)
    return count is not None and _ABOVE_ZERO.fullmatch(count) is not None


def sender_of(request: Request[Any, Any, Any]) -> Sender:
    """What is seen of the client that sent the request. A library sends the same marks of itself with each try."""
    marks = [
        name + b": " + value
        for name, value in request.scope["headers"]
        if name == b"user-agent" or (name.startswith(b"x-stainless-") and name != _RETRY_COUNT.encode())
    ]
    has_left = request.scope["state"].get(CLOSES, _stays)
    return Sender(library=b"\n".join(sorted(marks)), has_left=has_left)


def _stays() -> bool:
    return False


def poll_headers(generation: Generation, poll_advisor: PollAdvisor) -> dict[str, str]:
    """When the client should read an open generation again, as `Retry-After` and for the `openai` libraries."""
    seconds = poll_advisor.seconds(generation)
    if seconds is None:
        return {}
    for_openai = min(seconds, OPENAI_MOST_SECONDS)
    return {"retry-after": str(math.ceil(seconds)), "openai-poll-after-ms": str(round(for_openai * 1000))}


def cost_header(generation: Generation, sees: Callable[[str, Sight], bool]) -> dict[str, str]:
    """What an ended generation cost in USD, in the header that LiteLLM reads.

    Nothing while it is open or not known, or if its client may not see costs: `sees` decides by the owner id.
    """
    if not generation.status.terminal or not sees(generation.owner, "costs"):
        return {}
    cost = usage_of(generation).cost_usd
    return {} if cost is None else {COST: format(Decimal(str(cost)).normalize(), "f")}
