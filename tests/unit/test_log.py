"""Logs are lines of JSON without keys, prompts and images, whichever library writes them."""

import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import log_context
from gateway.domain.adapter.contract import Credential, HttpCall
from gateway.domain.adapter.request import Settings as Asked
from gateway.domain.adapter.request import TextInput, UpstreamRequest
from gateway.domain.redaction import Redactor
from gateway.log import FIELD_MAX, READ_MAX, clean, configure, in_background, redact
from gateway.settings.load import Secret

from ..cases import every
from ..log_state import logs_as_before
from .cost import ratio

KEY = "sk-live_0123456789abcdef"


def fail(message: str) -> NoReturn:
    raise ValueError(message)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Restores the logging configuration of the process."""
    with logs_as_before():
        logging.getLogger().handlers = []
        yield


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]):
    """The lines written so far, decoded."""
    configure("json", "info")

    def read() -> list[dict[str, Any]]:
        captured = capsys.readouterr()
        assert captured.out == ""
        return [json.loads(line) for line in captured.err.splitlines()]

    return read


def shown(**fields: object) -> dict[str, Any]:
    return dict(redact(None, "info", {"event": "e", **fields}))


def test_an_event_is_one_line_of_json_on_standard_error(lines) -> None:
    log_context.begin(request_id="req_1")
    structlog.get_logger().info("attempt_finished", provider="foxapi", duration_seconds=1.5)

    (line,) = lines()
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info",
        "event": "attempt_finished",
        "provider": "foxapi",
        "duration_seconds": 1.5,
        "request_id": "req_1",
    }


def test_the_level_holds_for_every_logger(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "warning")
    structlog.get_logger().info("quiet")
    logging.getLogger("uvicorn.error").info("quiet")
    structlog.get_logger().warning("loud")
    logging.getLogger("uvicorn.error").warning("loud")

    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["loud", "loud"]


@pytest.mark.parametrize("name", ["uvicorn.error", "uvicorn.access", "litestar", "asyncio", "third.party"])
def test_the_standard_librarys_loggers_take_the_same_way(lines, name: str) -> None:
    own = logging.StreamHandler()
    logging.getLogger("uvicorn").addHandler(own)
    configure("json", "info")
    log_context.begin(request_id="req_1")
    logging.getLogger(name).info('GET "%s" %d', f"/v1/x?token={KEY}", 200, extra={"api_key": KEY, "port": 80})

    (line,) = lines()
    assert line["event"] == 'GET "/v1/x?token=***" 200'
    assert (line["logger"], line["api_key"], line["port"], line["request_id"]) == (name, "***", 80, "req_1")


def test_a_record_that_cannot_be_formatted_does_not_show_its_arguments(lines, monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [each for each in root.handlers if type(each).__module__ == "gateway.log"])
    logging.getLogger("third.party").info("%d", KEY)

    (line,) = lines()
    assert line == {"level": "error", "event": "log_failed", "logger": "third.party"}


def test_chatty_clients_are_quiet(lines) -> None:
    logging.getLogger("httpx").info("HTTP Request: GET https://api.example")
    assert lines() == []


def test_warnings_are_lines_too(lines) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn(f"odd {KEY}", UserWarning, stacklevel=1)
        logging.captureWarnings(capture=False)

    (line,) = lines()
    assert (line["logger"], line["level"]) == ("py.warnings", "warning")
    assert "odd ***" in line["event"]


@pytest.mark.parametrize("raised", [f"refused {KEY}", f"Authorization: Bearer {KEY}", f"{{'api_key': '{KEY}'}}"])
def test_a_traceback_has_no_key(lines, raised: str) -> None:
    try:
        try:
            fail(raised)
        except ValueError as error:
            raise RuntimeError(f"while using {KEY}") from error
    except RuntimeError:
        structlog.get_logger().exception("attempt_failed")
        logging.getLogger("third.party").exception("attempt_failed")

    for line in lines():
        assert "RuntimeError: while using ***" in line["exception"]
        assert "ValueError" in line["exception"]
        assert KEY not in json.dumps(line)


def test_a_long_traceback_keeps_its_end(lines) -> None:
    try:
        fail("x " * FIELD_MAX + "the end")
    except ValueError:
        structlog.get_logger().exception("attempt_failed")

    (line,) = lines()
    assert len(line["exception"]) <= FIELD_MAX
    assert line["exception"].endswith("the end")


@every(
    "name",
    [
        "authorization",
        "Authorization",
        "api_key",
        "apiKey",
        "x-api-key",
        "token",
        "access_token",
        "webhook_secret",
        "password",
        "Set-Cookie",
        "credentials",
        "webhook-signature",
    ],
)
@every("value", ["plain words", b"bytes", ["a"], {"a": 1}, 12345])
def test_a_value_under_the_name_of_a_secret_is_hidden(name: str, value: object) -> None:
    expected = "***"
    assert shown(**{name: value})[name] == expected
    assert shown(headers={name: value})["headers"][name] == expected
    assert shown(headers=[(name, value)])["headers"] == [[name, expected]]
    assert shown(calls=[{"deep": ({name: value},)}])["calls"] == [{"deep": [{name: expected}]}]


def test_a_missing_value_may_be_logged() -> None:
    assert shown(api_key=None)["api_key"] is None


@every(
    ("text", "expected"),
    [
        (f"key {KEY}.", "key ***"),
        ("vg_0123456789abcdef is known", "*** is known"),
        ("whsec_MDEyMzQ1Njc4OWFiY2Rl", "***"),
        ("Authorization: Bearer abc.def-ghi, then", "Authorization: Bearer ***, then"),
        ("authorization: Basic dXNlcjpwYXNz", "authorization: Basic ***"),
        ("bearer%20abc", "bearer ***"),
        ("GET /content?index=0&token=abc.def&x=1", "GET /content?index=0&token=***&x=1"),
        ('{"api_key": "abc", "n": 1}', '{"api_key": "***", "n": 1}'),
        ("[(b'x-api-key', b'abc')]", "[(b'x-api-key', b'***')]"),
        ("password=abc", "password=***"),
        ("postgresql://user:word@db.example/x", "postgresql://***@db.example/x"),
        ("see https://cdn.example/a.mp4?auth_key=17-0-0-ab, then", "see https://cdn.example/a.mp4?*** then"),
        (
            "'HTTPS://cdn.example/a?sig=x%2F' and http://b.example/?x",
            "'HTTPS://cdn.example/a?***' and http://b.example/?***",
        ),
        ("https://cdn.example/a.mp4", "https://cdn.example/a.mp4"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJhIn0.c2ln", "***"),
        ("data:image/png;base64,iVBORw0KGgo= after", "data:… after"),
        ("A" * 300, "…"),
        ("\x1b[31mred\x00", "�[31mred�"),
        ("broken \ud800", "broken ?"),
        (
            "task-unified-1757165031-uyujaw3d invalid token, try again",
            "task-unified-1757165031-uyujaw3d invalid token, try again",
        ),
        ("i2v-0123456789abcdef0123456789abcdef", "i2v-0123456789abcdef0123456789abcdef"),
        ("密钥 无效 🎬", "密钥 无效 🎬"),
    ],
)
def test_what_looks_like_a_key_is_hidden_within_a_text(text: str, expected: str) -> None:
    assert clean(text) == expected


@pytest.mark.parametrize(
    "name", ["prompt", "negative_prompt", "image", "image_url", "reference_images", "body", "last_image", "b64_json"]
)
def test_what_a_client_sent_is_left_out(name: str) -> None:
    assert name not in shown(**{name: "a kite"})
    assert shown(request={name: "a kite", "model": "V"})["request"] == {"model": "V"}
    assert shown(**{f"{name}_bytes": 12})[f"{name}_bytes"] == 12


def test_domain_values_are_shown_without_what_is_private() -> None:
    request = UpstreamRequest(
        attempt_id="att_1",
        model="V",
        capability_name="V",
        prompt="a kite",
        input=TextInput(),
        settings=Asked(duration_seconds=5),
    )
    call = HttpCall(method="POST", path="/v1", headers={"Authorization": f"Bearer {KEY}"}, json={"prompt": "a kite"})
    line = shown(request=request, call=call, credential=Credential(api_key="plain"), account={"a": Secret.of("plain")})

    assert line["request"]["attempt_id"] == "att_1"
    assert line["call"]["headers"] == {"Authorization": "***"}
    text = json.dumps(line)
    assert KEY not in text
    assert "kite" not in text
    assert "plain" not in text


def test_fields_and_collections_are_bounded() -> None:
    line = shown(text="word " * 10_000, many=list(range(5000)), table={str(n): n for n in range(5000)})

    assert len(line["text"]) == FIELD_MAX
    assert len(line["many"]) == 100
    assert len(line["table"]) == 101
    around: list[object] = []
    around.append(around)
    assert "…" in json.dumps(shown(around=around), ensure_ascii=False)


def test_a_key_on_the_edge_of_what_is_read_does_not_show_in_part() -> None:
    long = "A" * (READ_MAX - 12)
    assert "sk-" not in clean(f"{long} {KEY}")
    assert "89abcdef" not in clean(f"{KEY} {long}"[:-4], from_end=True)


@every(
    "part",
    [
        "a",
        "a_",
        "token ",
        "token=",
        "://",
        "bearer ",
        "data:;",
        "eyJaaaaaa.",
        "-eyJ",
        "sk-",
        "'\"",
        "\x00",
        "=",
        " ",
        "https://",
        "?a",
    ],
)
def test_hostile_texts_are_cleaned_in_linear_time(part: str) -> None:
    short, long = (part * (size // len(part)) for size in (READ_MAX // 4, READ_MAX))
    assert ratio(lambda: clean(long), lambda: clean(short), rounds=3) < 8  # linear: 4; quadratic: 16


def test_odd_values_never_break_a_line(lines) -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    structlog.get_logger().info(
        "odd", broken=Broken(), huge=10**400, nan=float("nan"), names={1, 2}, kind=str, raw=b"\xff"
    )

    (line,) = lines()
    assert (line["broken"], line["huge"], line["nan"]) == ("<Broken>", "an integer beyond 64 bits", None)


class Closed:
    """A standard error that is closed."""

    def write(self, text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError

    def isatty(self) -> bool:
        return False


def test_a_closed_standard_error_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", Closed())
    configure("json", "info")
    structlog.get_logger().info("lost")
    logging.getLogger("third.party").info("lost")


def test_an_exception_that_python_would_print_is_a_line_of_the_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Broken:
        def __del__(self) -> None:
            raise ValueError(f"broken with {KEY}")

    with (tmp_path / "log").open("w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        configure("json")
        with in_background():
            Broken()
            thread = threading.Thread(target=fail, args=("a thread has ended",))
            thread.start()
            thread.join()
    first, second = map(json.loads, (tmp_path / "log").read_text().splitlines())
    assert (first["event"], second["event"]) == ("exception_ignored", "exception_ignored")
    assert "ValueError: broken with" in first["exception"]
    assert KEY not in first["exception"]
    assert "a thread has ended" in second["exception"]


def test_the_console_shows_the_same_without_keys(capsys: pytest.CaptureFixture[str]) -> None:
    configure("console", "debug")
    try:
        fail(f"refused {KEY}")
    except ValueError:
        structlog.get_logger().exception("attempt_failed", api_key=KEY, prompt="a kite", provider="foxapi")
    text = capsys.readouterr().err

    assert "attempt_failed" in text
    assert "provider=foxapi" in text
    assert "ValueError: refused ***" in text
    assert KEY not in text
    assert "kite" not in text


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.just(KEY),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.binary(), inner),
    max_leaves=20,
)


@settings(max_examples=120)
@given(value=ANYTHING, around=st.text(max_size=5))
def test_anything_becomes_json_without_the_key(value: object, around: str) -> None:
    line = shown(value=value, text=f"{around} {KEY} {around}")
    assert KEY not in msgspec.json.encode(line).decode()


def test_the_secrets_of_the_configuration_are_hidden_by_their_value(lines) -> None:
    key = "Zx.Q~77!pass/word+Key_2026=tail"
    structlog.get_logger().info("e", id="plain_name_of_a_key")  # what is remembered of it must not outlive a reload
    assert lines()[0]["id"] == "plain_name_of_a_key"
    configure("json", "info", Redactor([key, "plain_name_of_a_key"]))
    structlog.get_logger().info(
        "e", id="plain_name_of_a_key", quoted=f"it said {key[:12]} here", form=key.encode().hex(), **{key: 1}
    )
    [line] = lines()
    assert (line["id"], line["quoted"], line["form"]) == ("***", "it said *** here", "***")
    assert key not in str(line)
