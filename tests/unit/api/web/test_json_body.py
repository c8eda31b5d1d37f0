"""Bodies become JSON values exactly as they were sent, or are refused with an error that names the place."""

import base64
import json
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar import Request

from gateway.api.web.json_body import parse_json, read_body
from gateway.clock import SystemClock
from gateway.domain.errors import (
    BadRequest,
    BodyTooLarge,
    GatewayError,
    InvalidJson,
    InvalidParameter,
    UnsupportedMediaType,
)

from ....cases import every
from ...cost import ratio

JSON = "application/json"


def parse(raw: bytes | str) -> dict[str, object]:
    return parse_json(raw if isinstance(raw, bytes) else raw.encode(), JSON, None)


def refused(raw: bytes | str, kind: type[GatewayError] = InvalidJson) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        parse(raw)
    assert type(caught.value) is kind
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize(
    "content_type",
    [
        JSON,
        "application/json; charset=utf-8",
        "Application/JSON;charset=UTF-8",
        'application/json; charset="utf-8"',
        "application/json ; charset = utf8",
        "application/json; profile=x",
        "application/vnd.api+json",
        "application/json;",
    ],
)
def test_json_is_taken(content_type: str) -> None:
    assert parse_json(b"{}", content_type, None) == {}


@every(
    "content_type",
    [
        None,
        "",
        "  ",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/json",
        "application/json; charset=latin-1",
        "application/json; charset=utf-16",
        "application/jsonx",
        "application/+json",
        "application/json, text/plain",
        "x application/json",
        "image/svg+json",
    ],
)
def test_any_other_type_is_415_and_says_what_to_send(content_type: str | None) -> None:
    with pytest.raises(UnsupportedMediaType, match="send application/json") as caught:
        parse_json(b"{}", content_type, None)
    assert caught.value.status == 415


def test_a_compressed_body_is_415() -> None:
    assert parse_json(b"{}", JSON, "Identity") == {}
    for encoding in ("gzip", "br", "deflate", "identity, gzip"):
        with pytest.raises(UnsupportedMediaType):
            parse_json(b"{}", JSON, encoding)


@every(
    ("raw", "says"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ('{"a": 1', r"ends too early .* line 1, column 8"),
        ('{"a": "x', r"ends too early"),
        ('{"a"', r"ends too early"),
        ('{"a": 1,\n "b" 2}', r"line 2, column 6"),
        ('{"a": 1} x', r"extra data at line 1, column 10"),
        ("{'a': 1}", r"line 1, column 2"),
        ('{"a": 1,}', r"line 1, column"),
        ('{"a": 01}', r"line 1, column"),
        ('{"a": "x\ny"}', r"line 1, column"),
        ('{"a": "\x00"}', r"line 1, column"),
        ('{"a": tru}', r"line 1, column 7"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'{"a": "\xff"}', "byte 0xff at position 7"),
        (b'{"a": "\xed\xa0\x80"}', "position 7"),
        ("{}".encode("utf-16"), "not UTF-8"),
    ],
)
def test_malformed_json_says_where(raw: bytes | str, says: str) -> None:
    error = refused(raw)
    assert error.code == "invalid_json"
    with pytest.raises(InvalidJson, match=says):
        raise error


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        ("[]", "an array"),
        ("null", "null"),
        ('"x"', "a string"),
        ("1", "a number"),
        ("1.5", "a number"),
        ("true", "a boo"),
    ],
)
def test_the_top_is_an_object(raw: str, what: str) -> None:
    assert f"must be a JSON object, not {what}" in refused(raw).detail


def nested(levels: int, opening: str = "[", closing: str = "]") -> str:
    return '{"a":' + opening * (levels - 1) + closing * (levels - 1) + "}"


def test_nesting_has_a_limit() -> None:
    assert parse(nested(64))
    assert parse('{"a":' * 63 + "{}" + "}" * 63)
    for raw in (nested(65), nested(300), nested(4_000), '{"a":' * 64 + "{}" + "}" * 64, '{"a":' + "[" * 4_000):
        assert "deeper than 64" in refused(raw).detail
    assert refused(nested(65)).param == "a"
    refused("[" * 100_000)
    refused("[" * 3_000_000)


