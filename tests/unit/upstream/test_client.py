"""The client for providers: what reaches the server, what comes back, and what a failure proves."""

import email.policy
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.parser import BytesParser

import httpx
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.adapter.contract import Credential, FilePart, HttpCall, HttpReply, bearer
from gateway.domain.adapter.task_reading import is_broken
from gateway.upstream import client as module
from gateway.upstream.client import NoAnswer, NotSent, Upstream, retry_after_seconds

from ...cases import every
from ..raw_server import (
    BROKEN,
    SILENCE,
    SILENT,
    Connection,
    Handler,
    Serve,
    after_reading,
    reply,
    servers,
    unused_port,
)

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
SUBMIT = HttpCall(method="POST", path="/v1/tasks", json={"prompt": "a fox"})
TASK = b'{"id": "task-1", "status": "queued"}'


@pytest.fixture
def serve() -> Iterator[Serve]:
    with servers() as start:
        yield start


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[Upstream]:
    client = Upstream()
    yield client
    await client.close()


def received(request: bytes) -> tuple[str, Mapping[str, str], bytes]:
    """Request line, headers with names in lower case, and body. Fails if a header was sent twice."""
    head, _, body = request.partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    named = [line.split(": ", 1) for line in lines]
    headers = {name.lower(): value for name, value in named}
    assert len(headers) == len(named)
    return line, headers, body


# -- what a failure proves


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("address", ["http://127.0.0.1:{port}", "http://nope.invalid", "ftp://127.0.0.1"])
async def test_a_connection_that_never_opened_is_not_sent(upstream: Upstream, fresh: bool, address: str) -> None:
    with pytest.raises(NotSent):
        await upstream.send(SUBMIT, base_url=address.format(port=unused_port()), timeout_seconds=5, fresh=fresh)


async def test_a_tls_handshake_that_fails_is_not_sent(upstream: Upstream, serve: Serve) -> None:
    server = serve(Connection.reset)

    with pytest.raises(NotSent):
        await upstream.send(SUBMIT, base_url=f"https://127.0.0.1:{server.port}", timeout_seconds=5, fresh=True)


BEGUN = {
    "half of the body",
    "half of the body, then reset",
    "half of a chunk",
    "chunks without an end",
    "chunks of no size",
    "silence in the body",
}


@pytest.mark.parametrize("case", [*BROKEN, *SILENT])
async def test_a_connection_that_opened_and_brought_no_reply_is_a_missing_answer(
    upstream: Upstream, serve: Serve, case: str
) -> None:
    server = serve((BROKEN | SILENT)[case])
    seconds = SILENCE if case in SILENT else 5

    if case in BEGUN:  # the head arrived, so this is an answer, but one that broke off
        answer = await upstream.send(SUBMIT, base_url=server.url, timeout_seconds=seconds, fresh=True)
        assert answer.cut
        assert is_broken(answer)
    else:
        with pytest.raises(NoAnswer):
            await upstream.send(SUBMIT, base_url=server.url, timeout_seconds=seconds, fresh=True)

    assert server.accepted == 1


@pytest.mark.parametrize(
    ("error", "proves"),
    [
        (httpx.ConnectError, NotSent),
        (httpx.ConnectTimeout, NotSent),
        (httpx.PoolTimeout, NotSent),
        (httpx.ReadError, NoAnswer),
        (httpx.ReadTimeout, NoAnswer),
        (httpx.WriteError, NoAnswer),
        (httpx.WriteTimeout, NoAnswer),
        (httpx.CloseError, NoAnswer),
        (httpx.RemoteProtocolError, NoAnswer),
        (httpx.LocalProtocolError, NoAnswer),
        (httpx.ProxyError, NoAnswer),
    ],
)
async def test_every_error_of_a_transport_is_one_of_the_two(
    error: type[httpx.TransportError], proves: type[Exception]
) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise error("why", request=request)

    upstream = Upstream(httpx.MockTransport(refuse))

    with pytest.raises(proves, match=f"{error.__name__}: why"):
        await upstream.send(SUBMIT, base_url="http://x", timeout_seconds=1)
    with pytest.raises(proves, match=f"{error.__name__}: why"):
        await upstream.stream(SUBMIT, base_url="http://x", timeout_seconds=1)


