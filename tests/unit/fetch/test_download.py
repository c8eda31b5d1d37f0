"""Downloading a file: a broken transfer is continued, and only with the same version of the file."""

import gzip
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.fetch.download import RESUME_BYTES, RESUMES_MAX, Answer, Download
from gateway.fetch.fetcher import BrokeOff, FetchFailed, FetchRefused, FetchTooLarge

FILE = os.urandom(5 * RESUME_BYTES)
TAG = '"v1"'
MUCH = 10**8


class Reply:
    """One answer: its body in pieces, which may break off."""

    def __init__(self, body: bytes, status: int = 200, *, breaks: bool = False, **headers: str) -> None:
        self.host = "host.test"
        self.status = status
        self.headers: Mapping[str, str] = {name.replace("_", "-"): value for name, value in headers.items()}
        self._body = body
        self._breaks = breaks
        self.closed = False

    async def raw(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._body), 1000):
            yield self._body[start : start + 1000]
        if self._breaks:
            raise BrokeOff("host.test broke off")


class Host:
    """Gives one answer after the other, and records the headers of each request."""

    def __init__(self, *replies: Reply | Exception) -> None:
        self.replies = list(replies)
        self.requests: list[Mapping[str, str]] = []

    @asynccontextmanager
    async def ask(self, headers: Mapping[str, str]) -> AsyncIterator[Answer]:
        self.requests.append(headers)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        try:
            yield reply
        finally:
            reply.closed = True


class Gone(Exception):
    """Raised by the check of the caller."""


def check(answer: Answer) -> None:
    raise Gone(str(answer.status))


async def fetched(host: Host, max_bytes: int = MUCH) -> tuple[bytes, FetchFailed | None]:
    download = Download(host.ask, max_bytes=max_bytes, check=check)
    content = b"".join([chunk async for chunk in download.chunks()])
    return content, download.broke_off


def first(body: bytes, **changes: Any) -> Reply:
    return Reply(body, **{"content_length": str(len(FILE)), "etag": TAG, "breaks": True, **changes})


def rest(start: int, body: bytes | None = None, **changes: Any) -> Reply:
    part = f"bytes {start}-{len(FILE) - 1}/{len(FILE)}"
    return Reply(FILE[start:] if body is None else body, **{"status": 206, "content_range": part, **changes})


async def test_a_complete_file_is_one_request() -> None:
    host = Host(first(FILE, breaks=False))
    assert await fetched(host) == (FILE, None)
    assert host.requests == [{}]


async def test_a_broken_transfer_is_continued() -> None:
    cut, again = RESUME_BYTES + 17, 3 * RESUME_BYTES
    host = Host(first(FILE[:cut]), rest(cut, FILE[cut:again], breaks=True), rest(again))
    replies = list(host.replies)
    assert await fetched(host) == (FILE, None)
    assert host.requests == [{}, *({"Range": f"bytes={start}-", "If-Range": TAG} for start in (cut, again))]
    assert all(isinstance(reply, Reply) and reply.closed for reply in replies)


async def test_a_host_that_answers_with_a_part_is_asked_for_the_rest() -> None:
    cut = 2 * RESUME_BYTES
    part = first(FILE[:cut], status=206, breaks=False, content_range=f"bytes 0-{cut - 1}/{len(FILE)}")
    assert await fetched(Host(part, rest(cut))) == (FILE, None)
    whole = first(FILE, status=206, breaks=False, content_range=f"bytes 0-{len(FILE) - 1}/{len(FILE)}")
    assert await fetched(Host(whole)) == (FILE, None)
    with pytest.raises(FetchFailed, match="not asked for"):
        await fetched(Host(rest(10)))


async def test_an_encoded_file_is_continued_within_its_encoding() -> None:
    packed = gzip.compress(FILE, mtime=0)
    cut = RESUME_BYTES + 5
    begun = Reply(packed[:cut], breaks=True, etag=TAG, content_length=str(len(packed)), content_encoding="gzip")
    more = Reply(packed[cut:], status=206, content_range=f"bytes {cut}-{len(packed) - 1}/{len(packed)}")
    assert await fetched(Host(begun, more)) == (FILE, None)


