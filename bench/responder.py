"""A provider in the shape of FoxAPI that answers with prepared bytes, a source of results, and a receiver of webhooks.

It is as cheap as Python allows, and it is used where nginx is missing, and where an answer depends on earlier requests:
with `--polls N`, the N-th poll of a task says that it is completed and names a file of 2 MB. `GET /counted` has the
numbers of submits, polls, files and webhooks; `GET /lateness` and `POST /lateness` are about the time between polls.

`python -m bench.responder PORT [--polls N]`
"""

import argparse
import asyncio
import time
from collections import Counter
from typing import cast

import msgspec
import uvloop

from bench.load import percentile

FILE_BYTES = 2_000_000
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
SUBMITTED = (
    b'{"created":1757165031,"id":"task-%d","model":"kling-v3-text-to-video","object":"video.generation.task",'
    b'"progress":0,"status":"pending","task_info":{"can_cancel":true,"estimated_time":%d},"type":"video"}'
)
RUNNING = (
    b'{"created":1757165031,"id":"%b","model":"kling-v3-text-to-video","object":"video.generation.task",'
    b'"progress":40,"status":"processing","type":"video","results":null,"error":null}'
)
COMPLETED = (
    b'{"created":1757165031,"id":"%b","model":"kling-v3-text-to-video","object":"video.generation.task",'
    b'"progress":100,"status":"completed","type":"video","results":["http://127.0.0.1:%d/files/%b.mp4"],"error":null}'
)


class State:
    """What the provider was asked for."""

    def __init__(self, port: int, polls: int | None) -> None:
        self.port = port
        self.polls_until_end = polls
        self.counted: Counter[str] = Counter()
        self.polls_of: Counter[bytes] = Counter()
        self.polled_at: dict[bytes, float] = {}
        self.gaps: list[float] | None = None  # between two polls of a task, while they are measured
        self.file = video() if polls is not None else b""
        self.webhooks: dict[str, float] = {}  # moment by generation, on the clock that all processes of a machine share

    def answer(self, method: bytes, path: bytes, body: bytes) -> tuple[bytes, bytes]:
        """The body of an answer, and its type."""
        if path.startswith(b"/v1/tasks/"):
            return self._poll(path[10:].partition(b"?")[0]), b"application/json"
        if path.startswith(b"/files/"):
            self.counted["files"] += 1
            return self.file, b"video/mp4"
        if path == b"/webhook":
            self.counted["webhooks"] += 1
            self.webhooks[msgspec.json.decode(body)["data"]["id"]] = time.perf_counter()
            return b"{}", b"application/json"
        if path == b"/counted":
            return msgspec.json.encode(self.counted), b"application/json"
        if path == b"/webhooks":
            return msgspec.json.encode(self.webhooks), b"application/json"
        if path == b"/lateness":
            return self._lateness(begin=method == b"POST"), b"application/json"
        if method != b"POST":  # readiness
            return b"{}", b"application/json"
        self.counted["submits"] += 1
        return SUBMITTED % (self.counted["submits"], 0 if self.polls_until_end is not None else 45), b"application/json"

    def _poll(self, task: bytes) -> bytes:
        self.counted["polls"] += 1
        if self.polls_until_end is not None:
            self.polls_of[task] += 1
            if self.polls_of[task] >= self.polls_until_end:
                return COMPLETED % (task, self.port, task)
        elif self.gaps is not None:
            now = time.monotonic()
            if (before := self.polled_at.get(task)) is not None:
                self.gaps.append(now - before)
            self.polled_at[task] = now
        return RUNNING % task

    def _lateness(self, *, begin: bool) -> bytes:
        """Begin to measure the time between two polls of a task, or report it, tasks that still wait included."""
        now = time.monotonic()
        gaps = [*(self.gaps or ()), *(now - moment for moment in self.polled_at.values())]
        if begin:
            self.gaps, self.polled_at = [], {}
        return msgspec.json.encode({"p99": percentile(gaps, 0.99), "most": max(gaps, default=0.0), "count": len(gaps)})


def video() -> bytes:
    """A playable video of `FILE_BYTES` bytes: a small one, and a box that players skip."""
    from gateway.sandbox.media import Spec, render  # noqa: PLC0415  # PyAV takes a second to import

    small = render(Spec(prompt="bench", width=64, height=64, seconds=1))
    return small + (FILE_BYTES - len(small)).to_bytes(4) + b"free" + bytes(FILE_BYTES - len(small) - 8)


class Exchange(asyncio.Protocol):
    """Serves HTTP/1.1, one request after another on a connection."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport for the answers."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer every complete request."""
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end]
            length = 0
            if not head.startswith(b"GET"):
                at = head.lower().find(b"\r\ncontent-length:")
                length = int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._received) < end + 4 + length:
                return
            body = self._received[end + 4 : end + 4 + length]
            self._received = self._received[end + 4 + length :]
            method, path, _ = head.split(b"\r\n", 1)[0].split(b" ", 2)
            answer, kind = self._state.answer(method, path, body)
            if len(answer) > 100_000:
                self._transport.write(HEAD % (kind, len(answer)))
                self._transport.write(answer)
            else:
                self._transport.write(HEAD % (kind, len(answer)) + answer)


async def serve(port: int, polls: int | None) -> None:
    """Serve until the process is ended."""
    state = State(port, polls)
    server = await asyncio.get_running_loop().create_server(lambda: Exchange(state), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="a provider for benchmarks")
    parser.add_argument("port", type=int)
    parser.add_argument("--polls", type=int, help="how many polls a task takes; without it, it never ends")
    arguments = parser.parse_args()
    uvloop.run(serve(arguments.port, arguments.polls))
