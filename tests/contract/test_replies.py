"""The readers that all adapters share: error bodies, ids, files, tables of words, and messages for clients."""

from typing import Any

import pytest

from gateway.domain.adapter.decoding import http_url, json_object, nested
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.messages import clean
from gateway.domain.adapter.replies import (
    ErrorBody,
    artifact,
    by_code,
    error_body,
    id_of,
    match_phrase,
    names_task,
    pending,
    phrases,
    unique_by_url,
    without_result,
)
from gateway.domain.adapter.task import Artifact, Pending, Status

from ..cases import every


@every(
    ("body", "said"),
    [
        ({"error": {"code": "c", "type": "t", "message": "m"}}, ("c", "t", "m")),
        ({"error": {"code": 1101, "message": "m"}, "code": 0, "message": "outer"}, ("1101", "", "m")),
        ({"error": "m", "code": "c"}, ("c", "", "m")),
        ({"code": "c", "message": "m", "data": None}, ("c", "", "m")),
        ({"code": 7, "msg": "m"}, ("7", "", "m")),
        ({"code": 7, "message": {"global": "m"}}, ("7", "", "m")),
        ({"error": {"code": "c"}}, ("c", "", "")),
        ({"error": None, "message": None}, ("", "", "")),
        ({"error": {"message": ["m"]}, "code": ["c"]}, ("", "", "")),
        ("m", ("", "", "m")),
        (None, ("", "", "")),
        ([{"message": "m"}], ("", "", "")),
    ],
)
def test_an_error_body_is_read_in_every_form(body: Any, said: tuple[str, str, str]) -> None:
    assert error_body(body) == ErrorBody(*said)


def test_a_message_in_an_error_body_is_limited() -> None:
    assert len(error_body({"message": "x" * 10**6}).message) == len(error_body("x" * 10**6).message) == 10_000


@every(
    ("value", "task_id"),
    [(" i2v-1 ", "i2v-1"), (842250903708762200, "842250903708762200"), ("a/../b", "a/../b"), ("a b", "a b")]
    + [(odd, "") for odd in ("", " ", ".", "..", "...", None, True, 1.5, [], {})],
)
def test_id_is_text_or_empty(value: Any, task_id: str) -> None:
    assert id_of(value) == task_id


@pytest.mark.parametrize(
    ("value", "fields"),
    [({"a": 1}, {"a": 1}), (' {"a": 1}', {"a": 1}), ("{", None), ("[]", None), ([], None), (None, None)],
)
def test_an_object_may_be_written_in_a_string(value: object, fields: object) -> None:
    assert json_object(value) == fields


def test_objects_in_one_another_are_read_outermost_first_and_to_a_bound() -> None:
    endless: dict[str, object] = {}
    endless["data"] = endless

    assert nested({"data": '{"data": {"id": 1}}'}, lambda layer: layer.get("data")) == [
        {"data": '{"data": {"id": 1}}'},
        {"data": {"id": 1}},
        {"id": 1},
    ]
    assert nested("no object", lambda layer: layer) == []
    assert len(nested(endless, lambda layer: layer["data"])) == 12


@pytest.mark.parametrize(
    ("objects", "named"),
    [
        (({"id": "t-1"},), True),
        (({"task_id": 7, "id": None},), True),
        (({"error": "x"}, {"task_id": "t-1"}), True),
        (({"id": "", "task_id": ".."}, None, "t-1", [{"id": "t-1"}]), False),
        ((), False),
    ],
)
def test_a_task_is_named_by_its_id(objects: tuple[object, ...], named: bool) -> None:
    assert names_task(*objects) is named


def test_status_words_ignore_case_and_an_unknown_word_is_marked() -> None:
    words = {"pending": Status.QUEUED}

    assert pending("PENDING ", words, 0.5) == Pending(status=Status.QUEUED, raw_status="PENDING ", progress=0.5)
    assert pending("x" * 200, words) == Pending(status=Status.IN_PROGRESS, raw_status="x" * 100, unknown_status=True)
    assert without_result("done") == Pending(status=Status.IN_PROGRESS, raw_status="done", result_missing=True)


def test_details_of_a_file_come_from_the_first_object_that_has_them() -> None:
    file = artifact(
        " https://a.example/v.mp4 ",
        {"duration": "", "width": 1280, "thumbnail_url": "no", "content_type": "video/mp4"},
        {"duration": "5.1", "seconds": 9, "width": 1, "height": "720", "thumbnail_url": "https://a.example/t.jpg"},
    )

    assert file == Artifact(
        url="https://a.example/v.mp4",
        thumbnail_url="https://a.example/t.jpg",
        content_type="video/mp4",
        duration_seconds=5.1,
        width=1280,
        height=720,
    )
    assert artifact("v.mp4", {"duration": 5}) is None


def test_each_file_counts_once() -> None:
    first, twin, other = (Artifact(url=url, width=width) for url, width in [("u", 1), ("u", 2), ("v", 3)])

    assert unique_by_url([None, first, other, twin]) == (first, other)


def test_tables_are_read_by_code_and_by_phrase() -> None:
    assert by_code({FailureKind.UNAVAILABLE: "a b", FailureKind.RATE_LIMITED: "c"}) == {
        "a": FailureKind.UNAVAILABLE,
        "b": FailureKind.UNAVAILABLE,
        "c": FailureKind.RATE_LIMITED,
    }
    table = ((phrases("quota", "余额"), FailureKind.OUT_OF_CREDIT), (phrases("quo"), FailureKind.UNAVAILABLE))
    assert match_phrase(table, "QUOTA") is FailureKind.OUT_OF_CREDIT
    assert match_phrase(table, "Quo vadis") is FailureKind.UNAVAILABLE
    assert match_phrase(table, "vadis") is None


def test_half_a_surrogate_pair_does_not_survive_in_a_url() -> None:
    assert http_url("https://files.example/\ud83d.mp4") == "https://files.example/?.mp4"
    assert http_url("https://files.example/视频.mp4") == "https://files.example/视频.mp4"


@pytest.mark.parametrize(
    ("message", "hidden"),
    [
        ("see www.inner.example/x", "inner"),
        ("地址www.inner.example/x", "inner"),
        ("see ://inner/x", "inner"),
        ("see ***://inner/x", "inner"),
        ("Failed to get channel info, channel ID: 12", "12"),
        ("broken at channel #12 under group vip", "vip"),
        ("group=vip, user: 77", "77"),
        ("当前分组 vip 下没有", "vip"),
        ("渠道：十二号", "十二号"),
        ("quota: many", "many"),
    ],
)
def test_a_message_is_cleaned_of_addresses_and_accounts(message: str, hidden: str) -> None:
    assert hidden in message
    assert hidden not in clean(message)


@pytest.mark.parametrize(
    "message",
    [
        "the image has an unsupported format: image/tiff",
        "prompt is over 2500 characters",
        "duration must be 5 or 10",
        "a group of people cannot be shown",
        "The user asked for a channel",
    ],
)
def test_a_message_about_the_input_stays_as_it_is(message: str) -> None:
    assert clean(message) == message
