"""Replies that no page describes: every adapter returns a sound value or raises `UnreadableReply`, without secrets."""

import re
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, structs

from gateway.domain.adapter.contract import Adapter, Callback, HttpReply
from gateway.domain.adapter.decoding import json_or_none
from gateway.domain.adapter.failure import Billed, FailureKind
from gateway.domain.adapter.task import Completed, Failed, Pending, Status, TaskRef, TaskSnapshot
from gateway.domain.errors import UnreadableReply

from ..cases import every
from .exchanges import (
    ADAPTERS,
    as_json,
    at,
    every_adapter,
    every_exchange,
    every_name,
    exactly,
    leaves,
    outcome_of,
    paths_of,
    read,
    replaced,
    reply_of,
    submits_of,
)

GARBAGE = {
    "empty": b"",
    "blank": b" \r\n",
    "null": b"null",
    "object": b"{}",
    "array": b"[]",
    "string": b'"completed"',
    "number": b"0",
    "nan": b"NaN",
    "true": b"true",
    "html": b"<html><head><title>502 Bad Gateway</title></head><body><h1>nginx</h1></body></html>",
    "random bytes": bytes((7 * n * n + 13) % 256 for n in range(512)),
    "brackets": b"[" * 100_000,
    "nested objects": b'{"data":' * 100_000,
    "bad utf-8": b'{"status": "\xff\xfe", "data": "\xc3\x28"}',
    "bad utf-8 name": b'{"\xff": 1}',
    "cut": b'{"code": 0, "data": {"task_id": "i2v-',
    "two documents": b"{}{}",
    "huge number": b'{"code": ' + b"9" * 5000 + b"}",
    "null data": b'{"code": 0, "data": null}',
    "empty id": b'{"code": 0, "id": "", "task_id": "", "data": {"id": "", "task_id": "", "task_ids": []}}',
}
STATUSES = [100, 200, 201, 204, 301, 302, 304, 400, 401, 402, 403, 404, 405, 408, 409, 410, 413, 415, 422, 423, 425]
STATUSES += [429, 451, 500, 501, 502, 503, 504, 520, 522, 524, 529, 599, 0, 999]
A_TASKS_END = {
    FailureKind.TASK_FAILED,
    FailureKind.CONTENT_POLICY,
    FailureKind.RESULT_MISSING,
    FailureKind.TIMED_OUT,
}
every_garbage = every("body", GARBAGE.values(), ids=list(GARBAGE))


@every_adapter
@every_garbage
def test_garbage_says_nothing_about_a_task(adapter: Adapter, body: bytes) -> None:
    reply = HttpReply(status=200, headers={"content-type": "application/json"}, body=body, method="GET")
    assert adapter.classify(reply) is None
    with pytest.raises(UnreadableReply):
        adapter.from_upstream(reply)


@every_adapter
@every_garbage
def test_garbage_after_a_submit_is_neither_a_task_nor_a_refusal(adapter: Adapter, body: bytes) -> None:
    """If garbage were read as a refusal, another provider would get the same work, and both could be paid."""
    reply = HttpReply(status=200, body=body, method="POST")
    assert adapter.classify(reply) is None
    calls = submits_of(adapter)
    assert calls
    for call in calls:
        with pytest.raises(UnreadableReply):
            adapter.task_refs(call, reply)


@every_adapter
@every_garbage
def test_garbage_after_an_upload_or_in_a_callback_is_unreadable(adapter: Adapter, body: bytes) -> None:
    if adapter.uploaded_url is not None:
        with pytest.raises(UnreadableReply):
            adapter.uploaded_url(HttpReply(status=200, body=body, method="POST"))
    if adapter.read_callback is not None:
        with pytest.raises(UnreadableReply):
            adapter.read_callback(body)


