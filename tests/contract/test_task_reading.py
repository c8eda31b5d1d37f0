"""Replies in forms that no provider documents are understood, from every provider, and never as more than they say."""

import json
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, structs

from gateway.domain.adapter.contract import Adapter, HttpReply
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.file_links import file_urls
from gateway.domain.adapter.request import Kind
from gateway.domain.adapter.task import Completed, Failed, Pending, Status, TaskRef, TaskSnapshot
from gateway.domain.adapter.task_reading import PollRefused, read_poll, read_submit, task_id_fault
from gateway.domain.errors import UnreadableReply

from ..cases import every
from .exchanges import (
    ADAPTERS,
    as_json,
    call_of,
    every_exchange,
    every_name,
    exactly,
    leaves,
    outcome_of,
    read,
    replaced,
    reply_of,
)
from .shapes import CALLS, DONE, FILE, PROVIDERS, RUNNING, TASK, answer, state, submitted
from .test_hostile_replies import GARBAGE, JSON, JSON_BODIES, STATUSES, assert_sound, every_garbage

every_provider = pytest.mark.parametrize("name", PROVIDERS)
AMBIGUOUS = FailureKind.AMBIGUOUS


def polled(name: str, body: Any, **more: Any) -> Any:
    """What the reply to a poll reads as; "unreadable" if it cannot be read."""
    adapter = ADAPTERS[name]
    try:
        return read_poll(adapter, answer(body, **more), adapter.base_url)
    except UnreadableReply:
        return "unreadable"


def begun(name: str, body: Any, status: int = 200, **more: Any) -> list[str] | FailureKind:
    """The ids of the tasks in the reply to a submit, or the kind of the refusal."""
    outcome = read_submit(ADAPTERS[name], CALLS[name], answer(body, status, "POST", **more))
    return outcome.kind if isinstance(outcome, Failed) else [ref.id for ref in outcome]


def urls(snapshot: Any) -> list[str]:
    assert isinstance(snapshot, Completed), snapshot
    return [file.url for file in snapshot.artifacts]


# -- exchanges


@every_exchange
def test_shared_vocabulary_does_not_change_a_clear_exchange(adapter: Adapter, path: Path) -> None:
    exchange = read(path)
    outcome = outcome_of(path)
    if exchange.reply is None or outcome == "uploaded" or "upload" in path.stem:
        return
    reply, expected = reply_of(adapter, exchange), exchange.gateway_reads_as
    if exchange.call.method == "POST":
        call = call_of(adapter, exchange)
        outcome = read_submit(adapter, call, reply)
        if expected is UNSET:
            assert outcome == submit_of_the_adapter_alone(adapter, call, reply)
        else:
            assert outcome == exactly(expected.refs, tuple[TaskRef, ...])
        return
    try:
        kind: Kind = "image" if "/image_generate/" in reply.path else "video"
        snapshot: Any = read_poll(adapter, reply, adapter.base_url, kind)
    except UnreadableReply:
        snapshot = "unreadable"
    if expected is not UNSET:
        assert snapshot == exactly(expected.snapshot, TaskSnapshot)
    elif outcome == "refused":
        assert snapshot == PollRefused(adapter.classify(reply))
    else:
        assert snapshot == ("unreadable" if outcome == "unreadable" else adapter.from_upstream(reply))


def submit_of_the_adapter_alone(adapter: Adapter, call: Any, reply: HttpReply) -> Any:
    refusal = adapter.classify(reply)
    if refusal is not None and refusal.kind is not AMBIGUOUS:
        return refusal
    try:
        return adapter.task_refs(call, reply)
    except UnreadableReply:
        return refusal or Failed(kind=AMBIGUOUS, message=AMBIGUOUS_MESSAGE)


AMBIGUOUS_MESSAGE = "The provider gave no clear answer; it may have accepted the request."


# -- words


