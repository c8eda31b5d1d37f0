"""The headers of W3C Trace Context: what is taken from a client, and what is passed on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.trace_context import STATE_MAX, TraceContext, read_trace_context

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEX = "0123456789abcdef"


def test_a_context_is_read_and_passed_on() -> None:
    context = read_trace_context(f"00-{TRACE}-{SPAN}-01", "vendor=value, other=2")
    assert context == TraceContext(trace_id=TRACE, span_id=SPAN, sampled=True, state="vendor=value, other=2")
    assert context.headers() == {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "vendor=value, other=2"}
    assert read_trace_context(f"00-{TRACE}-{SPAN}-fe", None) == TraceContext(trace_id=TRACE, span_id=SPAN)
    assert read_trace_context(f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be", None) is not None


@pytest.mark.parametrize(
    "header",
    [
        *(None, "", "00", f"ff-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01-more", f"00-{TRACE}-{SPAN}-01-"),
        *(f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE.upper()}-{SPAN}-01"),
        *(f"00-{TRACE}-{SPAN}-1", f"00-{TRACE}x-{SPAN}-01", f" 00-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01.more"),
    ],
)
def test_a_header_that_is_not_valid_is_ignored(header: str | None) -> None:
    assert read_trace_context(header, "vendor=value") is None


@pytest.mark.parametrize("state", ["a=" + "x" * STATE_MAX, "a=ü", "a=\x00"])
def test_a_state_that_is_too_long_or_not_text_is_left_out(state: str) -> None:
    assert read_trace_context(f"00-{TRACE}-{SPAN}-01", state) == TraceContext(
        trace_id=TRACE, span_id=SPAN, sampled=True
    )


@given(st.text(HEX, min_size=32, max_size=32), st.text(HEX, min_size=16, max_size=16), st.booleans())
def test_what_is_passed_on_is_read_again(trace_id: str, span_id: str, sampled: bool) -> None:
    context = TraceContext(trace_id="1" + trace_id[1:], span_id="1" + span_id[1:], sampled=sampled)
    assert read_trace_context(context.headers()["traceparent"], None) == context