@every_adapter
@every_garbage
@every("method", ["GET", "POST"])
def test_classify_never_raises_and_guesses_nothing(adapter: Adapter, body: bytes, method: str) -> None:
    for status in STATUSES:
        refusal = adapter.classify(HttpReply(status=status, body=body, method=method))
        assert_sound(refusal)
        if refusal is not None and method == "GET":
            assert refusal.kind not in A_TASKS_END, f"HTTP {status}: a failed poll must not end a task"
        assert refusal is None or not 200 <= status < 300, f"HTTP {status}: nothing says that the call was refused"
        if refusal is not None and method == "POST" and status >= 500:
            assert refusal.kind is FailureKind.AMBIGUOUS, f"HTTP {status}: nothing says that no task was started"


OF_OTHERS = {  # the 404 of proxies and frameworks
    "no route": b'{"message": "no Route matched with those values"}',
    "error text": b'{"timestamp": 1763700000, "status": 404, "error": "Not Found", "path": "/v1"}',
    "detail": b'{"detail": "Not Found"}',
    "error_msg": b'{"error_msg": "404 Route Not Found"}',
    "page not found": b"404 page not found",
}


@every_adapter
@every("body", [*GARBAGE.values(), *OF_OTHERS.values()], ids=[*GARBAGE, *OF_OTHERS])
def test_404_of_a_proxy_does_not_lose_a_task(adapter: Adapter, body: bytes) -> None:
    refusal = adapter.classify(HttpReply(status=404, body=body, method="GET"))
    assert refusal is not None
    assert refusal.kind is FailureKind.UNAVAILABLE


@every_exchange
def test_a_refusal_beside_a_task_is_never_sent_again(adapter: Adapter, path: Path) -> None:
    """A reply with a task id may have started the task: the task is polled, or the outcome is unknown."""
    exchange = read(path)
    if outcome_of(path) != "refused" or exchange.call.method != "POST":
        return
    refused = reply_of(adapter, exchange)
    said = json_object(refused)
    for other in paths_of(adapter.name):
        if outcome_of(other) != "submitted":
            continue
        body = json_object(reply_of(adapter, read(other))) | {name: value for name, value in said.items() if value}
        reply = structs.replace(refused, body=msgspec.json.encode(body))
        refusal = adapter.classify(reply)
        if refusal is None:
            assert adapter.task_refs(submits_of(adapter)[0], reply)
        else:
            assert refusal.kind is FailureKind.AMBIGUOUS, other.stem


def json_object(reply: HttpReply) -> dict[str, Any]:
    value = json_or_none(reply)
    return value if isinstance(value, dict) else {}


def assert_sound(value: object) -> None:
    """Check what must hold for every value that an adapter returns, whatever the reply was."""
    match value:
        case None:
            pass
        case Pending(status=status, progress=progress):
            assert status in {Status.QUEUED, Status.IN_PROGRESS}
            assert progress is None or 0 <= progress <= 1
        case Completed(artifacts=artifacts):
            assert artifacts
            for artifact in artifacts:
                assert urlsplit(artifact.url).scheme.lower() in {"http", "https"}
                assert urlsplit(artifact.url).hostname
        case Failed(message=message, upstream_code=code):
            assert message.strip()
            assert_clean(message)
            assert_clean(code or "")
        case Callback(task_ids=ids):
            assert all(ids)
        case str():
            assert urlsplit(value).scheme.lower() in {"http", "https"}
        case tuple():
            assert value
            for ref in value:
                assert isinstance(ref, TaskRef)
                assert ref.id
                assert ref.first_poll_seconds is None or ref.first_poll_seconds >= 0
        case _:
            pytest.fail(f"an adapter gave {value!r}")
    msgspec.json.encode(value if not isinstance(value, Callback) else value.task_ids)


UNCLEAN = {
    "a URL": re.compile(r"\w://\w|\bwww\.\w", re.IGNORECASE),
    "a key": re.compile(r"\b(?:sk|pk|vg)[-_]\w{6,}|\bbearer\s+\w|\b[\w-]{40,}", re.IGNORECASE),
    "a balance": re.compile(r"[$＄¥￥€£]\s*-?\d"),
    "an address": re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b|\blocalhost\b", re.IGNORECASE),
}


