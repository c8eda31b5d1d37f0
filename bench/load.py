"""Load over HTTP/1.1 that costs little: prepared bytes on connections that stay open, one request at a time on each.

A closed loop has a fixed number of connections, each of which sends the next request after the answer to the last. An
open loop sends requests at random moments of a fixed rate, whether or not earlier ones were answered: the time of an
answer counts from the moment at which its request was due, also if all connections were busy then.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

KEY = "bench-key-0123456789abcdef"
OPEN_CONNECTIONS = 256  # of an open loop
ANSWER_MAX_SECONDS = 60.0
Answered = Callable[[bytes, float], None]  # body, moment


@dataclass
class Measured:
    """What a load met."""

    began: float = 0.0
    wall_seconds: float = 0.0
    own_cpu_seconds: float = 0.0  # of the process that makes the load
    seconds: list[float] = field(default_factory=list)  # to each answer

    @property
    def count(self) -> int:
        """How many requests were answered."""
        return len(self.seconds)

    def milliseconds(self, share: float) -> float:
        """The time that this share of the answers did not exceed."""
        return percentile(self.seconds, share) * 1000


class AnswerError(Exception):
    """An answer other than 200, or a connection that ended."""


class Connection(asyncio.Protocol):
    """Sends one request after the other, and reads the answers."""

    def __init__(self) -> None:
        self._received = b""
        self._answered: Answered | None = None
        self.failure: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport for the requests."""
        self.transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes, answered: Answered) -> None:
        """Send a request. `answered` is called once, with the body of the answer."""
        if self.failure is not None:
            raise self.failure
        self._answered = answered
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Call back when an answer is complete."""
        received = self._received + data if self._received else data
        end = received.find(b"\r\n\r\n")
        if end < 0:
            self._received = received
            return
        head = received[:end].lower()
        at = head.find(b"content-length:")
        if at >= 0:
            length = int(head[at + 15 :].split(b"\r\n", 1)[0])
            complete = len(received) >= end + 4 + length
        else:
            complete = received.endswith(b"0\r\n\r\n")  # chunked
        if not complete:
            self._received = received
            return
        self._received = b""
        if not received.startswith(b"HTTP/1.1 200"):
            self._fail(AnswerError(received[:1000].decode("latin-1")))
            return
        answered, self._answered = self._answered, None
        if answered is not None:
            answered(received[end + 4 :], time.perf_counter())

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that no answer will come."""
        if self._answered is not None:
            self._fail(exc or AnswerError("the server ended the connection"))

    def _fail(self, error: Exception) -> None:
        self.failure = error
        answered, self._answered = self._answered, None
        if answered is not None:
            answered(b"", time.perf_counter())


