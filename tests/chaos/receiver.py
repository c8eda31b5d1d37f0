"""The webhook receiver: a server that records every delivery, and refuses some of them once."""

import asyncio
from hashlib import sha256
from pathlib import Path

import msgspec
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

SECRET = "whsec_Y2hhb3MtY2hhb3MtY2hhb3MtY2hhb3MtY2hhb3M="
REFUSED_ONCE = 16  # of 256 event ids, chosen by their hash


class Receiver:
    """Writes a line for each delivery before it is answered."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("ab", buffering=0)
        self._webhook = Webhook(SECRET)
        self._seen: set[str] = set()
        self._server: asyncio.Server | None = None
        self.url = ""

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/ends"

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        self._file.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            body = await reader.readexactly(int(headers["content-length"]))
            answer = self._note(headers, body)
            writer.write(f"HTTP/1.1 {answer} Noted\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
            await writer.drain()
        except (OSError, EOFError):  # the gateway was killed during the delivery
            pass
        finally:
            writer.close()

    def _note(self, headers: dict[str, str], body: bytes) -> int:
        try:
            self._webhook.verify(body, headers)
            signed = True
        except WebhookVerificationError:
            signed = False
        event = msgspec.json.decode(body)
        name = headers.get("webhook-id", "")
        refused = name not in self._seen and sha256(name.encode()).digest()[0] < REFUSED_ONCE
        self._seen.add(name)
        answer = 500 if refused else 200
        line = {"id": name, "type": event["type"], "generation": event["data"]["id"], "answer": answer}
        self._file.write(msgspec.json.encode(line | {"signed": signed}) + b"\n")
        return answer