@every_provider
@every("word", ["done", "COMPLETE", "Finished", "TASK_STATUS_SUCCEED", "成功", "JOB_STATE_SUCCEEDED"])
def test_a_word_for_done_with_a_file_completes(name: str, word: str) -> None:
    assert urls(polled(name, state(name, word, FILE))) == [FILE]


@every_provider
@pytest.mark.parametrize("word", ["done", "已完成", "SUCCESSFUL"])
def test_a_word_for_done_without_a_file_is_looked_at_again(name: str, word: str) -> None:
    snapshot = polled(name, state(name, word))

    assert isinstance(snapshot, Pending)
    assert snapshot.result_missing
    assert not snapshot.unknown_status


@every_provider
@every("word", ["fail", "Rejected", "timeout", "失败", "CANCELED", "expired", "TASK_STATUS_FAILED"])
def test_a_word_for_failed_ends_the_task_with_the_providers_reason(name: str, word: str) -> None:
    snapshot = polled(name, state(name, word, reason="worker crashed"))

    assert isinstance(snapshot, Failed), snapshot
    assert snapshot.message in {"worker crashed", "The provider cancelled the task.", "The provider took too long."}
    if word not in {"CANCELED", "expired", "timeout"}:
        assert snapshot.message == "worker crashed"


@every_provider
def test_adapters_own_phrases_classify_a_failure_under_another_word(name: str) -> None:
    refused = polled(name, state(name, "FAIL", reason="the content violates our policy"))
    assert isinstance(refused, Failed)
    assert refused.kind is FailureKind.CONTENT_POLICY
    assert polled("kling_relay", state("kling_relay", "fail", reason="Image pixel is invalid")).kind is (
        FailureKind.INVALID_REQUEST
    )


@every_provider
@every(("word", "status"), [("排队中", Status.QUEUED), ("IN_QUEUE", Status.QUEUED)])
@every("url", [None, FILE])
def test_word_for_waiting_is_recognised_and_a_file_beside_it_is_ignored(
    name: str, word: str, status: Status, url: str | None
) -> None:
    expected = Pending(status=status, raw_status=word, progress=None if name == "keevx" else 0.3)
    assert polled(name, state(name, word, url)) == expected


@every_provider
@every("word", ["uploading", "archived", "weitergereicht", "7b"])
def test_a_file_beside_an_unknown_word_is_taken(name: str, word: str) -> None:
    assert urls(polled(name, state(name, word, FILE))) == [FILE]
    snapshot = polled(name, state(name, word))
    assert isinstance(snapshot, Pending)
    assert snapshot.unknown_status


@every_provider
def test_file_in_a_list_of_several_tasks_is_not_taken(name: str) -> None:
    """Nobody can know which of them was polled, whatever the envelope says."""
    tasks = [{"task_id": task_id, "status": "done", "video_url": FILE} for task_id in ("task-1", "task-2")]
    outcome = polled(name, {"code": 200, "status": "success", "data": tasks})
    assert not isinstance(outcome, Completed)


@every_provider
def test_file_of_a_task_that_runs_or_failed_is_not_a_result(name: str) -> None:
    assert isinstance(polled(name, state(name, RUNNING[name], FILE)), Pending)
    assert isinstance(polled(name, state(name, "rejected", FILE)), Failed)


def test_status_in_a_body_without_a_task_id_ends_no_task() -> None:
    for word in ("error", "failed", "timeout"):
        for body in ({"status": word, "message": "the service is down"}, {"success": False, "status": word}):
            for name in ("keevx", "foxapi"):
                if not (name == "foxapi" and word == "failed"):  # FoxAPI documents that word at the outer level
                    assert not isinstance(polled(name, body), Failed | Completed), (name, body)


# -- envelopes

CODES = [200, "200", 1, True, "ok", "OK", "success", "0000", 0, "20000", 201]