@pytest.mark.parametrize("announced", [True, False], ids=["length announced", "chunked"])
async def test_a_reply_over_the_limit_is_a_missing_answer_and_is_not_read_to_its_end(
    upstream: Upstream, serve: Serve, monkeypatch: pytest.MonkeyPatch, announced: bool
) -> None:
    monkeypatch.setattr(module, "REPLY_MAX", 100_000)
    sent = 0

    def endless(connection: Connection) -> None:
        nonlocal sent
        connection.read()
        length = b"Content-Length: 9999999999" if announced else b"Transfer-Encoding: chunked"
        connection.send(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n\r\n")
        while sent < 500_000_000:
            block = b"x" * 65536
            connection.send(block if announced else b"10000\r\n" + block + b"\r\n")
            sent += len(block)

    with pytest.raises(NoAnswer, match="HTTP 200: the reply is over 100000 bytes"):
        await upstream.send(SUBMIT, base_url=serve(endless).url, timeout_seconds=5)

    assert sent < 50_000_000


async def test_a_caller_may_lower_the_limit_for_the_bytes_that_are_sent_and_those_that_are_decoded(
    upstream: Upstream, serve: Serve
) -> None:
    plain = serve(after_reading(reply(b" " * 1001)))
    packed = serve(after_reading(reply(gzip.compress(b" " * 1001), b"Content-Encoding: gzip")))
    for server, what in ((plain, "the reply"), (packed, "the decoded reply")):
        with pytest.raises(NoAnswer, match=f"HTTP 200: {what} is over 1000 bytes"):
            await upstream.send(SUBMIT, base_url=server.url, timeout_seconds=5, reply_max=1000)


async def test_a_reply_of_just_the_limit_is_read(
    upstream: Upstream, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REPLY_MAX", 100_000)
    server = serve(after_reading(reply(b"x" * 100_000)))

    answer = await upstream.send(SUBMIT, base_url=server.url, timeout_seconds=5)

    assert len(answer.body) == 100_000


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(TASK, mtime=0)),
        ("x-gzip", gzip.compress(TASK, mtime=0)),
        ("deflate", zlib.compress(TASK)),
        ("deflate", zlib.compress(TASK)[2:-4]),
        ("identity", gzip.compress(TASK, mtime=0)),
        ("utf-8", TASK),
        ("br", TASK),
    ],
)
async def test_an_encoding_that_was_not_requested_is_undone_or_ignored(
    upstream: Upstream, serve: Serve, encoding: str, body: bytes
) -> None:
    server = serve(after_reading(reply(body, f"Content-Encoding: {encoding}".encode())))

    answer = await upstream.send(SUBMIT, base_url=server.url, timeout_seconds=5)

    assert answer.body == TASK
    assert not answer.cut


async def test_an_encoding_that_cannot_be_undone_leaves_a_broken_reply(upstream: Upstream, serve: Serve) -> None:
    """A reply that breaks off is still an answer: its status and its headers are known."""
    server = serve(after_reading(reply(b"\x8b\x0a\x80\x00\xff", b"Content-Encoding: br", b"X-Request-Id: req-1")))

    answer = await upstream.send(SUBMIT, base_url=server.url, timeout_seconds=5)

    assert answer.cut
    assert answer.headers["x-request-id"] == "req-1"


async def test_a_reply_that_unpacks_to_more_than_the_limit_is_a_missing_answer(
    upstream: Upstream, serve: Serve
) -> None:
    bomb = gzip.compress(b" " * (module.REPLY_MAX + 1))
    server = serve(after_reading(reply(bomb, b"Content-Encoding: gzip")))

    with pytest.raises(NoAnswer, match="decoded reply is over"):
        await upstream.send(SUBMIT, base_url=server.url, timeout_seconds=5)


