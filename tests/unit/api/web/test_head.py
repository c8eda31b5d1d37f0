"""Heads of requests that two programs in a row may read differently."""

import pytest

from gateway.api.web.head import fault_of_head

HOST = (b"host", b"x")
KEY = (b"authorization", b"Bearer a")
JSON = (b"content-type", b"application/json")
CHUNKED = (b"transfer-encoding", b"chunked")


@pytest.mark.parametrize(
    ("version", "headers"),
    [
        ("1.1", [HOST]),
        ("1.1", [HOST, KEY, JSON, (b"accept", b"a"), (b"accept", b"b")]),
        ("1.1", [(b"host", b"")]),
        ("1.1", [HOST, (b"transfer-encoding", b" Chunked ")]),
        ("1.0", []),
        ("1.0", [HOST]),
    ],
)
def test_a_sound_head_is_accepted(version: str, headers: list[tuple[bytes, bytes]]) -> None:
    assert fault_of_head(version, headers) is None


@pytest.mark.parametrize(
    ("version", "headers", "message"),
    [
        ("1.1", [], "The header Host is missing; HTTP/1.1 requires it."),
        ("1.1", [HOST, HOST], "The header Host came 2 times; send it once."),
        ("1.0", [HOST, HOST], "The header Host came 2 times; send it once."),
        ("1.1", [HOST, KEY, KEY], "The header Authorization came 2 times; send it once."),
        ("1.1", [HOST, JSON, KEY, JSON], "The header Content-Type came 2 times; send it once."),
        ("1.0", [CHUNKED], "HTTP/1.0 has no Transfer-Encoding; send Content-Length."),
        ("1.1", [HOST, (b"transfer-encoding", b"gzip, chunked")], "The header Transfer-Encoding may only be: chunked."),
        ("1.1", [HOST, CHUNKED, CHUNKED], "The header Transfer-Encoding may only be: chunked."),
        (
            "1.1",
            [HOST, CHUNKED, (b"content-length", b"1")],
            "Transfer-Encoding and Content-Length contradict one another; send one of them.",
        ),
        ("2.0", [HOST], "The gateway speaks HTTP/1.0 and HTTP/1.1 only."),
        ("0.9", [HOST], "The gateway speaks HTTP/1.0 and HTTP/1.1 only."),
    ],
)
def test_a_faulty_head_is_refused_with_the_remedy(
    version: str, headers: list[tuple[bytes, bytes]], message: str
) -> None:
    assert fault_of_head(version, headers) == message