@every_provider
@every("code", CODES)
@every("key", ["code", "errcode", "ret_code", "statusCode", "success"])
def test_a_task_in_another_envelope_of_success_is_the_same_task(name: str, code: Any, key: str) -> None:
    for body in (submitted(name), {"task_id": TASK}, {"taskId": TASK}, {"id": TASK}, {"task": {"taskID": TASK}}):
        assert begun(name, {key: code, "data": body}) == [TASK], body
    assert urls(polled(name, {key: code, "message": "ok", "data": state(name, DONE[name], FILE)})) == [FILE]
    running = polled(name, {key: code, "result": state(name, RUNNING[name])})
    assert isinstance(running, Pending)
    assert not running.unknown_status


@every_provider
def test_a_flat_reply_with_a_code_of_success_is_read(name: str) -> None:
    for extra in ({"code": 200}, {"code": "ok"}, {"code": 1}, {"success": True}, {"status_code": 200}, {"error": None}):
        flat = {"taskId": TASK, "taskStatus": DONE[name], "videoUrl": FILE, **extra}
        assert urls(polled(name, flat)) == [FILE], extra
        assert begun(name, {"taskId": TASK, "taskStatus": "submitted", **extra}) == [TASK], extra


@every_provider
def test_ids_are_found_under_other_names_and_forms(name: str) -> None:
    for body in (
        {"generation_id": TASK},
        {"data": {"job_id": TASK}},
        {"code": 1, "description": "ok", "result": TASK},
        {"code": 200, "data": TASK},
        {"code": 0, "data": [{"taskId": TASK}]},
        {"code": 0, "data": json.dumps({"task_id": TASK})},
        {"response": {"task": {"id": TASK, "status": "queued"}}},
        {"request_id": "req-1", "output": {"task_id": TASK, "task_status": "PENDING"}},
    ):
        assert begun(name, body) == [TASK], body


def test_every_task_of_a_submit_is_found() -> None:
    assert begun("keevx", {"success": True, "data": {"taskIds": ["i2v-1", "i2v-2"]}}) == ["i2v-1", "i2v-2"]
    assert begun("keevx", {"code": 200, "data": [{"taskId": "i2v-1"}, {"taskId": "i2v-2"}]}) == ["i2v-1", "i2v-2"]


def test_what_else_a_submit_says_is_read_in_another_envelope_too() -> None:
    body = {"code": 200, "data": submitted("foxapi") | {"task_info": {"estimated_time": 90}}}
    outcome = read_submit(ADAPTERS["foxapi"], CALLS["foxapi"], answer(body, 200, "POST"))
    assert outcome == (TaskRef(id=TASK, first_poll_seconds=45.0),)

    outcome = read_submit(
        ADAPTERS["kling_relay"], CALLS["kling_relay"], answer({"code": 200, "data": TASK}, 200, "POST")
    )
    assert outcome == (TaskRef(id=TASK, path="image2video"),)


@every_provider
@every(
    "body",
    [
        {"code": 500, "message": "busy"},
        {"code": 200, "message": "ok"},
        {"code": 200, "data": None},
        {"code": 200, "request_id": "abc-123456"},
        {"code": 200, "data": "queued"},
        {"success": True, "data": {"id": ""}},
        {"code": 200, "data": {"id": TASK}, "error": {"message": "no credit"}},
        {"code": -1, "data": {"id": TASK}},
        {"success": False, "data": {"taskId": TASK}},
    ],
)
def test_submit_without_success_or_without_an_id_starts_no_task(name: str, body: Any) -> None:
    assert isinstance(begun(name, body), FailureKind)


@every_provider
def test_an_adapter_that_cannot_even_classify_a_reply_leaves_it_unclear(name: str) -> None:
    def unreadable(reply: HttpReply) -> Failed | None:
        raise UnreadableReply(f"HTTP {reply.status}")

    adapter = replace(ADAPTERS[name], classify=unreadable)
    outcome = read_submit(adapter, CALLS[name], answer({"hello": "there"}, 200, "POST"))
    assert isinstance(outcome, Failed)
    assert outcome.kind is FailureKind.AMBIGUOUS


