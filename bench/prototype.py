"""A yardstick: what a create that is stored, submitted and accepted costs at least, with the same durable states.

It is not a gateway. It has one model and one provider, makes no plan, knows no failure, and recovers nothing. But like
the gateway it stores the generation before it answers, the intent before a submit, and the task after it, each with
`synchronous=FULL` and in groups; it submits over a fresh connection, and polls over kept ones. What the gateway costs
beyond it is the price of everything else that the gateway does, and of how it does it.

Two handlers without a framework's help for parameters, in front of apsw, pyreqwest and msgspec. The environment has
`PROTOTYPE_PROVIDER` (a base URL), `PROTOTYPE_LEDGER` (a path) and `PROTOTYPE_POLL_SECONDS`.
"""

import asyncio
import gc
import hashlib
import os
import secrets
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import apsw
import msgspec
from litestar import Litestar, asgi
from litestar.types import Receive, Scope, Send
from msgspec import Struct
from pyreqwest.client import Client, ClientBuilder

from bench.load import KEY

PATH = "/v1/videos/generations"
CLIENTS = {hashlib.sha256(KEY.encode()).digest(): "bench"}
POLL_SECONDS = float(os.environ.get("PROTOTYPE_POLL_SECONDS", "3600"))
PATIENCE = timedelta(seconds=60)
Statement = tuple[str, tuple[Any, ...]]
SCHEMA = """
pragma journal_mode = wal;
pragma synchronous = full;
create table generations (id text primary key, client text, status text, fence int, version int, request blob,
    plan blob, created int, deadline int) without rowid;
create table outputs (generation text, number int, status text, primary key (generation, number)) without rowid;
create table attempts (id text primary key, generation text, state text, route int, tasks blob, at int) without rowid;
create table events (number integer primary key, generation text, type text, at int);
create index events_of on events (generation);
create index generations_by_status on generations (status, created);
"""
CREATE = "insert into generations values (?, ?, 'queued', 1, 1, ?, ?, ?, ?)"
OUTPUT = "insert into outputs values (?, 0, 'queued')"
EVENT = "insert into events (generation, type, at) values (?, ?, ?)"
INTENT = "insert into attempts values (?, ?, 'submitting', 0, null, ?)"
TOUCH = "update generations set version = version + 1 where id = ? and fence = 1"
ACCEPT = "update attempts set state = 'accepted', tasks = ? where id = ? and state in ('submitting', 'unknown')"
RUNNING = "update generations set status = 'in_progress', version = version + 1 where id = ?"
READ = "select status, request, created from generations where id = ? and client = ?"


class Body(Struct, forbid_unknown_fields=True):
    """What a client asks for."""

    model: str
    prompt: str
    duration: int | None = None
    resolution: str | None = None


class Reply(Struct):
    """What the provider answers."""

    id: str
    status: str


decode_body, decode_reply = msgspec.json.Decoder(Body).decode, msgspec.json.Decoder(Reply).decode
encode = msgspec.json.Encoder().encode


class Ledger:
    """Writes in groups: the statements on the loop, the commit on a thread."""

    def __init__(self, path: str) -> None:
        self.database = apsw.Connection(path)
        self.database.execute(SCHEMA).fetchall()
        self.reader = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[list[Statement], asyncio.Future[None]]] = []
        self._group: list[tuple[list[Statement], asyncio.Future[None]]] = []
        self._busy = False
        self._handed_over = threading.Event()
        threading.Thread(target=self._commit, daemon=True).start()

    def write(self, statements: list[Statement]) -> asyncio.Future[None]:
        """Done when the statements are on the disk."""
        future = self._loop.create_future()
        self._waiting.append((statements, future))
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._next)
        return future

    def _next(self) -> None:
        if not self._waiting:
            self._busy = False
            return
        self._group, self._waiting = self._waiting, []
        self.database.execute("begin immediate")
        for statements, _ in self._group:
            for statement, values in statements:
                self.database.execute(statement, values)
        self._handed_over.set()

    def _commit(self) -> None:
        while True:
            self._handed_over.wait()
            self._handed_over.clear()
            self.database.execute("commit")
            self._loop.call_soon_threadsafe(self._done)

    def _done(self) -> None:
        for _, future in self._group:
            future.set_result(None)
        self._next()


