"""JSON values of any type are read without errors, and messages never show a secret of the operator."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.adapter.contract import HttpReply
from gateway.domain.adapter.decoding import (
    first_text,
    http_url,
    items,
    json_or_none,
    mapping,
    number,
    progress,
    read_json,
    text,
    whole,
)
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.messages import PRIVATE, clean, failed
from gateway.domain.adapter.task import Failed
from gateway.domain.errors import UnreadableReply

from ....cases import every
from ...cost import ratio

SECRETS = [
    "https://api.acme.example/v1/x?token=abc",
    "http://user:pass@relay:8080/",
    "wss://stream.acme.example",
    "s3://bucket/key",
    "redis://10.0.0.3:6379/0",
    "10.1.2.3",
    "10.1.2.3:8080",
    "192.168.0.254",
    "2001:db8::1",
    "[2001:db8::1]:443",
    "fe80::1%eth0",
    "::1",
    "2001:db8:0:0:0:0:2:1",
    "api.acme-video.com",
    "api.acme.com/v1/tasks",
    "new-api.prod.svc.cluster.local:3000",
    "db.internal",
    "relay_1.corp",
    "redis-0.redis:6379",
    "relay-worker:30080",
    "localhost",
    "localhost:3000",
    "sk-abcDEF123456",
    "sk-ab***yz",
    "pk_live_51Habc",
    "vg_0123456789abcdef",
    "Bearer abc.def.ghi",
    "bearer 1234",
    "Authorization: Basic dXNlcjpwYXNz",
    "api_key=hunter2",
    "apikey: hunter2",
    '"secret":"hunter2"',
    "password = hunter2",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sig",
    "LTAI5tAbCdEf0123456789",
    "AKIAIOSFODNN7EXAMPLE",
    "9f86d081884c7d659a2feaa0c55ad015",
    "0f8fad5b-d9cb-469f-a165-70867728950e",
    "(request id: 20260101abcdef)",
    "request_id=20260101x",
    "trace-id: 77aa",
    "$12.50",
    "＄0.123456",
    "¥ 1,200",
    "USD 12.5",
    "12.50 USD",
    "3.5美元",
    "balance: 12.5",
    "balance is 3",
    "余额 12.3",
    "剩余额度：500",
    "remaining credits 77",
]
AROUND = ["{}", "failed at {} now", "失败{}，请重试", "（{}）", "'{}'", "a\t{}\nb", "<{}>", "原因:{}。"]


def digits_and_names(secret: str) -> list[str]:
    """The parts of a secret that must not be shown: everything that is not an ordinary word."""
    ordinary = {"authorization", "basic", "bearer", "request", "trace", "balance", "credits", "password", "secret"}
    ordinary |= {"remaining", "apikey", "api", "key", "http", "https", "redis", "wss", "s3", "id", "is", "usd", "local"}
    word = "".join(char if char.isascii() and char.isalnum() else " " for char in secret).split()
    return [part for part in word if part.lower() not in ordinary and len(part) > 1] or [secret]


@every("around", AROUND)
@every("secret", SECRETS)
def test_secrets_of_the_operator_are_removed(secret: str, around: str) -> None:
    cleaned = clean(around.format(secret))
    assert secret not in cleaned
    assert [part for part in digits_and_names(secret) if part in cleaned] == []


@every(
    "message",
    [
        "The prompt must be at most 2500 characters.",
        "duration must be 5 or 10, got 7",
        "image.jpg is too small: 1280x720",
        "kling-v2-5-turbo-image-to-video does not take image_tail",
        "at 12:30:45 the aspect ratio 16:9 was refused",
        "提示词包含敏感内容",
        "error code:1201, e.g. V1.5",
        "Content policy violation (category: violence).",
        "std::string",
        "50% of the frames are black",
        "The image could not be read: JPEG, PNG, WebP only",
        "cfg_scale must be between 0.0 and 1.0",
    ],
)
def test_message_about_the_input_is_not_changed(message: str) -> None:
    assert clean(message) == message


def test_words_around_a_secret_stay() -> None:
    assert clean("请访问https://acme.example/a?b=c，谢谢") == "请访问…，谢谢"
    assert clean("connect to 10.0.0.1:80 failed") == "connect to … failed"


@every("secret", SECRETS)
def test_secret_at_the_edge_of_what_is_looked_at_is_not_cut_in_half(secret: str) -> None:
    for cut in range(1, len(secret)):
        filler = ("https://acme.example/" + "a" * 100 + " ") * 20
        message = filler[: 999 - cut] + " " + secret + " tail"
        cleaned = clean(message)
        assert [part for part in digits_and_names(secret) if part in cleaned] == []


@pytest.mark.parametrize("hidden", ["\u200b", "\x00", "\u2060", "\x1b"])
def test_invisible_characters_hide_nothing(hidden: str) -> None:
    assert clean(f"at 10.0.{hidden}0.1 and sk{hidden}-abcdef") == "at … and …"


def test_message_is_one_line_of_at_most_300_characters() -> None:
    assert clean(" a \r\n\t b\u3000c ") == "a b c"
    assert clean("图" * 999) == "图" * 299 + "…"
    assert clean("ab " * 100) == ("ab " * 100).strip()


HOSTILE = ["a", "a.", "a-", "-", "1.", "1,", "1", "a:", "f:", "::", "(", "( ", " ", "a=", "key", "key:", "balance "]
HOSTILE += [
    "eyJ",
    "/",
    "_",
    "request id",
    "dial ",
    "lookup ",
    "＄",
    "余额",
    "://",
    "x://",
    "A1+",
    "\u200b",
    "0-",
    "[f:",
]


@every("unit", HOSTILE)
@every("tail", ["", "!", " é"])
def test_hostile_text_is_cleaned_in_the_time_of_its_length_up_to_a_limit(unit: str, tail: str) -> None:
    shorter, short, long = (unit * (size // len(unit)) + tail for size in (249, 996, 1_000_000))
    # Measured: 4 to 9. With backtracking at each place it would be 16.
    assert ratio(lambda: clean(short), lambda: clean(shorter), times=5) < 13
    # Measured: 1, because the rest is not read.
    assert ratio(lambda: clean(long), lambda: clean(short)) < 4


@settings(max_examples=200)
@given(st.text(max_size=1500))
def test_any_text_is_cleaned_to_one_short_line(message: str) -> None:
    cleaned = clean(message)
    assert len(cleaned) <= 300
    assert cleaned == " ".join(cleaned.split())


@settings(max_examples=200)
@given(
    before=st.text(alphabet="ab图 .,:;()=/-", max_size=30),
    address=st.ip_addresses().map(str).filter(lambda address: address != "::"),
    after=st.text(alphabet="图 ,;()", max_size=10),
)
def test_no_address_survives_anywhere(before: str, address: str, after: str) -> None:
    cleaned = clean(f"{before} {address}{after}")
    assert address not in cleaned


# A failure as a value


@every("kind", FailureKind)
def test_failure_has_a_message_for_every_kind(kind: FailureKind) -> None:
    assert failed(kind).message
    assert failed(kind).kind is kind
    message = failed(kind, "the provider's own").message
    assert message == PRIVATE.get(kind, "the provider's own")


def test_messages_about_the_account_never_quote_the_provider() -> None:
    quoted = {FailureKind.INVALID_REQUEST, FailureKind.CONTENT_POLICY, FailureKind.TASK_FAILED}
    assert set(PRIVATE) == set(FailureKind) - quoted


@pytest.mark.parametrize(
    ("code", "expected_code"),
    [
        (1201, "1201"),
        ("E_SIZE", "E_SIZE"),
        ("", None),
        (None, None),
        (True, None),
        ({"a": 1}, None),
        ("sk-abcdef123", "…"),
        ("图" * 500, "图" * 100),
    ],
)
def test_code_of_a_failure_is_short_and_clean(code: object, expected_code: str | None) -> None:
    expected = Failed(kind=FailureKind.TASK_FAILED, message="no", upstream_code=expected_code, elsewhere=True)
    assert failed(FailureKind.TASK_FAILED, "no", code, elsewhere=True) == expected


@pytest.mark.parametrize("message", ["", " ", "\n\x00"])
def test_failure_without_a_reason_says_so(message: str) -> None:
    assert failed(FailureKind.TASK_FAILED, message).message == "The provider reported no reason."


# Values out of JSON


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b"null", None),
        (b"1" * 25, int("1" * 25)),
        (b'"\\ud83d"', "\ud83d"),
        (b"1e999", float("inf")),
    ],
)
def test_json_is_read(body: bytes, value: object) -> None:
    assert read_json(HttpReply(status=200, body=body)) == value


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", b"{", b"[" * 100_000, b"1" * 5000, b"{'a': 1}"])
def test_body_without_json_is_unreadable(body: bytes) -> None:
    reply = HttpReply(status=502, body=body)
    with pytest.raises(UnreadableReply, match="502"):
        read_json(reply)
    assert json_or_none(reply) is None


@settings(max_examples=200)
@given(st.binary(max_size=60) | st.text(max_size=30).map(lambda value: value.encode("utf-16", "surrogatepass")))
def test_any_body_is_a_value_or_unreadable(body: bytes) -> None:
    value = json_or_none(HttpReply(status=200, body=body))
    text(value)
    number(value)
    assert isinstance(mapping(value), dict)
    assert isinstance(items(value), list)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200)
@given(JSON)
def test_any_value_reads_as_something_usable(value: object) -> None:
    text(value).encode()
    count = whole(value)
    assert count is None or 0 < count < 1e9
    share = progress(value)
    assert share is None or 0 <= share <= 1
    assert http_url(value) is None or str(value).strip().lower().startswith(("http://", "https://"))
    json.dumps(failed(FailureKind.TASK_FAILED, text(value), value).message).encode()


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a", "a"), (5, "5"), (True, ""), (1.5, ""), (None, ""), ([], ""), ("a\ud83d", "a?"), ("图", "图")],
)
def test_text(value: object, expected: str) -> None:
    assert text(value) == expected


def test_first_text_skips_what_is_empty() -> None:
    assert first_text(None, " ", "", 0, "a") == "0"
    assert first_text(None, {}) == ""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, 5.0), ("5.1", 5.1), (" 30% ", 30.0), (True, None), ("nan", None), (float("inf"), None), ("x", None),
        (None, None), ([], None), (10**400, None), (0, 0.0),
    ],
)  # fmt: skip
def test_number(value: object, expected: float | None) -> None:
    assert number(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(720, 720), ("720", 720), (720.0, 720), (0, None), (-1, None), (0.5, None), (1.5, None), (1e12, None)],
)
def test_whole(value: object, expected: int | None) -> None:
    assert whole(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(30, 0.3), ("30%", 0.3), (0, 0.0), (100, 1.0), (101, None), (-1, None)]
)
def test_progress(value: object, expected: float | None) -> None:
    assert progress(value) == expected


@every(
    ("value", "expected"),
    [
        ("https://a.example/b", True),
        ("HTTP://a.example", True),
        ("ftp://a.example", False),
        ("https://", False),
        ("//a.example", False),
        ("https://a b", False),
        ("https://a.example/\n", True),
        ("https://a\n.example/", False),
        ("http://[::1", False),
        ("javascript:alert(1)", False),
        (None, False),
        (5, False),
    ],
)
def test_http_url(value: object, expected: bool) -> None:
    assert http_url(value) == (str(value).strip() if expected else None)