@every_provider
def test_refused_submit_stays_refused_whatever_else_its_body_has(name: str) -> None:
    assert begun(name, {"error": {"message": "no"}, "request_id": "r-1"}, status=401) is FailureKind.CREDENTIAL_REFUSED
    assert isinstance(polled(name, {"taskId": TASK, "status": "done", "url": FILE}, status=500), PollRefused)


@every_provider
@every("status", [400, 401, 402, 429])
@every(
    "body",
    [
        {"error": {"message": "no"}, "taskId": TASK},
        {"error": {"message": "no", "taskId": TASK}},
        {"code": 40001, "message": "no", "data": {"TaskIDs": [TASK]}},
        {"message": "no", "result": {"task_id": TASK}},
    ],
)
def test_a_refusal_that_names_a_task_in_any_spelling_proves_nothing(name: str, body: Any, status: int) -> None:
    assert begun(name, body, status=status) is FailureKind.AMBIGUOUS


# -- places and links

PLACES: dict[str, Any] = {
    "video_url": FILE,
    "videoUrl": FILE,
    "video": {"url": FILE},
    "videos": [{"url": FILE, "cover_image_url": "https://cdn.example/c.jpg"}],
    "output": {"video_url": FILE},
    "outputs": [FILE],
    "result": {"urls": [FILE]},
    "result_urls": json.dumps([FILE]),
    "creations": [{"id": "c", "url": FILE, "cover_url": "https://cdn.example/c.jpg"}],
    "works": [{"resource": {"resource": FILE, "width": 1280}}],
    "content": {"video_url": FILE},
    "assets": {"video": FILE, "thumbnail": "https://cdn.example/t.jpg"},
    "generated_videos": [{"video": {"uri": FILE}}],
    "metadata": {"result_urls": [FILE]},
    "task_result": {"videos": {"url": FILE}},
    "data": {"data": {"output": {"video_url": FILE}}},
    "somewhere_else": {"deep": [{"clip_location": FILE}]},
    "choices": [{"message": {"content": f"![video]({FILE})"}}],
}


@every_provider
@every("place", PLACES)
def test_a_file_in_another_usual_place_is_found(name: str, place: str) -> None:
    assert urls(polled(name, state(name, DONE[name], **{place: PLACES[place]}))) == [FILE]


@every_provider
def test_links_that_are_not_results_are_ignored(name: str) -> None:
    no_results = {
        "thumbnail_url": "https://cdn.example/t.mp4",
        "cover": {"url": "https://cdn.example/c.png"},
        "image_url": "https://cdn.example/i.png",
        "input": {"video_url": FILE},
        "request": {"url": FILE},
        "callback_url": "https://shop.example/hook",
        "urls": {"get": "https://api.example/tasks/1", "cancel": "https://api.example/tasks/1/cancel"},
        "status_url": "https://api.example/status",
        "first_frame": {"url": FILE},
    }
    snapshot = polled(name, state(name, DONE[name], **no_results))
    assert isinstance(snapshot, Pending), snapshot
    assert snapshot.result_missing


def test_the_relays_own_address_of_a_file_is_not_taken_from_a_reply() -> None:
    for url in (f"http://localhost:3000/v1/videos/{TASK}/content", f"https://api.xiexus.cn/v1/videos/{TASK}"):
        snapshot = polled("kling_relay", state("kling_relay", "SUCCESS", video_url=url))
        assert isinstance(snapshot, Pending), url