CUT = 2 * RESUME_BYTES
NO_WAY_ON: dict[str, list[Reply | Exception]] = {
    "no tag": [Reply(FILE[:CUT], breaks=True, content_length=str(len(FILE)))],
    "a weak tag": [first(FILE[:CUT], etag='W/"v1"')],
    "no parts": [first(FILE[:CUT], accept_ranges="none")],
    "another file": [first(FILE[:CUT]), Reply(FILE)],
    "another part": [first(FILE[:CUT]), rest(CUT + 1)],
    "another size": [first(FILE[:CUT]), rest(CUT, content_range=f"bytes {CUT}-9999999/10000000")],
    "nothing beyond": [first(FILE[:CUT]), Reply(b"", status=416)],
    "an error": [first(FILE[:CUT]), Reply(b"", status=503)],
    "no connection": [first(FILE[:CUT]), FetchFailed("no connection")],
    "another place": [first(FILE[:CUT]), FetchRefused("it leads elsewhere")],
    "no progress": [first(FILE[:CUT]), rest(CUT, b"", breaks=True)],
}


@pytest.mark.parametrize("case", NO_WAY_ON)
async def test_a_transfer_that_cannot_be_continued_is_judged_by_its_content(case: str) -> None:
    content, broke_off = await fetched(Host(*NO_WAY_ON[case]))
    assert content == FILE[:CUT]
    assert str(broke_off) == "host.test broke off"


async def test_a_regular_end_before_the_declared_length_counts_as_broken() -> None:
    content, broke_off = await fetched(Host(Reply(FILE[:100], content_length="500")))
    assert (content, str(broke_off)) == (FILE[:100], "host.test sent 100 of 500 bytes")
    assert await fetched(Host(Reply(FILE[:100], content_length="50"))) == (FILE[:100], None)
    for length in ("", "many", "-1", "9" * 5000, "٣"):
        assert await fetched(Host(Reply(FILE[:100], content_length=length))) == (FILE[:100], None)


async def test_incomplete_encoded_bytes_are_not_content() -> None:
    packed = gzip.compress(FILE, mtime=0)
    with pytest.raises(FetchFailed, match=r"host.test broke off"):
        await fetched(Host(Reply(packed[:-20], breaks=True)))
    assert await fetched(Host(Reply(packed, content_length=str(len(FILE)))))  # the length before compression


async def test_a_host_that_always_breaks_off_is_given_up() -> None:
    size = RESUME_BYTES
    total = size * (RESUMES_MAX + 10)
    parts = [
        Reply(bytes(size), 206, breaks=True, content_range=f"bytes {start * size}-{total - 1}/{total}")
        for start in range(1, RESUMES_MAX + 10)
    ]
    host = Host(Reply(bytes(size), breaks=True, etag=TAG, content_length=str(total)), *parts)
    content, broke_off = await fetched(host)
    assert len(content) == size * (RESUMES_MAX + 1) == size * len(host.requests)
    assert broke_off is not None


async def test_other_answers_are_judged_by_the_caller() -> None:
    with pytest.raises(Gone, match="404"):
        await fetched(Host(Reply(b"", status=404)))
    with pytest.raises(FetchFailed, match="no connection"):
        await fetched(Host(FetchFailed("no connection")))


async def test_a_faulty_body_is_not_requested_again() -> None:
    with pytest.raises(FetchTooLarge, match=r"host.test sent more than the 1,000 bytes that are accepted"):
        await fetched(Host(Reply(FILE[:1500])), max_bytes=1000)
    with pytest.raises(FetchTooLarge):
        await fetched(Host(Reply(b"", content_length="1001")), max_bytes=1000)
    with pytest.raises(FetchFailed, match=r"host.test sent a body that is damaged"):
        await fetched(Host(Reply(b"\x1f\x8b\x08\0" + b"\xff" * 100, etag=TAG)))
