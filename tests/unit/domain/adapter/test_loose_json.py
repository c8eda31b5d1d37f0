"""Bodies that are not quite JSON: which have one clear object, and which must not be read."""

import contextlib
import gzip
import json
import time
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.adapter.content_encoding import DecodedTooLarge, decoded
from gateway.domain.adapter.loose_json import json_value

from ....cases import every

TASK = {"code": 0, "data": {"task_id": "t-1", "status": "queued"}}
BODY = json.dumps(TASK).encode()
OPEN = BODY[:-1]
CLEAN = {
    "a comment behind": BODY + b"\n<!-- 12 ms -->",
    "an empty object behind": BODY + b"\n{}",
    "a second object behind": BODY + b'\n{"took": 12}',
    "the same twice": BODY + BODY,
    "NULs behind": BODY + b"\0\0",
    "a bracket too many": BODY + b"}",
    "a semicolon": BODY + b";",
    "a warning of PHP": b"<br />\n<b>Warning</b>: x in <b>a.php</b><br />\n" + BODY,
    "a notice with brackets": b"Deprecated: Function {closure}() is old\n" + BODY,
    "a byte order mark": b"\xef\xbb\xbf" + BODY,
    "UTF-16": json.dumps(TASK).encode("utf-16"),
    "UTF-16 without a mark": json.dumps(TASK).encode("utf-16-le"),
    "UTF-32": json.dumps(TASK).encode("utf-32"),
    "a server-sent event": b"event: message\ndata: " + BODY + b"\n\ndata: [DONE]\n\n",
    "a function call": b"callback(" + BODY + b");",
    "a guard against inclusion": b")]}',\n" + BODY,
    "a fence": b"```json\n" + BODY + b"\n```",
    "nothing but tags around": b"<html><body><pre>" + BODY + b"</pre></body></html>",
    "a colour of a terminal": b"\x1b[0m" + BODY,
    "a comma too many": OPEN + b",}",
    "a comment within": OPEN + b"/* cached */}",
    "a text in JSON": json.dumps(BODY.decode()).encode(),
}


@every("case", CLEAN)
def test_text_around_an_object_is_ignored(case: str) -> None:
    assert json_value(CLEAN[case]) == TASK


@pytest.mark.parametrize(
    ("note", "value"),
    [
        (b'"one\ntwo"', "one\ntwo"),
        (b'"a\tb\x01"', "a\tb\x01"),
        (b'"C:\\dir"', "C:\\dir"),
        ('"任务已提交"'.encode("gbk"), "任务已提交"),
        (b'"\xe4\xbb"', "\ufffd"),
        (b'"\\ud83c"', "\ud83c"),
        (b"NaN", None),
        (b"undefined", None),
        (b"None", None),
        (b"True", True),
        (b'"None, True"', "None, True"),
    ],
)
def test_odd_value_in_an_object_does_not_lose_the_other_fields(note: bytes, value: object) -> None:
    fields: Any = json_value(OPEN + b',"note":' + note + b"}")
    assert fields["data"] == TASK["data"]
    if note != b"NaN":
        assert fields["note"] == value


NOTHING = {
    "cut": OPEN,
    "cut, with a whole object in it": b'{"error": {"message": "no"}, "data": {"task_id": "t-',
    "within a list that is cut": b'[{"task_id": "t-1"}, {"task_id": "t-',
    "within a list that is not JSON": b"result: [" + BODY,
    "within an object that is not JSON": b"{'a': " + BODY,
    "two refusals": b'{"error": "a"}{"error": "b"}',
    "a refusal and a cut object": b'{"error": {"message": "no"}}{"task_id": "t-',
    "a script of a page": b'<html><script>var a = {"id": "t-1"};</script></html>',
    "single quotes": b"{'task_id': 't-1'}",
    "words": b"Internal Server Error",
    "too large": b"x" + BODY + b" " * 600_000 + b"x",
    "a number with too many digits": b"1" * 5000,
    "nothing": b"",
}


@every("case", NOTHING)
def test_unclear_body_is_not_read(case: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # the text is only for the log
        json_value(NOTHING[case])


def test_last_of_several_objects_with_a_task_id_is_read() -> None:
    assert json_value(b'{"log": "x"}{"id": "a"}{"id": "b"}{"took": 1}') == {"id": "b"}


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=50))
def test_any_bytes_are_a_value_or_a_value_error(before: bytes, behind: bytes) -> None:
    for body in (before, before + BODY + behind, BODY[: len(before)] + behind):
        with contextlib.suppress(ValueError):
            json.dumps(json_value(body))


HOSTILE = (b'{"', b'{"a":', b"{}x", b"[", b'\\"', b'"', b"<", b'<{"', b",", b", ", b"/*", b"{ ", b"\xff", b"\0")


@every("piece", HOSTILE)
def test_hostile_bodies_take_bounded_time(piece: bytes) -> None:
    """Each takes less than a tenth of a second; an algorithm of quadratic time would take minutes."""
    started = time.process_time()
    for head in (b"", b'x"', b'{"a":1', b"<html>"):
        body = head + piece * (500_000 // len(piece))
        with contextlib.suppress(ValueError):
            json_value(body)
    assert time.process_time() - started < 10


# -- encodings of whole replies


def test_part_before_the_damage_of_an_encoding_is_kept() -> None:
    packed = gzip.compress(BODY, mtime=0)
    for damaged in (packed[:-8], packed[:-4] + bytes(4), packed[:-8] + bytes(8)):
        result = decoded(damaged, "gzip", 10_000)
        assert result.body == BODY
        assert not result.whole
    assert decoded(zlib.compress(BODY)[:-4], "deflate", 10_000).body == BODY
    assert decoded(b"\x8b\x0a\x80\x00\xff", "br", 10_000).body == b""


@pytest.mark.parametrize("header", ["", "gzip", "deflate", "br", "utf-8", "none", "aws-chunked", "\xff", "gzip, br"])
def test_a_plain_reply_is_itself_under_any_header(header: str) -> None:
    for body in (BODY, b"Too Many Requests", b"", b"<html>"):
        result = decoded(body, header, 10_000)
        assert (result.body, result.whole) == (body, True)


def test_a_bomb_is_cut_also_when_it_is_damaged() -> None:
    bomb = gzip.compress(bytes(10**6), mtime=0)
    for body in (bomb, bomb[:-8] + bytes(8)):
        with pytest.raises(DecodedTooLarge):
            decoded(body, "gzip", 10_000)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["", "gzip", "deflate", "br", "zlib, gzip"]), st.integers(0, 300))
def test_any_body_under_any_header_is_bounded(body: bytes, header: str, cut: int) -> None:
    for variant in (body, gzip.compress(body, mtime=0)[:cut], zlib.compress(body)[:cut]):
        assert len(decoded(variant, header, 1000).body) <= 1000


def test_white_space_around_a_value_is_not_counted() -> None:
    padding = b" \n" * 200_000
    assert json_value(padding + b'{"id": "a"}' + padding) == {"id": "a"}