CUTS = {
    "length": b"Content-Length: 5000\r\n\r\n" + TASK,
    "between chunks": b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(TASK), TASK),
    "within a chunk": b"Transfer-Encoding: chunked\r\n\r\nffff\r\n" + TASK,
    "no chunk": b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\nzz\r\n" % (len(TASK), TASK),
    "gzip": b"Content-Encoding: gzip\r\nContent-Length: 5000\r\n\r\n" + gzip.compress(TASK)[:-9],
}


@pytest.mark.parametrize("case", CUTS)
@pytest.mark.parametrize("fresh", [True, False])
async def test_a_reply_that_breaks_off_keeps_what_was_read(
    upstream: Upstream, serve: Serve, case: str, fresh: bool
) -> None:
    def handler(connection: Connection) -> None:
        connection.read()
        connection.send(b"HTTP/1.1 200 OK\r\n" + CUTS[case])

    answer = await upstream.send(SUBMIT, base_url=serve(handler).url, timeout_seconds=5, fresh=fresh)

    assert answer.cut
    assert answer.status == 200
    assert answer.body == TASK


async def test_a_body_that_never_ends_is_an_answer_after_the_time_out(upstream: Upstream, serve: Serve) -> None:
    def handler(connection: Connection) -> None:
        connection.read()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + TASK)
        connection.wait()

    answer = await upstream.send(SUBMIT, base_url=serve(handler).url, timeout_seconds=SILENCE)

    assert answer.cut
    assert answer.body == TASK


@pytest.mark.parametrize(
    "headers",
    [
        b"Retry-After: \xff\xfe",
        b"Retry-After: Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        b"Retry-After: -1",
        b"Retry-After: " + b"9" * 400,
        b"no colon at all",
        b"Bad Name: 1",
        b"X-Request-Id: \xe9\x80",
        b"Content-Type: ;;;",
        b"Date: yesterday",
        b"Set-Cookie: \x80=\xff",
        b"Content-Encoding: \xff",
        b"X-Long: " + b"x" * 60_000,
    ],
)
async def test_a_header_beside_the_verdict_does_not_change_it(upstream: Upstream, serve: Serve, headers: bytes) -> None:
    server = serve(
        after_reading(reply(b'{"error": {"message": "slow down"}}', headers, status=b"429 Too Many Requests"))
    )

    answer = await upstream.send(SUBMIT, base_url=server.url, timeout_seconds=5)

    assert answer.status == 429
    assert not answer.cut
    wait = retry_after_seconds(answer, lambda: NOW)
    assert wait is None or 0 <= wait <= 86400


@pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
async def test_an_encoding_that_changes_nothing_is_read(upstream: Upstream, serve: Serve, encoding: str) -> None:
    server = serve(after_reading(reply(b"{}", f"Content-Encoding: {encoding}".encode())))

    assert (await upstream.send(SUBMIT, base_url=server.url, timeout_seconds=5)).body == b"{}"


# -- what comes back


async def test_a_reply_has_status_headers_in_lower_case_body_and_the_call_it_answers(
    upstream: Upstream, serve: Serve
) -> None:
    sent = reply(b'{"id": 1}', b"Retry-After: 7", b"X-A: 1", b"X-A: 2", status=b"429 Too Many Requests")
    server = serve(after_reading(sent))

    answer = await upstream.send(SUBMIT, base_url=server.url, timeout_seconds=5)

    assert answer == HttpReply(
        status=429,
        headers={"content-length": "9", "retry-after": "7", "x-a": "1, 2"},
        body=b'{"id": 1}',
        method="POST",
        path="/v1/tasks",
    )


async def test_a_stream_gives_its_body_as_it_comes(upstream: Upstream, serve: Serve) -> None:
    server = serve(after_reading(reply(b"v" * 300_000, b"Content-Type: video/mp4")))

    response = await upstream.stream(HttpCall(method="GET", path="/v.mp4"), base_url=server.url, timeout_seconds=5)

    assert response.status_code == 200
    assert response.headers["content-type"] == "video/mp4"
    chunks = [chunk async for chunk in response.stream]  # type: ignore[union-attr]  # an async transport gives an async stream
    await response.aclose()
    assert len(chunks) > 1
    assert b"".join(chunks) == b"v" * 300_000


