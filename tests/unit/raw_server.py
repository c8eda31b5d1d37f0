"""A raw socket server for tests: it says exactly the bytes that a test wants, and breaks off where it wants."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator

SILENCE = 0.25  # seconds to wait for a server that says nothing

Handler = Callable[["Connection"], None]


class Connection:
    """One accepted connection, as a handler sees it."""

    def __init__(self, accepted: socket.socket, over: threading.Event) -> None:
        self.socket = accepted
        self._over = over
        self._buffer = b""

    def read(self) -> bytes:
        """One whole request: head and body."""
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, _, rest = self._buffer.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        while len(rest) < length:
            self._more()
            rest = self._buffer.partition(b"\r\n\r\n")[2]
        self._buffer = rest[length:]
        return head + b"\r\n\r\n" + rest[:length]

    def _more(self) -> None:
        chunk = self.socket.recv(65536)
        if not chunk:
            raise ConnectionError("the caller has closed")
        self._buffer += chunk

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def wait(self) -> None:
        """Say nothing until the test is over."""
        self._over.wait(10)


class RawServer:
    """Accepts, hands each connection to the handler on a thread of its own, and counts. All end with `close`."""

    def __init__(self, handler: Handler) -> None:
        self.accepted = 0
        self.requests: list[bytes] = []
        self._handler = handler
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._socket.accept()
            except OSError:
                return
            if self._over.is_set():
                accepted.close()
                return
            self.accepted += 1
            self._open.append(accepted)
            thread = threading.Thread(target=self._handle, args=(accepted,))
            self._threads.append(thread)
            thread.start()

    def _handle(self, accepted: socket.socket) -> None:
        connection = Connection(accepted, self._over)
        read = connection.read

        def noted() -> bytes:
            request = read()
            self.requests.append(request)
            return request

        connection.read = noted  # type: ignore[method-assign]  # every handler's requests are counted
        with contextlib.suppress(OSError):
            self._handler(connection)
        with contextlib.suppress(OSError):
            accepted.shutdown(socket.SHUT_RDWR)
        accepted.close()

    def close(self) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()  # wakes `accept`
        self._accepting.join()
        self._socket.close()
        for accepted in self._open:
            with contextlib.suppress(OSError):
                accepted.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()


Serve = Callable[[Handler], RawServer]


@contextlib.contextmanager
def servers() -> Iterator[Serve]:
    """Starts servers; all are gone, with their threads, at the end."""
    started: list[RawServer] = []

    def start(handler: Handler) -> RawServer:
        started.append(RawServer(handler))
        return started[-1]

    try:
        yield start
    finally:
        for server in started:
            server.close()


def reply(body: bytes = b"{}", *headers: bytes, status: bytes = b"200 OK") -> bytes:
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def after_reading(*sent: bytes, then: Callable[[Connection], None] | None = None) -> Handler:
    def handler(connection: Connection) -> None:
        connection.read()
        for part in sent:
            connection.send(part)
        if then is not None:
            then(connection)

    return handler


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextlib.contextmanager
def full_backlog() -> Iterator[int]:
    """A port that lets nobody in: its queue of connections is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, contextlib.ExitStack() as stack:
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(server.getsockname())
        yield server.getsockname()[1]


def read_then_close(connection: Connection) -> None:
    connection.read()


def close_unread(connection: Connection) -> None:
    """Nothing."""


def reset_unread(connection: Connection) -> None:
    """Wait for the request and leave it: a reset before it can come so early that no connection was seen to open."""
    connection.socket.recv(1, socket.MSG_PEEK)
    connection.reset()


BROKEN: dict[str, Handler] = {
    "accepted, then closed unread": close_unread,
    "accepted, then reset unread": reset_unread,
    "read, then closed": read_then_close,
    "read, then reset": after_reading(then=Connection.reset),
    "half a status line": after_reading(b"HTTP/1.1 20"),
    "half of the headers": after_reading(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "half of the headers, then reset": after_reading(b"HTTP/1.1 200 OK\r\nContent-Le", then=Connection.reset),
    "half of the body": after_reading(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{}"),
    "half of the body, then reset": after_reading(
        b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{}", then=Connection.reset
    ),
    "half of a chunk": after_reading(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n{}"),
    "chunks without an end": after_reading(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"),
    "chunks of no size": after_reading(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n"),
    "no HTTP": after_reading(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "two lengths": after_reading(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} "),
    "a length that is not a number": after_reading(b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\n{}"),
    "a negative length": after_reading(b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}"),
}
SILENT: dict[str, Handler] = {
    "silence": after_reading(then=Connection.wait),
    "silence before anything is read": Connection.wait,
    "silence in the headers": after_reading(b"HTTP/1.1 200 OK\r\n", then=Connection.wait),
    "silence in the body": after_reading(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", then=Connection.wait),
}
