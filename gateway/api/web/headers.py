"""Reading a request's headers from where the server put them: the framework's mapping costs more than all it is for."""

import math
import re
from typing import Any

from litestar import Request

from gateway.domain.errors import BadRequest
from gateway.domain.generation.model import Generation
from gateway.generations.poll_advice import PollHints

OPENAI_MOST_SECONDS = 5.0  # the poll() of `openai` keeps the first value that it is told
_ABOVE_ZERO = re.compile(r"0*[1-9][0-9]*")


def header(request: Request[Any, Any, Any], name: str) -> str | None:
    """The first header of this name (in lower case), `None` without one."""
    wanted = name.encode()
    for key, value in request.scope["headers"]:
        if key == wanted:
            return value.decode("latin-1")
    return None


def only_header(request: Request[Any, Any, Any], name: str) -> str | None:
    """The one header of this name (in lower case); two that differ are a `BadRequest`."""
    wanted = name.encode()
    found = {value for key, value in request.scope["headers"] if key == wanted}
    if len(found) > 1:
        raise BadRequest(f"The header {name} came with two values; send one.")
    return found.pop().decode("latin-1") if found else None


def is_retry(request: Request[Any, Any, Any]) -> bool:
    """Whether the client's library says that it sends this again; what is no whole number says nothing."""
    count = header(request, "x-stainless-retry-count")
    return count is not None and _ABOVE_ZERO.fullmatch(count) is not None


def poll_headers(generation: Generation, hints: PollHints) -> dict[str, str]:
    """When an open generation is worth reading again: as a header of HTTP, and as one that `openai` libraries read."""
    seconds = hints.seconds(generation)
    if seconds is None:
        return {}
    for_all_its_life = min(seconds, OPENAI_MOST_SECONDS)
    return {"retry-after": str(math.ceil(seconds)), "openai-poll-after-ms": str(round(for_all_its_life * 1000))}