async def test_a_file_is_asked_for_as_a_browser_does(upstream: Upstream, serve: Serve) -> None:
    server = serve(after_reading(reply(b"v")))
    call = HttpCall(method="GET", path="/v.mp4", headers={"Authorization": "Bearer secret"})

    response = await upstream.stream(call, base_url=server.url, timeout_seconds=5)
    await response.aclose()

    _, headers, _ = received(server.requests[0])
    assert headers["accept"] == "*/*"
    assert headers["user-agent"].startswith("Mozilla/5.0 (")
    assert headers["authorization"] == "Bearer secret"


# -- what reaches the server


async def received_of(upstream: Upstream, serve: Serve, call: HttpCall) -> tuple[str, Mapping[str, str], bytes]:
    server = serve(after_reading(reply()))
    await upstream.send(call, base_url=f"{server.url}/base/v1", timeout_seconds=5, headers={"X-Extra": "e"})
    return received(server.requests[0])


async def test_a_json_call_as_it_arrives(upstream: Upstream, serve: Serve) -> None:
    call = HttpCall(
        method="POST",
        path="/tasks/a%2Fb",
        query={"q": "动 &=", "n": "1"},
        headers={"Authorization": "Bearer secret"},
        json={"prompt": "ein Füchs", "n": None, "zero": 0, "empty": ""},
    )

    line, headers, body = await received_of(upstream, serve, call)

    assert line == "POST /base/v1/tasks/a%2Fb?q=%E5%8A%A8+%26%3D&n=1 HTTP/1.1"
    assert json.loads(body) == call.json
    assert headers["content-type"] == "application/json"
    assert headers["content-length"] == str(len(body))
    assert headers["authorization"] == "Bearer secret"
    assert headers["accept-encoding"] == "identity"
    assert headers["accept"] == "application/json"
    assert headers["x-extra"] == "e"
    assert headers["host"].startswith("127.0.0.1:")


@pytest.mark.parametrize("value", [0, "", [], {}, False])
async def test_an_empty_json_value_is_a_body(upstream: Upstream, serve: Serve, value: object) -> None:
    _, headers, body = await received_of(upstream, serve, HttpCall(method="POST", path="/x", json=value))

    assert json.loads(body) == value
    assert headers["content-type"] == "application/json"


async def test_a_call_without_a_body_has_no_content_type(upstream: Upstream, serve: Serve) -> None:
    line, headers, body = await received_of(upstream, serve, HttpCall(method="GET", path="/x"))

    assert line == "GET /base/v1/x HTTP/1.1"
    assert body == b""
    assert "content-type" not in headers


async def test_headers_of_the_call_replace_the_usual_ones(upstream: Upstream, serve: Serve) -> None:
    call = HttpCall(method="POST", path="/x", json={}, headers={"Accept": "video/mp4", "Content-Type": "text/json"})

    _, headers, _ = await received_of(upstream, serve, call)

    assert headers["accept"] == "video/mp4"
    assert headers["content-type"] == "text/json"


async def test_a_multipart_call_as_it_arrives(upstream: Upstream, serve: Serve) -> None:
    content = bytes(range(256)) * 20 + b"\r\n--not-a-boundary\r\n"
    part = FilePart(field="image", filename="fox.png", content_type="image/png", content=content)

    _, headers, body = await received_of(
        upstream, serve, HttpCall(method="POST", path="/upload", file=part, fields={"kind": "first frame"})
    )

    head = f"Content-Type: {headers['content-type']}\r\n\r\n".encode()
    parsed = BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    parts = {part.get_param("name", header="content-disposition"): part for part in parsed.iter_parts()}  # type: ignore[attr-defined]  # an EmailMessage under this policy
    assert headers["content-length"] == str(len(body))
    assert set(parts) == {"image", "kind"}
    assert parts["image"].get_filename() == "fox.png"
    assert parts["image"].get_content_type() == "image/png"
    assert parts["image"].get_payload(decode=True) == content
    assert parts["kind"].get_payload(decode=True) == b"first frame"