@every_provider
@every(
    ("link", "url"),
    [
        ("https://cdn.example/my clip.mp4", "https://cdn.example/my%20clip.mp4"),
        ("//cdn.example/v.mp4", "https://cdn.example/v.mp4"),
        ("/media/v.mp4", "{host}/media/v.mp4"),
        ("cdn.example.com/v.mp4", "https://cdn.example.com/v.mp4"),
        ("https%3A%2F%2Fcdn.example%2Fv.mp4", "https://cdn.example/v.mp4"),
        ("https://cdn.example/v.mp4?a=1&amp;b=2", "https://cdn.example/v.mp4?a=1&b=2"),
        ('"https://cdn.example/v.mp4"', "https://cdn.example/v.mp4"),
        ("Video URL: https://cdn.example/v.mp4", "https://cdn.example/v.mp4"),
        ("https://cdn.example/get?url=https://b.example/v.mp4", "https://cdn.example/get?url=https://b.example/v.mp4"),
        ("https://cdn.example/v.mp4?to=https://b.example&s=1", "https://cdn.example/v.mp4?to=https://b.example&s=1"),
    ],
)
def test_a_link_that_browsers_open_is_a_file(name: str, link: str, url: str) -> None:
    base = ADAPTERS[name].base_url
    host = base[: base.index("/", 8)] if "/" in base[8:] else base
    assert urls(polled(name, state(name, DONE[name], link))) == [url.format(host=host)]


@every_provider
def test_link_on_the_providers_host_gets_no_credential(name: str) -> None:
    snapshot = polled(name, state(name, DONE[name], "/media/v.mp4"))
    assert isinstance(snapshot, Completed)
    assert not snapshot.artifacts[0].needs_credential


# -- replies that break off


@every_provider
def test_reply_that_breaks_off_after_a_whole_object_is_that_object(name: str) -> None:
    for tail in (b"", b"\n", b"\n<!-- a", b'{"a'):
        assert begun(name, as_json(submitted(name)) + tail, cut=True) == [TASK]
        assert urls(polled(name, as_json(state(name, DONE[name], FILE)) + tail, cut=True)) == [FILE]


