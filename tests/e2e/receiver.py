"""A receiver of webhooks: a real HTTP server on loopback that records requests and answers as a test wants."""

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
        data: dict[str, Any] = msgspec.json.decode(self.body)["data"]
        return data

    def verified_by(self, *secrets: str) -> dict[str, Any]:
        """The body, once the standard's own library has verified it with each secret at the time of its arrival."""
        moment = self.at

        class Then(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Any:
                return moment

        with patch("standardwebhooks.webhooks.datetime", Then):
            (verified,) = {str(Webhook(secret).verify(self.body, self.headers)) for secret in secrets}
        assert verified
        body: dict[str, Any] = msgspec.json.decode(self.body)
        return body


class Receiver:
    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self.url = ""
        self.requests: list[Received] = []
        self.answer: Callable[[Received], Answer] = lambda _: (200, {})
        self.gate = asyncio.Event()  # no request is answered while it is not set
        self.gate.set()
        self.under_way = self.most = 0  # requests that wait for their answer: now, and at most at the same time

    @property
    def ids(self) -> list[str]:
        return [request.id for request in self.requests]

    def fail(self, status: int, **headers: str) -> None:
        self.answer = lambda _: (status, headers)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            body = await reader.readexactly(int(headers["content-length"]))
            request = Received(self._now(), head[0].split()[1], headers, body)
            self.requests.append(request)
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            await self.gate.wait()
            status, more = self.answer(request)
            lines = "".join(f"{name}: {value}\r\n" for name, value in more.items())
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n{lines}\r\n".encode())
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.under_way -= 1
            writer.close()


@asynccontextmanager
async def receiving(now: Callable[[], datetime]) -> AsyncIterator[Receiver]:
    """A receiver that accepts connections for as long as the block runs."""
    receiver = Receiver(now)
    server = await asyncio.start_server(receiver.handle, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    async with server:
        yield receiver
        receiver.gate.set()
