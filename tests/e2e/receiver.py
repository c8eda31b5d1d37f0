"""A receiver of webhooks: a real HTTP server on loopback that keeps what came, and answers as a test says."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from unittest.mock import patch

import msgspec
from standardwebhooks import Webhook

Answer = tuple[int, dict[str, str]]


class Received(msgspec.Struct, frozen=True):
    at: datetime
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(self.body)["data"]
        return found

    def verified_by(self, *secrets: str) -> dict[str, Any]:
        """The body, which every one of the secrets verifies by the standard's own library, at the time it came."""
        moment = self.at

        class Then(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Any:
                return moment

        with patch("standardwebhooks.webhooks.datetime", Then):
            (found,) = {str(Webhook(one).verify(self.body, self.headers)) for one in secrets}
        assert found
        body: dict[str, Any] = msgspec.json.decode(self.body)
        return body


class Receiver:
    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self.url = ""
        self.requests: list[Received] = []
        self.answer: Callable[[Received], Answer] = lambda _: (200, {})
        self.gate = asyncio.Event()  # nobody is answered while it is not set
        self.gate.set()
        self.under_way = self.most = 0  # requests that wait for their answer, and how many did at once

    @property
    def ids(self) -> list[str]:
        return [one.id for one in self.requests]

    def fail(self, status: int, **headers: str) -> None:
        self.answer = lambda _: (status, headers)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            body = await reader.readexactly(int(headers["content-length"]))
            one = Received(self._now(), head[0].split()[1], headers, body)
            self.requests.append(one)
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            await self.gate.wait()
            status, more = self.answer(one)
            told = "".join(f"{name}: {value}\r\n" for name, value in more.items())
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n{told}\r\n".encode())
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.under_way -= 1
            writer.close()


@asynccontextmanager
async def receiving(now: Callable[[], datetime]) -> AsyncIterator[Receiver]:
    """A receiver that listens."""
    receiver = Receiver(now)
    server = await asyncio.start_server(receiver.handle, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    async with server:
        yield receiver
        receiver.gate.set()