def test_brackets_in_a_string_do_not_count_as_nesting() -> None:
    assert parse(json.dumps({"prompt": "[" * 70_000})) == {"prompt": "[" * 70_000}


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        ('{"model": "a", "model": "b"}', {"model": "b"}),
        ('{"a": {"b": 1, "b": 2}}', {"a": {"b": 2}}),
        ('{"a": [0, {"b" \t: 1, "b":2}]}', {"a": [0, {"b": 2}]}),
        ('{"a": 1, "\\u0061": 2}', {"a": 2}),
        ('{"a": {"x":1}, "b": 2, "a": 3}', {"a": 3, "b": 2}),
        ('{"": 1, "": 2}', {"": 2}),
        ('{"a": "\\u0000", "a": "x"}', {"a": "x"}),
    ],
)
def test_of_two_equal_keys_the_last_one_counts(raw: str, body: Any) -> None:
    assert parse(raw) == body == json.loads(raw)


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (r'{"prompt": "a\u0000b"}', "prompt"),
        (r'{"metadata": {"order": "\ud800"}}', "metadata.order"),
        (r'{"metadata": {"order": "\udc00"}}', "metadata.order"),
        (r'{"a": ["x", "\ud800\ud800"]}', "a[1]"),
        (r'{"a": "\ud83dA"}', "a"),
        (r'{"a": {"x\u0000": 1}}', "a.x\\x00"),
        (r'{"a": {"\udfff": 1}}', "a.\\udfff"),
    ],
)
def test_nul_and_half_pairs_are_refused_with_their_place(raw: str, path: str) -> None:
    error = refused(raw, InvalidParameter)
    assert error.param == path
    assert f"`{path}`" in error.detail


def test_whole_pairs_and_other_escapes_pass() -> None:
    raw = r'{"a": "\ud83d\ude00 \u4e2d \n \\u0000 \u0001"}'
    assert parse(raw) == {"a": "😀 中 \n \\u0000 \x01"}


@pytest.mark.parametrize(
    ("number", "says"),
    [
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("-Infinity", "-Infinity"),
        ("1e999", "too large"),
        ("-1e999", "too large"),
        (str(2**64), "64 bits"),
        (str(-(2**63) - 1), "64 bits"),
        ("9" * 5000, "64 bits"),
        ("1" + "0" * 400 + ".5", "too"),
    ],
)
def test_numbers_that_cannot_be_kept_are_refused(number: str, says: str) -> None:
    error = refused(f'{{"a": {{"seed": {number}}}}}', InvalidParameter)
    assert error.param == "a.seed"
    assert says in error.detail


def test_numbers_that_can_be_kept_pass() -> None:
    assert parse(f'{{"a": [{2**64 - 1}, {-(2**63)}, 1e3, -0.0, 5.0, 1e-999]}}') == {
        "a": [2**64 - 1, -(2**63), 1000.0, 0.0, 5.0, 0.0]
    }


@pytest.mark.parametrize(
    "body",
    [
        '{"a": [' + "0," * 1_000_000 + "0]}",
        '{"a": [' + "0," * 1_000_000,
        '{"b": 1e999, "a": [' + "[]," * 1_000_000 + "0]}",
    ],
    ids=["too many", "broken off", "out of range"],
)
def test_very_many_values_are_refused_for_less_than_reading_them(body: str) -> None:
    def read() -> None:
        with suppress(ValueError):
            json.loads(body)

    assert ratio(lambda: refused(body), read, rounds=2) < 2  # measured: a quarter


def test_a_long_name_is_shortened_in_the_path() -> None:
    error = refused('{"' + "k" * 100_000 + '": NaN}', InvalidParameter)
    assert error.param == "k" * 64