def request(method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None, key: str = KEY) -> bytes:
    """The bytes of a request of the client with this key."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {key}", "Accept: */*"]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join((*lines, "", "")).encode() + body


async def connected(url: str, count: int) -> list[Connection]:
    """Open connections to a server."""
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(Connection, parts.hostname or "", parts.port or 80))[1] for _ in range(count)]


async def once(url: str, message: bytes) -> bytes:
    """The body of the answer to one request."""
    (connection,) = await connected(url, 1)
    done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    connection.send(message, lambda body, _: None if done.done() else done.set_result(body))
    try:
        body = await asyncio.wait_for(done, ANSWER_MAX_SECONDS)
    finally:
        connection.transport.close()
    if connection.failure is not None:
        raise connection.failure
    return body


async def closed_loop(
    url: str, messages: Iterator[bytes], *, connections: int, seconds: float, count: int | None = None
) -> Measured:
    """Send requests for this time, or `count` of them; at most one at a time on each connection."""
    opened = await connected(url, connections)
    measured, busy = Measured(), 0
    failures: list[Exception] = []
    done = asyncio.Event()
    until = time.perf_counter() + seconds
    left = count

    def go_on(connection: Connection) -> None:
        nonlocal busy, left
        began = time.perf_counter()
        if began >= until or failures or left == 0:
            busy -= 1
            if busy == 0:
                done.set()
            return
        if left is not None:
            left -= 1

        def answered(_: bytes, moment: float) -> None:
            if connection.failure is None:
                measured.seconds.append(moment - began)
            else:
                failures.append(connection.failure)
            go_on(connection)

        connection.send(next(messages), answered)

    cpu, measured.began = time.process_time(), time.perf_counter()
    busy = len(opened)
    for connection in opened:
        go_on(connection)
    await asyncio.wait_for(done.wait(), seconds + ANSWER_MAX_SECONDS)
    return _ended(measured, cpu, opened, failures)


async def open_loop(
    url: str,
    messages: Iterator[bytes],
    *,
    per_second: float,
    seconds: float,
    note: Answered = lambda _body, _due: None,
) -> Measured:
    """Send requests at random moments, `per_second` of them on average, and wait for all answers.

    `note` gets the body of each answer, and the moment at which its request was due.
    """
    opened = await connected(url, OPEN_CONNECTIONS)
    chance = random.Random(per_second)  # the same moments for each system
    due: list[float] = []
    moment = chance.expovariate(per_second)
    while moment < seconds:
        due.append(moment)
        moment += chance.expovariate(per_second)
    measured = Measured()
    failures: list[Exception] = []
    free, waiting = deque(opened), deque[float]()
    left = len(due)
    done = asyncio.Event()

    def send(connection: Connection, since: float) -> None:
        def answered(body: bytes, moment: float) -> None:
            nonlocal left
            left -= 1
            if connection.failure is None:
                measured.seconds.append(moment - since)
                note(body, since)
                if waiting:
                    send(connection, waiting.popleft())
                else:
                    free.append(connection)
            else:
                failures.append(connection.failure)
            if left == 0 or failures:
                done.set()

        connection.send(next(messages), answered)

    cpu, began = time.process_time(), time.perf_counter()
    measured.began = began
    for after in due:
        if (wait := began + after - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        if failures:
            break
        if free:
            send(free.popleft(), began + after)
        else:
            waiting.append(began + after)
    await asyncio.wait_for(done.wait(), ANSWER_MAX_SECONDS)
    return _ended(measured, cpu, opened, failures)


def _ended(measured: Measured, cpu: float, opened: list[Connection], failures: list[Exception]) -> Measured:
    measured.wall_seconds = time.perf_counter() - measured.began
    measured.own_cpu_seconds = time.process_time() - cpu
    for connection in opened:
        connection.transport.close()
    if failures:
        raise failures[0]
    return measured


class Prober:
    """Sends one request at fixed moments, and notes how long after its moment each answer came.

    It sends one at a time. Requests that became due while it waited count as well, each with the time that was left: a
    server that did nothing for a second is then not one slow answer among many quick ones.
    """

    def __init__(self, url: str, message: bytes, every_seconds: float) -> None:
        self._url, self._message, self._every = url, message, every_seconds
        self._due = 0.0
        self.answers: list[tuple[float, float]] = []  # moment at which the request was due, seconds to the answer
        self.failures = 0

    async def run(self) -> None:
        """Send requests until cancelled."""
        (connection,) = await connected(self._url, 1)
        self._due = time.perf_counter()
        try:
            while True:
                await asyncio.sleep(max(self._due - time.perf_counter(), 0))
                done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                connection.send(self._message, lambda *_, done=done: done.done() or done.set_result(None))
                await done
                if connection.failure is not None:
                    self.failures += 1
                    (connection,) = await connected(self._url, 1)
                self._note(time.perf_counter())
        finally:
            connection.transport.close()

    def _note(self, answered: float) -> None:
        while self._due < answered:
            self.answers.append((self._due, answered - self._due))
            self._due += self._every

    def milliseconds(self, since: float, until: float) -> tuple[float, float]:
        """p99 and maximum of the answers to the requests of this time. One without an answer counts until its end."""
        unanswered = (until - self._due,) if self._due < until else ()
        taken = [*unanswered, *(taken for moment, taken in self.answers if since <= moment < until)]
        return percentile(taken, 0.99) * 1000, max(taken, default=0.0) * 1000


def percentile(values: list[float], share: float) -> float:
    """The value that this share of the values does not exceed; 0 without values."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0