def assert_clean(message: str) -> None:
    for what, pattern in UNCLEAN.items():
        assert not pattern.search(message), f"{what} in {message!r}"
    assert len(message) <= 500


LEAK = " sk-live-0123456789abcdef at https://internal.example:8080/x?key=1 on 10.1.2.3, balance ＄12.50, Bearer abc.def"


@every_exchange
def test_no_message_shows_keys_balances_or_hosts(adapter: Adapter, path: Path) -> None:
    """Not even if the provider puts them into any text of a known reply."""
    exchange = read(path)
    if isinstance(raw := exchange.reads_as.snapshot, dict):
        assert_sound(exactly(raw, TaskSnapshot))
    if exchange.reply is None or exchange.reply.json is UNSET:
        return
    for steps in leaves(exchange.reply.json):
        if isinstance(old := at(exchange.reply.json, steps), str):
            body = msgspec.json.encode(replaced(exchange.reply.json, steps, old + LEAK))
            read_every_way(adapter, structs.replace(reply_of(adapter, exchange), body=body))


def read_every_way(adapter: Adapter, reply: HttpReply) -> None:
    """Every reader returns a sound value or raises `UnreadableReply`, for any reply."""
    assert_sound(adapter.classify(reply))
    call = submits_of(adapter)[0]
    for reader in (adapter.from_upstream, lambda reply: adapter.task_refs(call, reply), adapter.uploaded_url):
        with suppress(UnreadableReply):
            assert_sound(None if reader is None else reader(reply))
    with suppress(UnreadableReply):
        assert_sound(None if adapter.read_callback is None else adapter.read_callback(reply.body))
    if adapter.read_probe is not None:
        assert_clean(adapter.read_probe(reply).detail)
    assert adapter.read_cancel is None or adapter.read_cancel(reply) in {None, *Billed}
    form = None if adapter.next_variant is None else adapter.next_variant(call, reply)
    assert form is None or form in adapter.variants


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.just("\ud83c")  # half of an emoji, as in a message that was cut
    | st.sampled_from(
        ["succeed", "SUCCESS", "FAILED", "completed", "https://", "http://[::1", "data:,", "-1", "1e999"]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


ANY_STATUS = st.sampled_from(STATUSES) | st.integers(0, 999)
METHOD = st.sampled_from(["GET", "POST"])


@every_name
@settings(max_examples=80)
@given(body=st.binary() | JSON.map(as_json), status=ANY_STATUS, method=METHOD)
def test_any_reply_reads_or_is_unreadable(name: str, body: bytes, status: int, method: str) -> None:
    read_every_way(ADAPTERS[name], HttpReply(status=status, body=body, method=method))


@every_name
@settings(max_examples=150)
@given(data=st.data(), new=JSON, status=st.none() | ANY_STATUS, method=METHOD)
def test_a_recorded_reply_with_one_value_changed_reads_or_is_unreadable(
    name: str, data: st.DataObject, new: Any, status: int | None, method: str
) -> None:
    """A reader trusts a reply most if it almost has a known form."""
    bodies = JSON_BODIES[name]
    assert bodies
    old_status, body = data.draw(st.sampled_from(bodies))
    steps = data.draw(st.sampled_from(list(leaves(body))))
    body = as_json(replaced(body, steps, new))
    read_every_way(ADAPTERS[name], HttpReply(status=old_status if status is None else status, body=body, method=method))


def json_bodies(name: str) -> list[tuple[int, Any]]:
    """Every JSON body of the exchanges with its status; for a callback the body that the provider sent."""
    bodies: list[tuple[int, Any]] = []
    for exchange in map(read, paths_of(name)):
        if exchange.reply is not None and exchange.reply.json is not UNSET:
            bodies.append((exchange.reply.status, exchange.reply.json))
        if exchange.reads_as.callback is not UNSET:
            bodies.append((200, exchange.call.json))
    return bodies


JSON_BODIES = {name: json_bodies(name) for name in ADAPTERS}