class Yardstick:
    """The state of the process."""

    def __init__(self) -> None:
        self.ledger = Ledger(os.environ["PROTOTYPE_LEDGER"])
        self.provider = os.environ["PROTOTYPE_PROVIDER"]
        builder = ClientBuilder().http1_only().no_proxy()
        self.pooled: Client = builder.build()
        self.fresh: Client = ClientBuilder().http1_only().no_proxy().pool_max_idle_per_host(0).build()
        self.lives: set[asyncio.Task[None]] = set()

    async def live(self, generation: str, body: bytes) -> None:
        """Submit, store the task, poll."""
        now, attempt = int(time.time()), f"att_{generation[4:]}"
        await self.ledger.write(
            [
                (INTENT, (attempt, generation, now)),
                (EVENT, (generation, "attempt.submitting", now)),
                (TOUCH, (generation,)),
            ]
        )
        headers = {"authorization": "Bearer x", "content-type": "application/json", "accept-encoding": "identity"}
        call = self.fresh.post(f"{self.provider}{PATH}").headers(headers).body_bytes(body).timeout(PATIENCE).build()
        task = decode_reply(bytes(await (await call.send()).bytes())).id
        await self.ledger.write(
            [
                (ACCEPT, (encode([task]), attempt)),
                (EVENT, (generation, "attempt.accepted", now)),
                (RUNNING, (generation,)),
            ]
        )
        newest = b""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            poll = self.pooled.get(f"{self.provider}/v1/tasks/{task}").headers(headers).timeout(PATIENCE).build()
            reply = bytes(await (await poll.send()).bytes())
            if reply != newest:
                decode_reply(reply)
                newest = reply


yardstick: Yardstick


def client_of(scope: Scope) -> str:
    """The client of a request."""
    key = next(value for name, value in scope["headers"] if name == b"authorization")
    return CLIENTS[hashlib.sha256(key[7:]).digest()]


def view(name: str, status: str, body: Body, created: int) -> bytes:
    """A generation as the API shows it."""
    return encode(
        {
            "id": name,
            "object": "video.generation",
            "created_at": created,
            "model": body.model,
            "status": status,
            "progress": 0,
            "provider": None,
            "data": [{"index": 0, "status": status, "url": None}],
            "error": None,
            "warnings": [],
            "attempts": [],
            "request": body,
            "metadata": {},
        }
    )


@asgi(PATH, is_mount=True, copy_scope=True)
async def generations(scope: Scope, receive: Receive, send: Send) -> None:
    """`POST` creates, `GET` with an id reads."""
    client = client_of(scope)
    if scope["method"] == "GET":  # type: ignore[typeddict-item]
        name = scope["raw_path"].decode().rpartition("/")[2]
        row = yardstick.ledger.reader.execute(READ, (name, client)).fetchone()
        assert row is not None
        await answer(send, view(name, row[0], decode_body(row[1]), row[2]))
        return
    message: Any = await receive()
    raw = message["body"]
    while message.get("more_body"):
        message = await receive()
        raw += message["body"]
    body = decode_body(raw)
    name, now = f"gen_{secrets.token_hex(13)}", int(time.time())
    row = (name, client, raw, hashlib.sha256(raw).hexdigest(), now, now + 3600)
    await yardstick.ledger.write([(CREATE, row), (OUTPUT, (name,)), (EVENT, (name, "queued", now))])
    yardstick.lives.add(asyncio.create_task(yardstick.live(name, encode(body))))
    await answer(send, view(name, "queued", body, now))


async def answer(send: Send, body: bytes) -> None:
    """Answer with JSON."""
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


@asgi("/health/live")
async def live(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001  # an ASGI application
    """Answer at once."""
    await answer(send, b"{}")


@asynccontextmanager
async def started(_: Litestar) -> AsyncIterator[None]:
    """Open the ledger and the clients, and set up the interpreter as the gateway does."""
    global yardstick  # noqa: PLW0603  # one process has one
    sys.setswitchinterval(0.0005)
    yardstick = Yardstick()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    yield
    for task in yardstick.lives:
        task.cancel()


app = Litestar([generations, live], lifespan=[started], openapi_config=None, logging_config=None)