@every_provider
@every("status", [200, 400, 401, 402, 403, 404, 422, 429, 500, 503])
def test_a_reply_that_breaks_off_within_its_object_proves_nothing(name: str, status: int) -> None:
    for body in (submitted(name), {"error": {"message": "no", "code": "invalid_request"}, "code": 100001, "msg": "no"}):
        whole = as_json(body)
        for end in (0, 1, len(whole) // 2, len(whole) - 1):
            assert begun(name, whole[:end], status, cut=True) is AMBIGUOUS
            assert polled(name, whole[:end], status=status, cut=True) == "unreadable"


@every_provider
def test_a_whole_refusal_in_a_reply_that_breaks_off_is_a_refusal(name: str) -> None:
    body = {"error": {"message": "no", "type": "authentication_error"}}
    assert begun(name, body, 401, cut=True) is FailureKind.CREDENTIAL_REFUSED


# -- ids


@pytest.mark.parametrize(
    ("task_id", "fault"),
    [
        ("x" * 512, None),
        ("任务-1", None),
        ("x" * 513, "it has 513 characters, more than 512"),
        ("a\nb", "it has control characters"),
        ("a\x7fb", "it has control characters"),
        ("a\x85b", "it has control characters"),
    ],
)
def test_a_task_id_is_bounded(task_id: str, fault: str | None) -> None:
    assert task_id_fault(task_id) == fault


@every_provider
def test_a_task_id_that_cannot_be_stored_leaves_the_submit_unknown_and_says_why(name: str) -> None:
    for task_id, fault in (("x" * 513, "more than 512"), ("a\x00b", "control characters")):
        outcome = read_submit(ADAPTERS[name], CALLS[name], answer(submitted(name, task_id), 200, "POST"))
        assert isinstance(outcome, Failed)
        assert outcome.kind is AMBIGUOUS
        assert fault in outcome.message
        assert task_id not in outcome.message
    assert begun(name, submitted(name, "x" * 512)) == ["x" * 512]


def test_a_task_id_that_can_be_stored_is_kept_beside_one_that_cannot() -> None:
    body = {"code": 0, "data": {"task_ids": ["i2v-1", "x" * 600]}}
    assert begun("keevx", body) == ["i2v-1"]


# -- an adapter of a third party


def test_an_adapter_that_breaks_on_an_unknown_form_is_helped() -> None:
    def strict(reply: HttpReply) -> Any:
        task = msgspec.json.decode(reply.body)
        return Completed(()) if task["status"] == "ok-7" else {}[task["status"]]

    strict_adapter = replace(
        ADAPTERS["foxapi"],
        classify=lambda _: None,
        from_upstream=strict,
        task_refs=lambda _, reply: (TaskRef(id=msgspec.json.decode(reply.body)["id"]),),
    )
    reply = answer({"code": 200, "data": {"id": TASK, "status": "done", "url": FILE}})

    assert urls(read_poll(strict_adapter, reply, "https://api.example")) == [FILE]
    assert read_submit(strict_adapter, CALLS["foxapi"], structs.replace(reply, method="POST")) == (TaskRef(id=TASK),)
    with pytest.raises(KeyError):
        read_poll(strict_adapter, answer({"a": 1}), "https://api.example")
    with pytest.raises(KeyError):
        read_submit(strict_adapter, CALLS["foxapi"], answer({"a": 1}, 200, "POST"))


# -- anything at all


@every_name
@every_garbage
def test_garbage_is_neither_a_task_nor_a_reading(name: str, body: bytes) -> None:
    assert body in GARBAGE.values()
    adapter = ADAPTERS[name]
    outcome = read_submit(adapter, CALLS.get(name, CALLS["foxapi"]), answer(body, 200, "POST"))
    assert isinstance(outcome, Failed)
    assert outcome.kind is AMBIGUOUS
    with pytest.raises(UnreadableReply):
        read_poll(adapter, answer(body), adapter.base_url)


def read_both_ways(name: str, reply: HttpReply) -> None:
    adapter = ADAPTERS[name]
    outcome = read_submit(adapter, CALLS.get(name, CALLS["foxapi"]), structs.replace(reply, method="POST"))
    assert_sound(outcome)
    if not isinstance(outcome, Failed):
        assert all(task_id_fault(ref.id) is None for ref in outcome)
    with suppress(UnreadableReply):
        snapshot = read_poll(adapter, structs.replace(reply, method="GET"), adapter.base_url)
        assert_sound(snapshot.failure if isinstance(snapshot, PollRefused) else snapshot)


@every_name
@settings(max_examples=60, deadline=None)
@given(body=st.binary() | JSON.map(as_json), status=st.sampled_from(STATUSES), cut=st.booleans())
def test_any_reply_reads_or_is_unreadable(name: str, body: bytes, status: int, cut: bool) -> None:
    read_both_ways(name, HttpReply(status=status, body=body, cut=cut))


@every_name
@settings(max_examples=100, deadline=None)
@given(data=st.data(), new=JSON, envelope=st.sampled_from(["code", "status", "success", "data"]))
def test_a_recorded_reply_with_one_value_changed_and_in_an_envelope_reads_or_is_unreadable(
    name: str, data: st.DataObject, new: Any, envelope: str
) -> None:
    status, body = data.draw(st.sampled_from(JSON_BODIES[name]))
    steps = data.draw(st.sampled_from(list(leaves(body))))
    changed = replaced(body, steps, new)
    for spelled in (changed, {envelope: 200, "result": changed}):
        read_both_ways(name, HttpReply(status=status, body=as_json(spelled)))


@every_name
def test_a_large_reply_in_an_unknown_form_is_read_in_bounded_time(name: str) -> None:
    """The adapter is asked again only about a bounded part of it."""
    wide = {"id": TASK, "status": "odd", "list": [{"a": "x" * 100}] * 20_000, "text": "x" * 1_000_000}
    deep: Any = {"id": TASK, "status": "odd"}
    for _ in range(400):
        deep = {"data": deep, "url": "x"}
    for body in (wide, deep):
        read_both_ways(name, answer(body))


@pytest.mark.parametrize("text", ["[](" + "a" * 15_000, "a" * 15_000])
def test_a_text_that_is_nearly_a_link_is_read_in_bounded_time(text: str) -> None:
    """A reply may have hundreds of such texts, and the event loop waits while they are read."""
    began = time.process_time()
    for _ in range(100):
        file_urls(text)
    assert time.process_time() - began < 0.4
