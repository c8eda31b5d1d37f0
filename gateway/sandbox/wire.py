"""Requests and replies as values, and the ways in which sending a reply can fail."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from typing import Any

import msgspec

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

TRANSPORT = "video_gateway.transport"  # the ASGI extension in which the server passes its connection


class Manner(StrEnum):
    """How a reply is sent."""

    WHOLE = "whole"
    CLOSE = "close"  # nothing is sent; the connection ends
    HANG = "hang"  # nothing is sent; the connection stays open until the client gives up
    HALF = "half"  # Content-Length is right, half is sent, the connection ends
    LONG = "long"  # Content-Length is too large
    SHORT = "short"  # Content-Length is too small


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart form."""

    value: bytes
    filename: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request that was read completely."""

    method: str
    path: str  # below the provider's prefix
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)  # names in lower case
    body: bytes = b""
    base: str = ""  # the URL of the sandbox, as the client wrote it

    @property
    def token(self) -> str | None:
        """The bearer token; `None` without one."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() or None if scheme.lower() == "bearer" else None

    def json(self) -> dict[str, Any] | None:
        """The body as a JSON object; `None` if it is something else or its content type is not JSON."""
        if "json" not in self.headers.get("content-type", ""):
            return None
        with contextlib.suppress(msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            value = msgspec.json.decode(self.body)
            return value if isinstance(value, dict) else None
        return None

    def form(self) -> dict[str, Part]:
        """The parts of a multipart body by name; empty if the body is not multipart."""
        kind, _, rest = self.headers.get("content-type", "").partition("boundary=")
        boundary = rest.partition(";")[0].strip().strip('"')
        if "multipart/form-data" not in kind or not boundary:
            return {}
        parts: dict[str, Part] = {}
        delimiter = b"\r\n--" + boundary.encode()
        for piece in (b"\r\n" + self.body).split(delimiter)[1:-1]:
            head, _, value = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
            names = _disposition(head.decode(errors="replace"))
            if "name" in names:
                parts[names["name"]] = Part(value, names.get("filename"))
        return parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the reply to a poll reports. Written to the journal when it is certain whether the reply was sent."""

    task: str
    at: float  # when the reported state was true
    says: str  # queued, running, done, done_without_file, failed, cancelled, not_found; nothing: unreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A reply, and how it is sent."""

    status: int = 200
    body: bytes = b""
    tasks: tuple[str, ...] = ()  # started by the submit and named in the body; for the journal
    reading: Reading | None = None  # only for a poll; for the journal
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    manner: Manner = Manner.WHOLE
    delay_seconds: float = 0.0
    pieces: int = 1  # in which the body is sent if `manner` is WHOLE
    piece_seconds: float = 0.0  # between two pieces
    reset: bool = False  # end the connection with a reset instead of an orderly close

    def head(self, length: int) -> list[tuple[bytes, bytes]]:
        """The header fields; `length` is the Content-Length, which a fault may make wrong."""
        lines = [("content-length", str(length)), *self.headers]
        if self.content_type:
            lines.append(("content-type", self.content_type))
        return [(name.encode(), value.encode()) for name, value in lines]


def json_reply(value: object, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """A JSON reply."""
    return Reply(status=status, body=msgspec.json.encode(value), headers=headers)


def text_reply(text: str, status: int = 200, content_type: str = "text/plain; charset=utf-8") -> Reply:
    """A reply of plain text, or of HTML."""
    return Reply(status=status, body=text.encode(), content_type=content_type)


def html_reply(status: int) -> Reply:
    """The page that a reverse proxy sends instead of a reply."""
    title = f"{status} {_phrase(status)}"
    return text_reply(f"<html><head><title>{title}</title></head><body></body></html>", status, "text/html")


def any_reply(status: int, body: object) -> Reply:
    """A reply from a table: an object becomes JSON, a string text or HTML, `None` an empty body."""
    if body is None:
        return Reply(status=status, content_type="")
    if isinstance(body, str):
        return text_reply(body, status, "text/html" if body.startswith("<") else "text/plain; charset=utf-8")
    return json_reply(body, status)


async def transmit(reply: Reply, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a reply in its manner. Every manner except WHOLE needs the connection of the server in the scope."""
    if reply.delay_seconds and await _gone_within(receive, reply.delay_seconds):
        return
    if reply.manner is Manner.WHOLE:
        await send({"type": "http.response.start", "status": reply.status, "headers": reply.head(len(reply.body))})
        body = b"" if scope["method"] == "HEAD" else reply.body
        size = max(-(-len(body) // reply.pieces), 1)
        for start in range(size, len(body), size):
            await send({"type": "http.response.body", "body": body[start - size : start], "more_body": True})
            if await _gone_within(receive, reply.piece_seconds):
                return
        await send({"type": "http.response.body", "body": body[(len(body) - 1) // size * size :] if body else b""})
        return
    if reply.manner is not Manner.HANG:
        _misbehave(reply, scope["extensions"][TRANSPORT])
    await _until_gone(receive)


def _misbehave(reply: Reply, transport: asyncio.Transport) -> None:
    size = len(reply.body)
    match reply.manner:
        case Manner.HALF:
            transport.write(_raw_head(reply, size) + reply.body[: size // 2])
        case Manner.LONG:
            transport.write(_raw_head(reply, size + 1000) + reply.body)
        case Manner.SHORT:
            transport.write(_raw_head(reply, size // 2) + reply.body)
        case _:
            pass
    if reply.reset:
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    else:
        transport.close()


def _raw_head(reply: Reply, length: int) -> bytes:
    lines = [f"HTTP/1.1 {reply.status} {_phrase(reply.status)}".encode()]
    lines += [name + b": " + value for name, value in reply.head(length)]
    return b"\r\n".join([*lines, b"connection: close", b"", b""])


async def _gone_within(receive: Receive, seconds: float) -> bool:
    """Wait for `seconds`; whether the client disconnected meanwhile."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await _until_gone(receive)
            return True
    return False


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in list(HTTPStatus) else "Unknown"


def _disposition(head: str) -> dict[str, str]:
    for line in head.split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            pairs = (item.strip().partition("=") for item in value.split(";")[1:])
            return {key: quoted.strip('"') for key, _, quoted in pairs}
    return {}
