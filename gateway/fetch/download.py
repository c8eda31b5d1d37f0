"""Downloads one file, and continues a broken transfer with another request if the host supports that."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Protocol, cast

from gateway.fetch.fetcher import WHOLE, BrokeOff, FetchFailed, FetchRefused, named
from gateway.fetch.file_body import BodyReader

RESUMES_MAX = 100  # enough for more than an hour with a relay that ends every transfer after a minute
RESUME_BYTES = 64 * 1024  # a request must bring at least this much before another one continues
_PART = re.compile(r"bytes (\d{1,15})-\d{1,15}/(\d{1,15}|\*)")


class Answer(Protocol):
    """The head of a reply. Its body is still to be read."""

    @property
    def host(self) -> str:
        """The host that sends it, for messages."""
        ...

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, with names in lower case."""
        ...

    def raw(self) -> AsyncIterator[bytes]:
        """The body before decoding, once. Raises `BrokeOff` when it ends early."""
        ...


Ask = Callable[[Mapping[str, str]], AbstractAsyncContextManager[Answer]]  # headers to send → the answer to a GET


class Download:
    """The download of one file, used once.

    A transfer that breaks off is continued from that point with `Range` and `If-Range` (RFC 9110, sections 13 and 14)
    if the host sent a strong `ETag`. Otherwise the caller's next try begins from the start.
    """

    def __init__(self, ask: Ask, *, max_bytes: int, check: Callable[[Answer], None]) -> None:
        """`check` raises for an answer without a file. It is not called for answers of 200, 203 and 206."""
        self._ask = ask
        self._max_bytes = max_bytes
        self._check = check
        self._body: BodyReader | None = None
        self._etag: str | None = None  # `None` where the host cannot continue a transfer
        self._size: int | None = None  # in bytes before decoding, as the host declared
        self.broke_off: FetchFailed | None = None  # why the transfer ended early

    async def chunks(self) -> AsyncGenerator[bytes]:
        """The decoded content in pieces of a bounded size. Raises `FetchFailed`, and what `ask` and `check` raise.

        A transfer that ended early ends this without an error, and `broke_off` has the reason. Hosts declare wrong
        lengths, so only the content itself can show whether anything is missing.
        """
        for _ in range(RESUMES_MAX + 1):
            before, answered = self._received, False
            try:
                async with self._ask(self._wanted_part()) as answer:
                    if not self._accepts(answer):
                        break
                    answered = True
                    async with aclosing(cast("AsyncGenerator[bytes]", answer.raw())) as raw:
                        async for chunk in raw:
                            for piece in self._taken(answer.host, chunk):
                                yield piece
                    self.broke_off = self._shortage(answer.host)
            except BrokeOff as error:
                self.broke_off = error
            except (FetchRefused, FetchFailed):
                if answered or self.broke_off is None:
                    raise
                break  # the request for the rest has failed
            if self.broke_off is None or self._etag is None or self._received - before < RESUME_BYTES:
                break
        for piece in self._rest():
            yield piece

    @property
    def _received(self) -> int:
        return 0 if self._body is None else self._body.received

    def _wanted_part(self) -> Mapping[str, str]:
        if self._body is None or self._etag is None:
            return {}
        return {"Range": f"bytes={self._received}-", "If-Range": self._etag}

    def _accepts(self, answer: Answer) -> bool:
        """True if the body of this answer is the next part of the file."""
        part = _PART.fullmatch(answer.headers.get("content-range", "")) if answer.status == 206 else None
        if self._body is not None:
            size = None if part is None or part[2] == "*" else int(part[2])
            return part is not None and int(part[1]) == self._received and size in {None, self._size}
        if answer.status == 206:
            if part is None or int(part[1]) != 0:
                raise FetchFailed(f"{answer.host} sent a part of the file that was not asked for")
            self._size = None if part[2] == "*" else int(part[2])
        elif answer.status in WHOLE:
            length = answer.headers.get("content-length", "")
            self._size = int(length) if length.isascii() and length[:15].isdigit() and len(length) <= 15 else None
        else:
            self._check(answer)
            raise FetchFailed(f"the answer was {answer.status}")
        etag = answer.headers.get("etag", "")
        if etag.startswith('"') and answer.headers.get("accept-ranges", "").strip().lower() != "none":
            self._etag = etag
        self._body = BodyReader(answer.headers.get("content-encoding", ""), self._max_bytes, _now())
        with named(answer.host):
            self._body.check_length(self._size)
        return True

    def _taken(self, host: str, chunk: bytes) -> Iterator[bytes]:
        if self._body is not None:
            with named(host):
                yield from self._body.take(chunk, _now())

    def _shortage(self, host: str) -> FetchFailed | None:
        """What is missing after a transfer that ended without an error. More bytes than declared are not a fault."""
        if self._size is None or self._received >= self._size:
            return None
        return FetchFailed(f"{host} sent {self._received:,} of {self._size:,} bytes")

    def _rest(self) -> Iterator[bytes]:
        if self._body is None:
            return
        try:
            with named("its host"):
                rest = self._body.finish()
        except FetchFailed as error:
            raise self.broke_off or error from error
        if rest:
            yield rest


def _now() -> float:
    return asyncio.get_running_loop().time()