def test_a_body_takes_little_more_than_reading_it_as_json() -> None:
    small = json.dumps(
        {"model": "kling-v3", "prompt": "A cat: 中文", "image": "https://example.com/cat.png", "duration": 5}
        | {"resolution": "720p", "aspect_ratio": "16:9", "generate_audio": True, "metadata": {"order": "1", "b": "2"}}
    ).encode()
    assert ratio(lambda: parse(small), lambda: json.loads(small), times=1000) < 20  # 2, 6 while coverage is measured
    large = b'{"model": "x", "image": "data:image/png;base64,' + base64.b64encode(os.urandom(20 << 20)) + b'"}'
    assert (
        ratio(lambda: parse(large), lambda: json.loads(large), rounds=2) < 3
    )  # walking through the text would take ten times as long


TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(TEXT, VALUES, max_size=6), st.booleans(), st.sampled_from([None, 1]))
def test_every_sound_object_comes_through_unchanged(body: dict[str, Any], ascii_only: bool, indent: int | None) -> None:
    assert parse(json.dumps(body, ensure_ascii=ascii_only, indent=indent)) == body


@given(st.binary(max_size=200) | st.text(alphabet='{}[]":,\\u0dD8 1e9-NaIt\ufeff\n', max_size=60).map(str.encode))
def test_any_bytes_are_an_object_or_refused(raw: bytes) -> None:
    result = outcome(raw)
    if isinstance(result, GatewayError):
        assert 400 <= result.status < 500
        json.dumps([result.detail, result.param]).encode()
        assert not re.search("[\ud800-\udfff]", result.detail + (result.param or ""))
    else:
        assert json.loads(raw) == result


@given(VALUES, st.integers(0, 200), st.integers(0, 255))
def test_a_damaged_body_is_an_object_or_refused(value: Any, position: int, byte: int) -> None:
    raw = bytearray(json.dumps({"a": value}).encode())
    raw[position % len(raw)] = byte
    result = outcome(bytes(raw))
    assert isinstance(result, dict) or result.status == 400


def outcome(raw: bytes) -> dict[str, object] | GatewayError:
    try:
        return parse(raw)
    except GatewayError as error:
        return error


def request_of(
    messages: Sequence[dict[str, Any]], length: str | None = None
) -> tuple[Request[Any, Any, Any], list[Any]]:
    left = list(messages)

    async def receive() -> Any:
        return left.pop(0)

    headers = [] if length is None else [(b"content-length", length.encode())]
    app = SimpleNamespace(state=SimpleNamespace(context=SimpleNamespace(clock=SystemClock())))
    scope: Any = {"type": "http", "headers": headers, "litestar_app": app}  # `read_body` reads no more of it
    return Request(scope, receive=receive), left


def part(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_a_body_is_read_whole() -> None:
    request, _ = request_of(
        [part(b"ab", more=True), {"type": "http.request", "more_body": True}, part(b"c", more=False)]
    )
    assert await read_body(request, 3) == b"abc"
    request, _ = request_of([{"type": "http.request"}])
    assert await read_body(request, 3) == b""


async def test_an_announced_length_over_the_limit_is_refused_unread() -> None:
    for length in ("4", "9" * 30, "9" * 5000):
        request, left = request_of([part(b"abcd", more=False)], length)
        with pytest.raises(BodyTooLarge):
            await read_body(request, 3)
        assert len(left) == 1
    request, _ = request_of([part(b"abc", more=False)], "3")
    assert await read_body(request, 3) == b"abc"


async def test_a_stream_over_the_limit_is_cut_off_and_the_limit_named() -> None:
    endless = [part(b"x" * 2**20, more=True) for _ in range(100)]
    request, left = request_of(endless)
    with pytest.raises(BodyTooLarge, match="limit of 2,097,152 bytes"):
        await read_body(request, 2 * 2**20)
    assert len(left) == 97


@pytest.mark.parametrize("length", ["-1", "abc", "1.5", "", "²"])
async def test_a_length_that_is_not_a_number_is_refused(length: str) -> None:
    request, _ = request_of([part(b"", more=False)], length)
    with pytest.raises(BadRequest):
        await read_body(request, 3)


async def test_a_client_that_goes_away_is_its_own_fault() -> None:
    request, _ = request_of([part(b"a", more=True), {"type": "http.disconnect"}])
    with pytest.raises(BadRequest) as caught:
        await read_body(request, 3)
    assert caught.value.status == 400
