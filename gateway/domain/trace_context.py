"""W3C Trace Context: what a client says about its trace, and what a webhook passes on. Pure.

W3C, "Trace Context", https://www.w3.org/TR/trace-context/: a header `traceparent` names the trace and the caller's
span, and `tracestate` has entries of tracing systems, which are passed on unread.
"""

import re

from msgspec import Struct

STATE_MAX = 512  # characters of `tracestate` that have to be passed on; a longer one is left out
_PARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_STATE = re.compile(r"[\x20-\x7e\t]*")
_SAMPLED = 1


class TraceContext(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A span of a trace: the client's that created a generation, or the one of a webhook that is sent."""

    trace_id: str  # 32 hexadecimal digits
    span_id: str  # 16 hexadecimal digits
    sampled: bool = False  # whether the client records its trace
    state: str = ""  # `tracestate` as it came

    def headers(self) -> dict[str, str]:
        """The headers that say that this span is the caller's."""
        parent = {"traceparent": f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"}
        return parent | {"tracestate": self.state} if self.state else parent


def read_trace_context(traceparent: str | None, tracestate: str | None) -> TraceContext | None:
    """The context in the headers of a request. `None` for headers that are missing or not valid.

    The specification asks that a `traceparent` that is not valid is ignored, and `tracestate` with it: a mistake there
    must not fail a request. Version 00 has four parts; later versions may have more, which are ignored.
    """
    match = _PARENT.fullmatch(traceparent or "")
    if match is None or (match[0].startswith("00") and match[4] is not None):
        return None
    state = (tracestate or "").strip()
    return TraceContext(
        trace_id=match[1],
        span_id=match[2],
        sampled=bool(int(match[3], 16) & _SAMPLED),
        state=state if len(state) <= STATE_MAX and _STATE.fullmatch(state) else "",
    )
