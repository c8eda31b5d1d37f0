"""A real process gets more connections than it accepts, and slow bodies on many of them."""

import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from select import select

import httpx
import pytest

from .test_faults import start
from .test_serve import SOON, Process, configure, eventually

__all__ = ["start"]
Start = Callable[..., Process]
SLOW = 120
LARGE = 4_000_000


@pytest.fixture
def connections() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def connect(gateway: Process, connections: ExitStack) -> socket.socket:
    port = int(gateway.url.rpartition(":")[2])
    return connections.enter_context(socket.create_connection(("127.0.0.1", port), timeout=SOON))


def ask(connection: socket.socket, path: str = "/v1/models") -> bytes:
    """Send a GET; everything that arrives until the answer is complete or the connection ends."""
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
        head, _, body = received.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        if length and len(body) >= int(length[1]):
            break
    return received


def test_connections_over_the_limit_get_a_503_and_there_is_room_again_later(
    start: Start, tmp_path: Path, connections: ExitStack
) -> None:
    configure(tmp_path, "http://127.0.0.1:9", "max_connections = 5")
    gateway = start("serve", "--port", "0")
    taken = [connect(gateway, connections) for _ in range(5)]
    assert all(ask(connection).startswith(b"HTTP/1.1 200 ") for connection in taken)

    beyond = connect(gateway, connections)
    answer = ask(beyond)
    probe = connect(gateway, connections)

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nconnection: close" in head.lower()
    assert b"\r\nretry-after: 5" in head.lower()
    answer = json.loads(body)
    assert answer["error"]["code"] == "overloaded"
    assert f"x-request-id: {answer['request_id']}".encode() in head.lower()
    assert beyond.recv(10) == b""
    assert ask(probe, "/health/live").startswith(b"HTTP/1.1 200 ")
    assert ask(taken[0]).startswith(b"HTTP/1.1 200 ")
    for connection in [*taken, probe]:
        connection.close()

    def again() -> bool:
        with httpx.Client(base_url=gateway.url) as client:
            return client.get("/v1/models").status_code == 200

    assert eventually(again)
    assert gateway.stop() == 0


def resident(gateway: Process) -> int:
    """The resident memory of the process in bytes."""
    status = Path(f"/proc/{gateway.popen.pid}/status").read_text()
    match = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert match is not None
    return int(match[1]) * 1024


def test_many_slow_bodies_stay_within_the_memory_limit(start: Start, tmp_path: Path, connections: ExitStack) -> None:
    configure(tmp_path, "http://127.0.0.1:9", "max_body_bytes = 4_000_000\nmax_bodies_bytes = 40_000_000")
    gateway = start("serve", "--port", "0")
    assert gateway.url
    before = resident(gateway)
    head = f"POST /v1/videos/generations HTTP/1.1\r\nHost: localhost\r\nContent-Length: {LARGE}\r\n\r\n"
    waiting: list[socket.socket] = []
    for _ in range(SLOW):
        connection = connect(gateway, connections)
        connection.sendall(head.encode() + b"x" * (LARGE - 1))  # all except the last byte
        waiting.append(connection)

    def refusals() -> bool:
        for connection in select(waiting, [], [], 0)[0]:
            assert connection.recv(100).startswith(b"HTTP/1.1 503 ")
            waiting.remove(connection)
        return len(waiting) <= 10

    eventually(refusals)
    grown = resident(gateway) - before
    small = httpx.post(f"{gateway.url}/v1/videos/generations", json={"model": "keevx/V"}, timeout=SOON)

    print(f"{SLOW} slow bodies of {LARGE / 1e6:g} MB: {grown / 1e6:.0f} MB, {len(waiting)} held")  # noqa: T201  # with -s
    refusals()
    assert len(waiting) == 10
    assert grown < 80_000_000
    assert small.status_code == 400
    assert gateway.stop() == 0
