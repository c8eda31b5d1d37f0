"""What is stored of an unclear answer: status, request id, cleaned message, and charge."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.adapter.contract import HttpReply
from gateway.domain.adapter.upstream_answer import Charge, UpstreamAnswer, answer_of


def reply(body: Any = b"", status: int = 500, **headers: str) -> HttpReply:
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return HttpReply(
        status=status,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        body=content,
        method="POST",
    )


def test_an_ambiguous_answer_of_the_relay_keeps_its_request_id_and_loses_its_hosts() -> None:
    body = {"code": "do_request_failed", "message": 'Post "https://api.example": EOF (request id: 2026abcDEF)'}

    answer = answer_of(reply(body, x_oneapi_request_id="2026112920abcDEF"))

    assert answer == UpstreamAnswer(status=500, request_id="2026112920abcDEF", message='Post "… EOF …')


@pytest.mark.parametrize(
    ("answer", "request_id"),
    [
        (reply(x_request_id="req-1", cf_ray="8f-LHR"), "req-1"),
        (reply(cf_ray="8f1234-LHR"), "8f1234-LHR"),
        (reply({"request_id": "body-1"}, cf_ray="8f1234-LHR"), "body-1"),
        (reply({"data": {"requestId": "body-2"}}), "body-2"),
        (reply({"error": {"message": "busy (request id: text-1)"}}), "text-1"),
        (reply({"error": {"message": "busy, request_id: text-2."}}), "text-2"),
        (reply(b"upstream error, Request-ID: text-3"), "text-3"),
        (reply({"request_id": ["no"], "trace_id": 123456}), "123456"),
        (reply(x_request_id="not an id", trace_id="x" * 200), None),
        (reply({"message": "no id here"}), None),
        (reply(), None),
    ],
)
def test_the_request_id_is_found_where_providers_put_it(answer: HttpReply, request_id: str | None) -> None:
    assert answer_of(answer).request_id == request_id


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "the model is busy"}}, "the model is busy"),
        ({"code": 7, "msg": "try later"}, "try later"),
        ({"data": {"fail_reason": "worker crashed"}}, "worker crashed"),
        (b"error code: 1010", "error code: 1010"),
        (b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>", "502 Bad Gateway"),
        (b"<p>the key sk-live-0123456789 is refused</p>", "the key … is refused"),
        (b"{broken", None),
        (b"", None),
    ],
)
def test_the_words_of_an_answer_are_kept_clean(body: Any, message: str | None) -> None:
    assert answer_of(reply(body)).message == message


@pytest.mark.parametrize(
    ("body", "charge"),
    [
        ({"id": "t", "usage": {"credits_reserved": 4.5, "user_group": "default"}}, Charge(4.5, "credits")),
        ({"code": "success", "data": {"task_id": "t", "quota": 500000}}, Charge(500000.0, "quota")),
        ({"data": {"final_unit_deduction": "0.2"}}, Charge(0.2, "units")),
        ({"usage": {"credits_reserved": -1}}, None),
        ({"usage": {"credits_reserved": "many"}}, None),
        ({"quota": None}, None),
        ([], None),
    ],
)
def test_the_charge_that_a_provider_states_is_read(body: Any, charge: Charge | None) -> None:
    assert answer_of(reply(body)).charge == charge


@settings(max_examples=60)
@given(st.binary(max_size=300) | st.text().map(str.encode), st.text(max_size=40), st.integers(0, 999))
def test_stored_answer_is_bounded_for_any_reply(body: bytes, header: str, status: int) -> None:
    answer = answer_of(HttpReply(status=status, headers={"x-request-id": header}, body=body))

    assert answer.status == status
    assert answer.request_id is None or (answer.request_id.isascii() and len(answer.request_id) <= 128)
    assert answer.message is None or 0 < len(answer.message) <= 300
    msgspec.json.encode(answer)


def test_a_large_and_deep_answer_is_read_to_a_bound() -> None:
    deep = b'{"data":' * 500 + b"{}" + b"}" * 500

    assert answer_of(reply(deep)).status == 500
    assert answer_of(reply(b"<" * 5_000_000)).message is None
