"""What is wrong with the head of a request although a server can read it: others on the way may read it differently."""

from collections import Counter
from collections.abc import Iterable

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from gateway.api.web.errors import refuse_all
from gateway.domain.errors import BadRequest

# Which of two values counts is a matter of taste, and two programs in a row may differ about who asks for what.
_ONCE = {b"host": "Host", b"authorization": "Authorization", b"content-type": "Content-Type"}
_VERSIONS = {"1.0", "1.1"}


def fault_of_head(version: str, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Why this head is refused, and the remedy; `None` if it is not. Names of headers are in lower case.

    Source of the rules: RFC 9112, sections 3.2 (`Host`) and 6.1 (`Transfer-Encoding`).
    """
    if version not in _VERSIONS:
        return "The gateway speaks HTTP/1.0 and HTTP/1.1 only."
    fields = list(headers)
    counts = Counter(name for name, _ in fields)
    for name, shown in _ONCE.items():
        if counts[name] > 1:
            return f"The header {shown} came {counts[name]} times; send it once."
    if version == "1.1" and not counts[b"host"]:
        return "The header Host is missing; HTTP/1.1 requires it."
    if counts[b"transfer-encoding"]:
        if version == "1.0":
            return "HTTP/1.0 has no Transfer-Encoding; send Content-Length."
        if [value.strip().lower() for name, value in fields if name == b"transfer-encoding"] != [b"chunked"]:
            return "The header Transfer-Encoding may only be: chunked."
        if counts[b"content-length"]:
            return "Transfer-Encoding and Content-Length contradict one another; send one of them."
    return None


def with_sound_heads(app: ASGIApp) -> ASGIApp:
    """The application with a check before it: a request with a faulty head gets a 400, and its connection ends."""

    async def check(scope: Scope, receive: Receive, send: Send) -> None:
        fault = fault_of_head(scope["http_version"], scope["headers"]) if scope["type"] == ScopeType.HTTP else None
        await (app if fault is None else refuse_all(BadRequest(fault)))(scope, receive, send)

    return check