async def test_the_credential_stays_with_the_base_url(upstream: Upstream, serve: Serve) -> None:
    """A redirect to another host is returned like any other answer, and not followed."""
    elsewhere = serve(after_reading(reply()))
    location = f"Location: {elsewhere.url}/take".encode()
    server = serve(after_reading(reply(b"", location, status=b"302 Found")))
    signed = bearer(SUBMIT, Credential(api_key="secret"), NOW)

    answer = await upstream.send(signed, base_url=server.url, timeout_seconds=5)

    assert answer.status == 302
    assert b"Bearer secret" in server.requests[0]
    assert elsewhere.accepted == 0


def forever(connection: Connection) -> None:
    while True:
        connection.read()
        connection.send(reply())


async def test_a_submit_has_a_connection_of_its_own_and_polls_share_one(upstream: Upstream, serve: Serve) -> None:
    handler: Handler = forever
    server = serve(handler)
    poll = HttpCall(method="GET", path="/x")

    for _ in range(3):
        await upstream.send(poll, base_url=server.url, timeout_seconds=5)
    assert server.accepted == 1
    for number in range(3):
        await upstream.send(SUBMIT, base_url=server.url, timeout_seconds=5, fresh=True)
        assert server.accepted == number + 2
    await upstream.send(poll, base_url=server.url, timeout_seconds=5)
    assert server.accepted == 4


# -- Retry-After


@every(
    ("value", "expected"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("86400", 86400.0),
        ("999999999999999999999999", None),
        ("Mon, 02 Mar 2026 12:00:30 GMT", 30.0),
        ("Mon, 02 Mar 2026 12:00:30 +0000", 30.0),
        ("Mon, 02 Mar 2026 14:00:30 +0200", 30.0),
        ("Mon, 02 Mar 2026 12:00:30", 30.0),
        ("Monday, 02-Mar-26 12:00:30 GMT", 30.0),
        ("Mon Mar  2 12:00:30 2026", 30.0),
        ("Mon, 02 Mar 2026 11:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 -2359", None),
        ("Sat, 01 Jan 0001 00:00:00 +2359", 0.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1e3", None),
        ("٣", None),
        ("Mon, 32 Mar 2026 12:00:30 GMT", None),
        ("Mon, 01 Jan 100000000000000000000 00:00:00 GMT", None),
        ("Mon, 01 Jan 2026 00:00:00 +99999999", None),
        ("1" + "0" * 400, None),
        ("-1" + "0" * 400, None),
        ("inf", None),
        ("nan", None),
        ("\xff\ud83c", None),
        ("Mon, 02 Mar 100000000000000000000 12:00:30 GMT", None),
        ("Mon, 02 Mar 2026 12:00:30 +99999999999999999999", None),
    ],
)
def test_retry_after_in_either_form(value: str, expected: float | None) -> None:
    assert retry_after_seconds(HttpReply(status=429, headers={"retry-after": value}), lambda: NOW) == expected


def test_a_reply_without_retry_after_has_none() -> None:
    assert retry_after_seconds(HttpReply(status=429), lambda: NOW) is None


def test_the_wait_is_counted_from_the_moment_that_is_passed_in() -> None:
    answer = HttpReply(status=429, headers={"retry-after": "Mon, 02 Mar 2026 12:00:30 GMT"})

    assert retry_after_seconds(answer, lambda: NOW + timedelta(seconds=10)) == 20.0


DATES = r"[A-Z][a-z]{2}, -?\d+ (Jan|Feb|[A-Z][a-z]{2}) -?\d{1,60} \d+:\d+:\d+ ([+-]\d+|GMT)"


@given(st.text(max_size=60) | st.from_regex(DATES) | st.integers().map(str) | st.floats().map(str))
def test_whatever_retry_after_holds_gives_a_bounded_wait_or_none(value: str) -> None:
    seconds = retry_after_seconds(HttpReply(status=429, headers={"retry-after": value}), lambda: NOW)

    assert seconds is None or 0 <= seconds <= 86400
